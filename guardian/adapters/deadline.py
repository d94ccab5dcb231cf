"""A deadline for calls that have none: resolving a name, or a library's whole conversation.

A thread cannot be stopped, so a call that hangs is left behind, and the next ones wait for it or
are refused instead of starting beside it: probes of a dead host never pile up.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class _Call(Generic[T]):
    """One call in a thread of its own."""

    def __init__(self, work: Callable[[], T], name: str) -> None:
        self._work = work
        self._result: list[T] = []
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def ends_within(self, seconds: float) -> bool:
        self._thread.join(max(seconds, 0.0))
        return not self._thread.is_alive()

    def result(self) -> T:
        if self._error is not None:
            raise self._error
        return self._result[0]

    def _run(self) -> None:
        try:
            self._result.append(self._work())
        except BaseException as error:  # noqa: BLE001 - raised again in the thread that asked
            self._error = error


class SingleFlight:
    """Runs one call at a time, each with a deadline."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._running: _Call[object] | None = None

    def run(self, work: Callable[[], T], seconds: float) -> T:
        """What ``work`` returns or raises, within so many seconds.

        Raises:
            TimeoutError: it, or the one before it that never came back, takes longer.
        """
        deadline = time.monotonic() + seconds
        if self._running is not None and not self._running.ends_within(seconds):
            raise TimeoutError("the try before still hangs")
        call = _Call(work, self._name)
        self._running = call  # type: ignore[assignment]
        if not call.ends_within(deadline - time.monotonic()):
            raise TimeoutError
        self._running = None
        return call.result()


class BoundedCalls:
    """Runs calls with a deadline each, several at once, until too many of them hang."""

    def __init__(self, name: str, most_hanging: int = 4) -> None:
        self._name = name
        self._most = most_hanging
        self._lock = threading.Lock()
        self._hanging: list[_Call[object]] = []

    def run(self, work: Callable[[], T], seconds: float) -> T:
        """What ``work`` returns or raises, within so many seconds.

        Raises:
            TimeoutError: it takes longer, or too many before it never came back.
        """
        with self._lock:
            self._hanging = [call for call in self._hanging if not call.ends_within(0)]
            if len(self._hanging) >= self._most:
                raise TimeoutError(f"{self._most} tries before still hang")
        call = _Call(work, self._name)
        if not call.ends_within(seconds):
            with self._lock:
                self._hanging.append(call)  # type: ignore[arg-type]
            raise TimeoutError
        return call.result()
