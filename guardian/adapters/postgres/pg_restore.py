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
from guardian.adapters.postgres.tools import plain_environment
from guardian.errors import (
    ConnectionFailedError,
    DiskFullError,
    GuardianError,
    InterruptedRunError,
    UnrestorableError,
    UnsuitableTargetError,
)
from guardian.ports import Readable
from guardian.verify.names import one_line

_PIPE_BYTES = 1 << 20
_BLOCK = 1 << 20
_STDERR_BYTES = 64 * 1024
_WORDS = 300

# Reads one line: its arrival means that the tool has been waited for. The pipe's end without one
# means that guardian is dead; then the tool and the workers that it forked are ended. There is no
# ``--``: the kill of dash, Debian's /bin/sh, would take it for a process.
_GUARD = 'if read -r _; then exit 0; fi; kill -KILL "-$1" 2>/dev/null'

_LACKS = re.compile(
    r'role "?.*"? does not exist|extension ".*" is not available|'
    r"could not open extension control file|must be loaded via .?shared_preload_libraries|"
    r"could not access file|could not load library|could not create locale|no locale|"
    r"could not open collator|is not supported by this build|"
    r"ICU is not supported|compiled without|was not built with|"
    r'collation ".*" for encoding|tablespace ".*" does not exist|out of (?:shared )?memory|'
    r"could not resize shared memory|could not fork|"
    r"max_locks_per_transaction|permission denied|must be (?:superuser|owner|member|able to)|"
    r'unrecognized configuration parameter "transaction_timeout"|'
    r"security label provider|access method .* does not exist|"
    r"unsupported version|requires? superuser|deadlock detected|due to (?:lock|statement) timeout|"
    r"canceling statement"
)
_FULL = re.compile(r"No space left on device|disk full|could not extend file|Disk quota exceeded")
_AWAY = re.compile(
    r"server closed the connection|terminating connection|connection to server|"
    r"no connection to the server|the database system is|could not (?:receive|send) data|"
    r"SSL (?:connection|error|SYSCALL)|connection (?:is |has been |not )?(?:lost|closed|open)|"
    r"lost synchronization|\b(?:FATAL|PANIC):"
)
_ENTRY = re.compile(r"^pg_restore: from TOC entry \d+; \d+ \d+ (.+)", re.MULTILINE)
_SAID = re.compile(r"^pg_restore: (?:error|fatal): (.+)", re.MULTILINE)
_SEVERITY = re.compile(r"(?:ERROR|FATAL|PANIC):\s+(.+)")
# Messages that end with the value that a type's input refused, or begin with it. The value may
# hold quotes, and line breaks that cut it short.
_VALUE_LAST = re.compile(r': ".*', re.DOTALL)
_BYTES = re.compile(r"0x[0-9a-f]{2}(?: 0x[0-9a-f]{2})*")
_VALUE_FIRST = re.compile(r'^(value |numeric |)".*"(?= is (?:out of range|not a valid))', re.DOTALL)


