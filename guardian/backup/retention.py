"""Which backups stay, and the rule that keeps each: a pure function."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta


@dataclass(frozen=True, slots=True)
class RetentionPolicy:
    """How many backups each rule keeps; a backup stays when any rule keeps it."""

    keep_last: int = 3
    keep_hourly: int = 0
    keep_daily: int = 7
    keep_weekly: int = 4
    keep_monthly: int = 12
    keep_yearly: int = 0
    keep_within: timedelta = timedelta(days=30)
    keep_proven: int = 1
