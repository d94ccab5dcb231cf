"""Stores that do not take backups, and stores in which somebody else has written."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from guardian.backup.signature import FORGED
from guardian.errors import Cause
from guardian.escalate.conditions.history import History
from guardian.escalate.conditions.phrases import fact, instant, listed, name, said, times, title
from guardian.escalate.model import Condition, Fact, Severity
from guardian.model import BackupRecord, Event, RunStatus, StoreOutcome, StoreStatus

FAILING = "store.failing"

_MENDS = {
    Cause.DISK_FULL: "make room there; `guardian backup prune --dry-run` shows what would go",
    Cause.PERMISSION: "`guardian doctor` tries to write, read, list and delete there",
}
_MEND = "look at its credentials, rights, network; `guardian doctor` tries it"


@dataclass(frozen=True, slots=True)
class _Row:
    """One database's tries that a store has failed in a row, newest first."""

    history: History
    failures: tuple[tuple[BackupRecord, StoreOutcome], ...]


def store_conditions(stores: Sequence[str], histories: Sequence[History]) -> tuple[Condition, ...]:
    """The stores that failed in the last try of any database that they belong to."""
    found = (_failing(store, [_row(store, one) for one in histories]) for store in stores)
    return tuple(one for one in found if one is not None)


def forged_conditions(events: Sequence[Event]) -> tuple[Condition, ...]:
    """The stores in which something lies that nobody of ours has signed.

    ``events`` are those that told of it lately, newest first. Each prune tells of it again, so it
    is over when none has for a day.
    """
    by_store: dict[str, list[Event]] = {}
    for one in events:
        by_store.setdefault(one.data.get("store", ""), []).append(one)
    return tuple(
        Condition(
            key=f"{FORGED}:{store}",
            kind=FORGED,
            severity=Severity.P0,
            title=title(f"Store {name(store)} holds what nobody of ours has signed"),
            since=found[-1].at,
            occurrence="forged",
            impact="Somebody else may have written there. Nothing of it is believed; what it "
            "stands in the place of may be lost.",
            evidence=(
                fact("found", found[0].message),
                fact("last seen", instant(found[0].at)),
                fact("backups of", listed({str(one.ref) for one in found if one.ref})),
            ),
            mend=(
                "look at who can write to the store, and change its credentials",
                f"guardian backup list --store {name(store)}",
                "docs/operating.md tells what to do when something is forged",
            ),
        )
        for store, found in by_store.items()
    )


def _row(store: str, history: History) -> _Row:
    failures = []
    for record in history.tries if store in history.protection.stores else ():
        outcome = next((one for one in record.outcomes if one.store == store), None)
        if outcome is None or record.status is RunStatus.RUNNING:
            continue
        if outcome.status is StoreStatus.SUCCEEDED:
            break
        if outcome.error is not None:  # else the run failed elsewhere, and says nothing of it
            failures.append((record, outcome))
    return _Row(history, tuple(failures))


def _failing(store: str, rows: Sequence[_Row]) -> Condition | None:
    failing = [one for one in rows if one.failures]
    if not failing:
        return None
    newest = max(failing, key=lambda one: one.failures[0][0].started_at)
    record, outcome = newest.failures[0]
    count = max(len(one.failures) for one in failing)
    nowhere = [one.history.ref for one in failing if not one.failures[0][0].stores]
    databases = listed(str(one.history.ref) for one in failing)
    return Condition(
        key=f"{FAILING}:{store}",
        kind=FAILING,
        severity=Severity.P1 if count > 1 or nowhere else Severity.P2,
        title=title(
            f"Store {name(store)} failed{f' {times(count)} in a row' if count > 1 else ''}: "
            f"{said(outcome.error)}"
        ),
        since=min(one.failures[-1][0].started_at for one in failing),
        occurrence=record.id,
        count=count,
        impact=(
            "The newest backup lies nowhere." if nowhere else _impact(record.stores, len(failing))
        ),
        evidence=(
            fact("error", outcome.error),
            *((Fact("cause", outcome.cause.value),) if outcome.cause is not None else ()),
            fact("backups of", databases),
            fact("last try", f"{record.id}, {instant(record.started_at)}"),
            fact("lies in", listed(record.stores) or "no store"),
        ),
        mend=(
            _MENDS.get(outcome.cause, _MEND) if outcome.cause is not None else _MEND,
            f"guardian backup now {newest.history.target}",
        ),
    )


def _impact(stores: Sequence[str], databases: int) -> str:
    whose = "The newest backup lies" if databases == 1 else "The newest backups lie"
    return f"{whose} in {listed(stores)} alone."
