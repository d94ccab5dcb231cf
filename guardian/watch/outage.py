"""From single probes to outages: up, suspect, down. Pure; time comes with the probes' results.

A lost packet is no outage, and one answer in between is no recovery:

- ``failures`` failed probes in a row make it *down*; until then it is *suspect*. It counts as down
  *since the first* of them.
- ``successes`` good ones in a row make it *up* again, from suspect as from down.
- **Flap damping.** Each time it went down within the last ``flap_window`` doubles the successes
  that are needed before it is up again (2, 4, 8 … at most ``most_successes``). A server that comes
  and goes thus gives one long outage, not twenty short ones, and no page is lost: going down is
  never damped. After a quiet ``flap_window`` all is as before.

Invariants: down is only entered after ``failures`` failures in a row, and only left after at least
``successes`` successes in a row; ``down_since`` is set exactly while it is down; of two steps at
most one yields the same change.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum

_LATENCIES_KEPT = 720
"""An hour at one probe in five seconds."""
_FLAPS_KEPT = 16


class ProbeCause(StrEnum):
    """Why a probe failed."""

    REFUSED = "refused"
    """Nobody listens there."""
    TIMEOUT = "timeout"
    UNREACHABLE = "unreachable"
    """No route, network down."""
    CLOSED = "closed"
    """The other side hung up in the middle."""
    DNS = "dns"
    TLS = "tls"
    AUTHENTICATION = "authentication"
    TOO_MANY_CONNECTIONS = "too_many_connections"
    STARTING_UP = "starting_up"
    IN_RECOVERY = "in_recovery"
    """Recovering from a crash, or a standby that takes no queries."""
    SHUTTING_DOWN = "shutting_down"
    NO_DATABASE = "no_database"
    WRONG_ANSWER = "wrong_answer"
    """It answers, but not what was expected: an HTTP status, a JSON value."""
    UNKNOWN = "unknown"

    @property
    def answers(self) -> bool:
        """Whether something is alive at the other end, and says no."""
        return self in _ANSWERS


_ANSWERS = frozenset(
    {
        ProbeCause.AUTHENTICATION,
        ProbeCause.TOO_MANY_CONNECTIONS,
        ProbeCause.STARTING_UP,
        ProbeCause.IN_RECOVERY,
        ProbeCause.SHUTTING_DOWN,
        ProbeCause.NO_DATABASE,
        ProbeCause.WRONG_ANSWER,
    }
)


@dataclass(frozen=True, slots=True)
class ProbeResult:
    """One probe: when it began, how long it took, and why it failed (None: it succeeded).

    ``text`` is one line for people without any secret; ``sqlstate`` is the server's, where it gave
    one.
    """

    at: datetime
    latency_seconds: float
    cause: ProbeCause | None = None
    text: str = ""
    mend: str | None = None
    sqlstate: str | None = None

    @property
    def ok(self) -> bool:
        """Whether it succeeded."""
        return self.cause is None


@dataclass(frozen=True, slots=True)
class OutageRules:
    """When something counts as down, and as up again. See the module for flap damping."""

    failures: int = 3
    successes: int = 2
    flap_window: timedelta = timedelta(minutes=30)
    most_successes: int = 32

    def __post_init__(self) -> None:
        """Refuse counts below one."""
        if self.failures < 1 or self.successes < 1:
            raise ValueError("failures and successes count from one")


class Availability(StrEnum):
    """What is known of a server or another thing that is probed."""

    UNKNOWN = "unknown"
    """Not probed yet."""
    UP = "up"
    SUSPECT = "suspect"
    DOWN = "down"


class ChangeKind(StrEnum):
    """What a probe changed."""

    SUSPECTED = "suspected"
    CLEARED = "cleared"
    """A suspicion came to nothing; also the first success of all."""
    WENT_DOWN = "went_down"
    CAUSE_CHANGED = "cause_changed"
    """Still down, for another reason: refused, then starting up."""
    CAME_UP = "came_up"


@dataclass(frozen=True, slots=True)
class Change:
    """Something to tell: what happened at ``at``, since when it has failed, and why.

    ``since`` is the first failed probe of the suspicion or the outage; None for the first success
    of all. ``cause`` and ``text`` are those of the latest failure.
    """

    kind: ChangeKind
    at: datetime
    since: datetime | None = None
    cause: ProbeCause | None = None
    text: str = ""
    mend: str | None = None


@dataclass(frozen=True, slots=True)
class Outage:
    """All that is remembered of one probed thing. Begins as ``Outage()``.

    ``failing_since`` is the first failed probe of the current row of failures, or of the latest
    row while it is not up again. ``went_down`` are the times it did, for the damping.
    ``latencies`` are those of the latest successes in seconds, the newest last.
    """

    availability: Availability = Availability.UNKNOWN
    since: datetime | None = None
    failing_since: datetime | None = None
    down_since: datetime | None = None
    failures: int = 0
    successes: int = 0
    last: ProbeResult | None = None
    last_failure: ProbeResult | None = None
    went_down: tuple[datetime, ...] = ()
    latencies: tuple[float, ...] = ()

    @property
    def latency_seconds(self) -> float | None:
        """Of the latest success."""
        return self.latencies[-1] if self.latencies else None

    def latency_percentile(self, percent: float) -> float | None:
        """The latency that so many percent of the kept successes did not exceed (nearest rank)."""
        if not self.latencies:
            return None
        ranked = sorted(self.latencies)
        return ranked[max(0, math.ceil(len(ranked) * min(percent, 100.0) / 100.0) - 1)]

    def down_for(self, now: datetime) -> timedelta:
        """How long it has been down; zero when it is not."""
        if self.down_since is None:
            return timedelta(0)
        return max(now - self.down_since, timedelta(0))

    def successes_needed(self, now: datetime, rules: OutageRules) -> int:
        """Successes in a row that make it up again, with flap damping."""
        flaps = sum(now - at <= rules.flap_window for at in self.went_down)
        damped = rules.successes << max(0, flaps - 1)
        return max(rules.successes, min(damped, rules.most_successes))


def observe(
    outage: Outage, result: ProbeResult, rules: OutageRules
) -> tuple[Outage, Change | None]:
    """Take in one probe's result; the results must come in the order of their probes."""
    return _succeed(outage, result, rules) if result.ok else _fail(outage, result, rules)


