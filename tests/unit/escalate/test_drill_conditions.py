"""Bad backups, drills that could not tell, and proofs that are late."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from guardian.backup.schedule import parse_schedule
from guardian.escalate.conditions.drills import drill_conditions
from guardian.escalate.conditions.history import History, Protection
from guardian.escalate.model import Condition, Severity
from guardian.model import (
    BackupId,
    BackupRecord,
    CheckOutcome,
    DatabaseRef,
    Difference,
    ProofRecord,
    ProofResult,
    RunStatus,
)

REF = DatabaseRef("main", "mina")
NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
DAY = timedelta(days=1)
PROVEN, MISMATCH, UNRESTORABLE, INCONCLUSIVE = ProofResult


def night(ago: int) -> datetime:
    return NOW.replace(hour=2) - ago * DAY


def id_of(ago: int) -> BackupId:
    return BackupId(f"{night(ago):%Y%m%dT%H%M%SZ}-abc")


def drill(
    ago: int,
    result: ProofResult = PROVEN,
    *,
    store: str = "local",
    hours: float = 1.0,
    reason: str | None = None,
    differences: tuple[Difference, ...] = (),
    checks: tuple[CheckOutcome, ...] = (),
) -> ProofRecord:
    """Of the backup of so many nights ago, so many hours after it was made."""
    return ProofRecord(
        id_of(ago),
        store,
        result,
        night(ago) + timedelta(hours=hours),
        differences=differences,
        checks=checks,
        reason=reason or (None if result is PROVEN else f"{result.value} it is"),
    )


def history(
    *drills: ProofRecord,
    nights: tuple[int, ...] = (0, 1, 2),
    stores: tuple[str, ...] = ("local", "offsite"),
    drill_every: timedelta | None = None,
    known_since: datetime | None = None,
    schedule: str | None = None,
) -> History:
    """As a catalog tells: each backup has its latest conclusive drill's word."""
    ordered = sorted(drills, key=lambda one: one.at, reverse=True)
    backups = []
    for ago in nights:
        words = [x for x in ordered if x.backup == id_of(ago) and x.proven is not None]
        backups.append(
            BackupRecord(
                id_of(ago),
                REF,
                RunStatus.SUCCEEDED,
                night(ago),
                snapshot_at=night(ago),
                stores=stores,
                proven=words[0].proven if words else None,
                proven_at=words[0].at if words else None,
            )
        )
    protection = Protection(
        schedule=None if schedule is None else parse_schedule(schedule),
        drill_interval=drill_every,
        stores=stores,
    )
    return History(
        REF, protection, backups=backups, tries=backups, drills=ordered, known_since=known_since
    )


def found(past: History) -> dict[str, Condition]:
    return {one.kind: one for one in drill_conditions(past, NOW)}


def facts(condition: Condition) -> dict[str, str]:
    return {one.name: one.value for one in condition.evidence}


# --- bad backups ---


@pytest.mark.parametrize(
    ("result", "kind", "words"),
    [
        (MISMATCH, "verify.mismatch", "does not hold what it should"),
        (UNRESTORABLE, "verify.unrestorable", "cannot be restored"),
    ],
)
def test_a_bad_backup_is_a_p0(result: ProofResult, kind: str, words: str) -> None:
    one = found(history(drill(0, result), drill(1)))[kind]
    assert one.severity is Severity.P0
    assert one.key == f"{kind}:main/mina"
    assert one.title == f"Backup of main/mina {words}: {result.value} it is"
    assert one.occurrence == f"{id_of(0)}@local"
    assert one.impact == (
        f"The newest backup that is proven shows 2026-11-22 02:00 UTC: {id_of(1)}."
    )
    assert one.mend[0] == f"guardian backup keep {id_of(1)} --reason 'last proven'"
    assert f"guardian verify {id_of(0)} --store offsite" in one.mend


def test_nothing_proven_is_said() -> None:
    one = found(history(drill(0, UNRESTORABLE)))["verify.unrestorable"]
    assert one.impact == "No backup of main/mina is proven to bring the database back."


def test_drilled_again_with_the_same_result_is_the_same_occurrence() -> None:
    once = found(history(drill(0, MISMATCH)))["verify.mismatch"]
    twice = found(history(drill(0, MISMATCH), drill(0, MISMATCH, hours=5)))["verify.mismatch"]
    assert once.occurrence == twice.occurrence
    assert twice.count == 1


