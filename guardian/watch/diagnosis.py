"""What ``guardian diagnose`` finds on one server: the runbook's checks as records. Pure.

Each section stands for itself: one that could not be read is None with a note that says why, and
never keeps the next from being read. Times are the server's.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Generic, TypeVar

from guardian.watch.model import CLIENT_BACKEND, Observation, Session

Facts = TypeVar("Facts")


@dataclass(frozen=True, slots=True)
class Note:
    """Something that a section says beside its facts; ``mend`` has the SQL, or what to do."""

    text: str
    mend: str | None = None


@dataclass(frozen=True, slots=True)
class Section(Generic[Facts]):
    """One part of the report: ``facts`` is None when they are unknown, and a note says why."""

    facts: Facts | None
    notes: tuple[Note, ...] = ()


@dataclass(frozen=True, slots=True)
class ServerFacts:
    """Which server this is. ``connections_available`` is max_connections less those reserved."""

    version: str
    version_num: int
    role: str
    database: str
    at: datetime
    started_at: datetime
    is_standby: bool
    connections_available: int


@dataclass(frozen=True, slots=True)
class StateCount:
    """Clients in one state, and for how long the first of them has been in it."""

    state: str
    count: int
    longest_seconds: float | None


@dataclass(frozen=True, slots=True)
class ClientCount:
    """Clients of one user, database and application, by what they do."""

    user: str | None
    database: str | None
    application: str | None
    count: int
    active: int
    idle: int
    idle_in_transaction: int


@dataclass(frozen=True, slots=True)
class Connections:
    """Who is connected. ``hidden`` are those of which our role may see no more than the pid."""

    clients: int
    hidden: int
    by_state: tuple[StateCount, ...]
    by_client: tuple[ClientCount, ...]


@dataclass(frozen=True, slots=True)
class DatabaseFacts:
    """One database. ``cache_hit_percent`` is of all blocks read since ``stats_reset``.

    ``bytes`` is None where our role may not ask for it.
    """

    name: str
    bytes: int | None
    connections: int
    cache_hit_percent: float | None
    commits: int
    rollbacks: int
    deadlocks: int
    temp_bytes: int
    stats_reset: datetime | None


@dataclass(frozen=True, slots=True)
class Statement:
    """One normalized query as pg_stat_statements counts it; ``share`` is of all time, 0 to 100."""

    query: str | None
    user: str | None
    database: str | None
    calls: int
    total_seconds: float
    mean_seconds: float
    max_seconds: float
    rows: int
    share: float


@dataclass(frozen=True, slots=True)
class SlowQueries:
    """Where the server's time goes, and which single calls are slow."""

    by_total: tuple[Statement, ...]
    by_mean: tuple[Statement, ...]
    since: datetime | None


@dataclass(frozen=True, slots=True)
class TableFacts:
    """One table with its indexes and its toast. ``name`` is quoted as SQL wants it.

    ``estimated``: somebody locks it, so its size is the last VACUUM's or ANALYZE's. ``rows`` and
    ``dead_rows`` are the statistics'; None where there are none yet.
    """

    database: str
    name: str
    total_bytes: int
    table_bytes: int
    index_bytes: int
    toast_bytes: int
    estimated: bool
    rows: int | None
    dead_rows: int
    dead_percent: float
    last_vacuum: datetime | None
    last_analyze: datetime | None
    hint: str | None = None


@dataclass(frozen=True, slots=True)
class IndexFacts:
    """One index; ``scans`` is how often a query has used it since the statistics began."""

    database: str
    name: str
    table: str
    bytes: int
    estimated: bool
    scans: int
    last_scan: datetime | None
    unique: bool
    valid: bool
    hint: str | None = None


@dataclass(frozen=True, slots=True)
class Replica:
    """Who replicates from here."""

    name: str | None
    client: str | None
    state: str | None
    lag_seconds: float | None
    behind_bytes: float | None


@dataclass(frozen=True, slots=True)
class Slot:
    """A replication slot, and the WAL that it holds back."""

    name: str
    kind: str
    database: str | None
    active: bool
    wal_status: str | None
    retained_bytes: float | None


@dataclass(frozen=True, slots=True)
class Replication:
    """Both sides of it."""

    is_standby: bool
    replicas: tuple[Replica, ...]
    slots: tuple[Slot, ...]


@dataclass(frozen=True, slots=True)
class DatabaseReport:
    """What one database was asked for."""

    database: str
    tables: Section[tuple[TableFacts, ...]]
    indexes: Section[tuple[IndexFacts, ...]]


_STATES = (
    "active",
    "idle in transaction",
    "idle in transaction (aborted)",
    "fastpath function call",
    "idle",
    "disabled",
)
_SHORT_SECONDS = 10.0
HIDDEN = "hidden"
"""The state of sessions that our role may not see."""


def clients(observation: Observation) -> list[Session]:
    """Sessions of clients, hidden ones among them."""
    return [one for one in observation.sessions if _is_client(one)]


def connections_of(observation: Observation, top: int) -> Connections:
    """Clients by state, and by who they are, the largest group first."""
    found = clients(observation)
    return Connections(
        clients=len(found),
        hidden=sum(not one.visible for one in found),
        by_state=tuple(_by_state(found, observation.at)),
        by_client=tuple(_by_client(found)[:top]),
    )


def long_transactions(observation: Observation, top: int) -> Sequence[Session]:
    """Those that have a transaction open, the oldest first, without our own short ones."""
    open_ones = [
        one
        for one in clients(observation)
        if one.xact_start
        and not (one.is_own and (one.transaction_seconds(observation.at) or 0.0) < _SHORT_SECONDS)
    ]
    open_ones.sort(key=lambda one: (one.xact_start or observation.at, one.pid))
    return open_ones[:top]


def _is_client(session: Session) -> bool:
    """Clients, and those hidden ones that may be one."""
    if not session.visible:
        return session.database is not None
    return session.backend_type == CLIENT_BACKEND


def _state(session: Session) -> str:
    return (session.state or "unknown") if session.visible else HIDDEN


def _by_state(found: Iterable[Session], at: datetime) -> list[StateCount]:
    groups: dict[str, list[Session]] = {}
    for one in found:
        groups.setdefault(_state(one), []).append(one)
    order = {state: place for place, state in enumerate(_STATES)}
    return [
        StateCount(
            state,
            len(groups[state]),
            max(
                (s for one in groups[state] if (s := one.state_seconds(at)) is not None),
                default=None,
            ),
        )
        for state in sorted(groups, key=lambda state: (order.get(state, len(order)), state))
    ]


def _by_client(found: Iterable[Session]) -> list[ClientCount]:
    groups: dict[tuple[str | None, str | None, str | None], Counter[str]] = {}
    for one in found:
        key = (one.user, one.database, one.application or None)
        groups.setdefault(key, Counter())[_state(one)] += 1
    counted = [
        ClientCount(
            *key,
            count=states.total(),
            active=states["active"] + states["fastpath function call"],
            idle=states["idle"],
            idle_in_transaction=states["idle in transaction"]
            + states["idle in transaction (aborted)"],
        )
        for key, states in groups.items()
    ]
    return sorted(
        counted,
        key=lambda one: (-one.count, one.user or "", one.database or "", one.application or ""),
    )
