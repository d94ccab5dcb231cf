"""Connections to the catalog's database: opened as each kind wants it, in short transactions."""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, Engine, create_engine, event, func, make_url, select
from sqlalchemy.exc import ArgumentError, NoSuchModuleError, SQLAlchemyError, StatementError

from guardian.adapters.catalog.failures import catalog_error, folder_error
from guardian.adapters.catalog.rules import utc
from guardian.errors import CatalogError
from guardian.ports import Clock

_POSTGRES_DRIVER = "postgresql+psycopg"
_CONNECT_SECONDS = 10
_STATEMENT_SECONDS = 60
_BUSY_PAUSE_SECONDS = 0.02
_creating = threading.Lock()


class Database:
    """The catalog's database. Its errors come out as CatalogError that name ``place``."""

    def __init__(self, url: str, *, clock: Clock, busy_timeout: timedelta) -> None:
        self.url = parse_url(url)
        self.place = place_of(self.url)
        self._clock = clock
        self._busy_timeout = busy_timeout
        self.engine = self._engine()
        self._writer = self.engine.execution_options(guardian_writes=True)
        self._reader = self.engine
        if self.is_postgres:  # one snapshot for all queries of a transaction, as SQLite has it
            self._reader = self.engine.execution_options(isolation_level="REPEATABLE READ")

    @property
    def is_sqlite(self) -> bool:
        """Whether it is a file of ours."""
        return self.url.get_backend_name() == "sqlite"

    @property
    def is_postgres(self) -> bool:
        """Whether it is a server that other hosts may share, so that its clock counts."""
        return self.url.get_backend_name() == "postgresql"

    @property
    def file(self) -> Path | None:
        """SQLite's file, None where there is none or SQLite itself parses its name."""
        name = self.url.database
        if not self.is_sqlite or not name or name.startswith("file:"):
            return None
        return Path(name)

    def make_file(self) -> bool:
        """Make SQLite's file (0600, its folder 0700) unless it is there; true when it was made."""
        path = self.file
        try:
            if path is None or path.exists():
                return False
        except PermissionError as error:  # a folder above may not be entered
            raise folder_error(error, self.place) from error
        # Closing a descriptor of a file drops this process's locks on it, SQLite's too. So nobody
        # here may have opened it between the two lines.
        with _creating:
            try:
                path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
            except FileExistsError:
                return False
            except OSError as error:
                raise folder_error(error, self.place) from error
        return True

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """A transaction that only reads, all of it at one instant."""
        with self._guarded(), self._reader.begin() as connection:
            yield connection

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """A transaction that writes: SQLite's write lock is taken at its beginning.

        A reader that turns writer in SQLite fails at once when another has written meanwhile,
        whatever the busy timeout.
        """
        with self._guarded(), self._writer.begin() as connection:
            yield connection

    def now(self, connection: Connection) -> datetime:
        """The time that leases are judged by: PostgreSQL's own, since hosts' clocks differ."""
        if self.is_postgres:
            return utc(connection.execute(select(func.clock_timestamp())).scalar_one())
        return utc(self._clock.now())

    def enter_wal(self) -> None:
        """Turn SQLite's file to write-ahead logging, so that readers and a writer work at once.

        The file keeps the mode. SQLite does not wait for others here, so we do.
        """
        deadline = time.monotonic() + self._busy_timeout.total_seconds()
        with self._guarded(), closing(self.engine.raw_connection()) as connection:
            while True:
                try:
                    connection.cursor().execute("PRAGMA journal_mode = WAL")
                except sqlite3.OperationalError as error:
                    if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY:
                        raise
                    if time.monotonic() >= deadline:
                        raise
                    time.sleep(_BUSY_PAUSE_SECONDS)
                else:
                    return

    def close(self) -> None:
        """Close all connections."""
        self.engine.dispose()

    @contextmanager
    def _guarded(self) -> Iterator[None]:
        try:
            yield
        except (SQLAlchemyError, sqlite3.Error) as error:
            # What our own column types refuse (a naive datetime) is a mistake of the caller.
            if isinstance(error, StatementError) and isinstance(
                error.orig, (TypeError, ValueError)
            ):
                raise error.orig from None
            raise catalog_error(error, self.place, self._secret()) from error

    def _secret(self) -> str | None:
        return str(self.url.password) if self.url.password else None

    def _engine(self) -> Engine:
        options: dict[str, Any] = {"hide_parameters": True}
        if self.is_sqlite:
            options["connect_args"] = {"timeout": self._busy_timeout.total_seconds()}
        elif self.is_postgres:
            options |= {"pool_pre_ping": True, "connect_args": self._postgres_arguments()}
        else:
            options["pool_pre_ping"] = True
        try:
            engine = create_engine(self.url, **options)
        except NoSuchModuleError:
            raise CatalogError(
                f"catalog {self.place}: there is no database of kind {self.url.drivername!r}",
                mend="write sqlite:///FILE or postgresql://…",
            ) from None
        except ImportError as error:
            raise CatalogError(
                f"catalog {self.place}: the driver for {self.url.drivername} is not installed",
                mend=f"pip install {error.name}",
            ) from error
        if self.is_sqlite:
            event.listen(engine, "connect", _prepare_sqlite)
            event.listen(engine, "begin", _begin_sqlite)
        elif self.is_postgres:
            event.listen(engine, "connect", self._prepare_postgres)
        return engine

    def _postgres_arguments(self) -> dict[str, Any]:
        """Libpq's parameters, so that a peer that vanished is noticed; the URL's own win."""
        wanted = {
            "application_name": "guardian catalog",
            "connect_timeout": str(_CONNECT_SECONDS),
            "keepalives_idle": "10",
            "keepalives_interval": "5",
            "keepalives_count": "3",
            "tcp_user_timeout": "20000",
        }
        return {name: value for name, value in wanted.items() if name not in self.url.query}

    def _prepare_postgres(self, connection: Any, _record: Any) -> None:
        """Nobody waits for ever, and nobody who froze holds others up."""
        wait = round(self._busy_timeout.total_seconds() * 1000)
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute(f"SET lock_timeout = {wait}")
            cursor.execute(f"SET statement_timeout = '{_STATEMENT_SECONDS}s'")
            cursor.execute(f"SET idle_in_transaction_session_timeout = '{_STATEMENT_SECONDS}s'")
        connection.autocommit = False


