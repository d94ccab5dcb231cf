"""A backup that is under way, and what may be left of it when it was ended."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import psycopg

Seen = TypeVar("Seen")

_PATIENCE = 10.0


def is_writing(store: Path) -> Callable[[], bool]:
    """Whether a dump has begun to arrive in the store."""

    def look() -> bool:
        try:
            return any(
                path.is_file() and path.stat().st_size > 1 << 20 and ".dump." in path.name
                for path in store.rglob("*")
            )
        except FileNotFoundError:  # a file went away while we looked
            return False

    return look


def words_of(pid: int) -> list[str]:
    """The command line of a process; of one that is gone, a word that is none."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").split("\0")
    except OSError:  # no such file, or no such process any more: it ends while we look
        return [""]


def is_a_dump(words: list[str]) -> bool:
    """Whether rows come from it: pg_dumpall asks a pg_dump for its version, and waits for that."""
    return words[0].endswith("/pg_dump") and "--format=custom" in words


def still_alive(pids: Iterable[int]) -> list[int]:
    """Those that have not ended by themselves before long."""

    def look() -> list[int]:
        return [pid for pid in pids if Path(f"/proc/{pid}").exists()]

    return _last_of(look)


def sessions_left(dsn: str) -> Sequence[tuple[Any, ...]]:
    """Sessions of ours that stay in that database: each may hold a lock, and a snapshot."""
    with psycopg.connect(dsn, autocommit=True) as admin:
        return _last_of(
            lambda: admin.execute(
                "SELECT application_name FROM pg_stat_activity "
                "WHERE application_name LIKE 'guardian%' AND datname = current_database()"
            ).fetchall()
        )


def _last_of(look: Callable[[], list[Seen]]) -> list[Seen]:
    """What is seen in the end: as soon as it is nothing, else when it has had its time."""
    deadline = time.monotonic() + _PATIENCE
    while (found := look()) and time.monotonic() < deadline:
        time.sleep(0.05)
    return found
