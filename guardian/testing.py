"""Public fakes for tests of guardian, and of what people build on it.

Each one keeps the contract of its port (``tests/conformance`` holds it to that) and can be made to
fail on demand, which the real thing cannot.
"""

from __future__ import annotations

import threading
from collections import deque
from datetime import UTC, datetime, timedelta

from guardian.adapters.catalog.memory import MemoryCatalog
from guardian.adapters.stores.memory import Faults, MemoryStore
from guardian.escalate.model import Message, Receipt

__all__ = ["FakeChannel", "FakeClock", "Faults", "MemoryCatalog", "MemoryStore"]


class FakeClock:
    """A :class:`~guardian.ports.Clock` that stands still until it is turned.

    ``sleep`` turns it and returns at once; ``slept`` lists how long each sleep would have been.
    """

    def __init__(self, now: datetime = datetime(2026, 11, 23, 2, 0, tzinfo=UTC)) -> None:
        if now.tzinfo is None:
            raise ValueError("a FakeClock needs a timezone-aware start")
        self._lock = threading.Lock()
        self._now = now.astimezone(UTC)
        self._monotonic = 1000.0
        self.slept: list[float] = []

    def now(self) -> datetime:
        """The instant it was turned to."""
        with self._lock:
            return self._now

    def monotonic(self) -> float:
        """Seconds it was turned forward, from an arbitrary start."""
        with self._lock:
            return self._monotonic

    def sleep(self, seconds: float) -> None:
        """Turn the clock instead of waiting."""
        self.slept.append(seconds)
        self.advance(seconds)

    def advance(self, by: timedelta | float) -> None:
        """Turn both clocks forward; seconds or a timedelta."""
        step = by if isinstance(by, timedelta) else timedelta(seconds=by)
        if step < timedelta(0):
            raise ValueError("time does not go backwards; use jump_to for the wall clock")
        with self._lock:
            self._now += step
            self._monotonic += step.total_seconds()

    def jump_to(self, now: datetime) -> None:
        """Set the wall clock alone, also backwards, as NTP or a person may."""
        with self._lock:
            self._now = now.astimezone(UTC)


class FakeChannel:
    """A :class:`~guardian.escalate.ports.Channel` that keeps what it is sent, and fails as told.

    ``answers`` are what it says to the next messages, one each: an error is raised, a receipt
    given. When they are used up, ``otherwise`` holds. ``tries`` are all messages with their memos,
    oldest first; ``sent`` are those that it took.
    """

    def __init__(
        self,
        name: str = "fake",
        *answers: Receipt | Exception,
        groups: bool = True,
        otherwise: Receipt | Exception | None = None,
    ) -> None:
        self.name = name
        self.groups = groups
        self.answers = deque(answers)
        self.otherwise: Receipt | Exception = otherwise or Receipt("taken")
        self.tries: list[tuple[Message, str | None]] = []
        self.sent: list[Message] = []
        self.closed = False
        self._moves = threading.Event()
        self._moves.set()
        self._lock = threading.Lock()

    def hang(self) -> None:
        """From now on, ``send`` returns only after :meth:`release`."""
        self._moves.clear()

    def release(self) -> None:
        """Let what hangs go on, and hang no more."""
        self._moves.set()

    def send(self, message: Message, memo: str | None = None) -> Receipt:
        """Take the message, or fail, as told."""
        with self._lock:
            self.tries.append((message, memo))
            answer = self.answers.popleft() if self.answers else self.otherwise
        self._moves.wait()
        if isinstance(answer, Exception):
            raise answer
        with self._lock:
            self.sent.append(message)
        return answer

    def close(self) -> None:
        """Note that it was closed."""
        self.closed = True
