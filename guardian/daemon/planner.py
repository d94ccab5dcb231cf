"""What is backed up and drilled when: jobs from the configuration, tasks for the crew.

A job of this room only puts a task into the queue; when its turn comes, a worker does it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import datetime, timedelta
from functools import partial
from zoneinfo import ZoneInfo

from guardian.adapters.postgres.source import ALL_DATABASES
from guardian.backup.schedule import AFTER_BACKUP, parse_schedule
from guardian.daemon.app import App
from guardian.daemon.crew import Crew
from guardian.daemon.jobs import Jobs
from guardian.daemon.listing import list_databases, recall_listing
from guardian.daemon.timetable import MOST_RESUMED, History, Timetable, backup_history
from guardian.daemon.work import Kind, Task
from guardian.daemon.worker import Outcome, Result
from guardian.model import BackupId, BackupRecord, DatabaseRef, RunStatus

_log = logging.getLogger(__name__)

DISCOVER_EVERY = timedelta(minutes=10)
_TRIES_LOOKED_AT = 20
_DRILL_AGAIN = timedelta(hours=1)
_MOST_DRILL_TRIES = 3
"""A drill that gave no verdict at all (the host has no room, say) is tried so often."""


class Planner:
    """The schedule of all databases under one configuration."""

    def __init__(self, app: App, jobs: Jobs, crew: Crew, *, owes_recovery: bool = False) -> None:
        self._app = app
        self._jobs = jobs
        self._crew = crew
        self._known: dict[str, tuple[DatabaseRef, ...]] = {}
        self._planned: set[str] = set()
        self._crashes: dict[DatabaseRef, int] = {}
        """Backups in a row whose worker died."""
        self.owes_recovery = owes_recovery
        """Runs that died are not settled, or not made up for."""
        self._drill_tries: dict[BackupId, tuple[int, datetime]] = {}

    @property
    def databases(self) -> tuple[DatabaseRef, ...]:
        """All that are guarded, as far as they are known."""
        return tuple(ref for refs in self._known.values() for ref in refs)

    @property
    def names(self) -> frozenset[str]:
        """The jobs that it has made."""
        return frozenset(self._planned)

    def begin(self) -> None:
        """Plan every server; what is to be discovered, as it is discovered.

        Raises:
            CatalogError: the catalog cannot be used.
        """
        for name, server in self._app.config.servers.items():
            if server.databases is not None and ALL_DATABASES in server.databases:
                self._plan(name, self._remembered(name))
                self._planned.add(f"databases:{name}")
                self._jobs.every(f"databases:{name}", DISCOVER_EVERY, partial(self._discover, name))
            else:
                names = self._app.source(name).databases()  # by name: nobody is asked
                self._plan(name, [DatabaseRef(name, one) for one in names])

    def ended(self, outcome: Outcome) -> None:
        """A task has ended: what follows from it.

        Raises:
            CatalogError: the catalog cannot be used.
        """
        task = outcome.task
        if task.kind is Kind.BACKUP and task.ref is not None:
            crashes = self._crashes.pop(task.ref, 0)
            if outcome.result == Result.CRASHED:
                self._crashes[task.ref] = crashes + 1
            self.drill_new_backups()
        elif task.kind is Kind.RECOVER:
            self.owes_recovery = True  # the host had no room for it, or the catalog is away
            if outcome.result not in {Result.CRASHED, Result.FAILED}:
                self._make_up()
                self.owes_recovery = False
        elif outcome.proof is not None or outcome.result in {Result.INTERRUPTED, Result.LOCKED}:
            # It told, or others kept it from telling: neither is a try in vain.
            self._drill_tries.pop(task.backup or BackupId(""), None)

    def catch_up(self) -> None:
        """What is asked each minute: whether a recovery is owed, and what is to be drilled."""
        if self.owes_recovery:
            self.owes_recovery = False
            self._crew.offer(Task(Kind.RECOVER))
        self.drill_new_backups()

    def drill_new_backups(self) -> None:
        """Offer a drill of each latest backup that nobody has drilled, where that is asked for.

        Asked of the catalog, not remembered: so it makes no difference who made the backup, nor
        what died between the backup and its drill.
        """
        for ref in self.databases:
            if self._app.server(ref.server).verify.schedule != AFTER_BACKUP:
                continue
            newest = self._newest(ref)
            if newest is not None and newest.proven is None and not self._was_drilled(newest):
                self._offer_drill(newest)

    # --- within ---

    def _remembered(self, server: str) -> list[DatabaseRef]:
        """Those that the server had, until it can be asked."""
        names = recall_listing(self._app, server).names
        if names is None:
            tries = self._app.catalog.tries(server, limit=200)
            excluded = self._app.source(server).is_excluded
            names = tuple({one.ref.database for one in tries if not excluded(one.ref.database)})
        return [DatabaseRef(server, name) for name in sorted(names)]

    def _discover(self, server: str) -> None:
        """Ask the server which databases there are.

        Raises:
            GuardianError: it cannot be asked. That is no failed run, as it is by night.
        """
        self._app.source(server).databases()
        self._list(server)

    def _list(self, server: str) -> None:
        """The same for a run: that it failed is remembered."""
        names = list_databases(self._app, server)
        self._plan(server, [DatabaseRef(server, one) for one in names])

    def _back_up_whole(self, server: str) -> None:
        """The run of a server whose databases nobody knows yet."""
        self._list(server)
        for ref in self._known[server]:
            self._crew.offer(Task(Kind.BACKUP, ref))

    def _plan_listing(self, server: str) -> None:
        """Where a server has never told its databases, each night without them is a failure."""
        section = self._app.server(server).backup
        if section.schedule is not None:
            table = Timetable(parse_schedule(section.schedule), ZoneInfo(section.timezone))
            self._by(f"backup:{server}", table, History(), partial(self._back_up_whole, server))

    def _plan(self, server: str, refs: list[DatabaseRef]) -> None:
        """Jobs for these, and for no other of this server."""
        before = self._known.get(server, ())
        self._known[server] = tuple(refs)
        if refs:
            self._remove(f"backup:{server}")
        else:
            self._plan_listing(server)
        for ref in before:
            if ref not in refs:
                _log.info("%s is not there any more", ref)
                self._remove(f"backup:{ref}")
                self._remove(f"drill:{ref}")
        for ref in refs:
            if ref not in before:
                self._plan_backups(ref)
                self._plan_drills(ref)

    def _plan_backups(self, ref: DatabaseRef) -> None:
        section = self._app.server(ref.server).backup
        if section.schedule is None:
            return
        tries = self._app.catalog.tries(ref.server, ref.database, limit=_TRIES_LOOKED_AT)
        table = Timetable(
            parse_schedule(section.schedule),
            ZoneInfo(section.timezone),
            section.jitter,
            f"backup:{ref}",
        )
        history = backup_history(tries, self._app.clock.now())
        self._by(f"backup:{ref}", table, history, lambda: self._crew.offer(Task(Kind.BACKUP, ref)))

    def _plan_drills(self, ref: DatabaseRef) -> None:
        section = self._app.server(ref.server).verify
        if section.schedule in {None, AFTER_BACKUP}:
            return
        assert section.schedule is not None
        table = Timetable(parse_schedule(section.schedule), ZoneInfo(section.timezone))
        last = next(iter(self._app.catalog.drills(ref, limit=1)), None)
        began = None if last is None else last.at - timedelta(seconds=last.seconds)
        self._by(f"drill:{ref}", table, History(began), lambda: self._drill_latest(ref))

    def _by(
        self, name: str, table: Timetable, history: History, work: Callable[[], object]
    ) -> None:
        first = table.next_start(history, self._app.clock.now())
        if first <= self._app.clock.now():
            _log.info("%s is due since %s", name, first.isoformat(timespec="seconds"))
        self._planned.add(name)
        self._jobs.by(name, table, history, work)

    def _remove(self, name: str) -> None:
        self._planned.discard(name)
        self._jobs.remove(name)

    def _drill_latest(self, ref: DatabaseRef) -> None:
        newest = self._newest(ref)
        if newest is None:
            _log.warning("%s: there is no backup to drill yet", ref)
        elif (task := self._drill_task(newest)) is not None:
            self._crew.offer(task)

    def _newest(self, ref: DatabaseRef) -> BackupRecord | None:
        return next(iter(self._app.catalog.backups(ref.server, ref.database, limit=1)), None)

    def _make_up(self) -> None:
        """Runs that died were settled: what they have cost is made up for.

        One that died before it had noted anything (the host had no room for its process) is known
        by its crash alone. Planned anew it is due, unless it came to its end all the same.
        """
        for ref in self.databases:
            tries = self._app.catalog.tries(ref.server, ref.database, limit=1)
            interrupted = tries and tries[0].status is RunStatus.INTERRUPTED
            if interrupted or 0 < self._crashes.get(ref, 0) <= MOST_RESUMED:
                self._plan_backups(ref)

    def _was_drilled(self, backup: BackupRecord) -> bool:
        """Whether there is a record of a drill, or it was tried in vain often enough."""
        count, again = self._drill_tries.get(backup.id, (0, self._app.clock.now()))
        if count >= _MOST_DRILL_TRIES or again > self._app.clock.now():
            return True
        return bool(self._app.catalog.proofs(backup.id))

    def _offer_drill(self, backup: BackupRecord) -> None:
        task = self._drill_task(backup)
        if task is not None and self._crew.offer(task):
            count, _ = self._drill_tries.get(backup.id, (0, None))
            again = self._app.clock.now() + _DRILL_AGAIN
            self._drill_tries[backup.id] = (count + 1, again)

    def _drill_task(self, backup: BackupRecord) -> Task | None:
        """From a local store where there is one, as ``guardian verify`` does."""
        stores = self._app.config.stores
        known = [name for name in backup.stores if name in stores]
        if not known:
            _log.warning("backup %s lies in no store that is configured", backup.id)
            return None
        store = min(known, key=lambda name: stores[name].kind != "local")
        return Task(Kind.DRILL, backup.ref, backup.id, store)
