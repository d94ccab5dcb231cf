"""Reading tables for a fingerprint: rows and content hash of each, or the number of rows alone."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta

import psycopg
from psycopg import sql

from guardian.adapters.postgres.rows import copy_sum
from guardian.adapters.postgres.tables import Table
from guardian.backup.fingerprint import content_text
from guardian.model import ProofLevel, TableFingerprint

_BATCH = 100
_BIG_TABLE_BYTES = 32 << 20
"""From here on a table gets a savepoint, so that reading it can be given up."""


class TableReader:
    """Reads tables in the transaction of one connection.

    ``content_limit`` is how long contents may be read before the rest is only counted.
    """

    def __init__(
        self, connection: psycopg.Connection, seed: int, content_limit: timedelta | None = None
    ) -> None:
        self._connection = connection
        self._seed = seed
        self._content_limit = content_limit
        self._late = threading.Event()
        self._cancelled = False

    @property
    def late(self) -> bool:
        """Whether the content limit was reached."""
        return self._late.is_set()

    def read(
        self, tables: Sequence[Table], level: ProofLevel, advance: Callable[[int], None]
    ) -> list[TableFingerprint]:
        """Read the tables in turn. Raises psycopg.Error; the transaction is then of no use."""
        if self._content_limit is None or level is not ProofLevel.CONTENT:
            return list(self._read(tables, level, advance))
        self._connection.execute("SAVEPOINT contents")
        try:
            with self._limited(self._content_limit):
                return list(self._read(tables, level, advance))
        except psycopg.errors.QueryCanceled:
            # A small table has no savepoint of its own: all that was read is lost, and counted.
            if not self.late or self._cancelled:
                raise
            self._connection.execute("ROLLBACK TO SAVEPOINT contents")
            return list(self._read(tables, ProofLevel.COUNTS, lambda _: None))

    def cancel(self) -> None:
        """Give up a running :meth:`read`, from another thread."""
        self._cancelled = True
        self._cancel_statement()

    def _cancel_statement(self) -> None:
        if not self._connection.closed:
            self._connection.cancel_safe(timeout=10)

    @contextmanager
    def _limited(self, limit: timedelta) -> Iterator[None]:
        """Stop reading contents when their time is up."""
        timer = threading.Timer(limit.total_seconds(), self._be_late)
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()
            timer.join()  # a request to cancel must not hit what comes after

    def _be_late(self) -> None:
        self._late.set()
        self._cancel_statement()

    def _read(
        self, tables: Sequence[Table], level: ProofLevel, advance: Callable[[int], None]
    ) -> Iterator[TableFingerprint]:
        uncounted: list[Table] = []
        for table in tables:
            reads_content = level is ProofLevel.CONTENT and not self.late
            if reads_content and (content := self._content(table)) is not None:
                yield content
                advance(table.bytes)
            else:
                uncounted.append(table)
        for start in range(0, len(uncounted), _BATCH):
            batch = uncounted[start : start + _BATCH]
            yield from self._counts(batch)
            advance(sum(table.bytes for table in batch))

    def _content(self, table: Table) -> TableFingerprint | None:
        """Rows and their hash, or None when the content limit was reached meanwhile."""
        breakable = self._content_limit is not None and table.bytes > _BIG_TABLE_BYTES
        if breakable:
            self._connection.execute("SAVEPOINT guardian")
        try:
            count, total = copy_sum(self._connection, _copy(table), self._seed)
        except psycopg.errors.QueryCanceled:
            if not breakable or not self.late or self._cancelled:
                raise
            self._connection.execute("ROLLBACK TO SAVEPOINT guardian")
            return None
        if breakable:
            self._connection.execute("RELEASE SAVEPOINT guardian")
        return TableFingerprint(table.schema, table.name, count, content_text(total))

    def _counts(self, tables: Sequence[Table]) -> Iterator[TableFingerprint]:
        union = sql.SQL(" UNION ALL ").join(
            sql.SQL("SELECT {} AS i, count(*) FROM {}").format(sql.Literal(index), _rows(table))
            for index, table in enumerate(tables)
        )
        counts: dict[int, int] = dict(self._connection.execute(union).fetchall())
        for index, table in enumerate(tables):
            yield TableFingerprint(table.schema, table.name, counts[index])


def _rows(table: Table) -> sql.Composed:
    """The table itself or a whole tree of hash partitions; of an extension's, what it wants."""
    only = sql.SQL("ONLY ") if table.kind == "r" else sql.SQL("")
    # The condition is a WHERE clause from pg_extension; pg_dump too takes it as it stands.
    condition = sql.SQL(table.condition or "")
    return sql.SQL("{}{} {}").format(only, table.identifier, condition)


def _copy(table: Table) -> sql.Composed:
    """COPY of all columns that are stored and not derived, in order of their names.

    Names order the columns because their positions may differ after a restore (inheritance).
    """
    columns = sql.SQL(", ").join(map(sql.Identifier, table.columns))
    if table.condition or table.kind == "p" or not table.columns:
        return sql.SQL("COPY (SELECT {} FROM {}) TO STDOUT").format(columns, _rows(table))
    return sql.SQL("COPY {} ({}) TO STDOUT").format(table.identifier, columns)
