"""From what is remembered and what jobs have just seen to Observations, one scope each.

Conditions are derived from the catalog wherever they can be: a crash loses none of them. Each
method tells *all* that is wrong within its scope. What an incident's first alert carries beside
that, the runbook's quick checks, is :mod:`guardian.daemon.quick_checks`' work.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from itertools import chain
from zoneinfo import ZoneInfo

from guardian.adapters.postgres.source import ALL_DATABASES
from guardian.adapters.process import current_holder
from guardian.backup.schedule import AFTER_BACKUP, Schedule, parse_schedule
from guardian.backup.signature import FORGED
from guardian.daemon.app import App
from guardian.daemon.listing import Listing, recall_listing
from guardian.daemon.vital_signs import file_systems
from guardian.escalate.conditions.backups import backup_conditions
from guardian.escalate.conditions.drills import drill_conditions
from guardian.escalate.conditions.history import WHOLE_SERVER, History, Protection
from guardian.escalate.conditions.outages import is_blind, probe_conditions, server_conditions
from guardian.escalate.conditions.own import (
    Trouble,
    degraded_conditions,
    privilege_conditions,
)
from guardian.escalate.conditions.pruning import KINDS as PRUNES
from guardian.escalate.conditions.pruning import prune_conditions
from guardian.escalate.conditions.sessions import Round, watch_conditions
from guardian.escalate.conditions.stores import forged_conditions, store_conditions
from guardian.escalate.conditions.vitals import blind_vitals, disk_conditions, vital_conditions
from guardian.escalate.engine import WATCHER_FORGOTTEN
from guardian.escalate.model import Condition, Observation
from guardian.model import BackupRecord, DatabaseRef, Event, ProofRecord
from guardian.watch.audit import KillRecord
from guardian.watch.model import Mode
from guardian.watch.model import Observation as Look
from guardian.watch.outage import Outage
from guardian.watch.policy import Decisions
from guardian.watch.vitals import Finding, assess

SEEN = "database.seen"
"""The event that a database without any try has come into our care."""
_TRIES = 50
_STORE_TRIES = 10
_TRIES_ELSEWHERE = 500
_TRIED_LATELY = timedelta(days=8)
"""A database elsewhere that nobody has tried for so long is in nobody's care any more."""
_WATCHER_CHARACTERS = 200
_BACKUPS = "backups:"
_DRILLS = 200
_FIRST_TRIES = 1000
_SEEN_LOOKED_AT = 1000
_PRUNES = 2000
_FORGED_LOOKED_AT = 200
_FORGED_FOR = timedelta(hours=25)
"""A prune a day, at least, tells of it again as long as it lies there."""


