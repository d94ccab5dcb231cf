"""The runbook's quick checks, done: what an engineer would type first is in the first alert.

Each check is a look that changes nothing. All of them together get a few seconds: what takes longer
is said to have been left out, and keeps no alert from being sent. A check that cannot be made says
why, for that is an answer, too.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace

from guardian.daemon.app import App
from guardian.daemon.looks import Looks
from guardian.errors import CatalogError, GuardianError
from guardian.escalate.model import Condition, Fact, Incident, Observation
from guardian.model import DatabaseRef
from guardian.units import format_duration

SECONDS = 10.0
"""For all checks of one observation together."""

Check = Callable[[], str]
"""Looks, and says what it saw in a line or a few."""


class QuickChecks:
    """Adds to conditions that are new what their checks give."""

    def __init__(self, app: App, seconds: float = SECONDS) -> None:
        self._app = app
        self._seconds = seconds

    def complete(self, observation: Observation, known: Iterable[Incident] = ()) -> Observation:
        """The same observation, its conditions with checks.

        ``known`` are the open incidents: for the same happening their checks are taken, and not
        made again.
        """
        before = {one.key: one.condition for one in known}
        try:
            looks = Looks(self._app)
        except CatalogError:
            return observation
        until = time.monotonic() + self._seconds
        done: dict[str, Fact] = {}
        return replace(
            observation,
            conditions=tuple(
                self._checked(one, before.get(one.key), looks, done, until)
                for one in observation.conditions
            ),
        )

    def _checked(
        self,
        condition: Condition,
        before: Condition | None,
        looks: Looks,
        done: dict[str, Fact],
        until: float,
    ) -> Condition:
        if before is not None and before.occurrence == condition.occurrence and before.checks:
            own = {one.name for one in condition.checks}
            kept = tuple(one for one in before.checks if one.name not in own)
            return replace(condition, checks=(*condition.checks, *kept))
        wanted = checks_for(condition, looks)
        names = {name: _scope(name, condition) for name in wanted}
        fresh = {names[name]: check for name, check in wanted.items() if names[name] not in done}
        for scoped, text in run_within(until - time.monotonic(), fresh).items():
            done[scoped] = Fact(scoped.partition("\0")[0], text)
        found = tuple(done[names[name]] for name in wanted)
        return replace(condition, checks=(*condition.checks, *found))


def _scope(name: str, condition: Condition) -> str:
    """What a check is about, so that a hundred conditions of one server ask it once."""
    about = condition.server or ""
    if name in _OF_DATABASE:
        about += f"/{condition.database or ''}"
    if name in _OF_KEY:
        about += f"/{condition.key}"
    return f"{name}\0{about}"


DISKS = "disk space"
TRIES = "last tries"
BACKUPS = "last backups"
DRILLS = "last drills"
KEY = "key"
CONNECT = "connecting now"
OTHERS = "other servers"
SESSIONS = "connections"
LOCKS = "who holds up whom"
RUNNING = "running now"
STORE = "the store now"
STORED = "stored here"
AGAIN = "a try now"
CHANNELS = "other channels"

_OF_DATABASE = frozenset({TRIES, BACKUPS, DRILLS, RUNNING})
_OF_KEY = frozenset({STORE, AGAIN, CHANNELS, STORED})


def checks_for(condition: Condition, looks: Looks) -> Mapping[str, Check]:
    """The checks of a kind, in the order in which the runbook has them."""
    server = condition.server or ""
    ref = DatabaseRef(server, condition.database or "")
    thing = condition.key.partition(":")[2]
    of_kind: Mapping[str, Mapping[str, Check]] = {
        "backup.failed": {
            BACKUPS: lambda: looks.backups(ref),
            DISKS: lambda: looks.disks(server),
            TRIES: lambda: looks.tries(ref),
            CONNECT: lambda: looks.connect(server),
            KEY: looks.key,
        },
        "backup.overdue": {
            RUNNING: lambda: looks.running(ref),
            TRIES: lambda: looks.tries(ref),
            DISKS: lambda: looks.disks(server),
            CONNECT: lambda: looks.connect(server),
        },
        "backup.shrunk": {BACKUPS: lambda: looks.backups(ref), DRILLS: lambda: looks.drills(ref)},
        "verify": {
            BACKUPS: lambda: looks.backups(ref),
            DRILLS: lambda: looks.drills(ref),
            DISKS: lambda: looks.disks(server),
            KEY: looks.key,
        },
        "proof.overdue": {
            RUNNING: lambda: looks.running(ref),
            DRILLS: lambda: looks.drills(ref),
            DISKS: lambda: looks.disks(server),
        },
        "store.failing": {STORE: lambda: looks.store(thing)},
        "store.forged": {STORE: lambda: looks.store(thing)},
        "server.down": {
            CONNECT: lambda: looks.connect(server),
            OTHERS: lambda: looks.other_servers(server),
            BACKUPS: lambda: looks.newest_backups(server),
        },
        "vital": {
            SESSIONS: lambda: looks.sessions(server),
            LOCKS: lambda: looks.locks(server),
        },
        "kill.limit": {SESSIONS: lambda: looks.sessions(server)},
        "locks.blocked": {SESSIONS: lambda: looks.sessions(server)},
        "disk.low": {DISKS: looks.all_disks, STORED: looks.stored},
        "probe": {AGAIN: lambda: looks.probe(condition.kind.partition(".")[2])},
        "channel.failing": {CHANNELS: lambda: looks.other_channels(thing)},
    }
    if condition.kind in of_kind:
        return of_kind[condition.kind]
    return of_kind.get(condition.kind.partition(".")[0], {})


def run_within(seconds: float, checks: Mapping[str, Check]) -> dict[str, str]:
    """What each says, all side by side; those that do not end in time are left behind."""
    until = time.monotonic() + seconds
    found: dict[str, str] = {}

    def run(name: str, check: Check) -> None:
        try:
            found[name] = check()
        except GuardianError as error:
            found[name] = str(error)
        except Exception as error:  # noqa: BLE001 - a check must never cost an alert
            found[name] = f"could not be looked at: {type(error).__name__}"

    threads = [
        threading.Thread(target=run, args=each, name=f"check {each[0]}", daemon=True)
        for each in checks.items()
    ]
    if seconds <= 0:
        return dict.fromkeys(checks, "left out: other checks took all the time")
    late = f"no answer within {format_duration(round(seconds, 1))}"
    begun = []
    try:
        for one in threads:
            one.start()
            begun.append(one)
    except RuntimeError:
        late = "could not be looked at: this host can start no thread"
    for one in begun:
        one.join(max(0.0, until - time.monotonic()))
    return {name: found.get(name, late) for name in checks}
