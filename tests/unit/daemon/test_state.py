from __future__ import annotations

from datetime import UTC, datetime

from guardian.daemon.state import ConfigNow, Memory, Role, State
from guardian.watch.outage import Availability, Outage

NOW = datetime(2026, 11, 23, 2, 0, tzinfo=UTC)
UP = Outage(availability=Availability.UP)


def state() -> State:
    return State(Memory(Role.ACTIVE, "k3f9", "1", NOW, ConfigNow("guardian.yaml", NOW)))


def test_a_snapshot_does_not_change_any_more() -> None:
    made = state()
    before = made.memory
    made.server("main", outage=UP)
    made.server("main", watch_error="refused")
    made.probe("web", "http", UP)
    made.count_kill("main", None, "cancel", "gone")
    made.heard("heartbeat 1", NOW)
    assert (before.servers, before.probes, before.kills, before.heartbeats) == ({}, {}, {}, {})
    after = made.memory.servers["main"]
    assert (after.outage, after.watch_error) == (UP, "refused"), "the rest of it stays"


def test_what_has_left_the_configuration_stays_away_whatever_a_last_round_says() -> None:
    made = state()
    made.server("main", outage=UP)
    made.server("side", outage=UP)
    made.probe("web", "http", UP)
    made.keep_only(["main", "new"], [])
    made.server("side", outage=UP)
    made.probe("web", "http", UP)
    made.server("new", outage=UP)
    assert set(made.memory.servers) == {"main", "new"}
    assert made.memory.probes == {}
