"""Drills that found a backup bad, that could not tell, and that are not made any more.

A bad copy is a matter of its own store: it stays an alarm until that copy is gone, or a later drill
from the same store has proven it, or a newer backup, after all. (A backup in another store that is
fine does not mend it.)
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

from guardian.escalate.conditions.history import DEFAULT_AGES, History
from guardian.escalate.conditions.phrases import (
    LISTED,
    backup_text,
    fact,
    instant,
    listed,
    name,
    said,
    title,
)
from guardian.escalate.model import Condition, Fact, Severity
from guardian.model import BackupId, BackupRecord, ProofRecord, ProofResult
from guardian.units import format_duration

MISMATCH = "verify.mismatch"
UNRESTORABLE = "verify.unrestorable"
INCONCLUSIVE = "verify.inconclusive"
OVERDUE = "proof.overdue"

_BAD = {ProofResult.MISMATCH: MISMATCH, ProofResult.UNRESTORABLE: UNRESTORABLE}


def drill_conditions(history: History, now: datetime) -> tuple[Condition, ...]:
    """All that drills say, or should have said, of one database's backups."""
    found = [
        _bad(history, [one for one in _bad_copies(history) if one.result is result])
        for result in _BAD
    ]
    found += [_inconclusive(history), _overdue(history, now)]
    return tuple(one for one in found if one is not None)


def _bad_copies(history: History) -> list[ProofRecord]:
    """The drills that say so of a copy that is still there, each copy's last word; newest first."""
    backups = {one.id: one for one in history.backups}
    last_words: dict[tuple[str, str], ProofRecord] = {}
    for drill in history.drills:
        backup = backups.get(drill.backup)
        if drill.proven is not None and backup is not None and drill.store in backup.stores:
            last_words.setdefault((drill.backup, drill.store), drill)
    words = list(last_words.values())
    return [
        one
        for one in words
        if one.proven is False
        and not any(_outdoes(other, one, backups) for other in words if other.proven)
    ]


def _outdoes(good: ProofRecord, bad: ProofRecord, backups: Mapping[BackupId, BackupRecord]) -> bool:
    """Whether a later drill from the same store shows that such a backup can be had again."""
    return (
        good.store == bad.store
        and good.at > bad.at
        and _shows(backups[good.backup]) >= _shows(backups[bad.backup])
    )


def _shows(record: BackupRecord) -> datetime:
    return record.snapshot_at or record.started_at


def _bad(history: History, bad: Sequence[ProofRecord]) -> Condition | None:
    if not bad:
        return None
    drill, ref = bad[0], history.ref
    kind = _BAD[drill.result]
    what = "does not hold what it should" if kind == MISMATCH else "cannot be restored"
    return Condition(
        key=f"{kind}:{ref}",
        kind=kind,
        severity=Severity.P0,
        title=title(f"Backup of {name(ref)} {what}: {said(drill.reason)}"),
        server=ref.server,
        database=ref.database,
        since=min(one.at for one in bad),
        occurrence=f"{drill.backup}@{drill.store}",
        count=len(bad),
        impact=_falls_back_to(history),
        evidence=(
            fact("backup", f"{drill.backup} in store {drill.store}, drilled {instant(drill.at)}"),
            fact("reason", drill.reason or "none was given"),
            *_differences(drill),
            *_checks(drill),
            *_other_copies(history, drill, bad),
        ),
        tried=("fetched, decrypted, restored into a scratch server and compared",),
        mend=_mend(history, drill),
    )


def _falls_back_to(history: History) -> str:
    proven = history.last_proven
    if proven is None:
        return f"No backup of {name(history.ref)} is proven to bring the database back."
    return f"The newest backup that is proven shows {instant(_shows(proven))}: {proven.id}."


def _differences(drill: ProofRecord) -> tuple[Fact, ...]:
    """Objects and numbers. No row: drills do not keep any."""
    shown = [
        fact(one.object, f"{one.expected} expected, {one.found} found")
        for one in drill.differences[:LISTED]
    ]
    if more := len(drill.differences) - len(shown):
        shown.append(Fact("more differences", f"{more:,}"))
    return tuple(shown)


def _checks(drill: ProofRecord) -> tuple[Fact, ...]:
    """Which fell short. What their queries gave may be data, and stays here."""
    failed = [one.name for one in drill.checks if not one.passed]
    return (fact("checks that fell short", listed(failed)),) if failed else ()


