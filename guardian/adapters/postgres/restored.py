"""A database that a backup is restored into: implements the RestoredDatabase port."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from datetime import timedelta
from pathlib import Path

import psycopg
from psycopg import sql

from guardian.adapters.postgres.breaking_off import break_off
from guardian.adapters.postgres.connection import Connector
from guardian.adapters.postgres.fingerprinter import Fingerprinter, SharedSnapshot
from guardian.adapters.postgres.loading import Loader, LoadOptions, RowCounts
from guardian.adapters.postgres.reading_process import ReadingProcess
from guardian.adapters.postgres.retelling import retell
from guardian.adapters.postgres.session import settle_session
from guardian.adapters.postgres.tables import list_tables
from guardian.errors import InterruptedRunError, UnsuitableTargetError
from guardian.model import Definition, Difference, Fingerprint, ProofLevel
from guardian.restore.ports import Archive
from guardian.units import format_duration

_log = logging.getLogger(__name__)

_CHECK_TIMEOUT = timedelta(minutes=10)
_ANSWER_LENGTH = 200

_INDEXES = """
SELECT i.indexrelid::regclass::text, i.indexrelid::int8
  FROM pg_catalog.pg_index i
  JOIN pg_catalog.pg_class c ON c.oid = i.indexrelid
  JOIN pg_catalog.pg_am a ON a.oid = c.relam AND a.amname = 'btree'
  JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
 WHERE i.indisvalid AND i.indisready AND c.relkind = 'i' AND c.relpersistence <> 't'
   AND n.nspname !~ '^pg_' ORDER BY 1
"""
_HEAPS = """
SELECT c.oid::regclass::text, c.oid::int8
  FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
 WHERE c.relkind IN ('r', 'm') AND c.relpersistence <> 't' AND n.nspname !~ '^pg_'
   AND c.relam = (SELECT oid FROM pg_catalog.pg_am WHERE amname = 'heap') ORDER BY 1
