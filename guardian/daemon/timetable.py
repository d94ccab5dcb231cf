"""When a scheduled thing is to be started next, given when it last began: pure.

The daemon keeps no diary of what it has done. When it starts, it asks the catalog when the last
try began, and what should have begun since is *due*: a night that was missed, because the host was
down, is made up for at once, and several missed ones are one.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo

from guardian.backup.schedule import CLOCK_TOLERANCE, Schedule
from guardian.model import BackupRecord, RunStatus

MOST_RESUMED = 3
"""So many interrupted tries in a row are made up for at once; then the schedule is waited for.

What interrupts them may be the tries themselves: memory that runs out, a watchdog.
"""


@dataclass(frozen=True, slots=True)
class History:
    """What is known of the past. ``resume``: the last try was cut off, and is to be made up for."""

    last_started: datetime | None = None
    resume: bool = False


@dataclass(frozen=True, slots=True)
class Timetable:
    """A schedule, in its timezone, with jitter.

    ``seed`` names the thing. The delay of one instant is drawn from the seed and the instant, so it
    is the same however often it is asked for, and other hosts and other things get other ones.
    """

    schedule: Schedule
    timezone: tzinfo = UTC
    jitter: timedelta = timedelta(0)
    seed: str = ""

    def next_start(self, history: History, now: datetime) -> datetime:
        """When to begin next; an instant that has passed, or is now, means at once."""
        last = history.last_started
        if last is not None and last > now + CLOCK_TOLERANCE:
            last = None  # the clock was wrong, then or now
        if last is None:
            if history.resume or self.schedule.is_due(None, now, self.timezone):
                return now
            return self._delayed(self.schedule.next_after(now, self.timezone))
        return self._delayed(self.schedule.next_after(last, self.timezone))

    def following(self, started: datetime) -> datetime:
        """When to begin after the start that was at ``started``."""
        return self._delayed(self.schedule.next_after(started, self.timezone))

    def _delayed(self, instant: datetime) -> datetime:
        """The instant and its delay, which never reaches into the next instant."""
        if not self.jitter:
            return instant
        room = self.schedule.next_after(instant, self.timezone) - instant
        return instant + min(self.jitter, room) * self._share(instant)

    def _share(self, instant: datetime) -> float:
        text = f"{self.seed} {instant.astimezone(UTC).isoformat()}"
        digest = hashlib.blake2b(text.encode(), digest_size=6).digest()
        return int.from_bytes(digest, "big") / (1 << 48)


def backup_history(tries: Iterable[BackupRecord], now: datetime) -> History:
    """When the last try that counts began. ``tries`` come newest first.

    One that was interrupted does not count, for a restart of ours must not cost a night, unless
    that has happened MOST_RESUMED times in a row. One in the future says that the clock was wrong.
    """
    interrupted: list[BackupRecord] = []
    for one in tries:
        if one.started_at > now + CLOCK_TOLERANCE:
            continue
        if one.status is not RunStatus.INTERRUPTED:
            return History(one.started_at, resume=bool(interrupted))
        interrupted.append(one)
        if len(interrupted) == MOST_RESUMED:
            return History(interrupted[0].started_at)
    return History(None, resume=bool(interrupted))
