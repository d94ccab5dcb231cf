"""What of the daemon's own work does not get done, as conditions are made of: pure.

Each one lasts as long as a snapshot shows it, and its part's name is the same as long as it lasts.
"""

from __future__ import annotations

from collections.abc import Iterator

from guardian.daemon.health import PULSE_LIMIT
from guardian.daemon.state import Snapshot
from guardian.escalate.conditions.own import Trouble
from guardian.escalate.model import Severity
from guardian.watch.outage import Availability

FAILS_OFTEN = 3
"""A job that has failed so often in a row does not do its work."""


def troubles(snapshot: Snapshot) -> tuple[Trouble, ...]:
    """All of them."""
    return (
        *_scheduler(snapshot),
        *_jobs(snapshot),
        *_crashes(snapshot),
        *_catalog(snapshot),
        *_config(snapshot),
        *_dashboard(snapshot),
        *_watches(snapshot),
    )


def _scheduler(snapshot: Snapshot) -> Iterator[Trouble]:
    age = snapshot.pulse_age
    if age is not None and age > PULSE_LIMIT.total_seconds():
        yield Trouble("scheduler", "it does nothing any more", mend="systemctl restart guardian")


def _jobs(snapshot: Snapshot) -> Iterator[Trouble]:
    for job in snapshot.jobs:
        if job.stuck:
            yield Trouble(
                f"job {job.name}",
                "it does not come back; the same work is not done again until it does",
                since=job.running_since,
                mend="systemctl restart guardian, and see its log",
            )
        elif job.failures >= FAILS_OFTEN and job.name not in snapshot.memory.crashes:
            yield Trouble(f"job {job.name}", job.error or "it fails")


def _crashes(snapshot: Snapshot) -> Iterator[Trouble]:
    for name, crash in snapshot.memory.crashes.items():
        if not crash.over:
            yield Trouble(
                name,
                f"internal error: {crash.text}",
                since=crash.at,
                mend="see guardian's log, and report it",
            )


def _catalog(snapshot: Snapshot) -> Iterator[Trouble]:
    now = snapshot.memory.catalog
    if now.failing_since is not None:
        yield Trouble(
            "catalog",
            now.error or "it cannot be written",
            since=now.failing_since,
            mend="no backup can be made until it is back: make room, or start its server",
        )


def _config(snapshot: Snapshot) -> Iterator[Trouble]:
    config = snapshot.memory.config
    if config.problem is not None:
        yield Trouble(
            "configuration",
            f"{config.problem} (the one before is still in force)",
            mend="guardian config check, then systemctl reload guardian",
            severity=Severity.P2,
        )


def _dashboard(snapshot: Snapshot) -> Iterator[Trouble]:
    problem = snapshot.memory.dashboard_problem
    if problem is not None:
        yield Trouble("dashboard", problem, severity=Severity.P2)


def _watches(snapshot: Snapshot) -> Iterator[Trouble]:
    """A server that answers, and cannot be watched all the same."""
    for server in snapshot.memory.servers.values():
        up = server.outage.availability is Availability.UP
        if server.watch_error is not None and up:
            yield Trouble(
                f"watch {server.name}",
                server.watch_error,
                mend="guardian doctor",
                server=server.name,
                severity=Severity.P2,
            )
