"""From the rows of ``sessions.sql`` to an observation."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Sequence
from datetime import datetime
from typing import Any

from guardian.adapters.postgres.watch_link import str_of
from guardian.watch.expressions import QUERY_CHARACTERS
from guardian.watch.model import Observation, PreparedTransaction, Session
from guardian.watch.redaction import without_secrets
from guardian.watch.sparing import COMMENT, asks_to_be_spared, shortened


class QueryTexts:
    """What of a query's text goes further: as much as policies search, without secrets.

    To look for secrets costs more than all the rest of a look, and most sessions show the text of
    the look before: it is looked through once, for as long as it is shown.
    """

    def __init__(self) -> None:
        self._before: dict[Any, str] = {}
        self._now: dict[Any, str] = {}

    def begin(self) -> None:
        """A look begins: forget what the one before did not show."""
        self._before, self._now = self._now, {}

    def clean(self, raw: bytes | str) -> str:
        """One text."""
        text = self._now.get(raw)
        if text is None:
            text = self._before.get(raw)
            if text is None:
                whole = str_of(raw) or ""
                text = without_secrets(shortened(whole, QUERY_CHARACTERS)) or ""
                if asks_to_be_spared(whole) and not asks_to_be_spared(text):
                    text = f"{COMMENT} {text}"  # it went with what looked like a secret
            self._now[raw] = text
        return text


def observation_of(
    server: str,
    rows: Sequence[Sequence[Any]],
    *,
    is_own: Callable[[str | None, str | None], bool],
    is_backup: Callable[[str | None], bool],
    own_pids: Collection[int],
    texts: QueryTexts,
) -> Observation:
    """One look. ``is_own`` judges by user and application, ``is_backup`` by application."""
    texts.begin()
    sessions = []
    blockers = {}
    prepared: tuple[PreparedTransaction, ...] = ()
    for row in rows:
        *columns, blocked_by, transactions, _ = row
        session = _session(columns, is_own, is_backup, own_pids, texts)
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
    texts: QueryTexts,
) -> Session:
    (
        pid, backend_start, user, database, application, client, backend_type, state, query,
        beginning, is_spared, wait_event_type, wait_event, query_start, xact_start, state_change,
        wait_started_at, xid_age, xmin_age, leader_pid, is_superuser,
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
        query=_query(query, beginning, texts, is_spared=is_spared),
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


def _query(
    whole: bytes | str | None,
    beginning: bytes | None,
    texts: QueryTexts,
    *,
    is_spared: bool | None,
) -> str | None:
    """The text as it goes further. ``beginning`` is there instead of a ``whole`` too long."""
    if beginning is None:
        return None if whole is None else texts.clean(whole)
    text = texts.clean(beginning)
    if is_spared and not asks_to_be_spared(text):
        return f"{COMMENT} {text}"
    return text


def _prepared(text: bytes | str) -> tuple[PreparedTransaction, ...]:
    return tuple(
        PreparedTransaction(gid, datetime.fromisoformat(at), owner, database)
        for gid, at, owner, database in json.loads(str_of(text) or "[]")
    )
