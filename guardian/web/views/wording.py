"""Words and levels that all pages share. Pure."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from enum import StrEnum

from guardian.model import BackupRecord, RunStatus
from guardian.units import format_duration
from guardian.watch.outage import Availability
from guardian.watch.readings import Severity

_MINUTE = 60.0


class Level(StrEnum):
    """How good something is. Each has its own colour, sign and word: never the colour alone."""

    OK = "ok"
    BUSY = "busy"
    """Under way."""
    UNKNOWN = "unknown"
    """Nobody can tell: never shown as fine."""
    WARNING = "warning"
    BAD = "bad"

    @property
    def rank(self) -> int:
        """0 for ok up to 4 for bad."""
        return list(Level).index(self)


LEVEL_OF_SEVERITY = {
    Severity.OK: Level.OK,
    Severity.UNKNOWN: Level.UNKNOWN,
    Severity.WARNING: Level.WARNING,
    Severity.CRITICAL: Level.BAD,
}
LEVEL_OF_AVAILABILITY = {
    Availability.UP: Level.OK,
    Availability.UNKNOWN: Level.UNKNOWN,
    Availability.SUSPECT: Level.WARNING,
    Availability.DOWN: Level.BAD,
}


def short_duration(duration: timedelta | float) -> str:
    """A duration as people glance at it: ``45s``, ``12m``, ``3h 20m``, ``2d 4h``, ``34d``."""
    seconds = duration.total_seconds() if isinstance(duration, timedelta) else float(duration)
    if abs(seconds) < _MINUTE:
        return format_duration(round(seconds))
    if abs(seconds) < 60 * _MINUTE:
        return format_duration(round(seconds / 60) * 60)
    if abs(seconds) >= 14 * 86400:
        return format_duration(round(seconds / 86400) * 86400)
    step = 3600 if abs(seconds) >= 86400 else 60
    return format_duration(round(seconds / step) * step)


def ago(at: datetime, now: datetime) -> str:
    """``3h 20m ago``, ``in 40m``, ``just now``."""
    seconds = (now - at).total_seconds()
    if abs(seconds) < 5:
        return "just now"
    return f"{short_duration(seconds)} ago" if seconds > 0 else f"in {short_duration(-seconds)}"


def instant(at: datetime) -> str:
    """An instant in full, in UTC."""
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"


def plural(count: int, one: str, many: str | None = None) -> str:
    """``1 database``, ``2 databases``."""
    return f"{count:,} {one if count == 1 else many or one + 's'}"


def backup_word(record: BackupRecord) -> tuple[Level, str]:
    """What there is to say of one try, in a word."""
    if record.status is RunStatus.RUNNING:
        return Level.BUSY, "running"
    if record.status is not RunStatus.SUCCEEDED:
        return Level.BAD, record.status.value
    if not record.stores:
        return Level.UNKNOWN, "pruned"
    if record.proven is None:
        return Level.WARNING, "unproven"
    return (Level.OK, "proven") if record.proven else (Level.BAD, "not restorable")


def one_line(text: str | None) -> str:
    """White space folded, control characters made visible: a text from outside as a page shows it.

    Escaping is the templates' business.
    """
    folded = " ".join((text or "").split())
    if folded.isprintable():
        return folded
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in folded)


def printable(text: str | None) -> str:
    """The same for a text of several lines, whose lines stay."""
    return "\n".join(
        "".join(c if c.isprintable() or c == "\t" else repr(c)[1:-1] for c in line)
        for line in (text or "").splitlines()
    )
