"""From view models to HTML: the templates' frame, and the few words that all of them know."""

from __future__ import annotations

import hashlib
import json
import shlex
from datetime import date, datetime
from functools import lru_cache
from http import HTTPStatus
from pathlib import Path
from typing import Any

from flask import Flask, Response, make_response, render_template, request, session
from markupsafe import Markup

from guardian.units import format_size
from guardian.watch.advice import format_value
from guardian.watch.readings import Unit
from guardian.web import asking, forms
from guardian.web.views import wording
from guardian.web.views.calendar import Cell, Night
from guardian.web.views.charts import night_squares, night_strip
from guardian.web.views.doctor import LEVEL_OF_STATUS
from guardian.web.views.incidents import level_of
from guardian.web.views.overview import NIGHTS, open_and_worst_first
from guardian.web.views.sessions import spell_of

_ANY_DAY = date(2026, 1, 1)
ROOM = Path(__file__).parent
STATIC = ROOM / "static"
NAVIGATION = (
    ("overview", "overview.overview", "Overview"),
    ("backups", "backups.backups", "Backups"),
    ("sessions", "sessions.sessions", "Sessions"),
    ("vitals", "vitals.vitals", "Vitals"),
    ("incidents", "incidents.incidents", "Incidents"),
    ("doctor", "doctor.doctor", "Doctor"),
)


def prepare(app: Flask) -> None:
    """Teach the templates our words."""
    environment = app.jinja_env
    environment.globals.update(
        asset=asset,
        csrf=forms.csrf_token,
        navigation=NAVIGATION,
        plural=wording.plural,
        size=format_size,
        shell=shlex.quote,  # nosec B604 # a filter's name
        level_of=level_of,
        levels=LEVEL_OF_STATUS,
        number=lambda value, unit: format_value(value, Unit(unit)),
        spell_of=spell_of,
        nights=NIGHTS,
        forms={one.value: night_strip([Cell(_ANY_DAY, one)])[0].path for one in Night},
        squares={one.value: night_squares([[Cell(_ANY_DAY, one)]])[0].path for one in Night},
    )
    environment.filters.update(
        ago=lambda at: wording.ago(at, asking.now()),
        instant=wording.instant,
        iso=_iso,
        duration=wording.short_duration,
        size=format_size,
        one_line=wording.one_line,
        printable=wording.printable,
        data=_data,
    )


def page(
    section: str, /, *, live: int = 0, status: HTTPStatus = HTTPStatus.OK, **context: Any
) -> Response:
    """One page; only what changes of it where its own script asks.

    ``live`` is after how many seconds the script asks again, 0 for never.
    """
    template = f"{section}/{'live' if asking.wants_fragment() else 'page'}.html"
    frame = _frame()
    html = render_template(template, live=live, section=section, **frame, **context)
    response = make_response(html, status)
    response.vary.add(asking.FRAGMENT_HEADER)
    response.headers["X-Guardian-Now"] = _iso(asking.now())
    response.headers["X-Guardian-Open"] = f"{frame['open_count']} {frame['worst'] or ''}".strip()
    return response


def error_page(status: HTTPStatus, text: str, *, mend: str | None = None) -> Response:
    """Why there is no page, and what to do. As text where no browser asks."""
    wants_html = request.accept_mimetypes.accept_html and "text/html" in str(
        request.accept_mimetypes
    )
    if not wants_html or asking.wants_fragment():
        line = f"{text}; {mend}" if mend else text
        return Response(f"{line}\n", status, mimetype="text/plain")
    html = render_template(
        "error.html", live=0, section="", status=status, text=text, mend=mend, **_frame()
    )
    return make_response(html, status)


def _frame() -> dict[str, Any]:
    """What stands around each page. It must stand there whatever is broken."""
    sources = asking.sources()
    gate = asking.room().gate
    mark = session.get("login")
    is_in = not gate.wants_token or (isinstance(mark, str) and not gate.has_ended(mark))
    read = sources.catalog.open_incidents if is_in else list
    incidents = asking.attempt_all(read)
    found = open_and_worst_first(incidents.value)
    return {
        "now": asking.now(),
        "heading": sources.heading,
        "version": sources.version,
        "user": session.get("user") if gate.wants_token else None,
        "has_login": gate.wants_token,
        "actor": session.get("user", ""),
        "is_in": is_in,
        "open_count": len(found),
        "worst": found[0].severity.value if found else None,
        "open_unknown": incidents.error is not None,
    }


@lru_cache(maxsize=64)
def _mark(name: str) -> str:
    return hashlib.sha256((STATIC / name).read_bytes()).hexdigest()[:12]


def asset(name: str) -> str:
    """A static file's address, which changes with the file, so that browsers may keep it."""
    return f"/static/{name}?v={_mark(name)}"


def _iso(at: datetime) -> str:
    return at.isoformat(timespec="seconds")


def _data(value: Any) -> Markup:
    """JSON for a double-quoted attribute."""
    return Markup.escape(json.dumps(value, separators=(",", ":")))
