"""Reads a server's vital signs: a few cheap queries, none of which can spoil the others.

What a role may not see, or a server does not offer, becomes an :class:`Unknown` with the GRANT. See
:mod:`guardian.adapters.postgres.questions` for how they are asked.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias

import psycopg

from guardian.adapters.postgres.queries import query
from guardian.adapters.postgres.questions import NOT_OFFERED, Questions, Row, Timeouts
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

__all__ = ["Timeouts", "read_database_vitals", "read_server_vitals", "read_vitals"]

Readings: TypeAlias = Sequence[Reading | Unknown]

_SEQUENCES_AT_ONCE = 500
_SEQUENCE_BATCHES = 20


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


class _Look(Questions):
    """One round of questions about vitals."""

    def ask(self, names: Sequence[str], ask: _Question) -> Readings:
        """The readings, or why there are none."""
        try:
            return ask(self)
        except psycopg.Error as error:
            why, mend = self.explain(error)
            return [Unknown(name, why, mend) for name in names]


_Question: TypeAlias = Callable[[_Look], Readings]


def _sessions(look: _Look) -> Readings:
    (row,) = look.rows(query("vitals_sessions"))
    found = list(sessions(row, look.role))
    if row["waiting"] or row["hidden"]:
        found += look.ask(["lock_wait"], _lock_wait)
    else:
        found.append(lock_wait_of(None))
    return found


def _lock_wait(look: _Look) -> Readings:
    return [lock_wait_of(next(iter(look.rows(query("vitals_lock_waits"))), None))]


def _wraparound(look: _Look) -> Readings:
    rows = look.rows(query("vitals_databases"))
    return [*wraparound(rows), checksums(rows)]


def _prepared(look: _Look) -> Readings:
    return [prepared_of(next(iter(look.rows(query("vitals_prepared"))), None))]


def _slots(look: _Look) -> Readings:
    return slots(look.rows(query("vitals_slots")))


def _replicas(look: _Look) -> Readings:
    own = [standby(row) for row in look.rows(query("vitals_standby"))]
    return [*own, *replicas(look.rows(query("vitals_replicas")), look.role, is_standby=bool(own))]


def _archiver(look: _Look) -> Readings:
    (row,) = look.rows(query("vitals_archiver"))
    if row["mode"] == "off" or (row["mode"] == "on" and row["in_recovery"]):
        return [archiver(row, None, look.role)]
    try:
        (backlog,) = look.rows(query("vitals_archive_backlog"))
    except (psycopg.errors.InsufficientPrivilege, *NOT_OFFERED):
        backlog = None
    return [archiver(row, backlog, look.role)]


def _sequences(look: _Look) -> Readings:
    rows: list[Row] = []
    after = 0
    for _ in range(_SEQUENCE_BATCHES):
        batch = look.rows(query("vitals_sequences"), {"after": after, "batch": _SEQUENCES_AT_ONCE})
        rows += batch
        if len(batch) < _SEQUENCES_AT_ONCE:
            return sequences(rows, look.database, look.role)
        after = batch[-1]["oid"]
    why = f"only the first {len(rows)} sequences of database {look.database} were looked at"
    return [*sequences(rows, look.database, look.role), Unknown("sequences", why)]


def _indexes(look: _Look) -> Readings:
    return [invalid_indexes(look.rows(query("vitals_indexes")), look.database, look.role)]


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
