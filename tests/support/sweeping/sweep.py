"""The sweep itself: find the points of a scenario, and strike at each in turn."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, replace

from support.sweeping.invariants import BrokenError, require
from support.sweeping.nursery import Life
from support.sweeping.points import Label
from support.sweeping.scenarios import Scenario, Scene

Case = tuple[Label, int, str]
"""A point (what, the how-many-eth) and the fault there."""

_TRIES = 3
"""Threads come by in another order now and then; a point that is never met counts as untested."""


@dataclass
class Tally:
    """What a sweep came to."""

    scenario: str
    points: int = 0
    cases: int = 0
    struck: int = 0
    untested: list[Case] = field(default_factory=list)
    broken: list[tuple[Case, str]] = field(default_factory=list)

    def told(self) -> str:
        return (
            f"{self.scenario}: {self.points} points, {self.cases} faults, {self.struck} struck, "
            f"{len(self.untested)} untested, {len(self.broken)} broken"
        )


_MOST = 12


def discover(scenario: Scenario, scene: Scene, lives: int = 2) -> list[Case]:
    """Every point that each of so many undisturbed runs passes, with each fault that fits it."""
    seen = [_undisturbed(scenario, scene) for _ in range(lives)]
    if scene.hazard is not None:
        found = [(kind, amount, scene.hazard.fault) for kind, amount in scene.hazard.amounts]
    else:
        found = _points(seen)
    points = len({(label, nth) for label, nth, _ in found})
    require(points >= scenario.fewest, f"{scenario.name} has {points} points only")
    return found


def _undisturbed(scenario: Scenario, scene: Scene) -> Life:
    scene.ground.put_back()
    with nullcontext() if scene.hazard is None else scene.hazard.measure():
        life = scene.ground.run(*scene.words, watched=scene.hazard is None)
    whole = scene.judge.at_once(life)
    scenario.check(scene, life, whole)
    scenario.settle(scene, life)
    return life


def _points(lives: Sequence[Life]) -> list[Case]:
    found = []
    for label in lives[0].points:
        there = min(life.points.get(label, 0) for life in lives)
        for nth in _spread(there):
            found += [(label, nth, fault) for fault in lives[0].faults[label]]
    return found


def _spread(times: int) -> list[int]:
    """Which of a label's times: all, or twelve where it is the thousand files of a cluster."""
    return sorted({1 + number * times // _MOST for number in range(_MOST)}) if times else []


def strike(scenario: Scenario, scene: Scene, case: Case) -> Life:
    """One life with one fault, the run after it, and all that must hold."""
    scene.ground.put_back()
    if scene.hazard is None:
        life = scene.ground.run(*scene.words, strike=case)
    else:
        scene.hazard.arm(*case[:2])
        try:
            life = scene.ground.run(*scene.words)
        finally:
            struck = scene.hazard.disarm()
        life = replace(life, struck=struck)
    whole = scene.judge.at_once(life)
    scenario.check(scene, life, whole)
    scenario.settle(scene, life)
    return life


def sweep(
    scenario: Scenario,
    scene: Scene,
    choose: Callable[[Sequence[Case]], Sequence[Case]] = lambda cases: cases,
    tell: Callable[[str], object] = lambda _: None,
    lives: int = 2,
) -> Tally:
    """Strike at each chosen case. Nothing is raised for what breaks: it is in the tally."""
    cases = discover(scenario, scene, lives)
    tally = Tally(scenario.name, points=len({case[:2] for case in cases}))
    chosen = choose(cases)
    tally.cases = len(chosen)
    for number, case in enumerate(chosen, 1):
        try:
            struck = any(strike(scenario, scene, case).struck for _ in range(_TRIES))
        except (BrokenError, AssertionError) as error:
            tally.broken.append((case, str(error)))
            tell(f"{number}/{len(chosen)} BROKEN {case}: {error}")
            continue
        if struck:
            tally.struck += 1
        else:
            tally.untested.append(case)
            tell(f"{number}/{len(chosen)} UNTESTED {case}")
        if number % 25 == 0:
            tell(f"{number}/{len(chosen)} {tally.told()}")
    return tally


def evenly(count: int) -> Callable[[Sequence[Case]], Sequence[Case]]:
    """So many of the cases, spread over all points and over the kinds of faults."""

    def choose(cases: Sequence[Case]) -> Sequence[Case]:
        points: dict[tuple[Label, int], list[Case]] = {}
        for case in cases:
            points.setdefault(case[:2], []).append(case)
        places = list(points.values())
        wanted = min(count, len(places))
        steps = [places[number * len(places) // wanted] for number in range(wanted)]
        return [faults[number % len(faults)] for number, faults in enumerate(steps)]

    return choose


def at_random(seed: int, count: int) -> Callable[[Sequence[Case]], Sequence[Case]]:
    """So many, by a seed."""

    def choose(cases: Sequence[Case]) -> Sequence[Case]:
        return random.Random(seed).sample(list(cases), min(count, len(cases)))

    return choose
