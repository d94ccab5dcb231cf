"""``guardian verify --self-test``: the drill of the drill, told to people and to scripts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from guardian.cli.console import console, emit_json, escape, print_table
from guardian.cli.main import say_error
from guardian.errors import ExitCode, GuardianError, InterruptedRunError
from guardian.model import ProofResult
from guardian.units import format_duration
from guardian.verify.trial import Finding, Outcome, SelfTestReport, Trial

if TYPE_CHECKING:
    from guardian.daemon.app import App
    from guardian.model import BackupRecord

_COLOURS = {
    Outcome.CAUGHT: "green",
    Outcome.MISSED: "red",
    Outcome.UNCLEAR: "yellow",
    Outcome.NOT_APPLICABLE: "dim",
}
_SHOWN = 100
_REFUSED = "refused"
_REPORT_IT = (
    "THE DRILL MISSED DAMAGE. This is a defect of guardian: a backup that it calls proven may not "
    "be. Please report it, with the lines above and the versions that guardian doctor tells."
)


def run_self_test(
    app: App, chosen: Sequence[tuple[BackupRecord, str]], *, as_json: bool = False
) -> None:
    """Self-test each backup, from the store beside it; tell what came of it, and exit.

    Raises:
        Exit: 0 where all damages were caught, 1 where any was missed, 3 where that could not be
            told.
        InterruptedRunError: a person or the system stopped us.
    """
    from guardian.cli.progress import make_progress
    from guardian.daemon.self_test import self_test

    reports: list[SelfTestReport] = []
    errors: list[GuardianError] = []
    for record, store in chosen:
        try:
            with make_progress(quiet=as_json) as progress:
                report = self_test(app, record, store, progress)
        except InterruptedRunError:
            raise
        except GuardianError as error:
            errors.append(error)
            continue
        reports.append(report)
        if not as_json:
            _tell(report)
    if as_json:
        emit_json([line for report in reports for line in report_document(report)])
    for one in errors:
        say_error(str(one))
    if any(report.count(Outcome.MISSED) for report in reports):
        say_error(_REPORT_IT)
    raise click.exceptions.Exit(exit_code(reports, errors))


def exit_code(reports: Sequence[SelfTestReport], errors: Sequence[GuardianError]) -> ExitCode:
    """A miss, or a backup that is bad itself, before what could not be told."""
    bad = {ProofResult.MISMATCH, ProofResult.UNRESTORABLE}
    if any(one.count(Outcome.MISSED) or one.control.result in bad for one in reports):
        return ExitCode.FAILED
    if any(one.count(Outcome.UNCLEAR) or not one.is_proven for one in reports):
        return ExitCode.UNPROVEN
    return errors[0].exit_code if errors else ExitCode.DONE


def report_document(report: SelfTestReport) -> list[dict[str, Any]]:
    """One self-test for JSON, a trial an entry; the first is the undamaged backup."""
    return [_document(report, finding) for finding in (report.control, *report.findings)]


def _document(report: SelfTestReport, finding: Finding) -> dict[str, Any]:
    trial = finding.trial
    skipped = finding.outcome is Outcome.NOT_APPLICABLE
    return {
        "id": report.backup,
        "server": report.ref.server,
        "database": report.ref.database,
        "store": report.store,
        "damage": trial.damage,
        "part": trial.part or None,
        "expected": _wanted(trial),
        "result": _got(finding),
        "caught": None if skipped else finding.outcome is Outcome.CAUGHT,
        "outcome": finding.outcome.value,
        "seconds": finding.seconds,
        "reason": finding.reason,
    }


def _wanted(trial: Trial) -> str:
    return _REFUSED if trial.expected is None else trial.expected.value


def _got(finding: Finding) -> str | None:
    """What became of it; a document is refused or believed, all else has a drill's result."""
    if finding.result is not None:
        return finding.result.value
    if finding.trial.expected is None and finding.outcome in {Outcome.CAUGHT, Outcome.MISSED}:
        return _REFUSED if finding.outcome is Outcome.CAUGHT else "believed"
    return None


def _tell(report: SelfTestReport) -> None:
    """What a person reads of one self-test."""
    head = f"{report.backup}  {escape(str(report.ref))}"
    out = console()
    if not report.is_proven:
        result, reason = report.control.result, report.control.reason or ""
        out.print(
            f"{head}  [red]{result.value if result else ''}[/] as it is, so a self-test cannot "
            f"tell anything: {escape(reason)}"
        )
        return
    print_table(
        ["damage", "part", "wanted", "got", "seconds", "", "reason"],
        [_row(finding) for finding in report.findings],
        right=["seconds"],
    )
    tried = len(report.findings) - report.count(Outcome.NOT_APPLICABLE)
    caught = report.count(Outcome.CAUGHT)
    seconds = sum(finding.seconds for finding in (report.control, *report.findings))
    colour = "green" if caught == tried else "red"
    out.print(
        f"{head}  [{colour}]{caught} of {tried} damages caught[/] in "
        f"{format_duration(round(seconds))}, {report.count(Outcome.MISSED)} missed, "
        f"{report.count(Outcome.UNCLEAR)} unclear"
    )


def _row(finding: Finding) -> list[str]:
    trial, colour = finding.trial, _COLOURS[finding.outcome]
    reason = finding.reason or ""
    short = reason if len(reason) <= _SHOWN else reason[: _SHOWN - 1] + "…"
    return [
        trial.damage,
        escape(trial.part),
        _wanted(trial),
        _got(finding) or "",
        f"{finding.seconds:.1f}",
        f"[{colour}]{finding.outcome.value}[/]",
        escape(short if finding.outcome is not Outcome.MISSED else reason),
    ]
