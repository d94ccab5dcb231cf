"""A fault at every point of backup, prune, drill, restore, alerts, migration and rebuild.

Always: a sample, spread evenly over points and faults, the same each time. With GUARDIAN_LONG=1:
every point with every fault, hours of it. docs/faults.md tells what is swept and what must hold.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from support.postgres import PostgresServer
from support.s3 import MotoS3
from support.sweeping.nursery import Nursery
from support.sweeping.scenarios import ALL, Scenario, World
from support.sweeping.sweep import Case, Tally, evenly, sweep
from support.sweeping.world import short_folder

SAMPLE = {
    "backup": 4,
    "backup to S3": 1,
    "prune": 3,
    "drill": 3,
    "restore": 4,
    "alerts": 2,
    "migration": 8,
    "rebuild": 5,
    "backup, disk full": 1,
}
"""How many faults of each a suite has time for; wires, and the servers of drills, it leaves out."""


@pytest.fixture(scope="module")
def nursery() -> Iterator[Nursery]:
    made = Nursery()
    yield made
    made.close()


@pytest.fixture
def folder() -> Iterator[Path]:
    with short_folder() as made:
        yield made


@pytest.fixture
def world(
    pg15: PostgresServer, nursery: Nursery, folder: Path, request: pytest.FixtureRequest
) -> World:
    def s3() -> MotoS3:
        server: MotoS3 = request.getfixturevalue("moto_s3")
        return server

    return World(pg15, s3, nursery, folder)


def swept(
    scenario: Scenario,
    world: World,
    choose: Callable[[Sequence[Case]], Sequence[Case]] = lambda cases: cases,
    lives: int = 2,
) -> Tally:
    with scenario.scene(world) as scene:
        tally = sweep(scenario, scene, choose, lives=lives)
    assert not tally.broken, tally.broken
    assert not tally.untested, tally.untested
    assert tally.struck == tally.cases > 0
    return tally


def scenarios(*, sampled: bool) -> list[Any]:
    return [
        pytest.param(one, id=one.name, marks=[pytest.mark.needs_root] if one.needs_root else [])
        for one in ALL
        if one.name in SAMPLE or not sampled
    ]


@pytest.mark.parametrize("scenario", scenarios(sampled=True))
def test_a_sample(scenario: Scenario, world: World) -> None:
    swept(scenario, world, evenly(SAMPLE[scenario.name]), lives=1)


@pytest.mark.takes_long
@pytest.mark.timeout(0)
@pytest.mark.parametrize("scenario", scenarios(sampled=False))
def test_every_point(scenario: Scenario, world: World) -> None:
    swept(scenario, world)
