"""Records of the watch: one look at a server, and the words for what is done about it.

Times are the *server's* (``clock_timestamp()`` for :attr:`Observation.at`), so that ages are right
whatever this host's clock says. Durations are seconds, never negative.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

CLIENT_BACKEND = "client backend"
"""The only ``backend_type`` that a policy may ever touch."""

ACTIVE = "active"
RUNNING = frozenset({ACTIVE, "fastpath function call"})
"""States in which a query runs, so that a cancel has something to end."""


class Action(StrEnum):
    """What becomes of a victim: pg_cancel_backend, pg_terminate_backend, or only a report."""

    CANCEL = "cancel"
    TERMINATE = "terminate"
    REPORT = "report"


class Mode(StrEnum):
    """Whether signals are sent, or only told of."""

    OBSERVE = "observe"
    ENFORCE = "enforce"


class Outcome(StrEnum):
    """What came of a signal. The values are fixed by the contract (``audit``'s ``outcome``).

    ``would``: observe mode sent nothing. ``gone``: the session had ended. ``changed``: it had moved
    on, so nobody was hit. ``refused``: the server did not let us (SQLSTATE 42501).
    """

    WOULD = "would"
    SIGNALLED = "signalled"
    GONE = "gone"
    REFUSED = "refused"
    CHANGED = "changed"


@dataclass(frozen=True, slots=True)
class SessionKey:
    """Who a session is. A pid alone is nobody: it may belong to another session tomorrow.

    ``backend_start`` is None only for a session of which our role may see no more than the pid.
    """

    pid: int
    backend_start: datetime | None


@dataclass(frozen=True, slots=True)
class Session:
    """One row of ``pg_stat_activity``, with what else a verdict on it needs.

    ``client`` is an address as text, None over a Unix socket. ``query`` is cut by the server at
    ``track_activity_query_size`` and is the *last* query of a session that runs none; None where
    it was not recorded. ``wait_started_at`` is ``pg_locks.waitstart`` of an ungranted lock.
    ``is_superuser`` is true also when that is unknown. ``is_own``: guardian's, by our pid, or by
    our role *and* our application name. ``is_backup``: own, and part of a running backup.
    ``visible`` is false where our role sees NULLs (no ``pg_read_all_stats``).
    """

    pid: int
    backend_start: datetime | None
    user: str | None = None
    database: str | None = None
    application: str | None = None
    client: str | None = None
    backend_type: str | None = CLIENT_BACKEND
    state: str | None = None
    query: str | None = None
    wait_event_type: str | None = None
    wait_event: str | None = None
    query_start: datetime | None = None
    xact_start: datetime | None = None
    state_change: datetime | None = None
    wait_started_at: datetime | None = None
    xid_age: int | None = None
    xmin_age: int | None = None
    leader_pid: int | None = None
    is_superuser: bool = False
    is_replication: bool = False
    is_own: bool = False
    is_backup: bool = False
    visible: bool = True

    @property
    def key(self) -> SessionKey:
        """Who this is."""
        return SessionKey(self.pid, self.backend_start)

    @property
    def is_running(self) -> bool:
        """Whether it runs a query, which a cancel would end."""
        return self.state in RUNNING

    @property
    def spell(self) -> datetime | None:
        """When what it does now began: its running query, else its state.

        A fast-path call is no query: ``query_start`` still is that of the one before it.
        """
        return self.query_start if self.state == ACTIVE else self.state_change

    def state_seconds(self, at: datetime) -> float | None:
        """How long it has been in its state; for a running query, that query's age."""
        return _since(self.spell, at)

    def transaction_seconds(self, at: datetime) -> float | None:
        """The age of its transaction, None outside of one."""
        return _since(self.xact_start, at)

    def query_seconds(self, at: datetime) -> float | None:
        """The age of the query, or fast-path call, that it runs; None when it runs none."""
        return _since(self.spell, at) if self.is_running else None

    def wait_seconds(self, at: datetime) -> float | None:
        """How long it has waited for a lock, None when it does not, or that is unknown."""
        return _since(self.wait_started_at, at)


@dataclass(frozen=True, slots=True)
class PreparedTransaction:
    """A row of ``pg_prepared_xacts``: it holds locks and has no session that could be hit."""

    gid: str
    prepared_at: datetime
    owner: str
    database: str


@dataclass(frozen=True, slots=True)
class Observation:
    """One look at one server.

    ``blockers`` maps the pid of each session that waits for a lock to what ``pg_blocking_pids``
    said of it: pids with repetitions, 0 for a prepared transaction.
    """

    server: str
    at: datetime
    sessions: tuple[Session, ...] = ()
    blockers: Mapping[int, tuple[int, ...]] = field(default_factory=dict)
    prepared: tuple[PreparedTransaction, ...] = ()


def _since(start: datetime | None, at: datetime) -> float | None:
    """Seconds from start to at. A start a moment after ``at`` (rows are read later) gives 0."""
    return None if start is None else max(0.0, (at - start).total_seconds())
