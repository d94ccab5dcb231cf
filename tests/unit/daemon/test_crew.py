"""Whose turn has come begins, or is told; no place is taken for good."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest

from guardian.daemon.crew import Crew
from guardian.daemon.work import Kind, Task, Workload
from guardian.daemon.worker import Outcome, Result
from guardian.model import DatabaseRef
from guardian.testing import FakeClock

BACKUP = Task(Kind.BACKUP, DatabaseRef("main", "mina"))


class Told:
    def __init__(self) -> None:
        self.crashes: list[str] = []
        self.outcomes: list[Outcome] = []
        self.began: list[Task] = []

    def assign(self, task: Task) -> None:
        self.began.append(task)
        raise LookupError("no worker in this test")

    def crew(self) -> Crew:
        return Crew(
            Workload(),
            FakeClock(),
            assign=self.assign,  # type: ignore[arg-type]
            ended=self.outcomes.append,
            crashed=lambda task, error: self.crashes.append(f"{task}: {error}"),
        )


def test_without_a_thread_the_task_is_told_and_its_place_is_free(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    told = Told()
    crew = told.crew()
    with monkeypatch.context() as host:
        host.setattr(threading.Thread, "start", refuse)
        assert crew.offer(BACKUP)
    assert told.crashes == ["backup of main/mina: can't start new thread"]
    assert [(one.task, one.result) for one in told.outcomes] == [(BACKUP, Result.CRASHED)]
    assert crew.now() == ()
    assert told.began == []
    assert crew.offer(BACKUP), "the next night it is begun"
    assert crew.wait(10)
    assert told.began == [BACKUP]


def test_what_cannot_be_assigned_is_told() -> None:
    told = Told()
    crew = told.crew()
    assert crew.offer(BACKUP)
    assert crew.wait(10)
    assert told.crashes == ["backup of main/mina: no worker in this test"]
    assert [one.result for one in told.outcomes] == [Result.CRASHED]


def test_what_begins_again_while_its_end_is_told_is_not_forgotten(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    begun, stopped, told = threading.Event(), threading.Event(), threading.Event()
    tries: list[Worker] = []
    crashes: list[str] = []

    class Worker:
        pid = 1

        def __init__(self, _: object, hear: Callable[[str, Any], None], **__: object) -> None:
            self.hear = hear

        def run(self) -> Outcome:
            tries.append(self)
            if len(tries) == 1:
                return Outcome(BACKUP, Result.FAILED)
            begun.set()
            assert told.wait(10)
            self.hear("begin", ("dump", 7))
            assert stopped.wait(10)
            return Outcome(BACKUP, Result.INTERRUPTED)

        def stop(self) -> None:
            stopped.set()

    def ended(outcome: Outcome) -> None:
        if outcome.result == Result.FAILED:  # as the catalog takes its time, the next turn comes
            assert crew.offer(BACKUP)
            assert begun.wait(10)
            told.set()

    monkeypatch.setattr("guardian.daemon.crew.Worker", Worker)
    crew = Crew(
        Workload(),
        FakeClock(),
        assign=lambda _: (None, None),  # type: ignore[arg-type, return-value]
        ended=ended,
        crashed=lambda task, error: crashes.append(f"{task}: {error!r}"),
    )
    assert crew.offer(BACKUP)
    assert told.wait(10)
    for thread in threading.enumerate():
        if thread.name == f"worker {BACKUP.key}" and not begun.is_set():
            thread.join(10)
    assert not crew.wait(0.2), "it runs"
    assert [one.task for one in crew.now()] == [BACKUP]
    assert crew.stop() == 1
    assert crew.wait(10)
    assert len(tries) == 2
    assert crashes == []
    assert crew.now() == ()
