"""Sessions and observations in few words."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from guardian.watch.model import Observation, PreparedTransaction, Session

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
START = NOW - timedelta(days=1)


def ago(seconds: float) -> datetime:
    return NOW - timedelta(seconds=seconds)


def session(
    pid: int, state: str | None = "idle in transaction", seconds: float = 0, **facts: Any
) -> Session:
    """A visible client of the role web on mina, ``seconds`` in its state (or its query's age)."""
    known: dict[str, Any] = {
        "backend_start": START + timedelta(seconds=pid),
        "user": "web",
        "database": "mina",
        "application": "web",
        "client": "10.1.2.3",
        "state": state,
        "query": "select 1",
        "query_start": ago(seconds),
        "state_change": ago(seconds),
        "xact_start": None if state == "idle" else ago(seconds),
    }
    return Session(pid, **{**known, **facts})


def waiter(pid: int, seconds: float | None = 0, **facts: Any) -> Session:
    """A session whose query has waited for a lock from its start."""
    known: dict[str, Any] = {
        "wait_event_type": "Lock",
        "wait_event": "transactionid",
        "wait_started_at": None if seconds is None else ago(seconds),
    }
    return session(pid, "active", seconds or 0, **{**known, **facts})


def observation(
    *sessions: Session,
    blockers: dict[int, tuple[int, ...]] | None = None,
    prepared: tuple[PreparedTransaction, ...] = (),
    at: datetime = NOW,
) -> Observation:
    return Observation("main", at, sessions, blockers or {}, prepared)
