"""Restoring into a database that is there, in one transaction: all of it, or nothing.

For those who may not make databases, and for rows alone. pg_restore's own ``--single-transaction``
does it; the last bytes are held back until the whole backup is known to be good, for without them
it cannot come to its end and commit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import psycopg
from psycopg import sql

from guardian.adapters.postgres.connection import Connector
from guardian.adapters.postgres.maintenance import settle
from guardian.adapters.postgres.pg_restore import IntoFile, running_restore
from guardian.adapters.postgres.restored import PostgresDatabase
from guardian.adapters.postgres.swapping import apply_items
from guardian.errors import GuardianError, UsageError
from guardian.model import Fingerprint, ProofLevel
from guardian.ports import Readable
from guardian.restore.ports import Archive
from guardian.restore.target import Finished, RestoreOrder, Way

_BLOCK = 1 << 20
_NAMED = 5

_ANALYZED = """
SELECT n.nspname::text, c.relname::text
  FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
 WHERE c.relkind IN ('r', 'm', 'p') AND c.relpersistence <> 't' AND n.nspname !~ '^pg_'
   AND n.nspname <> 'information_schema'
 ORDER BY c.relpages DESC
"""

Table = tuple[str, str]


class InPlace:
    """Implements RestoreWork for a database that keeps its name throughout."""

    def __init__(
        self,
        connector: Connector,
        database: PostgresDatabase,
        program: Path,
        order: RestoreOrder,
        *,
        superuser: bool,
        extensions: Sequence[str],
        purpose: str,
    ) -> None:
        self.major = database.major
        self.warnings: tuple[str, ...] = ()
        self.taken: Finished | None = None
        self.extensions_before = frozenset(extensions)
        self._connector = connector
        self._database = database
        self._program = program
        self._order = order
        self._superuser = superuser
        self._purpose = purpose

    def restore(
        self,
        archive: Archive,
        row_counts: Mapping[Table, int],  # noqa: ARG002 - one stream shares nothing
        advance: Callable[[int], None],
    ) -> None:
        """Run pg_restore over all of the archive, once."""
        chosen = self._order.chosen
        if chosen is not None:
            # It stops reading after the last chosen entry, so the rest is to be seen before.
            with archive.open() as stream:
                while stream.read(_BLOCK):
                    pass
        with ExitStack() as stack:
            listed = None
            if chosen is not None:
                lines = "".join(f"{number};\n" for number in chosen)
                listed = stack.enter_context(IntoFile("list", lines.encode()))
            access = stack.enter_context(
                self._connector.tool_access(self._database.name, self._purpose)
            )
            stream = stack.enter_context(archive.open())
            tool = stack.enter_context(
                running_restore(
                    self._program,
                    [*self._arguments(), *self._order.flags],
                    access,
                    self._connector.scrub,
                    feed=HeldBack(stream, advance),
                    listed=listed,
                )
            )
            tool.finish()

    def _arguments(self) -> Iterator[str]:
        yield "--single-transaction"
        if self._order.way is Way.DATA:
            yield "--data-only"
            if self._superuser:
                yield "--disable-triggers"  # tables come in no order that foreign keys would like

    def fingerprint(
        self, level: ProofLevel, seed: int, advance: Callable[[int], None]
    ) -> Fingerprint:
        """What it holds now."""
        return self._database.fingerprint(level, seed, advance)

    def analyze(self) -> Sequence[str]:
        """ANALYZE."""
        return analyze(self._connector, self._database.name, self._purpose)

    def finish(self) -> Finished:
        """It has its name; what belongs to the database as a whole comes as far as we may."""
        if self._order.way is Way.DATA:
            return Finished()
        name = self._database.name
        with (
            _session(self._connector, name, self._purpose) as connection,
            connection.transaction(),
        ):
            warnings = apply_items(connection, self._order.items, name)
        return Finished(warnings=tuple(warnings))

    def keep(self, reason: str) -> Finished:
        """It stays as it is: what was committed cannot be put aside."""
        return Finished(reason=reason, kept_as=self._database.name)


class HeldBack:
    """Passes a stream on, always one block behind: its last comes only after a good end."""

    def __init__(self, source: Readable, advance: Callable[[int], None]) -> None:
        self._source = source
        self._advance = advance
        self._held = b""
        self._begun = False

    def read(self, size: int = -1, /) -> bytes:
        """The next bytes."""
        if not self._begun:
            self._held = self._source.read(size)
            self._begun = True
        given, self._held = self._held, self._source.read(size) if self._held else b""
        self._advance(len(given))
        return given


def analyze(connector: Connector, database: str, purpose: str) -> Sequence[str]:
    """ANALYZE each table that we may; a sentence about those that it failed for.

    One by one: an expression in an index or in statistics may fail for one table alone.
    """
    with _session(connector, database, purpose) as connection:
        connection.execute("SET client_min_messages = error")  # of tables that are not ours
        tables = connection.execute(_ANALYZED).fetchall()
        failed = []
        for schema, name in tables:
            table = sql.Identifier(schema, name)
            try:
                connection.execute(sql.SQL("ANALYZE {}").format(table))
            except psycopg.OperationalError:
                raise
            except psycopg.Error:
                failed.append(table.as_string(connection))
    return [f"ANALYZE fails for {_listed(failed)}"] if failed else []


def require_empty_tables(
    connector: Connector, database: str, tables: Sequence[Table], purpose: str
) -> None:
    """Raise UsageError unless all these tables are there, without any row.

    Raises:
        UsageError: names those that are missing, and those that hold rows.
        GuardianError: they cannot be read.
    """
    with _session(connector, database, purpose) as connection:
        missing, filled = [], []
        for schema, name in tables:
            shown = sql.Identifier(schema, name).as_string(connection)
            found = connection.execute(
                "SELECT pg_catalog.to_regclass(%s) IS NOT NULL", (shown,)
            ).fetchone()
            if found != (True,):
                missing.append(shown)
                continue
            row = connection.execute(
                sql.SQL("SELECT EXISTS (SELECT FROM ONLY {})").format(sql.Identifier(schema, name))
            ).fetchone()
            if row != (False,):
                filled.append(shown)
    if missing:
        raise UsageError(
            f"database {database!r} lacks {_listed(missing)}, and only rows are to be restored",
            mend="restore with --schema-only first, or choose tables with --table",
        )
    if filled:
        raise UsageError(
            f"in database {database!r} {_listed(filled)} hold rows already",
            mend="TRUNCATE them first, or restore into another database",
        )


@contextmanager
def _session(connector: Connector, database: str, purpose: str) -> Iterator[psycopg.Connection]:
    with connector.connect(database, purpose) as connection:
        try:
            settle(connection)
            yield connection
        except psycopg.Error as error:
            raise connector.translate(error, database) from error


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return f"table{'s' if len(names) > 1 else ''} {', '.join(names[:_NAMED])}{more}"


def add_mend(error: GuardianError, way: Way) -> None:
    """Say what to do about a failed restore, where that can be told and was not yet."""
    if error.mend is not None:
        return
    found = (mend for words, mend in _MENDS if any(word in error.message for word in words))
    error.mend = next(found, None)
    if error.mend is None and way is Way.DATA and "foreign key" in error.message:
        error.mend = "connect as a superuser, for whom foreign keys wait until the end"


_MENDS = (
    (("role ",), "--globals makes the backup's roles; or --no-owner --no-privileges"),
    (("tablespace",), "make the tablespace, or say --no-tablespaces"),
    (("max_locks_per_transaction", "shared memory"), "raise max_locks_per_transaction there"),
    (
        ("permission denied", "must be owner", "must be superuser", "must be able to", "member"),
        "connect as a superuser, or say --no-owner --no-privileges",
    ),
)
