"""One kept connection of the watch: settings of its own, whatever the server's or the role's are.

The settings go along when it connects (libpq's ``options``), which comes before everything that
is set for a role or a database: also a statement_timeout of 1 ms is then not in force for a
moment. Where a pooler such as PgBouncer stands between, which takes no options and may give every
statement another connection, they are set anew for each statement in a transaction of its own;
``pg_stat_activity`` is frozen within that, which one statement does not mind.

Text comes as bytes and is decoded here: a query of another database may be in its encoding.
"""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Any

import psycopg
from psycopg import conninfo
from psycopg.rows import tuple_row

from guardian.adapters.postgres.connection import Connector
from guardian.adapters.postgres.losing import is_lost
from guardian.adapters.postgres.queries import query
from guardian.adapters.postgres.refusals import cause_of, mend_of
from guardian.adapters.postgres.startup import with_options
from guardian.errors import ConnectionFailedError, GuardianError, TimedOutError
from guardian.watch.outage import ProbeCause
from guardian.watch.ports import WatchFacts

LOCK_TIMEOUT = timedelta(seconds=1)
"""DDL on a system catalog may hold us up for so long, then we give up."""

_CONNECT_SECONDS = 5


class Link:
    """A connection that is opened when it is needed, and again when it was lost."""

    def __init__(self, connector: Connector, timeout: timedelta) -> None:
        self._connector = connector
        self._settings = {
            "statement_timeout": str(round(timeout.total_seconds() * 1000)),
            "lock_timeout": str(round(LOCK_TIMEOUT.total_seconds() * 1000)),
            "idle_in_transaction_session_timeout": "0",
            "TimeZone": "UTC",
            "DateStyle": "ISO",
            "jit": "off",
        }
        self._connection: psycopg.Connection | None = None
        self._per_statement = False
        self.facts: WatchFacts | None = None
        self.login = ""
        """The role that logged in, which is how its sessions are called."""

    @property
    def is_open(self) -> bool:
        """Whether it is, as far as we know: its end shows only when it is used."""
        return self._connection is not None and not self._connection.closed

    @property
    def pid(self) -> int | None:
        """Our backend's, None while there is none, or another one for each statement."""
        if self._connection is None or self._connection.closed or self._per_statement:
            return None
        return self._connection.info.backend_pid

    def open(self) -> None:
        """Connect, unless it is open.

        Raises:
            ConnectionFailedError, PermissionDeniedError: it cannot be had.
        """
        if self.is_open:
            return
        self.facts = None
        startup = self._connector.startup
        try:
            self._connection = startup.open(self._parameters(), self._connect)
        except psycopg.Error as error:
            raise self._refused(error) from error
        self._per_statement = not startup.takes_options
        try:
            self.look_around()
        except BaseException:
            self.close()
            raise

    def ask(self, name: str, parameters: Mapping[str, object] | None = None) -> list[Any]:
        """The rows that the question ``name``.sql gives.

        Raises:
            psycopg.Error: as the server or libpq says. A link that was lost is closed then.
        """
        if self._connection is None:
            raise psycopg.InterfaceError("the connection is closed")
        try:
            return self._ask(self._connection, name, parameters)
        except psycopg.Error as error:
            if is_lost(error):
                self.close()
            raise

    def _ask(
        self,
        connection: psycopg.Connection,
        name: str,
        parameters: Mapping[str, object] | None,
    ) -> list[Any]:
        if not self._per_statement:
            # Planning the one question that is asked at every look costs more than running it.
            prepare = parameters is None and self.facts is not None
            return connection.execute(query(name), parameters, prepare=prepare).fetchall()
        settings = [f"SET LOCAL {key} = '{value}'" for key, value in self._settings.items()]
        connection.execute("; ".join(["BEGIN", *settings]).encode(), prepare=False)
        try:
            rows = connection.execute(query(name), parameters, prepare=False).fetchall()
            connection.execute("COMMIT", prepare=False)
        except psycopg.Error:
            with contextlib.suppress(psycopg.Error):
                connection.execute("ROLLBACK", prepare=False)
            raise
        return rows

    def abort(self) -> None:
        """Break the connection under whoever waits on it in another thread."""
        connection = self._connection
        if connection is None:
            return
        # A copy of the descriptor: the other thread may close its own at this moment.
        with (
            contextlib.suppress(OSError, psycopg.Error),
            socket.socket(fileno=os.dup(connection.fileno())) as copy,
        ):
            copy.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Hang up."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def explain(self, error: psycopg.Error) -> GuardianError:
        """What to tell of a question that failed."""
        if isinstance(error, psycopg.errors.QueryCanceled):
            limit = int(self._settings["statement_timeout"]) / 1000
            return TimedOutError(
                f"server {self._connector.server} ({self._connector.where}): a look at its "
                f"sessions took longer than {limit:g}s, or somebody cancelled it",
                mend="look again; see its load, and pg_locks for locks on system catalogs",
                transient=True,
            )
        return self._connector.translate(error)

    # --- within ---

    def _parameters(self) -> dict[str, str]:
        parameters = self._connector.parameters(purpose="watch")
        wanted = parameters.get("connect_timeout", "")
        seconds = int(wanted) if wanted.isdecimal() and int(wanted) else _CONNECT_SECONDS
        # libpq's is for each address; a dead one must leave time for those behind it.
        hosts = 1 + parameters.get("hostaddr", parameters.get("host", "")).count(",")
        return parameters | {
            "connect_timeout": str(min(seconds, max(2, _CONNECT_SECONDS // hosts))),
            "client_encoding": "SQL_ASCII",
            "keepalives_idle": "10",
            "keepalives_interval": "5",
            "keepalives_count": "3",
        }

    def _connect(self, parameters: Mapping[str, str]) -> psycopg.Connection:
        if self._connector.startup.takes_options:
            parameters = with_options(parameters, self._settings)
        return psycopg.connect(
            conninfo.make_conninfo("", **parameters),
            autocommit=True,
            row_factory=tuple_row,
        )

    def _refused(self, error: psycopg.Error) -> GuardianError:
        said = " ".join(self._connector.scrub(str(error)).split())
        cause = cause_of(getattr(error, "sqlstate", None), said)
        if cause is not ProbeCause.TOO_MANY_CONNECTIONS:
            return self._connector.translate(error, connecting=True)
        return ConnectionFailedError(
            f"server {self._connector.server} ({self._connector.where}) has no slot left for us: "
            f"{said}",
            mend=f"{mend_of(cause)}; a role with pg_use_reserved_connections (from 16 on) or a "
            "superuser still gets in",
        )

    def look_around(self) -> None:
        """Find out who we are, what we may do, and whether our settings took hold.

        Raises:
            GuardianError: it did not answer.
        """
        try:
            (row,) = self.ask("watch_facts")
        except psycopg.Error as error:
            raise self.explain(error) from error
        pid, version, login, role, superuser, sees, signals, reserved, lock_timeout, track = row
        connection = self._connection
        assert connection is not None
        settled = str_of(lock_timeout) in {"1s", self._settings["lock_timeout"]}
        pooled = pid != connection.info.backend_pid
        self._per_statement = self._per_statement or pooled or not settled
        self.login = str_of(login) or ""
        self.facts = WatchFacts(
            server_version_num=version,
            role=str_of(role) or "",
            is_superuser=superuser,
            may_see_all=sees or superuser,
            may_signal=signals or superuser,
            may_use_reserved_slots=reserved or superuser,
            pooled=pooled,
        )
        self.facts = _with_shortcomings(self.facts, self._connector.server, str_of(track))


def str_of(value: bytes | str | None) -> str | None:
    """Text of any encoding; what is no UTF-8 comes as escapes."""
    if isinstance(value, bytes):
        return value.decode("utf-8", "backslashreplace")
    return value


def _with_shortcomings(facts: WatchFacts, server: str, track: str | None) -> WatchFacts:
    found = []
    if not facts.may_see_all:
        found.append(
            f"role {facts.role} sees nothing of other roles' sessions on server {server}, so "
            f"policies match nothing there; GRANT pg_monitor TO {facts.role};"
        )
    if not facts.may_signal:
        found.append(
            f"role {facts.role} may not signal other roles' sessions on server {server}; "
            f"GRANT pg_signal_backend TO {facts.role};"
        )
    if facts.pooled:
        found.append(
            f"a pooler such as PgBouncer stands between us and server {server}, so no connection "
            f"can be kept in reserve there; let servers.{server}.dsn lead to the server itself"
        )
    if track != "on":
        found.append(
            f"server {server} does not record what sessions do, so policies match nothing; "
            "ALTER SYSTEM SET track_activities = on; SELECT pg_reload_conf();"
        )
    return replace(facts, shortcomings=tuple(found))
