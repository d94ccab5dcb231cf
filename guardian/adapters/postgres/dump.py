"""pg_dump and pg_dumpall as streams of bytes, and the meaning of what they print when they fail."""

from __future__ import annotations

import array
import contextlib
import fcntl
import os
import re
import signal
import subprocess
import termios
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from guardian.adapters.postgres.connection import REFUSAL, ToolAccess
from guardian.errors import (
    ConnectionFailedError,
    DumpError,
    GuardianError,
    LockedError,
    PermissionDeniedError,
    VersionMismatchError,
)

_PIPE_BYTES = 1 << 20
_STDERR_BYTES = 64 * 1024
_GATHER_BYTES = 256 * 1024
_GATHER_STEPS = 16
_GATHER_STEP_SECONDS = 0.0005

_PERMISSION = re.compile(
    r"permission denied for ((?:large|materialized|foreign) \w+|\w+) (\S.*?)(?:$| DETAIL)",
    re.MULTILINE,
)
_PRIVILEGES = {"schema": "USAGE", "database": "CONNECT", "function": "EXECUTE"}
_GRANT_WORDS = {"view": "TABLE", "materialized view": "TABLE", "foreign table": "TABLE"}
_ROW_SECURITY = re.compile(r"affected by row-level security policy for table (\S+)")
_VERSION = re.compile(r"server version: \S+.*?pg_dump\w* version: \S+|server version mismatch")
_LOCK = re.compile(r"due to lock timeout|due to statement timeout[\s\S]*LOCK TABLE|deadlock det")
_CONNECTION = re.compile(
    r"connection to server|server closed the connection|terminating connection|"
    r"could not connect|SSL connection has been closed|SSL error|the database system is|"
    r"could not (?:send|receive) data|no connection to the server|lost synchronization|"
    r"remaining connection slots|too many clients"
)
_LOCK_TABLE_FULL = re.compile(r"out of shared memory|max_locks_per_transaction")
_CHANGED = re.compile(
    r"cache lookup failed|could not find|does not exist|concurrently|could not open relation"
)
_PREFIX = re.compile(r"^pg_dump(?:all)?: (?:error: |detail: |hint: |warning: )?")


class ToolStream:
    """The standard output of a running tool, in big blocks."""

    def __init__(
        self, tool: str, process: subprocess.Popen[bytes], scrub: Callable[[str], str]
    ) -> None:
        assert process.stdout is not None
        self._tool = tool
        self._process = process
        self._scrub = scrub
        self._descriptor = process.stdout.fileno()
        self._stderr = bytearray()
        self._cancelled = False
        self._listener = threading.Thread(target=self._listen, name=f"{tool} stderr", daemon=True)
        self._listener.start()

    def read(self, size: int = -1, /) -> bytes:
        """At most ``size`` bytes, at least one until the end."""
        self._gather()
        return os.read(self._descriptor, size if size > 0 else _PIPE_BYTES)

    def _gather(self) -> None:
        """Let the pipe fill a little, or a short while pass.

        pg_dump writes 4 KiB at a time; reading each at once costs both sides a switch of context
        per write. The pipe is larger than what we wait for, so the tool never waits for us.
        """
        waiting = array.array("i", [0])
        for _ in range(_GATHER_STEPS):
            fcntl.ioctl(self._descriptor, termios.FIONREAD, waiting)
            if waiting[0] >= _GATHER_BYTES:
                return
            time.sleep(_GATHER_STEP_SECONDS)

    def finish(self) -> None:
        """Wait for the tool's end; raise what its status and words mean."""
        status = self._process.wait()
        self._listener.join()
        if status == 0 and not self._cancelled:
            return
        words = self._scrub(self._stderr.decode(errors="replace"))
        if self._cancelled:
            raise DumpError(f"{self._tool} was stopped", transient=True)
        if status < 0 and not words.strip():
            words = f"killed by {signal.Signals(-status).name}"
        raise tool_failure(self._tool, words)

    def cancel(self) -> None:
        """Kill the tool and all that it started."""
        if self._process.poll() is None:
            self._cancelled = True
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)

    def _listen(self) -> None:
        assert self._process.stderr is not None
        for line in self._process.stderr:
            self._stderr += line
            del self._stderr[:-_STDERR_BYTES]


@contextmanager
def running_tool(
    command: Sequence[str], access: ToolAccess, scrub: Callable[[str], str]
) -> Iterator[ToolStream]:
    """Start a tool in a session of its own (a terminal's Ctrl-C is for us alone to answer)."""
    tool = Path(command[0]).name
    try:
        process = subprocess.Popen(
            [*command, f"--dbname={access.conninfo}"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=dict(access.environ),
            pass_fds=access.pass_fds,
            start_new_session=True,
            bufsize=0,
        )
    except OSError as error:
        raise DumpError(f"{command[0]} cannot be started: {error.strerror}") from error
    assert process.stdout is not None
    if hasattr(fcntl, "F_SETPIPE_SZ"):  # Linux; an unprivileged user may be over its pipe quota
        with contextlib.suppress(OSError):
            fcntl.fcntl(process.stdout.fileno(), fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
    stream = ToolStream(tool, process, scrub)
    with process:
        try:
            yield stream
        finally:
            stream.cancel()


def tool_failure(tool: str, words: str) -> GuardianError:
    """What a tool's error output means. ``words`` must be free of secrets."""
    first = _first_line(words)
    if match := _PERMISSION.search(words):
        return _denied(tool, match[1], match[2].strip())
    if match := _ROW_SECURITY.search(words):
        return PermissionDeniedError(
            f"{tool}: row-level security hides rows of table {match[1].strip(chr(34))} from us",
            mend="ALTER ROLE … BYPASSRLS for the backup's role",
        )
    if versions := _VERSION.findall(words):
        return VersionMismatchError(
            f"{tool} is older than the server: {versions[-1]}",
            mend="install the postgresql-client package of the server's major",
        )
    if _LOCK_TABLE_FULL.search(words):
        return DumpError(
            f"{tool}: the server's lock table is full: {first}",
            mend="raise max_locks_per_transaction on the server",
        )
    if _LOCK.search(words):
        return LockedError(
            f"{tool} waited too long for a table's lock: {first}",
            mend="back up when no DDL is running",
        )
    if _CONNECTION.search(words):
        refused = REFUSAL.search(words) is not None
        return ConnectionFailedError(f"{tool} lost the server: {first}", transient=not refused)
    return DumpError(f"{tool} failed: {first}", transient=bool(_CHANGED.search(words)))


def _denied(tool: str, kind: str, name: str) -> PermissionDeniedError:
    privilege = _PRIVILEGES.get(kind, "SELECT")
    plain = re.fullmatch(r"[a-z_][a-z0-9_]*|\d+", name, re.ASCII) is not None
    quoted = name if plain else '"' + name.replace('"', '""') + '"'
    mend = (
        f"GRANT {privilege} ON {_GRANT_WORDS.get(kind, kind).upper()} {quoted} to the backup's role"
    )
    if kind not in {"database", "function", "large object"}:
        mend += ", or GRANT pg_read_all_data"
    return PermissionDeniedError(f"{tool}: no permission to read {kind} {name}", mend=mend)


def _first_line(words: str) -> str:
    """The first line that says something; pg_dump begins with the one that matters."""
    lines = [_PREFIX.sub("", line.strip()) for line in words.splitlines() if line.strip()]
    errors = [line for line in lines if "ERROR" in line or "FATAL" in line or "failed" in line]
    return (errors or lines or ["it said nothing"])[0][:400]