class Sensors:
    """The senses of one configuration. Each method raises CatalogError where it reads there."""

    def __init__(self, app: App) -> None:
        self._app = app

    # --- from the catalog alone ---

    def backups(self, server: str, names: Sequence[str] | None = None) -> Observation:
        """Backups and drills of one server's databases.

        ``names`` are the databases that it has now; without, as they were last listed.
        """
        now = self._app.clock.now()
        conditions: list[Condition] = []
        for one in self.histories(server, names):
            conditions += backup_conditions(one, now)
            conditions += drill_conditions(one, now)
        return Observation(f"{_BACKUPS}{server}", now, tuple(conditions))

    def stores(self) -> Observation:
        """All stores, by what the latest runs say of them, and by what was found in them.

        What runs of other hosts that share the catalog tell is neither begun nor ended here: only
        they know which databases and stores are in their care, and only they can look there.
        """
        now = self._app.clock.now()
        config = self._app.config
        events = [one for kind in PRUNES for one in self._app.catalog.events(_PRUNES, kind)]
        events.sort(key=lambda one: one.at, reverse=True)
        tried = [one for name in config.servers for one in self._tried(name)]
        ours = {one.key for one in _failing(config.stores, tried, events)}
        tried += [one for name in self._servers_elsewhere(now) for one in self._tried_there(name)]
        stores = dict.fromkeys([*config.stores, *chain(*(_stores_of(one) for one in tried))])
        failing = _failing(stores, tried, events)
        told = self._app.catalog.events(_FORGED_LOOKED_AT, FORGED)
        forged = forged_conditions([one for one in told if one.at > now - _FORGED_FOR])
        conditions = (*(one for one in failing if one.key in ours), *forged)
        return Observation(
            "stores", now, conditions, tuple(one.key for one in failing if one.key not in ours)
        )

    def histories(self, server: str, names: Sequence[str] | None = None) -> list[History]:
        """What is remembered of each database of one server."""
        backups = self._backups(server)
        listing = recall_listing(self._app, server)
        running = {
            one.name.removeprefix("backup:"): str(one.holder)
            for one in self._app.catalog.leases(f"backup:{server}/")
        }
        known = names if names is not None else self._names(server, listing, backups)
        protection = self._protection(server)
        found = []
        for name in known:
            ref = DatabaseRef(server, name)
            history = self._history(ref, protection, backups.get(name, []))
            found.append(replace(history, running=running.get(str(ref))))
        unlisted = self._unlisted(server, protection, listing, backups)
        return [*found, *([unlisted] if unlisted is not None else [])]

    def _backups(self, server: str) -> dict[str, list[BackupRecord]]:
        """Those that lie in stores, by database."""
        backups: dict[str, list[BackupRecord]] = {}
        for one in self._app.catalog.backups(server):
            backups.setdefault(one.ref.database, []).append(one)
        return backups

    def _tried(self, server: str) -> list[History]:
        """The same as histories, but of tries alone: all that tells of stores."""
        catalog, protection = self._app.catalog, self._protection(server)
        names = self._names(server, recall_listing(self._app, server), self._backups(server))
        return [
            History(ref, protection, tries=catalog.tries(server, ref.database, limit=_STORE_TRIES))
            for ref in (DatabaseRef(server, name) for name in names)
        ]

    def _servers_elsewhere(self, now: datetime) -> set[str]:
        """Those of other configurations that share the catalog, by what their watchers said."""
        scopes = {
            scope
            for one in self._app.catalog.watchers()
            if now - one.seen_at < WATCHER_FORGOTTEN and one.name != commands_here(self._app)
            for scope in one.scopes
        }
        servers = {one.removeprefix(_BACKUPS) for one in scopes if one.startswith(_BACKUPS)}
        return servers - set(self._app.config.servers)

    def _tried_there(self, server: str) -> list[History]:
        """Tries of databases whose configuration is another host's: as their last one shows it."""
        tries: dict[DatabaseRef, list[BackupRecord]] = {}
        for one in self._app.catalog.tries(server, limit=_TRIES_ELSEWHERE):
            tries.setdefault(one.ref, []).append(one)
        found = []
        since = self._app.clock.now() - _TRIED_LATELY
        for ref, of_database in tries.items():
            if of_database[0].started_at < since:
                continue
            outcomes = next((one.outcomes for one in of_database if one.outcomes), ())
            protection = Protection(stores=tuple(one.store for one in outcomes))
            found.append(History(ref, protection, tries=of_database[:_STORE_TRIES]))
        return found

    def _names(
        self, server: str, listing: Listing, backups: dict[str, list[BackupRecord]]
    ) -> Sequence[str]:
        """The databases that are in our care, whether or not the server can be asked."""
        section = self._app.server(server)
        if section.databases is None or ALL_DATABASES not in section.databases:
            return self._app.source(server).databases()  # by name: nobody is asked
        if listing.names is not None:
            return listing.names
        tried = {one.ref.database for one in self._app.catalog.tries(server, limit=_TRIES)}
        return sorted({*backups, *tried})

    def _history(
        self, ref: DatabaseRef, protection: Protection, backups: Sequence[BackupRecord]
    ) -> History:
        catalog = self._app.catalog
        tries = catalog.tries(ref.server, ref.database, limit=_TRIES)
        proven = any(one.proven for one in backups)
        good = any(one.proven is not False for one in backups)
        return History(
            ref=ref,
            protection=protection,
            backups=backups,
            tries=tries,
            failures=catalog.consecutive_failures(ref),
            drills=self._drills(ref, backups),
            known_since=None if proven and good else self._known_since(ref, tries, protection),
        )

    def _drills(self, ref: DatabaseRef, backups: Iterable[BackupRecord]) -> list[ProofRecord]:
        """The latest, and whatever found a backup bad that is still there."""
        drills = list(self._app.catalog.drills(ref, _DRILLS))
        drilled = {one.backup for one in drills}
        for one in backups:
            if one.proven is False and one.id not in drilled:
                drills += self._app.catalog.proofs(one.id)
        return drills

    def _known_since(
        self, ref: DatabaseRef, tries: Sequence[BackupRecord], protection: Protection
    ) -> datetime | None:
        """When it came into our care: the first try, or the day on which it was first seen here.

        Without a schedule nothing is ever late, and nothing need be remembered.
        """
        if protection.schedule is None and protection.drill_interval is None:
            return None
        catalog = self._app.catalog
        if len(tries) == _TRIES:
            tries = catalog.tries(ref.server, ref.database, limit=_FIRST_TRIES)
        if tries:
            return tries[-1].started_at
        seen = [one.at for one in catalog.events(_SEEN_LOOKED_AT, SEEN) if one.ref == ref]
        if seen:
            return seen[-1]
        now = self._app.clock.now()
        catalog.record_event(Event(now, SEEN, f"{ref} is to be backed up from now on", ref))
        return now

    def _unlisted(
        self,
        server: str,
        protection: Protection,
        listing: Listing,
        backups: dict[str, list[BackupRecord]],
    ) -> History | None:
        """The runs that failed before they knew any database, since anything went well."""
        last = max((one.started_at for each in backups.values() for one in each), default=None)
        failed = [one for one in listing.failures if last is None or one.started_at > last]
        if not failed:
            return None
        ref = DatabaseRef(server, WHOLE_SERVER)
        protection = replace(protection, schedule=None, drill_interval=None)
        return History(ref, protection, tries=failed, failures=len(failed))

    def _protection(self, server: str) -> Protection:
        section = self._app.server(server)
        schedule = _schedule(section.backup.schedule)
        return Protection(
            schedule=schedule,
            timezone=ZoneInfo(section.backup.timezone),
            drill_interval=_drill_interval(section.verify.schedule, schedule),
            stores=tuple(section.backup.stores),
            ages=section.vitals.backup_age,
            drops=section.vitals.size_drop,
            attempts=section.backup.attempts,
        )

    # --- from what jobs have just seen ---

    def watch(
        self,
        server: str,
        look: Look,
        decisions: Decisions,
        *,
        shortcomings: Sequence[str] = (),
        kills: Sequence[KillRecord] = (),
    ) -> Observation:
        """One look at a server's sessions, judged; what our role may not see or do there."""
        now = self._app.clock.now()
        section = self._app.server(server)
        seen = Round(
            look,
            now,
            Mode(section.watch.mode),
            decisions.verdicts,
            kills,
            section.vitals.lock_wait,
            query_text=self._app.config.escalation.query_text,
        )
        conditions = (*watch_conditions(seen), *privilege_conditions(server, shortcomings))
        return Observation(f"watch:{server}", now, conditions)

    def vitals(self, server: str, findings: Sequence[Finding]) -> Observation:
        """A server's vital signs, judged."""
        return Observation(
            f"vitals:{server}",
            self._app.clock.now(),
            vital_conditions(server, findings),
            blind_vitals(server, findings),
        )

    def disks(self) -> Observation:
        """The file systems on which guardian keeps anything, for all servers at once."""
        findings: list[Finding] = []
        for name, section in self._app.config.servers.items():
            readings = [one.reading for one in file_systems(self._app, name)]
            findings += assess(readings, {"disk": section.vitals.disk})
        return Observation("disks", self._app.clock.now(), disk_conditions(findings))

    def outage(self, server: str, outage: Outage) -> Observation:
        """Whether a server answers."""
        now, scope = self._app.clock.now(), f"outage:{server}"
        page_after = self._app.server(server).outage.page_after
        conditions = server_conditions(server, outage, now, page_after)
        return Observation(scope, now, conditions, _blind(outage, f"server.down:{server}"))

    def probe(self, name: str, outage: Outage) -> Observation:
        """Whether another probed thing is well."""
        now = self._app.clock.now()
        conditions = probe_conditions(name, outage)
        return Observation(f"probe:{name}", now, conditions, _blind(outage, f"probe.{name}"))

    def guardian(self, troubles: Iterable[Trouble]) -> Observation:
        """What of guardian's own work does not get done."""
        return Observation("guardian", self._app.clock.now(), degraded_conditions(troubles))


