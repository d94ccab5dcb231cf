"""The points at which guardian touches the world, found by watching, and a fault at one of them.

Nothing in ``guardian`` knows of this. A process that :meth:`Points.install` was called in has an
audit hook and a few replaced entry points: each file opened, renamed, removed, written, synced or
read, each statement to SQLite and PostgreSQL, each HTTP request, each program started, each look at
the clock is a point. Its label says what is done to what, without what differs from run to run, and
the same label's times are counted: so ``("write ID/manifest.json", 1)`` is the same place each run.
"""

from __future__ import annotations

import errno
import os
import re
import signal
import socket
import sqlite3
import stat
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

Label = str
Point = tuple[Label, int]


class Fault:
    """What can happen at a point."""

    KILL = "kill"  # kill -9 of this process, before the deed
    STOP = "stop"  # SIGTERM, before the deed
    ERROR = "error"  # this deed fails: I/O error, refused connection, no more processes
    FULL = "full"  # the disk is full, from here to the end
    CUT = "cut"  # the connection breaks, before the deed
    LOST = "lost"  # the deed is done, and the connection breaks before the answer
    CHILD = "child"  # the program that was started is killed
    AHEAD = "ahead"  # the clock jumps two days ahead, for good
    BACK = "back"  # and two days back


WRITES = (Fault.KILL, Fault.STOP, Fault.ERROR, Fault.FULL)
READS = (Fault.ERROR,)
STATEMENTS = (Fault.KILL, Fault.STOP, Fault.CUT)
REQUESTS = (Fault.KILL, Fault.STOP, Fault.CUT, Fault.LOST)
PROGRAMS = (Fault.KILL, Fault.STOP, Fault.ERROR, Fault.CHILD)
CLOCKS = (Fault.AHEAD, Fault.BACK)
JUMP = timedelta(days=2)

_ELSEWHERE = ("/proc/", "/dev/", "/sys/", "/usr/", "/etc/", "/lib", sys.prefix, sys.base_prefix)
_CODE = (".py", ".pyc", ".so", ".mako", ".sql", ".pem", ".json.gz", "credentials", ".aws/config")
_ID = re.compile(r"\d{8}T\d{6}Z-[0-9a-f]{6}")
_TOKEN = re.compile(r"(?<![a-z])[0-9a-f]{6,}(?![a-z])|(?<=[-_])[a-z0-9_]{8}(?![a-z0-9_])|\d+")
_STATEMENT = re.compile(
    r"(INSERT INTO|UPDATE|DELETE FROM|CREATE TABLE|CREATE INDEX|ALTER TABLE|DROP TABLE)\s+\"?(\w+)"
)
_FROM = re.compile(r"\bFROM (\w+)")
_SQL_WRITES = ("INSERT", "UPDATE", "DELETE", "CREATE", "ALTER", "DROP", "BEGIN IMM", "COMMIT")


@dataclass(frozen=True)
class Strike:
    """One fault at one point. ``note`` is a file that appears when it strikes."""

    label: Label
    nth: int
    fault: str
    note: str


