"""Reads a server's vital signs: a few cheap queries, none of which can spoil the others.

Each runs in a transaction of its own with a statement_timeout and a lock_timeout, so that nothing
of ours piles up behind DDL. What a role may not see, or a server does not offer, becomes an
:class:`Unknown` with the GRANT. Works from PostgreSQL 13 on, with any role, also where a managed
service lets nobody be superuser.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeAlias

import psycopg
from psycopg.rows import dict_row

from guardian.adapters.postgres.queries import query
from guardian.adapters.postgres.vitals_rows import (
    archiver,
    checksums,
    invalid_indexes,
    replicas,
    sequences,
    sessions,
    slots,
    standby,
    wraparound,
)
from guardian.adapters.postgres.vitals_rows import lock_wait as lock_wait_of
from guardian.adapters.postgres.vitals_rows import prepared as prepared_of
from guardian.watch.readings import DATABASE_VITALS, SERVER_VITALS, Reading, Unknown

Row: TypeAlias = dict[str, Any]
Readings: TypeAlias = Sequence[Reading | Unknown]

_SEQUENCES_AT_ONCE = 500
_SEQUENCE_BATCHES = 20
_NOT_OFFERED = (
    psycopg.errors.UndefinedFunction,
    psycopg.errors.UndefinedColumn,
    psycopg.errors.UndefinedTable,
    psycopg.errors.UndefinedObject,
    psycopg.errors.FeatureNotSupported,
)


@dataclass(frozen=True, slots=True)
class Timeouts:
    """What a single query may take, and wait for a lock."""

    statement: timedelta = timedelta(seconds=5)
    lock: timedelta = timedelta(milliseconds=500)


def read_vitals(
    connection: psycopg.Connection, timeouts: Timeouts | None = None
) -> list[Reading | Unknown]:
    """All that one connection can tell: the server's vitals, and those of its own database.

    Raises:
        ValueError: when the connection is not in autocommit: its transaction would freeze what
            pg_stat_activity shows.
    """
    return [*read_server_vitals(connection, timeouts), *read_database_vitals(connection, timeouts)]


def read_server_vitals(
    connection: psycopg.Connection, timeouts: Timeouts | None = None
) -> list[Reading | Unknown]:
    """SERVER_VITALS, from whichever database; raises as :func:`read_vitals`."""
    look = _Look(connection, timeouts)
    return [reading for names, ask in _SERVER for reading in look.ask(names, ask)]


def read_database_vitals(
    connection: psycopg.Connection, timeouts: Timeouts | None = None
) -> list[Reading | Unknown]:
    """DATABASE_VITALS, of the connection's database; raises as :func:`read_vitals`."""
    look = _Look(connection, timeouts)
    return [reading for names, ask in _DATABASE for reading in look.ask(names, ask)]


class _Look:
    """One round of questions over one connection."""

    def __init__(self, connection: psycopg.Connection, timeouts: Timeouts | None) -> None:
        if not connection.autocommit:
            raise ValueError("vitals need a connection in autocommit")
        self._connection = connection
        self._timeouts = timeouts or Timeouts()
        self._role: str | None = None

    @property
    def database(self) -> str:
        return self._connection.info.dbname

    @property
    def role(self) -> str:
        """Our role as GRANT writes it."""
        if self._role is None:
            try:
                row = self._connection.execute("SELECT quote_ident(current_user)").fetchone()
            except psycopg.Error:
                row = None  # the question that asked tells what is wrong
            self._role = row[0] if row else "this role"
        return self._role

    def rows(self, name: str, **parameters: object) -> list[Row]:
        """What the question ``name``.sql gives."""
        with (
            self._connection.transaction(),
            self._connection.cursor(row_factory=dict_row) as cursor,
        ):
            cursor.execute(
                "SELECT set_config('statement_timeout', %s, true),"
                " set_config('lock_timeout', %s, true)",
                [_milliseconds(self._timeouts.statement), _milliseconds(self._timeouts.lock)],
            )
            return cursor.execute(query(name), parameters or None).fetchall()

    def ask(self, names: Sequence[str], ask: _Question) -> Readings:
        """The readings, or why there are none."""
        try:
            return ask(self)
        except psycopg.Error as error:
            if isinstance(error, psycopg.ProgrammingError) and error.sqlstate is None:
                raise  # no server said so: it is our own mistake
            why, mend = self._explain(error)
            return [Unknown(name, why, mend) for name in names]

    def _explain(self, error: psycopg.Error) -> tuple[str, str | None]:
        said = error.diag.message_primary or " ".join(str(error).split()) or type(error).__name__
        if self._connection.closed:
            return "the connection was lost", None
        if isinstance(error, psycopg.errors.InsufficientPrivilege):
            return f"{self.role} may not read it: {said}", f"GRANT pg_monitor TO {self.role};"
        if isinstance(error, psycopg.errors.LockNotAvailable):
            return f"a lock was in the way for longer than {self._timeouts.lock}", None
        if isinstance(error, psycopg.errors.QueryCanceled):
            return f"the query was stopped: {said}", None
        if isinstance(error, _NOT_OFFERED):
            return f"this server does not offer it: {said}", None
        return said, None


