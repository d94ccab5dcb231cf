"""Clients of a server, as a watch sees them: each does one thing, and can tell its own fate."""

from __future__ import annotations

import contextlib
import os
import re
import socket
import struct
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg
from support.postgres import Database, Role


def until(look: Callable[[], object], seconds: float = 30.0) -> None:
    """Wait for something that comes soon on its own."""
    deadline = time.monotonic() + seconds
    while not look():
        if time.monotonic() > deadline:
            raise TimeoutError("it did not come")
        time.sleep(0.01)


_LAST_PID = Path("/proc/sys/kernel/ns_last_pid")


def can_choose_pids() -> bool:
    """Whether we may say which pid comes next: root may, unless its container forbids it."""
    try:
        _LAST_PID.write_text(_LAST_PID.read_text())
    except OSError:
        return False
    return True


def heir_of(pid: int, connect: Callable[[], Client]) -> Client:
    """A session that has got the pid of one that has ended."""
    for _ in range(500):  # somebody else may begin a process at that very moment
        _LAST_PID.write_text(str(pid - 1))
        client = connect()
        if client.pid == pid:
            return client
        client.close()
    raise TimeoutError(f"pid {pid} does not come back")


class Client:
    """One session. What it runs in the background may block, or be ended by somebody."""

    def __init__(self, dsn: str, name: str, **more: Any) -> None:
        self.connection = psycopg.connect(dsn, autocommit=True, application_name=name, **more)
        self.pid = self.connection.info.backend_pid
        self._error: psycopg.Error | None = None
        self._thread: threading.Thread | None = None

    def run(self, statement: str) -> list[tuple[Any, ...]]:
        cursor = self.connection.execute(statement.encode())
        return cursor.fetchall() if cursor.description else []

    def start(self, statement: str) -> Client:
        """Run it in the background."""

        def work() -> None:
            try:
                self.connection.execute(statement.encode())
            except psycopg.Error as error:
                self._error = error

        self._thread = threading.Thread(target=work, daemon=True)
        self._thread.start()
        return self

    def is_waiting(self) -> bool:
        return self._thread is not None and self._thread.is_alive()

    def finish(self, seconds: float = 30.0) -> str | None:
        """The SQLSTATE with which what was started ended, None when it ended well."""
        assert self._thread is not None
        self._thread.join(seconds)
        assert not self._thread.is_alive(), "it still runs"
        return self._error.sqlstate if self._error else None

    def fate(self) -> str | None:
        """The SQLSTATE of its end, None while it lives and is unharmed."""
        if self._thread is not None:
            if self._thread.is_alive():
                return None
            if self._error is not None:
                return self._error.sqlstate
        try:
            self.connection.execute("SELECT 1")
        except psycopg.errors.InFailedSqlTransaction:
            return None
        except psycopg.Error as error:
            self._error = error
            return error.sqlstate
        return None

    def close(self) -> None:
        with contextlib.suppress(psycopg.Error):
            if self.is_waiting():
                self.connection.cancel_safe(timeout=5)
        if self._thread is not None:
            self._thread.join(10)
        self.connection.close()


class FastPath(Client):
    """Calls a function without a statement, by the protocol's own message, as libpq's PQfn does."""

    def start(self, statement: str = "pg_sleep(300)") -> Client:
        assert statement == "pg_sleep(300)"
        call = struct.pack("!IHHHIdH", 2626, 1, 1, 1, 8, 300.0, 1)  # its oid; the rest in binary
        message = b"F" + struct.pack("!I", 4 + len(call)) + call

        def work() -> None:
            with socket.socket(fileno=os.dup(self.connection.fileno())) as line:
                line.setblocking(True)
                line.sendall(message)
                said = line.recv(8192)
            found = re.search(rb"\0C(\w{5})\0", said)
            self._error = psycopg.errors.lookup(found[1].decode())() if found else None

        self._thread = threading.Thread(target=work, daemon=True)
        self._thread.start()
        return self


class Crowd:
    """Clients of one database, all closed at the end; named so that policies can mean them alone.

    They log in as ``web``, which is no superuser.
    """

    def __init__(self, database: Database, role: Role) -> None:
        self.database = database
        self.role = role
        self.clients: list[Client] = []

    def client(self, name: str = "web", *, superuser: bool = False, **options: Any) -> Client:
        role = None if superuser else options.pop("role", self.role)
        more = {key: options.pop(key) for key in ("options",) if key in options}
        client = Client(self.database.dsn(role=role, **options), name, **more)
        self.clients.append(client)
        return client

    def idle(self, name: str = "web", **options: Any) -> Client:
        client = self.client(name, **options)
        client.run("SELECT 'idle now'")
        return client

    def in_transaction(self, name: str = "web", **options: Any) -> Client:
        client = self.client(name, **options)
        client.run("BEGIN")
        client.run("SELECT 'forgotten'")
        return client

    def aborted(self, name: str = "web", **options: Any) -> Client:
        client = self.client(name, **options)
        client.run("BEGIN")
        with contextlib.suppress(psycopg.Error):
            client.run("SELECT 1/0")
        return client

    def active(self, name: str = "web", **options: Any) -> Client:
        client = self.client(name, **options)
        client.start("SELECT pg_sleep(300)")
        self.await_state(client, "active")
        return client

    def fastpath(self) -> Client:
        """In a fast-path call, and it has never run a query."""
        client = FastPath(self.database.dsn(role=self.role), "web")
        self.clients.append(client)
        client.start()
        self.await_state(client, "fastpath function call")
        return client

    def holder(self, lock: int, name: str = "web", **options: Any) -> Client:
        """In a transaction, and holds an advisory lock."""
        client = self.client(name, **options)
        client.run("BEGIN")
        client.run(f"SELECT pg_advisory_xact_lock({lock})")
        return client

    def waiter(self, lock: int, name: str = "web", *, holds: int = 0, **options: Any) -> Client:
        """Waits for an advisory lock, and may hold another one."""
        client = self.client(name, **options)
        client.run("BEGIN")
        if holds:
            client.run(f"SELECT pg_advisory_xact_lock({holds})")
        client.start(f"SELECT pg_advisory_xact_lock({lock})")
        self.await_state(client, "active", wait="Lock")
        return client

    def await_state(self, client: Client, state: str, wait: str | None = None) -> None:
        query = (
            f"SELECT FROM pg_stat_activity WHERE pid = {client.pid} AND state = '{state}'"
            + (f" AND wait_event_type = '{wait}'" if wait else "")
            + (f" AND EXISTS (SELECT FROM pg_locks WHERE pid = {client.pid} AND NOT granted)"
               if wait == "Lock" else "")
        )  # fmt: skip
        with self.database.connect() as connection:
            until(lambda: connection.execute(query.encode()).fetchall())

    def close(self) -> None:
        """Close all, and wait until the server knows: the next test starts in an empty room."""
        for client in self.clients:
            client.close()
        pids = [client.pid for client in self.clients]
        query = "SELECT FROM pg_stat_activity WHERE pid = ANY(%s) AND datname = %s"
        with self.database.server.connect() as connection:
            asked = [pids, self.database.name]
            until(lambda: not connection.execute(query, asked).fetchall())
