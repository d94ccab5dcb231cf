"""The crew: one worker for each task whose turn has come, and what each is at."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

from guardian.daemon.state import TaskNow
from guardian.daemon.work import Task, Workload
from guardian.daemon.worker import Assignment, Outcome, Result, Worker
from guardian.ports import Clock

_log = logging.getLogger(__name__)

Assign = Callable[[Task], tuple[Assignment, timedelta | None]]
"""What a worker is told, and how long it may take at most."""


class Crew:
    """Begins tasks as the workload allows, until it is stopped. May be used from any thread.

    ``assign`` is asked when a task begins, so that it gets the configuration of that moment.
    ``ended`` hears of each outcome, on the thread of its worker, after the task's place is free.
    ``crashed`` hears of what either of them raises, and of what cannot be begun.
    """

    def __init__(
        self,
        workload: Workload,
        clock: Clock,
        *,
        assign: Assign,
        ended: Callable[[Outcome], object],
        crashed: Callable[[str, BaseException], object],
    ) -> None:
        self._workload = workload
        self._clock = clock
        self._assign = assign
        self._ended = ended
        self._crashed = crashed
        self._changed = threading.Condition()
        self._workers: dict[str, Worker] = {}
        self._seen: dict[str, TaskNow] = {}
        self._ending = 0

    def offer(self, task: Task) -> bool:
        """Take it in, begin it if its turn has come; False when the same is at hand already."""
        taken = self._workload.offer(task, self._clock.now())
        if taken:
            self.begin()
        return taken

    def begin(self) -> None:
        """Begin whatever may begin now."""
        while (task := self._workload.take()) is not None:
            with self._changed:
                now = self._clock.now()
                self._seen[task.key] = TaskNow(task, now, started_at=now, heard_at=now)
            thread = threading.Thread(
                target=self._work, args=(task,), name=f"worker {task.key}", daemon=True
            )
            try:
                thread.start()
            except RuntimeError as error:  # the host has no thread for us
                self._crashed(str(task), error)
                self._free(task)  # or its place would be taken for good
                self._end(Outcome(task, Result.CRASHED, "no thread could be started for it"))

    def now(self) -> tuple[TaskNow, ...]:
        """What runs, then what waits, in the order of its turn."""
        with self._changed:
            running = [
                replace(seen, pid=None if (one := self._workers.get(key)) is None else one.pid)
                for key, seen in self._seen.items()
            ]
        waiting = [TaskNow(offer.task, offer.at) for offer in self._workload.waiting]
        return (*running, *waiting)

    def stop(self) -> int:
        """Begin nothing any more, and let each worker undo what it began; how many there are."""
        self._workload.close()
        with self._changed:
            workers = list(self._workers.values())
        for worker in workers:
            worker.stop()
        return len(workers)

    def kill(self) -> None:
        """End all workers at once; what they leave is settled by the next run."""
        self._workload.close()
        with self._changed:
            workers = list(self._workers.values())
        for worker in workers:
            worker.kill()

    def wait(self, seconds: float) -> bool:
        """Until no worker is left, for so long at most; whether that is so."""
        with self._changed:
            return self._changed.wait_for(lambda: not (self._seen or self._ending), timeout=seconds)

    def _work(self, task: Task) -> None:
        outcome = Outcome(task, Result.CRASHED)
        try:
            assignment, limit = self._assign(task)
            worker = Worker(assignment, lambda *word: self._hear(task, *word), limit=limit)
            with self._changed:
                self._workers[task.key] = worker
            if self._workload.is_closed:  # it was, before the worker could be found
                worker.stop()
            outcome = worker.run()
        except Exception as error:  # noqa: BLE001 - one task must hurt no other
            self._crashed(str(task), error)
        finally:
            self._free(task)
        self._end(outcome)
        self.begin()

    def _free(self, task: Task) -> None:
        """Forget it before the same may begin again, which may be while its end is told."""
        with self._changed:
            self._workers.pop(task.key, None)
            self._seen.pop(task.key, None)
            self._ending += 1
        self._workload.done(task)

    def _end(self, outcome: Outcome) -> None:
        task = outcome.task
        try:
            self._ended(outcome)
        except Exception as error:  # noqa: BLE001 - as in _work
            self._crashed(str(task), error)
        finally:
            with self._changed:
                self._ending -= 1
                self._changed.notify_all()

    def _hear(self, task: Task, word: str, value: Any) -> None:
        with self._changed:
            seen = replace(self._seen[task.key], heard_at=self._clock.now())
            if word == "begin":
                label, total = value
                seen = replace(seen, label=label, done_bytes=0, total_bytes=total)
            elif word == "advance":
                seen = replace(seen, done_bytes=seen.done_bytes + value)
            self._seen[task.key] = seen
