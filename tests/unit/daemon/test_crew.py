"""Whose turn has come begins, or is told; no place is taken for good."""

from __future__ import annotations

import threading

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
