"""``guardian status``: one screen that says whether all is well."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from guardian.cli.console import age_text, emit_json, escape, json_option, print_table, time_text
from guardian.cli.main import AppContext

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from guardian.daemon.overview import DatabaseStatus
    from guardian.escalate.model import Incident


@click.command()
@json_option
@click.pass_obj
def status(context: AppContext, as_json: bool) -> None:
    """Each database's last proven backup and its age, open incidents, and what runs next."""
    from guardian.daemon.app import App
    from guardian.daemon.briefing import told_at_set_times
    from guardian.daemon.overview import database_statuses

    with App(context.config) as app:
        statuses = database_statuses(app)
        incidents = app.catalog.open_incidents()
        at = app.clock.now()
        planned = told_at_set_times(app, at)
    if as_json:
        from guardian.cli.incident_documents import incident_document

        emit_json(
            {
                "at": time_text(at),
                "databases": [status_document(item) for item in statuses],
                "incidents": [incident_document(one) for one in incidents],
                "planned": [{"at": time_text(one.at), "what": one.what} for one in planned],
            }
        )
        return
    print_table(
        ["DATABASE", "LAST BACKUP", "LAST PROVEN", "FAILURES", "BACKUPS", "NEXT"],
        [
            (
                escape(str(item.ref)),
                _last_text(item, at),
                _proven_text(item, at),
                f"[red]{item.consecutive_failures}[/]" if item.consecutive_failures else "0",
                str(item.backups),
                _next_text(item, at),
            )
            for item in statuses
        ],
        right=["FAILURES", "BACKUPS"],
    )
    _tell_incidents(incidents, at)
    for item in statuses:
        if item.running is not None:
            click.echo(f"{item.ref}: being backed up by {item.running}")
        if item.last_error is not None:
            click.echo(f"{item.ref}: last try failed: {item.last_error}", err=True)
    for one in sorted(planned, key=lambda one: one.at):
        click.echo(f"{one.what}: {_in(one.at, at)}")


def _tell_incidents(incidents: Sequence[Incident], at: datetime) -> None:
    if not incidents:
        return
    from guardian.cli.console import console
    from guardian.cli.incidents_view import incident_lines
    from guardian.cli.screen import show

    click.echo()
    out = console()
    show(out, incident_lines(out, incidents, at))
    click.echo()


def _last_text(item: DatabaseStatus, at: datetime) -> str:
    if item.last is None:
        return "[red]never[/]"
    text = age_text(item.last.snapshot_at, at)
    return f"[yellow]{text}, overdue[/]" if item.overdue else text


def _proven_text(item: DatabaseStatus, at: datetime) -> str:
    return "[dim]never[/]" if item.last_proven is None else age_text(item.last_proven.proven_at, at)


def _next_text(item: DatabaseStatus, at: datetime) -> str:
    if item.next_at is None:
        return "[dim]by hand[/]"
    return _in(item.next_at, at)


def _in(instant: datetime, at: datetime) -> str:
    from guardian.units import format_duration

    return f"in {format_duration(max(0, int((instant - at).total_seconds())))}"


def status_document(item: DatabaseStatus) -> dict[str, Any]:
    """How one database stands, as JSON's types."""
    last, proven = item.last, item.last_proven
    return {
        "server": item.ref.server,
        "database": item.ref.database,
        "last_backup": None
        if last is None
        else {"id": last.id, "snapshot_at": time_text(last.snapshot_at), "stores": last.stores},
        "last_proven": None
        if proven is None
        else {"id": proven.id, "proven_at": time_text(proven.proven_at)},
        "backups": item.backups,
        "consecutive_failures": item.consecutive_failures,
        "last_error": item.last_error,
        "overdue": item.overdue,
        "running": item.running,
        "next_at": time_text(item.next_at),
    }
