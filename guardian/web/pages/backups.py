"""Backups: the list, and one of them."""

from __future__ import annotations

from flask import Blueprint, Response, request

from guardian.backup.history import Wanted
from guardian.errors import ManifestError, NotFoundError
from guardian.model import BackupId
from guardian.web import asking, rendering
from guardian.web.views import backups as view

blueprint = Blueprint("backups", __name__)


@blueprint.get("/backups")
def backups() -> Response:
    """Tries and backups, newest first, filtered."""
    sources, now = asking.sources(), asking.now()
    wanted = view.read_filter(
        request.args.get("show"),
        asking.word("server"),
        asking.word("database"),
        asking.word("store"),
        asking.word("id"),
    )
    number = asking.number("page", 1, 1_000_000)
    page = sources.catalog.backup_page(wanted, view.PER_PAGE, (number - 1) * view.PER_PAGE)
    paging = view.paging(page.total, number)
    if paging.page != number:  # beyond the end
        page = sources.catalog.backup_page(wanted, view.PER_PAGE, (paging.page - 1) * view.PER_PAGE)
    refs = sorted({one.ref for one in sources.schedules.plans()} | {r.ref for r in page.records})
    return rendering.page(
        "backups",
        live=30 if number == 1 else 0,
        rows=[view.backup_row(one, now) for one in page.records],
        paging=paging,
        wanted=wanted,
        choices=[(one.value, view.WANTED_WORDS[one]) for one in Wanted],
        servers=sorted({ref.server for ref in refs}),
        databases=sorted({ref.database for ref in refs}),
        query={name: value for name, value in request.args.items() if name != "page" and value},
    )


@blueprint.get("/backups/<backup_id>")
def backup(backup_id: str) -> Response:
    """One backup: its parts, where it lies, what drills found, what took how long."""
    sources = asking.sources()
    record = sources.catalog.backup(BackupId(backup_id))
    if record is None:
        raise NotFoundError(
            f"the catalog knows no backup {backup_id}",
            mend="the list has those that it knows",
        )
    problem = ""
    try:
        manifest = sources.catalog.manifest(record.id)
    except ManifestError as error:
        manifest, problem = None, str(error)
    details = view.backup_details(record, manifest, sources.catalog.proofs(record.id), asking.now())
    return rendering.page("backup", view=details, problem=problem)
