"""Sessions and locks, as of the watch's last look; and ending one of them."""

from __future__ import annotations

import logging
from http import HTTPStatus

from flask import Blueprint, Response, redirect, request, url_for
from flask.typing import ResponseReturnValue

from guardian.errors import NotFoundError, UsageError
from guardian.watch.locks import LockGraph
from guardian.watch.model import Action, Session
from guardian.web import asking, rendering
from guardian.web.asking import attempt_all
from guardian.web.ports import Look
from guardian.web.views import sessions as view

logger = logging.getLogger(__name__)
blueprint = Blueprint("sessions", __name__)
_KILLS = 30


@blueprint.get("/sessions")
def sessions() -> Response:
    """Each server's sessions with verdicts, its lock trees, and the last kills."""
    sources, now = asking.sources(), asking.now()
    server = asking.word("server")
    everyone = asking.word("all") == "1"
    servers = sources.watch.servers()
    shown = [one for one in servers if server in {None, one.name}]
    kills = attempt_all(lambda: sources.catalog.kills(server=server, limit=_KILLS))
    return rendering.page(
        "sessions",
        live=3,
        servers=[
            view.server_sessions(
                one,
                sources.watch.look(one.name),
                now,
                sources.stale_after,
                everyone=everyone,
                with_query=sources.query_text,
            )
            for one in shown
        ],
        names=[one.name for one in servers],
        chosen=server,
        everyone=everyone,
        kills=view.kill_rows(kills.value, with_query=sources.query_text),
        problem=kills.error,
        can_kill=_can_kill(),
    )


@blueprint.get("/session")
def session() -> Response:
    """One session in full, and what may be done with it."""
    look, one = _seen()
    sources = asking.sources()
    seen = look.observation
    verdicts = {each.session.key: each for each in look.decisions.verdicts}
    graph = LockGraph(seen)
    return rendering.page(
        "session",
        server=seen.server,
        at=look.at,
        one=one,
        row=view.session_row(
            one, seen, graph, verdicts.get(one.key), with_query=sources.query_text
        ),
        query=one.query if sources.query_text and one.visible else None,
        why_not={each.value: view.may_be_killed(one, each) for each in view.KILLS},
        can_kill=_can_kill(),
    )


@blueprint.post("/session/kill")
def kill() -> ResponseReturnValue:
    """End it, or its query: only who was shown, and for a cancel only what was shown."""
    hand, by = asking.sources().hand, asking.person()
    if hand is None or not _can_kill():
        raise UsageError("nobody is killed from here", mend="guardian kill PID does it")
    if not by:
        raise UsageError("say who you are: it stands in the audit")
    look, one = _seen()
    started = one.backend_start.isoformat() if one.backend_start else ""
    if request.form.get("started") != started:
        raise UsageError(
            f"pid {one.pid} belongs to another session by now", mend="look at the list again"
        )
    action = Action.CANCEL if request.form.get("action") == "cancel" else Action.TERMINATE
    if action is Action.CANCEL and request.form.get("spell") != view.spell_of(one):
        raise UsageError(f"pid {one.pid} does something else by now", mend="look at it again")
    record = hand.kill(look.observation.server, one.pid, action, seen=look.observation, by=by)
    logger.info(
        "%s asked from %s for %s of pid %d on %s: %s",
        by,
        request.remote_addr,
        action,
        one.pid,
        record.server,
        record.outcome,
    )
    return redirect(
        url_for("sessions.sessions", server=record.server, _anchor="kills"), HTTPStatus.SEE_OTHER
    )


def _can_kill() -> bool:
    """Only with a login: else any process of this host could."""
    return asking.sources().hand is not None and asking.room().gate.wants_token


def _seen() -> tuple[Look, Session]:
    server = request.values.get("server", "")
    pid = request.values.get("pid", "")
    look = asking.sources().watch.look(server)
    if look is None:
        raise NotFoundError(f"server {server!r} was not looked at")
    one = next((each for each in look.observation.sessions if str(each.pid) == pid), None)
    if one is None:
        raise NotFoundError(
            f"server {server} has no session with pid {pid}", mend="it may have ended"
        )
    return look, one
