"""Run PostgreSQL's server programs as somebody other than root.

``postgres`` and ``initdb`` refuse to run as root. Where guardian is root, they run as the user
``postgres`` if there is one, else ``nobody``; where it is not, they run as whoever we are. The
programs may lie where that user cannot go (a virtual environment under ``/root``): then they are
copied once to a place that only root can write and everyone can read.
"""

from __future__ import annotations

import hashlib
import logging
import os
import pwd
import shutil
import stat
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, TypedDict

from guardian.adapters.scratch.cage import Cage
from guardian.adapters.scratch.making import folder_in_the_making
from guardian.errors import ScratchError

logger = logging.getLogger(__name__)

CACHE = Path("/var/cache/guardian")
"""Where root keeps readable copies of programs; systemd's ``$CACHE_DIRECTORY`` comes before it."""

_CANDIDATES = ("postgres", "nobody")
_PROBE_TIMEOUT_SECONDS = 30.0


class _Identity(TypedDict, total=False):
    """Arguments of :class:`subprocess.Popen` that change who a child is."""

    user: int
    group: int
    extra_groups: list[int]


@dataclass(frozen=True, slots=True)
class Runner:
    """Who server programs run as. ``steps_down`` is false where that is simply us."""

    name: str
    uid: int
    gid: int
    steps_down: bool

    @property
    def identity(self) -> _Identity:
        """What to pass to subprocess: empty where nothing changes."""
        if not self.steps_down:
            return {}
        return {"user": self.uid, "group": self.gid, "extra_groups": []}

    def own(self, path: Path) -> None:
        """Give a file or folder that we made to this user. Never follows a symbolic link."""
        if self.steps_down:
            os.chown(path, self.uid, self.gid, follow_symlinks=False)

    def run(self, argv: Sequence[str | Path], timeout: float) -> subprocess.CompletedProcess[str]:
        """Run a program to its end and keep what it says.

        Raises:
            ScratchError: it could not be started, or took longer than ``timeout`` seconds.
        """
        try:
            return subprocess.run(
                argv,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                errors="replace",
                timeout=timeout,
                check=False,
                cwd="/",
                env=plain_environment(),
                umask=0o077,
                start_new_session=True,  # Ctrl-C is for us: we end what we started
                **self.identity,
            )
        except subprocess.TimeoutExpired as error:
            raise ScratchError(f"{argv[0]} did not end within {timeout:g} s") from error
        except (OSError, subprocess.SubprocessError) as error:
            raise self._cannot_run(argv[0], error) from error

    def popen(
        self,
        argv: Sequence[str | Path],
        *,
        stdin: int = subprocess.DEVNULL,
        output: IO[bytes] | int = subprocess.DEVNULL,
        cage: Cage | None = None,
    ) -> subprocess.Popen[bytes]:
        """Start a program, in a ``cage`` if one is given.

        ``output`` takes both what it prints and its errors.

        Raises:
            ScratchError: it could not be started.
        """
        identity = self.identity
        if cage is not None:  # steps down by itself: this user may not reach our interpreter
            argv, identity = self._caged(cage).around([str(word) for word in argv]), {}
        try:
            return subprocess.Popen(
                argv,
                stdin=stdin,
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd="/",
                env=plain_environment(),
                umask=0o077,
                start_new_session=True,
                **identity,
            )
        except (OSError, subprocess.SubprocessError) as error:
            raise self._cannot_run(argv[0], error) from error

    def _caged(self, cage: Cage) -> Cage:
        return replace(cage, uid=self.uid, gid=self.gid) if self.steps_down else cage

    def can_enter(self, folder: Path) -> bool:
        """Whether this user may go into a folder, and through every one above it."""
        return self.run(["test", "-x", folder], _PROBE_TIMEOUT_SECONDS).returncode == 0

    def _cannot_run(self, program: str | Path, error: Exception) -> ScratchError:
        mend = "let guardian change user (CAP_SETUID, CAP_SETGID), or run it as an ordinary user"
        return ScratchError(
            f"{program} cannot be run as user {self.name}: {error}",
            mend=mend if isinstance(error, PermissionError) and self.steps_down else None,
        )


def choose_runner(
    uid: int | None = None, known: Mapping[str, tuple[int, int]] | None = None
) -> Runner:
    """Who server programs run as on this host.

    Args:
        uid: ours; default the effective one.
        known: user names and their (uid, gid), instead of the system's.

    Raises:
        ScratchError: we are root, and there is neither ``postgres`` nor ``nobody``.
    """
    ours = os.geteuid() if uid is None else uid
    if ours != 0:
        return Runner(_name_of(ours), ours, os.getegid(), steps_down=False)
    for name in _CANDIDATES:
        entry = _look_up(name) if known is None else known.get(name)
        if entry is not None and entry[0] != 0:
            return Runner(name, *entry, steps_down=True)
    raise ScratchError(
        "PostgreSQL refuses to run as root, and there is neither a user postgres nor a nobody",
        mend="useradd --system postgres",
    )


