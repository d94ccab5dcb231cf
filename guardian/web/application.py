"""The WSGI application: its pages, what guards them, and what happens when one fails."""

from __future__ import annotations

import logging
from collections.abc import Collection
from http import HTTPStatus

from flask import Flask, Response, g, redirect, request, session, url_for
from flask.sessions import SecureCookieSessionInterface
from flask.typing import ResponseReturnValue
from jinja2 import StrictUndefined
from werkzeug.exceptions import HTTPException

from guardian.errors import GuardianError, NotFoundError, UsageError
from guardian.web import asking, forms, rendering
from guardian.web.access import SESSION_LASTS, Gate
from guardian.web.pages import (
    backups,
    databases,
    doctor,
    health,
    incidents,
    login,
    overview,
    sessions,
    vitals,
)
from guardian.web.ports import Sources

logger = logging.getLogger(__name__)

CONTENT_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
_HEADERS = {
    "Content-Security-Policy": CONTENT_POLICY,
    "X-Frame-Options": "DENY",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
}
_LARGEST_FORM = 64 << 10
_STATIC_CACHING = "public, max-age=31536000, immutable"  # its address changes with the file


class _Cookies(SecureCookieSessionInterface):
    """Cookies that go over TLS alone where a proxy says that there is TLS before us.

    Whoever says so wrongly only keeps the cookie from himself.
    """

    def get_cookie_secure(self, app: Flask) -> bool:
        """Whether the request at hand came over TLS."""
        del app
        return request.headers.get("X-Forwarded-Proto") == "https"


def create_app(
    sources: Sources, token: str | None = None, *, port: int = 0, hosts: Collection[str] = ()
) -> Flask:
    """The application over these sources. ``port`` keeps the cookies of two of us apart."""
    app = Flask("guardian.web", root_path=str(rendering.ROOM))
    gate = Gate(token, sources.clock.monotonic, hosts)
    app.secret_key = gate.cookie_key
    app.session_interface = _Cookies()
    app.config.update(
        SESSION_COOKIE_NAME=f"guardian_{port}",
        SESSION_COOKIE_HTTPONLY=True,
        SESSION_COOKIE_SAMESITE="Strict",
        PERMANENT_SESSION_LIFETIME=SESSION_LASTS,
        MAX_CONTENT_LENGTH=_LARGEST_FORM,
        MAX_FORM_PARTS=50,
    )
    app.jinja_env.undefined = StrictUndefined
    app.jinja_env.trim_blocks = app.jinja_env.lstrip_blocks = True
    rendering.prepare(app)
    app.extensions["guardian"] = asking.Room(sources, gate)
    app.before_request(_begin)
    app.before_request(_guard)
    app.after_request(_finish)
    app.register_error_handler(GuardianError, _explain)
    app.register_error_handler(HTTPException, _refuse)
    app.register_error_handler(Exception, _apologise)
    for page in (
        overview,
        databases,
        backups,
        sessions,
        vitals,
        incidents,
        doctor,
        login,
        health,
    ):
        app.register_blueprint(page.blueprint)
    return app


def _begin() -> None:
    """Know at what instant a page tells how things are."""
    g.now = asking.sources().clock.now()


def _guard() -> ResponseReturnValue | None:
    """Let in who may come in; see guardian.web.access."""
    room = asking.room()
    if request.endpoint == "health.health":
        return None
    if not room.gate.is_known_host(request.host):
        text = (
            f"guardian does not answer to the name {request.host!r}; ask for 127.0.0.1 or "
            "localhost, or write that name into service.hosts"
        )
        return Response(f"{text}\n", HTTPStatus.MISDIRECTED_REQUEST, mimetype="text/plain")
    if request.endpoint in {"static", "login.login", "login.enter"}:
        return _check_form() if request.method == "POST" else None
    if room.gate.wants_token and not _is_in(room):
        return _send_away()
    return _check_form() if request.method == "POST" else None


def _is_in(room: asking.Room) -> bool:
    """Whether this request carries the token, or a login's cookie."""
    authorization = request.authorization
    if authorization is not None and authorization.type == "bearer":
        address = request.remote_addr or ""
        if room.gate.throttle.wait(address):
            return False
        if room.gate.is_token(authorization.token or ""):
            return True
        room.gate.throttle.note(address)
        return False
    mark = session.get("login")
    return isinstance(mark, str) and not room.gate.has_ended(mark)


def _send_away() -> ResponseReturnValue:
    """To the login, where a person asks for a page; else a plain no."""
    wants_page = request.method in {"GET", "HEAD"} and not asking.wants_fragment()
    if wants_page and request.endpoint not in {"health.detailed", "health.metrics"}:
        where = request.full_path.rstrip("?")
        return redirect(url_for("login.login", next=where), HTTPStatus.SEE_OTHER)
    return Response(
        "this wants a login, or the header Authorization: Bearer TOKEN\n",
        HTTPStatus.UNAUTHORIZED,
        {"WWW-Authenticate": 'Bearer realm="guardian"'},
        mimetype="text/plain",
    )


def _check_form() -> ResponseReturnValue | None:
    """Refuse what was not sent by one of our own pages."""
    if request.headers.get("Sec-Fetch-Site", "same-origin") not in {"same-origin", "none"}:
        return rendering.error_page(HTTPStatus.FORBIDDEN, "another web site sent this")
    if not forms.is_ours():
        return rendering.error_page(
            HTTPStatus.BAD_REQUEST,
            "this page was older than guardian's last start, or your login has ended",
            mend="go back, reload the page and try again",
        )
    return None


def _finish(response: Response) -> Response:
    """Headers that keep browsers from doing what they need not."""
    for name, value in _HEADERS.items():
        response.headers.setdefault(name, value)
    keeps = request.endpoint == "static" and response.status_code == HTTPStatus.OK
    response.headers["Cache-Control"] = _STATIC_CACHING if keeps else "no-store"
    return response


def _explain(error: GuardianError) -> ResponseReturnValue:
    status = HTTPStatus.SERVICE_UNAVAILABLE
    if isinstance(error, NotFoundError):
        status = HTTPStatus.NOT_FOUND
    elif isinstance(error, UsageError):
        status = HTTPStatus.CONFLICT
    else:
        logger.warning("%s: %s", request.path, error)
    return rendering.error_page(status, error.message, mend=error.mend)


def _refuse(error: HTTPException) -> ResponseReturnValue:
    if error.response is not None:
        return error.get_response()
    status = HTTPStatus(error.code or HTTPStatus.INTERNAL_SERVER_ERROR)
    return rendering.error_page(status, _WORDS.get(status, status.description or status.phrase))


def _apologise(error: Exception) -> ResponseReturnValue:
    logger.error("%s failed", request.path, exc_info=error)
    return rendering.error_page(
        HTTPStatus.INTERNAL_SERVER_ERROR,
        "this page failed; that is guardian's fault, and its log tells more",
    )


_WORDS = {
    HTTPStatus.NOT_FOUND: "there is no such page",
    HTTPStatus.METHOD_NOT_ALLOWED: "this address does not take that",
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: "that was too much",
}
