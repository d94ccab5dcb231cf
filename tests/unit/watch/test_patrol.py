"""A round's order: what is done is written down before, and settled after, whatever fails."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import pytest
from support.sessions import NOW, observation, session, waiter

from guardian.errors import CatalogError, ConnectionFailedError
from guardian.testing import FakeClock, MemoryCatalog
from guardian.watch import policy
from guardian.watch.audit import KillMode, KillRecord
from guardian.watch.memory import Memory
from guardian.watch.model import Action, Mode, Observation, Outcome, Session, SessionKey
from guardian.watch.patrol import Patrol, WatchPlan
from guardian.watch.ports import SignalResult, WatchFacts
from guardian.watch.recording import recorded_observations
from guardian.watch.rules import Limits, Match, Policy

DONE = SignalResult(Outcome.SIGNALLED, confirmed=True)
FACTS = WatchFacts(160000, "guard", False, True, True, False, False)
IDLE = Policy("idle", Match(state=("idle",)), (Action.TERMINATE,))
ROOTS = Policy("roots", Match(blocking=1), (Action.TERMINATE,))


class Script:
    """A watcher whose server does as the test says; sessions that are hit are gone."""

    server = "main"

    def __init__(self, clock: FakeClock, *sessions: Session, **locks) -> None:
        self.clock = clock
        self.sessions = {one.pid: one for one in sessions}
        self.locks: dict[int, tuple[int, ...]] = dict(locks.get("blockers", {}))
        self.facts: WatchFacts | None = FACTS
        self.answers: dict[int, SignalResult | Exception] = {}
        self.log: list[str] = []
        self.before_signal: Callable[[], None] = lambda: None

    def observe(self) -> Observation:
        self.log.append("look")
        at = NOW + timedelta(seconds=self.clock.monotonic())
        return observation(*self.sessions.values(), blockers=dict(self.locks), at=at)

    def signal(
        self, session: Session, action: Action, *, whatever_it_does: bool = False
    ) -> SignalResult:
        self.before_signal()
        self.log.append(f"{action} {session.pid}")
        answer = self.answers.get(session.pid, DONE)
        if isinstance(answer, Exception):
            raise answer
        if answer.outcome is Outcome.SIGNALLED:
            self.sessions.pop(session.pid, None)
            self.locks.pop(session.pid, None)
            self.locks = {
                pid: left
                for pid, by in self.locks.items()
                if (left := tuple(one for one in by if one != session.pid))
            }
        return answer

    def close(self) -> None:
        self.log.append("close")


class Site:
    def __init__(self, *sessions: Session, **locks) -> None:
        self.clock = FakeClock()
        self.catalog = MemoryCatalog(self.clock)
        self.script = Script(self.clock, *sessions, **locks)

    def patrol(self, *policies: Policy, mode: Mode = Mode.ENFORCE, **more) -> Patrol:
        plan = WatchPlan(policies or (IDLE,), mode=mode, record=more.pop("record", False), **more)
        return Patrol(self.script, self.catalog, self.clock, plan)

    def saved(self) -> list[SessionKey]:
        memory = self.catalog.load_memory("main") or Memory()
        return [one.key for one in memory.sent]


def idle(pid: int) -> Session:
    return session(pid, "idle", 100)


def test_all_is_written_down_before_the_signal_and_settled_after():
    site = Site(idle(1))
    seen: list[tuple[list[KillRecord], list[SessionKey]]] = []
    site.script.before_signal = lambda: seen.append((list(site.catalog.kills()), site.saved()))
    report = site.patrol().cycle()
    ((kills, saved),) = seen
    assert [(one.pid, one.outcome, one.evidence["confirmed"]) for one in kills] == [
        (1, Outcome.SIGNALLED, None)
    ]
    assert [key.pid for key in saved] == [1]
    (settled,) = site.catalog.kills()
    assert report.kills == (settled,)
    assert settled.evidence["confirmed"] is True
    assert settled.mode is KillMode.ENFORCE
    assert "idle" in settled.reason


@pytest.mark.parametrize("method", ["save_memory", "record_kill"])
def test_what_cannot_be_written_down_is_not_done(method, monkeypatch):
    site = Site(idle(1))
    patrol = site.patrol()
    with monkeypatch.context() as broken:
        broken.setattr(site.catalog, method, _fails)
        with pytest.raises(CatalogError):
            patrol.cycle()
    assert site.script.log == ["look"]
    assert list(site.catalog.kills()) == []
    # And it is done as soon as it can be: nobody took it for done.
    assert [one.pid for one in patrol.cycle().kills] == [1]


def _fails(*_args: object, **_more: object) -> None:
    raise CatalogError("the catalog's disk is full")


def test_a_catalog_that_fails_midway_stops_the_round(monkeypatch):
    site = Site(idle(1), idle(2), idle(3))
    patrol = site.patrol()
    with monkeypatch.context() as broken:
        broken.setattr(site.catalog, "settle_kill", _fails)
        report = patrol.cycle()
    assert len(report.kills) == 1
    assert "full" in report.problems[0]
    assert len(site.saved()) == 1
    assert len(patrol.cycle().kills) == 2


def test_a_server_that_goes_away_midway_stops_the_round_and_leaves_the_truth():
    site = Site(idle(1), idle(2))
    site.script.answers[1] = ConnectionFailedError("server main is gone")
    report = site.patrol().cycle()
    assert site.script.log == ["look", "terminate 1"]
    assert 2 in site.script.sessions
    (kill,) = site.catalog.kills()
    assert (kill.outcome, kill.evidence["confirmed"]) == (Outcome.SIGNALLED, None)
    assert "not known" in kill.reason
    assert report.problems == ("server main is gone",)
    assert [key.pid for key in site.saved()] == [1]  # it counts: it may well have been hit


@pytest.mark.parametrize("outcome", [Outcome.GONE, Outcome.CHANGED])
def test_who_was_not_hit_does_not_count(outcome):
    site = Site(idle(1))
    site.script.answers[1] = SignalResult(outcome)
    patrol = site.patrol()
    assert [one.outcome for one in patrol.cycle().kills] == [outcome]
    assert site.saved() == []
    assert [one.outcome for one in patrol.cycle().kills] == [outcome]


def test_who_is_refused_is_told_once():
    site = Site(idle(1))
    site.script.answers[1] = SignalResult(Outcome.REFUSED, detail="a superuser")
    patrol = site.patrol()
    report = patrol.cycle()
    assert "pid 1" in report.problems[0]
    assert "a superuser" in site.catalog.kills()[0].reason
    assert patrol.cycle().kills == ()
    assert len(site.catalog.events(kind="session_unkillable")) == 1


def test_after_a_root_it_looks_again_and_goes_on():
    site = Site(
        *(session(pid, "idle in transaction", 100) for pid in (1, 2)),
        *(waiter(pid, 90) for pid in (11, 12, 21)),
        blockers={11: (1,), 12: (1,), 21: (2,)},
    )
    report = site.patrol(ROOTS).cycle()
    assert site.script.log == ["look", "terminate 1", "look", "terminate 2"]
    assert report.looks == 2
    assert [one.evidence["victims"] for one in report.kills] == [2, 1]


class Freeing(Script):
    """A session whose lock is free goes on with the same query, as pg_stat_activity shows it."""

    def observe(self) -> Observation:
        for pid, one in self.sessions.items():
            if one.wait_started_at is not None and pid not in self.locks:
                self.sessions[pid] = replace(
                    one, wait_started_at=None, wait_event_type=None, wait_event=None
                )
        return super().observe()


def test_who_waited_for_a_session_that_was_hit_is_looked_at_anew():
    site = Site()
    waiting = Policy("waiting", Match(waiting_for=timedelta(seconds=60)), (Action.CANCEL,))
    sessions = (session(1, "idle in transaction", 100), waiter(11, 90), waiter(12, 80))
    site.script = Freeing(site.clock, *sessions, blockers={11: (1,), 12: (1,)})
    report = site.patrol(ROOTS, waiting).cycle()
    assert site.script.log == ["look", "terminate 1", "look"]
    assert [one.pid for one in report.kills] == [1]


def test_a_root_that_is_gone_does_not_hold_up_the_next():
    site = Site(
        *(session(pid, "idle in transaction", 100) for pid in (1, 2)),
        *(waiter(pid, 90) for pid in (11, 12, 21)),
        blockers={11: (1,), 12: (1,), 21: (2,)},
    )

    def ends() -> None:
        site.script.sessions.pop(1, None)
        site.script.locks = {21: (2,)}
        site.script.answers[1] = SignalResult(Outcome.GONE)

    site.script.before_signal = ends
    report = site.patrol(ROOTS).cycle()
    assert [(one.pid, one.outcome) for one in report.kills] == [
        (1, Outcome.GONE),
        (2, Outcome.SIGNALLED),
    ]


def test_rounds_end_even_if_everybody_slips_away():
    site = Site(
        *(session(pid, "idle in transaction", 100) for pid in (1, 2)),
        *(waiter(pid, 90) for pid in (11, 21)),
        blockers={11: (1,), 21: (2,)},
    )
    site.script.answers = dict.fromkeys((1, 2), SignalResult(Outcome.CHANGED))
    report = site.patrol(ROOTS, limits=Limits(per_cycle=3)).cycle()
    assert report.looks == 4


def test_a_decision_that_has_grown_old_is_made_anew():
    site = Site(idle(1), idle(2), idle(3))

    def slow() -> None:
        site.clock.advance(5)
        site.script.sessions.pop(3, None)  # it left while we waited for another one's end

    site.script.before_signal = slow
    report = site.patrol().cycle()
    assert [one.pid for one in report.kills] == [1, 2]
    assert site.script.log == ["look", "terminate 1", "look", "terminate 2"]


def test_the_limit_of_a_round_holds_over_its_looks():
    site = Site(*(idle(pid) for pid in range(1, 9)))
    site.script.before_signal = lambda: site.clock.advance(5)
    patrol = site.patrol(limits=Limits(per_cycle=3))
    assert len(patrol.cycle().kills) == 3
    assert len(patrol.cycle().kills) == 3


def test_observing_writes_each_down_once_and_signals_nobody():
    site = Site(idle(1))
    patrol = site.patrol(mode=Mode.OBSERVE)
    kills = [one for _ in range(5) for one in patrol.cycle().kills]
    assert [(one.pid, one.outcome, one.mode) for one in kills] == [
        (1, Outcome.WOULD, KillMode.OBSERVE)
    ]
    assert list(site.catalog.kills()) == kills
    assert set(site.script.log) == {"look"}
    assert site.patrol(mode=Mode.OBSERVE).cycle().kills == ()  # after a restart either


def test_what_would_be_done_and_was_not_written_down_is_told_by_the_next_round(monkeypatch):
    site = Site(idle(1))
    patrol = site.patrol(mode=Mode.OBSERVE)
    with monkeypatch.context() as broken:
        broken.setattr(site.catalog, "record_kill", _fails)
        with pytest.raises(CatalogError):
            patrol.cycle()
    assert len(patrol.cycle().kills) == 1


def test_a_restart_keeps_to_the_hour():
    site = Site(*(idle(pid) for pid in range(1, 9)))
    limits = Limits(per_cycle=5, per_hour=6)
    assert len(site.patrol(limits=limits).cycle().kills) == 5
    report = site.patrol(limits=limits).cycle()
    assert len(report.kills) == 1
    assert report.notice is not None
    assert site.patrol(limits=limits).cycle().notice is None


def test_looking_changes_nothing():
    site = Site(idle(1))
    patrol = site.patrol()
    _, decisions = patrol.look()
    assert [one.session.pid for one in decisions.signals] == [1]
    assert list(site.catalog.kills()) == []
    assert site.saved() == []
    assert site.script.log == ["look"]
    site.patrol(mode=Mode.OBSERVE).cycle()
    _, decisions = site.patrol(mode=Mode.OBSERVE).look()
    assert decisions.signals == ()  # what another process remembers counts


def test_what_the_role_lacks_is_a_problem_while_it_lasts_and_an_event_once():
    site = Site()
    site.script.facts = replace(FACTS, shortcomings=("GRANT pg_monitor TO guard;",))
    patrol = site.patrol()
    assert [patrol.cycle().problems for _ in range(3)] == [("GRANT pg_monitor TO guard;",)] * 3
    assert len(site.catalog.events(kind="watch_shortcoming")) == 1
    site.script.facts = FACTS
    assert patrol.cycle().problems == ()


def test_the_recording_is_written_and_closed():
    site = Site(idle(1))
    patrol = site.patrol(mode=Mode.OBSERVE, record=True)
    for _ in range(3):
        patrol.cycle()
        site.clock.advance(5)
    patrol.close()
    looks = list(recorded_observations(site.catalog, "main"))
    assert [[one.pid for one in look.sessions] for look in looks] == [[1]] * 3
    assert site.script.log[-1] == "close"


def test_a_quiet_round_writes_nothing():
    site = Site(session(1, "active", 1))
    patrol = site.patrol()
    patrol.cycle()
    site.catalog.fail(CatalogError("nobody should ask"))
    report = patrol.cycle()
    assert report.problems == ()


def test_the_notice_and_reports_are_events():
    tell = Policy("tell", Match(state=("idle",)), (Action.REPORT,))
    site = Site(idle(1))
    patrol = site.patrol(tell)
    assert [len(patrol.cycle().reports) for _ in range(2)] == [1, 0]
    (event,) = site.catalog.events(kind="session_reported")
    assert "'tell'" in event.message


def test_a_recording_that_cannot_be_written_does_not_stop_the_watch(monkeypatch):
    site = Site(idle(1))
    monkeypatch.setattr(site.catalog, "record_segment", _fails)
    report = site.patrol(record=True).cycle()
    assert [one.outcome for one in report.kills] == [Outcome.SIGNALLED]
    assert report.problems == ("the catalog's disk is full",)


def test_policies_that_are_slow_to_judge_are_told(monkeypatch):
    site = Site(idle(1))
    evaluate = policy.evaluate

    def slow(*args):
        site.clock.advance(3)
        return evaluate(*args)

    monkeypatch.setattr("guardian.watch.patrol.evaluate", slow)
    patrol = site.patrol()
    assert "took 3s" in patrol.cycle().problems[0]
    assert patrol.facts == FACTS
