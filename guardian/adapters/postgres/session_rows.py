"""From the rows of ``sessions.sql`` to an observation."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Sequence
from datetime import datetime
from typing import Any

from guardian.adapters.postgres.watch_link import str_of
from guardian.watch.model import Observation, PreparedTransaction, Session
from guardian.watch.redaction import without_secrets


def observation_of(
    server: str,
    rows: Sequence[Sequence[Any]],
    *,
    is_own: Callable[[str | None, str | None], bool],
    is_backup: Callable[[str | None], bool],
    own_pids: Collection[int],
) -> Observation:
    """One look. ``is_own`` judges by user and application, ``is_backup`` by application."""
    sessions = []
    blockers = {}
    prepared: tuple[PreparedTransaction, ...] = ()
    for row in rows:
        *columns, blocked_by, transactions, _ = row
        session = _session(columns, is_own, is_backup, own_pids)
        sessions.append(session)
        if blocked_by:
            blockers[session.pid] = tuple(blocked_by)
        if transactions is not None:
            prepared = _prepared(transactions)
    at = min(row[-1] for row in rows)
    return Observation(server, at, tuple(sessions), blockers, prepared)


def _session(
    columns: Sequence[Any],
    is_own: Callable[[str | None, str | None], bool],
    is_backup: Callable[[str | None], bool],
    own_pids: Collection[int],
) -> Session:
    (
        pid, backend_start, user, database, application, client, backend_type, state, query,
        wait_event_type, wait_event, query_start, xact_start, state_change, wait_started_at,
        xid_age, xmin_age, leader_pid, is_superuser,
    ) = columns  # fmt: skip
    user, application = str_of(user), str_of(application)
    kind = str_of(backend_type)
    own = pid in own_pids or is_own(user, application)
    return Session(
        pid=pid,
        backend_start=backend_start,
        user=user,
        database=str_of(database),
        application=application,
        client=str_of(client),
        backend_type=kind,
        state=str_of(state),
        query=without_secrets(str_of(query)),
        wait_event_type=str_of(wait_event_type),
        wait_event=str_of(wait_event),
        query_start=query_start,
        xact_start=xact_start,
        state_change=state_change,
        wait_started_at=wait_started_at,
        xid_age=xid_age,
        xmin_age=xmin_age,
        leader_pid=leader_pid,
        is_superuser=is_superuser,
        is_replication=kind == "walsender",
        is_own=own,
        is_backup=own and is_backup(application),
        visible=backend_start is not None,
    )


def _prepared(text: bytes | str) -> tuple[PreparedTransaction, ...]:
    return tuple(
        PreparedTransaction(gid, datetime.fromisoformat(at), owner, database)
        for gid, at, owner, database in json.loads(str_of(text) or "[]")
    )
