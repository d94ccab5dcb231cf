"""A server to restore to, and the database wanted there: implements the RestoreTarget port.

A restore works in a database beside the wanted one, ``guardian_restore_<token>``, whose name is
locked as long as we live (see side_database.py), and takes the wanted name at the very end. So
whatever happens on the way, nothing half-restored ever has that name, and what a crash leaves is
removed by the next restore to the server.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from types import TracebackType
from typing import Self

import psycopg

from guardian.adapters.postgres.beside import EMPTIED, PURPOSE, Beside
from guardian.adapters.postgres.connection import Connector
from guardian.adapters.postgres.in_place import InPlace, add_mend, require_empty_tables
from guardian.adapters.postgres.loading import LoadOptions
from guardian.adapters.postgres.maintenance import (
    connect_beside,
    database_oid,
    discard_database,
    look_inside,
    sessions_in,
    settle,
)
from guardian.adapters.postgres.restored import PostgresDatabase
from guardian.adapters.postgres.role_making import existing_roles, make_roles, quiet
from guardian.adapters.postgres.side_database import (
    create_database,
    require_extensions,
    side_database_name,
    stray_side_databases,
    system_identifier,
)
from guardian.adapters.postgres.tools import Installation
from guardian.adapters.postgres.whole_database import like_present, same_tablespace
from guardian.errors import (
    ConfigError,
    GuardianError,
    UnsuitableTargetError,
    UsageError,
    VersionMismatchError,
)
from guardian.restore.globals_script import GlobalsScript
from guardian.restore.sql_text import quoted
from guardian.restore.target import (
    Needs,
    RestoreOrder,
    RestoreWork,
    RolesMade,
    Situation,
    Way,
)

_log = logging.getLogger(__name__)

PREFIX = "guardian_restore_"
_LABEL = "to restore to"
_EVENT_TRIGGERS_OFF = 170000

_WANTED = """
SELECT d.oid::int8, pg_catalog.pg_has_role(d.datdba, 'USAGE'), d.datallowconn
  FROM pg_catalog.pg_database d WHERE d.datname = %s
"""
_OURSELVES = """
SELECT r.rolsuper, r.rolsuper OR r.rolcreatedb
  FROM pg_catalog.pg_roles r WHERE r.rolname = current_user
