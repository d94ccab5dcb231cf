"""What runs at once in a restore, and ending all of it: from another thread, or when one fails."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import psycopg

from guardian.adapters.postgres.breaking_off import break_off
from guardian.adapters.postgres.pg_restore import RestoreTool
from guardian.errors import ConnectionFailedError, DamagedPartError, InterruptedRunError

_WAIT_SECONDS = 0.1
_ENDING_SECONDS = 60.0


@dataclass
class Crew:
    """The programs and connections that are at work. May be used by several threads at once."""

    stopped: bool = False
    _tools: set[RestoreTool] = field(default_factory=set)
    _connections: set[psycopg.Connection] = field(default_factory=set)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def join(self, tool: RestoreTool) -> None:
        """A program takes part. Raises InterruptedRunError, with it ended, when all is stopped."""
        with self._lock:
            self._tools.add(tool)
            stopped = self.stopped
        if stopped:
            tool.cancel()
            raise InterruptedRunError("the restore was stopped")

    def leave(self, tool: RestoreTool) -> None:
        """It has ended."""
        with self._lock:
            self._tools.discard(tool)

    def connect(self, connection: psycopg.Connection) -> None:
        """A connection takes part. Raises InterruptedRunError when all is stopped."""
        with self._lock:
            self._connections.add(connection)
            stopped = self.stopped
        if stopped:
            raise InterruptedRunError("the restore was stopped")

    def stop(self) -> None:
        """End everything, from any thread; whoever waits for it then raises."""
        with self._lock:
            self.stopped = True
            tools, connections = list(self._tools), list(self._connections)
        for tool in tools:
            tool.cancel()
        for connection in connections:
            break_off(connection)


def run_at_once(jobs: Sequence[Callable[[], None]], crew: Crew) -> None:
    """Run each job on a thread of its own; when one fails, or we are interrupted, end all.

    Raises:
        InterruptedRunError: a job has not even ended.
        BaseException: what the first job that failed raised.
    """
    work = [_Work(job) for job in jobs]
    for one in work:
        one.start()
    try:
        while not all(one.ended.wait(_WAIT_SECONDS) for one in work):
            if any(one.error is not None for one in work):
                break
    finally:
        if any(one.error is not None or not one.ended.is_set() for one in work):
            crew.stop()
        for one in work:
            one.ended.wait(_ENDING_SECONDS)
    _raise_first(work)


class _Work:
    """One job on a thread of its own."""

    def __init__(self, job: Callable[[], None]) -> None:
        self.error: BaseException | None = None
        self.failed_at = 0.0
        self.ended = threading.Event()
        self._job = job

    def start(self) -> None:
        try:
            threading.Thread(target=self._run, name="load", daemon=True).start()
        except RuntimeError as error:  # the host has none to give: what has begun is to end, too
            failure = ConnectionFailedError("no thread can be had to restore")
            failure.__cause__ = error
            self.failed_at, self.error = time.monotonic(), failure
            self.ended.set()

    def _run(self) -> None:
        try:
            self._job()
        except BaseException as error:  # noqa: BLE001 - carried over to the caller's thread
            self.failed_at, self.error = time.monotonic(), error
        finally:
            self.ended.set()


def _raise_first(work: Sequence[_Work]) -> None:
    """Damage, else what came first: the rest may come of the stopping."""
    failed = [one for one in work if one.error is not None]
    if failed:
        first = min(failed, key=lambda one: (not _is_damage(one.error), one.failed_at))
        assert first.error is not None
        raise first.error
    if not all(one.ended.is_set() for one in work):
        raise InterruptedRunError("the restore was stopped, and a stream of it does not end")


def _is_damage(error: BaseException | None) -> bool:
    return isinstance(error, DamagedPartError)


class Countdown:
    """How many are still at it."""

    def __init__(self, value: int) -> None:
        self.value = value
        self._lock = threading.Lock()

    def one_less(self) -> None:
        """One is done."""
        with self._lock:
            self.value -= 1
