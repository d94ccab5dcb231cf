"""Vital signs: gauges with bounds, and their history."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

from flask import Blueprint, Response

from guardian.errors import NotFoundError
from guardian.watch.readings import VITALS
from guardian.watch.trend import Series
from guardian.web import asking, rendering
from guardian.web.asking import attempt_all
from guardian.web.views import vitals as view
from guardian.web.views.servers import ServerRow, server_rows

blueprint = Blueprint("vitals", __name__)


@blueprint.get("/vitals")
def vitals() -> Response:
    """One server's vitals, with the last day of each."""
    sources, now = asking.sources(), asking.now()
    servers = server_rows(sources.watch, sources.stale_after, now)
    chosen = asking.word("server") or _most_urgent(servers)
    known = next((one for one in servers if one.name == chosen), None)
    if chosen is not None and known is None:
        raise NotFoundError(f"there is no server {chosen!r}")
    found = None if chosen is None else sources.watch.vitals(chosen)
    samples = attempt_all(
        lambda: sources.catalog.samples(chosen, now - timedelta(days=1)) if chosen else []
    )
    return rendering.page(
        "vitals",
        live=15,
        servers=servers,
        chosen=chosen,
        server=known,
        at=found.at if found else None,
        is_stale=found is not None and now - found.at > sources.stale_after,
        gauges=view.gauges(found, samples.value, now) if found else [],
        problem=samples.error,
    )


@blueprint.get("/vitals/history")
def history() -> Response:
    """One vital over a day, a week, a month or a year."""
    sources, now = asking.sources(), asking.now()
    server, vital = asking.word("server") or "", asking.word("vital") or ""
    if vital not in VITALS or server not in {one.name for one in sources.watch.servers()}:
        raise NotFoundError("there is no such vital", mend="choose one from the vitals' page")
    series = Series(vital, asking.word("subject") or "")
    text = asking.word("span")
    span = view.Span(text) if text in set(view.Span) else view.Span.DAY
    samples = sources.catalog.samples(server, now - span.duration, series)
    found = sources.watch.vitals(server)
    bounds = found.bounds if found else {}
    return rendering.page(
        "vital",
        live=60,
        server=server,
        series=series,
        span=span,
        spans=list(view.Span),
        view=view.history(series, samples, bounds, span, now),
    )


def _most_urgent(servers: Sequence[ServerRow]) -> str | None:
    """The server to show first: the one whose vitals are worst, else the first."""
    worst = max(servers, key=lambda one: one.vital_level.rank, default=None)
    return None if worst is None else worst.name
