"""``guardian diagnose``: the runbook's checks in one report."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from guardian.cli.completion import complete_servers
from guardian.cli.console import console, emit_json, json_option, time_text
from guardian.cli.main import AppContext
from guardian.cli.parameters import Number
from guardian.errors import ExitCode

if TYPE_CHECKING:
    from guardian.daemon.diagnosis import ServerReport
    from guardian.watch.diagnosis import Section

_PAUSE = 2


@click.command()
@click.argument("server", required=False, shell_complete=complete_servers)
@click.option(
    "--top", default=10, show_default=True, type=Number(1, 1000), help="Rows of each list."
)
@json_option
@click.pass_obj
def diagnose(context: AppContext, server: str | None, top: int, as_json: bool) -> None:
    """Sessions, locks, slow queries, sizes, vitals, disks and backups in one report.

    All servers unless one is named. It changes nothing. Exit 1 when a server could not be asked;
    what the report says of one that could is no matter of the exit code.
    """
    from guardian.daemon.app import App
    from guardian.daemon.diagnosis import diagnose as ask

    documents = []
    problems = 0
    with App(context.config, command="guardian diagnose") as app:
        names = [server] if server else list(app.config.servers)
        for place, name in enumerate(names):
            report = ask(app, name, top)
            problems += report.problem is not None
            if as_json:
                documents.append(report_document(report))
            else:
                _tell(report, is_first=place == 0)
        at = time_text(app.clock.now())
    if as_json:
        emit_json({"at": at, "servers": documents})
    if problems:
        raise click.exceptions.Exit(ExitCode.FAILED)


def _tell(report: ServerReport, *, is_first: bool) -> None:
    from guardian.cli.diagnose_view import DiagnoseView
    from guardian.cli.screen import show

    out = console()
    if not is_first:
        click.echo("\n" * (_PAUSE - 1))
    show(out, DiagnoseView(out, report).lines())


def report_document(report: ServerReport) -> dict[str, Any]:
    """The report as JSON's types.

    Each section has ``known`` and ``notes``, and beside them its facts: under its own keys where it
    is one record, else under ``rows``.
    """
    from guardian.cli.session_documents import root_document, session_document
    from guardian.cli.status import status_document

    look = report.locks.facts
    observation = None if look is None else look.observation
    return {
        "server": report.server,
        "where": report.where,
        "at": time_text(report.at),
        "reachable": report.problem is None,
        "problem": None if report.problem is None else asdict(report.problem),
        "facts": _section(report.facts),
        "vitals": [asdict(one) for one in report.vitals],
        "connections": _section(report.connections),
        "long_transactions": {
            **_frame(report.long_transactions),
            "rows": [
                session_document(observation, one)
                for one in report.long_transactions.facts or ()
                if observation is not None
            ],
        },
        "locks": {
            **_frame(report.locks),
            "rows": []
            if look is None
            else [
                root_document(look.observation, look.graph, root, {}) for root in look.graph.roots
            ],
        },
        "slow_queries": _section(report.slow_queries),
        "databases": _section(report.databases),
        "contents": [
            {
                "database": one.database,
                "tables": _section(one.tables),
                "indexes": _section(one.indexes),
            }
            for one in report.contents
        ],
        "replication": _section(report.replication),
        "disks": [{**asdict(one), "used_percent": one.used_percent} for one in report.file_systems],
        "backups": {
            **_frame(report.backups),
            "rows": [status_document(one) for one in report.backups.facts or ()],
        },
    }


def _frame(section: Section[Any]) -> dict[str, Any]:
    return {
        "known": section.facts is not None,
        "notes": [asdict(note) for note in section.notes],
    }


def _section(section: Section[Any]) -> dict[str, Any]:
    facts = section.facts
    if facts is None:
        return _frame(section)
    if isinstance(facts, tuple):
        return {**_frame(section), "rows": [asdict(one) for one in facts]}
    return {**_frame(section), **asdict(facts)}