@pytest.mark.parametrize(
    ("after", "ends"),
    [
        (drill(1, PROVEN, hours=9), True),  # the same copy again
        (drill(0, PROVEN), True),  # a newer backup from the same store
        (drill(2, PROVEN, hours=72), False),  # an older one, later
        (drill(1, PROVEN, hours=9, store="offsite"), False),  # another copy of it
        (drill(0, INCONCLUSIVE), False),
        (drill(1, INCONCLUSIVE, hours=9), False),
    ],
)
def test_what_ends_it(after: ProofRecord, ends: bool) -> None:
    past = history(drill(1, UNRESTORABLE, hours=2), after)
    assert ("verify.unrestorable" not in found(past)) is ends


def test_an_old_backup_found_bad_after_a_newer_one_was_proven_is_told() -> None:
    past = history(drill(0, PROVEN), drill(2, UNRESTORABLE, hours=56))
    assert past.drills[0].result is UNRESTORABLE
    assert "verify.unrestorable" in found(past)


def test_it_ends_when_the_bad_copy_is_gone() -> None:
    bad = drill(3, UNRESTORABLE, hours=90)
    assert "verify.unrestorable" in found(history(bad, nights=(0, 3)))
    assert "verify.unrestorable" not in found(history(bad, nights=(0, 1)))
    elsewhere = history(bad, nights=(0, 3), stores=("offsite",))
    assert "verify.unrestorable" not in found(elsewhere)


def test_several_bad_copies_are_one_incident_of_each_kind() -> None:
    past = history(
        drill(1, UNRESTORABLE), drill(0, UNRESTORABLE, store="offsite"), drill(2, MISMATCH)
    )
    both = found(past)
    one = both["verify.unrestorable"]
    assert (one.count, one.occurrence, one.since) == (2, f"{id_of(0)}@offsite", drill(1).at)
    assert facts(one)["other bad copies"] == f"{id_of(1)} in local"
    assert both["verify.mismatch"].count == 1


def test_differences_are_told_by_name_and_number() -> None:
    many = tuple(Difference(f"public.t{n}", "5 rows", "4 rows") for n in range(8))
    told = facts(found(history(drill(0, MISMATCH, differences=many)))["verify.mismatch"])
    assert told["public.t0"] == "5 rows expected, 4 rows found"
    assert told["more differences"] == "3"


def test_what_a_check_gave_is_not_told_and_its_name_is() -> None:
    checks = (CheckOutcome("users survive", False, "ada@example.org"), CheckOutcome("x", True, "t"))
    one = found(history(drill(0, MISMATCH, checks=checks), drill(1)))["verify.mismatch"]
    assert facts(one)["checks that fell short"] == "users survive"
    assert "ada" not in repr(one)
    assert any("look at the database itself" in line for line in one.mend)


def test_the_other_copies_of_a_bad_backup_are_named() -> None:
    elsewhere = history(drill(1, UNRESTORABLE), drill(0), stores=("attic", "local", "offsite"))
    elsewhere = replace(
        elsewhere,
        backups=[replace(elsewhere.backups[0], stores=("attic",)), *elsewhere.backups[1:]],
    )
    one = found(elsewhere)["verify.unrestorable"]
    assert facts(one)["the same backup lies in"] == "attic, offsite"
    assert one.mend[-2:] == (
        f"guardian verify {id_of(1)} --store attic",
        f"guardian verify {id_of(1)} --store offsite",
    )
    alone = found(history(drill(1, UNRESTORABLE), stores=("local",)))["verify.unrestorable"]
    assert "the same backup lies in" not in facts(alone)
    assert "other bad copies" not in facts(alone)


def test_a_difference_is_the_backups_and_a_check_alone_the_databases() -> None:
    differs = (Difference("public.t", "5 rows", "4 rows"),)
    fell = (CheckOutcome("users survive", False, "f"),)
    both = found(history(drill(0, MISMATCH, differences=differs, checks=fell)))["verify.mismatch"]
    assert "guardian backup now main/mina && guardian verify main/mina" in both.mend
    broken = found(history(drill(0, UNRESTORABLE)))["verify.unrestorable"]
    assert "guardian backup now main/mina && guardian verify main/mina" in broken.mend


def test_an_equal_instant_is_no_later_drill() -> None:
    bad, good = drill(1, UNRESTORABLE, hours=25), drill(0, PROVEN, hours=1)
    assert bad.at == good.at
    assert "verify.unrestorable" in found(history(bad, good))


# --- inconclusive ---


def test_the_latest_drill_could_not_tell() -> None:
    past = history(drill(0, INCONCLUSIVE, reason="no extension vector here"), drill(1))
    one = found(past)["verify.inconclusive"]
    assert one.severity is Severity.P2
    assert one.title == "Drill of main/mina could not tell: no extension vector here"
    assert set(found(past)) == {"verify.inconclusive"}


