"""The tables whose rows a backup holds."""

from __future__ import annotations

from dataclasses import dataclass

import psycopg
from psycopg import sql
from psycopg.rows import class_row

from guardian.adapters.postgres.queries import query


@dataclass(frozen=True, slots=True)
class Table:
    """One row of tables.sql.

    ``bytes`` is its size on disk, indexes left out, 0 where it was not measured. ``hides_rows``
    says that row-level security applies to us. ``hash_root`` is the topmost hash-partitioned table
    above it, or itself.
    """

    oid: int
    schema: str
    name: str
    kind: str
    unlogged: bool
    snapshot_filenode: int
    current_filenode: int | None
    readable: bool
    bytes: int
    hides_rows: bool
    condition: str | None
    hash_root: int | None
    columns: list[str]

    @property
    def identifier(self) -> sql.Composable:
        """The quoted, qualified name."""
        return sql.Identifier(self.schema, self.name)

    @property
    def display(self) -> str:
        """The quoted, qualified name as text, on one line."""
        return f"{self.schema_display}.{_quote(self.name)}"

    @property
    def schema_display(self) -> str:
        """The quoted schema as text."""
        return _quote(self.schema)

    @property
    def is_read(self) -> bool:
        """Whether its rows are read here: in it, or below it for a tree of hash partitions."""
        return self.hash_root == self.oid if self.hash_root is not None else self.kind == "r"

    @property
    def rewritten(self) -> bool:
        """Whether its file was swapped (TRUNCATE, rewriting ALTER) since the snapshot."""
        return self.kind == "r" and self.current_filenode != self.snapshot_filenode


def list_tables(connection: psycopg.Connection, *, measured: bool = False) -> list[Table]:
    """The tables that a dump made now, or in this transaction's snapshot, reads the rows of.

    Sizes are ``measured`` only on request: it takes each table's lock.
    """
    with connection.cursor(row_factory=class_row(Table)) as cursor:
        return cursor.execute(query("tables"), {"measured": measured}).fetchall()


def _quote(name: str) -> str:
    if name.isidentifier() and name.islower() and name.isascii():
        return name
    return '"' + name.replace('"', '""') + '"'
