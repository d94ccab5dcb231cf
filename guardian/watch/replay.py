"""What the policies of today would have done in what was recorded.

The recording shows sessions that went on, whatever a policy would have done to them: so it is
judged in observe mode, which counts each victim once. What a *cancelled or freed* session would
have done instead, nobody can know; nor does a policy's ``query`` match where query texts were kept
out of the recording.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from guardian.watch.memory import Memory
from guardian.watch.model import Mode, Observation
from guardian.watch.policy import Hold, Verdict, evaluate
from guardian.watch.rules import Limits, Policy


@dataclass(frozen=True, slots=True)
class Hit:
    """Somebody who would have been hit, or reported."""

    server: str
    at: datetime
    verdict: Verdict


@dataclass(frozen=True, slots=True)
class PolicyReplay:
    """What one policy would have done, in time's order.

    ``limited`` counts the sessions that its limits held back at some time and that were never hit.
    """

    policy: str
    hits: tuple[Hit, ...]
    reports: tuple[Hit, ...]
    limited: int


@dataclass(frozen=True, slots=True)
class Replay:
    """What all policies would have done, in their order; those without a victim too.

    ``first`` and ``last`` are the instants of the recording, None when it is empty. ``stops`` are
    those at which a server's hourly limit would have stopped us.
    """

    policies: tuple[PolicyReplay, ...]
    looks: int
    first: datetime | None
    last: datetime | None
    stops: tuple[tuple[str, datetime], ...]


def replay(
    observations: Iterable[Observation], policies: Sequence[Policy], limits: Limits
) -> Replay:
    """Run the policies over recorded looks, each server's in the order of their time.

    Takes the looks one by one: a week of them need not fit into memory.
    """
    memories: dict[str, Memory] = {}
    acted: list[Hit] = []
    limited: dict[str, set[tuple[str, object]]] = {}
    stops: list[tuple[str, datetime]] = []
    looks, first, last = 0, None, None
    for look in observations:
        looks += 1
        first = look.at if first is None else min(first, look.at)
        last = look.at if last is None else max(last, look.at)
        memory = memories.get(look.server, Memory())
        decisions = evaluate(look, policies, memory, limits, Mode.OBSERVE)
        memories[look.server] = decisions.memory
        if decisions.notice is not None:
            stops.append((look.server, look.at))
        for one in decisions.verdicts:
            if one.hold is None:
                acted.append(Hit(look.server, look.at, one))
            elif one.hold in {Hold.PER_CYCLE, Hold.PER_HOUR}:
                limited.setdefault(one.policy, set()).add((look.server, one.session.key))
    return Replay(
        policies=tuple(
            _of_policy(name, acted, limited.get(name, set()))
            for name in dict.fromkeys(policy.name for policy in policies)
        ),
        looks=looks,
        first=first,
        last=last,
        stops=tuple(stops),
    )


def _of_policy(name: str, acted: Sequence[Hit], limited: set[tuple[str, object]]) -> PolicyReplay:
    signals = tuple(one for one in acted if one.verdict.is_signal)
    own = tuple(one for one in acted if one.verdict.policy == name)
    hit = {(one.server, one.verdict.session.key) for one in signals}
    return PolicyReplay(
        policy=name,
        hits=tuple(one for one in own if one.verdict.is_signal),
        reports=tuple(one for one in own if not one.verdict.is_signal),
        limited=len(limited - hit),
    )
