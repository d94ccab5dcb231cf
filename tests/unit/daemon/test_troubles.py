from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from guardian.daemon.state import ConfigNow, JobNow, Memory, Role, Snapshot, State
from guardian.daemon.troubles import FAILS_OFTEN, troubles
from guardian.watch.outage import Availability, Outage

NOW = datetime(2026, 11, 23, 2, 0, tzinfo=UTC)


@pytest.fixture
def state() -> State:
    return State(Memory(Role.ACTIVE, "k3f9", "1", NOW, ConfigNow("guardian.yaml", NOW)))


def parts(state: State, **fields: Any) -> dict[str, str]:
    found = troubles(replace(Snapshot(NOW, state.memory, pulse_age=1.0), **fields))
    assert len({one.part for one in found}) == len(found), "a part is told of once"
    return {one.part: one.text for one in found}


def test_none(state: State) -> None:
    state.server("main", outage=Outage(availability=Availability.UP))
    assert parts(state, jobs=(JobNow("a", failures=FAILS_OFTEN - 1, error="x"),)) == {}


def test_jobs_that_hang_or_fail_and_a_dead_scheduler(state: State) -> None:
    jobs = (JobNow("a", stuck=True, failures=9), JobNow("b", failures=FAILS_OFTEN, error="no"))
    assert set(parts(state, jobs=jobs)) == {"job a", "job b"}
    assert set(parts(state, pulse_age=999.0)) == {"scheduler"}


def test_a_crash_lasts_until_the_same_thing_went_well(state: State) -> None:
    state.crashed("watch:main", NOW, "KeyError: x")
    jobs = (JobNow("watch:main", failures=9, error="KeyError"),)
    assert parts(state, jobs=jobs) == {"watch:main": "internal error: KeyError: x"}
    state.went_well("other")
    assert set(parts(state)) == {"watch:main"}
    state.went_well("watch:main")
    assert parts(state) == {}
    state.crashed("watch:main", NOW, "KeyError: y")
    assert set(parts(state)) == {"watch:main"}
    assert state.memory.crashes["watch:main"].count == 2


def test_the_catalog_since_its_first_failure(state: State) -> None:
    state.catalog_written(NOW)
    state.catalog_failed(NOW + timedelta(seconds=5), "disk full")
    state.catalog_failed(NOW + timedelta(seconds=9), "still full")
    (found,) = troubles(Snapshot(NOW, state.memory))
    assert (found.part, found.text) == ("catalog", "still full")
    assert found.since == NOW + timedelta(seconds=5)
    state.catalog_written(NOW)
    assert parts(state) == {}


def test_a_refused_configuration(state: State) -> None:
    state.change(config=ConfigNow("guardian.yaml", NOW, "line 3: unknown key"))
    assert parts(state) == {
        "configuration": "line 3: unknown key (the one before is still in force)"
    }


def test_an_address_that_cannot_be_had(state: State) -> None:
    state.change(dashboard_problem="cannot listen on 127.0.0.1:80")
    assert parts(state) == {"dashboard": "cannot listen on 127.0.0.1:80"}


@pytest.mark.parametrize(
    ("availability", "told"),
    [(Availability.UP, True), (Availability.DOWN, False), (Availability.UNKNOWN, False)],
)
def test_a_server_that_answers_and_cannot_be_watched(
    state: State, availability: Availability, told: bool
) -> None:
    state.server("main", outage=Outage(availability=availability), watch_error="no rights")
    assert parts(state) == ({"watch main": "no rights"} if told else {})
