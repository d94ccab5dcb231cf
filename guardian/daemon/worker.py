"""The near end of a worker: a process that makes one backup, one drill or one prune.

Long work has a process of its own for four reasons. Hashing and compressing would keep Python's
interpreter lock from the watch. What dies there (out of memory, a fault in a C library) takes
nothing else with it. It can be ended: a thread cannot. And its memory goes with it, so the daemon
stays small.

Two pipes' ends lead there: it tells where it has got to, and it notices our end, however that
comes, and then undoes what it began. See guardian/daemon/worker_process.py for the far end.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from multiprocessing.connection import Connection, Pipe
from typing import Any, Literal

from guardian.config import Config
from guardian.daemon.work import Task
from guardian.model import ProofRecord
from guardian.units import format_duration

_FAR_END = "guardian.daemon.worker_process"
_POLL_SECONDS = 1.0
_STOP_SECONDS = 120.0
"""How long one that is late may take to undo what it began, before it is killed."""


@dataclass(frozen=True, slots=True)
class LogSettings:
    """How the worker is to log: as we do."""

    level: int
    style: Literal["text", "json"] = "text"
    tracebacks: bool = False
    run_id: str = ""


@dataclass(frozen=True, slots=True)
class Assignment:
    """What a worker is told. It goes through a pipe, for the configuration holds secrets."""

    task: Task
    config: Config
    log: LogSettings


class Result:
    """Words for how a task ended, beside those of backups and drills."""

    DONE = "done"
    FAILED = "failed"
    INTERRUPTED = "interrupted"
    LOCKED = "locked"
    """Somebody else is at it."""
    CRASHED = "crashed"
    """An unexpected error, or its process died."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a task ended: a word (Result, RunStatus or ProofResult), and a line about it.

    ``proof`` is a drill's record. ``transient``: it may well go better soon.
    """

    task: Task
    result: str
    message: str = ""
    proof: ProofRecord | None = None
    transient: bool = False


Hear = Callable[[str, Any], None]
"""Takes a word of progress: begin (label, total bytes), advance (bytes), note or end (text)."""


class Worker:
    """One process, from its start to its end. ``run`` is called once, in a thread of its own."""

    def __init__(
        self, assignment: Assignment, hear: Hear, *, limit: timedelta | None = None
    ) -> None:
        self._assignment = assignment
        self._hear = hear
        self._limit = limit
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._stopped = False

    @property
    def pid(self) -> int | None:
        """Its process, once there is one."""
        return None if self._process is None else self._process.pid

    def run(self) -> Outcome:
        """Do the task; whatever becomes of it is in the outcome, nothing is raised."""
        try:
            return self._run()
        except OSError as error:  # no more processes, descriptors or memory
            text = f"its process could not be started: {error.strerror or error}"
            return self._outcome(Result.CRASHED, text)

    def _run(self) -> Outcome:
        near, far = Pipe()
        with near:
            with far:
                started = self._start(far)
            if not started:
                return self._outcome(Result.INTERRUPTED, "stopped before it began")
            assert self._process is not None
            with self._process:
                try:
                    outcome = self._converse(near)
                finally:
                    near.close()  # whatever still runs over there notices
                self._wait(_STOP_SECONDS)
            return outcome or self._died(self._process.returncode)

    def stop(self) -> None:
        """Ask it to undo what it began and to end. May be called from any thread, many times."""
        with self._lock:
            first, self._stopped = not self._stopped, True
            if first and self._process is not None:
                with suppress(ProcessLookupError):
                    self._process.terminate()

    def kill(self) -> None:
        """End it and all that it started, at once."""
        self.stop()
        if self._process is not None and self._process.poll() is None:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, signal.SIGKILL)

    def _start(self, far: Connection) -> bool:
        with self._lock:
            if self._stopped:
                return False
            self._process = subprocess.Popen(
                [sys.executable, "-m", _FAR_END, str(far.fileno())],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                pass_fds=(far.fileno(),),
                start_new_session=True,  # a terminal's Ctrl-C is ours to answer
            )
            return True

    def _converse(self, near: Connection) -> Outcome | None:
        """Tell it what to do and hear it out; None when it died."""
        deadline = self._deadline()
        try:
            near.send(self._assignment)
            while True:
                if deadline is not None and time.monotonic() > deadline:
                    return self._too_late()
                if near.poll(_POLL_SECONDS):
                    word, value = near.recv()
                    if word == "outcome":
                        return value  # type: ignore[no-any-return]
                    self._hear(word, value)
        except (EOFError, OSError):
            return None

    def _deadline(self) -> float | None:
        return None if self._limit is None else time.monotonic() + self._limit.total_seconds()

    def _too_late(self) -> Outcome:
        assert self._limit is not None
        self.stop()
        text = f"it still ran after {format_duration(self._limit.total_seconds())} and was ended"
        return self._outcome(Result.CRASHED, text)

    def _wait(self, seconds: float) -> None:
        assert self._process is not None
        try:
            self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.kill()
            self._process.wait()

    def _died(self, code: int) -> Outcome:
        if self._stopped:
            return self._outcome(Result.INTERRUPTED, "it was ended before it could tell")
        how = f"by signal {-code} ({_signal_name(-code)})" if code < 0 else f"with status {code}"
        return self._outcome(Result.CRASHED, f"its process ended {how} before it had told anything")

    def _outcome(self, result: str, message: str) -> Outcome:
        return Outcome(self._assignment.task, result, message)


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return "unknown"
