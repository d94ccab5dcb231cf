"""One database over a year."""

from __future__ import annotations

from datetime import timedelta

from flask import Blueprint, Response

from guardian.backup.history import BackupFilter
from guardian.errors import NotFoundError
from guardian.model import DatabaseRef
from guardian.web import asking, rendering
from guardian.web.views.backups import backup_row
from guardian.web.views.databases import DAYS, database_view

blueprint = Blueprint("databases", __name__)
_MOST_POINTS = 20_000
_TRIES = 15


@blueprint.get("/database")
def database() -> Response:
    """Its calendar, its trends, its last tries.

    Names are words of the query and not of the path: PostgreSQL allows any name, also ``..``.
    """
    sources, now = asking.sources(), asking.now()
    ref = DatabaseRef(asking.word("server") or "", asking.word("database") or "")
    standing = next((one for one in sources.catalog.standings() if one.ref == ref), None)
    plan = next((one for one in sources.schedules.plans() if one.ref == ref), None)
    if standing is None and plan is None:
        raise NotFoundError(f"guardian knows no database {ref}", mend="the overview lists them")
    since = now - timedelta(days=DAYS + 1)
    wanted = BackupFilter(server=ref.server, database=ref.database)
    page = sources.catalog.backup_page(wanted, _TRIES)
    return rendering.page(
        "database",
        view=database_view(
            ref,
            standing,
            plan,
            sources.catalog.try_points(since, ref, _MOST_POINTS),
            sources.catalog.drill_points(since, ref, _MOST_POINTS),
            now,
        ),
        rows=[backup_row(one, now) for one in page.records],
        total=page.total,
    )
