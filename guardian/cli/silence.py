"""``guardian silence add | list | remove``: nobody is told of what is expected."""

from __future__ import annotations

from datetime import timedelta

import click

from guardian.cli.console import console, emit_json, json_option, moment, person
from guardian.cli.main import AppContext
from guardian.cli.parameters import duration
from guardian.errors import UsageError


@click.group()
def silence() -> None:
    """Maintenance windows: nobody is told of what matches, for a while."""


@silence.command()
@click.option("--for", "lasting", metavar="DURATION", required=True, callback=duration)
@click.option("--in", "begins_in", metavar="DURATION", callback=duration, help="Not now, later.")
@click.option(
    "--match",
    "matches",
    multiple=True,
    metavar="KEY=GLOB...",
    help="Only what fits: kind, server, database, severity, key. Without, everything.",
)
@click.option("--reason", required=True, help="Why, for those who wonder.")
@click.argument("more_matches", nargs=-1, metavar="[KEY=GLOB]...")
@json_option
@click.pass_obj
def add(
    context: AppContext,
    lasting: timedelta,
    begins_in: timedelta | None,
    matches: tuple[str, ...],
    more_matches: tuple[str, ...],
    reason: str,
    as_json: bool,
) -> None:
    """Let nobody be told for so long of what fits all matches.

    Such as: silence add --for 2h --match 'kind=backup.*' server=dev --reason "new disks"
    """
    from guardian.cli.incident_documents import silence_document
    from guardian.daemon.alarms import make_escalator
    from guardian.daemon.app import App

    if more_matches and not matches:
        raise UsageError(f"{more_matches[0]!r}: what is it for?", mend="write --match before it")
    match = _match((*matches, *more_matches))
    with App(context.config, command="guardian silence") as app:
        now = app.clock.now()
        made = make_escalator(app).silence(
            lasting,
            reason,
            person(),
            match=match,
            starts_at=None if begins_in is None else now + begins_in,
        )
    if as_json:
        emit_json(silence_document(made, active=not begins_in))
        return
    from guardian.cli.incidents_view import match_text
    from guardian.cli.screen import harmless

    begins = "" if begins_in is None else f"from {moment(made.starts_at)} "
    text = f"{made.id}: silent {begins}until {moment(made.ends_at)}: {match_text(made.match)}"
    click.echo(harmless(text))


@silence.command("list")
@click.option("--all", "everything", is_flag=True, help="Those that have ended, too.")
@json_option
@click.pass_obj
def list_(context: AppContext, everything: bool, as_json: bool) -> None:
    """The silences that hold now or later."""
    from guardian.cli.incident_documents import silence_document
    from guardian.daemon.app import App

    with App(context.config, command="guardian silence") as app:
        now = app.clock.now()
        found = app.catalog.silences(None if everything else now)
    if as_json:
        emit_json(
            [silence_document(one, active=one.starts_at <= now < one.ends_at) for one in found]
        )
        return
    from guardian.cli.incidents_view import silence_lines
    from guardian.cli.screen import show

    out = console()
    show(out, silence_lines(out, found, now))


@silence.command()
@click.argument("silence_id", metavar="ID")
@json_option
@click.pass_obj
def remove(context: AppContext, silence_id: str, as_json: bool) -> None:
    """End a silence now. What still holds is told then."""
    from guardian.cli.incident_documents import silence_document
    from guardian.daemon.alarms import make_escalator
    from guardian.daemon.app import App

    with App(context.config, command="guardian silence") as app:
        ended = make_escalator(app).end_silence(silence_id)
    if as_json:
        emit_json(silence_document(ended, active=False))
    else:
        click.echo(f"{ended.id} has ended")


def _match(words: tuple[str, ...]) -> dict[str, str]:
    """``kind=backup.*`` and its like; each key once."""
    found: dict[str, str] = {}
    for word in words:
        key, equals, glob = word.partition("=")
        if not equals or not key or not glob:
            raise UsageError(f"--match {word!r} is not KEY=GLOB", mend="such as kind=backup.*")
        if key in found:
            raise UsageError(
                f"--match has {key!r} twice, and both would have to fit",
                mend="make two silences",
            )
        found[key] = glob
    return found
