"""The overview."""

from __future__ import annotations

from datetime import timedelta

from flask import Blueprint, Response

from guardian.web import asking, rendering
from guardian.web.asking import attempt, attempt_all
from guardian.web.views import overview as view
from guardian.web.views.servers import server_rows

blueprint = Blueprint("overview", __name__)
_RUNS = 8


@blueprint.get("/")
def overview() -> Response:
    """How everything stands, at a glance."""
    sources, now = asking.sources(), asking.now()
    since = now - timedelta(days=view.NIGHTS + 1)
    plans = sources.schedules.plans()
    incidents = attempt_all(sources.catalog.open_incidents)
    known = attempt(
        lambda: view.Material(
            now,
            sources.catalog.standings(),
            plans,
            sources.catalog.try_points(since),
            sources.catalog.drill_points(since),
        ),
        view.Material(now, [], [], [], []),
    )
    servers = sources.watch.servers()
    found = view.open_and_worst_first(incidents.value)
    rows = view.rows(known.value)
    return rendering.page(
        "overview",
        live=15,
        headline=view.headline(rows, found, servers, now, blind=known.error is not None),
        rows=rows,
        problem=known.error or incidents.error,
        incidents=found,
        servers=server_rows(sources.watch, sources.stale_after, now),
        runs=sources.schedules.next_runs(_RUNS),
        can_act=sources.desk is not None,
    )
