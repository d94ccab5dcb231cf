"""What all channels have in common: a name, a deadline, and errors that hold no secret."""

from __future__ import annotations

import ssl
from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import final

from guardian.adapters.delivery import DEADLINE_SECONDS, Delivery
from guardian.adapters.web import WebClient
from guardian.escalate.model import Message, Receipt


class Destination(ABC):
    """A :class:`~guardian.escalate.ports.Channel`: a subclass only says how to deliver.

    ``secrets`` are the texts that must never be seen. May be used from several threads at once.
    """

    kind: str
    """As the config calls it."""

    groups = True
    """Whether a storm's messages may be put together into one: for people, yes."""

    def __init__(
        self, name: str, secrets: Iterable[str], *, seconds: float = DEADLINE_SECONDS
    ) -> None:
        self.name = name
        self._thing = f"channel {name} ({self.kind})"
        self._seconds = seconds
        self._delivery = Delivery(self._thing, secrets, seconds=seconds)

    @final
    def send(self, message: Message, memo: str | None = None) -> Receipt:
        """Deliver, within the deadline, or raise DeliveryError."""
        receipt = self._delivery.run(lambda: self._deliver(message, memo))
        return Receipt(self._delivery.veiled(receipt.detail), receipt.memo)

    def close(self) -> None:  # noqa: B027 - not abstract: most have nothing to let go of
        """Nothing is kept open between two messages."""

    def __repr__(self) -> str:
        return f"<{self._thing}>"

    @abstractmethod
    def _deliver(self, message: Message, memo: str | None) -> Receipt:
        """Deliver, or raise DeliveryError. Its texts are looked through for secrets after that."""

    def _web(self, tls: ssl.SSLContext | None) -> WebClient:
        return WebClient(self._thing, tls=tls)
