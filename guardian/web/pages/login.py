"""Logging in and out, where there is a token."""

from __future__ import annotations

import logging
import math
import secrets
from http import HTTPStatus

from flask import Blueprint, Response, redirect, request, session, url_for
from flask.typing import ResponseReturnValue

from guardian.web import asking, rendering
from guardian.web.access import person_name, safe_path

logger = logging.getLogger(__name__)
blueprint = Blueprint("login", __name__)


@blueprint.get("/login")
def login() -> ResponseReturnValue:
    """The form."""
    if not asking.room().gate.wants_token:
        return redirect(url_for("overview.overview"), HTTPStatus.SEE_OTHER)
    return _form()


@blueprint.post("/login")
def enter() -> ResponseReturnValue:
    """Judge a token."""
    gate, address = asking.room().gate, request.remote_addr or ""
    wait = gate.throttle.wait(address)
    if wait:
        answer = _form(
            f"too many wrong tokens; wait {math.ceil(wait)} seconds", HTTPStatus.TOO_MANY_REQUESTS
        )
        answer.headers["Retry-After"] = str(math.ceil(wait))
        return answer
    name = person_name(request.form.get("by", ""))
    if not gate.is_token(request.form.get("token", "").strip()):
        gate.throttle.note(address)
        logger.warning("a wrong token from %s", address)
        return _form("this is not the token", HTTPStatus.FORBIDDEN)
    if not name:
        return _form("say who you are: it stands beside what you do", HTTPStatus.BAD_REQUEST)
    session.clear()  # whoever prepared this browser's session does not share the login
    session["login"] = secrets.token_urlsafe(16)
    session["user"] = name
    session.permanent = True
    logger.info("%s logged in from %s", name, address)
    return redirect(safe_path(request.form.get("next", "/")), HTTPStatus.SEE_OTHER)


@blueprint.post("/logout")
def leave() -> ResponseReturnValue:
    """End this login, also for whoever has copied its cookie."""
    mark = session.get("login")
    if isinstance(mark, str):
        asking.room().gate.end(mark)
    session.clear()
    return redirect(url_for("login.login"), HTTPStatus.SEE_OTHER)


def _form(problem: str = "", status: HTTPStatus = HTTPStatus.OK) -> Response:
    where = request.form.get("next") or request.args.get("next") or "/"
    name = person_name(request.form.get("by", "") or str(session.get("user", "")))
    return rendering.page(
        "login", status=status, problem=problem, where=safe_path(where), name=name
    )
