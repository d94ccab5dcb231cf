"""All jobs of one configuration in this process, and what they live in."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from support.site import Site

from guardian.adapters.clock import SystemClock
from guardian.config import load_config
from guardian.daemon.app import App
from guardian.daemon.crashes import CrashReporter
from guardian.daemon.duty import Duty
from guardian.daemon.health import Health, judge
from guardian.daemon.jobs import Jobs
from guardian.daemon.state import ConfigNow, Memory, Role, Snapshot, State
from guardian.daemon.telling import Telling
from guardian.daemon.worker import LogSettings
from guardian.escalate.engine import Escalator
from guardian.escalate.model import Incident
from guardian.watch.audit import KillRecord

FAST = {
    "outage": {"interval": "200ms", "failures": 2, "successes": 1},
    "watch": {"interval": "200ms"},
    "verify": {"schedule": None},
}
QUICKLY = {"settle": {"*": "0s"}, "recovery": {"*": "0s"}, "startup_settle": "1s"}


def until(found: Callable[[], Any], what: str, seconds: float = 60) -> Any:
    deadline = time.monotonic() + seconds
    while not (value := found()):
        assert time.monotonic() < deadline, f"did not happen: {what}"
        time.sleep(0.02)
    return value


class Running:
    """A duty and what it lives in."""

    def __init__(self, site: Site) -> None:
        self.site = site
        now = datetime.now(UTC)
        self.app = self.load()
        self.state = State(Memory(Role.ACTIVE, "k3f9", "1", now, ConfigNow(str(site.config), now)))
        reporter = CrashReporter.of(self.app.config, "k3f9")
        self.tell = Telling(lambda: self.app, self.state, reporter)
        self.jobs = Jobs(self.app.clock, self.tell.crash, self.state.went_well)
        self.duty = Duty(self.app, self.jobs, self.state, self.tell, LogSettings(30), self.snapshot)

    def load(self) -> App:
        self.site.write()
        return App(load_config(self.site.config), clock=SystemClock())

    def snapshot(self) -> Snapshot:
        return Snapshot(
            datetime.now(UTC),
            self.state.memory,
            pulse_age=self.jobs.pulse_age,
            jobs=self.jobs.now(),
            tasks=tuple(self.duty.tasks()),
        )

    # --- as guardian.daemon.sources.Live ---

    def health(self) -> Health:
        return judge(self.snapshot())

    def escalator(self) -> Escalator:
        return self.duty.alerting.escalator

    def urge(self) -> None:
        self.jobs.run_now("dispatch")

    def count_kill(self, kill: KillRecord) -> None:
        self.state.count_kill(kill.server, kill.policy, kill.action, kill.outcome)

    # --- for tests ---

    def incident(self, key: str) -> Incident | None:
        return self.app.catalog.latest_incident(key)

    def __enter__(self) -> Running:
        self.duty.begin()
        self.jobs.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.jobs.stop()
        self.duty.stop()
        assert self.duty.wait(60)
        assert self.jobs.wait(20) == ()
        self.duty.close()
        with self.app:
            pass
