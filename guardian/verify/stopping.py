"""What may end a drill from outside, and ending it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

from guardian.errors import GuardianError, InterruptedRunError, TimedOutError
from guardian.restore.ports import RestoredDatabase
from guardian.units import format_duration


class Stopping:
    """What may end a drill from outside: its deadline, and the loss of its lease."""

    def __init__(self, timeout: timedelta | None) -> None:
        self._timeout = timeout
        self._late = threading.Event()
        self._lost = threading.Event()
        self._database: RestoredDatabase | None = None
        self._timer = (
            None if timeout is None else threading.Timer(timeout.total_seconds(), self._be_late)
        )

    def __enter__(self) -> None:
        """Begin to count the time."""
        if self._timer is not None:
            self._timer.daemon = True
            self._timer.start()

    def __exit__(self, *_: object) -> None:
        """The time counts no more."""
        if self._timer is not None:
            self._timer.cancel()

    def lose(self) -> None:
        """Another process took over."""
        self._lost.set()
        self._cancel()

    def check(self) -> None:
        """Raise when the drill has to end."""
        if self._lost.is_set():
            raise InterruptedRunError("the lease was lost to another process")
        if self._late.is_set():
            raise self._too_late()

    @contextmanager
    def over(self, database: RestoredDatabase) -> Iterator[None]:
        """While the block lasts, an end is also made of what runs in this database."""
        self._database = database
        try:
            self.check()
            yield
            self.check()
        finally:
            self._database = None

    def reason(self, error: GuardianError) -> GuardianError:
        """What really ended the drill, where ``error`` is what came of it.

        Raises:
            InterruptedRunError: another process took over, or a person stopped us.
        """
        if self._lost.is_set():
            raise InterruptedRunError("the lease was lost to another process") from error
        if self._late.is_set():
            return self._too_late()
        if isinstance(error, InterruptedRunError):
            raise error
        return error

    def _too_late(self) -> TimedOutError:
        limit = 0.0 if self._timeout is None else self._timeout.total_seconds()
        return TimedOutError(
            f"the drill took longer than {format_duration(limit)}", mend="raise verify.timeout"
        )

    def _be_late(self) -> None:
        self._late.set()
        self._cancel()

    def _cancel(self) -> None:
        if (database := self._database) is not None:
            database.cancel()
