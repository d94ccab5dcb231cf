"""Giving a restored database the name that was wanted: all in one transaction, or not at all.

Renaming a database takes a lock that keeps new sessions out while it waits, up to five seconds, for
the old ones to go. So whoever is to be disconnected is ended over a second connection during that
wait, and a pool that reconnects at once cannot win. (Forbidding connections instead would leave the
database closed if we died.)
"""

from __future__ import annotations

import threading
from dataclasses import dataclass

import psycopg
from psycopg import sql

from guardian.adapters.postgres.connection import Connector
from guardian.adapters.postgres.maintenance import (
    database_name,
    database_oid,
    sessions_in,
    settle,
)
from guardian.errors import GuardianError
from guardian.restore.database_items import DatabaseItem, DatabaseItems, ItemKind, owner_item

_LOCK_TIMEOUT = "15s"
_PAUSE_SECONDS = 0.02
_POLL_SECONDS = 0.1
_PATIENCE_SECONDS = 60.0
_ORDER = (
    ItemKind.PROPERTY,
    ItemKind.COMMENT,
    ItemKind.LABEL,
    ItemKind.SETTING,
    ItemKind.GRANT,
)


@dataclass(frozen=True, slots=True)
class SwapOrder:
    """Which database gets which name. ``old`` is the one that has it, with the name it gets.

    Databases are known by number (oid) and present name.
    """

    side: tuple[int, str]
    wanted: str
    items: DatabaseItems
    old: tuple[int, str] | None = None
    force: bool = False


@dataclass(frozen=True, slots=True)
class SwapOutcome:
    """Whether the name is taken; if not, why."""

    taken: bool
    reason: str | None = None
    warnings: tuple[str, ...] = ()
    replaced: bool = False


class Swap:
    """One swap, run once."""

    def __init__(self, connector: Connector, beside: str, order: SwapOrder, purpose: str) -> None:
        self._connector = connector
        self._beside = beside
        self._order = order
        self._purpose = purpose
        self._connection: psycopg.Connection | None = None
        self._outcome = SwapOutcome(False, "it was not begun")
        self._error: BaseException | None = None
        self._warnings: list[str] = []
        self._unkillable: set[str] = set()
        self._powerless: str | None = None
        self._replaced = False
        self._cancelled = False
        self._ended = threading.Event()

    @property
    def outcome(self) -> SwapOutcome:
        """What has come of it so far."""
        return self._outcome

    def run(self) -> SwapOutcome:
        """Swap, on a thread of its own, so that Ctrl-C cannot leave it unknown what happened.

        Raises:
            GuardianError: the server went away, and nothing was renamed.
            KeyboardInterrupt: nothing was renamed. Too late, it is ignored.
        """
        threading.Thread(target=self._run, name="swap", daemon=True).start()
        try:
            while not self._ended.wait(_POLL_SECONDS):
                pass
        except BaseException:
            self._cancel()
            self._ended.wait(_PATIENCE_SECONDS)
            if not self._outcome.taken:
                raise
        if self._error is not None:
            raise self._error
        return self._outcome

    def _cancel(self) -> None:
        self._cancelled = True
        connection = self._connection
        if connection is not None and not connection.closed:
            connection.cancel_safe(timeout=5)

    def _run(self) -> None:
        try:
            self._outcome = self._swap()
        except BaseException as error:  # noqa: BLE001 - carried over to the caller's thread
            self._error = error
        finally:
            self._ended.set()

    def _swap(self) -> SwapOutcome:
        try:
            with self._connector.connect(self._beside, self._purpose) as connection:
                self._connection = connection
                settle(connection)
                with connection.transaction():
                    self._rename(connection)
        except psycopg.Error as error:
            return self._failed(error)
        return SwapOutcome(True, None, tuple(self._warnings), self._replaced)

    def _rename(self, connection: psycopg.Connection) -> None:
        order = self._order
        side = sql.Identifier(order.side[1])
        wanted = sql.Identifier(order.wanted)
        connection.execute(sql.SQL("SET LOCAL lock_timeout = {}").format(_LOCK_TIMEOUT))
        self._warnings += apply_items(connection, order.items, order.side[1])
        present = database_oid(connection, order.wanted)
        if present is not None and order.old is not None and present == order.old[0]:
            with _Ending(self._connector, self._beside, present, self._purpose, self) as ending:
                if order.force:
                    ending.start()
                connection.execute(
                    sql.SQL("ALTER DATABASE {} RENAME TO {}").format(
                        wanted, sql.Identifier(order.old[1])
                    )
                )
            self._replaced = True
        if self._cancelled:
            raise psycopg.errors.QueryCanceled("the restore was interrupted")
        connection.execute(sql.SQL("ALTER DATABASE {} RENAME TO {}").format(side, wanted))

    def refused(self, who: str) -> None:
        """A session may not be ended by us."""
        self._unkillable.add(who)

    def powerless(self, why: str) -> None:
        """Sessions cannot be ended at all: the second connection is not to be had, or is lost."""
        self._powerless = why

    def _failed(self, error: psycopg.Error) -> SwapOutcome:
        """What came of it, where that may not even be known: the server knows."""
        try:
            with self._connector.connect(self._beside, self._purpose) as connection:
                settle(connection)
                if database_name(connection, self._order.side[0]) == self._order.wanted:
                    return SwapOutcome(True, None, tuple(self._warnings), self._replaced)
                return SwapOutcome(False, self._reason(connection, error))
        except psycopg.Error as lost:
            raise self._connector.translate(lost) from error

    def _reason(self, connection: psycopg.Connection, error: psycopg.Error) -> str:
        if isinstance(error, psycopg.errors.ObjectInUse):
            old = self._order.old
            sessions = sessions_in(connection, old[0]) if old else ()
            if self._unkillable:
                return f"our role may not end the sessions of {', '.join(sorted(self._unkillable))}"
            if self._powerless is not None:
                return f"the sessions in it could not be ended: {self._powerless}"
            return f"others are connected to it: {', '.join(sessions) or error.diag.message_detail}"
        if isinstance(error, psycopg.errors.DuplicateDatabase):
            return "another database took the name meanwhile"
        if isinstance(error, psycopg.errors.LockNotAvailable):
            return "another session holds a lock on it"
        return error.diag.message_primary or " ".join(str(error).split())


