"""Questions to a live server, none of which can spoil the others or pile up behind DDL.

Each runs in a transaction of its own with a statement_timeout and a lock_timeout. What goes wrong
is told in words, with the GRANT where a role lacks one: PostgreSQL from 13 on, any role, also where
a managed service lets nobody be superuser.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, LiteralString, TypeAlias

import psycopg
from psycopg import sql
from psycopg.rows import dict_row

Row: TypeAlias = dict[str, Any]

NOT_OFFERED = (
    psycopg.errors.UndefinedFunction,
    psycopg.errors.UndefinedColumn,
    psycopg.errors.UndefinedTable,
    psycopg.errors.UndefinedObject,
    psycopg.errors.FeatureNotSupported,
)
"""A server of another make, or major, says so."""


@dataclass(frozen=True, slots=True)
class Timeouts:
    """What a single query may take, and wait for a lock."""

    statement: timedelta = timedelta(seconds=5)
    lock: timedelta = timedelta(milliseconds=500)


class Questions:
    """One round of questions over one connection.

    Raises:
        ValueError: when the connection is not in autocommit: its transaction would freeze what
            pg_stat_activity shows.
    """

    def __init__(self, connection: psycopg.Connection, timeouts: Timeouts | None = None) -> None:
        if not connection.autocommit:
            raise ValueError("a connection in autocommit is needed")
        self._connection = connection
        self._timeouts = timeouts or Timeouts()
        self._role: str | None = None

    @property
    def database(self) -> str:
        """The database that is asked."""
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

    def rows(
        self, statement: LiteralString | sql.Composed, parameters: Mapping[str, Any] | None = None
    ) -> Sequence[Row]:
        """What a query gives. Raises psycopg.Error."""
        with (
            self._connection.transaction(),
            self._connection.cursor(row_factory=dict_row) as cursor,
        ):
            cursor.execute(
                "SELECT set_config('statement_timeout', %s, true),"
                " set_config('lock_timeout', %s, true)",
                [_milliseconds(self._timeouts.statement), _milliseconds(self._timeouts.lock)],
            )
            return cursor.execute(statement, parameters).fetchall()

    def explain(self, error: psycopg.Error) -> tuple[str, str | None]:
        """Why a question has no answer, and the mend.

        Raises:
            psycopg.Error: the same, when no server said so: it is our own mistake.
        """
        if isinstance(error, psycopg.ProgrammingError) and error.sqlstate is None:
            raise error
        said = error.diag.message_primary or " ".join(str(error).split()) or type(error).__name__
        if self._connection.closed:
            return "the connection was lost", None
        if isinstance(error, psycopg.errors.InsufficientPrivilege):
            return f"{self.role} may not read it: {said}", f"GRANT pg_monitor TO {self.role};"
        if isinstance(error, psycopg.errors.LockNotAvailable):
            return f"a lock was in the way for longer than {self._timeouts.lock}", None
        if isinstance(error, psycopg.errors.QueryCanceled):
            return f"the query was stopped: {said}", None
        if isinstance(error, NOT_OFFERED):
            return f"this server does not offer it: {said}", None
        return said, None


def _milliseconds(duration: timedelta) -> str:
    return str(max(1, round(duration.total_seconds() * 1000)))
