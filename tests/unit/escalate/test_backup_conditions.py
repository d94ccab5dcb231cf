"""Failed, missing and shrunken backups, and stores that fail, from what a catalog remembers."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from guardian.backup.schedule import parse_schedule
from guardian.errors import Cause
from guardian.escalate.conditions.backups import backup_conditions
from guardian.escalate.conditions.history import WHOLE_SERVER, History, Protection
from guardian.escalate.conditions.stores import forged_conditions, store_conditions
from guardian.escalate.model import TITLE_LIMIT, Condition, Severity
from guardian.model import (
    BackupId,
    BackupRecord,
    DatabaseRef,
    Event,
    RunStatus,
    StoreOutcome,
    StoreStatus,
)

REF = DatabaseRef("main", "mina")
NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
DAY = timedelta(days=1)
NIGHTLY = Protection(schedule=parse_schedule("0 2 * * *"), stores=("local", "offsite"))
BOTH = ("local", "offsite")


def night(ago: int) -> datetime:
    """02:00, so many nights before the last one."""
    return NOW.replace(hour=2) - ago * DAY


def backup(
    ago: int = 0, *, proven: bool | None = True, dumped: int = 1000, failed_in: str | None = None
) -> BackupRecord:
    at = night(ago)
    outcomes = tuple(
        StoreOutcome(name, StoreStatus.FAILED, "bucket acme: access denied", Cause.STORE)
        if name == failed_in
        else StoreOutcome(name, StoreStatus.SUCCEEDED)
        for name in BOTH
    )
    return BackupRecord(
        BackupId(f"{at:%Y%m%dT%H%M%SZ}-good"),
        REF,
        RunStatus.SUCCEEDED,
        at,
        at + timedelta(minutes=5),
        at,
        stores=tuple(one for one in BOTH if one != failed_in),
        dumped_bytes=dumped,
        outcomes=outcomes,
        proven=proven,
    )


def failure(
    ago: int = 0, cause: Cause = Cause.DISK_FULL, error: str = "/backups: no space left"
) -> BackupRecord:
    at = night(ago)
    return BackupRecord(
        BackupId(f"{at:%Y%m%dT%H%M%SZ}-bad"),
        REF,
        RunStatus.FAILED,
        at,
        at + timedelta(minutes=1),
        cause=cause,
        error=error,
    )


def history(*tries: BackupRecord, protection: Protection = NIGHTLY, **more: object) -> History:
    """Tries, newest first, as a catalog tells of them."""
    failures = 0
    for one in tries:
        if one.status is RunStatus.SUCCEEDED:
            break
        failures += one.status is RunStatus.FAILED
    made = History(
        REF,
        protection,
        backups=[one for one in tries if one.stores],
        tries=tries,
        failures=failures,
    )
    return replace(made, **more)  # type: ignore[arg-type]


def kinds(found: tuple[Condition, ...]) -> list[str]:
    return [one.kind for one in found]


def only(found: tuple[Condition, ...], kind: str) -> Condition:
    (condition,) = [one for one in found if one.kind == kind]
    return condition


def facts(condition: Condition) -> dict[str, str]:
    return {one.name: one.value for one in condition.evidence}


# --- backup.failed ---


def test_all_is_well_says_nothing() -> None:
    assert backup_conditions(history(backup(0), backup(1)), NOW) == ()
    assert backup_conditions(history(), NOW) == ()


def test_one_failed_backup() -> None:
    found = only(backup_conditions(history(failure(0), backup(1)), NOW), "backup.failed")
    assert found.key == "backup.failed:main/mina"
    assert found.severity is Severity.P1
    assert found.title == "Backup of main/mina failed: a disk is full"
    assert (found.server, found.database) == ("main", "mina")
    assert (found.count, found.occurrence) == (1, failure(0).id)
    assert found.since == night(0)
    assert found.impact == (
        "Were main/mina lost now, everything after 2026-11-22 02:00 UTC would be lost."
    )
    assert facts(found)["error"] == "/backups: no space left"
    assert facts(found)["newest good backup"].startswith("20261122T020000Z-good")
    assert found.mend[-1] == "guardian backup now main/mina"


def test_failures_in_a_row_are_one_condition_that_counts() -> None:
    past = history(failure(0), failure(1, Cause.CONNECTION, "refused"), backup(2), failure(3))
    found = only(backup_conditions(past, NOW), "backup.failed")
    assert found.title == "Backup of main/mina failed twice in a row: a disk is full"
    assert (found.count, found.since) == (2, night(1))
    assert facts(found)["the failure before"] == "2026-11-22 02:00 UTC: refused"


def test_each_failure_is_an_occurrence_of_its_own_and_seen_again_the_same() -> None:
    first = only(backup_conditions(history(failure(1), backup(2)), NOW), "backup.failed")
    again = only(
        backup_conditions(history(failure(1), backup(2)), NOW + timedelta(hours=1)),
        "backup.failed",
    )
    later = only(
        backup_conditions(history(failure(0), failure(1), backup(2)), NOW), "backup.failed"
    )
    assert first == again
    assert later.occurrence != first.occurrence


def test_a_success_ends_it_and_an_interruption_neither_ends_nor_counts() -> None:
    assert "backup.failed" not in kinds(backup_conditions(history(backup(0), failure(1)), NOW))
    stopped = replace(failure(0), status=RunStatus.INTERRUPTED, cause=Cause.INTERRUPTED)
    found = backup_conditions(history(stopped, failure(1), backup(2)), NOW)
    assert only(found, "backup.failed").count == 1
    assert "backup.failed" not in kinds(backup_conditions(history(stopped, backup(1)), NOW))


def test_more_failures_than_are_remembered_still_count() -> None:
    found = only(
        backup_conditions(history(failure(0), failure(1), failures=40), NOW), "backup.failed"
    )
    assert found.count == 40
    assert "40 times in a row" in found.title
    assert found.impact.startswith("There is no good backup of main/mina")


@pytest.mark.parametrize("cause", list(Cause))
def test_every_cause_has_words_and_something_to_do(cause: Cause) -> None:
    found = only(backup_conditions(history(failure(0, cause)), NOW), "backup.failed")
    assert not found.title.endswith(": ")
    assert found.mend
    assert bool(found.tried) is (cause in {Cause.CONNECTION, Cause.LOCKED, Cause.STORE})


def test_a_server_whose_databases_could_not_even_be_listed() -> None:
    ref = DatabaseRef("main", WHOLE_SERVER)
    past = replace(history(failure(0, Cause.CONNECTION, "refused")), ref=ref)
    found = only(backup_conditions(past, NOW), "backup.failed")
    assert found.key == "backup.failed:main/*"
    assert found.impact == "No database of main is backed up while this lasts."
    assert found.mend[-1] == "guardian backup now main"


def test_what_is_told_of_a_store_beside_the_run_itself() -> None:
    outcomes = (
        StoreOutcome("local", StoreStatus.FAILED, "/backups: read-only", Cause.STORE),
        StoreOutcome("offsite", StoreStatus.FAILED, "/backups: no space left", Cause.STORE),
    )
    past = history(replace(failure(0), outcomes=outcomes))
    told = facts(only(backup_conditions(past, NOW), "backup.failed"))
    assert told["store local"] == "/backups: read-only"
    assert "store offsite" not in told  # that is the run's own error


def test_what_is_tried_and_who_is_at_it_now() -> None:
    once = replace(NIGHTLY, attempts=1)
    lost = failure(0, Cause.CONNECTION)
    (found,) = backup_conditions(history(lost, protection=once), NOW)
    assert found.tried == ()
    (found,) = backup_conditions(history(lost, protection=replace(once, attempts=2)), NOW)
    assert found.tried == ("tried up to 2 times within each run, with pauses between",)
    assert "running now" not in facts(found)
    (found,) = backup_conditions(history(lost, running="guardian run (pid 7 on host)"), NOW)
    assert facts(found)["running now"] == "by guardian run (pid 7 on host)"


def test_what_a_backup_shows_is_its_snapshot_and_not_its_start() -> None:
    taken = night(3) + timedelta(minutes=7)
    past = history(failure(0), replace(backup(3), snapshot_at=taken))
    found = backup_conditions(past, NOW)
    assert only(found, "backup.failed").impact.endswith("after 2026-11-20 02:07 UTC would be lost.")
    assert only(found, "backup.overdue").title.endswith("since 2026-11-20 02:07 UTC")
    old = replace(backup(3), snapshot_at=None)  # of a guardian that did not know it
    (lost, _) = backup_conditions(history(failure(0), old), NOW)
    assert "after 2026-11-20 02:00 UTC" in lost.impact


# --- backup.overdue ---


def test_overdue_half_an_interval_after_it_was_due() -> None:
    past = history(backup(1))
    due = night(0)
    assert kinds(backup_conditions(past, due + timedelta(hours=12))) == []
    found = only(backup_conditions(past, due + timedelta(hours=12, seconds=1)), "backup.overdue")
    assert found.title == "No good backup of main/mina since 2026-11-22 02:00 UTC"
    assert found.severity is Severity.P1
    assert (found.since, found.occurrence) == (due, due.isoformat())
    assert facts(found)["schedule"] == "0 2 * * * (UTC)"


def test_how_the_last_try_went_is_told() -> None:
    late = only(backup_conditions(history(failure(0), backup(3)), NOW), "backup.overdue")
    assert facts(late)["last try"] == "2026-11-23 02:00 UTC, failed: /backups: no space left"
    late = only(backup_conditions(history(backup(3)), NOW), "backup.overdue")
    assert facts(late)["last try"] == "2026-11-20 02:00 UTC, succeeded"
    late = only(backup_conditions(history(known_since=night(3)), NOW), "backup.overdue")
    assert facts(late)["last try"] == "none"


def test_a_bad_backup_is_none() -> None:
    past = history(backup(0, proven=False), backup(3))
    found = only(backup_conditions(past, NOW), "backup.overdue")
    assert "since 2026-11-20 02:00" in found.title


def test_the_bound_is_the_vitals() -> None:
    past = history(backup(3), protection=replace(NIGHTLY, ages=(3.0, None)))
    assert kinds(backup_conditions(past, night(0))) == []
    assert kinds(backup_conditions(past, night(0) + timedelta(seconds=1))) == ["backup.overdue"]
    off = history(backup(30), protection=replace(NIGHTLY, ages=None))
    assert kinds(backup_conditions(off, NOW)) == []


def test_without_a_schedule_nothing_is_late() -> None:
    by_hand = replace(NIGHTLY, schedule=None)
    assert backup_conditions(history(backup(300), protection=by_hand), NOW) == ()


def test_a_database_without_any_backup_is_late_from_when_it_is_known() -> None:
    assert backup_conditions(history(), NOW) == ()
    new = history(known_since=NOW - timedelta(hours=1))
    assert backup_conditions(new, NOW) == ()
    found = only(backup_conditions(history(known_since=night(3)), NOW), "backup.overdue")
    assert found.title == "There is still no good backup of main/mina"


def test_a_backup_from_the_future_does_not_silence_the_alarm() -> None:
    past = history(replace(backup(0), started_at=NOW + 300 * DAY))
    found = only(backup_conditions(past, NOW), "backup.overdue")
    assert found.since is not None
    assert found.since <= NOW + DAY


# --- backup.shrunk ---


@pytest.mark.parametrize(
    ("dumped", "severity"),
    [(701, None), (700, Severity.P2), (401, Severity.P2), (400, Severity.P1), (0, Severity.P1)],
)
def test_shrunk(dumped: int, severity: Severity | None) -> None:
    past = history(backup(0, dumped=dumped), backup(1))
    found = [one for one in backup_conditions(past, NOW) if one.kind == "backup.shrunk"]
    assert [one.severity for one in found] == ([] if severity is None else [severity])


def test_its_own_drill_does_not_heal_a_shrunken_backup_and_the_next_night_does() -> None:
    shrunk = backup(0, dumped=10, proven=True)
    found = only(backup_conditions(history(shrunk, backup(1)), NOW), "backup.shrunk")
    assert found.title == "Backup of main/mina is 99% smaller than the last proven one"
    assert found.occurrence == shrunk.id
    assert found.mend[0] == f"guardian backup keep {backup(1).id} --reason 'before it shrank'"
    next_night = history(
        backup(0, dumped=10), backup(1, dumped=10, proven=True), backup(2), protection=NIGHTLY
    )
    assert backup_conditions(next_night, NOW) == ()


def test_without_a_proven_one_before_there_is_nothing_to_compare_with() -> None:
    assert backup_conditions(history(backup(0, dumped=1), backup(1, proven=None)), NOW) == ()
    off = replace(NIGHTLY, drops=None)
    assert backup_conditions(history(backup(0, dumped=1), backup(1), protection=off), NOW) == ()


def test_an_empty_backup_is_nothing_to_compare_with() -> None:
    assert backup_conditions(history(backup(0, dumped=0), backup(1, dumped=0)), NOW) == ()


def test_a_shrunken_backup_says_since_when_and_where_it_is_not() -> None:
    taken = night(0) + timedelta(minutes=7)
    small = replace(backup(0, dumped=10, failed_in="offsite"), snapshot_at=taken)
    found = only(backup_conditions(history(small, backup(1)), NOW), "backup.shrunk")
    assert found.since == taken
    assert facts(found)["failed in stores"] == "offsite"
    whole = only(backup_conditions(history(backup(0, dumped=10), backup(1)), NOW), "backup.shrunk")
    assert "failed in stores" not in facts(whole)


# --- store.failing ---


def test_a_store_that_fails_once_while_another_has_the_backup() -> None:
    (found,) = store_conditions(BOTH, [history(backup(0, failed_in="offsite"), backup(1))])
    assert found.key == "store.failing:offsite"
    assert found.severity is Severity.P2
    assert found.title == "Store offsite failed: bucket acme: access denied"
    assert found.impact == "The newest backup lies in local alone."
    assert (found.server, found.database) == (None, None)


def test_twice_in_a_row_or_nowhere_is_worse() -> None:
    twice = history(backup(0, failed_in="offsite"), backup(1, failed_in="offsite"), backup(2))
    (found,) = store_conditions(BOTH, [twice])
    assert (found.severity, found.count, found.since) == (Severity.P1, 2, night(1))
    nowhere = replace(
        failure(0),
        outcomes=(StoreOutcome("offsite", StoreStatus.FAILED, "gone", Cause.STORE),),
    )
    (found,) = store_conditions(BOTH, [history(nowhere)])
    assert (found.severity, found.impact) == (Severity.P1, "The newest backup lies nowhere.")


def test_a_run_that_failed_elsewhere_says_nothing_of_the_store() -> None:
    cut_off = replace(failure(0), outcomes=(StoreOutcome("offsite", StoreStatus.FAILED),))
    assert store_conditions(BOTH, [history(cut_off, backup(1))]) == ()
    (found,) = store_conditions(BOTH, [history(cut_off, backup(1, failed_in="offsite"))])
    assert found.count == 1


def test_a_success_ends_it_and_a_store_that_is_configured_no_more_is_nobodys_business() -> None:
    healed = history(backup(0), backup(1, failed_in="offsite"))
    assert store_conditions(BOTH, [healed]) == ()
    only_local = replace(NIGHTLY, stores=("local",))
    failing = history(backup(0, failed_in="offsite"), protection=only_local)
    assert store_conditions(BOTH, [failing]) == ()


def test_several_databases_are_one_condition_of_the_store() -> None:
    other = DatabaseRef("main", "other")
    failing = history(backup(0, failed_in="offsite"))
    (found,) = store_conditions(BOTH, [failing, replace(failing, ref=other)])
    assert facts(found)["backups of"] == "main/mina, main/other"
    assert found.impact == "The newest backups lie in local alone."


def test_the_newest_failure_speaks_and_the_longest_row_counts() -> None:
    other = DatabaseRef("main", "other")
    full = replace(
        backup(0, failed_in="offsite"),
        id=BackupId("newest"),
        outcomes=(StoreOutcome("offsite", StoreStatus.FAILED, "no room", Cause.DISK_FULL),),
    )
    long_row = history(full, backup(1, failed_in="offsite"), backup(3, failed_in="offsite"))
    short = replace(history(backup(2, failed_in="offsite")), ref=other)
    (found,) = store_conditions(BOTH, [short, long_row])
    assert found.title == "Store offsite failed 3 times in a row: no room"
    assert (found.occurrence, found.count, found.since) == ("newest", 3, night(3))
    told = facts(found)
    assert (told["error"], told["cause"], told["lies in"]) == ("no room", "disk_full", "local")
    assert found.mend == (
        "make room there; `guardian backup prune --dry-run` shows what would go",
        "guardian backup now main/mina",
    )


def test_a_failure_without_a_known_cause_has_a_mend_all_the_same() -> None:
    unknown = replace(
        failure(0), outcomes=(StoreOutcome("offsite", StoreStatus.FAILED, "no idea"),)
    )
    (found,) = store_conditions(BOTH, [history(unknown)])
    assert "cause" not in facts(found)
    assert facts(found)["lies in"] == "no store"
    assert found.mend[0].startswith("look at its credentials")


# --- words from outside ---

HOSTILE = "x" * 63 + "\n\x1b[2J"


def test_no_name_is_too_long_and_none_holds_what_a_terminal_obeys() -> None:
    ref = DatabaseRef("s" * 60, HOSTILE)
    past = replace(history(failure(0, error=HOSTILE * 50), known_since=night(9)), ref=ref)
    for one in backup_conditions(past, NOW):
        assert len(one.title) <= TITLE_LIMIT
        assert ("failed" if one.kind == "backup.failed" else "no good backup") in one.title
        texts = [one.title, one.impact, *one.tried, *(each.value for each in one.evidence)]
        assert all(text.isprintable() for text in texts)
        assert all(len(each.value) <= 500 for each in one.evidence)


def test_no_secret_and_no_row_leaves() -> None:
    error = (
        "connection to postgresql://backup:hunter2@db/mina failed; ALTER ROLE x PASSWORD 'hunter3' "
        'DETAIL: Key (email)=(ada@example.org) exists CONTEXT: COPY users, line 1: "1 ada"'
    )
    (found,) = backup_conditions(history(failure(0, Cause.DUMP, error)), NOW)
    told = repr(found)
    assert "hunter" not in told
    assert "ada" not in told
    assert "connection to postgresql://backup:********@db/mina failed" in told


# --- store.forged ---


def forged(ago: int, store: str = "offsite") -> Event:
    text = "store offsite: the manifest of 20261123T020000Z-7f3a9c is not signed"
    return Event(
        night(ago), "store.forged", text, DatabaseRef("main", "mina"), data={"store": store}
    )


def test_something_forged_is_a_page_for_its_store_however_often_it_was_met() -> None:
    one, other = forged_conditions([forged(0), forged(0, "local"), forged(1)])
    assert (one.key, one.kind, one.severity) == (
        "store.forged:offsite",
        "store.forged",
        Severity.P0,
    )
    assert (one.since, other.key) == (night(1), "store.forged:local")
    assert "is not signed" in str(one.evidence)
    assert "main/mina" in str(one.evidence)
    assert forged_conditions([]) == ()


def test_the_same_forgery_met_again_is_the_same_occurrence() -> None:
    (before,), (after,) = forged_conditions([forged(1)]), forged_conditions([forged(0), forged(1)])
    assert before.occurrence == after.occurrence
