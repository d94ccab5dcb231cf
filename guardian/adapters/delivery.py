"""Telling somebody outside: within a deadline, whatever hangs, and never a secret in an error."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TypeVar

from guardian.adapters.deadline import BoundedCalls
from guardian.adapters.veil import Veil
from guardian.errors import DeliveryError

T = TypeVar("T")

DEADLINE_SECONDS = 18.0
"""For one message with all that belongs to it: names, connections, answers that drip."""


class Delivery:
    """What every way out has: it stands for one ``thing``, such as ``channel pager (pagerduty)``.

    ``secrets`` are the texts that must never be seen. For several threads at once.
    """

    def __init__(
        self, thing: str, secrets: Iterable[str], *, seconds: float = DEADLINE_SECONDS
    ) -> None:
        self.thing = thing
        self.seconds = seconds
        self._veil = Veil(secrets)
        self._calls = BoundedCalls(thing)

    def run(self, work: Callable[[], T]) -> T:
        """What the work returns. Raises DeliveryError alone, veiled and without what led to it."""
        try:
            return self._calls.run(work, self.seconds)
        except TimeoutError as error:
            why = str(error) or f"no answer within {self.seconds:g}s"
            raise DeliveryError(
                f"{self.thing}: {why}", mend="check the network between here and there"
            ) from None
        except DeliveryError as error:
            raise DeliveryError(
                self.veiled(error.message),
                mend=error.mend,  # always our own words
                permanent=error.permanent,
                retry_after=error.retry_after,
            ) from None

    def veiled(self, text: str) -> str:
        """The text with every piece of a secret covered; but for our own name in front of it."""
        own = self.thing if text.startswith(self.thing) else ""
        return own + self._veil.over(text[len(own) :])
