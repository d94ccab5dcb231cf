"""Whether the daemon itself is well: pure, and honest.

It is unhealthy when it cannot do its work: the scheduler or a job is stuck, its memory (the
catalog) cannot be written, or nobody could be told of anything because all channels are dead. A
guarded server that is down, a backup that failed, a drill that found a difference are its findings,
not its illness: those are incidents.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from guardian.daemon.state import Role, Snapshot

PULSE_LIMIT = timedelta(seconds=30)
"""The scheduler does something every other second; silent for so long, it is stuck."""
CATALOG_PATIENCE = timedelta(seconds=60)
"""How long the catalog may be away: a lock, a restart of its server."""


class Status(StrEnum):
    """How one component does."""

    OK = "ok"
    IMPAIRED = "impaired"
    """Something in it does not work; the rest does."""
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Component:
    """One part of the daemon: how it does, the age of what is known in seconds, and why."""

    name: str
    status: Status
    age: float | None = None
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Health:
    """The judgement. Healthy exactly when there is no reason not to be."""

    role: Role
    reasons: tuple[str, ...]
    components: tuple[Component, ...]

    @property
    def healthy(self) -> bool:
        """What ``/health`` answers, and whether heartbeats are sent."""
        return not self.reasons


def judge(snapshot: Snapshot) -> Health:
    """Judge the daemon by what it knows at this moment."""
    components = [
        _scheduler(snapshot),
        _jobs(snapshot),
        _catalog(snapshot),
        _channels(snapshot),
        _config(snapshot),
        _dashboard(snapshot),
        *_servers(snapshot),
    ]
    reasons = tuple(
        f"{one.name}: {one.detail}" for one in components if one.status is Status.FAILED
    )
    return Health(snapshot.memory.role, reasons, tuple(components))


def _scheduler(snapshot: Snapshot) -> Component:
    name, age = "scheduler", snapshot.pulse_age
    if age is None:
        return Component(name, Status.OK, None, f"not needed while {snapshot.memory.role}")
    if age > PULSE_LIMIT.total_seconds():
        return Component(name, Status.FAILED, age, f"has done nothing for {age:.0f} s")
    return Component(name, Status.OK, age)


def _jobs(snapshot: Snapshot) -> Component:
    name = "jobs"
    stuck = [one for one in snapshot.jobs if one.stuck]
    if stuck:
        since = min(one.running_since or snapshot.at for one in stuck)
        names = ", ".join(sorted(one.name for one in stuck))
        return Component(name, Status.FAILED, _age(snapshot, since), f"stuck: {names}")
    failing = sorted(one.name for one in snapshot.jobs if one.failures)
    if failing:
        return Component(name, Status.IMPAIRED, None, f"failing: {', '.join(failing)}")
    return Component(name, Status.OK, None, f"{len(snapshot.jobs)} jobs")


def _catalog(snapshot: Snapshot) -> Component:
    name, now = "catalog", snapshot.memory.catalog
    if now.failing_since is None:
        age = None if now.written_at is None else _age(snapshot, now.written_at)
        return Component(name, Status.OK, age)
    age = _age(snapshot, now.failing_since)
    dead = age >= CATALOG_PATIENCE.total_seconds()
    text = f"not writable for {age:.0f} s: {now.error}"
    return Component(name, Status.FAILED if dead else Status.IMPAIRED, age, text)


def _channels(snapshot: Snapshot) -> Component:
    name, channels = "channels", snapshot.memory.channels
    if not channels:
        return Component(name, Status.OK, None, "none configured")
    failing = [one for one in channels if one.failing_since is not None]
    if not failing:
        return Component(name, Status.OK, None, f"{len(channels)} channels")
    since = max(one.failing_since for one in failing if one.failing_since is not None)
    names = ", ".join(sorted(one.name for one in failing))
    if len(failing) == len(channels):
        return Component(name, Status.FAILED, _age(snapshot, since), f"all fail: {names}")
    return Component(name, Status.IMPAIRED, _age(snapshot, since), f"failing: {names}")


def _config(snapshot: Snapshot) -> Component:
    age = _age(snapshot, snapshot.memory.config.loaded_at)
    problem = snapshot.memory.config.problem
    if problem is not None:
        return Component("config", Status.IMPAIRED, age, f"not reloaded: {problem}")
    return Component("config", Status.OK, age)


def _dashboard(snapshot: Snapshot) -> Component:
    """Who asks over HTTP has an answer already; others see it in the log and as an incident."""
    problem = snapshot.memory.dashboard_problem
    status = Status.OK if problem is None else Status.IMPAIRED
    return Component("dashboard", status, None, problem or "")


def _servers(snapshot: Snapshot) -> list[Component]:
    """Shown beside the rest; never a reason."""
    found = []
    for name, server in sorted(snapshot.memory.servers.items()):
        outage = server.outage
        age = None if outage.since is None else _age(snapshot, outage.since)
        impaired = outage.down_since is not None or server.watch_error is not None
        detail = outage.availability.value
        if server.watch_error is not None:
            detail += f"; not watched: {server.watch_error}"
        status = Status.IMPAIRED if impaired else Status.OK
        found.append(Component(f"server {name}", status, age, detail))
    return found


def _age(snapshot: Snapshot, since: datetime) -> float:
    return max(0.0, (snapshot.at - since).total_seconds())
