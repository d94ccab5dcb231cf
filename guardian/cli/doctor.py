"""``guardian doctor``: one line a check, with the mend."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from guardian.cli.console import console, emit_json, escape, json_option
from guardian.cli.main import AppContext
from guardian.errors import ExitCode

if TYPE_CHECKING:
    from guardian.daemon.doctor import Check

_MARKS = {"ok": "[green]ok     [/]", "warning": "[yellow]warning[/]", "failed": "[red]FAILED [/]"}


@click.command()
@json_option
@click.pass_obj
def doctor(context: AppContext, as_json: bool) -> None:
    """Check config, tools, keys, stores, servers and privileges (exit 1 when one falls short)."""
    from guardian.daemon.app import App
    from guardian.daemon.doctor import Verdict, examine

    checks: list[Check] = []
    with App(context.config, command="guardian doctor") as app:
        for check in examine(app):
            checks.append(check)
            if not as_json:
                _tell(check)
    failed = sum(check.verdict is Verdict.FAILED for check in checks)
    if as_json:
        emit_json(
            {
                "healthy": not failed,
                "checks": [
                    {
                        "name": check.name,
                        "status": check.verdict.value,
                        "found": check.found,
                        "mend": check.mend,
                    }
                    for check in checks
                ],
            }
        )
    elif failed:
        click.echo(f"{failed} of {len(checks)} checks failed", err=True)
    if failed:
        raise click.exceptions.Exit(ExitCode.FAILED)


def _tell(check: Check) -> None:
    out = console()
    out.print(
        f"{_MARKS[check.verdict.value]}  [bold]{escape(check.name)}[/]  {escape(check.found)}"
    )
    if check.mend:
        out.print(f"         [dim]mend:[/] {escape(check.mend)}")
