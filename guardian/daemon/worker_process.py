"""The far end of a worker: does one task, tells where it has got to, and ends.

SIGTERM, and the end of the pipe (the daemon died), interrupt it as Ctrl-C interrupts a command:
what was begun is undone. Its errors are outcomes; only a dead process tells nothing.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
import time
from contextlib import suppress
from multiprocessing.connection import Connection
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

from guardian.daemon.work import Kind, Task
from guardian.daemon.worker import Assignment, Outcome, Result
from guardian.errors import AlreadyRunningError, GuardianError, InterruptedRunError
from guardian.garbage import collect_less
from guardian.logs import set_up_logging
from guardian.units import counted

if TYPE_CHECKING:
    from guardian.daemon.app import App

_log = logging.getLogger("guardian.daemon.worker")
_TELL_EVERY = 0.5
_NICER = 5
"""The watch goes first where processors are short."""
_EXPENDABLE = "500"
"""Where memory is short, the kernel is to take a worker, not the daemon."""


class PipeProgress:
    """Implements the Progress port: tells the daemon, and the log what is worth a line."""

    def __init__(self, far: Connection) -> None:
        self._far = far
        self._lock = threading.Lock()
        self._untold = 0
        self._told_at = 0.0

    def begin(self, label: str, total_bytes: int | None = None) -> None:
        """A new piece of work."""
        _log.info("%s ...", label)
        self._tell("begin", (label, total_bytes))

    def advance(self, done_bytes: int) -> None:
        """So many more bytes; told twice a second at most."""
        with self._lock:
            self._untold += done_bytes
            now = time.monotonic()
            if now - self._told_at < _TELL_EVERY:
                return
            done, self._untold, self._told_at = self._untold, 0, now
        self._tell("advance", done)

    def note(self, text: str) -> None:
        """Worth reading."""
        _log.warning("%s", text)
        self._tell("note", text)

    def end(self, summary: str) -> None:
        """It ended."""
        _log.info("%s", summary)
        self._tell("end", summary)

    def _tell(self, word: str, value: object) -> None:
        # Should the daemon be gone, the thread that waits for its end knows what to do.
        with self._lock, suppress(OSError):
            self._far.send((word, value))


def perform(app: App, task: Task, progress: PipeProgress) -> Outcome:
    """Do the task.

    Raises:
        GuardianError: as the methods of App.
    """
    if task.kind is Kind.BACKUP:
        assert task.ref is not None
        backup = app.back_up(task.ref, progress)
        error = backup.error
        text = "" if error is None else str(error)
        transient = error is not None and error.transient
        return Outcome(task, backup.status.value, text, transient=transient)
    if task.kind is Kind.DRILL:
        assert task.ref is not None
        assert task.backup is not None
        assert task.store is not None
        drill = app.drill(task.ref, task.backup, task.store, progress)
        for note in drill.notes:
            progress.note(note)
        record = drill.record
        return Outcome(task, record.result.value, record.reason or "", proof=record)
    from guardian.daemon.upkeep import settle_dead_runs, tidy  # noqa: PLC0415 - as App

    if task.kind is Kind.RECOVER:
        settled = settle_dead_runs(app)
        text = f"{counted(len(settled), 'interrupted run')} settled" if settled else ""
        return Outcome(task, Result.DONE, text)
    problems = tidy(app, progress)
    return Outcome(task, Result.FAILED if problems else Result.DONE, "; ".join(problems))


def attempt(app: App, task: Task, progress: PipeProgress) -> Outcome:
    """Do the task; what is raised becomes an outcome."""
    try:
        return perform(app, task, progress)
    except AlreadyRunningError as error:
        return Outcome(task, Result.LOCKED, str(error), transient=True)
    except (KeyboardInterrupt, InterruptedRunError) as error:
        return Outcome(task, Result.INTERRUPTED, str(error))
    except GuardianError as error:
        return Outcome(task, Result.FAILED, str(error), transient=error.transient)


def main() -> None:
    """Take the assignment from the pipe whose descriptor the command line names."""
    collect_less()
    signal.signal(signal.SIGTERM, _interrupt)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    with Connection(int(sys.argv[1])) as far:
        try:
            assignment: Assignment = far.recv()
        except (EOFError, OSError, KeyboardInterrupt):
            return
        _give_way()
        threading.Thread(target=_end_with_daemon, args=(far,), daemon=True).start()
        outcome = _work(assignment, far)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        with suppress(OSError):
            far.send(("outcome", outcome))


def _work(assignment: Assignment, far: Connection) -> Outcome:
    task, log = assignment.task, assignment.log
    set_up_logging(
        log.level, style=log.style, tracebacks=log.tracebacks, run_id=f"{log.run_id}/{task.key}"
    )
    try:
        from guardian.daemon.app import App  # noqa: PLC0415 - an interruption of it is caught

        with App(assignment.config, command="guardian run") as app:
            return attempt(app, task, PipeProgress(far))
    except KeyboardInterrupt:
        return Outcome(task, Result.INTERRUPTED, "interrupted")
    except Exception as error:  # noqa: BLE001 - the last stop: nothing may be lost
        from guardian.daemon.crashes import CrashReporter  # noqa: PLC0415 - seldom needed

        text = CrashReporter.of(assignment.config, log.run_id).report(str(task), error)
        return Outcome(task, Result.CRASHED, text)


def _end_with_daemon(far: Connection) -> None:
    """The daemon never sends a second message: what comes is the end of the pipe."""
    with suppress(OSError):
        far.poll(None)
    os.kill(os.getpid(), signal.SIGTERM)


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    """Once: the undoing must not be interrupted in its turn."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    raise KeyboardInterrupt


def _give_way() -> None:
    with suppress(OSError):
        os.nice(_NICER)
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text(_EXPENDABLE, "ascii")


if __name__ == "__main__":
    main()
