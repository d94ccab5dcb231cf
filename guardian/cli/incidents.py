"""``guardian incidents list | show | ack | resolve | note | report``."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import click

from guardian.cli.console import console, emit_json, json_option, person, time_text
from guardian.cli.main import AppContext
from guardian.cli.parameters import Number, duration
from guardian.cli.telling import tell_people
from guardian.errors import GuardianError, NotFoundError, UsageError

if TYPE_CHECKING:
    from guardian.daemon.app import App
    from guardian.escalate.model import Incident

_NEWEST = 100


@click.group()
def incidents() -> None:
    """What is wrong, who has been told, and who has it."""


@incidents.command("list", short_help="The open ones, the worst first, then those that are over.")
@click.option("--open", "only_open", is_flag=True, help="Only those that are not resolved.")
@click.option("--since", metavar="DURATION", callback=duration, help="Changed in the last 24h, 7d…")
@click.option("--limit", type=Number(min=1), default=_NEWEST, show_default=True)
@json_option
@click.pass_obj
def list_(
    context: AppContext, only_open: bool, since: timedelta | None, limit: int, as_json: bool
) -> None:
    """Incidents: the open ones, the worst first, then those that are over."""
    from guardian.cli.incident_documents import incident_document
    from guardian.daemon.alarms import make_escalator
    from guardian.daemon.app import App

    with App(context.config, command="guardian incidents") as app:
        now = app.clock.now()
        found = _listed(app, since, limit, only_open=only_open)
        escalator = make_escalator(app)
        next_due = {one.id: escalator.next_due(one) for one in found}
    if as_json:
        emit_json([incident_document(one, next_due[one.id]) for one in found])
        return
    from guardian.cli.incidents_view import incident_lines
    from guardian.cli.screen import show

    out = console()
    show(out, incident_lines(out, found, now, next_due))


@incidents.command(short_help="All about one: what to do, its timeline, who was told.")
@click.argument("incident_id", metavar="ID")
@json_option
@click.pass_obj
def show(context: AppContext, incident_id: str, as_json: bool) -> None:
    """All about one: what it means, what to do, its timeline, who was told how."""
    from guardian.cli.incident_documents import story_document
    from guardian.daemon.alarms import make_escalator
    from guardian.daemon.app import App

    with App(context.config, command="guardian incidents") as app:
        one = find_incident(app, incident_id)
        timeline = app.catalog.timeline(one.id)
        envelopes = app.catalog.envelopes(one.id)
        due = make_escalator(app).next_due(one)
        now = app.clock.now()
    if as_json:
        emit_json(story_document(one, due, timeline, envelopes))
        return
    from guardian.cli.incidents_view import story_lines
    from guardian.cli.screen import show as show_lines

    out = console()
    show_lines(out, story_lines(out, one, due, timeline, envelopes, now))


@incidents.command()
@click.argument("incident_id", metavar="ID")
@click.option(
    "--for",
    "lasting",
    metavar="DURATION",
    callback=duration,
    help="How long nobody else is called (default: 1h for P0, else 4h).",
)
@json_option
@click.pass_obj
def ack(context: AppContext, incident_id: str, lasting: timedelta | None, as_json: bool) -> None:
    """Take an incident: nobody else is called until that runs out."""
    from guardian.daemon.alarms import make_escalator
    from guardian.daemon.app import App

    with App(context.config, command="guardian incidents ack") as app:
        one = make_escalator(app).acknowledge(incident_id, person(), lasting=lasting)
        tell_people(app, lambda _: None, a_person_waits=True)
    until = time_text(one.acknowledged_until)
    _say(one, f"{one.id} is yours until {until}: {one.title}", as_json=as_json)


@incidents.command()
@click.argument("incident_id", metavar="ID")
@json_option
@click.pass_obj
def resolve(context: AppContext, incident_id: str, as_json: bool) -> None:
    """End an incident. What still holds opens it again when it is next seen."""
    from guardian.daemon.alarms import make_escalator
    from guardian.daemon.app import App

    with App(context.config, command="guardian incidents resolve") as app:
        one = make_escalator(app).resolve(incident_id, person())
        tell_people(app, lambda _: None, a_person_waits=True)
    _say(one, f"{one.id} is resolved: {one.title}", as_json=as_json)


@incidents.command(short_help="Write what you found or did into the timeline.")
@click.argument("incident_id", metavar="ID")
@click.argument("text")
@json_option
@click.pass_obj
def note(context: AppContext, incident_id: str, text: str, as_json: bool) -> None:
    """Write what you found or did into the timeline; the report will have it."""
    from guardian.daemon.alarms import make_escalator
    from guardian.daemon.app import App

    if not text.strip():
        raise UsageError("a note needs words")
    with App(context.config, command="guardian incidents note") as app:
        one = make_escalator(app).note(incident_id, text, person())
    _say(one, f"{one.id}: noted", as_json=as_json)


@incidents.command(short_help="Write the incident report, its timeline filled in.")
@click.argument("incident_id", metavar="ID")
@click.option(
    "--folder",
    metavar="FOLDER",
    type=click.Path(path_type=Path, file_okay=False),
    help="Where to (default: docs/incidents here).",
)
@click.option("--replace", is_flag=True, help="Write over a report that is there already.")
@json_option
@click.pass_obj
def report(
    context: AppContext, incident_id: str, folder: Path | None, replace: bool, as_json: bool
) -> None:
    """Write the incident report: the timeline filled in, blanks for what people know."""
    from guardian.daemon.app import App
    from guardian.escalate.report import FOLDER, incident_report, report_name

    with App(context.config, command="guardian incidents report") as app:
        one = find_incident(app, incident_id)
        text = incident_report(one, app.catalog.timeline(one.id), app.clock.now())
    path = (folder or Path(FOLDER)) / report_name(one)
    path = _write(path, text, one, replace=replace)
    if as_json:
        emit_json({"id": one.id, "path": str(path), "markdown": text})
    else:
        click.echo(str(path))


def _listed(app: App, since: timedelta | None, limit: int, *, only_open: bool) -> list[Incident]:
    """Newest opening first. What is open is never left out for being old."""
    found = {one.id: one for one in app.catalog.open_incidents()}
    if not only_open:
        after = None if since is None else _ago(app, since)
        found |= {one.id: one for one in app.catalog.incidents(since=after, limit=limit)}
    return sorted(found.values(), key=lambda one: (one.opened_at, one.id), reverse=True)


def find_incident(app: App, id_prefix: str) -> Incident:
    """The incident that an id, or the beginning of one, names.

    Raises:
        NotFoundError: there is none.
        UsageError: there are several.
    """
    found = list(app.catalog.find_incidents(id_prefix)) if id_prefix else []
    if not found:
        raise NotFoundError(
            f"there is no incident {id_prefix!r}", mend="guardian incidents list shows all"
        )
    if len(found) > 1:
        shown = ", ".join(one.id for one in found[:4])
        raise UsageError(
            f"{id_prefix!r} fits {len(found)} incidents: {shown} …", mend="write more of it"
        )
    return found[0]


def _write(path: Path, text: str, one: Incident, *, replace: bool) -> Path:
    """Write the report; what people have filled in is not written over.

    Two incidents of one key on one day have two reports.
    """
    if path.exists() and not replace:
        if f"incident {one.id}." in path.read_text(encoding="utf-8", errors="replace"):
            raise UsageError(
                f"{path} is there already, and people may have written in it",
                mend="--replace writes it anew",
            )
        path = path.with_name(f"{path.stem}-{one.id}{path.suffix}")
        return _write(path, text, one, replace=replace)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise GuardianError(
            f"{path} cannot be written: {error.strerror}", mend="--folder names another place"
        ) from error
    return path


def _say(one: Incident, text: str, *, as_json: bool) -> None:
    if as_json:
        from guardian.cli.incident_documents import incident_document

        emit_json(incident_document(one))
        return
    from guardian.cli.screen import harmless

    click.echo(harmless(text))


def _ago(app: App, since: timedelta) -> datetime:
    try:
        return app.clock.now() - since
    except OverflowError as error:
        raise UsageError("--since reaches before the beginning of time") from error
