"""The sweep itself: find the points of a scenario, and strike at each in turn."""

from __future__ import annotations

import hashlib
import math
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import nullcontext, suppress
from dataclasses import dataclass, field, replace
from itertools import zip_longest
from typing import TypeVar

from support.sweeping.invariants import require
from support.sweeping.nursery import Life
from support.sweeping.stage import Case, Scenario, Scene

T = TypeVar("T")

_TRIES = 3
"""Threads come by in another order now and then; a point that is never met counts as untested."""
_MOST = 12
"""How many times of one label are struck at."""


@dataclass
class Tally:
    """What a sweep came to. ``struck`` counts lives that met their fault, by its kind."""

    scenario: str
    points: int = 0
    cases: int = 0
    struck: Counter[str] = field(default_factory=Counter)
    untested: list[Case] = field(default_factory=list)
    broken: list[tuple[Case, str]] = field(default_factory=list)

    def told(self) -> str:
        return (
            f"{self.scenario}: {self.points} points, {self.cases} faults, "
            f"{self.struck.total()} struck, {len(self.untested)} untested, "
            f"{len(self.broken)} broken"
        )


def discover(
    scenario: Scenario, scene: Scene, lives: int = 2, *, settled: bool = True
) -> list[Case]:
    """Every point that each of so many undisturbed runs passes, with each fault that fits it.

    Without ``settled`` the run after an undisturbed one is left out.
    """
    seen = [_undisturbed(scenario, scene, settled=settled) for _ in range(lives)]
    if scene.hazard is not None:
        found = [(kind, amount, scene.hazard.fault) for kind, amount in scene.hazard.amounts]
    else:
        found = _points(seen)
    points = len({(label, nth) for label, nth, _ in found})
    require(points >= scenario.fewest, f"{scenario.name} has {points} points only")
    return found


def _undisturbed(scenario: Scenario, scene: Scene, *, settled: bool) -> Life:
    scene.begin()
    with nullcontext() if scene.hazard is None else scene.hazard.measure():
        life = scene.run()
    require(life.status == 0 or scenario.fails, f"undisturbed, and it fails: {life.err[-1500:]}")
    whole = scene.judge.at_once(life)
    scenario.check(scene, life, whole)
    if settled:
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


def strike(scenario: Scenario, scene: Scene, case: Case) -> bool:
    """One life with one fault, the run after it, and all that must hold; whether it was struck."""
    scene.begin()
    if scene.hazard is None:
        life = scene.run(case)
    else:
        scene.hazard.arm(*case[:2])
        try:
            life = scene.run()
        finally:
            struck = scene.hazard.disarm()
        life = replace(life, struck=struck)
    whole = scene.judge.at_once(life)
    scenario.check(scene, life, whole)
    scenario.settle(scene, life)
    return life.struck


@dataclass(frozen=True)
class Order:
    """A case that is to be struck at, and where that is counted."""

    scenario: Scenario
    scene: Scene
    case: Case
    tally: Tally

    def carry_out(self) -> str:
        """Strike until it is met, and count what comes of it; a word when that is bad."""
        tally, what = self.tally, f"{self.scenario.name} {self.case}"
        tally.cases += 1
        try:
            met = any(strike(self.scenario, self.scene, self.case) for _ in range(_TRIES))
        except Exception as error:  # noqa: BLE001 - what no check thought of, too; the sweep goes on
            why = str(error) if isinstance(error, AssertionError) else repr(error)
            tally.broken.append((self.case, why))
            return f"BROKEN {what}: {why}"
        if met:
            tally.struck[self.case[2]] += 1
            return ""
        tally.untested.append(self.case)
        return f"UNTESTED {what}"


def orders(scenario: Scenario, scene: Scene, cases: Sequence[Case]) -> tuple[Tally, list[Order]]:
    """An order for each case, all counted in one tally."""
    tally = Tally(scenario.name, points=len({case[:2] for case in cases}))
    return tally, [Order(scenario, scene, case, tally) for case in cases]


def sweep(
    queue: Iterable[Order],
    tell: Callable[[str], object] = lambda _: None,
    until: float = math.inf,
) -> None:
    """Carry the orders out; nothing is raised for what breaks, it is in the tallies.

    It ends early when the monotonic clock is at ``until``, or by an interrupt.
    """
    with suppress(KeyboardInterrupt):
        for number, order in enumerate(queue, 1):
            if time.monotonic() > until:
                return
            if bad := order.carry_out():
                tell(bad)
            if number % 25 == 0:
                tell(f"{number} lives; {order.tally.told()}")


def shuffled(cases: Iterable[Case], seed: int | str) -> list[Case]:
    """All cases in an order that the seed gives: the kinds of faults take turns.

    Each case has its place by itself, so a point more or less does not change all the others'.
    """
    kinds: dict[str, list[Case]] = {}
    for case in sorted(cases, key=lambda one: _lot(seed, *one)):
        kinds.setdefault(case[2], []).append(case)
    return list(in_turn([kinds[kind] for kind in sorted(kinds, key=lambda one: _lot(seed, one))]))


def _lot(*what: object) -> bytes:
    return hashlib.sha256(repr(what).encode()).digest()


def in_turn(rows: Iterable[Sequence[T]]) -> Iterator[T]:
    """The first of each row, the second of each, and so on."""
    for column in zip_longest(*rows):
        yield from (one for one in column if one is not None)
