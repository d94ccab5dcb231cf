"""Running pg_restore, and what its words mean when it fails.

It runs in a session of its own, so that a terminal's Ctrl-C is for us alone to answer; a small
guard process ends it when we are killed. It sees no secret on its command line.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import signal
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from guardian.adapters.postgres.connection import ToolAccess
from guardian.errors import (
    ConnectionFailedError,
    DiskFullError,
    GuardianError,
    UnrestorableError,
    UnsuitableTargetError,
)
from guardian.ports import Readable

_PIPE_BYTES = 1 << 20
_BLOCK = 1 << 20
_STDERR_BYTES = 64 * 1024
_WORDS = 300

# Reads one line: its arrival means that the tool has been waited for. The pipe's end without one
# means that guardian is dead; then the tool and the workers that it forked are ended.
_GUARD = 'if read -r _; then exit 0; fi; kill -KILL -- "-$1" 2>/dev/null'

_LACKS = re.compile(
    r'role "?.*"? does not exist|extension ".*" is not available|'
    r"could not open extension control file|must be loaded via .?shared_preload_libraries|"
    r"could not access file|could not create locale|no locale|is not supported by this build|"
    r"ICU is not supported|compiled without|was not built with|"
    r'collation ".*" for encoding|tablespace ".*" does not exist|out of shared memory|'
    r"max_locks_per_transaction|permission denied|must be (?:superuser|owner|member|able to)|"
    r'unrecognized configuration parameter "transaction_timeout"|'
    r"security label provider|access method .* does not exist|"
    r"unsupported version|requires? superuser"
)
_FULL = re.compile(r"No space left on device|disk full|could not extend file")
_AWAY = re.compile(
    r"server closed the connection|terminating connection|connection to server|"
    r"no connection to the server|the database system is|could not receive data|SSL connection"
)
_ENTRY = re.compile(r"from TOC entry \d+; \d+ \d+ (.+)")
_ERROR = re.compile(r"(?:ERROR|FATAL|PANIC):\s+(.+)")


class RestoreTool:
    """One run of pg_restore. ``output`` is its standard output where that was asked for."""

    def __init__(
        self, process: subprocess.Popen[bytes], scrub: Callable[[str], str], feed: Readable | None
    ) -> None:
        self._process = process
        self._scrub = scrub
        self._feed = feed
        self._feed_error: BaseException | None = None
        self._fed = threading.Event()
        self._stderr = bytearray()
        self._cancelled = False
        self._listener = threading.Thread(target=self._listen, name="pg_restore", daemon=True)
        self._feeder = threading.Thread(target=self._send, name="pg_restore stdin", daemon=True)
        self._listener.start()
        if feed is None:
            self._fed.set()
        else:
            self._feeder.start()

    @property
    def output(self) -> IO[bytes]:
        """What it prints."""
        assert self._process.stdout is not None
        return self._process.stdout

    def finish(self) -> None:
        """Wait for the end of what is fed, then of the tool.

        Raises:
            GuardianError: what the stream said, else what pg_restore's words mean.
        """
        while not self._fed.wait(0.5):
            pass
        while True:
            with contextlib.suppress(subprocess.TimeoutExpired):
                status = self._process.wait(0.5)
                break
        self._listener.join(10)
        if self._feed_error is not None:
            raise self._feed_error
        if status != 0 or self._cancelled:
            words = self._scrub(self._stderr.decode(errors="replace"))
            if status < 0 and not words.strip():
                words = f"pg_restore was killed by {signal.Signals(-status).name}"
            raise restore_failure(words)

    def cancel(self) -> None:
        """Kill it and all that it started; from any thread, many times."""
        if self._process.poll() is None:
            self._cancelled = True
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)

    def _send(self) -> None:
        """Feed it; when it has had enough, read on: only the end tells that all is well."""
        assert self._process.stdin is not None
        assert self._feed is not None
        wanted = True
        try:
            while block := self._feed.read(_BLOCK):
                if not wanted:
                    continue
                try:
                    self._process.stdin.write(block)
                except OSError:  # EPIPE
                    wanted = False
                    if self._cancelled:
                        break
        except BaseException as error:  # noqa: BLE001 - carried over to finish()
            self._feed_error = error
            self.cancel()
        finally:
            with contextlib.suppress(OSError):
                self._process.stdin.close()
            self._fed.set()

    def _listen(self) -> None:
        assert self._process.stderr is not None
        for line in self._process.stderr:
            if len(self._stderr) < _STDERR_BYTES:  # the first error is the one that matters
                self._stderr += line


@contextmanager
def running_restore(
    program: Path,
    arguments: Sequence[str],
    access: ToolAccess | None,
    scrub: Callable[[str], str],
    *,
    feed: Readable | None = None,
    head: IntoFile | None = None,
    listed: IntoFile | None = None,
) -> Iterator[RestoreTool]:
    """Start pg_restore; leaving the block kills it if it still runs.

    It restores into the database of ``access``, or prints SQL when that is None. It reads ``feed``
    as its input, or the file ``head``; ``listed`` is the list of entries for ``--use-list``.
    """
    files = [one for one in (head, listed) if one is not None]
    command = [str(program), "--exit-on-error", *arguments]
    command += ["--no-password", f"--dbname={access.conninfo}"] if access else ["--file=-"]
    if listed is not None:
        command.append(f"--use-list={listed.path}")
    if head is not None:
        command.append(head.path)
    environ = dict(access.environ) if access else {**os.environ, "LC_ALL": "C"}
    try:
        process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE if feed is not None else subprocess.DEVNULL,
            stdout=subprocess.DEVNULL if access else subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environ,
            pass_fds=(*(access.pass_fds if access else ()), *(one.descriptor for one in files)),
            start_new_session=True,
            bufsize=0,
        )
    except OSError as error:
        raise UnsuitableTargetError(f"{program} cannot be started: {error.strerror}") from error
    for pipe in (process.stdin, process.stdout):
        if pipe is not None and hasattr(fcntl, "F_SETPIPE_SZ"):
            with contextlib.suppress(OSError):
                fcntl.fcntl(pipe.fileno(), fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
    tool = RestoreTool(process, scrub, feed)
    with _guarded(process.pid), contextlib.ExitStack() as stack:
        stack.callback(_reap, process)
        stack.callback(tool.cancel)
        yield tool


def _reap(process: subprocess.Popen[bytes]) -> None:
    process.wait()
    for pipe in (process.stdout,):
        if pipe is not None:
            pipe.close()


@contextmanager
def _guarded(pid: int) -> Iterator[None]:
    """Let the process group be killed when we are."""
    guard = subprocess.Popen(
        ["/bin/sh", "-c", _GUARD, "guardian-guard", str(pid)],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    assert guard.stdin is not None
    try:
        yield
    finally:
        with contextlib.suppress(OSError), guard.stdin as pipe:
            pipe.write(b"done\n")
        guard.wait()


class IntoFile:
    """Bytes as a file that a child process can open and seek in; in memory where that can be.

    It holds definitions of objects, no rows. Elsewhere than on Linux it is a file of mode 0600.
    """

    def __init__(self, name: str, data: bytes) -> None:
        self._temporary: IO[bytes] | None = None
        if hasattr(os, "memfd_create"):
            self.descriptor = os.memfd_create(name, 0)
            os.fchmod(self.descriptor, 0o600)
            self.path = f"/proc/self/fd/{self.descriptor}"
        else:
            self._temporary = tempfile.NamedTemporaryFile(prefix="guardian-")  # noqa: SIM115
            self.descriptor = self._temporary.fileno()
            self.path = self._temporary.name
        view = memoryview(data)
        while view:
            view = view[os.write(self.descriptor, view) :]

    def __enter__(self) -> IntoFile:
        """Itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Away with it."""
        if self._temporary is not None:
            self._temporary.close()
        else:
            os.close(self.descriptor)


def restore_failure(words: str) -> GuardianError:
    """What pg_restore's error output means. ``words`` must be free of secrets.

    The message carries the server's first error and the object it is about; no DETAIL and no
    CONTEXT, which quote rows.
    """
    found = _ERROR.search(words)
    said = found[1] if found else _first_line(words)
    entry = _ENTRY.search(words)
    return server_failure(said, _about(entry[1]) if entry else None)


def server_failure(said: str, about: str | None) -> GuardianError:
    """The error that one sentence of the server means, while restoring ``about``."""
    text = f"{about}: {said}" if about else said
    text = " ".join(text.split())[:_WORDS]
    if _FULL.search(said):
        return DiskFullError(f"the server to restore to has no room left: {text}")
    if _AWAY.search(said):
        return ConnectionFailedError(f"the server to restore to went away: {text}")
    if _LACKS.search(said):
        return UnsuitableTargetError(f"the server to restore to cannot take this backup: {text}")
    return UnrestorableError(f"pg_restore reported an error: {text}")


def _about(entry: str) -> str:
    """``TABLE orders mina`` as pg_restore names an entry, the owner left out."""
    words = entry.strip().split(" ")
    return " ".join(words[:-1]) if len(words) > 2 else entry.strip()


def _first_line(words: str) -> str:
    lines = [line.removeprefix("pg_restore: ") for line in words.split("\n") if line.strip()]
    return lines[0].removeprefix("error: ") if lines else "it said nothing"
