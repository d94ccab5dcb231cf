"""One round of the watch: look, decide, re-check and signal, remember, write it all down.

The order is what makes it safe. What is going to be done is in the catalog *before* it is done:
no signal without a record of it, and a guardian that dies between the two forgets neither the
hour's limit nor the kill. After a lock root, and when a decision has grown old while another
victim's end was awaited, the server is looked at again before anybody else is hit.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from guardian.errors import CatalogError, NotFoundError, UsageError
from guardian.model import Event
from guardian.ports import Clock
from guardian.units import format_duration
from guardian.watch.audit import KillMode, KillRecord
from guardian.watch.locks import LockGraph
from guardian.watch.matching import immunity
from guardian.watch.memory import Memory
from guardian.watch.model import Action, Mode, Observation, Outcome
from guardian.watch.policy import Decisions, Hold, Verdict, evaluate
from guardian.watch.ports import WatchCatalog, Watcher, WatchFacts
from guardian.watch.recording import Recorder
from guardian.watch.rules import Limits, Policy
from guardian.watch.striking import Strike, Striker

REPORTED = "session_reported"
LIMIT_REACHED = "kill_limit_reached"
UNKILLABLE = "session_unkillable"
SHORT_SIGHTED = "watch_shortcoming"
"""Kinds of events that the watch records."""

_FRESH_SECONDS = 1.0
_SLOW_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class WatchPlan:
    """What one server's section of the config asks for."""

    policies: Sequence[Policy] = ()
    limits: Limits = field(default_factory=Limits)
    mode: Mode = Mode.OBSERVE
    record: bool = True
    record_query_text: bool = True
    keep_recording: timedelta = timedelta(days=7)
    recording_bytes: int = 64 << 20


@dataclass(frozen=True, slots=True)
class CycleReport:
    """What one round saw and did.

    ``observation`` and ``decisions`` are those of its first look (a round looks again after each
    lock root). ``kills`` are its audit entries. ``reports`` are sessions that a policy with
    ``action: report`` names now. ``notice``: the hour's limit stops us, said once. ``problems``
    are lines for people: what could not be written, what our role may not see.
    """

    server: str
    at: datetime
    observation: Observation
    decisions: Decisions
    kills: tuple[KillRecord, ...] = ()
    reports: tuple[Verdict, ...] = ()
    looks: int = 1
    notice: str | None = None
    problems: tuple[str, ...] = ()


