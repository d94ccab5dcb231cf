"""The fault sweep by hand: all of it, or as much of it as there is time for, by a seed.

    python -m tests.faults.sweep                          every point with every fault (hours)
    python -m tests.faults.sweep --seed 7 --minutes 30    at random, until the time is over
    python -m tests.faults.sweep --count                  how many points there are
    python -m tests.faults.sweep backup restore           these scenarios only

It ends with 1 when an invariant broke or a point was never met. Ctrl-C ends it early, and what was
found until then is told.
"""

from __future__ import annotations

import argparse
import math
import signal
import sys
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from itertools import chain
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parents[2])]  # `support`, as pytest has it

from support.sweeping.scenarios import ALL, BY_NAME  # noqa: E402
from support.sweeping.stage import Case, Scenario  # noqa: E402
from support.sweeping.sweep import Tally, discover, in_turn, orders, shuffled, sweep  # noqa: E402
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

    def ordered(name: str, cases: Sequence[Case]) -> Sequence[Case]:
        return cases if chosen.seed is None else shuffled(cases, f"{name} {chosen.seed}")

    signal.signal(signal.SIGTERM, signal.default_int_handler)
    began = time.monotonic()
    with own_world() as world, ExitStack() as stack:
        scenes, ill = {}, []
        for one in scenarios:
            try:
                scene = stack.enter_context(one.scene(world))
                cases = discover(one, scene)
            except AssertionError as error:  # the others are swept all the same
                ill.append(Tally(one.name, broken=[(("undisturbed", 0, ""), str(error))]))
                say(f"BROKEN {one.name}, undisturbed: {error}")
                continue
            say(found(one, cases))
            scenes[one] = scene, ordered(one.name, wanted(cases))
        if chosen.count:
            return report(ill)
        made = [orders(one, *pair) for one, pair in scenes.items()]
        queues, until = [queue for _, queue in made], math.inf
        if chosen.seed is not None:
            until = time.monotonic() + chosen.minutes * 60
        sweep(chain(*queues) if chosen.seed is None else in_turn(queues), say, until)
        say(f"seed {chosen.seed}, {(time.monotonic() - began) / 60:.1f} minutes in all")
        return report([*(tally for tally, _ in made), *ill])  # whatever the end of the world does


def found(scenario: Scenario, cases: Sequence[Case]) -> str:
    """How many points and faults there are."""
    points = len({case[:2] for case in cases})
    kinds = Counter(fault for _, _, fault in cases)
    told = ", ".join(f"{number} {kind}" for kind, number in kinds.most_common())
    return f"{scenario.name}: {points} points, {len(cases)} faults: {told}"


def report(tallies: Sequence[Tally]) -> int:
    """Say what came of it, as docs/faults.md has it; the exit code."""
    kinds = sorted({kind for tally in tallies for kind in tally.struck})
    say(f"| scenario | lives | {' | '.join(kinds)} |")
    say("|---|---|" + "---|" * len(kinds))
    for tally in [*tallies, total(tallies)]:
        counts = " | ".join(str(tally.struck[kind] or "") for kind in kinds)
        say(f"| {tally.scenario} | {tally.struck.total()} | {counts} |")
    for tally in tallies:
        say(tally.told())
        for case, why in tally.broken:
            say(f"  BROKEN {case}: {why}")
        for case in tally.untested:
            say(f"  UNTESTED {case}")
    return int(any(tally.broken or tally.untested for tally in tallies))


def total(tallies: Sequence[Tally]) -> Tally:
    """All of them as one."""
    whole = Tally("all")
    for tally in tallies:
        whole.struck += tally.struck
    return whole


def say(text: str) -> None:
    """A line, at once."""
    print(text, flush=True)


if __name__ == "__main__":
    sys.exit(main())
