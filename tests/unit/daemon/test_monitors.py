from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from guardian.config import Config, load_config
from guardian.daemon import monitors
from guardian.daemon.monitors import ScheduleMonitors, timing_of
from guardian.errors import DeliveryError
from guardian.escalate.model import JobTiming
from guardian.testing import FakeClock

NOW = datetime(2026, 11, 23, 2, 0, tzinfo=UTC)
CONFIG = """
encryption: {passphrase_file: /nowhere}
stores: {local: {kind: local, path: backups}}
servers:
  main: {dsn: host=db, backup: {schedule: "@daily", timezone: Europe/Berlin, timeout: 1h}}
  side: {dsn: host=db}
"""


@pytest.fixture
def config(tmp_path: Path) -> Config:
    file = tmp_path / "guardian.yaml"
    file.write_text(CONFIG)
    return load_config(file, {})


class Monitor:
    """A monitor of schedules that remembers."""

    def __init__(self) -> None:
        self.said: list[tuple[object, ...]] = []

    def begin(self, job: str, timing: JobTiming) -> str:
        self.said.append(("begin", job))
        return f"{job} #{len(self.said)}"

    def end(self, job: str, begun: str, *, ok: bool, seconds: float) -> None:
        self.said.append(("end", job, begun, ok, seconds))

    def close(self) -> None:
        self.said.append(("close",))


@pytest.fixture
def monitor(monkeypatch: pytest.MonkeyPatch) -> Monitor:
    made = Monitor()
    monkeypatch.setattr(monitors, "_monitors", lambda _config: [made])
    return made


def test_the_backups_of_a_server_are_one_job_from_the_first_to_the_last(
    config: Config, monitor: Monitor
) -> None:
    clock = FakeClock(NOW)
    told = ScheduleMonitors(config, clock)
    told.began("main")
    told.began("main")
    clock.advance(30)
    told.ended("main", ok=True, more=False)
    told.ended("main", ok=False, more=True)
    told.began("main")
    clock.advance(30)
    told.ended("main", ok=True, more=False)
    told.began("side")  # by hand alone: nobody expects it
    told.ended("side", ok=True, more=False)
    told.ended("unknown", ok=True, more=False)
    told.close()
    assert monitor.said == [
        ("begin", "backup main"),
        ("end", "backup main", "backup main #1", False, 60.0),
        ("close",),
    ]


def test_a_monitor_in_trouble_holds_up_nobody(
    config: Config, monitor: Monitor, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(job: str, timing: JobTiming) -> str:
        raise DeliveryError("no answer")

    monkeypatch.setattr(monitor, "begin", refuse)
    told = ScheduleMonitors(config, FakeClock(NOW))
    told.began("main")
    told.ended("main", ok=True, more=False)
    told.close()
    assert monitor.said == [("close",)]


def test_without_monitors_there_is_no_thread(config: Config) -> None:
    told = ScheduleMonitors(config, FakeClock(NOW))
    told.began("main")
    told.ended("main", ok=True, more=False)
    assert told._thread is None
    told.close()


def test_shortcuts_are_told_as_the_five_fields_that_they_mean(config: Config) -> None:
    assert timing_of(config.servers["main"]) == JobTiming(
        "0 0 * * *", "Europe/Berlin", timedelta(hours=3)
    )
