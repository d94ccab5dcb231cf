"""Taking a fingerprint: reads what a database holds, in the transaction of a given connection.

The same code reads the source, in the snapshot of the dump, and a restored copy.
"""

from __future__ import annotations

import logging
import secrets
import threading
from collections import defaultdict
from collections.abc import Callable, Sequence, Set
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import NamedTuple

import psycopg
from psycopg import sql

from guardian.adapters.postgres.connection import Connector
from guardian.adapters.postgres.losing import is_lost
from guardian.adapters.postgres.queries import query
from guardian.adapters.postgres.reader import TableReader
from guardian.adapters.postgres.reading_process import (
    WORTH_A_PROCESS,
    ReadingProcess,
    ReadingTask,
    close_all,
    run_together,
    share_by_size,
)
from guardian.adapters.postgres.rows import copy_sum
from guardian.adapters.postgres.tables import Table
from guardian.backup.fingerprint import content_text
from guardian.backup.patterns import matches_any
from guardian.model import (
    Fingerprint,
    LargeObjects,
    ProofLevel,
    SequencePosition,
    TableFingerprint,
)
from guardian.verify.definitions import KIND as DEFINITIONS
from guardian.verify.names import qualified

_log = logging.getLogger(__name__)

_DEFINITIONS_WAIT = "2s"
_BATCH = 100
_LARGE_OBJECT_CHUNK = 1 << 20


@dataclass(frozen=True, slots=True)
class SharedSnapshot:
    """An exported snapshot, and what another connection needs to take part in it."""

    connector: Connector
    name: str
    encoding: str


class _Sequence(NamedTuple):
    schema: str
    name: str
    increment: int


def _visible(connection: psycopg.Connection) -> set[int]:
    """Tables found without a schema under the role's own search path, which ours is not.

    pg_dump resets its search path to that for the time that it resolves patterns.
    """
    connection.execute("RESET search_path")
    rows = connection.execute(
        "SELECT oid::int8 FROM pg_catalog.pg_class "
        "WHERE relkind IN ('r', 'p', 'm', 'f', 'S') AND pg_catalog.pg_table_is_visible(oid)"
    ).fetchall()
    connection.execute("SET search_path = ''")
    return {oid for (oid,) in rows}


def _role_name(connection: psycopg.Connection, name: str) -> str:
    """A role's name as other databases see it; one of SQL_ASCII gives a character for each byte."""
    if connection.info.parameter_status("server_encoding") != "SQL_ASCII":
        return name
    return name.encode("latin-1").decode("utf-8", "replace")


def _left_out_beside_tables(
    connection: psycopg.Connection, patterns: Sequence[str], visible: Set[int]
) -> list[str]:
    """Sequences and materialized views that match: pg_dump leaves out their state as well."""
    rows = connection.execute(
        "SELECT c.oid::int8, n.nspname, c.relname FROM pg_catalog.pg_class c "
        "JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace "
        "WHERE c.relkind IN ('S', 'm') AND c.relpersistence <> 't' "
        "AND n.nspname <> 'information_schema' AND n.nspname !~ '^pg_' ORDER BY 2, 3"
    ).fetchall()
    return [
        qualified(schema, name)
        for oid, schema, name in rows
        if matches_any(patterns, schema, name, visible=oid in visible)
    ]


