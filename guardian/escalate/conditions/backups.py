"""Backups that fail, that do not happen, and that are suspiciously small."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from guardian.errors import Cause
from guardian.escalate.conditions.history import WHOLE_SERVER, History
from guardian.escalate.conditions.phrases import (
    backup_text,
    fact,
    instant,
    name,
    said,
    times,
    title,
)
from guardian.escalate.model import Condition, Fact, Severity
from guardian.model import BackupRecord, StoreStatus
from guardian.units import format_size

FAILED = "backup.failed"
OVERDUE = "backup.overdue"
SHRUNK = "backup.shrunk"

_WORDS = {
    Cause.DISK_FULL: "a disk is full",
    Cause.TIMEOUT: "it took too long",
    Cause.PERMISSION: "permission denied",
    Cause.ENCRYPTION: "encryption failed",
    Cause.CONNECTION: "the server could not be reached",
    Cause.VERSION_MISMATCH: "no pg_dump that fits the server",
    Cause.STORE: "the store refused",
    Cause.DUMP: "pg_dump failed",
    Cause.LOCKED: "a table stayed locked",
    Cause.INTERRUPTED: "it was interrupted",
    Cause.UNKNOWN: "see the error",
}
_MENDS = {
    Cause.DISK_FULL: (
        "make room where it says so; `guardian backup prune --dry-run` shows what retention would "
        "give back"
    ),
    Cause.TIMEOUT: "look what slows the server or the store; then raise backup.timeout",
    Cause.PERMISSION: "`guardian doctor` prints the GRANT, or the chmod, that is missing",
    Cause.ENCRYPTION: "`guardian doctor` checks gpg and the key; is the passphrase file in place?",
    Cause.CONNECTION: "is the server up? `guardian diagnose` says why it cannot be reached",
    Cause.VERSION_MISMATCH: "install postgresql-client of the server's major version on this host",
    Cause.STORE: "`guardian doctor` tries each store; look at its credentials, rights and network",
    Cause.DUMP: "pg_dump's own words are in the error; `guardian doctor` looks for what it lacks",
    Cause.LOCKED: "`guardian locks` shows who holds the table",
    Cause.UNKNOWN: "`guardian -v backup now` shows where it happens",
}
_PASSING = {Cause.CONNECTION, Cause.LOCKED, Cause.STORE}
"""Causes that a run may wait out by itself."""


def backup_conditions(history: History, now: datetime) -> tuple[Condition, ...]:
    """All that is wrong with one database's backups."""
    found = (_failed(history), _overdue(history, now), _shrunk(history))
    return tuple(one for one in found if one is not None)


def _failed(history: History) -> Condition | None:
    """The last runs failed, one after another."""
    failed = history.failed_tries
    if not failed:
        return None
    ref, last = history.ref, failed[0]
    cause = last.cause or Cause.UNKNOWN
    often = f" {times(history.failures)} in a row" if history.failures > 1 else ""
    return Condition(
        key=f"{FAILED}:{ref}",
        kind=FAILED,
        severity=Severity.P1,
        title=title(f"Backup of {name(ref)} failed{often}: {_WORDS[cause]}"),
        server=ref.server,
        database=ref.database,
        since=failed[-1].started_at,
        occurrence=last.id,
        count=history.failures,
        impact=_at_stake(history),
        evidence=(
            fact("error", last.error or "none was recorded"),
            Fact("cause", cause.value),
            *_earlier(failed),
            *_store_errors(last),
            *_running(history),
            *_newest_good(history),
        ),
        tried=_tried(history, cause),
        mend=(
            *((_MENDS[cause],) if cause in _MENDS else ()),
            f"guardian backup now {history.target}",
        ),
    )


def _at_stake(history: History) -> str:
    """What would be lost with the database, were it lost now."""
    good = history.last_good
    if history.ref.database == WHOLE_SERVER:
        return f"No database of {name(history.ref.server)} is backed up while this lasts."
    if good is None:
        return f"There is no good backup of {name(history.ref)}: were it lost now, all would be."
    shows = instant(good.snapshot_at or good.started_at)
    return f"Were {name(history.ref)} lost now, everything after {shows} would be lost."


def _earlier(failed: Sequence[BackupRecord]) -> tuple[Fact, ...]:
    """The failures before the last: the same cause, or another one?"""
    if len(failed) < 2:
        return ()
    before = failed[1]
    error = said(before.error, 200)
    return (fact("the failure before", f"{instant(before.started_at)}: {error}"),)