class RestoreTool:
    """One run of pg_restore. ``output`` is its standard output where that was asked for."""

    def __init__(
        self,
        process: subprocess.Popen[bytes],
        scrub: Callable[[str], str],
        feed: Readable | None,
        *,
        to_the_end: bool = True,
    ) -> None:
        self._process = process
        self._scrub = scrub
        self._feed = feed
        self._to_the_end = to_the_end
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
            InterruptedRunError: it was cancelled.
            GuardianError: what the stream said, else what pg_restore's words mean.
        """
        while not (self._fed.wait(0.5) or self._cancelled):
            pass  # once it is cancelled, what feeds it may wait for a store that stalls
        while True:
            with contextlib.suppress(subprocess.TimeoutExpired):
                status = self._process.wait(0.5)
                break
        self._listener.join(10)
        if self._feed_error is not None:
            raise self._feed_error
        if self._cancelled:  # what it says now comes of that
            raise InterruptedRunError("the restore was stopped")
        if status < 0:
            raise UnsuitableTargetError(
                f"pg_restore was killed by {signal.Signals(-status).name}",
                mend="look for the out-of-memory killer in this host's log (dmesg)",
            )
        if status != 0:
            raise restore_failure(self._scrub(self._stderr.decode(errors="replace")))

    def cancel(self) -> None:
        """Kill it and all that it started; from any thread, many times."""
        self._cancelled = True
        if self._process.poll() is None:
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
                    if self._cancelled or not self._to_the_end:
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
        with self._process.stderr as lines:
            for line in lines:
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
    to_the_end: bool = True,
) -> Iterator[RestoreTool]:
    """Start pg_restore; leaving the block kills it if it still runs.

    It restores into the database of ``access``, or prints SQL when that is None. It reads ``feed``
    as its input, or the file ``head``; ``listed`` is the list of entries for ``--use-list``.
    The feed is read ``to_the_end``, which says that all of it was well, also when pg_restore has
    had enough before.
    """
    files = [one for one in (head, listed) if one is not None]
    command = [str(program), "--exit-on-error", *arguments]
    command += ["--no-password", f"--dbname={access.conninfo}"] if access else ["--file=-"]
    if listed is not None:
        command.append(f"--use-list={listed.path}")
    if head is not None:
        command.append(head.path)
    environ = dict(access.environ) if access else plain_environment()
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
    try:
        tool = RestoreTool(process, scrub, feed, to_the_end=to_the_end)
    except RuntimeError as error:  # the host has no thread: nobody would end it
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        for pipe in (process.stdin, process.stdout, process.stderr):
            if pipe is not None:
                pipe.close()
        raise ConnectionFailedError("no thread can be had to run pg_restore") from error
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(_guarded(process.pid))
        except BaseException:  # nobody would end it
            tool.cancel()
            _reap(process)
            raise
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
    try:
        guard = subprocess.Popen(
            ["/bin/sh", "-c", _GUARD, "guardian-guard", str(pid)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            env={"PATH": os.defpath},
        )
    except OSError as error:
        raise UnsuitableTargetError(f"/bin/sh cannot be started: {error.strerror}") from error
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
    found = _SAID.search(words)
    line = found[1] if found else _first_line(words)
    entry = _ENTRY.search(words, 0, found.start()) if found else None
    severity = _SEVERITY.search(line)
    return server_failure(
        severity[1] if severity else line, _about(entry[1]) if entry else None, whole=line
    )


def server_failure(said: str, about: str | None, *, whole: str | None = None) -> GuardianError:
    """The error that one sentence of the server means, while restoring ``about``.

    ``whole`` is the sentence with what was said before it, such as ``FATAL:``. Values of rows that
    the sentence quotes are left out.
    """
    told = without_values(said)
    text = " ".join((f"{about}: {told}" if about else told).split())[:_WORDS]
    text = one_line(text.encode("utf-8", "backslashreplace").decode())
    whole = whole or said
    if _FULL.search(whole):
        return DiskFullError(f"the server to restore to has no room left: {text}")
    if _AWAY.search(whole):
        return ConnectionFailedError(f"the server to restore to went away: {text}")
    if _LACKS.search(whole):
        return UnsuitableTargetError(f"the server to restore to cannot take this backup: {text}")
    return UnrestorableError(f"pg_restore reported an error: {text}")


def without_values(said: str) -> str:
    """A message of the server without the values it quotes: they are some row's."""
    said = _VALUE_FIRST.sub(r'\1"…"', said, count=1)
    return _BYTES.sub("…", _VALUE_LAST.sub(": …", said, count=1))


def _about(entry: str) -> str:
    """``TABLE orders mina`` as pg_restore names an entry, the owner left out."""
    words = entry.strip().split(" ")
    return " ".join(words[:-1]) if len(words) > 2 else entry.strip()


def _first_line(words: str) -> str:
    lines = [line.removeprefix("pg_restore: ") for line in words.split("\n") if line.strip()]
    return lines[0] if lines else "it said nothing"
