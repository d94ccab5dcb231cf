"""Sessions and policies in, verdicts with reasons out: a pure function over one look.

:func:`evaluate` goes this way, and nothing in it depends on the order of sessions:

1.  Immune sessions are left out (:func:`guardian.watch.matching.immunity`).
2.  The first policy whose ``match`` holds and whose ``except`` does not decides about a session;
    an exception is the policy's own, so a later policy may still match. Its ``victims`` may spare
    the session, and then no later policy sees it.
3.  The action: a ladder cancels first, and terminates when the *same* query still runs after
    ``grace``. A session that runs no query is never cancelled, for that does nothing: a ladder
    terminates it at once.
4.  Who is signalled now, in the policies' order, lock roots by victims x wait, others by age: at
    most one lock root, and none in a look that already signals someone who holds others up (when
    it is gone, the next root may be another); nobody twice within the cool-down; at most
    ``per_cycle`` in a look and ``per_hour`` in an hour. The rest are held, with the reason why.

Observe mode decides as enforce does, and treats what it would have signalled as ended: a terminated
session for good, a cancelled one until it starts another query. Its limits fill as they would.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum

from guardian.watch.locks import LockGraph
from guardian.watch.matching import View, explain, immunity, spares
from guardian.watch.memory import HOUR, Memory, Sent
from guardian.watch.model import CLIENT_BACKEND, Action, Mode, Observation, Session
from guardian.watch.rules import Limits, Match, Policy, Victims

__all__ = [
    "Decisions",
    "Hold",
    "Limits",
    "Match",
    "Policy",
    "Spared",
    "Verdict",
    "Victims",
    "evaluate",
    "immunity",
]


class Hold(StrEnum):
    """Why a verdict is not carried out in this look."""

    GRACE = "its query was cancelled, and may take so long to end"
    COOL_DOWN = "it was signalled a moment ago"
    DONE = "observe mode would have ended it already"
    REPORTED = "it was reported already"
    REFUSED = "the server does not let our role signal it"
    POINTLESS = "it runs no query that could be cancelled"
    NEXT_ROOT = "one lock root at a time: look again first"
    PER_CYCLE = "the limit of one look is reached"
    PER_HOUR = "the limit of an hour is reached"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a policy says of one session, and why. Without ``hold`` it is to be carried out now."""

    session: Session
    policy: str
    action: Action
    reason: str
    hold: Hold | None = None

    @property
    def is_signal(self) -> bool:
        """Whether somebody is to be hit now."""
        return self.hold is None and self.action is not Action.REPORT


@dataclass(frozen=True, slots=True)
class Spared:
    """A client's session that a policy would mean, were it not immune; ``why`` it is."""

    session: Session
    policy: str
    why: str


@dataclass(frozen=True, slots=True)
class Decisions:
    """All verdicts of one look, in the order in which they are to be carried out.

    ``spared`` are those whom only an immunity keeps from a verdict, for people to know.
    ``memory`` is for the next look; it takes every signal as sent, so what came of each belongs
    into it by :meth:`~guardian.watch.memory.Memory.settle`. ``notice`` is for people, said once
    when the hour's limit stops us.
    """

    server: str
    at: datetime
    mode: Mode
    verdicts: tuple[Verdict, ...]
    memory: Memory
    notice: str | None = None
    spared: tuple[Spared, ...] = ()

    @property
    def signals(self) -> tuple[Verdict, ...]:
        """Those to cancel or terminate now (in observe mode: to record)."""
        return tuple(one for one in self.verdicts if one.is_signal)

    @property
    def reports(self) -> tuple[Verdict, ...]:
        """Those to tell of now, and only that."""
        return tuple(
            one for one in self.verdicts if one.action is Action.REPORT and one.hold is None
        )


