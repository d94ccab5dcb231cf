"""Which databases a server has, remembered: for those who judge later, when it may not answer.

A run that fails before it knows the databases leaves no try in the catalog. What it leaves is an
event, so that two such nights are two failures in a row; and a database that is not listed any more
is not overdue for ever.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

from guardian.adapters.postgres.source import ALL_DATABASES
from guardian.backup.manifest import new_backup_id
from guardian.daemon.app import App
from guardian.errors import CatalogError, Cause, GuardianError
from guardian.escalate.conditions.history import WHOLE_SERVER
from guardian.model import BackupRecord, DatabaseRef, Event, RunStatus

LISTED = "databases.listed"
UNLISTED = "databases.unlisted"
_LOOKED_AT = 500


@dataclass(frozen=True, slots=True)
class Listing:
    """What is remembered: ``names`` as of the latest listing, None when there was none.

    ``failures`` are runs since then that could not list, newest first, as if they were tries.
    """

    names: tuple[str, ...] | None
    failures: tuple[BackupRecord, ...] = ()


def list_databases(app: App, server: str) -> Sequence[str]:
    """The databases of one server, for a run; remembered where the server itself was asked.

    Raises what the server raises; that is remembered, too.
    """
    section = app.server(server)
    if section.databases is None or ALL_DATABASES not in section.databases:
        return app.source(server).databases()
    try:
        names = list(app.source(server).databases())
    except GuardianError as error:
        if error.cause is not Cause.INTERRUPTED:
            _remember(app, server, UNLISTED, str(error), cause=error.cause.value)
        raise
    with suppress(CatalogError):  # whoever asks has work to do, and hears of it there
        before = recall_listing(app, server)
        if before.names != tuple(names) or before.failures:
            _remember(app, server, LISTED, _told(names), names=json.dumps(names))
    return names


def recall_listing(app: App, server: str) -> Listing:
    """What was remembered of a server.

    Raises:
        CatalogError: the catalog cannot be read.
    """
    listed = [one for one in app.catalog.events(_LOOKED_AT, LISTED) if one.server == server]
    failed = [one for one in app.catalog.events(_LOOKED_AT, UNLISTED) if one.server == server]
    latest = listed[0] if listed else None
    since = [one for one in failed if latest is None or one.at > latest.at]
    ref = DatabaseRef(server, WHOLE_SERVER)
    return Listing(
        None if latest is None else _names(latest), tuple(_as_try(one, ref) for one in since)
    )


def _remember(app: App, server: str, kind: str, text: str, **data: str) -> None:
    with suppress(CatalogError):
        app.catalog.record_event(Event(app.clock.now(), kind, text, server=server, data=data))


def _told(names: Sequence[str]) -> str:
    return f"{len(names):,} {'database' if len(names) == 1 else 'databases'}"


def _names(event: Event) -> tuple[str, ...] | None:
    try:
        return tuple(map(str, json.loads(event.data["names"])))
    except (KeyError, ValueError, TypeError):
        return None


def _as_try(event: Event, ref: DatabaseRef) -> BackupRecord:
    return BackupRecord(
        new_backup_id(event.at, f"{event.at.microsecond:06x}"),
        ref,
        RunStatus.FAILED,
        event.at,
        event.at,
        cause=_cause(event),
        error=event.message,
    )


def _cause(event: Event) -> Cause:
    try:
        return Cause(event.data.get("cause", ""))
    except ValueError:
        return Cause.UNKNOWN