class _Ending:
    """Ends the sessions of a database again and again, until told that it is enough."""

    def __init__(
        self, connector: Connector, beside: str, oid: int, purpose: str, swap: Swap
    ) -> None:
        self._connector = connector
        self._beside = beside
        self._oid = oid
        self._purpose = purpose
        self._swap = swap
        self._enough = threading.Event()
        self._thread = threading.Thread(target=self._run, name="end sessions", daemon=True)

    def __enter__(self) -> _Ending:
        """Not begun yet."""
        return self

    def __exit__(self, *_: object) -> None:
        """Enough."""
        self._enough.set()
        if self._thread.ident is not None:
            self._thread.join(_PATIENCE_SECONDS)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def _run(self) -> None:
        try:
            with self._connector.connect(self._beside, self._purpose) as connection:
                settle(connection)
                while not self._enough.is_set():
                    self._end_all(connection)
                    self._enough.wait(_PAUSE_SECONDS)
        except psycopg.Error as error:  # then the rename fails, and says why
            self._swap.powerless(self._connector.translate(error).message)
        except GuardianError as error:
            self._swap.powerless(error.message)

    def _end_all(self, connection: psycopg.Connection) -> None:
        rows = connection.execute(
            "SELECT pid, coalesce(usename::text, '?') FROM pg_catalog.pg_stat_activity "
            "WHERE datid = %s::int8::oid AND usesysid IS NOT NULL",
            (self._oid,),
        ).fetchall()
        for pid, user in rows:
            try:
                connection.execute(
                    "SELECT pg_catalog.pg_terminate_backend(pid) FROM pg_catalog.pg_stat_activity "
                    "WHERE pid = %s AND datid = %s::int8::oid",
                    (pid, self._oid),
                )
            except psycopg.errors.InsufficientPrivilege:
                self._swap.refused(user)


def apply_items(connection: psycopg.Connection, items: DatabaseItems, database: str) -> list[str]:
    """Set a database's own things, each for itself; sentences about those that could not be.

    Values are never told: they may be secrets.
    """
    warnings = [
        f"the database's {label} is not understood, and left out" for label in items.unknown
    ]
    ordered = [item for kind in _ORDER for item in items.of(kind)]
    if items.owner is not None:
        ordered.insert(0, owner_item(items.owner))
    for item in ordered:
        try:
            with connection.transaction():
                statement = item.on(database).encode("utf-8", "surrogateescape")
                connection.execute(statement)
        except (psycopg.errors.QueryCanceled, psycopg.errors.AdminShutdown):
            raise
        except psycopg.Error as error:
            if connection.closed:
                raise
            warnings.append(f"the database's {item.label} is not set: {_told(item, error)}")
    return warnings


def _told(item: DatabaseItem, error: psycopg.Error) -> str:
    if isinstance(error, psycopg.errors.InsufficientPrivilege):
        return "our role may not"
    if item.kind is ItemKind.SETTING:
        return f"the server refuses it ({error.diag.sqlstate})"
    return error.diag.message_primary or "the server refuses it"