"""


class PostgresDatabase:
    """One database on one server, to restore into and to look at.

    ``program`` is the pg_restore to use, ``encoding`` the database's. ``readers`` are processes for
    the first fingerprint; whoever began them ends them.
    """

    def __init__(
        self,
        connector: Connector,
        database: str,
        program: Path,
        *,
        major: int,
        encoding: str,
        options: LoadOptions,
        caveats: Sequence[str] = (),
        readers: Sequence[ReadingProcess] = (),
    ) -> None:
        self.major = major
        self.caveats = tuple(caveats)
        self.name = database
        self.connector = connector
        self._program = program
        self._encoding = encoding
        self._options = options
        self._cancelled = threading.Event()
        self._stop: Callable[[], None] | None = None
        self._readers: Sequence[ReadingProcess] = tuple(readers)

    def restore(
        self, archive: Archive, row_counts: RowCounts, advance: Callable[[int], None]
    ) -> None:
        """Restore all of the archive. Raises as the port tells."""
        loader = Loader(
            archive,
            self.connector,
            self.name,
            self._program,
            options=self._options,
            row_counts=row_counts,
            advance=advance,
        )
        try:
            with self._stopped_by(loader.cancel):
                loader.run()
        except psycopg.Error as error:
            raise self.connector.translate(error, self.name) from error

    def fingerprint(
        self, level: ProofLevel, seed: int, advance: Callable[[int], None]
    ) -> Fingerprint:
        """What it holds now, read as the source was."""
        readers, self._readers = self._readers, ()
        with self._session() as connection:
            settle_session(connection, self._encoding)
            connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
            row = connection.execute("SELECT pg_catalog.pg_export_snapshot()").fetchone()
            assert row is not None
            fingerprinter = Fingerprinter(
                connection,
                list_tables(connection, measured=True),
                share=SharedSnapshot(self.connector, row[0], self._encoding),
                seed=seed,
                processes=self._options.jobs,
                begun=readers,
            )
            with self._stopped_by(fingerprinter.cancel, connection):
                return fingerprinter.take(level, advance)

    def ask(self, query: str, settings: Sequence[str]) -> tuple[bool, str]:
        """Run one of the user's checks, read-only, under the source's search path."""
        with self._session() as connection:
            try:
                return _asked(connection, query, settings)
            except psycopg.errors.QueryCanceled:
                return False, f"no answer within {format_duration(_CHECK_TIMEOUT)}"
            except psycopg.OperationalError:
                raise
            except psycopg.Error as error:
                return False, (error.diag.message_primary or str(error))[:_ANSWER_LENGTH]

    def retell(self, definitions: Sequence[Definition]) -> Sequence[str | None]:
        """What this server makes of definitions of the source."""
        with self._session() as connection:
            settle_session(connection, self._encoding)
            return retell(connection, definitions)

    def check_indexes(self) -> Sequence[Difference]:
        """Run amcheck over every heap and B-tree, each row looked up in each index."""
        with self._session() as connection:
            settle_session(connection, self._encoding)
            schema = _amcheck_schema(connection)
            return [
                *_damaged_indexes(connection, schema),
                *_damaged_heaps(connection, schema),
            ]

    def cancel(self) -> None:
        """Stop what runs, and whatever would run after it, from another thread."""
        self._cancelled.set()
        if (stop := self._stop) is not None:
            stop()

    @contextmanager
    def _session(self) -> Iterator[psycopg.Connection]:
        try:
            # Closed, whatever state a check has left it in; psycopg's own way would commit first.
            with (
                closing(self.connector.connect(self.name, self._options.purpose)) as connection,
                self._stopped_by(lambda: None, connection),
            ):
                yield connection
        except psycopg.Error as error:
            raise self.connector.translate(error, self.name) from error

    @contextmanager
    def _stopped_by(
        self, stop: Callable[[], None], connection: psycopg.Connection | None = None
    ) -> Iterator[None]:
        """While the block lasts, :meth:`cancel` stops it so, and ends the connection."""

        def stop_all() -> None:
            try:
                stop()
            except psycopg.Error as error:  # no answer to a request to cancel
                _log.debug("%s", error)
            if connection is not None:
                break_off(connection)

        before, self._stop = self._stop, stop_all
        try:
            if self._cancelled.is_set():
                raise InterruptedRunError("the restore was stopped")
            yield
        finally:
            self._stop = before


def _amcheck_schema(connection: psycopg.Connection) -> sql.Identifier:
    """Where amcheck's functions are; it is installed where the database does not have it itself.

    Raises:
        UnsuitableTargetError: the server does not have it.
    """
    # Event triggers of the restored database are not to forbid it (17 and later have them off).
    connection.execute("SET session_replication_role = replica")
    try:
        connection.execute("CREATE EXTENSION IF NOT EXISTS amcheck SCHEMA pg_catalog")
    except (psycopg.errors.FeatureNotSupported, psycopg.errors.UndefinedFile) as error:
        raise UnsuitableTargetError(
            "amcheck is not installed where the backup was restored to",
            mend="install PostgreSQL's contrib modules there, or set verify.amcheck: false",
        ) from error
    row = connection.execute(
        "SELECT n.nspname::text FROM pg_catalog.pg_extension e "
        "JOIN pg_catalog.pg_namespace n ON n.oid = e.extnamespace WHERE e.extname = 'amcheck'"
    ).fetchone()
    assert row is not None
    return sql.Identifier(row[0])


def _asked(connection: psycopg.Connection, query: str, settings: Sequence[str]) -> tuple[bool, str]:
    for setting in settings:
        name, _, value = setting.partition("=")
        if name == "search_path" and value:  # kept as the list that it is, names quoted already
            connection.execute(f"SET search_path = {value}".encode())
    limit = int(_CHECK_TIMEOUT.total_seconds() * 1000)
    connection.execute(f"SET statement_timeout = {limit}".encode())
    connection.execute("SET default_transaction_read_only = on")
    return _answer(connection.execute(query.encode()))


def _answer(cursor: psycopg.Cursor[tuple[object, ...]]) -> tuple[bool, str]:
    """True is the only answer that is right: one row, one column, boolean true."""
    if cursor.description is None:
        return False, "no result"
    rows = cursor.fetchmany(2)
    if cursor.nextset():
        return False, "more than one statement"
    if len(rows) != 1:
        return False, "no row" if not rows else "more than one row"
    if len(rows[0]) != 1:
        return False, f"{len(rows[0])} columns"
    value = rows[0][0]
    shown = str(value).lower() if isinstance(value, bool) else str(value)
    return value is True, "null" if value is None else shown[:_ANSWER_LENGTH]


def _damaged_indexes(
    connection: psycopg.Connection, schema: sql.Identifier
) -> Iterator[Difference]:
    for name, oid in connection.execute(_INDEXES).fetchall():
        statement = sql.SQL("SELECT {}.bt_index_check({}::oid::regclass, true)")
        try:
            connection.execute(statement.format(schema, sql.Literal(oid)))
        except (psycopg.errors.IndexCorrupted, psycopg.errors.DataCorrupted) as error:
            yield Difference(f"index {name}", "sound", error.diag.message_primary or "corrupted")


def _damaged_heaps(connection: psycopg.Connection, schema: sql.Identifier) -> Iterator[Difference]:
    if connection.info.server_version < 140000:
        return
    for name, oid in connection.execute(_HEAPS).fetchall():
        statement = sql.SQL("SELECT msg FROM {}.verify_heapam({}::oid::regclass) LIMIT 1")
        found = connection.execute(statement.format(schema, sql.Literal(oid)))
        for (message,) in found.fetchall():
            yield Difference(f"table {name}", "sound", str(message))
