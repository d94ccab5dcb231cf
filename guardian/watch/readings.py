"""What was read of a server's vital signs: numbers, or an explicit "unknown". Pure.

The names are those of the config's section ``vitals``. The adapters read what a server tells; the
functions here make readings of what the catalog and the host tell: backups and disks.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum

from guardian.units import format_duration, format_size

SERVER_VITALS = (
    "connections",
    "idle_in_transaction",
    "query_age",
    "lock_wait",
    "transaction_id_age",
    "multixact_age",
    "prepared_transactions",
    "slot_retained_wal",
    "replica_lag",
    "checksum_failures",
    "archiver",
)
"""Read once for a server, from any of its databases."""
DATABASE_VITALS = ("sequences", "invalid_indexes")
"""Read in each database."""
BACKUP_VITALS = ("backup_age", "size_drop")
"""Made of the catalog's numbers, for each database."""
HOST_VITALS = ("disk",)
"""Made of the host's numbers, for each file system that is ours."""
VITALS = (*SERVER_VITALS, *DATABASE_VITALS, *BACKUP_VITALS, *HOST_VITALS)
"""All of them, in the order in which they are shown."""


class Unit(StrEnum):
    """What a reading's number counts."""

    PERCENT = "percent"
    SECONDS = "seconds"
    BYTES = "bytes"
    COUNT = "count"
    INTERVALS = "intervals"
    """Of a backup's schedule."""


class Severity(StrEnum):
    """How bad a finding is. Unknown is worse than fine, and less than a known fault."""

    OK = "ok"
    UNKNOWN = "unknown"
    WARNING = "warning"
    CRITICAL = "critical"

    @property
    def rank(self) -> int:
        """0 for ok up to 3 for critical."""
        return list(Severity).index(self)


@dataclass(frozen=True, slots=True)
class Reading:
    """One number of one vital.

    ``subject`` names which slot, table, session or disk, for people; None where there is none, and
    ``detail`` then says so ("there are no replication slots"). ``handle`` is how SQL names the
    subject: a pid, a quoted identifier, the bare name of a slot. ``items`` are quoted identifiers
    behind a count, or the table and column that a sequence fills. ``at_least`` is for what is bad
    whatever the number says, such as a lost slot; ``detail`` says why.
    """

    name: str
    value: float
    unit: Unit
    subject: str | None = None
    detail: str = ""
    handle: str = ""
    items: tuple[str, ...] = ()
    at_least: Severity = Severity.OK


@dataclass(frozen=True, slots=True)
class Unknown:
    """A vital that could not be read: never to be shown as fine. ``mend`` has the GRANT."""

    name: str
    why: str
    mend: str | None = None
    subject: str | None = None


def backup_age(
    subject: str,
    *,
    last_good: timedelta | None,
    known_for: timedelta,
    interval: timedelta | None,
) -> Reading | Unknown:
    """The age of a database's last good backup, in intervals of its schedule.

    ``last_good`` is None when there is no good backup at all; then it counts from when the database
    came into our care, ``known_for`` ago. ``interval`` is None when it is backed up by hand only.
    """
    age = known_for if last_good is None else last_good
    said = (
        f"there has been no good backup in {format_duration(age)}"
        if last_good is None
        else f"it is {format_duration(age)} old"
    )
    if interval is None or interval <= timedelta(0):
        return Unknown(
            "backup_age",
            f"{said}, and without a schedule nobody can tell whether that is late",
            "set backup.schedule of its server",
            subject,
        )
    detail = f"{said}; one is due every {format_duration(interval)}"
    return Reading("backup_age", max(age / interval, 0.0), Unit.INTERVALS, subject, detail)


def size_drop(
    subject: str, *, dumped_bytes: int | None, proven_bytes: int | None
) -> Reading | Unknown:
    """By how many percent the latest backup is smaller than the last one that was proven.

    Both are bytes that pg_dump wrote, before compression; None when there is no such backup.
    """
    if dumped_bytes is None:
        return Unknown("size_drop", "there is no backup yet", "guardian backup now", subject)
    if not proven_bytes:
        return Unknown(
            "size_drop",
            "there is no proven backup to compare with",
            f"guardian verify {subject}",
            subject,
        )
    drop = max(0.0, 100.0 * (proven_bytes - dumped_bytes) / proven_bytes)
    detail = f"{format_size(dumped_bytes)}, the last proven one {format_size(proven_bytes)}"
    return Reading("size_drop", drop, Unit.PERCENT, subject, detail)


def disk(
    subject: str, *, used_bytes: int, free_bytes: int, needed_bytes: int | None = None
) -> Reading | Unknown:
    """How full a file system is, as ``df`` counts: ``free_bytes`` is what we may still use.

    ``needed_bytes`` is an estimate of the next backup's size there: one that does not fit is
    critical, however full the disk is.
    """
    if used_bytes + free_bytes <= 0:
        return Unknown("disk", "its size is not known", None, subject)
    full = 100.0 * used_bytes / (used_bytes + free_bytes)
    detail = f"{format_size(free_bytes)} are free"
    severity = Severity.OK
    if needed_bytes is not None and needed_bytes > free_bytes:
        detail += f", the next backup needs about {format_size(needed_bytes)}"
        severity = Severity.CRITICAL
    return Reading("disk", full, Unit.PERCENT, subject, detail, at_least=severity)