class Fingerprinter:
    """Reads one database for its fingerprint.

    ``left_out`` are the pg_dump patterns whose rows are not dumped, ``content_limit`` how long the
    contents may be read before the rest is only counted, ``seed`` the one of the fingerprint to
    compare with, or None for a new one. ``share`` lets big databases be read by other processes,
    ``processes`` of them; those that were ``begun`` already are taken first.
    """

    def __init__(
        self,
        connection: psycopg.Connection,
        tables: Sequence[Table],
        *,
        share: SharedSnapshot | None = None,
        left_out: Sequence[str] = (),
        content_limit: timedelta | None = None,
        seed: int | None = None,
        processes: int = 1,
        begun: Sequence[ReadingProcess] = (),
    ) -> None:
        self._connection = connection
        self._share = share
        visible = _visible(connection) if left_out else set()
        self._left_out = [
            table
            for table in tables
            if matches_any(left_out, table.schema, table.name, visible=table.oid in visible)
        ]
        self._left_out_names = [table.display for table in self._left_out]
        if left_out:
            self._left_out_names += _left_out_beside_tables(connection, left_out, visible)
        names = {oid for table in self._left_out for oid in (table.oid, table.hash_root)}
        self._tables = [table for table in tables if table.is_read and table.oid not in names]
        self._locked = tables
        self._content_limit = content_limit
        self._seed = secrets.randbits(63) if seed is None else seed
        self._objects: dict[str, tuple[str, ...]] | None = None
        self._roles: tuple[str, ...] = ()
        self._settings: tuple[str, ...] = ()
        self._sequences: list[_Sequence] = []
        self._before: list[int] = []
        self._reader = TableReader(connection, self._seed, content_limit)
        self._count = processes
        self._begun = list(begun)
        self._processes: list[ReadingProcess] = []
        self._cancelled = threading.Event()

    @property
    def left_out(self) -> frozenset[int]:
        """The oids of the tables whose rows are not dumped."""
        return frozenset(table.oid for table in self._left_out)

    def take_inventory(self) -> bool:
        """Read objects, roles, settings and sequence positions, which must be near the snapshot.

        False when an object was dropped since the snapshot, so that its name is no longer known.
        """
        kinds: dict[str, list[str]] = defaultdict(list)
        for kind, identity in self._connection.execute(query("inventory")):
            if kind is None or identity is None:
                return False
            kinds[kind].append(identity)
        kinds[DEFINITIONS] = self._definitions()
        self._objects = {kind: tuple(sorted(names)) for kind, names in kinds.items() if names}
        self._roles = tuple(
            _role_name(self._connection, row[0]) for row in self._connection.execute(query("roles"))
        )
        self._settings = tuple(row[0] for row in self._connection.execute(query("settings")))
        self._sequences = [_Sequence(*row) for row in self._connection.execute(query("sequences"))]
        self._before = self._positions()
        return True

    def _definitions(self) -> list[str]:
        """What objects are made of; none where that cannot be read now.

        To tell a view's text the server locks what the view is of. DDL may hold that, or drop a
        function meanwhile: then names alone are compared.
        """
        connection = self._connection
        connection.execute("SAVEPOINT definitions")
        try:
            connection.execute(f"SET LOCAL lock_timeout = '{_DEFINITIONS_WAIT}'".encode())
            found = [line for (line,) in connection.execute(query("definitions"))]
        except psycopg.Error as error:
            if is_lost(error):
                raise
            _log.info("definitions are not compared: %s", error)
            found = []
        connection.execute("ROLLBACK TO SAVEPOINT definitions")
        return found

    def take(self, level: ProofLevel, advance: Callable[[int], None]) -> Fingerprint:
        """Read the tables. Raises psycopg.Error; the transaction is then of no more use.

        The level of the result is ``counts`` when the content limit was reached on the way.
        """
        try:
            self._start_processes(level)  # they get ready meanwhile
            if self._objects is None and not self.take_inventory():
                raise psycopg.errors.ObjectNotInPrerequisiteState("an object was dropped meanwhile")
            tables, late, large_objects = self._read(level, advance)
        finally:
            close_all(self._processes)
        assert self._objects is not None
        reached = ProofLevel.COUNTS if late else level
        return Fingerprint(
            level=reached,
            seed=self._seed,
            tables=tuple(tables),
            objects=self._objects,
            sequences=tuple(
                SequencePosition(sequence.schema, sequence.name, at, at, sequence.increment)
                for sequence, at in zip(self._sequences, self._before, strict=True)
            ),
            large_objects=large_objects,
            roles=self._roles,
            left_out=tuple(self._left_out_names),
            settings=self._settings,
        )

    def complete(self, fingerprint: Fingerprint) -> Fingerprint:
        """The fingerprint with the sequences' positions as they are now, after the dump."""
        return replace(
            fingerprint,
            sequences=tuple(
                replace(sequence, after=after)
                for sequence, after in zip(fingerprint.sequences, self._positions(), strict=True)
            ),
        )

    def cancel(self) -> None:
        """Give up a running :meth:`take`, from another thread."""
        self._cancelled.set()
        self._reader.cancel()
        for process in list(self._processes):
            process.cancel()

    def _read(
        self, level: ProofLevel, advance: Callable[[int], None]
    ) -> tuple[list[TableFingerprint], bool, LargeObjects]:
        """Behind a savepoint: what fails here must not end the transaction of the snapshot."""
        self._connection.execute("SAVEPOINT fingerprint")
        try:
            tables, late = self._read_tables(level, advance)
            reached = ProofLevel.COUNTS if late else level
            large_objects = self._large_objects(reached)
        except psycopg.Error:
            if not self._connection.closed:
                self._connection.execute("ROLLBACK TO SAVEPOINT fingerprint")
            raise
        return tables, late, large_objects

    def _read_tables(
        self, level: ProofLevel, advance: Callable[[int], None]
    ) -> tuple[list[TableFingerprint], bool]:
        """The tables, and whether the content limit was reached."""
        if self._share is not None and self._processes:
            elsewhere = self._read_elsewhere(self._share, level, advance)
            if elsewhere is not None:
                return elsewhere
        tables = self._reader.read(self._tables, level, advance)
        return tables, self._reader.late

    def _start_processes(self, level: ProofLevel) -> None:
        """Those that read, where there is so much to read that they are worth it."""
        total = sum(table.bytes for table in self._locked)
        if self._share is None or level is not ProofLevel.CONTENT or total <= WORTH_A_PROCESS:
            return
        for _ in share_by_size(self._tables, self._count):
            process = self._begun.pop() if self._begun else ReadingProcess()
            self._processes.append(process)
            process.start()

    def _read_elsewhere(
        self, share: SharedSnapshot, level: ProofLevel, advance: Callable[[int], None]
    ) -> tuple[list[TableFingerprint], bool] | None:
        """In other processes; None when any was locked out."""
        shares = share_by_size(self._tables, self._count)
        tasks = [self._task(share, level, part) for part in shares]
        if self._cancelled.is_set():
            return None
        found = run_together(list(zip(self._processes, tasks, strict=True)), advance)
        if found is None:
            return None
        by_name = {(one.schema, one.name): one for tables, _ in found for one in tables}
        ordered = [by_name[table.schema, table.name] for table in self._tables]
        return ordered, any(late for _, late in found)

    def _task(
        self, share: SharedSnapshot, level: ProofLevel, tables: Sequence[Table]
    ) -> ReadingTask:
        return ReadingTask(
            connector=share.connector,
            database=self._connection.info.dbname,
            encoding=share.encoding,
            snapshot=share.name,
            locked=self._locked,
            tables=tables,
            level=level,
            seed=self._seed,
            content_limit=self._content_limit,
        )

    def _positions(self) -> list[int]:
        """Values handed out so far by each sequence (see SequencePosition)."""
        positions: dict[int, int] = {}
        for start in range(0, len(self._sequences), _BATCH):
            batch = self._sequences[start : start + _BATCH]
            union = sql.SQL(" UNION ALL ").join(
                sql.SQL(
                    "SELECT {}, CASE WHEN is_called THEN last_value::numeric "
                    "ELSE last_value::numeric - {} END FROM {}"
                ).format(
                    sql.Literal(start + index),
                    sql.Literal(sequence.increment),
                    sql.Identifier(sequence.schema, sequence.name),
                )
                for index, sequence in enumerate(batch)
            )
            for index, value in self._connection.execute(union):
                positions[index] = int(value)
        return [positions[index] for index in range(len(self._sequences))]

    def _large_objects(self, level: ProofLevel) -> LargeObjects:
        row = self._connection.execute(
            "SELECT count(*) FROM pg_catalog.pg_largeobject_metadata"
        ).fetchone()
        assert row is not None
        if level is not ProofLevel.CONTENT:
            return LargeObjects(row[0])
        # The first chunk of all at once, then the rest of the few that have more.
        first = sql.SQL(
            "COPY (SELECT oid, 0::bigint, pg_catalog.lo_get(oid, 0, {chunk}) "
            "FROM pg_catalog.pg_largeobject_metadata) TO STDOUT"
        ).format(chunk=sql.Literal(_LARGE_OBJECT_CHUNK))
        _, total = copy_sum(self._connection, first, self._seed)
        if row[0]:
            total += self._long_large_objects()
        return LargeObjects(row[0], content_text(total))

    def _long_large_objects(self) -> int:
        """The sum over all chunks but the first."""
        long = self._connection.execute(
            "SELECT oid FROM pg_catalog.pg_largeobject_metadata "
            "WHERE pg_catalog.length(pg_catalog.lo_get(oid, %s, 1)) > 0",
            (_LARGE_OBJECT_CHUNK,),
        ).fetchall()
        total = 0
        for (oid,) in long:
            offset = _LARGE_OBJECT_CHUNK
            while True:
                chunk = sql.SQL(
                    "COPY (SELECT {oid}::oid, {offset}::bigint, d FROM "
                    "pg_catalog.lo_get({oid}, {offset}, {size}) d WHERE length(d) > 0) TO STDOUT"
                ).format(
                    oid=sql.Literal(oid),
                    offset=sql.Literal(offset),
                    size=sql.Literal(_LARGE_OBJECT_CHUNK),
                )
                count, hashed = copy_sum(self._connection, chunk, self._seed)
                if count == 0:
                    break
                total += hashed
                offset += _LARGE_OBJECT_CHUNK
        return total
