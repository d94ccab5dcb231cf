"""Signals as messages in a queue, so that one thread answers them in its own time."""

from __future__ import annotations

import signal
from collections.abc import Callable
from dataclasses import dataclass
from types import FrameType


@dataclass(frozen=True, slots=True)
class Signalled:
    """A signal came in."""

    number: int

    @property
    def ends(self) -> bool:
        """Whether it asks for the end."""
        return self.number != signal.SIGHUP


class Signals:
    """Hands signals to ``put`` for the length of a ``with`` block.

    ``put`` is called by a handler, whatever the main thread is at just then: SimpleQueue's may be.
    """

    NUMBERS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)

    def __init__(self, put: Callable[[Signalled], object]) -> None:
        self._put = put
        self._before: dict[int, object] = {}

    def __enter__(self) -> None:
        """Take them from now on."""
        for number in self.NUMBERS:
            self._before[number] = signal.signal(number, self._handle)

    def __exit__(self, *_: object) -> None:
        """As it was before."""
        for number, handler in self._before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]

    def _handle(self, number: int, _frame: FrameType | None) -> None:
        self._put(Signalled(number))
