"""Retention that cannot be applied: stores fill up, and nobody looks until they are full."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from guardian.backup.prune_result import PRUNE_FAILED, PRUNE_MENDED
from guardian.escalate.conditions.phrases import fact, instant, listed, name, said, times, title
from guardian.escalate.conditions.stores import FAILING
from guardian.escalate.model import Condition, Fact, Severity
from guardian.model import DatabaseRef, Event

KINDS = (PRUNE_FAILED, PRUNE_MENDED)
"""The kinds of events that tell of it."""

OFTEN = 2
"""Prunes of one database in a row; one that failed is made up for by the next."""


@dataclass(frozen=True, slots=True)
class _Row:
    """Problems in one store of one database's prunes that failed in a row, newest first."""

    ref: DatabaseRef
    problems: tuple[Event, ...]

    @property
    def runs(self) -> int:
        """How many prunes they are of."""
        return len({_run(one) for one in self.problems})


def prune_conditions(
    stores: Sequence[str], events: Iterable[Event], refs: Collection[DatabaseRef]
) -> tuple[Condition, ...]:
    """The stores in which retention could not be applied repeatedly.

    ``events`` are those of KINDS, newest first. ``refs`` are the databases in our care: of others
    nobody will prune again, so nothing is told of them.
    """
    failing: dict[DatabaseRef, list[Event]] = {one: [] for one in refs}
    over: set[DatabaseRef] = set()
    for one in events:
        if one.ref not in failing or one.ref in over:
            continue
        if one.kind == PRUNE_MENDED:
            over.add(one.ref)
        elif one.kind == PRUNE_FAILED:
            failing[one.ref].append(one)
    found = (_condition(store, _rows(store, failing)) for store in stores)
    return tuple(one for one in found if one is not None)


def _rows(store: str, failing: dict[DatabaseRef, list[Event]]) -> list[_Row]:
    """Of the databases whose latest prune failed in that store."""
    rows = []
    for ref, events in failing.items():
        here = tuple(one for one in events if one.data.get("store") == store)
        if here and _run(here[0]) == _run(events[0]):
            rows.append(_Row(ref, here))
    return [one for one in rows if one.runs >= OFTEN]


def _condition(store: str, rows: Sequence[_Row]) -> Condition | None:
    if not rows:
        return None
    newest = max(rows, key=lambda one: one.problems[0].at)
    problem, count = newest.problems[0], max(one.runs for one in rows)
    return Condition(
        key=f"{FAILING}:{store}/retention",
        kind=FAILING,
        severity=Severity.P2,
        title=title(
            f"Retention in store {name(store)} failed {times(count)} in a row: "
            f"{said(problem.message)}"
        ),
        since=min(one.problems[-1].at for one in rows),
        occurrence=f"{newest.ref} {_run(problem)}",
        count=count,
        impact="What is too old stays there, until the store is full.",
        evidence=(
            fact("error", problem.message),
            fact("backups of", listed(str(one.ref) for one in rows)),
            Fact("last try", instant(problem.at)),
        ),
        mend=(
            "look at its credentials and rights; `guardian doctor` tries to delete there",
            "guardian backup prune",
        ),
    )


def _run(event: Event) -> str:
    return event.data.get("run") or event.at.isoformat()