"""

FittingClient = Callable[[str, int], Installation | None]
"""The pg_restore for a dump of this pg_dump version and a server of this version number."""


class PostgresTarget:
    """One server, as the place to restore to. Use it in a ``with`` block."""

    def __init__(self, connector: Connector, database: str, fitting: FittingClient) -> None:
        self._connector = connector
        self._wanted = database
        self._fitting = fitting
        self._connection: psycopg.Connection | None = None
        self._situation = Situation(database, connector.where, 0)

    def __enter__(self) -> Self:
        """Nothing is connected before it is needed."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Disconnect."""
        if self._connection is not None:
            self._connection.close()

    @property
    def _beside(self) -> psycopg.Connection:
        """The connection to another database than the wanted one, as long as there is such."""
        if self._connection is None or self._connection.closed:
            self._connection = connect_beside(self._connector, self._wanted, PURPOSE)
        return self._connection

    @contextmanager
    def _translated(self, database: str | None = None) -> Iterator[psycopg.Connection]:
        try:
            yield self._beside
        except psycopg.Error as error:
            raise self._connector.translate(error, database) from error

    # --- before -------------------------------------------------------------------------------

    def inspect(self) -> Situation:
        """Look at the server and the wanted database, without changing anything."""
        with self._translated() as connection:
            found = connection.execute(_WANTED, (self._wanted,)).fetchone()
            ourselves = connection.execute(_OURSELVES).fetchone()
            assert ourselves is not None
            superuser, may_create = ourselves
            outside = connection.info.dbname != self._wanted
            situation = Situation(
                database=self._wanted,
                where=self._connector.where,
                server_version_num=connection.info.server_version,
                system_identifier=system_identifier(connection),
                superuser=superuser,
                may_create=may_create and outside,
            )
            if found is not None:
                situation = self._look_inside(connection, situation, *found)
        self._situation = situation
        return situation

    def _look_inside(
        self,
        connection: psycopg.Connection,
        situation: Situation,
        oid: int,
        owns: bool,  # noqa: FBT001 - a row of a query
        open_to_all: bool,  # noqa: FBT001
    ) -> Situation:
        if not open_to_all:
            raise UnsuitableTargetError(
                f"database {self._wanted!r} takes no connections",
                mend=f"ALTER DATABASE {quoted(self._wanted)} ALLOW_CONNECTIONS true",
            )
        contents = look_inside(self._connector, self._wanted, PURPOSE)
        prepared = connection.execute(
            "SELECT gid::text FROM pg_catalog.pg_prepared_xacts WHERE database = %s",
            (self._wanted,),
        ).fetchall()
        return replace(
            situation,
            exists=True,
            contents=contents.made,
            extensions=contents.extensions,
            sessions=sessions_in(connection, oid, (contents.looked,)),
            prepared=tuple(gid for (gid,) in prepared),
            owns=owns,
        )

    def check(self, needs: Needs) -> None:
        """Version, pg_restore, extensions, roles."""
        version = self._situation.server_version_num
        if version // 10000 < needs.facts.major:
            raise VersionMismatchError(
                f"the server to restore to is PostgreSQL {version // 10000}, the backup is of "
                f"PostgreSQL {needs.facts.major}",
                mend="restore to a server of that major or later",
            )
        self._client(needs)
        with self._translated() as connection:
            require_extensions(connection, needs.facts)
        if missing := self.missing_roles(needs.roles):
            raise UnsuitableTargetError(
                f"the server to restore to lacks {len(missing)} role"
                f"{'s' if len(missing) > 1 else ''} that ownership and grants need: "
                f"{', '.join(missing[:5])}{' …' if len(missing) > 5 else ''}",
                mend="--globals makes the backup's roles; or --no-owner --no-privileges",
            )

    def _client(self, needs: Needs) -> Installation:
        version = self._situation.server_version_num
        client = self._fitting(needs.dump_version, version)
        if client is None:
            raise VersionMismatchError(
                f"no pg_restore on this host reads a dump of pg_dump {needs.dump_version} and "
                f"suits a server of PostgreSQL {version // 10000}"
                + (" (from 17 on it sends what older servers refuse)" if version < 170000 else ""),
                mend=f"apt-get install postgresql-client-{max(needs.facts.major, 1)}",
            )
        return client

    def missing_roles(self, roles: Sequence[str]) -> Sequence[str]:
        """Those of the roles that the server does not have."""
        with self._translated() as connection:
            there = existing_roles(connection)
        return [role for role in roles if role not in there]

    def make_roles(self, script: GlobalsScript) -> RolesMade:
        """Make the roles and tablespaces that are not there."""
        with self._translated() as connection, quiet(connection):
            try:
                return make_roles(connection, script)
            finally:
                settle(connection)

    # --- the restore --------------------------------------------------------------------------

    @contextmanager
    def work(self, order: RestoreOrder) -> Iterator[RestoreWork]:
        """Begin; leaving the block removes what has neither the wanted name nor was kept."""
        self.sweep()
        try:
            if order.way.is_in_place:
                yield self._in_place(order)
                return
            with self._side(order) as work:
                yield work
        except GuardianError as error:
            add_mend(error, order.way)
            raise

    def sweep(self) -> None:
        """Remove what restores that died left on the server. What cannot be, is left, and logged.

        An empty database that was on its way out is looked at once more.
        """
        with self._translated() as connection:
            for prefix in (PREFIX, EMPTIED):
                for name in stray_side_databases(connection, prefix):
                    try:
                        if prefix == EMPTIED and not self._is_empty(name):
                            _log.warning("%s was emptied by a restore, and is not empty", name)
                            continue
                        discard_database(self._connector, connection.info.dbname, name, PURPOSE)
                    except GuardianError as error:
                        _log.warning("%s cannot be removed: %s", name, error)
                    else:
                        _log.info("removed %s, left behind by a restore that died", name)

    def _is_empty(self, name: str) -> bool:
        return look_inside(self._connector, name, PURPOSE).is_empty

    def _in_place(self, order: RestoreOrder) -> InPlace:
        if order.way is Way.DATA:
            require_empty_tables(self._connector, self._wanted, order.tables, PURPOSE)
        connector = self._connector.with_settings(self._overrides(self._wanted))
        return InPlace(
            connector,
            self._database(connector, order, self._wanted),
            self._client(order.needs).tool("pg_restore"),
            order,
            superuser=self._situation.superuser,
            extensions=self._situation.extensions,
            purpose=PURPOSE,
        )

    @contextmanager
    def _side(self, order: RestoreOrder) -> Iterator[RestoreWork]:
        with self._translated() as connection, side_database_name(connection, PREFIX) as name:
            try:
                warnings = self._create(connection, name, order)
                if warning := same_tablespace(connection, name, self._wanted):
                    warnings = (*warnings, warning)
                oid = database_oid(connection, name)
                assert oid is not None
                connector = self._connector.with_settings(self._overrides(name))
                database = self._database(connector, order, name)
                yield Beside(
                    self._connector,
                    database,
                    order,
                    wanted=self._wanted,
                    oid=oid,
                    maintenance=connection.info.dbname,
                    warnings=warnings,
                )
            finally:
                self._remove(name)

    def _create(
        self, connection: psycopg.Connection, name: str, order: RestoreOrder
    ) -> tuple[str, ...]:
        """Like the source; where the server lacks its locale, like the empty one that is there."""
        facts = order.needs.facts
        try:
            create_database(connection, name, facts, exact=True)
        except UnsuitableTargetError as error:
            there = (
                like_present(connection, self._wanted, facts) if order.way is Way.EMPTY else None
            )
            if there is None:
                error.mend = (
                    f"{error.mend}; or make an empty database with a locale that the server has "
                    "(CREATE DATABASE … TEMPLATE template0 LOCALE …), and restore into it"
                )
                raise
            create_database(connection, name, there, exact=True)
            warning = (
                f"the source's locale {facts.collate} is not to be had there; the database has "
                f"{there.collate}, as the empty one had: text may sort otherwise"
            )
            return (warning,)
        return ()

    def _remove(self, name: str) -> None:
        """Remove what still has the side's name; what is in the way is left to the next sweep."""
        connection = self._connection
        if connection is not None and not connection.closed:
            try:
                connection.execute("SELECT 1")
            except psycopg.Error:
                connection.close()  # its locks are gone with it
        try:
            discard_database(self._connector, self._beside.info.dbname, name, PURPOSE)
        except GuardianError as error:
            _log.warning("%s is left behind, the next restore removes it: %s", name, error)

    def _database(self, connector: Connector, order: RestoreOrder, name: str) -> PostgresDatabase:
        return PostgresDatabase(
            connector,
            name,
            self._client(order.needs).tool("pg_restore"),
            major=self._situation.server_version_num // 10000,
            encoding=order.needs.facts.encoding,
            options=LoadOptions(
                jobs=order.jobs,
                flags=order.flags,
                chosen=None if order.chosen is None else frozenset(order.chosen),
                purpose=PURPOSE,
            ),
        )

    def _overrides(self, database: str) -> Mapping[str, str]:
        """What role or database set that pg_restore does not undo, and would make it fail."""
        with self._connector.connect(database, PURPOSE) as connection:
            try:
                row = connection.execute(
                    "SELECT current_setting('default_transaction_read_only')"
                ).fetchone()
            except psycopg.Error as error:
                raise self._connector.translate(error, database) from error
        assert row is not None
        overrides = {}
        if row[0] != "off":
            overrides["default_transaction_read_only"] = "off"
        situation = self._situation
        if situation.superuser and situation.server_version_num >= _EVENT_TRIGGERS_OFF:
            overrides["event_triggers"] = "off"  # a restored login trigger could keep us out
        return overrides


def open_target(dsn: str, fitting: FittingClient) -> PostgresTarget:
    """The target that a person wrote: a libpq URI or keyword string that names the database.

    Raises:
        UsageError: it is none, or names no database.
    """
    try:
        database = psycopg.conninfo.conninfo_to_dict(dsn).get("dbname")
        connector = Connector(_LABEL, dsn)
    except (psycopg.ProgrammingError, ConfigError) as error:
        # libpq's message quotes the DSN, password and all; ours must not.
        raise UsageError(
            "--to is not a libpq connection string",
            mend="write postgresql://user@host:5432/database or host=… dbname=…",
        ) from error
    if not database:
        raise UsageError(
            "--to names no database", mend="write postgresql://user@host:5432/database"
        )
    return PostgresTarget(connector, str(database), fitting)
