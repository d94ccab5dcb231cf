"""``guardian handoff``: what the next shift has to know."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import click

from guardian.cli.console import emit_json, json_option, time_text
from guardian.cli.main import AppContext
from guardian.cli.parameters import duration
from guardian.errors import UsageError

if TYPE_CHECKING:
    from guardian.escalate.handoff import Handoff
    from guardian.model import Event

_SHIFT = timedelta(days=1)
_LONGEST = timedelta(days=3660)


@click.command()
@click.option(
    "--since", metavar="DURATION", callback=duration, help="How far to look back (default: 24h)."
)
@json_option
@click.pass_obj
def handoff(context: AppContext, since: timedelta | None, as_json: bool) -> None:
    """The shift handoff, as Markdown: what is on, to watch, changed, known, planned."""
    from guardian.daemon.app import App
    from guardian.daemon.briefing import gather_handoff
    from guardian.escalate.handoff import handoff_markdown

    if since is not None and not timedelta(0) < since <= _LONGEST:
        raise UsageError("--since: between a moment and ten years", mend="such as --since 8h")
    with App(context.config, command="guardian handoff") as app:
        found = gather_handoff(app, since or _SHIFT)
    if as_json:
        emit_json(handoff_document(found))
    else:
        click.echo(handoff_markdown(found), nl=False)


def handoff_document(found: Handoff) -> dict[str, Any]:
    """The same facts as JSON's types."""
    from guardian.cli.incident_documents import incident_document, silence_document

    return {
        "at": time_text(found.at),
        "since": time_text(found.since),
        "active": [incident_document(one) for one in found.active],
        "resolved": [incident_document(one) for one in found.ended],
        "watch": list(found.watch),
        "changes": [_event(one) for one in found.changes],
        "routine": list(found.routine),
        "silences": [
            silence_document(one, active=one.starts_at <= found.at) for one in found.silences
        ],
        "planned": [{"at": time_text(one.at), "what": one.what} for one in found.planned],
    }


def _event(one: Event) -> dict[str, Any]:
    return {
        "at": time_text(one.at),
        "kind": one.kind,
        "server": one.server,
        "database": None if one.ref is None else one.ref.database,
        "message": one.message,
    }