class Points:
    """Counts the points of this process, and strikes at one of them.

    Args:
        root: only files below it are looked at.
        strike: None only counts.
    """

    def __init__(self, root: Path, strike: Strike | None) -> None:
        self.seen: Counter[Label] = Counter()
        self.faults: dict[Label, tuple[str, ...]] = {}
        self._root = str(root.resolve())
        self._strike = strike
        self._struck = False
        self._full = False
        self._offset = timedelta(0)
        self._lock = threading.Lock()
        self._inside = threading.local()
        self._pid = os.getpid()
        self._real: dict[str, Any] = {}

    def install(self) -> None:
        """From now on every point counts. There is no way back, short of the process's end."""
        sys.addaudithook(self._hear)
        self._watch_descriptors()
        self._watch_sqlite()
        self._watch_postgres()
        self._watch_http()
        self._watch_programs()
        self._watch_clock()

    # --- a point ------------------------------------------------------------------------------

    def at(self, label: Label, faults: tuple[str, ...]) -> str | None:
        """A point is reached; the fault that the caller has to make, if any."""
        if os.getpid() != self._pid:
            return None
        with self._lock:
            self.seen[label] += 1
            self.faults[label] = faults
            strike = self._strike
            hit = strike is not None and (label, self.seen[label]) == (strike.label, strike.nth)
        if not hit or strike is None or self._struck:
            return Fault.FULL if self._full and Fault.FULL in faults else None
        self._struck = True
        self._quietly(lambda: Path(strike.note).touch())
        if strike.fault == Fault.KILL:
            os.kill(self._pid, signal.SIGKILL)
        if strike.fault == Fault.STOP:
            os.kill(self._pid, signal.SIGTERM)
            return None
        if strike.fault == Fault.FULL:
            self._full = True
        if strike.fault in CLOCKS:
            self._offset = JUMP if strike.fault == Fault.AHEAD else -JUMP
            return None
        return strike.fault

    def _quietly(self, deed: Callable[[], Any]) -> Any:
        """What we do ourselves is no point."""
        self._inside.here = True
        try:
            return deed()
        finally:
            self._inside.here = False

    # --- files --------------------------------------------------------------------------------

    def _hear(self, event: str, args: tuple[Any, ...]) -> None:
        if getattr(self._inside, "here", False) or os.getpid() != self._pid:
            return
        kind = _EVENTS.get(event)
        if kind is None or not args:
            return
        path = args[1] if event in {"os.rename", "os.link"} else args[0]
        name = self._name(path)
        if name is None:
            return
        faults: tuple[str, ...] = WRITES if kind != "read" else READS
        if event == "open":
            flags = args[2] if isinstance(args[2], int) else 0
            writes = flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
            kind, faults = ("make", WRITES) if writes else ("open", READS)
        if kind in {"remove", "rmdir", "chmod"}:  # a full disk lets these through
            faults = tuple(one for one in faults if one != Fault.FULL)
        self._fail_file(self.at(f"{kind} {name}", faults))

    def _name(self, path: Any) -> str | None:
        if not isinstance(path, str | bytes | os.PathLike):
            return None
        text = os.fsdecode(path)
        if text.startswith(self._root):
            text = text[len(self._root) :].lstrip("/")
        elif text.startswith("/") or not text or text == ".":
            return None
        if text.endswith(_CODE):
            return None
        return normal(text)

    @staticmethod
    def _fail_file(fault: str | None) -> None:
        if fault == Fault.ERROR:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        if fault == Fault.FULL:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def _watch_descriptors(self) -> None:
        for name, faults in {
            "write": WRITES,
            "pwrite": WRITES,
            "fsync": WRITES,
            "fdatasync": WRITES,
            "read": READS,
        }.items():
            self._real[name] = real = getattr(os, name)

            def watched(
                descriptor: int, *args: Any, _real: Any = real, _name=name, _faults=faults
            ) -> Any:
                if not getattr(self._inside, "here", False):
                    where = self._quietly(lambda: self._file_of(descriptor))
                    if where is not None:
                        self._fail_file(self.at(f"{_name} {where}", _faults))
                return _real(descriptor, *args)

            setattr(os, name, watched)

    def _file_of(self, descriptor: int) -> str | None:
        """The name of what a descriptor is open on, where that is a file or folder of ours."""
        if os.getpid() != self._pid:
            return None
        try:
            mode = os.fstat(descriptor).st_mode
            path = str(Path(f"/proc/self/fd/{descriptor}").readlink())
        except OSError:
            return None
        if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)) or not path.startswith(self._root):
            return None
        return self._name(path.removesuffix(" (deleted)"))

    # --- SQLite -------------------------------------------------------------------------------

    def _watch_sqlite(self) -> None:
        connection_kind = _watched_sqlite(self._say_sqlite)
        real = sqlite3.connect

        def connect(*args: Any, **named: Any) -> Any:
            return self._quietly(lambda: real(*args, **{"factory": connection_kind, **named}))

        sqlite3.connect = sqlite3.dbapi2.connect = connect

    def _say_sqlite(self, sql: str) -> None:
        label, writes = _sqlite_label(sql)
        fault = self.at(label, WRITES if writes else READS)
        if fault == Fault.ERROR:
            raise _sqlite_error("disk I/O error", sqlite3.SQLITE_IOERR)
        if fault == Fault.FULL:
            raise _sqlite_error("database or disk is full", sqlite3.SQLITE_FULL)

    # --- PostgreSQL ---------------------------------------------------------------------------

    def _watch_postgres(self) -> None:
        import psycopg

        def say(connection: Any, text: str) -> None:
            if self.at(text, STATEMENTS) == Fault.CUT:
                _shut(connection.fileno())

        for name in ("execute", "copy"):
            real = getattr(psycopg.Cursor, name)

            def watched(
                cursor: Any, query: Any, *args: Any, _real: Any = real, **named: Any
            ) -> Any:
                say(cursor.connection, f"sql {normal(_text(query, cursor.connection))[:60]}")
                return _real(cursor, query, *args, **named)

            setattr(psycopg.Cursor, name, watched)
        for name in ("commit", "rollback"):
            real = getattr(psycopg.Connection, name)

            def ended(connection: Any, _real: Any = real, _name: str = name) -> Any:
                say(connection, f"sql {_name}")
                return _real(connection)

            setattr(psycopg.Connection, name, ended)
        connecting = psycopg.Connection.connect.__func__  # type: ignore[attr-defined]

        def connect(kind: Any, *args: Any, **named: Any) -> Any:
            if self.at("connect to PostgreSQL", STATEMENTS) == Fault.CUT:
                raise psycopg.OperationalError("connection refused (a fault on purpose)")
            return connecting(kind, *args, **named)

        psycopg.Connection.connect = classmethod(connect)  # type: ignore[assignment]
        psycopg.connect = psycopg.Connection.connect

    # --- HTTP ---------------------------------------------------------------------------------

    def _watch_http(self) -> None:
        import botocore.httpsession
        import httpx
        from botocore.exceptions import ConnectionClosedError

        session = botocore.httpsession.URLLib3Session
        real_send = session.send

        def send(one: Any, request: Any) -> Any:
            where = request.url.split("://", 1)[-1].partition("/")[2]
            label = f"S3 {request.method} {normal(where)}"
            fault = self.at(label, REQUESTS)
            if fault == Fault.CUT:
                raise ConnectionClosedError(endpoint_url=request.url)
            answer = real_send(one, request)
            if fault == Fault.LOST:
                raise ConnectionClosedError(endpoint_url=request.url)
            return answer

        session.send = send  # type: ignore[assignment, method-assign]
        real_handle = httpx.HTTPTransport.handle_request

        def handle(transport: Any, request: httpx.Request) -> httpx.Response:
            fault = self.at(f"HTTP {request.method} {normal(request.url.path)}", REQUESTS)
            if fault == Fault.CUT:
                raise httpx.ConnectError("connection refused (a fault on purpose)", request=request)
            answer = real_handle(transport, request)
            if fault == Fault.LOST:
                answer.close()
                raise httpx.ReadError("connection reset (a fault on purpose)", request=request)
            return answer

        httpx.HTTPTransport.handle_request = handle  # type: ignore[assignment, method-assign]

    # --- programs and time --------------------------------------------------------------------

    def _watch_programs(self) -> None:
        real = subprocess.Popen.__init__

        def begin(process: Any, args: Any, *more: Any, **named: Any) -> None:
            words = [str(one) for one in args] if isinstance(args, list | tuple) else [str(args)]
            name = Path(words[0]).name
            if name.startswith("python"):
                name = " ".join([name, *words[1:3]])
            fault = self.at(f"start {normal(name)}", PROGRAMS)
            if fault == Fault.ERROR:
                raise OSError(errno.EAGAIN, os.strerror(errno.EAGAIN))
            real(process, args, *more, **named)
            if fault == Fault.CHILD:
                process.kill()

        subprocess.Popen.__init__ = begin  # type: ignore[assignment]

    def _watch_clock(self) -> None:
        from guardian.adapters.clock import SystemClock

        real = SystemClock.now

        def now(clock: SystemClock) -> Any:
            self.at("look at the clock", CLOCKS)
            return real(clock) + self._offset

        SystemClock.now = now  # type: ignore[assignment, method-assign]