def test_a_row_of_them_counts_and_a_verdict_ends_it() -> None:
    row = history(drill(0, INCONCLUSIVE), drill(1, INCONCLUSIVE), drill(2))
    one = found(row)["verify.inconclusive"]
    assert (one.count, one.since) == (2, drill(1).at)
    assert found(history(drill(0), drill(1, INCONCLUSIVE))) == {}
    assert set(found(history(drill(0, MISMATCH), drill(1, INCONCLUSIVE)))) == {"verify.mismatch"}


# --- overdue proofs ---


def overdue(past: History, now: datetime) -> Condition | None:
    return next((x for x in drill_conditions(past, now) if x.kind == "proof.overdue"), None)


def test_a_proof_is_late_after_one_and_a_half_intervals_and_worse_after_three() -> None:
    past = history(drill(1), drill_every=DAY, schedule="0 2 * * *")
    assert overdue(past, night(1) + 1.5 * DAY - timedelta(seconds=1)) is None
    late = overdue(past, night(1) + 1.5 * DAY)
    assert late is not None
    assert late.severity is Severity.P2
    assert late.title == "No proven backup of main/mina since 2026-11-22 02:00 UTC"
    assert late.since == night(0)
    later = overdue(past, night(1) + 3 * DAY)
    assert later is not None
    assert later.severity is Severity.P1
    assert later.occurrence == late.occurrence


def test_the_bounds_are_the_vitals_or_the_usual_ones() -> None:
    def first_late(ages: tuple[float | None, float | None] | None, days: float) -> str | None:
        past = history(drill(1), drill_every=DAY)
        past = replace(past, protection=replace(past.protection, ages=ages))
        late = overdue(past, night(1) + days * DAY)
        return None if late is None else late.severity.value

    assert [first_late((2, 4), days) for days in (1.9, 2, 3.9, 4)] == [None, "P2", "P2", "P1"]
    assert [first_late(None, days) for days in (1.4, 1.5, 2.9, 3)] == [None, "P2", "P2", "P1"]
    assert [first_late((None, 2), days) for days in (1.4, 1.5, 2)] == [None, "P2", "P1"]
    assert [first_late((2, None), days) for days in (1.9, 2, 3)] == [None, "P2", "P1"]


def test_what_a_late_proof_means_and_how_the_last_drill_went() -> None:
    late = overdue(history(drill(0, INCONCLUSIVE), drill(2), drill_every=DAY), NOW)
    assert late is not None
    assert late.impact.endswith("could be brought back as it was later than that.")
    assert facts(late)["last drill"] == (
        f"2026-11-23 03:00 UTC, {id_of(0)}: inconclusive: inconclusive it is"
    )
    never = overdue(history(drill_every=DAY, known_since=NOW - 9 * DAY), NOW)
    assert never is not None
    assert never.impact == "Nobody knows whether main/mina could be brought back."
    assert facts(never)["last drill"] == "none"
    fine = overdue(history(drill(2), drill_every=DAY), NOW)
    assert fine is not None
    assert facts(fine)["last drill"] == f"2026-11-21 03:00 UTC, {id_of(2)}: proven"


def test_drills_that_are_rarer_than_backups_and_the_other_way_round() -> None:
    weekly = history(drill(1), drill_every=7 * DAY, schedule="0 2 * * *")
    assert overdue(weekly, night(1) + 10 * DAY) is None
    assert overdue(weekly, night(1) + 10.5 * DAY) is not None
    daily = history(drill(1), drill_every=DAY, schedule="0 2 * * sun")
    assert overdue(daily, night(1) + 10 * DAY) is None


def test_a_bad_drill_is_no_proof_and_one_that_could_not_tell_neither() -> None:
    past = history(drill(0, INCONCLUSIVE), drill(1, MISMATCH), drill(2), drill_every=DAY)
    late = overdue(past, NOW)
    assert late is not None
    assert late.title.endswith("since 2026-11-21 02:00 UTC")


def test_never_proven_counts_from_when_it_is_known() -> None:
    assert overdue(history(drill_every=DAY), NOW) is None
    assert overdue(history(drill_every=DAY, known_since=NOW - DAY), NOW) is None
    late = overdue(history(drill_every=DAY, known_since=NOW - 2 * DAY), NOW)
    assert late is not None
    assert late.title == "No backup of main/mina has ever been proven"


def test_drills_by_hand_are_never_late() -> None:
    assert overdue(history(drill(2), known_since=NOW - 99 * DAY), NOW + 99 * DAY) is None