def _other_copies(
    history: History, drill: ProofRecord, bad: Sequence[ProofRecord]
) -> tuple[Fact, ...]:
    backup = next(one for one in history.backups if one.id == drill.backup)
    others = [store for store in backup.stores if store != drill.store]
    facts = [fact("the same backup lies in", listed(others))] if others else []
    if len(bad) > 1:
        facts.append(fact("other bad copies", listed(f"{x.backup} in {x.store}" for x in bad[1:])))
    return tuple(facts)


def _mend(history: History, drill: ProofRecord) -> tuple[str, ...]:
    backup = next(one for one in history.backups if one.id == drill.backup)
    again = [
        f"guardian verify {drill.backup} --store {shlex.quote(store)}"
        for store in backup.stores
        if store != drill.store
    ]
    proven = history.last_proven
    keep = [f"guardian backup keep {proven.id} --reason 'last proven'"] if proven else []
    only_checks = drill.result is ProofResult.MISMATCH and not drill.differences
    look = (
        ["the backup is what the database was: look at the database itself, where the checks say"]
        if only_checks
        else [f"guardian backup now {history.target} && guardian verify {history.target}"]
    )
    return (*keep, *look, *again[:2])


def _inconclusive(history: History) -> Condition | None:
    """The latest drill of all could not tell, and none has since."""
    drill = next(iter(history.drills), None)
    if drill is None or drill.result is not ProofResult.INCONCLUSIVE:
        return None
    ref = history.ref
    row = []
    for one in history.drills:
        if one.result is not ProofResult.INCONCLUSIVE:
            break
        row.append(one)
    return Condition(
        key=f"{INCONCLUSIVE}:{ref}",
        kind=INCONCLUSIVE,
        severity=Severity.P2,
        title=title(f"Drill of {name(ref)} could not tell: {said(drill.reason)}"),
        server=ref.server,
        database=ref.database,
        since=row[-1].at,
        occurrence=f"{drill.backup}@{drill.store}",
        count=len(row),
        impact="The backup may be good; nobody knows. " + _falls_back_to(history),
        evidence=(
            fact("backup", f"{drill.backup} in store {drill.store}, drilled {instant(drill.at)}"),
            fact("reason", drill.reason or "none was given"),
        ),
        tried=("restored as far as this host could",),
        mend=(
            "mend what the reason names",
            f"guardian verify {drill.backup} --store {shlex.quote(drill.store)}",
        ),
    )


def _overdue(history: History, now: datetime) -> Condition | None:
    """The newest proven backup is older than it could be if the drills were made and went well."""
    allowed = _interval(history)
    proven, ref = history.last_proven, history.ref
    since = _shows(proven) if proven is not None else history.known_since
    if allowed is None or since is None:
        return None
    warning, critical = _ages(history)
    age = max(now - since, timedelta(0))
    if age < allowed * warning:
        return None
    what = (
        f"No proven backup of {name(ref)} since {instant(since)}"
        if proven is not None
        else f"No backup of {name(ref)} has ever been proven"
    )
    drill = next(iter(history.drills), None)
    return Condition(
        key=f"{OVERDUE}:{ref}",
        kind=OVERDUE,
        severity=Severity.P1 if age >= allowed * critical else Severity.P2,
        title=title(what),
        server=ref.server,
        database=ref.database,
        since=since + allowed,
        occurrence=since.isoformat(),
        impact=(
            f"Nobody knows whether {name(ref)} could be brought back as it was later than that."
            if proven is not None
            else f"Nobody knows whether {name(ref)} could be brought back."
        ),
        evidence=(
            Fact("a proof is due every", format_duration(allowed)),
            fact("newest proven backup", backup_text(proven)),
            fact("newest backup", backup_text(next(iter(history.backups), None))),
            fact("last drill", "none" if drill is None else _drill_text(drill)),
        ),
        mend=(f"guardian verify {history.target}",),
    )


def _interval(history: History) -> timedelta | None:
    """How far apart two proofs may be: drills follow their schedule, and need a new backup."""
    drills, schedule = history.protection.drill_interval, history.protection.schedule
    if drills is None:
        return None
    return max(drills, schedule.interval_hint()) if schedule is not None else drills


def _ages(history: History) -> tuple[float, float]:
    """From when on it is late, and very late."""
    warning, critical = history.protection.ages or DEFAULT_AGES
    first = warning if warning is not None else DEFAULT_AGES[0]
    return max(first, 1.0), max(critical if critical is not None else DEFAULT_AGES[1], first, 1.0)


def _drill_text(drill: ProofRecord) -> str:
    text = f"{instant(drill.at)}, {drill.backup}: {drill.result.value}"
    return f"{text}: {said(drill.reason, 200)}" if drill.reason else text