def _succeed(
    outage: Outage, result: ProbeResult, rules: OutageRules
) -> tuple[Outage, Change | None]:
    seen = replace(
        outage,
        last=result,
        failures=0,
        successes=outage.successes + 1,
        latencies=(*outage.latencies, result.latency_seconds)[-_LATENCIES_KEPT:],
    )
    if outage.availability is Availability.UP:
        return seen, None
    needed = seen.successes_needed(result.at, rules)
    if outage.availability is not Availability.UNKNOWN and seen.successes < needed:
        return seen, None
    was_down = outage.availability is Availability.DOWN
    change = Change(
        ChangeKind.CAME_UP if was_down else ChangeKind.CLEARED,
        result.at,
        outage.down_since if was_down else outage.failing_since,
        *_reason(outage.last_failure),
    )
    up = replace(
        seen, availability=Availability.UP, since=result.at, failing_since=None, down_since=None
    )
    return up, change


def _fail(outage: Outage, result: ProbeResult, rules: OutageRules) -> tuple[Outage, Change | None]:
    in_a_row = outage.failures + 1
    seen = replace(
        outage,
        last=result,
        last_failure=result,
        failures=in_a_row,
        successes=0,
        failing_since=result.at if in_a_row == 1 else outage.failing_since,
    )
    if outage.availability is Availability.DOWN:
        assert outage.last_failure is not None
        if outage.last_failure.cause is result.cause:
            return seen, None
        return seen, _told(ChangeKind.CAUSE_CHANGED, seen, outage.down_since)
    if in_a_row >= rules.failures:
        down = replace(
            seen,
            availability=Availability.DOWN,
            since=result.at,
            down_since=seen.failing_since,
            went_down=(*outage.went_down, result.at)[-_FLAPS_KEPT:],
        )
        return down, _told(ChangeKind.WENT_DOWN, down, down.down_since)
    if outage.availability is Availability.SUSPECT:
        return seen, None
    suspect = replace(seen, availability=Availability.SUSPECT, since=result.at)
    return suspect, _told(ChangeKind.SUSPECTED, suspect, suspect.failing_since)


def _told(kind: ChangeKind, outage: Outage, since: datetime | None) -> Change:
    assert outage.last is not None
    return Change(kind, outage.last.at, since, *_reason(outage.last_failure))


def _reason(failure: ProbeResult | None) -> tuple[ProbeCause | None, str, str | None]:
    return (failure.cause, failure.text, failure.mend) if failure is not None else (None, "", None)
