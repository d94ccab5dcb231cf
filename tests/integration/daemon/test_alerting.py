"""The way of alarms within the daemon, where the host is short of what it needs."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
from support.home import NOW, Home

from guardian.daemon.alerting import Alerting
from guardian.daemon.quick_checks import QuickChecks
from guardian.daemon.state import ConfigNow, Memory, Role, State
from guardian.escalate.model import Condition, Observation, Severity

WRONG = Condition(
    key="server.down:main",
    kind="server.down",
    severity=Severity.P1,
    title="server main is down",
    server="main",
)


def wait_for_alarms() -> None:
    for thread in threading.enumerate():
        if thread.name == "alarm outage:main":
            thread.join(30)


def test_an_alarm_that_gets_no_thread_is_raised_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    crashes: list[str] = []
    with Home(tmp_path).app() as app:
        state = State(Memory(Role.ACTIVE, "run", "0", NOW, ConfigNow("x", NOW)))
        alerting = Alerting(app, state, lambda name, error: crashes.append(name), lambda: None)
        with monkeypatch.context() as host:
            host.setattr(threading.Thread, "start", refuse)
            alerting.observed(Observation("outage:main", app.clock.now(), (WRONG,)))
        assert [one.key for one in app.catalog.open_incidents()] == [WRONG.key]
        assert crashes == []
        # And what is seen next in that scope is dealt with, too.
        alerting.observed(Observation("outage:main", app.clock.now()))
        wait_for_alarms()
        assert alerting._waiting == {}
        alerting.close()


def test_a_crash_on_the_way_of_an_alarm_is_over_once_one_went_well(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("no such row")

    with Home(tmp_path).app() as app:
        state = State(Memory(Role.ACTIVE, "run", "0", NOW, ConfigNow("x", NOW)))
        alerting = Alerting(
            app, state, lambda name, error: state.crashed(name, NOW, str(error)), lambda: None
        )
        with monkeypatch.context() as checks:
            checks.setattr(QuickChecks, "complete", broken)
            alerting.observed(Observation("outage:main", app.clock.now(), (WRONG,)))
            wait_for_alarms()
        assert [one.over for one in state.memory.crashes.values()] == [False]
        alerting.observed(Observation("outage:main", app.clock.now(), (WRONG,)))
        wait_for_alarms()
        assert [one.over for one in state.memory.crashes.values()] == [True]
        assert [one.key for one in app.catalog.open_incidents()] == [WRONG.key]
        alerting.close()