def _schedule(text: str | None) -> Schedule | None:
    return None if text is None else parse_schedule(text)


def _drill_interval(text: str | None, backups: Schedule | None) -> timedelta | None:
    if text is None:
        return None
    if text == AFTER_BACKUP:
        return None if backups is None else backups.interval_hint()
    return parse_schedule(text).interval_hint()


def commands_here(app: App) -> str:
    """What this host's commands are called where they say what they watch: as this config tells."""
    host = current_holder("guardian").host
    return f"commands on {host} ({app.config.state_dir})"[:_WATCHER_CHARACTERS]


def _failing(
    stores: Iterable[str], tried: Sequence[History], events: Sequence[Event]
) -> list[Condition]:
    """Stores that take no backups, and those in which nothing can be deleted."""
    failing = store_conditions(list(stores), tried)
    full = prune_conditions(list(stores), events, {one.ref for one in tried})
    # A store that takes no backups is told once; that nothing can be deleted there goes along.
    known = {f"{one.key}/retention" for one in failing}
    return [*failing, *(one for one in full if one.key not in known)]


def _stores_of(history: History) -> tuple[str, ...]:
    return history.protection.stores


def _blind(outage: Outage, key: str) -> tuple[str, ...]:
    """What is not known yet is neither up nor down."""
    return (key,) if is_blind(outage) else ()
