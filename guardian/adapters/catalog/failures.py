"""From what SQLAlchemy and its drivers raise to one line that names the catalog and the mend."""

from __future__ import annotations

import errno
import os
import sqlite3

from sqlalchemy.exc import StatementError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from guardian.errors import CatalogError, Cause, DamagedCatalogError

_REBUILD = "run `guardian catalog rebuild`, which puts it aside and reads the stores"

_SQLITE: dict[int, tuple[str, str, Cause, bool]] = {
    sqlite3.SQLITE_BUSY: (
        "is locked by another process for too long",
        "see who holds it with `fuser` and try again",
        Cause.LOCKED,
        True,
    ),
    sqlite3.SQLITE_READONLY: (
        "is read-only for us",
        "give the file and its folder to the user that guardian runs as",
        Cause.PERMISSION,
        False,
    ),
    sqlite3.SQLITE_CANTOPEN: (
        "cannot be opened",
        "give the file and its folder to the user that guardian runs as",
        Cause.PERMISSION,
        False,
    ),
    sqlite3.SQLITE_FULL: ("has no room left", "make room on its disk", Cause.DISK_FULL, False),
    sqlite3.SQLITE_IOERR: (
        "cannot be read or written: its disk fails",
        "see `dmesg`, and `df` for room and quota",
        Cause.UNKNOWN,
        False,
    ),
    sqlite3.SQLITE_CORRUPT: ("is damaged", _REBUILD, Cause.UNKNOWN, False),
    sqlite3.SQLITE_NOTADB: ("is not a catalog, or damaged", _REBUILD, Cause.UNKNOWN, False),
}
_SQLITE[sqlite3.SQLITE_LOCKED] = _SQLITE[sqlite3.SQLITE_BUSY]
_SQLITE[sqlite3.SQLITE_PERM] = _SQLITE[sqlite3.SQLITE_CANTOPEN]

_WRITE_FAILED = (
    "cannot grow: its disk is full, over a quota, or fails",
    "make room on its disk; see `df`, `quota` and `dmesg`",
    Cause.DISK_FULL,
    False,
)
"""SQLite says FULL for ENOSPC alone; a quota or a file size limit is IOERR_WRITE."""

_UNREACHABLE = ("cannot be reached", "see that the server runs and the `catalog` URL is right")
_POSTGRES: dict[str, tuple[str, str, Cause, bool]] = {
    # Classes (two characters) and codes of PostgreSQL's appendix A.
    "08": (*_UNREACHABLE, Cause.CONNECTION, True),
    "57P": (*_UNREACHABLE, Cause.CONNECTION, True),
    "28": (
        "refuses our login",
        "check user and password in the `catalog` URL, and pg_hba.conf",
        Cause.PERMISSION,
        False,
    ),
    "3D": ("does not exist", "create that database, or mend the URL", Cause.UNKNOWN, False),
    "42501": (
        "forbids it to our role",
        "GRANT USAGE, CREATE ON SCHEMA public, or give the role a database of its own",
        Cause.PERMISSION,
        False,
    ),
    "25006": (
        "is read-only (a standby?)",
        "let the `catalog` URL lead to the primary",
        Cause.PERMISSION,
        False,
    ),
    "53100": ("has no room left", "make room on its disk", Cause.DISK_FULL, False),
    "53": ("is out of resources", "try again later", Cause.UNKNOWN, True),
    "55P03": ("is locked for too long", "see pg_locks there, try again", Cause.LOCKED, True),
    "57014": ("was too slow and gave up", "see pg_stat_activity there", Cause.TIMEOUT, True),
    "40": ("had a conflict between transactions", "try again", Cause.LOCKED, True),
    "XX": ("is damaged", "see the server's log", Cause.UNKNOWN, False),
}


def catalog_error(error: Exception, place: str, secret: str | None = None) -> CatalogError:
    """What to tell a person. ``place`` is the file, or host and database; never a password."""
    if isinstance(error, PoolTimeout):
        return CatalogError(
            f"catalog {place}: all connections are in use", mend="try again", transient=True
        )
    cause = error.orig if isinstance(error, StatementError) else error
    lines = str(cause).strip().splitlines() if cause else []
    detail = lines[0].strip() if lines else type(error).__name__
    if secret:
        detail = detail.replace(secret, "***")
    what, mend, kind, transient = _judge(cause, detail)
    damaged = isinstance(cause, sqlite3.Error) and mend == _REBUILD
    return (DamagedCatalogError if damaged else CatalogError)(
        f"catalog {place} {what} ({detail})", mend=mend, cause=kind, transient=transient
    )


def _judge(cause: BaseException | None, detail: str) -> tuple[str, str | None, Cause, bool]:
    if isinstance(cause, sqlite3.Error):
        code = getattr(cause, "sqlite_errorcode", 0)
        if code in {sqlite3.SQLITE_IOERR_WRITE, sqlite3.SQLITE_IOERR_FSYNC}:
            return _WRITE_FAILED
        if known := _SQLITE.get(code & 0xFF):
            return known
    elif hasattr(cause, "sqlstate"):  # psycopg's, without importing it
        state: str | None = getattr(cause, "sqlstate", None)
        if not state:
            return _POSTGRES[_login_state(detail)]
        for length in (5, 3, 2):
            if known := _POSTGRES.get(state[:length]):
                return known
    return "cannot be used", None, Cause.UNKNOWN, False


def _login_state(detail: str) -> str:
    """The class of a connection that failed, for which libpq gives text alone."""
    if "authentication failed" in detail or "no password supplied" in detail:
        return "28"
    if "pg_hba.conf" in detail or ("role " in detail and "does not exist" in detail):
        return "28"
    if "database " in detail and "does not exist" in detail:
        return "3D"
    return "08"


def folder_error(error: OSError, place: str) -> CatalogError:
    """The same for a file or folder that could not be made."""
    full = error.errno in {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
    reason = os.strerror(error.errno) if error.errno else type(error).__name__
    return CatalogError(
        f"catalog {place} cannot be made ({reason})",
        mend="make room on its disk"
        if full
        else "give its folder to the user that guardian runs as, or set `state_dir` or `catalog`",
        cause=Cause.DISK_FULL if full else Cause.PERMISSION,
    )
