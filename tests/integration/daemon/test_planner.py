"""What follows from a task's end: runs that died are settled, and made up for."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any, cast

import pytest
from support.home import NOW, REF, Home

from guardian.daemon.crew import Crew
from guardian.daemon.jobs import Jobs
from guardian.daemon.planner import Planner
from guardian.daemon.timetable import MOST_RESUMED, History, Timetable
from guardian.daemon.work import Kind, Task
from guardian.daemon.worker import Outcome, Result
from guardian.errors import CatalogError, Cause
from guardian.model import RunStatus

RECOVER = Task(Kind.RECOVER)
BACKUP = Task(Kind.BACKUP, REF)


class Room:
    """A planner whose jobs and offers are only noted; tonight's backup was cut off."""

    def __init__(self, home: Home) -> None:
        self.home = home
        self.offered: list[Task] = []
        self.planned: list[datetime] = []
        self.backup = home.begin(NOW)
        self.planner = self.make()
        self.planner.begin()
        assert self.planned.pop() > NOW, "until it is settled it counts as running"

    def make(self, *, owes_recovery: bool = False) -> Planner:
        room = cast("Any", self)
        return Planner(
            self.home.app(), cast("Jobs", room), cast("Crew", room), owes_recovery=owes_recovery
        )

    def settle(self) -> None:
        self.home.catalog.fail_backup(
            self.backup, RunStatus.INTERRUPTED, NOW, Cause.INTERRUPTED, "its process died"
        )

    # --- as Jobs and Crew ---

    def by(self, name: str, table: Timetable, history: History, work: object) -> None:
        assert name == f"backup:{REF}"
        self.planned.append(table.next_start(history, NOW))

    def remove(self, name: str) -> None:
        pass

    def offer(self, task: Task) -> bool:
        self.offered.append(task)
        return True


@pytest.fixture
def room(tmp_path: Path) -> Room:
    return Room(Home(tmp_path, verify={"schedule": None}))


def test_a_recovery_that_went_well_makes_up_for_what_was_cut_off(room: Room) -> None:
    room.settle()
    room.planner.ended(Outcome(RECOVER, Result.DONE))
    assert room.planned == [NOW]
    room.planner.catch_up()
    assert room.offered == []


@pytest.mark.parametrize("result", [Result.CRASHED, Result.FAILED])
def test_a_recovery_that_settled_nothing_is_asked_for_again_until_one_does(
    room: Room, result: str
) -> None:
    for _ in range(5):
        room.planner.ended(Outcome(RECOVER, result))
        assert room.planned == []
        room.planner.catch_up()
        room.planner.catch_up()
        assert room.offered == [RECOVER], "once for each that ended"
        room.offered.clear()
    room.settle()
    room.planner.ended(Outcome(RECOVER, Result.DONE))
    assert room.planned == [NOW]
    room.planner.catch_up()
    assert room.offered == []


def test_a_catalog_that_is_away_as_it_was_settled_is_asked_again(
    room: Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*_: object, **__: object) -> None:
        raise CatalogError("database is locked")

    room.settle()
    with monkeypatch.context() as catalog:
        catalog.setattr(room.home.catalog, "tries", away)
        with pytest.raises(CatalogError):
            room.planner.ended(Outcome(RECOVER, Result.DONE))
    room.planner.catch_up()
    assert room.offered == [RECOVER]
    room.planner.ended(Outcome(RECOVER, Result.DONE))
    assert room.planned == [NOW]


def test_what_another_configuration_s_planner_owed_is_asked_for(room: Room) -> None:
    room.planner.ended(Outcome(RECOVER, Result.CRASHED))
    later = room.make(owes_recovery=room.planner.owes_recovery)
    later.catch_up()
    assert room.offered == [RECOVER]


def test_a_backup_that_never_begins_is_made_up_for_a_few_times_alone(tmp_path: Path) -> None:
    room = Room(Home(tmp_path, verify={"schedule": None}))
    room.home.catalog.fail_backup(room.backup, RunStatus.FAILED, NOW, Cause.DISK_FULL, "full")
    for tried in range(2 * MOST_RESUMED):
        room.planner.ended(Outcome(BACKUP, Result.CRASHED))
        room.planner.ended(Outcome(RECOVER, Result.CRASHED))
        assert len(room.planned) == min(tried, MOST_RESUMED), "not before the host has room"
        room.planner.ended(Outcome(RECOVER, Result.DONE))
        assert len(room.planned) == min(tried + 1, MOST_RESUMED)
