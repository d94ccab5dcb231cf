"""The overview's verdicts: on each database, and on all of them."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from support.incidents import incident

from guardian.backup.history import DrillPoint, Standing, TryPoint
from guardian.escalate.model import Severity, State
from guardian.model import BackupId, BackupRecord, DatabaseRef, ProofResult, RunStatus
from guardian.watch.outage import Availability
from guardian.web.ports import DatabasePlan, ServerNow
from guardian.web.views.overview import (
    Material,
    headline,
    judge,
    open_and_worst_first,
    recovery_trend,
    rows,
    size_trend,
)
from guardian.web.views.wording import Level

NOW = datetime(2026, 11, 23, 3, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
UNPROVEN = Level.WARNING, "unproven"
MAIN, OTHER = DatabaseRef("main", "mina"), DatabaseRef("main", "orders")
PLAN = DatabasePlan(MAIN, "0 2 * * *", "UTC", NOW + 23 * HOUR)


def backup(age: timedelta = HOUR, *, proven: bool | None = True, **changes) -> BackupRecord:
    at = NOW - age
    return replace(
        BackupRecord(
            BackupId(f"{at:%Y%m%dT%H%M%SZ}-aaaaaa"),
            MAIN,
            RunStatus.SUCCEEDED,
            at,
            at,
            at,
            1000,
            5000,
            stores=("local",),
            proven=proven,
            proven_at=at,
        ),
        **changes,
    )


def standing(last: BackupRecord | None, last_proven: BackupRecord | None = None, **changes):
    tried = last or backup(stores=(), status=RunStatus.FAILED, proven=None, error="disk full")
    proven = last_proven or (last if last is not None and last.proven else None)
    base = Standing(MAIN, NOW - 100 * HOUR, tried, last, proven, 0)
    return replace(base, **changes)


@pytest.mark.parametrize(
    ("known", "plan", "level", "word"),
    [
        (standing(backup()), PLAN, Level.OK, "proven"),
        (standing(backup()), None, Level.UNKNOWN, "left"),
        (None, PLAN, Level.WARNING, "no backup"),
        (standing(None, failures=1), PLAN, Level.BAD, "no backup"),
        (standing(backup(proven=False), backup(25 * HOUR)), PLAN, Level.BAD, "not restorable"),
        (standing(backup(), failures=1), PLAN, Level.WARNING, "failing"),
        (standing(backup(50 * HOUR)), replace(PLAN, overdue=True), Level.BAD, "overdue"),
        (standing(backup(), failures=2), replace(PLAN, overdue=True), Level.BAD, "failing"),
        (standing(backup(proven=None)), PLAN, Level.WARNING, "unproven"),
        (standing(backup(HOUR, proven=None), backup(25 * HOUR)), PLAN, Level.OK, "proven"),
        (standing(backup(9 * HOUR, proven=None), backup(33 * HOUR)), PLAN, *UNPROVEN),
    ],
)  # fmt: skip
def test_a_database_is_judged_by_what_could_be_brought_back(known, plan, level, word):
    assert judge(known, plan, NOW)[:2] == (level, word)


def test_a_first_backup_that_runs_is_no_alarm():
    running = backup(status=RunStatus.RUNNING, stores=(), proven=None)
    known = standing(None, last_try=running)
    assert judge(known, PLAN, NOW)[0] is Level.BUSY


def test_a_failing_database_says_why():
    _, _, said = judge(standing(None, failures=2), PLAN, NOW)
    assert said == "2 failures in a row: disk full"


def material(*standings, plans=(PLAN,), tries=(), drills=()) -> Material:
    return Material(NOW, standings, plans, tries, drills)


def test_what_needs_somebody_comes_first_and_what_left_the_config_last():
    left = DatabaseRef("gone", "away")
    bad = standing(backup(proven=False), ref=OTHER)
    found = rows(
        material(
            standing(backup()),
            bad,
            standing(backup(), ref=left),
            plans=(PLAN, replace(PLAN, ref=OTHER)),
        )
    )
    assert [one.ref for one in found] == [OTHER, MAIN, left]
    assert [one.is_configured for one in found] == [True, True, False]


def test_a_database_that_was_never_tried_is_there_all_the_same():
    (row,) = rows(material())
    assert (row.ref, row.last, row.size.now) == (MAIN, None, "")


def test_trends_tell_the_last_value_and_the_change():
    tries = [
        TryPoint(BackupId(f"b{n}"), MAIN, RunStatus.SUCCEEDED, NOW, True, 1000 + 100 * n, 5000)
        for n in range(3)
    ]
    failed = TryPoint(BackupId("f"), MAIN, RunStatus.FAILED, NOW, None, 0, 0)
    assert size_trend([*tries, failed]).words == "1.17 KiB, +20 % in 3 backups"
    assert size_trend([]).line is None
    drills = [
        DrillPoint(BackupId("b"), MAIN, NOW, result, 10.0, 50.0 + n, 99.0)
        for n, result in enumerate([ProofResult.PROVEN, ProofResult.INCONCLUSIVE])
    ]
    assert recovery_trend(drills).now == "50s"  # restoring; what was fetched is in it


# --- the headline ---


def said(*found_rows, incidents=(), servers=(), **more) -> tuple[Level, str]:
    head = headline(found_rows, incidents, servers, NOW, **more)
    return head.level, head.text


def row_of(*standings, plans=(PLAN,)):
    return rows(material(*standings, plans=plans))


def test_the_headline_is_calm_only_when_all_is_well():
    well = row_of(standing(backup()))
    assert said(*well) == (Level.OK, "main/mina can be brought back")
    two = row_of(
        standing(backup()),
        standing(backup(), ref=OTHER),
        plans=(PLAN, replace(PLAN, ref=OTHER)),
    )
    assert said(*two) == (Level.OK, "All 2 databases can be brought back")
    assert said() == (Level.UNKNOWN, "Nothing is guarded yet")


def test_the_headline_names_what_is_wrong():
    well = row_of(standing(backup()))
    bad = row_of(standing(backup(proven=False)))
    assert said(*bad) == (Level.BAD, "main/mina needs attention: not restorable")
    down = [ServerNow("main", Availability.DOWN), ServerNow("shop", Availability.DOWN)]
    assert said(*well, servers=down) == (Level.BAD, "Servers main, shop are down")
    mild = [incident(severity=Severity.P2)]
    assert said(*well, incidents=mild) == (
        Level.WARNING,
        "Every database is proven; 1 incident open",
    )
    assert said(*well, incidents=[incident(severity=Severity.P1)])[0] is Level.BAD
    assert said(*well, blind=True) == (Level.BAD, "guardian cannot read its catalog")


def test_incidents_come_worst_first_and_those_that_somebody_has_behind():
    found = [
        incident(1, "a:1", State.FIRING, severity=Severity.P2),
        incident(2, "b:1", State.ACKNOWLEDGED, severity=Severity.P1),
        incident(3, "c:1", State.FIRING, severity=Severity.P1),
        incident(4, "d:1", State.RESOLVED, severity=Severity.P0),
        incident(5, "e:1", State.PENDING, severity=Severity.P0),
    ]
    assert [one.key for one in open_and_worst_first(found)] == ["c:1", "b:1", "a:1"]
