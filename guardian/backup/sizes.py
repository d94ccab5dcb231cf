"""How big a backup is beside the last one before it that was proven. Pure.

A backup of a database that somebody emptied is flawless, and a drill proves what little is left. So
bytes, tables and rows are held against a backup that was good, and a sharp drop is told.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from guardian.model import BackupRecord, Manifest
from guardian.units import format_size
from guardian.watch.readings import Severity

Bounds = tuple[float | None, float | None]
"""By how many percent something may shrink: a warning and a critical bound, None for none."""

USUAL_BOUNDS: Bounds = (30.0, 60.0)

_FEW_TABLES = 10
_FEW_ROWS = 100
"""Of so few some may always go; but not all."""


@dataclass(frozen=True, slots=True)
class Figures:
    """How big a backup is. Tables and rows are None where nobody counted them."""

    dumped_bytes: int
    tables: int | None = None
    rows: int | None = None


@dataclass(frozen=True, slots=True)
class Change:
    """One figure, then and now."""

    what: str
    before: int
    now: int
    few: int = 0

    @property
    def percent(self) -> float | None:
        """By how much it grew, negative where it shrank; None where there was nothing before."""
        if self.before == 0:
            return 0.0 if self.now == 0 else None
        return 100.0 * (self.now - self.before) / self.before

    @property
    def drop(self) -> float:
        """By how many percent it shrank, as far as that says anything."""
        if self.now > 0 and self.before < self.few:
            return 0.0
        return max(0.0, -(self.percent or 0.0))

    def __str__(self) -> str:
        """As a sentence has it: ``3 rows after 1,000 (-100 %)``."""
        if self.what == "dumped":
            then, now = format_size(self.before), f"{format_size(self.now)} dumped"
        else:
            then, now = f"{self.before:,}", f"{self.now:,} {self.what}"
        return f"{now} after {then} ({percent_text(self.percent)})"


@dataclass(frozen=True, slots=True)
class Comparison:
    """A backup beside ``before``, the last proven one of an earlier snapshot."""

    before: BackupRecord
    changes: tuple[Change, ...]
    bounds: Bounds | None

    @property
    def severity(self) -> Severity:
        """How bad the sharpest drop is."""
        return max((self._judge(one) for one in self.changes), key=lambda one: one.rank)

    @property
    def warning(self) -> str | None:
        """A sentence about what shrank too much, None where nothing did."""
        sharp = [one for one in self.changes if self._judge(one) is not Severity.OK]
        if not sharp:
            return None
        what = ", ".join(map(str, sharp))
        much = "far" if self.severity is Severity.CRITICAL else "much"
        return (
            f"{much} smaller than {self.before.id}, the last proven backup before it: {what}; find "
            f"out what was deleted, and keep that one: guardian backup keep {self.before.id}"
        )

    def change(self, what: str) -> Change | None:
        """What became of one figure, None where it is not known of both."""
        return next((one for one in self.changes if one.what == what), None)

    def _judge(self, change: Change) -> Severity:
        warning, critical = self.bounds or (None, None)
        if critical is not None and change.drop >= critical:
            return Severity.CRITICAL
        if warning is not None and change.drop >= warning:
            return Severity.WARNING
        return Severity.OK


def compare_sizes(now: Figures, before: BackupRecord, bounds: Bounds | None) -> Comparison:
    """Hold a backup's figures against those of a proven one."""
    return Comparison(before, tuple(_changes(now, figures_of(before))), bounds)


def figures_of(backup: BackupRecord | Manifest) -> Figures:
    """How big it is: as its fingerprint says, else as the drill that decided over it counted."""
    tables, rows = backup.tables, backup.rows
    if isinstance(backup, BackupRecord) and backup.measured is not None:
        tables = backup.measured.tables if tables is None else tables
        rows = backup.measured.rows if rows is None else rows
    return Figures(backup.dumped_bytes, tables, rows)


def percent_text(percent: float | None) -> str:
    """``+12 %``, ``-0.4 %``; ``new`` where there was nothing before."""
    if percent is None:
        return "new"
    rounded = round(percent) if abs(percent) >= 10 else round(percent, 1)
    return f"{rounded:+g} %" if rounded else "±0 %"


def _changes(now: Figures, before: Figures) -> Iterator[Change]:
    yield Change("dumped", before.dumped_bytes, now.dumped_bytes)
    if now.tables is not None and before.tables is not None:
        yield Change("tables", before.tables, now.tables, _FEW_TABLES)
    if now.rows is not None and before.rows is not None:
        yield Change("rows", before.rows, now.rows, _FEW_ROWS)
