"""One configured server as the place to back up from: implements the Source port."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta

import psycopg
from psycopg.rows import dict_row

from guardian.adapters.postgres.connection import Connector
from guardian.adapters.postgres.dump import ToolStream, running_tool
from guardian.adapters.postgres.pooling import refuse_lent
from guardian.adapters.postgres.queries import query
from guardian.adapters.postgres.snapshot import LockedSnapshot, locked_snapshot
from guardian.adapters.postgres.tools import choose_client
from guardian.model import DatabaseFacts, Extension, GlobalsLevel

ALL_DATABASES = "*"


class PostgresSource:
    """Databases, snapshots and globals of one server."""

    def __init__(
        self,
        connector: Connector,
        *,
        databases: Sequence[str] | None = None,
        exclude_databases: Sequence[str] = (),
        lock_timeout: timedelta = timedelta(seconds=30),
        content_limit: timedelta | None = None,
        left_out: Sequence[str] = (),
        with_inventory: bool = True,
    ) -> None:
        self._connector = connector
        self._databases = databases
        self._excluded = exclude_databases
        self._lock_timeout = lock_timeout
        self._content_limit = content_limit
        self._left_out = left_out
        self._with_inventory = with_inventory

    def databases(self) -> Sequence[str]:
        """The configured names; with ``"*"`` every database that we could connect to."""
        if self._databases is None:
            return [self._connector.default_database]
        if ALL_DATABASES not in self._databases:
            return list(self._databases)
        with self._connector.connect(None, "discovery") as connection:
            try:
                rows = connection.execute(
                    "SELECT datname::text FROM pg_catalog.pg_database "
                    "WHERE datallowconn AND NOT datistemplate "
                    "AND has_database_privilege(oid, 'CONNECT') ORDER BY datname COLLATE \"C\""
                ).fetchall()
            except psycopg.Error as error:
                raise self._connector.translate(error) from error
        return [name for (name,) in rows if not self.is_excluded(name)]

    @contextmanager
    def snapshot(self, database: str) -> Iterator[LockedSnapshot]:
        """Lock all tables of ``database``, then take a snapshot; both last as long as the block."""
        facts = self.facts(database)
        tool = choose_client(facts.server_version_num, closest=True)
        with locked_snapshot(
            self._connector,
            database,
            tool,
            facts=facts,
            lock_timeout=self._lock_timeout,
            left_out=self._left_out,
            content_limit=self._content_limit,
            with_inventory=self._with_inventory,
        ) as snapshot:
            yield snapshot

    @contextmanager
    def open_globals(self) -> Iterator[tuple[ToolStream, GlobalsLevel]]:
        """Run pg_dumpall for roles and tablespaces."""
        database = self._connector.default_database
        with self._connector.connect(database, "globals") as connection:
            try:
                refuse_lent(self._connector, connection)
                row = connection.execute(
                    "SELECT current_setting('server_version_num')::int, "
                    "has_table_privilege('pg_catalog.pg_authid', 'SELECT')"
                ).fetchone()
            except psycopg.Error as error:
                raise self._connector.translate(error, database) from error
        assert row is not None
        version, passwords_readable = row
        tool = choose_client(version, closest=True)
        command = [
            str(tool.bindir / "pg_dumpall"),
            "--globals-only",
            "--encoding=UTF8",
            "--no-password",
            *([] if passwords_readable else ["--no-role-passwords"]),
        ]
        level = GlobalsLevel.FULL if passwords_readable else GlobalsLevel.WITHOUT_PASSWORDS
        with (
            self._connector.tool_access(database, "globals") as access,
            running_tool(command, access, self._connector.scrub) as stream,
        ):
            yield stream, level

    def facts(self, database: str) -> DatabaseFacts:
        """Version, locale, size and extensions of one database."""
        with (
            self._connector.connect(database, "facts") as connection,
            connection.cursor(row_factory=dict_row) as cursor,
        ):
            try:
                refuse_lent(self._connector, connection)
                row = cursor.execute(query("facts")).fetchone()
                identifier = _system_identifier(connection)
            except psycopg.Error as error:
                raise self._connector.translate(error, database) from error
        assert row is not None
        extensions = tuple(Extension(*text.rsplit(" ", 1)) for text in row.pop("extensions"))
        return DatabaseFacts(system_identifier=identifier, extensions=extensions, **row)

    def is_excluded(self, name: str) -> bool:
        """Whether the config leaves out a database of that name, where it says ``"*"``."""
        return any(fnmatch.fnmatchcase(name, pattern) for pattern in self._excluded)


def _system_identifier(connection: psycopg.Connection) -> str | None:
    """The cluster's identity; some managed services do not let us read it."""
    try:
        row = connection.execute(
            "SELECT system_identifier::text FROM pg_catalog.pg_control_system()"
        ).fetchone()
    except psycopg.errors.InsufficientPrivilege:
        return None
    return row[0] if row else None