def plain_environment() -> dict[str, str]:
    """An environment for server programs: nothing of ours but the search paths, messages in C.

    Ours may hold passwords (``PGPASSWORD``, cloud keys), and other ``PG*`` variables would change
    what the programs do.
    """
    kept = {
        name: os.environ[name]
        for name in ("PATH", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH")
        if name in os.environ
    }
    return {"PATH": os.defpath, **kept, "LC_ALL": "C"}


def reachable_bindir(bindir: Path, runner: Runner, *, cache: Path | None = None) -> Path:
    """A folder with the same programs that ``runner`` can run: ``bindir`` itself where it can.

    Args:
        bindir: holds ``postgres``; its parent must hold ``lib`` and ``share`` if a copy is needed.
        runner: who runs them.
        cache: where to put the copy; default ``$CACHE_DIRECTORY``, else ``/var/cache/guardian``.

    Raises:
        ScratchError: the programs do not run, and a copy is impossible or does not help.
    """
    first = _probe(bindir, runner)
    if first is None:
        return bindir
    prefix = bindir.parent
    if not runner.steps_down or not all((prefix / part).is_dir() for part in ("lib", "share")):
        raise ScratchError(
            f"PostgreSQL's programs in {bindir} cannot be run as user {runner.name}: {first}",
            mend=f"make the folders above readable for everyone (chmod o+rx), or install "
            f"PostgreSQL's packages; needed by user {runner.name}",
        )
    copy = _copied(prefix, _default_cache() if cache is None else cache) / bindir.name
    if (second := _probe(copy, runner)) is not None:
        raise ScratchError(
            f"a copy of PostgreSQL's programs in {copy} cannot be run as user {runner.name}: "
            f"{second}",
            mend="set CACHE_DIRECTORY to a folder that everyone may read and run programs from",
        )
    return copy


def _probe(bindir: Path, runner: Runner) -> str | None:
    """Why ``runner`` cannot run the programs there, None when it can."""
    for program in ("postgres", "initdb"):  # initdb needs libpq besides
        try:
            done = runner.run([bindir / program, "--version"], _PROBE_TIMEOUT_SECONDS)
        except ScratchError as error:
            return str(error.__cause__ or error)
        if done.returncode != 0:
            return " ".join(done.stderr.split())[:300]
    return None


def _default_cache() -> Path:
    given = os.environ.get("CACHE_DIRECTORY", "").split(":")[0]
    return Path(given) if given else CACHE


def _copied(prefix: Path, cache: Path) -> Path:
    """A copy of the installation under ``cache``, made once for each state of the original.

    A wheel keeps libraries beside its package, in a folder that its programs find by a relative
    path: so the copy has the same folders, two floors up.

    It is made under another name and renamed when whole, so that a copy that is there is complete.
    Only root can write there: programs that a less privileged user could replace would be run by
    the next drill.
    """
    state = (prefix / "bin" / "postgres").stat()
    key = f"{prefix.resolve()}\0{state.st_mtime_ns}\0{state.st_size}".encode()
    try:
        if not cache.exists():
            cache.mkdir(parents=True, exist_ok=True)
            cache.chmod(0o755)  # whatever our umask
        _require_roots_own(cache)
        target = cache / f"postgresql-{hashlib.sha256(key).hexdigest()[:16]}"
        if not target.exists():
            _copy(prefix, target)
        _require_roots_own(target)
    except OSError as error:
        raise ScratchError(
            f"PostgreSQL's programs in {prefix} could not be copied to {cache}: {error}",
            mend="set CACHE_DIRECTORY to a folder of root's with 100 MB of room",
        ) from error
    return target / prefix.parent.name / prefix.name


def _copy(prefix: Path, target: Path) -> None:
    logger.info("copying PostgreSQL's programs from %s to %s, once", prefix, target)
    with folder_in_the_making(target.parent, ".unfinished-") as unfinished:
        package = prefix.parent
        parts = [prefix / part for part in ("bin", "lib", "share")]
        if (libraries := package.with_name(f"{package.name}.libs")).is_dir():
            parts.append(libraries)
        for part in parts:
            shutil.copytree(
                part,
                unfinished / part.relative_to(package.parent),
                symlinks=True,
                ignore=shutil.ignore_patterns("*.a"),
            )
        for path in (unfinished, *unfinished.rglob("*")):
            if not path.is_symlink():
                mode = stat.S_IMODE(path.stat().st_mode)
                runs = path.is_dir() or mode & 0o100
                path.chmod(0o755 if runs else 0o644)
        try:
            unfinished.rename(target)
        except OSError:
            if not target.exists():  # else another process was faster with the same copy
                raise


def _require_roots_own(folder: Path) -> None:
    """Raise unless it is a real folder that nobody but us (root) can write to."""
    state = folder.lstat()
    if not stat.S_ISDIR(state.st_mode):
        raise NotADirectoryError(f"{folder} is not a folder")
    if state.st_uid != os.geteuid() or state.st_mode & 0o022:
        raise PermissionError(f"{folder} can be written to by others than root")


def _look_up(name: str) -> tuple[int, int] | None:
    try:
        entry = pwd.getpwnam(name)
    except KeyError:
        return None
    return entry.pw_uid, entry.pw_gid


def _name_of(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:  # usual in containers that run under a bare number
        return str(uid)
