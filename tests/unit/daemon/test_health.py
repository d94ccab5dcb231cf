from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from guardian.daemon.health import CATALOG_PATIENCE, PULSE_LIMIT, Status, judge
from guardian.daemon.state import (
    CatalogNow,
    ChannelNow,
    ConfigNow,
    JobNow,
    Memory,
    Role,
    ServerNow,
    Snapshot,
)
from guardian.watch.outage import Availability, Outage

NOW = datetime(2026, 11, 23, 2, 0, tzinfo=UTC)
MEMORY = Memory(
    role=Role.ACTIVE,
    run_id="k3f9",
    version="1",
    started_at=NOW - timedelta(hours=1),
    config=ConfigNow("/etc/guardian/guardian.yaml", NOW - timedelta(hours=1)),
)
WELL = Snapshot(NOW, MEMORY, pulse_age=1.0, jobs=(JobNow("watch:main"),))


def with_memory(**fields: object) -> Snapshot:
    return replace(WELL, memory=replace(MEMORY, **fields))  # type: ignore[arg-type]


def status(snapshot: Snapshot, name: str) -> Status:
    (found,) = [one for one in judge(snapshot).components if one.name == name]
    return found.status


def test_well() -> None:
    health = judge(WELL)
    assert health.healthy
    assert {one.status for one in health.components} == {Status.OK}


def test_a_silent_scheduler_is_unhealthy() -> None:
    edge = PULSE_LIMIT.total_seconds()
    assert judge(replace(WELL, pulse_age=edge)).healthy
    health = judge(replace(WELL, pulse_age=edge + 1))
    assert health.reasons == (f"scheduler: has done nothing for {edge + 1:.0f} s",)


def test_a_standby_needs_no_scheduler() -> None:
    snapshot = replace(with_memory(role=Role.STANDBY), pulse_age=None)
    assert judge(snapshot).healthy
    assert judge(snapshot).role is Role.STANDBY


def test_a_stuck_job_is_unhealthy_and_named() -> None:
    since = NOW - timedelta(minutes=10)
    job = JobNow("vitals:main", running_since=since, stuck=True)
    health = judge(replace(WELL, jobs=(JobNow("tick"), job)))
    assert health.reasons == ("jobs: stuck: vitals:main",)
    (found,) = [one for one in health.components if one.name == "jobs"]
    assert found.age == 600


def test_a_job_that_fails_is_impaired_only() -> None:
    snapshot = replace(WELL, jobs=(JobNow("patrol:main", failures=3, error="refused"),))
    assert judge(snapshot).healthy
    assert status(snapshot, "jobs") is Status.IMPAIRED


def test_the_catalog_may_be_away_for_a_moment() -> None:
    failing = CatalogNow(NOW - timedelta(hours=1), NOW - CATALOG_PATIENCE / 2, "disk full")
    snapshot = with_memory(catalog=failing)
    assert judge(snapshot).healthy
    assert status(snapshot, "catalog") is Status.IMPAIRED
    for_long = replace(failing, failing_since=NOW - CATALOG_PATIENCE)
    snapshot = with_memory(catalog=for_long)
    assert judge(snapshot).reasons == ("catalog: not writable for 60 s: disk full",)
    assert status(snapshot, "catalog") is Status.FAILED


def test_all_channels_dead_is_unhealthy_one_of_two_is_not() -> None:
    dead = ChannelNow("pager", NOW - timedelta(minutes=5), "410")
    assert judge(with_memory(channels=(dead, ChannelNow("mail")))).healthy
    health = judge(with_memory(channels=(dead, replace(dead, name="mail"))))
    assert health.reasons == ("channels: all fail: mail, pager",)


def test_a_guarded_server_that_is_down_is_shown_and_no_reason() -> None:
    down = Outage(availability=Availability.DOWN, since=NOW, down_since=NOW)
    snapshot = with_memory(servers={"main": ServerNow("main", down, watch_error="refused")})
    assert judge(snapshot).healthy
    assert status(snapshot, "server main") is Status.IMPAIRED


def test_a_configuration_that_could_not_be_reloaded_is_impaired_only() -> None:
    config = ConfigNow("guardian.yaml", NOW, problem="line 3: unknown key")
    assert judge(with_memory(config=config)).healthy
    assert status(with_memory(config=config), "config") is Status.IMPAIRED


def test_a_clock_that_went_back_makes_no_negative_age() -> None:
    config = ConfigNow("guardian.yaml", NOW + timedelta(hours=1))
    (found,) = [one for one in judge(with_memory(config=config)).components if one.name == "config"]
    assert found.age == 0
