"""One instant of one database: all tables locked first, then the snapshot, then the dump of it.

The order is the point. ``LOCK TABLE`` takes no snapshot, so in a REPEATABLE READ transaction the
snapshot comes after the locks; the other way round, a TRUNCATE or a rewriting ALTER in between
makes a table look empty to dump and fingerprint alike (PostgreSQL: "MVCC caveats").
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta

import psycopg

from guardian.adapters.postgres.connection import Connector
from guardian.adapters.postgres.dump import ToolStream, running_tool
from guardian.adapters.postgres.fingerprinter import Fingerprinter, SharedSnapshot
from guardian.adapters.postgres.session import lock_tables, settle_session
from guardian.adapters.postgres.spreading import spread
from guardian.adapters.postgres.tables import Table, list_tables
from guardian.adapters.postgres.tools import Installation
from guardian.backup.patterns import exact_pattern
from guardian.errors import GuardianError, LockedError, PermissionDeniedError
from guardian.model import DatabaseFacts, Fingerprint, ProofLevel

_SETTLE_ATTEMPTS = 20
"""How often the table list may change under us before we give up on finding a quiet instant."""


class LockedSnapshot:
    """Implements the Snapshot port on one connection that holds locks and snapshot."""

    def __init__(
        self,
        connector: Connector,
        connection: psycopg.Connection,
        tool: Installation,
        *,
        exported: str,
        taken_at: datetime,
        facts: DatabaseFacts,
        tables: Sequence[Table],
        fingerprinter: Fingerprinter,
        lock_timeout: timedelta,
        left_out: Sequence[str],
    ) -> None:
        self.facts = facts
        self.taken_at = taken_at
        self.dump_version = tool.version
        self.estimated_bytes = sum(table.bytes for table in tables)
        self._connector = connector
        self._connection = connection
        self._tool = tool
        self._tables = tables
        self._exported = exported
        self._fingerprinter = fingerprinter
        self._lock_timeout = lock_timeout
        self._left_out = left_out

    @contextmanager
    def open_dumps(self, streams: int) -> Iterator[Sequence[ToolStream]]:
        """Start pg_dump in this snapshot, uncompressed, in custom format; several if worth it.

        The first dumps everything but the rows that the others do, each of its share of big tables.
        """
        shares = spread(
            self._tables,
            streams,
            encoding=self.facts.encoding,
            left_out=self._fingerprinter.left_out,
        )
        names = [[exact_pattern(one.schema, one.name) for one in share] for share in shares]
        moved = [name for share in names for name in share]
        with ExitStack() as stack:
            yield [
                stack.enter_context(self._running_dump(options))
                for options in (
                    [f"--exclude-table-data={name}" for name in [*self._left_out, *moved]],
                    *(
                        ["--data-only", "--strict-names", *(f"--table={name}" for name in share)]
                        for share in names
                    ),
                )
            ]

    @contextmanager
    def _running_dump(self, options: Sequence[str]) -> Iterator[ToolStream]:
        """Start one.

        We hold every table's lock already, so it can only wait behind DDL that has queued up
        behind us; then nobody would ever move, hence the lock timeout.
        """
        command = [
            str(self._tool.bindir / "pg_dump"),
            "--format=custom",
            "--compress=0",
            "--no-password",
            # Else a client_encoding set on database or role decides, which may lack characters.
            f"--encoding={self.facts.encoding}",
            f"--snapshot={self._exported}",
            f"--lock-wait-timeout={int(self._lock_timeout.total_seconds() * 1000)}",
            *options,
        ]
        database = self._connection.info.dbname
        with (
            self._connector.tool_access(database, "dump") as access,
            running_tool(command, access, self._connector.scrub) as stream,
        ):
            yield stream

    def fingerprint(self, level: ProofLevel, advance: Callable[[int], None]) -> Fingerprint:
        """Read every table on the connection that holds its lock: it never waits for one."""
        try:
            return self._fingerprinter.take(level, advance)
        except psycopg.Error as error:
            raise self._connector.translate(error, self._connection.info.dbname) from error

    def with_final_positions(self, fingerprint: Fingerprint) -> Fingerprint:
        """Sequence positions after the dump; sequences are not bound to the snapshot."""
        try:
            return self._fingerprinter.complete(fingerprint)
        except psycopg.Error as error:
            raise self._connector.translate(error, self._connection.info.dbname) from error

    def cancel(self) -> None:
        """Cancel the running statement; harmless when there is none."""
        self._fingerprinter.cancel()


@contextmanager
def locked_snapshot(
    connector: Connector,
    database: str,
    tool: Installation,
    *,
    facts: DatabaseFacts,
    lock_timeout: timedelta,
    left_out: Sequence[str] = (),
    content_limit: timedelta | None = None,
    with_inventory: bool = True,
) -> Iterator[LockedSnapshot]:
    """Lock all tables of ``database``, export a snapshot, and hold both until the block is left.

    Raises:
        PermissionDeniedError: tables that the role may not read, named, with the GRANT.
        LockedError: DDL held a lock for longer than ``lock_timeout``, or never let the table list
            come to rest.
        ConnectionFailedError: the server refused us or went away.
    """
    connection = connector.connect(database, "backup")
    try:
        with _translated(connector, database):
            settle_session(connection, facts.encoding, lock_timeout)
            exported, taken_at, tables, fingerprinter = _settle_tables(
                connector,
                connection,
                facts.encoding,
                left_out,
                content_limit,
                with_inventory=with_inventory,
            )
        yield LockedSnapshot(
            connector,
            connection,
            tool,
            exported=exported,
            taken_at=taken_at,
            facts=facts,
            tables=tables,
            fingerprinter=fingerprinter,
            lock_timeout=lock_timeout,
            left_out=left_out,
        )
    finally:
        connection.close()


@contextmanager
def _translated(connector: Connector, database: str) -> Iterator[None]:
    try:
        yield
    except psycopg.Error as error:
        raise connector.translate(error, database) from error


def _settle_tables(
    connector: Connector,
    connection: psycopg.Connection,
    encoding: str,
    left_out: Sequence[str],
    content_limit: timedelta | None,
    *,
    with_inventory: bool,
) -> tuple[str, datetime, list[Table], Fingerprinter]:
    """Lock, snapshot, look again; start over while tables come, go or are rewritten meanwhile."""
    database = connection.info.dbname
    tables = list_tables(connection)
    for _ in range(_SETTLE_ATTEMPTS):
        _require_readable(connector, connection, tables)
        connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
        try:
            lock_tables(connection, tables)
            row = connection.execute(
                "SELECT pg_catalog.pg_export_snapshot(), pg_catalog.clock_timestamp()"
            ).fetchone()
            assert row is not None
            exported, taken_at = row
            seen = list_tables(connection, measured=True)
            fingerprinter = Fingerprinter(
                connection,
                seen,
                share=SharedSnapshot(connector, exported, encoding),
                left_out=left_out,
                content_limit=content_limit,
            )
            settled = _same(tables, seen)
            if settled and with_inventory:
                settled = fingerprinter.take_inventory()
        except (psycopg.errors.UndefinedTable, psycopg.errors.InvalidSchemaName):
            connection.execute("ROLLBACK")
            tables = list_tables(connection)
            continue
        except (psycopg.errors.LockNotAvailable, psycopg.errors.DeadlockDetected) as error:
            connection.execute("ROLLBACK")
            raise _locked(connector, connection, tables) from error
        if settled:
            return exported, taken_at.astimezone(UTC), seen, fingerprinter
        connection.execute("ROLLBACK")
        tables = list_tables(connection)
    raise LockedError(
        f"database {database!r} on server {connector.server}: its tables are created, dropped or "
        f"rewritten faster than a snapshot can be taken ({_SETTLE_ATTEMPTS} tries)",
        mend="back up when less DDL is running",
    )


def _same(locked: Sequence[Table], seen: Sequence[Table]) -> bool:
    """Whether we locked just what the snapshot shows, and no file was swapped before the lock."""
    return [(table.oid, table.schema, table.name) for table in locked] == [
        (table.oid, table.schema, table.name) for table in seen
    ] and not any(table.rewritten for table in seen)


def _require_readable(
    connector: Connector, connection: psycopg.Connection, tables: Sequence[Table]
) -> None:
    unreadable = [table for table in tables if not table.readable]
    hidden = [table for table in tables if table.readable and table.hides_rows]
    if not unreadable and not hidden:
        return
    row = connection.execute("SELECT pg_catalog.quote_ident(current_user)").fetchone()
    assert row is not None
    role = row[0]
    thing = f"database {connection.info.dbname!r} on server {connector.server}"
    if not unreadable:
        raise PermissionDeniedError(
            f"{thing}: row-level security hides rows of {_some(hidden)} from role {role}",
            mend=f"ALTER ROLE {role} BYPASSRLS;",
        )
    first = unreadable[0]
    raise PermissionDeniedError(
        f"{thing}: role {role} may not read {_some(unreadable)}",
        mend=f"GRANT pg_read_all_data TO {role}; or GRANT USAGE ON SCHEMA "
        f"{first.schema_display} TO {role}; GRANT SELECT ON {first.display} TO {role};",
    )


def _some(tables: Sequence[Table]) -> str:
    more = f" and {len(tables) - 5} more" if len(tables) > 5 else ""
    return ", ".join(table.display for table in tables[:5]) + more


_HOLDERS = """
SELECT l.relation::bigint AS oid, l.pid, l.granted, a.usename, a.application_name, a.state,
       extract(epoch FROM clock_timestamp() - a.xact_start)::float8 AS seconds
  FROM pg_catalog.pg_locks l
  LEFT JOIN pg_catalog.pg_stat_activity a ON a.pid = l.pid
 WHERE l.locktype = 'relation' AND l.mode = 'AccessExclusiveLock'
   AND l.database = (SELECT oid FROM pg_catalog.pg_database WHERE datname = current_database())
   AND l.pid IS DISTINCT FROM pg_backend_pid()
 ORDER BY l.granted DESC, a.xact_start
"""


def _locked(
    connector: Connector, connection: psycopg.Connection, tables: Sequence[Table]
) -> GuardianError:
    """Name the table, and who holds it; without the query text, which may hold data."""
    names = {table.oid: table.display for table in tables}
    thing = f"database {connection.info.dbname!r} on server {connector.server}"
    for oid, pid, _, user, application, state, seconds in connection.execute(_HOLDERS):
        if oid in names:
            who = f"pid {pid} ({user or '?'}, {application or 'no application name'}, {state})"
            return LockedError(
                f"{thing}: table {names[oid]} is locked by {who} for {seconds or 0:.0f}s",
                mend="wait until its DDL has ended, or end it",
            )
    return LockedError(
        f"{thing}: a table's lock could not be had in time",
        mend="back up when no DDL is running, or raise backup.lock_timeout",
    )
