"""Long work and its turn: what may run beside what. Pure but for its lock.

Backups, drills and prunes each run in a process of their own (guardian/daemon/worker.py). Of one
server only one of a kind runs at a time, unless the configuration allows more backups of it. In all
there are ``at_once`` places, and drills and prunes always leave one for a backup: a drill of hours
must not hold up the night's backup.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from guardian.model import BackupId, DatabaseRef


class Kind(StrEnum):
    """What is to be done; in the order in which those that wait are begun."""

    RECOVER = "recover"
    """Settle runs whose process died, sweep what they left."""
    BACKUP = "backup"
    DRILL = "drill"
    PRUNE = "prune"

    @property
    def rank(self) -> int:
        """0 goes first."""
        return list(Kind).index(self)


@dataclass(frozen=True, slots=True)
class Task:
    """One piece of work. ``ref`` is None for what concerns all databases.

    ``backup`` and ``store`` say which backup is drilled, and from where.
    """

    kind: Kind
    ref: DatabaseRef | None = None
    backup: BackupId | None = None
    store: str | None = None

    @property
    def key(self) -> str:
        """What is never done twice at once: ``backup:main/mina``."""
        return self.kind if self.ref is None else f"{self.kind}:{self.ref}"

    @property
    def server(self) -> str | None:
        """The server that it concerns."""
        return None if self.ref is None else self.ref.server

    def __str__(self) -> str:
        """For people and logs."""
        return f"{self.kind} of {self.ref}" if self.ref is not None else str(self.kind)


@dataclass(frozen=True, slots=True)
class Offer:
    """A task that waits, since when, for nobody before ``not_before``."""

    task: Task
    at: datetime


class Workload:
    """Tasks that wait and tasks that run. May be used from several threads.

    ``backups_of`` says how many backups of a server may run at once, one where it names none.
    """

    def __init__(self, at_once: int = 2, backups_of: Mapping[str, int] | None = None) -> None:
        self._at_once = at_once
        self._backups_of = dict(backups_of or {})
        if min(at_once, *self._backups_of.values(), 1) < 1:
            raise ValueError("at least one task must be able to run")
        self._lock = threading.Lock()
        self._waiting: dict[str, Offer] = {}
        self._running: dict[str, Task] = {}
        self._closed = False

    def offer(self, task: Task, now: datetime) -> bool:
        """Take it in; False when the same waits or runs already, or nothing is begun any more."""
        with self._lock:
            if self._closed or task.key in self._waiting or task.key in self._running:
                return False
            self._waiting[task.key] = Offer(task, now)
            return True

    def take(self) -> Task | None:
        """The next one that may begin now; it counts as running. None when there is none."""
        with self._lock:
            if self._closed:
                return None
            for offer in sorted(
                self._waiting.values(), key=lambda one: (one.task.kind.rank, one.at)
            ):
                if self._has_room(offer.task):
                    del self._waiting[offer.task.key]
                    self._running[offer.task.key] = offer.task
                    return offer.task
            return None

    def done(self, task: Task) -> None:
        """It runs no more."""
        with self._lock:
            self._running.pop(task.key, None)

    def withdraw(self, keep: frozenset[str]) -> None:
        """Drop what waits for servers that are not among these (they left the configuration)."""
        with self._lock:
            for key, offer in list(self._waiting.items()):
                if offer.task.server is not None and offer.task.server not in keep:
                    del self._waiting[key]

    def resize(self, at_once: int, backups_of: Mapping[str, int]) -> None:
        """Other limits, from the next task on."""
        with self._lock:
            self._at_once, self._backups_of = at_once, dict(backups_of)

    def close(self) -> tuple[Task, ...]:
        """Begin nothing any more; returns what still runs."""
        with self._lock:
            self._closed = True
            self._waiting.clear()
            return tuple(self._running.values())

    @property
    def is_closed(self) -> bool:
        """Whether nothing is begun any more."""
        with self._lock:
            return self._closed

    @property
    def waiting(self) -> tuple[Offer, ...]:
        """Those that wait, in the order in which they will begin."""
        with self._lock:
            return tuple(
                sorted(self._waiting.values(), key=lambda one: (one.task.kind.rank, one.at))
            )

    @property
    def running(self) -> tuple[Task, ...]:
        """Those that run."""
        with self._lock:
            return tuple(self._running.values())

    def _has_room(self, task: Task) -> bool:
        running = list(self._running.values())
        beside = [one for one in running if one.kind is task.kind and one.server == task.server]
        most = self._backups_of.get(task.server or "", 1) if task.kind is Kind.BACKUP else 1
        if len(beside) >= most:
            return False
        if task.kind is Kind.BACKUP or self._at_once == 1:
            return len(running) < self._at_once
        others = [one for one in running if one.kind is not Kind.BACKUP]
        return len(running) < self._at_once and len(others) < self._at_once - 1
