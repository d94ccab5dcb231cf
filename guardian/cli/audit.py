"""``guardian audit`` and ``guardian replay``: what was done, and what would be."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import click

from guardian.cli.completion import complete_servers
from guardian.cli.console import console, emit_json, json_option
from guardian.cli.main import AppContext
from guardian.cli.parameters import Number, duration
from guardian.errors import UsageError

if TYPE_CHECKING:
    from guardian.daemon.app import App
    from guardian.watch.replay import Replay


@click.command()
@click.option(
    "--server", metavar="NAME", shell_complete=complete_servers, help="Only of one server."
)
@click.option(
    "--since",
    metavar="DURATION",
    callback=duration,
    help="Only of the last 24h, 7d … (default: all).",
)
@click.option("--limit", type=Number(min=1), help="Only so many, the newest.")
@json_option
@click.pass_obj
def audit(
    context: AppContext,
    server: str | None,
    since: timedelta | None,
    limit: int | None,
    as_json: bool,
) -> None:
    """Every kill, and every one that observe mode would have done: who, what, why, outcome."""
    from guardian.cli.session_documents import kill_document
    from guardian.daemon.app import App

    with App(context.config, command="guardian audit") as app:
        kills = app.catalog.kills(server, _before(app, since), limit)
        if server is not None and not kills:
            app.server(server)  # one that is configured no more may still have entries
    if as_json:
        emit_json([kill_document(one) for one in kills])
        return
    from guardian.cli.audit_view import kill_lines
    from guardian.cli.screen import show

    out = console()
    show(out, kill_lines(out, kills))


@click.command()
@click.argument("server", required=False, shell_complete=complete_servers)
@click.option(
    "--since",
    metavar="DURATION",
    callback=duration,
    help="Only of the last 24h, 7d … (default: all).",
)
@json_option
@click.pass_obj
def replay(context: AppContext, server: str | None, since: timedelta | None, as_json: bool) -> None:
    """What the policies of today would have done in the recorded sessions. Nobody is hit."""
    from guardian.cli.session_documents import replay_document
    from guardian.daemon.app import App

    with App(context.config, command="guardian replay") as app:
        names = list(app.config.servers) if server is None else [server]
        found = {name: _replayed(app, name, _before(app, since)) for name in names}
    if as_json:
        emit_json([replay_document(name, result) for name, result in found.items()])
        return
    from guardian.cli.audit_view import replay_lines
    from guardian.cli.screen import show

    out = console()
    for name, result in found.items():
        show(out, replay_lines(out, name, result))


def _before(app: App, since: timedelta | None) -> datetime | None:
    if since is None:
        return None
    try:
        return app.clock.now() - since
    except OverflowError as error:
        raise UsageError("--since reaches before the beginning of time") from error


def _replayed(app: App, name: str, since: datetime | None) -> Replay:
    from guardian.watch.recording import recorded_observations
    from guardian.watch.replay import replay as run

    section = app.server(name).watch
    looks = recorded_observations(app.catalog, name, since)
    return run(looks, section.to_policies(), section.limits.to_limits())