def _store_errors(last: BackupRecord) -> tuple[Fact, ...]:
    return tuple(
        fact(f"store {one.store}", one.error)
        for one in last.outcomes
        if one.error is not None and one.error != last.error
    )


def _newest_good(history: History) -> tuple[Fact, ...]:
    if history.ref.database == WHOLE_SERVER:
        return ()
    return (fact("newest good backup", backup_text(history.last_good)),)


def _running(history: History) -> tuple[Fact, ...]:
    return () if history.running is None else (fact("running now", f"by {history.running}"),)


def _tried(history: History, cause: Cause) -> tuple[str, ...]:
    attempts = history.protection.attempts
    if cause not in _PASSING or attempts < 2:
        return ()
    return (f"tried up to {attempts} times within each run, with pauses between",)


def _overdue(history: History, now: datetime) -> Condition | None:
    """The run that should have followed the last good one is late, for whatever reason."""
    schedule, zone = history.protection.schedule, history.protection.timezone
    late = _late_after(history)
    if schedule is None or late is None:
        return None
    good = history.last_good
    begun = good.started_at if good is not None else history.known_since
    interval = schedule.interval_hint()
    if begun is None or not schedule.overdue(begun, now, interval * (late - 1), zone):
        return None
    due = schedule.next_after(min(begun, now), zone)
    ref = history.ref
    what = (
        f"No good backup of {name(ref)} since {instant(good.snapshot_at or good.started_at)}"
        if good is not None
        else f"There is still no good backup of {name(ref)}"
    )
    last = next(iter(history.tries), None)
    return Condition(
        key=f"{OVERDUE}:{ref}",
        kind=OVERDUE,
        severity=Severity.P1,
        title=title(what),
        server=ref.server,
        database=ref.database,
        since=due,
        occurrence=due.isoformat(),
        impact=_at_stake(history),
        evidence=(
            fact("schedule", f"{schedule.text} ({zone})"),
            Fact("was due", instant(due)),
            fact("last try", "none" if last is None else _try_text(last)),
            *_running(history),
            fact("newest good backup", backup_text(good)),
        ),
        mend=(
            "does `guardian run`, or what starts the backups, still run on its host?",
            f"guardian backup now {history.target}",
        ),
    )


def _late_after(history: History) -> float | None:
    """In intervals; None where the config does not want the age to be watched."""
    ages = history.protection.ages
    if ages is None:
        return None
    warning, critical = ages
    found = warning if warning is not None else critical
    return max(1.0, found) if found is not None else None


def _try_text(record: BackupRecord) -> str:
    text = f"{instant(record.started_at)}, {record.status.value}"
    return f"{text}: {said(record.error, 200)}" if record.error else text


def _shrunk(history: History) -> Condition | None:
    """The newest backup is much smaller than the last one before it that was proven.

    Its own drill does not heal it: what it shows is that the database itself has become smaller.
    """
    drops = history.protection.drops
    newest = next(iter(history.backups), None)
    base = next((one for one in history.backups[1:] if one.proven), None)
    if drops is None or newest is None or base is None or base.dumped_bytes <= 0:
        return None
    drop = 100.0 * (base.dumped_bytes - newest.dumped_bytes) / base.dumped_bytes
    warning, critical = drops
    if critical is not None and drop >= critical:
        severity = Severity.P1
    elif warning is not None and drop >= warning:
        severity = Severity.P2
    else:
        return None
    ref = history.ref
    lost_in = [one.store for one in newest.outcomes if one.status is StoreStatus.FAILED]
    return Condition(
        key=f"{SHRUNK}:{ref}",
        kind=SHRUNK,
        severity=severity,
        title=title(f"Backup of {name(ref)} is {drop:.0f}% smaller than the last proven one"),
        server=ref.server,
        database=ref.database,
        since=newest.snapshot_at or newest.started_at,
        occurrence=newest.id,
        impact=(
            "Rows or tables may have been deleted. The larger backups are still there, until "
            "retention lets them go."
        ),
        evidence=(
            fact("newest backup", f"{backup_text(newest)}, {format_size(newest.dumped_bytes)}"),
            fact("compared with", f"{backup_text(base)}, {format_size(base.dumped_bytes)}"),
            *((fact("failed in stores", ", ".join(lost_in)),) if lost_in else ()),
        ),
        mend=(
            f"guardian backup keep {base.id} --reason 'before it shrank'",
            f"ask who deleted data; guardian restore {base.id} --to DSN --create brings it back",
        ),
    )
