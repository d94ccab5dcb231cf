"""A private folder for one throw-away server, that a later run can tell from a live one.

The folder holds a marker file on which its process keeps a lock (``flock``). The kernel drops the
lock with the process, however it ends, so :func:`sweep_strays` knows a stray by getting it: no
process numbers that may be another's by now, also across containers and reboots.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import logging
import os
import shutil
import signal
import stat
import subprocess
import tempfile
import time
from collections import deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

from guardian.adapters.scratch.stepdown import Runner
from guardian.errors import ScratchError

logger = logging.getLogger(__name__)

PREFIX = "guardian-pg-"
MARKER = "guardian-scratch.json"

_SOCKET_PREFIX = "guardian-s-"
_SOCKET_NAME = "/.s.PGSQL.65535"
_SOCKET_LIMIT = 103  # bytes in sun_path without its NUL: 107 on Linux, 103 on macOS and the BSDs
_YOUNG_SECONDS = 600.0  # a folder without a valid marker may be in the making for so long
_LARGE_BYTES = 64 << 20
_REMOVERS = 4
_DYING_SECONDS = 15.0  # the postmaster gives its children 5 s after SIGQUIT, then kills them


class ScratchFolder:
    """A fresh folder under ``parent``: ``data`` and ``socket`` are the runner's, the rest ours.

    Others can enter neither: both are 0700. So a server that trusts whoever reaches its socket
    trusts only the runner, and root.

    Raises:
        ScratchError: nothing can be made there, or the runner could not reach it.
    """

    def __init__(self, parent: Path | None, runner: Runner) -> None:
        parent = Path(tempfile.gettempdir()) if parent is None else parent
        self._lock: int | None = None
        self._others: list[Path] = []
        try:
            self.path = Path(tempfile.mkdtemp(prefix=PREFIX, dir=parent.resolve()))
        except OSError as error:
            raise _unusable(parent, str(error)) from error
        try:
            self._claim()
            self.data = self._private("data", runner)
            self.socket = self._socket_folder(runner)
            self._require_enterable(runner)
        except OSError as error:
            self.remove()
            raise _unusable(parent, str(error)) from error
        except BaseException:
            self.remove()
            raise

    def remove(self) -> None:
        """Delete everything, then let go of the lock. May be called twice."""
        for path in (*self._others, self.path):
            _remove_tree(path)
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def _claim(self) -> None:
        self._lock = os.open(self.path / MARKER, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        fcntl.flock(self._lock, fcntl.LOCK_EX)
        self._describe()

    def _describe(self) -> None:
        """Write what a sweep must know. Only ever one short write, under the lock."""
        if self._lock is None:
            raise AssertionError
        facts = {"pid": os.getpid(), "others": [str(path) for path in self._others]}
        os.pwrite(self._lock, json.dumps(facts).encode(), 0)

    def _private(self, name: str, runner: Runner) -> Path:
        folder = self.path / name
        folder.mkdir(mode=0o700)
        runner.own(folder)
        return folder

    def _socket_folder(self, runner: Runner) -> Path:
        """Inside where the path is short enough for a socket, else one of its own in /tmp."""
        if fits_socket(self.path / "socket"):
            return self._private("socket", runner)
        runtime = os.environ.get("XDG_RUNTIME_DIR")
        if runner.steps_down or not runtime or not Path(runtime).is_dir():
            runtime = "/tmp"  # nosec B108 # noqa: S108 - mkdtemp makes it safe
        folder = Path(tempfile.mkdtemp(prefix=_SOCKET_PREFIX, dir=runtime))
        self._others.append(folder)
        self._describe()
        runner.own(folder)
        return folder

    def _require_enterable(self, runner: Runner) -> None:
        if runner.steps_down:
            self.path.chmod(0o711)
        if not (runner.can_enter(self.data) and runner.can_enter(self.socket)):
            raise PermissionError(f"user {runner.name} cannot go through it")


def set_mode(folder: Path, mode: int) -> None:
    """Change the mode of a folder, and of nothing that a link in its place leads to.

    Raises OSError.
    """
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        os.fchmod(handle, mode)
    finally:
        os.close(handle)


def fits_socket(folder: Path) -> bool:
    """Whether PostgreSQL and libpq can use a socket in this folder.

    The address of a socket is short, and both read the setting as a list with commas.
    """
    text = str(folder)
    return len(os.fsencode(text)) + len(_SOCKET_NAME) <= _SOCKET_LIMIT and not set(text) & set(
        ',"\\\n'
    )


def sweep_strays(parent: Path | None = None) -> tuple[Path, ...]:
    """Stop and remove the throw-away servers of processes that have died. Returns their folders.

    Args:
        parent: where servers' folders are made; default the system's folder for temporary files.

    Looks only at folders that are ours by name, owner and marker. What cannot be removed is
    logged and left for the next time.
    """
    parent = Path(tempfile.gettempdir()) if parent is None else parent
    # Resolve the parent only: a link that bears our name must not lead us elsewhere.
    return tuple(path for path in sorted(parent.resolve().glob(f"{PREFIX}*")) if _sweep(path))


def _sweep(path: Path) -> bool:
    try:
        state = path.lstat()
        if not stat.S_ISDIR(state.st_mode) or state.st_uid != os.geteuid():
            return False
        with _dead_owners_lock(path / MARKER) as facts:
            if facts is None:
                return False
            if not facts and time.time() - state.st_mtime < _YOUNG_SECONDS:
                return False  # its owner has not got round to writing the marker
            logger.info("removing %s, left behind by a process that died", path)
            _end_server(path / "data")
            for other in facts.get("others", []):
                _remove_socket_folder(Path(other))
            _remove_tree(path)
    except OSError as error:
        logger.warning("%s could not be examined: %s", path, error)
        return False
    return not path.exists()


@contextlib.contextmanager
def _dead_owners_lock(marker: Path) -> Iterator[dict[str, list[str]] | None]:
    """Hold the marker's lock and give its facts; None while its owner lives.

    Empty facts stand for a marker that is missing or was not written to its end.
    """
    try:
        handle = os.open(marker, os.O_RDWR | os.O_NOFOLLOW)
    except FileNotFoundError:
        yield {}
        return
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield None
            return
        try:
            yield json.loads(os.read(handle, 65536) or b"{}")
        except ValueError:
            yield {}
    finally:
        os.close(handle)


def _end_server(data: Path) -> None:
    """End a postmaster that outlived its owner, and wait for it."""
    pid = _postmaster(data)
    if pid is None:
        return
    for number in (signal.SIGQUIT, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)
        deadline = time.monotonic() + _DYING_SECONDS
        while time.monotonic() < deadline:
            if _postmaster(data) != pid:
                return
            time.sleep(0.05)
    logger.warning("the server of %s (pid %d) does not end", data, pid)


def _postmaster(data: Path) -> int | None:
    """The process that serves this folder, by the pid file and, as numbers are reused, its cwd."""
    try:
        # Its server may have put a pipe there, which would keep us waiting, or a link.
        how = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK
        with os.fdopen(os.open(data / "postmaster.pid", how), "rb") as file:
            pid = int(file.read(64).splitlines()[0])
    except (OSError, ValueError, IndexError):
        return None
    if Path("/proc/self/cwd").exists():
        try:
            return pid if Path(f"/proc/{pid}/cwd").readlink() == data else None
        except OSError:
            return None
    try:
        os.kill(pid, 0)
    except OSError:
        return None
    return pid


def _remove_socket_folder(path: Path) -> None:
    """Remove a folder that the marker names, if it is what we make and nothing else."""
    if path.name.startswith(_SOCKET_PREFIX) and not path.is_symlink():
        _remove_tree(path)


def _remove_tree(path: Path) -> None:
    """Remove a folder; once more when a dying process wrote into it meanwhile."""
    for folder in (path, path / "socket"):  # a caged server may not write to its socket's
        with contextlib.suppress(OSError):
            set_mode(folder, 0o700)
    _remove_large_files(path)
    for _ in range(2):
        # A server may have nested folders deeper than rmtree gets, by recursion.
        with contextlib.suppress(RecursionError):
            shutil.rmtree(path, ignore_errors=True)
        if not path.exists():
            return
    with contextlib.suppress(OSError):
        subprocess.run(["rm", "-rf", "--", str(path)], capture_output=True, check=False)
    if not path.exists():
        return
    logger.warning("%s could not be removed whole; the next run tries again", path)


def _remove_large_files(path: Path) -> None:
    """Several at once: what the kernel remembers of them is freed page by page.

    By folders that are held open, as rmtree does it: the server's user could put a link into the
    place of one, and we may be root.
    """
    with contextlib.suppress(OSError, RuntimeError), ThreadPoolExecutor(_REMOVERS) as pool:
        for _, _, names, folder in os.fwalk(path):
            large = [one for one in names if _size(one, folder) >= _LARGE_BYTES]
            if len(large) > 1:  # what stays is removed with the rest
                deque(pool.map(partial(os.unlink, dir_fd=folder), large), maxlen=0)


def _size(name: str, folder: int) -> int:
    return os.stat(name, dir_fd=folder, follow_symlinks=False).st_size


def _unusable(parent: Path, why: str) -> ScratchError:
    return ScratchError(
        f"no throw-away server can be made in {parent}: {why}",
        mend="name another folder, or make this one and those above it passable (chmod o+x)",
    )