_Question: TypeAlias = Callable[[_Look], Readings]


def _milliseconds(duration: timedelta) -> str:
    return str(max(1, round(duration.total_seconds() * 1000)))


def _sessions(look: _Look) -> Readings:
    (row,) = look.rows("vitals_sessions")
    found = list(sessions(row, look.role))
    if row["waiting"] or row["hidden"]:
        found += look.ask(["lock_wait"], _lock_wait)
    else:
        found.append(lock_wait_of(None))
    return found


def _lock_wait(look: _Look) -> Readings:
    return [lock_wait_of(next(iter(look.rows("vitals_lock_waits")), None))]


def _wraparound(look: _Look) -> Readings:
    rows = look.rows("vitals_databases")
    return [*wraparound(rows), checksums(rows)]


def _prepared(look: _Look) -> Readings:
    return [prepared_of(next(iter(look.rows("vitals_prepared")), None))]


def _slots(look: _Look) -> Readings:
    return slots(look.rows("vitals_slots"))


def _replicas(look: _Look) -> Readings:
    own = [standby(row) for row in look.rows("vitals_standby")]
    return [*own, *replicas(look.rows("vitals_replicas"), look.role, is_standby=bool(own))]


def _archiver(look: _Look) -> Readings:
    (row,) = look.rows("vitals_archiver")
    if row["mode"] == "off" or (row["mode"] == "on" and row["in_recovery"]):
        return [archiver(row, None, look.role)]
    try:
        (backlog,) = look.rows("vitals_archive_backlog")
    except (psycopg.errors.InsufficientPrivilege, *_NOT_OFFERED):
        backlog = None
    return [archiver(row, backlog, look.role)]


def _sequences(look: _Look) -> Readings:
    rows: list[Row] = []
    after = 0
    for _ in range(_SEQUENCE_BATCHES):
        batch = look.rows("vitals_sequences", after=after, batch=_SEQUENCES_AT_ONCE)
        rows += batch
        if len(batch) < _SEQUENCES_AT_ONCE:
            return sequences(rows, look.database, look.role)
        after = batch[-1]["oid"]
    why = f"only the first {len(rows)} sequences of database {look.database} were looked at"
    return [*sequences(rows, look.database, look.role), Unknown("sequences", why)]


def _indexes(look: _Look) -> Readings:
    return [invalid_indexes(look.rows("vitals_indexes"), look.database, look.role)]


_SERVER: Sequence[tuple[Sequence[str], _Question]] = (
    (("connections", "idle_in_transaction", "query_age", "lock_wait"), _sessions),
    (("transaction_id_age", "multixact_age", "checksum_failures"), _wraparound),
    (("prepared_transactions",), _prepared),
    (("slot_retained_wal",), _slots),
    (("replica_lag",), _replicas),
    (("archiver",), _archiver),
)
_DATABASE: Sequence[tuple[Sequence[str], _Question]] = (
    (("sequences",), _sequences),
    (("invalid_indexes",), _indexes),
)
assert {name for names, _ in _SERVER for name in names} == set(SERVER_VITALS)
assert {name for names, _ in _DATABASE for name in names} == set(DATABASE_VITALS)
