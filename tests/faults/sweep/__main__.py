"""The fault sweep by hand: all of it, or as much of it as there is time for, by a seed.

    python -m tests.faults.sweep                          every point with every fault (hours)
    python -m tests.faults.sweep --seed 7 --minutes 30    at random, until the time is over
    python -m tests.faults.sweep --count                  how many points there are
    python -m tests.faults.sweep backup restore           these scenarios only

It ends with 1 when an invariant broke or a point was never met, and says how to repeat it.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parents[2])]  # `support`, as pytest has it

from support.sweeping.scenarios import ALL, BY_NAME, Scenario, Scene  # noqa: E402
from support.sweeping.sweep import Case, Tally, discover, strike, sweep  # noqa: E402
from support.sweeping.world import own_world  # noqa: E402


def main() -> int:
    """Sweep as the command line says; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults.sweep", description=__doc__)
    parser.add_argument("scenarios", nargs="*", metavar="SCENARIO", help=", ".join(BY_NAME))
    parser.add_argument("--seed", type=int, help="strike at random, by this seed")
    parser.add_argument("--minutes", type=float, default=10.0, help="with --seed: for how long")
    parser.add_argument("--count", action="store_true", help="count the points, strike at none")
    parser.add_argument("--only", default="", help="points whose label holds this")
    parser.add_argument("--fault", help="this fault alone: kill, stop, error, full, cut …")
    chosen = parser.parse_args()
    unknown = set(chosen.scenarios) - set(BY_NAME)
    if unknown:
        parser.error(f"no such scenario: {', '.join(sorted(unknown))}; there are {list(BY_NAME)}")
    scenarios = [BY_NAME[name] for name in chosen.scenarios] or list(ALL)

    def wanted(cases: Sequence[Case]) -> Sequence[Case]:
        return [
            case for case in cases if chosen.only in case[0] and chosen.fault in {None, case[2]}
        ]

    with own_world() as world, ExitStack() as stack:
        scenes = {one: stack.enter_context(one.scene(world)) for one in scenarios}
        if chosen.count:
            return count(scenes)
        if chosen.seed is not None:
            return wander(scenes, chosen.seed, chosen.minutes * 60, wanted)
        tallies = [sweep(one, scene, wanted, say) for one, scene in scenes.items()]
    return report(tallies)


def count(scenes: dict[Scenario, Scene]) -> int:
    """How many points and faults there are, as docs/faults.md tells it."""
    print(f"{'scenario':18} {'points':>7} {'faults':>7}  of which")
    for scenario, scene in scenes.items():
        cases = discover(scenario, scene)
        kinds = Counter(fault for _, _, fault in cases)
        points = len({case[:2] for case in cases})
        told = ", ".join(f"{number} {kind}" for kind, number in kinds.most_common())
        print(f"{scenario.name:18} {points:7} {len(cases):7}  {told}", flush=True)
    return 0


def wander(scenes, seed, seconds, wanted) -> int:
    """Strike at random cases of random scenarios until the time is over."""
    chance = random.Random(seed)
    cases = {one: list(wanted(discover(one, scene))) for one, scene in scenes.items()}
    tallies = {one: Tally(one.name, len({case[:2] for case in cases[one]})) for one in scenes}
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        one = chance.choice(list(scenes))
        case = chance.choice(cases[one])
        tally = tallies[one]
        tally.cases += 1
        try:
            tally.struck += strike(one, scenes[one], case).struck
        except AssertionError as error:
            tally.broken.append((case, str(error)))
            say(f"BROKEN {one.name} {case}: {error}")
    print(f"seed {seed}")
    return report(list(tallies.values()))


def report(tallies: Sequence[Tally]) -> int:
    """Say what came of it."""
    for tally in tallies:
        say(tally.told())
    for tally in tallies:
        for case, why in tally.broken:
            say(f"  {tally.scenario}: {case}: {why}")
        for case in tally.untested:
            say(f"  {tally.scenario}: {case} was never met")
    return int(any(tally.broken or tally.untested for tally in tallies))


def say(text: str) -> None:
    """A line, at once."""
    print(text, flush=True)


if __name__ == "__main__":
    sys.exit(main())