class Patrol:
    """The watch over one server. For one thread at a time."""

    def __init__(
        self, watcher: Watcher, catalog: WatchCatalog, clock: Clock, plan: WatchPlan
    ) -> None:
        self._watcher = watcher
        self._catalog = catalog
        self._clock = clock
        self._plan = plan
        self._striker = Striker(watcher, catalog, clock)
        self._recorder = Recorder(
            catalog,
            watcher.server,
            query_text=plan.record_query_text,
            keep=plan.keep_recording,
            max_bytes=plan.recording_bytes,
        )
        self._memory: Memory | None = None
        self._saved: Memory | None = None
        self._told: tuple[str, ...] = ()
        self._rights: tuple[str, bool, bool] | None = None

    @property
    def facts(self) -> WatchFacts | None:
        """What our role may see and do, None before the first look."""
        return self._watcher.facts

    def look(self) -> tuple[Observation, Decisions]:
        """See and judge, as a round would now, and do nothing: for ``guardian sessions``.

        Raises what Watcher.observe raises, and CatalogError.
        """
        observation = self._watcher.observe()
        memory = self._memory or self._catalog.load_memory(self._watcher.server) or Memory()
        return observation, self._judge(observation, memory, self._plan.limits.per_cycle)

    def cycle(self) -> CycleReport:
        """One round.

        Raises what Watcher.observe raises, and CatalogError when what is about to be done cannot
        be written down; nobody is hit then.
        """
        if self._memory is None:
            self._saved = self._catalog.load_memory(self._watcher.server)
            self._memory = self._saved or Memory()
        round_ = _Round()
        left = self._plan.limits.per_cycle
        for _ in range(self._plan.limits.per_cycle + 1):
            look = self._look(left, round_)
            if self._plan.mode is Mode.OBSERVE:
                self._note_down(look, round_)
                break
            hit, again = self._carry_out(look, round_)
            left -= hit
            if not again or left <= 0:
                break
        self._attempt(self._save, round_)
        return round_.report(self._watcher.server, self._shortcomings(round_))

    def kill(
        self,
        pid: int,
        action: Action,
        *,
        by: str,
        superusers: bool = True,
        seen: Observation | None = None,
        whatever_it_does: bool | None = None,
    ) -> KillRecord:
        """One kill by hand, audited with mode ``manual``; a superuser's session too by default.

        ``seen`` is the look on which the person decided: nobody else is hit, should the pid belong
        to another session by now. Without it, whoever has the pid now is meant. With
        ``whatever_it_does`` the session need not do any more what was seen; by default that holds
        for terminating.

        What no configuration lifts holds here as well (own work, replication, workers, the
        comment that asks to be spared). ``by`` is the person, for the audit.

        Raises:
            NotFoundError: no session has that pid.
            UsageError: it may not be hit; or a cancel for a session that runs no query.
            CatalogError: it cannot be written down, so nobody is hit.
            ConnectionFailedError, TimedOutError: whether it was hit is not known.
        """
        observation = seen or self._watcher.observe()
        server = self._watcher.server
        session = next((one for one in observation.sessions if one.pid == pid), None)
        if session is None:
            raise NotFoundError(
                f"server {server} has no session with pid {pid}",
                mend="it may have ended; see `guardian sessions`",
            )
        if (why := immunity(session, superusers=superusers)) is not None:
            raise UsageError(f"pid {pid} on server {server} is left alone: {why}")
        if action is Action.CANCEL and not session.is_running:
            raise UsageError(
                f"pid {pid} on server {server} runs no query that could be cancelled "
                f"(it is {session.state or 'in no known state'})",
                mend="leave out --cancel to terminate it",
            )
        draft = self._striker.draft(
            session, observation, action, KillMode.MANUAL, f"by hand: {by}", evidence={"by": by}
        )
        if whatever_it_does is None:
            whatever_it_does = action is Action.TERMINATE
        done = self._striker.strike(session, draft, whatever_it_does=whatever_it_does)
        if (error := done.error or done.unsettled) is not None:
            raise error
        return done.record

    def close(self) -> None:
        """Write the recording to its end, hang up."""
        try:
            if self._plan.record:
                self._recorder.save()
        finally:
            self._watcher.close()

    # --- within a round ---

    def _judge(self, observation: Observation, memory: Memory, left: int) -> Decisions:
        limits = replace(self._plan.limits, per_cycle=left)
        return evaluate(observation, self._plan.policies, memory, limits, self._plan.mode)

    def _look(self, left: int, round_: _Round) -> _Look:
        observation = self._watcher.observe()
        seen = self._clock.monotonic()
        before = self._forgiven()
        decisions = self._judge(observation, before, left)
        self._memory = decisions.memory
        judged = self._clock.monotonic() - seen
        if judged > _SLOW_SECONDS:
            round_.problems.append(
                f"server {self._watcher.server}: the policies took {format_duration(judged)} to "
                "judge one look; simplify their query expressions"
            )
        look = _Look(observation, decisions, seen, before)
        if round_.first is None:
            round_.first = look
            if self._plan.record:
                self._attempt(lambda: self._recorder.add(observation), round_)
        round_.looks += 1
        self._tell(decisions, round_)
        return look

    def _forgiven(self) -> Memory:
        """The memory; whom we were refused may be tried again once our role may do other things."""
        assert self._memory is not None
        facts = self._watcher.facts
        rights = None if facts is None else (facts.role, facts.is_superuser, facts.may_signal)
        if rights != self._rights:
            self._rights = rights
            self._memory = replace(self._memory, refused=frozenset())
        return self._memory

    def _tell(self, decisions: Decisions, round_: _Round) -> None:
        """Reports, and the hour's limit: for the record, each said once."""
        for one in decisions.reports:
            round_.reports.append(one)
            who = f"pid {one.session.pid}, user {one.session.user}"
            self._log(REPORTED, f"policy {one.policy!r}: {who}: {one.reason}", round_)
        if decisions.notice is not None:
            round_.notice = decisions.notice
            self._log(LIMIT_REACHED, decisions.notice, round_)

    def _note_down(self, look: _Look, round_: _Round) -> None:
        """Observe mode: what would have been done. The memory keeps it from being said again."""
        try:
            for draft in self._drafts(look, KillMode.OBSERVE):
                self._catalog.record_kill(draft)
                round_.kills.append(draft)
        except CatalogError:
            self._memory = look.before  # to be said by the next round
            raise

    def _carry_out(self, look: _Look, round_: _Round) -> tuple[int, bool]:
        """Signal one after the other: how many were hit, and whether to look again at once."""
        verdicts = look.decisions.signals
        if not verdicts:
            return 0, False
        pending = list(zip(verdicts, self._drafts(look, KillMode.ENFORCE), strict=True))
        graph = LockGraph(look.observation)
        hit, again = 0, False
        try:
            self._save()
            while pending:
                if self._clock.monotonic() - look.seen > _FRESH_SECONDS:
                    again = True
                    break
                verdict, draft = pending[0]
                done = self._striker.strike(verdict.session, draft)
                pending.pop(0)
                was_hit = self._settle(verdict, done, round_)
                hit += was_hit
                if done.error is not None or done.unsettled is not None:
                    return hit, False
                if was_hit and pending and graph.victims(verdict.session.pid):
                    again = True  # those it held up go on with the same query, and wait no more
                    break
        finally:
            for verdict, _ in pending:
                self._remember(verdict, Outcome.CHANGED)  # nobody was hit
        waits = any(one.hold is Hold.NEXT_ROOT for one in look.decisions.verdicts)
        return hit, again or waits

    def _settle(self, verdict: Verdict, done: Strike, round_: _Round) -> bool:
        record = done.record
        self._remember(verdict, record.outcome)
        round_.kills.append(record)
        if record.outcome is Outcome.REFUSED:
            who = f"pid {record.pid} of user {record.user} on server {record.server}"
            line = f"{who} cannot be signalled: {record.reason}"
            round_.problems.append(line)
            self._log(UNKILLABLE, line, round_)
        for error in (done.error, done.unsettled):
            if error is not None:
                round_.problems.append(str(error))
        return record.outcome is Outcome.SIGNALLED

    def _drafts(self, look: _Look, mode: KillMode) -> list[KillRecord]:
        verdicts = look.decisions.signals
        graph = LockGraph(look.observation) if verdicts else None
        return [
            self._striker.draft(
                one.session,
                look.observation,
                one.action,
                mode,
                one.reason,
                policy=one.policy,
                graph=graph,
            )
            for one in verdicts
        ]

    def _remember(self, verdict: Verdict, outcome: Outcome) -> None:
        assert self._memory is not None
        self._memory = self._memory.settle(verdict.session.key, outcome)

    def _save(self) -> None:
        assert self._memory is not None
        if self._memory != self._saved:
            self._catalog.save_memory(self._watcher.server, self._memory, self._clock.now())
            self._saved = self._memory

    def _shortcomings(self, round_: _Round) -> tuple[str, ...]:
        """What our role cannot do or see; into the events when it is new."""
        facts = self._watcher.facts
        found = () if facts is None else facts.shortcomings
        for line in found:
            if line not in self._told:
                self._log(SHORT_SIGHTED, line, round_)
        self._told = found
        return found

    def _log(self, kind: str, message: str, round_: _Round) -> None:
        event = Event(self._clock.now(), kind, message, server=self._watcher.server)
        self._attempt(lambda: self._catalog.record_event(event), round_)

    @staticmethod
    def _attempt(work: Callable[[], None], round_: _Round) -> None:
        """What may fail without harm to the round, but is told."""
        try:
            work()
        except CatalogError as error:
            round_.problems.append(str(error))


@dataclass(frozen=True, slots=True)
class _Look:
    """One look, judged; ``seen`` is the monotonic time of it, ``before`` the memory before."""

    observation: Observation
    decisions: Decisions
    seen: float
    before: Memory


@dataclass(slots=True)
class _Round:
    """One round in the making."""

    first: _Look | None = None
    kills: list[KillRecord] = field(default_factory=list)
    reports: list[Verdict] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    notice: str | None = None
    looks: int = 0

    def report(self, server: str, shortcomings: Sequence[str]) -> CycleReport:
        assert self.first is not None
        return CycleReport(
            server=server,
            at=self.first.observation.at,
            observation=self.first.observation,
            decisions=self.first.decisions,
            kills=tuple(self.kills),
            reports=tuple(self.reports),
            looks=self.looks,
            notice=self.notice,
            problems=(*shortcomings, *dict.fromkeys(self.problems)),
        )
