"""A restore in a database beside the wanted one, which takes its name at the end."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace

import psycopg
from psycopg import sql

from guardian.adapters.postgres.connection import Connector
from guardian.adapters.postgres.in_place import analyze
from guardian.adapters.postgres.maintenance import (
    Contents,
    database_names,
    database_oid,
    discard_database,
    look_inside,
    settle,
)
from guardian.adapters.postgres.restored import PostgresDatabase
from guardian.adapters.postgres.side_database import side_database_name
from guardian.adapters.postgres.swapping import Swap, SwapOrder, SwapOutcome, apply_items
from guardian.adapters.postgres.whole_database import read_items, what_stays
from guardian.errors import GuardianError
from guardian.model import Fingerprint, ProofLevel
from guardian.restore.database_items import DatabaseItems
from guardian.restore.ports import Archive
from guardian.restore.sql_text import quoted
from guardian.restore.target import Finished, RestoreOrder, Way, dated_name

EMPTIED = "guardian_emptied_"
"""Names of empty databases that a restore took the name from, until they are dropped."""
PURPOSE = "restore"


class Beside:
    """Implements RestoreWork.

    ``oid`` and ``database`` are the side database's, ``maintenance`` is the one to be connected to
    while others are renamed.
    """

    def __init__(
        self,
        connector: Connector,
        database: PostgresDatabase,
        order: RestoreOrder,
        *,
        wanted: str,
        oid: int,
        maintenance: str,
        warnings: tuple[str, ...],
    ) -> None:
        self.major = database.major
        self.warnings = warnings
        self.extensions_before: frozenset[str] = frozenset()
        self._connector = connector
        self._database = database
        self._order = order
        self._wanted = wanted
        self._oid = oid
        self._maintenance = maintenance
        self._swapping: tuple[Swap, str | None] | None = None

    def restore(
        self,
        archive: Archive,
        row_counts: Mapping[tuple[str, str], int],
        advance: Callable[[int], None],
    ) -> None:
        """Restore, in several streams where that is worth it."""
        self._database.restore(archive, row_counts, advance)

    def fingerprint(
        self, level: ProofLevel, seed: int, advance: Callable[[int], None]
    ) -> Fingerprint:
        """What it holds now."""
        return self._database.fingerprint(level, seed, advance)

    def analyze(self) -> Sequence[str]:
        """ANALYZE."""
        return analyze(self._database.connector, self._database.name, PURPOSE)

    def finish(self) -> Finished:
        """Take the wanted name; what had it is kept, or dropped if it was empty."""
        with self._session() as connection:
            old = database_oid(connection, self._wanted)
            order = SwapOrder(
                side=(self._oid, self._database.name),
                wanted=self._wanted,
                items=self._items(connection),
                force=self._order.force_disconnect,
            )
            if old is None:
                outcome, kept = self._swap(order), None
            elif self._order.way is Way.NEW:
                return self.keep("another database took the name meanwhile")
            else:
                contents = self._contents_of_wanted()
                if contents is not None and contents.made:
                    return self.keep("something was made in the empty database meanwhile")
                if contents is not None and contents.is_empty:
                    return self._take_from_empty(connection, order, old)
                kept = self._dated(connection, "before")
                stays = what_stays(connection, self._wanted)
                outcome = self._swap(replace(order, old=(old, kept)))
                if outcome.replaced:
                    outcome = replace(outcome, warnings=(*outcome.warnings, *stays))
        return self._finished(outcome, kept)

    def _contents_of_wanted(self) -> Contents | None:
        """What is in the database that was empty; None where it is to be kept anyway."""
        if self._order.way is not Way.EMPTY:
            return None
        return look_inside(self._connector, self._wanted, PURPOSE)

    def _take_from_empty(
        self, connection: psycopg.Connection, order: SwapOrder, old: int
    ) -> Finished:
        with side_database_name(connection, EMPTIED) as emptied:
            outcome = self._swap(replace(order, old=(old, emptied)))
            if not outcome.replaced:
                return self._finished(outcome, None)
            try:
                if look_inside(self._connector, emptied, PURPOSE).is_empty:
                    discard_database(self._connector, self._maintenance, emptied, PURPOSE)
                    return self._finished(outcome, None)
                kept = self._dated(connection, "before")
                _rename(connection, emptied, kept)
            except (GuardianError, psycopg.Error, KeyboardInterrupt) as error:
                # The name is taken: too late to stop, and no reason to call it a failure.
                kept = emptied
                said = " ".join(self._connector.scrub(str(error)).split()) or "interrupted"
                warning = f"the empty database that was there is left behind as {emptied}: {said}"
                outcome = replace(outcome, warnings=(*outcome.warnings, warning))
            return self._finished(outcome, kept)

    @property
    def taken(self) -> Finished | None:
        """The end, as soon as the name is taken."""
        if self._swapping is None:
            return None
        swap, old = self._swapping
        if not swap.outcome.taken:
            return None
        kept, warnings = old if swap.outcome.replaced else None, swap.outcome.warnings
        if kept is not None and kept.startswith(EMPTIED):
            left = f"the empty database that was there may be left as {kept}"
            kept, warnings = None, (*warnings, f"{left}: the next restore here drops it")
        return Finished(kept_old=kept, warnings=warnings)

    def _swap(self, order: SwapOrder) -> SwapOutcome:
        swap = Swap(self._connector, self._maintenance, order, PURPOSE)
        self._swapping = (swap, order.old[1] if order.old else None)
        return swap.run()

    def _finished(self, outcome: SwapOutcome, kept: str | None) -> Finished:
        if not outcome.taken:
            return self.keep(outcome.reason or "the name could not be taken")
        return Finished(kept_old=kept if outcome.replaced else None, warnings=outcome.warnings)

    def keep(self, reason: str) -> Finished:
        """Rename the copy to a dated name, which no sweep takes; say what would finish."""
        with self._session() as connection:
            kept = self._dated(connection, "restored")
            before = self._dated(connection, "before")
            with connection.transaction():
                warnings = apply_items(connection, self._items(connection), self._database.name)
                _rename(connection, self._database.name, kept)
            occupied = database_oid(connection, self._wanted) is not None
        take = f"ALTER DATABASE {quoted(kept)} RENAME TO {quoted(self._wanted)};"
        away = f"ALTER DATABASE {quoted(self._wanted)} RENAME TO {quoted(before)};"
        return Finished(
            reason=reason,
            kept_as=kept,
            warnings=tuple(warnings),
            statements=("BEGIN;", away, take, "COMMIT;") if occupied else (take,),
        )

    def _items(self, connection: psycopg.Connection) -> DatabaseItems:
        """What the backup says of the database; of the rest what the present one has."""
        return self._order.items.over(read_items(connection, self._wanted))

    def _dated(self, connection: psycopg.Connection, word: str) -> str:
        return dated_name(self._wanted, word, self._order.at, database_names(connection))

    @contextmanager
    def _session(self) -> Iterator[psycopg.Connection]:
        with self._connector.connect(self._maintenance, PURPOSE) as connection:
            try:
                settle(connection)
                yield connection
            except psycopg.Error as error:
                raise self._connector.translate(error) from error


def _rename(connection: psycopg.Connection, name: str, new: str) -> None:
    connection.execute(
        sql.SQL("ALTER DATABASE {} RENAME TO {}").format(sql.Identifier(name), sql.Identifier(new))
    )
