"""``guardian kill``: one session, shown first, hit only while it still is what was shown."""

from __future__ import annotations

import sys
from contextlib import closing
from typing import TYPE_CHECKING, Any, NoReturn

import click

from guardian.cli.completion import complete_servers
from guardian.cli.console import console, emit_json, json_option, person, time_text
from guardian.cli.main import AppContext, say_error
from guardian.cli.parameters import Number
from guardian.errors import ExitCode, UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from guardian.watch.audit import KillRecord
    from guardian.watch.model import Action, Observation, Session
    from guardian.watch.patrol import Patrol


@click.command()
@click.argument("pid", type=Number(min=1))
@click.option(
    "--server", metavar="NAME", shell_complete=complete_servers, help="Needed when there are more."
)
@click.option("--cancel", is_flag=True, help="Only cancel its query; the session stays.")
@click.option(
    "--force", is_flag=True, help="Also when it does something else by now; never another session."
)
@click.option("-y", "--yes", is_flag=True, help="Do not ask on a terminal.")
@json_option
@click.pass_obj
def kill(
    context: AppContext,
    pid: int,
    server: str | None,
    cancel: bool,
    force: bool,
    yes: bool,
    as_json: bool,
) -> None:
    """End one session, or cancel its query: shown first, audited, never another one.

    It is hit only while it does what was shown. Exit 0: its end was seen; 1: nobody was hit (gone,
    changed, refused), or it is still there; 3: signalled, and its end could not be seen.
    """
    from guardian.daemon.app import App
    from guardian.watch.model import Action

    action = Action.CANCEL if cancel else Action.TERMINATE
    with App(context.config, command="guardian kill") as app:
        name = _only_server(list(app.config.servers), server)
        with closing(app.patrol(name)) as patrol:
            seen, _ = patrol.look()
            session = next((one for one in seen.sessions if one.pid == pid), None)
            why = _why_not(session, seen, pid, action)
            if session is not None and not as_json:
                _show(seen, session)
            if session is None or why is not None:
                _refuse(seen, session, pid, action, why or "", as_json=as_json)
            if not (yes or as_json) and not _agreed(session, action):
                say_error("nobody was hit")
                raise click.exceptions.Exit(ExitCode.FAILED)
            record = _strike(patrol, seen, session, action, force=force)
    _tell(record, as_json=as_json)


def _only_server(names: Sequence[str], wanted: str | None) -> str:
    if wanted is not None:
        return wanted
    if len(names) == 1:
        return names[0]
    raise UsageError("a pid says nothing without its server", mend=f"--server {'|'.join(names)}")


def _why_not(session: Session | None, seen: Observation, pid: int, action: Action) -> str | None:
    """Why it may not, or cannot, be hit."""
    from guardian.watch.matching import immunity
    from guardian.watch.model import Action

    if session is None:
        return f"server {seen.server} has no session with pid {pid}; it may have ended"
    if (immune := immunity(session, superusers=True)) is not None:
        return f"pid {pid} on server {seen.server} is left alone: {immune}"
    if action is Action.CANCEL and not session.is_running:
        return (
            f"pid {pid} on server {seen.server} runs no query that could be cancelled "
            f"(it is {session.state or 'in no known state'}); leave out --cancel to terminate it"
        )
    return None


def _show(seen: Observation, session: Session) -> None:
    from guardian.cli.screen import show
    from guardian.cli.session_card import card_lines

    out = console()
    show(out, card_lines(out, seen, session))


def _agreed(session: Session, action: Action) -> bool:
    """Ask on a terminal; a script has decided."""
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        return True
    question = f"{action.value.capitalize()} pid {session.pid}?"
    return click.confirm(question, default=False, err=True)


def _strike(
    patrol: Patrol, seen: Observation, session: Session, action: Action, *, force: bool
) -> KillRecord:
    return patrol.kill(
        session.pid,
        action,
        by=person(),
        seen=seen,
        whatever_it_does=force,
    )


def _refuse(
    seen: Observation,
    session: Session | None,
    pid: int,
    action: Action,
    why: str,
    *,
    as_json: bool,
) -> NoReturn:
    """Say why nobody is hit, and end."""
    from guardian.watch.model import Outcome

    outcome = Outcome.GONE if session is None else Outcome.REFUSED
    if as_json:
        emit_json(_refusal_document(seen, session, pid, action, outcome, why))
    say_error(why)
    raise click.exceptions.Exit(ExitCode.FAILED)


def _refusal_document(
    seen: Observation,
    session: Session | None,
    pid: int,
    action: Action,
    outcome: str,
    why: str,
) -> dict[str, Any]:
    """An audit entry's shape, though nothing was done that belongs into the audit."""
    return {
        "at": time_text(seen.at),
        "server": seen.server,
        "policy": None,
        "pid": pid,
        "backend_start": time_text(session.backend_start) if session else None,
        "user": session.user if session else None,
        "database": session.database if session else None,
        "application": session.application if session else None,
        "query": session.query if session else None,
        "action": action.value,
        "mode": "manual",
        "outcome": outcome,
        "reason": why,
        "evidence": {},
    }


def _tell(record: KillRecord, *, as_json: bool) -> None:
    from guardian.cli.session_documents import kill_document
    from guardian.watch.model import Outcome

    confirmed = record.evidence.get("confirmed")
    if as_json:
        emit_json(kill_document(record))
    if record.outcome is not Outcome.SIGNALLED:
        say_error(f"nobody was hit: {_explained(record)}")
        raise click.exceptions.Exit(ExitCode.FAILED)
    if confirmed is not True:
        say_error(f"pid {record.pid} was signalled: {record.reason}")
        raise click.exceptions.Exit(ExitCode.FAILED if confirmed is False else ExitCode.UNPROVEN)
    if not as_json:
        done = "its query has ended" if record.action.value == "cancel" else "it has ended"
        click.echo(f"pid {record.pid} on server {record.server}: {done}")


def _explained(record: KillRecord) -> str:
    from guardian.watch.model import Outcome

    where = f"pid {record.pid} on server {record.server}"
    if record.outcome is Outcome.GONE:
        return f"{where} had ended"
    if record.outcome is Outcome.CHANGED:
        return (
            f"{where} does something else by now; look again, or with --force end it whatever "
            "it does"
        )
    return f"{where} was refused: {record.reason}"