def evaluate(
    observation: Observation,
    policies: Sequence[Policy],
    memory: Memory,
    limits: Limits,
    mode: Mode,
) -> Decisions:
    """Judge every session of one look. ``memory`` is what the last look of this server gave."""
    graph = LockGraph(observation)
    sessions = sorted(observation.sessions, key=_order)
    memory = memory.advance(
        observation.at,
        present={one.key for one in sessions},
        waiting={one.key for one in sessions if graph.is_waiting(one.pid)},
    )
    matches, spared = _match(observation, sessions, graph, policies, memory)
    court = _Court(observation.at, graph, memory, limits, mode)
    verdicts = tuple(
        verdict
        for policy, matched in zip(policies, matches, strict=True)
        for verdict in court.judge(policy, matched)
    )
    stopped = sum(one.hold is Hold.PER_HOUR for one in verdicts)
    # Tripped ends only with a look that had room for all: else every freed place would be news.
    after = replace(memory, sent=memory.sent + court.sent(verdicts), tripped=stopped > 0)
    return Decisions(
        server=observation.server,
        at=observation.at,
        mode=mode,
        verdicts=verdicts,
        memory=after,
        notice=court.notice(after, stopped) if stopped and not memory.tripped else None,
        spared=spared,
    )


@dataclass(frozen=True, slots=True)
class _Matched:
    session: Session
    reason: str


def _match(
    observation: Observation,
    sessions: Iterable[Session],
    graph: LockGraph,
    policies: Sequence[Policy],
    memory: Memory,
) -> tuple[list[list[_Matched]], tuple[Spared, ...]]:
    """For each policy the sessions that it is the first to match; and whom immunity keeps out."""
    backups = frozenset(one.pid for one in observation.sessions if one.is_backup)
    found: list[list[_Matched]] = [[] for _ in policies]
    spared: list[Spared] = []
    for session in sessions:
        last_waiting = None if graph.is_waiting(session.pid) else memory.waited.get(session.key)
        view = View(session, observation.at, graph, backups, last_waiting)
        immune = {lifted: immunity(session, superusers=lifted) for lifted in (False, True)}
        told = _is_worth_telling(session)
        for policy, matched in zip(policies, found, strict=True):
            why = immune[policy.superusers]
            if why is not None and not told:
                continue
            reason = explain(policy.match, view)
            if reason is None or spares(policy.except_, view):
                continue
            if why is None:
                matched.append(_Matched(session, reason))
                break
            spared.append(Spared(session, policy.name, why))
            told = False  # the first one will do; a later policy may still lift the immunity
    return found, tuple(spared)


def _is_worth_telling(session: Session) -> bool:
    """Nobody expects a policy to end our own work, or the server's."""
    is_client = session.backend_type == CLIENT_BACKEND and session.leader_pid is None
    return is_client and session.visible and not session.is_own


