"""A database that a backup is restored into: implements the RestoredDatabase port."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import psycopg
from psycopg import sql

from guardian.adapters.postgres.connection import Connector
from guardian.adapters.postgres.fingerprinter import Fingerprinter, SharedSnapshot
from guardian.adapters.postgres.loading import Loader, LoadOptions, RowCounts
from guardian.adapters.postgres.session import settle_session
from guardian.adapters.postgres.tables import list_tables
from guardian.errors import UnsuitableTargetError
from guardian.model import Difference, Fingerprint, ProofLevel
from guardian.ports import Archive
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

    ``program`` is the pg_restore to use, ``encoding`` the database's.
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
    ) -> None:
        self.major = major
        self.caveats = tuple(caveats)
        self.name = database
        self.connector = connector
        self._program = program
        self._encoding = encoding
        self._options = options
        self._running: Callable[[], None] | None = None

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
        self._running = loader.cancel
        try:
            loader.run()
        except psycopg.Error as error:
            raise self.connector.translate(error, self.name) from error
        finally:
            self._running = None

    def fingerprint(
        self, level: ProofLevel, seed: int, advance: Callable[[int], None]
    ) -> Fingerprint:
        """What it holds now, read as the source was."""
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
            )
            self._running = fingerprinter.cancel
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

    def check_indexes(self) -> Sequence[Difference]:
        """Run amcheck over every heap and B-tree, each row looked up in each index."""
        with self._session() as connection:
            settle_session(connection, self._encoding)
            try:
                connection.execute("CREATE EXTENSION IF NOT EXISTS amcheck SCHEMA pg_catalog")
            except psycopg.errors.FeatureNotSupported as error:
                raise _no_amcheck() from error
            except psycopg.errors.UndefinedFile as error:
                raise _no_amcheck() from error
            return [*_damaged_indexes(connection), *_damaged_heaps(connection)]

    def cancel(self) -> None:
        """Stop what runs, from another thread."""
        if (stop := self._running) is not None:
            stop()

    @contextmanager
    def _session(self) -> Iterator[psycopg.Connection]:
        try:
            with self.connector.connect(self.name, self._options.purpose) as connection:
                self._running = lambda: connection.cancel_safe(timeout=5)
                yield connection
        except psycopg.Error as error:
            raise self.connector.translate(error, self.name) from error
        finally:
            self._running = None


def _no_amcheck() -> UnsuitableTargetError:
    return UnsuitableTargetError(
        "amcheck is not installed where the backup was restored to",
        mend="install PostgreSQL's contrib modules there, or set verify.amcheck: false",
    )


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
    if len(rows) != 1:
        return False, "no row" if not rows else "more than one row"
    if len(rows[0]) != 1:
        return False, f"{len(rows[0])} columns"
    value = rows[0][0]
    shown = str(value).lower() if isinstance(value, bool) else str(value)
    return value is True, "null" if value is None else shown[:_ANSWER_LENGTH]


def _damaged_indexes(connection: psycopg.Connection) -> Iterator[Difference]:
    for name, oid in connection.execute(_INDEXES).fetchall():
        try:
            connection.execute(
                "SELECT pg_catalog.bt_index_check(%s::oid::regclass, heapallindexed => true)",
                (oid,),
            )
        except psycopg.errors.IndexCorrupted as error:
            yield Difference(f"index {name}", "sound", error.diag.message_primary or "corrupted")
        except psycopg.errors.DataCorrupted as error:
            yield Difference(f"index {name}", "sound", error.diag.message_primary or "corrupted")


def _damaged_heaps(connection: psycopg.Connection) -> Iterator[Difference]:
    if connection.info.server_version < 140000:
        return
    for name, oid in connection.execute(_HEAPS).fetchall():
        statement = sql.SQL(
            "SELECT msg FROM pg_catalog.verify_heapam({}::oid::regclass) LIMIT 1"
        ).format(sql.Literal(oid))
        for (message,) in connection.execute(statement).fetchall():
            yield Difference(f"table {name}", "sound", str(message))
