"""The watch's part of the catalog in memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from datetime import datetime, timedelta

from guardian.adapters.catalog import rules, watch_rows
from guardian.errors import NotFoundError
from guardian.watch.audit import KillRecord
from guardian.watch.memory import Memory


class MemoryWatch:
    """Audit, memory and recording; see :class:`~guardian.watch.ports.WatchCatalog`."""

    _lock: AbstractContextManager[None]

    def __init__(self) -> None:
        super().__init__()
        self._kills: dict[int, KillRecord] = {}
        self._killed = 0
        self._memories: dict[str, str] = {}
        self._segments: dict[tuple[str, datetime], tuple[datetime, bytes]] = {}

    def record_kill(self, kill: KillRecord) -> int:
        """Append to the audit; returns the entry's number."""
        with self._lock:
            self._killed += 1
            self._kills[self._killed] = _plain(kill)
            return self._killed

    def settle_kill(self, number: int, kill: KillRecord) -> None:
        """Put what came of it in the place of an entry."""
        with self._lock:
            if number not in self._kills:
                raise NotFoundError(f"the audit has no entry {number}")
            self._kills[number] = _plain(kill)

    def kills(
        self, server: str | None = None, since: datetime | None = None, limit: int | None = None
    ) -> Sequence[KillRecord]:
        """The audit, newest first."""
        with self._lock:
            found = [
                one
                for _, one in sorted(self._kills.items(), reverse=True)
                if server in {None, one.server} and (since is None or one.at >= since)
            ]
            return sorted(found, key=lambda one: one.at, reverse=True)[:limit]

    def prune_kills(self, older_than: timedelta, now: datetime) -> int:
        """Drop audit entries of that age; returns how many."""
        with self._lock:
            old = [at for at, one in self._kills.items() if one.at < now - older_than]
            for number in old:
                del self._kills[number]
            return len(old)

    def save_memory(self, server: str, memory: Memory, at: datetime) -> None:
        """Keep what the next look must know, in the place of what was kept."""
        rules.utc(at)
        with self._lock:
            self._memories[server] = watch_rows.memory_text(memory)

    def load_memory(self, server: str) -> Memory | None:
        """What was kept last, None when nothing was, or what was is damaged."""
        with self._lock:
            text = self._memories.get(server)
            return None if text is None else watch_rows.memory_of(text)

    def record_segment(self, server: str, first: datetime, last: datetime, data: bytes) -> None:
        """Keep a piece of the recording, in the place of one that begins at the same instant."""
        with self._lock:
            self._segments[server, rules.utc(first)] = (rules.utc(last), data)

    def segments(
        self, server: str, since: datetime | None = None, until: datetime | None = None
    ) -> Iterator[bytes]:
        """The pieces that reach into this time, the oldest first."""
        with self._lock:
            found = [
                (first, data)
                for (name, first), (last, data) in self._segments.items()
                if name == server
                and (since is None or last >= since)
                and (until is None or first <= until)
            ]
        yield from (data for _, data in sorted(found))

    def prune_recording(self, server: str, older_than: datetime, max_bytes: int) -> int:
        """Drop pieces that ended before that, and the oldest beyond so many bytes. How many."""
        with self._lock:
            mine = sorted((key for key in self._segments if key[0] == server), reverse=True)
            total = 0
            dropped: list[tuple[str, datetime]] = []
            for key in mine:
                last, data = self._segments[key]
                total += len(data)
                if dropped or last < older_than or total > max_bytes:
                    dropped.append(key)
            for key in dropped:
                del self._segments[key]
            return len(dropped)


def _plain(kill: KillRecord) -> KillRecord:
    """As it comes out of a database; what cannot be written is found at once."""
    watch_rows.kill_values(kill)
    started = None if kill.backend_start is None else rules.utc(kill.backend_start)
    return replace(kill, at=rules.utc(kill.at), backend_start=started)
