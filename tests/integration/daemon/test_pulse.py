"""A dead man's switch hears of a daemon that is well, and of one that is not."""

from __future__ import annotations

import logging
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from support.receivers import Answer, WebReceiver

from guardian.adapters.heartbeats.ping import Flavour, Ping
from guardian.daemon.pulse import Pulse
from guardian.daemon.state import ConfigNow, JobNow, Memory, Role, Snapshot, State

NOW = datetime(2026, 11, 23, 2, 0, tzinfo=UTC)
WELL = Memory(Role.ACTIVE, "a1b2c3", "1.0", NOW, ConfigNow("guardian.yaml", NOW))
NAME = "heartbeat 1 (ping)"


class Scene:
    def __init__(self, receiver: WebReceiver) -> None:
        self.state = State(WELL)
        self.now = Snapshot(NOW, WELL, pulse_age=1.0, jobs=(JobNow("watch:main"),))
        ping = Ping(
            NAME,
            f"{receiver.url}/check",
            timedelta(minutes=1),
            flavour=Flavour.HEALTHCHECKS,
            seconds=5,
        )
        self.pulse = Pulse(ping, self.state, lambda: self.now)
        self.receiver = receiver

    @property
    def told(self) -> list[str]:
        return [f"{one.path} {one.body.decode()}" for one in self.receiver.requests]


@pytest.fixture
def scene():
    with WebReceiver(lambda _: Answer(200, b"OK")) as receiver:
        yield Scene(receiver)


def test_who_is_well_says_so(scene: Scene) -> None:
    scene.pulse.round()
    scene.pulse.round()
    assert scene.told == [
        "/check/start guardian 1.0 begins",
        "/check guardian 1.0 is well",
        "/check guardian 1.0 is well",
    ]
    assert scene.state.memory.heartbeats == {NAME: NOW}


def test_who_is_stuck_does_not_pass_for_well(scene: Scene) -> None:
    scene.now = replace(scene.now, pulse_age=300.0)
    scene.pulse.round()
    assert scene.told[-1] == "/check/fail scheduler: has done nothing for 300 s"


def test_that_nobody_hears_is_logged_once(scene: Scene, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="guardian")
    scene.receiver.decide = lambda _: Answer(500)
    scene.pulse.round()
    scene.pulse.round()
    assert scene.state.memory.heartbeats == {}
    scene.receiver.decide = lambda _: Answer(200, b"OK")
    scene.pulse.round()
    scene.pulse.round()
    assert scene.state.memory.heartbeats == {NAME: NOW}
    assert [(one.levelname, one.getMessage()) for one in caplog.records] == [
        ("WARNING", f"{NAME} answered 500 Internal Server Error"),
        ("INFO", f"{NAME} hears us again"),
    ]