def _prepare_sqlite(connection: Any, _record: Any) -> None:
    """Transactions are begun by us, and foreign keys hold.

    synchronous=FULL: what was committed outlives a power cut. In WAL mode that is one fsync a
    commit, and commits are few.
    """
    connection.isolation_level = None
    for pragma in ("foreign_keys = ON", "synchronous = FULL", "trusted_schema = OFF"):
        connection.execute(f"PRAGMA {pragma}")


def _begin_sqlite(connection: Connection) -> None:
    writes = connection.get_execution_options().get("guardian_writes", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def parse_url(text: str) -> URL:
    """The catalog's URL with our driver in it.

    Raises:
        CatalogError: it is none, or would keep the catalog in memory only. The text is not
            repeated, for it may hold a password.
    """
    try:
        url = make_url(text)
    except (ArgumentError, ValueError):
        raise CatalogError(
            "the `catalog` URL cannot be read",
            mend="write sqlite:////var/lib/guardian/catalog.db or postgresql://user@host/database;"
            " in a password, write @ : / as %40 %3A %2F",
        ) from None
    if url.drivername in {"postgres", "postgresql"}:
        url = url.set(drivername=_POSTGRES_DRIVER)
    if url.get_backend_name() == "sqlite" and url.database in {None, "", ":memory:"}:
        raise CatalogError(
            "catalog sqlite:// would be in memory only, and lost", mend="write sqlite:///FILE"
        )
    return url


def place_of(url: URL) -> str:
    """The catalog as a person knows it, without user and password."""
    if url.get_backend_name() == "sqlite":
        return str(url.database)
    host = url.host or url.query.get("host") or "localhost"
    port = f":{url.port}" if url.port else ""
    return f"{host}{port}/{url.database or ''}"
