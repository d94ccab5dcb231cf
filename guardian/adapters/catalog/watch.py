"""The part of the catalog in a database that belongs to the watch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Select, delete, insert, select, update

from guardian.adapters.catalog import backups, watch_rows
from guardian.adapters.catalog.engine import Database
from guardian.adapters.catalog.models import KILLS, RECORDING, WATCH_MEMORY
from guardian.errors import NotFoundError
from guardian.watch.audit import KillRecord
from guardian.watch.memory import Memory


class SqlWatch:
    """Audit, memory and recording; see :class:`~guardian.watch.ports.WatchCatalog`."""

    _database: Database

    def record_kill(self, kill: KillRecord) -> int:
        """Append to the audit; returns the entry's number."""
        with self._database.writing() as connection:
            done = connection.execute(insert(KILLS).values(watch_rows.kill_values(kill)))
            (number,) = done.inserted_primary_key or (0,)
            return int(number)

    def settle_kill(self, number: int, kill: KillRecord) -> None:
        """Put what came of it in the place of an entry. Raises NotFoundError."""
        change = update(KILLS).where(KILLS.c.number == number).values(watch_rows.kill_values(kill))
        with self._database.writing() as connection:
            if not connection.execute(change).rowcount:
                raise NotFoundError(f"the audit has no entry {number}")

    def kills(
        self, server: str | None = None, since: datetime | None = None, limit: int | None = None
    ) -> Sequence[KillRecord]:
        """The audit, newest first."""
        query: Select[Any] = select(KILLS)
        if server is not None:
            query = query.where(KILLS.c.server == server)
        if since is not None:
            query = query.where(KILLS.c.at >= since)
        query = query.order_by(KILLS.c.at.desc(), KILLS.c.number.desc()).limit(limit)
        with self._database.reading() as connection:
            return [watch_rows.kill(row) for row in connection.execute(query)]

    def prune_kills(self, older_than: timedelta, now: datetime) -> int:
        """Drop audit entries of that age; returns how many."""
        with self._database.writing() as connection:
            return connection.execute(delete(KILLS).where(KILLS.c.at < now - older_than)).rowcount

    def save_memory(self, server: str, memory: Memory, at: datetime) -> None:
        """Keep what the next look must know, in the place of what was kept."""
        values = {"at": at, "memory": watch_rows.memory_text(memory)}
        with self._database.writing() as connection:
            backups.put(connection, WATCH_MEMORY, {"server": server}, values)

    def load_memory(self, server: str) -> Memory | None:
        """What was kept last, None when nothing was, or what was is damaged."""
        query = select(WATCH_MEMORY.c.memory).where(WATCH_MEMORY.c.server == server)
        with self._database.reading() as connection:
            text = connection.scalar(query)
        return None if text is None else watch_rows.memory_of(text)

    def record_segment(self, server: str, first: datetime, last: datetime, data: bytes) -> None:
        """Keep a piece of the recording, in the place of one that begins at the same instant."""
        values = {"last_at": last, "size": len(data), "data": data}
        with self._database.writing() as connection:
            backups.put(connection, RECORDING, {"server": server, "first_at": first}, values)

    def segments(
        self, server: str, since: datetime | None = None, until: datetime | None = None
    ) -> Iterator[bytes]:
        """The pieces that reach into this time, the oldest first; not all in memory at once."""
        query = select(RECORDING.c.first_at).where(RECORDING.c.server == server)
        if since is not None:
            query = query.where(RECORDING.c.last_at >= since)
        if until is not None:
            query = query.where(RECORDING.c.first_at <= until)
        with self._database.reading() as connection:
            starts = list(connection.scalars(query.order_by(RECORDING.c.first_at)))
        for start in starts:
            one = select(RECORDING.c.data).where(
                RECORDING.c.server == server, RECORDING.c.first_at == start
            )
            with self._database.reading() as connection:
                data = connection.scalar(one)
            if data is not None:  # else it was pruned meanwhile
                yield data

    def prune_recording(self, server: str, older_than: datetime, max_bytes: int) -> int:
        """Drop pieces that ended before that, and the oldest beyond so many bytes. How many."""
        query = select(RECORDING.c.first_at, RECORDING.c.last_at, RECORDING.c.size)
        query = query.where(RECORDING.c.server == server).order_by(RECORDING.c.first_at.desc())
        with self._database.writing() as connection:
            total = 0
            dropped: list[datetime] = []
            for first, last, size in connection.execute(query):
                total += size
                if dropped or last < older_than or total > max_bytes:
                    dropped.append(first)
            if dropped:
                connection.execute(
                    delete(RECORDING).where(
                        RECORDING.c.server == server, RECORDING.c.first_at <= max(dropped)
                    )
                )
            return len(dropped)
