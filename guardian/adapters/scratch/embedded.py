"""A PostgreSQL server of our own, made for a drill, the demo or a test and thrown away after.

It listens on a socket in a private folder, steps down from root, and dies with us: a small
watchdog holds the other end of a pipe and stops the server when this process ends in any way. What
is left on disk then, :func:`guardian.adapters.scratch.folder.sweep_strays` removes.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping
from enum import Enum
from pathlib import Path
from types import TracebackType
from typing import Self

from psycopg.conninfo import make_conninfo

from guardian.adapters.scratch.cage import SYSTEM, Cage
from guardian.adapters.scratch.cluster import SCRATCH_SETTINGS, ClusterOptions, quoted
from guardian.adapters.scratch.folder import ScratchFolder, set_mode
from guardian.adapters.scratch.stepdown import Runner, choose_runner, reachable_bindir
from guardian.adapters.scratch.template import Templates
from guardian.adapters.scratch.watchdog import Watchdog
from guardian.errors import DiskFullError, ScratchError
from guardian.units import format_size

_INITDB_TIMEOUT_SECONDS = 300.0
_PORT_TRIES = 10
_LOG_TAIL_LINES = 5
_MIN_SHARED_MEMORY_BYTES = 256 << 20
_FULL = {errno.ENOSPC, errno.EDQUOT}


class Shutdown(Enum):
    """How to stop: see ``pg_ctl stop --mode``. Each value is the signal that asks for it."""

    FAST = signal.SIGINT
    """Roll back and disconnect everyone, write a checkpoint."""
    IMMEDIATE = signal.SIGQUIT
    """Drop everything now; the next start recovers from the log."""


class EmbeddedServer:
    """A throw-away server: ``with EmbeddedServer(bindir) as server: server.dsn("postgres")``.

    Args:
        bindir: PostgreSQL's programs, from ``tools.choose_server``.
        directory: where to make its folder; default the system's for temporary files.
        settings: for postgresql.conf, on top of nothing: pass SCRATCH_SETTINGS and yours.
        cluster: encoding, locale and the like.
        tcp: also listen on 127.0.0.1, at a free port; else on the socket only.
        needed_bytes: room that must be free in ``directory``.
        start_seconds: how long a start may take.
        caged: keep the server from all of the host but its own folder (see ``cage.py``); not with
            ``tcp``.
        templates: where fresh clusters are kept to be copied, None to run initdb each time. All
            servers made from one template have the same system identifier.

    All methods raise ScratchError, or DiskFullError when there is no room. Not for use by several
    threads at once.
    """

    def __init__(
        self,
        bindir: Path,
        *,
        directory: Path | None = None,
        settings: Mapping[str, str] = SCRATCH_SETTINGS,
        cluster: ClusterOptions | None = None,
        tcp: bool = False,
        needed_bytes: int = 0,
        start_seconds: float = 60.0,
        templates: Path | None = None,
        caged: bool = False,
    ) -> None:
        self._wanted_bindir = bindir
        self._directory = directory
        self._settings = dict(settings)
        self._cluster = cluster or ClusterOptions()
        self._tcp = tcp
        self._caged = caged
        self._needed_bytes = needed_bytes
        self._start_seconds = start_seconds
        self._templates = None if templates is None else Templates(templates)
        self._template: Path | None = None
        self._folder: ScratchFolder | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._watchdog: Watchdog | None = None
        self._port: int | None = None
        self._major = 0
        self._bindir = bindir
        self._runner: Runner | None = None

    def __enter__(self) -> Self:
        try:
            self.create()
            self.start()
        except BaseException:  # also Ctrl-C: nothing stays behind
            self.destroy()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.destroy()

    # --- what it is ---------------------------------------------------------------------------

    @property
    def bindir(self) -> Path:
        """The programs that run: those given, or a copy that the runner can reach."""
        return self._bindir

    @property
    def major(self) -> int:
        """The server's major version, such as 16; 0 before :meth:`create`."""
        return self._major

    @property
    def superuser(self) -> str:
        """The name of the superuser; needs no password on the socket."""
        return self._cluster.superuser

    @property
    def runner(self) -> Runner:
        """Who the server runs as."""
        if self._runner is None:
            self._runner = choose_runner()
        return self._runner

    @property
    def path(self) -> Path:
        """The folder that holds everything of this server."""
        return self._made().path

    @property
    def data_dir(self) -> Path:
        """The data folder, owned by the runner."""
        return self._made().data

    @property
    def log_path(self) -> Path:
        """The server's log."""
        return self._made().path / "server.log"

    @property
    def socket_dir(self) -> Path:
        """The folder of the socket: ``host`` in a connection string."""
        return self._made().socket

    @property
    def port(self) -> int:
        """The port; also part of the socket's name. Stays the same over restarts."""
        if self._port is None:
            raise ScratchError("the throw-away server was never started")
        return self._port

    @property
    def pid(self) -> int | None:
        """The postmaster's process, None while it is stopped."""
        return self._process.pid if self.is_running and self._process is not None else None

    @property
    def is_running(self) -> bool:
        """Whether the postmaster lives."""
        return self._process is not None and self._process.poll() is None

    def dsn(self, dbname: str = "postgres", *, user: str | None = None) -> str:
        """A connection string for the socket, by default for the superuser. Has no password."""
        return make_conninfo(
            host=str(self.socket_dir), port=self.port, user=user or self.superuser, dbname=dbname
        )

    # --- life -----------------------------------------------------------------------------------

    def create(self) -> None:
        """Check the room, make the folder, run initdb and write the settings."""
        if self._folder is not None:
            return
        with self._speaking():
            self._bindir = reachable_bindir(self._wanted_bindir, self.runner)
            self._major = self._ask_major()
            self._folder = ScratchFolder(self._directory, self.runner)
            self._require_room(self._folder.path)
            if self._templates is None:
                self._initdb()
            else:
                self._template = self._templates.fill(self.data_dir, self._key(), self._initdb)
            self._write_settings()

    def configure(self, settings: Mapping[str, str]) -> None:
        """More settings, over those that were given; for a server that was not started yet."""
        self._settings.update(settings)
        with self._speaking():
            self._write_settings()

    def start(self) -> None:
        """Start the server and return when it takes connections."""
        if self.is_running:
            return
        self._made()
        tries = _PORT_TRIES if self._tcp and self._port is None else 1
        for attempt in range(1, tries + 1):
            try:
                with self._speaking():
                    port = self._port or (_free_port() if self._tcp else 5432)
                    self._launch(port)
            except _PortTakenError:
                if attempt == tries:
                    raise
            else:
                self._port = port
                return

    def stop(self, how: Shutdown = Shutdown.FAST, *, seconds: float = 30.0) -> None:
        """Stop the server and keep its data. Harsher after so many seconds; fine when stopped."""
        if self._process is not None:
            for step in (how, Shutdown.IMMEDIATE):
                self._process.send_signal(step.value)  # does nothing to one that has ended
                with contextlib.suppress(subprocess.TimeoutExpired):
                    self._process.wait(seconds)
                    break
            else:
                self._process.kill()
                self._process.wait()
            self._process = None
        self._dismiss_watchdog()

    def destroy(self) -> None:
        """Stop the server and remove its folder, whatever state it is in. May be called twice."""
        try:
            self.stop(Shutdown.IMMEDIATE, seconds=10.0)
        finally:
            if self._folder is not None:
                self._folder.remove()
                self._folder = None

    def log_tail(self, lines: int = _LOG_TAIL_LINES) -> str:
        """The last lines of the server's log, on one line."""
        try:
            text = self.log_path.read_text(errors="replace")
        except OSError:
            return "(no log)"
        return " / ".join(line.strip() for line in text.splitlines()[-lines:]) or "(empty log)"

    def _dismiss_watchdog(self) -> None:
        if self._watchdog is not None:
            self._watchdog.dismiss()
            self._watchdog = None

    # --- the steps ------------------------------------------------------------------------------

    @contextlib.contextmanager
    def _speaking(self) -> Iterator[None]:
        """Turn what the system refuses (a full disk, a bad one) into an error that tells it."""
        try:
            yield
        except OSError as error:
            why = (error.strerror or type(error).__name__).lower()
            kind = DiskFullError if error.errno in _FULL else ScratchError
            raise kind(
                f"the throw-away server cannot be made: {why}: {error.filename or 'its files'}",
                mend="make room there, or name a folder on another disk (verify.scratch_dir)",
            ) from error

    def _made(self) -> ScratchFolder:
        if self._folder is None:
            raise ScratchError("the throw-away server has not been created, or is destroyed")
        return self._folder

    def _ask_major(self) -> int:
        done = self.runner.run([self._bindir / "postgres", "--version"], 30.0)
        match = re.search(r"\(PostgreSQL\)\s+(\d+)", done.stdout)
        if match is None:
            raise ScratchError(f"{self._bindir / 'postgres'} does not tell its version")
        return int(match[1])

    def _require_room(self, folder: Path) -> None:
        free = shutil.disk_usage(folder).free
        if free < self._needed_bytes:
            raise DiskFullError(
                f"the throw-away server needs {format_size(self._needed_bytes)} in "
                f"{folder.parent}, where {format_size(free)} are free",
                mend="make room there, or name a folder on another disk",
            )

    def _key(self) -> str:
        """What makes one fresh cluster different from another."""
        build = (self._bindir / "postgres").stat()
        facts = (self._bindir, build.st_mtime_ns, build.st_size, self.runner, self._cluster)
        return repr((facts, self._cluster.arguments(self._major)))

    def _initdb(self) -> None:
        said = ""
        for arguments in self._cluster.arguments(self._major):
            done = self.runner.run(
                [
                    self._bindir / "initdb",
                    "--no-sync",
                    "--no-instructions",
                    *arguments,
                    "-D",
                    self.data_dir,
                ],
                _INITDB_TIMEOUT_SECONDS,
            )
            if done.returncode == 0:
                return
            said = done.stderr or done.stdout
            if "locale" not in said:
                break
        raise _start_error(f"initdb of PostgreSQL {self._major}", said)

    def _write_settings(self) -> None:
        settings = dict(self._settings)
        # A container's usual 64 MB break parallel index builds, and a cage has no /dev/shm: there
        # lies what belongs to other servers of the same user.
        if self._caged or _shared_memory_is_small():
            settings.setdefault("dynamic_shared_memory_type", "mmap")
        lines = [f"{name} = {quoted(value)}\n" for name, value in settings.items()]
        # We may be root, and the folder is the runner's, who may have put a link there.
        how = os.O_WRONLY | os.O_APPEND | os.O_NOFOLLOW | os.O_NONBLOCK
        with os.fdopen(
            os.open(self.data_dir / "postgresql.conf", how), "a", encoding="utf-8"
        ) as config:
            state = os.fstat(config.fileno())
            if state.st_uid != self.runner.uid or state.st_nlink != 1:
                raise ScratchError(f"{self.data_dir}/postgresql.conf is not what initdb made")
            config.writelines(["\n# guardian\n", *lines])

    def _launch(self, port: int) -> None:
        self._dismiss_watchdog()
        self._watchdog = Watchdog(self.runner, self.data_dir)
        if self._caged:
            set_mode(self.socket_dir, 0o700)
        with self.log_path.open("ab") as log:
            self.log_path.chmod(0o600)
            begins = log.tell()
            self._process = self.runner.popen(
                [
                    str(self._bindir / "postgres"),
                    *("-D", str(self.data_dir)),
                    *("-p", str(port)),
                    *("-c", f"listen_addresses={'127.0.0.1' if self._tcp else ''}"),
                    *("-c", f"unix_socket_directories={self.socket_dir}"),
                ],
                output=log,
                cage=self._cage() if self._caged else None,
            )
        try:
            self._await_ready()
            if self._caged:  # we go where its socket leads: nobody puts a link in its place now
                set_mode(self.socket_dir, 0o500)
        except ScratchError as error:
            self.stop(Shutdown.IMMEDIATE, seconds=10.0)
            if self._templates is not None and self._template is not None:
                self._templates.forget(self._template)
            with self.log_path.open("rb") as log:
                log.seek(begins)
                if b"Address already in use" in log.read():
                    raise _PortTakenError(error.message, mend=error.mend) from error
            raise
        except BaseException:  # Ctrl-C while it starts
            self.stop(Shutdown.IMMEDIATE, seconds=10.0)
            raise

    def _cage(self) -> Cage:
        prefix = self._bindir.resolve().parent
        package = prefix.parent  # a wheel keeps its libraries beside it
        libraries = (self._bindir.parent, prefix, package.with_name(f"{package.name}.libs"))
        return Cage(
            writable=(str(self.data_dir), str(self.socket_dir)),
            readable=(*SYSTEM, *map(str, libraries)),
        )

    def _await_ready(self) -> None:
        """Wait for ``ready`` in postmaster.pid, as pg_ctl does: it needs no connection."""
        process = self._process
        if process is None:
            raise AssertionError
        deadline = time.monotonic() + self._start_seconds
        while time.monotonic() < deadline:
            if process.poll() is not None:
                raise _start_error(f"PostgreSQL {self._major}", self.log_tail())
            with contextlib.suppress(OSError):
                lines = (self.data_dir / "postmaster.pid").read_text().splitlines()
                if len(lines) > 7 and lines[0] == str(process.pid) and lines[7].strip() == "ready":
                    return
            time.sleep(0.02)
        raise ScratchError(
            f"PostgreSQL {self._major} did not start within {self._start_seconds:g} s: "
            f"{self.log_tail()}"
        )


class _PortTakenError(ScratchError):
    """Somebody took the port between our choice and the server's bind."""


def _start_error(what: str, said: str) -> ScratchError | DiskFullError:
    said = " ".join(said.split())[-600:]
    if "No space left on device" in said:
        return DiskFullError(
            f"{what} found the disk full: {said}",
            mend="make room, or name a folder on another disk",
        )
    if "ICU is not supported" in said:
        mend = "install PostgreSQL's own packages: the wheel's build has no ICU"
    elif "locale" in said:
        mend = "install that locale on this host (locale -a lists those it has)"
    else:
        mend = None
    return ScratchError(f"{what} failed: {said}", mend=mend)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _shared_memory_is_small() -> bool:
    try:
        return shutil.disk_usage("/dev/shm").free < _MIN_SHARED_MEMORY_BYTES  # nosec B108 # noqa: S108 - only measured
    except OSError:
        return False