_EVENTS = {
    "open": "open",
    "os.rename": "rename",
    "os.link": "link",
    "os.symlink": "symlink",
    "os.remove": "remove",
    "os.mkdir": "mkdir",
    "os.rmdir": "rmdir",
    "os.truncate": "truncate",
    "os.chmod": "chmod",
    "os.scandir": "read",
    "os.listdir": "read",
}


def normal(text: str) -> str:
    """A name without what differs from run to run."""
    return _TOKEN.sub("*", _ID.sub("ID", text))


def _watched_sqlite(say: Callable[[str], None]) -> type[sqlite3.Connection]:
    """Connections that say each statement before it is run."""

    class Cursor(sqlite3.Cursor):
        def execute(self, sql: str, *args: Any) -> Any:
            say(sql)
            return super().execute(sql, *args)

        def executemany(self, sql: str, *args: Any) -> Any:
            say(sql)
            return super().executemany(sql, *args)

    class Connection(sqlite3.Connection):
        def cursor(self, *args: Any, **named: Any) -> Any:
            return super().cursor(Cursor)

        def execute(self, sql: str, *args: Any) -> Any:
            return self.cursor().execute(sql, *args)

        def commit(self) -> None:
            if self.in_transaction:
                say("COMMIT")
            super().commit()

    return Connection


def _sqlite_label(sql: str) -> tuple[str, bool]:
    head = " ".join(sql.split())
    writes = head.upper().startswith(_SQL_WRITES)
    if found := _STATEMENT.match(head):
        return f"catalog {found[1]} {found[2]}", writes
    if found := _FROM.search(head):
        return f"catalog SELECT {found[1]}", writes
    return f"catalog {head[:24]}", writes


def _sqlite_error(text: str, code: int) -> sqlite3.OperationalError:
    error = sqlite3.OperationalError(text)
    error.sqlite_errorcode = code
    return error


def _text(query: Any, connection: Any) -> str:
    if hasattr(query, "as_string"):
        with suppress(Exception):
            query = query.as_string(connection)
    text = query.decode(errors="replace") if isinstance(query, bytes) else str(query)
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("--")]
    return " ".join(" ".join(lines).split())


def _shut(descriptor: int) -> None:
    """Break a connection as a network does: both directions, at once."""
    with suppress(OSError), socket.socket(fileno=os.dup(descriptor)) as end:
        end.shutdown(socket.SHUT_RDWR)
