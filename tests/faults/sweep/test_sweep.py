"""A fault at every point of backup, prune, drill, restore, alerts, migration and rebuild.

Always: a sample, by a fixed seed, in which the kinds of faults take turns. With GUARDIAN_LONG=1:
every point with every fault, hours of it. docs/faults.md tells what is swept and what must hold.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from support.postgres import PostgresServer
from support.s3 import MotoS3
from support.sweeping.nursery import Nursery
from support.sweeping.scenarios import ALL
from support.sweeping.stage import Case, Scenario, Scene, World
from support.sweeping.sweep import discover, orders, shuffled, sweep
from support.sweeping.world import short_folder

SAMPLE = {
    "backup": 3,
    "backup to S3": 1,
    "prune": 3,
    "drill": 2,
    "restore": 3,
    "alerts": 1,
    "migration": 6,
    "rebuild": 4,
    "backup, disk full": 1,
}
"""How many faults of each a suite has time for; wires, and the servers of drills, it leaves out."""
SEED = 7


@pytest.fixture(scope="module")
def world(pg15: PostgresServer, request: pytest.FixtureRequest) -> Iterator[World]:
    def s3() -> MotoS3:
        server: MotoS3 = request.getfixturevalue("moto_s3")
        return server

    nursery = Nursery()
    with short_folder() as folder:
        made = World(pg15, s3, nursery, folder)
        yield made
        made.close()
    nursery.close()


def assert_well(scenario: Scenario, scene: Scene, cases: Sequence[Case]) -> None:
    tally, queue = orders(scenario, scene, cases)
    sweep(queue)
    assert not tally.broken, tally.broken
    assert not tally.untested, tally.untested
    assert tally.struck.total() == tally.cases > 0


def scenarios(*, sampled: bool) -> list[Any]:
    return [
        pytest.param(one, id=one.name, marks=[pytest.mark.needs_root] if one.needs_root else [])
        for one in ALL
        if one.name in SAMPLE or not sampled
    ]


@pytest.mark.parametrize("scenario", scenarios(sampled=True))
def test_a_sample(scenario: Scenario, world: World) -> None:
    with scenario.scene(world) as scene:
        cases = discover(scenario, scene, 1, settled=False)
        chosen = shuffled(cases, f"{scenario.name} {SEED}")[: SAMPLE[scenario.name]]
        assert_well(scenario, scene, chosen)


@pytest.mark.takes_long
@pytest.mark.timeout(0)
@pytest.mark.parametrize("scenario", scenarios(sampled=False))
def test_every_point(scenario: Scenario, world: World) -> None:
    with scenario.scene(world) as scene:
        assert_well(scenario, scene, discover(scenario, scene))
