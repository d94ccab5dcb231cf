"""The doctor's report, what falls short first. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from guardian.web.ports import CheckVerdict, ComponentStatus, DoctorCheck, DoctorReport
from guardian.web.views.wording import Level, plural

LEVEL_OF_VERDICT: Mapping[CheckVerdict, Level] = {
    CheckVerdict.OK: Level.OK,
    CheckVerdict.WARNING: Level.WARNING,
    CheckVerdict.FAILED: Level.BAD,
}
LEVEL_OF_STATUS: Mapping[ComponentStatus, Level] = {
    ComponentStatus.OK: Level.OK,
    ComponentStatus.IMPAIRED: Level.WARNING,
    ComponentStatus.FAILED: Level.BAD,
}


@dataclass(frozen=True, slots=True)
class ReportView:
    """One report: the sentence on top, and its checks with what falls short first."""

    at: datetime
    level: Level
    headline: str
    checks: Sequence[tuple[Level, DoctorCheck]]


def report_view(report: DoctorReport) -> ReportView:
    """The report as the page shows it."""
    checks = [(LEVEL_OF_VERDICT[one.verdict], one) for one in report.checks]
    failed = sum(level is Level.BAD for level, _ in checks)
    warned = sum(level is Level.WARNING for level, _ in checks)
    words = [plural(failed, "check fails", "checks fail")] if failed else []
    words += [plural(warned, "warning")] if warned else []
    level = Level.BAD if failed else Level.WARNING if warned else Level.OK
    return ReportView(
        report.at,
        level,
        ", ".join(words) or f"all {plural(len(checks), 'check')} passed",
        sorted(checks, key=lambda pair: -pair[0].rank),
    )