class _Court:
    """Turns matches into verdicts, and keeps count of what this look already does."""

    def __init__(
        self, at: datetime, graph: LockGraph, memory: Memory, limits: Limits, mode: Mode
    ) -> None:
        self._at = at
        self._graph = graph
        self._limits = limits
        self._mode = mode
        self._refused = memory.refused
        self._last = memory.last_signals(mode)
        self._reports = memory.last_reports()
        self._left_in_hour = limits.per_hour - len(memory.hour(at, mode))
        self._left_in_cycle = limits.per_cycle
        self._root_hit = False

    def judge(self, policy: Policy, matches: Sequence[_Matched]) -> list[Verdict]:
        """Verdicts on those that match, the most urgent first."""
        living = [one for one in matches if not self._is_done(one.session)]
        verdicts = [self._verdict(policy, one) for one in self._victims(policy, living)]
        for one in matches:
            last = self._last.get(one.session.key)
            if last is not None and self._is_done(one.session):
                done = Verdict(one.session, policy.name, last.action, one.reason, Hold.DONE)
                verdicts.append(done)
        return verdicts

    def sent(self, verdicts: Iterable[Verdict]) -> tuple[Sent, ...]:
        """What is carried out now, for the memory."""
        return tuple(
            Sent(one.session.key, one.policy, one.action, self._mode, self._at, one.session.spell)
            for one in verdicts
            if one.hold is None
        )

    def notice(self, memory: Memory, stopped: int) -> str:
        """Words for the hour's limit, when it stops us."""
        hour = memory.hour(self._at, self._mode)
        freed = len(hour) - self._limits.per_hour
        until = f" until {hour[freed].at + HOUR:%H:%M:%S %Z}" if freed < len(hour) else ""
        would = "would be" if self._mode is Mode.OBSERVE else "is"
        return (
            f"the limit of {self._limits.per_hour} signals in an hour (limits.per_hour) is "
            f"reached and {stopped} more would be due; nobody {would} signalled{until}"
        )

    def _is_done(self, session: Session) -> bool:
        """Whether enforce mode would have ended it, or its query, in an earlier look."""
        last = self._last.get(session.key)
        if last is None or self._mode is Mode.ENFORCE:
            return False
        return last.action is Action.TERMINATE or _is_same_query(last, session)

    def _victims(self, policy: Policy, matches: Sequence[_Matched]) -> list[_Matched]:
        """Those that the policy's ``victims`` means, in the order in which to hit them."""
        chosen = sorted(matches, key=lambda one: _oldest_first(one.session, self._at))
        if policy.victims is Victims.OLDEST:
            chosen = chosen[:1]
        elif policy.victims is Victims.ALL_BUT_OLDEST:
            chosen = chosen[1:]
        if policy.match.wants_root:
            chosen.sort(key=lambda one: self._graph.ranks[one.session.pid])
        return chosen

    def _verdict(self, policy: Policy, matched: _Matched) -> Verdict:
        session = matched.session
        action = self._action(policy, session)
        hold = self._hold(policy, session, action)
        if hold is None and action is not Action.REPORT:
            self._left_in_hour -= 1
            self._left_in_cycle -= 1
            self._root_hit |= self._graph.victims(session.pid) > 0
        return Verdict(session, policy.name, action, matched.reason, hold)

    def _action(self, policy: Policy, session: Session) -> Action:
        """The rung on which the session stands."""
        if not policy.is_ladder:
            return policy.action[0]
        last = self._last.get(session.key)
        if not session.is_running:
            return Action.TERMINATE
        if last is None or not _is_same_query(last, session):
            return Action.CANCEL
        climbed = last.action is Action.TERMINATE or last.policy == policy.name
        return Action.TERMINATE if climbed else Action.CANCEL

    def _hold(self, policy: Policy, session: Session, action: Action) -> Hold | None:
        if action is Action.REPORT:
            told = self._reports.get((session.key, policy.name))
            return Hold.REPORTED if told is not None and told.spell == session.spell else None
        if session.key in self._refused:
            return Hold.REFUSED
        if action is Action.CANCEL and not session.is_running:
            return Hold.POINTLESS
        return self._hold_for_time(policy, session, action) or self._hold_for_number(policy)

    def _hold_for_time(self, policy: Policy, session: Session, action: Action) -> Hold | None:
        last = self._last.get(session.key)
        if last is None:
            return None
        climbs = last.action is Action.CANCEL and last.policy == policy.name
        if policy.is_ladder and action is Action.TERMINATE and climbs:
            # The last rung's own session, or its next state: idle in transaction (aborted).
            return Hold.GRACE if self._at - last.at < policy.grace else None
        return Hold.COOL_DOWN if self._at - last.at < self._limits.cool_down else None

    def _hold_for_number(self, policy: Policy) -> Hold | None:
        if policy.match.wants_root and self._root_hit:
            return Hold.NEXT_ROOT
        if self._left_in_hour <= 0:
            return Hold.PER_HOUR
        return Hold.PER_CYCLE if self._left_in_cycle <= 0 else None


def _is_same_query(last: Sent, session: Session) -> bool:
    return session.is_running and last.spell == session.spell


def _order(session: Session) -> tuple[float, int]:
    """A session's place, whatever the order in which the server gave them."""
    start = session.backend_start
    return (start.timestamp() if start else 0.0), session.pid


def _oldest_first(session: Session, at: datetime) -> tuple[float, float, int]:
    return -(session.state_seconds(at) or 0.0), *_order(session)
