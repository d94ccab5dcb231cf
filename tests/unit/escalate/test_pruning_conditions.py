"""Retention that fails again and again, from what prunes have recorded."""

from __future__ import annotations

from datetime import timedelta

from support.escalation import START

from guardian.backup.prune_result import PRUNE_FAILED, PRUNE_MENDED
from guardian.escalate.conditions.pruning import prune_conditions
from guardian.escalate.model import TITLE_LIMIT, Condition, Severity
from guardian.model import DatabaseRef, Event

DAY = timedelta(days=1)
MINA, OTHER = DatabaseRef("main", "mina"), DatabaseRef("main", "other")


def failed(day: int, store: str = "local", ref: DatabaseRef = MINA, text: str = "no") -> Event:
    at = START + day * DAY
    data = {"store": store, "run": f"run {day}"}
    return Event(at + timedelta(seconds=1), PRUNE_FAILED, f"{ref}: {text}", ref, data=data)


def mended(day: int, ref: DatabaseRef = MINA) -> Event:
    return Event(START + day * DAY, PRUNE_MENDED, "again", ref)


def conditions(*events: Event, refs: tuple[DatabaseRef, ...] = (MINA, OTHER)) -> list[Condition]:
    newest_first = sorted(events, key=lambda one: one.at, reverse=True)
    return list(prune_conditions(["local", "offsite"], newest_first, refs))


def test_one_that_failed_is_made_up_for_by_the_next() -> None:
    assert conditions() == []
    assert conditions(failed(1)) == []
    assert conditions(failed(1, text="a"), failed(1, text="b")) == [], "two problems of one run"


def test_two_in_a_row_are_told_with_the_store() -> None:
    (one,) = conditions(failed(1), failed(2, text="access denied"))
    assert (one.key, one.kind) == ("store.failing:local/retention", "store.failing")
    assert one.severity is Severity.P2
    assert one.title == ("Retention in store local failed twice in a row: main/mina: access denied")
    assert one.since == START + DAY + timedelta(seconds=1)
    assert one.count == 2
    assert one.mend[-1] == "guardian backup prune"
    (later,) = conditions(failed(1), failed(2), failed(3))
    assert (later.count, later.occurrence != one.occurrence) == (3, True)


def test_rows_of_different_databases_do_not_add_up() -> None:
    assert conditions(failed(1), failed(2, ref=OTHER)) == []
    (one,) = conditions(*(failed(day, ref=ref) for day in (1, 2) for ref in (MINA, OTHER)))
    assert one.evidence[1].value == "main/mina, main/other"


def test_a_prune_without_problems_ends_the_row() -> None:
    assert conditions(failed(1), failed(2), mended(3)) == []
    assert conditions(failed(1), failed(2), mended(3), failed(4)) == []
    assert len(conditions(failed(1), mended(2), failed(3), failed(4))) == 1


def test_a_store_in_which_the_latest_prune_went_well_is_fine() -> None:
    events = [failed(1), failed(2), failed(3, "offsite")]
    assert conditions(*events) == []
    assert [one.key for one in conditions(*events, failed(4, "offsite"))] == [
        "store.failing:offsite/retention"
    ]


def test_what_is_not_in_our_care_or_configured_any_more_alarms_nobody() -> None:
    assert conditions(failed(1), failed(2), refs=(OTHER,)) == []
    assert conditions(failed(1, "gone"), failed(2, "gone")) == []


def test_a_long_error_fits() -> None:
    (one,) = conditions(failed(1), failed(2, text="x " * 500))
    assert len(one.title) <= TITLE_LIMIT
