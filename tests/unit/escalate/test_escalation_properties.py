"""What holds whatever happens, in whatever order: conditions come and go, get worse and better,
people answer or do not, silences begin and end, the clock is set back, the catalog is away, other
processes are faster, guardian is started anew.

The model beside it is as dumb as can be: stopwatches, and sets of who heard what.
"""

from __future__ import annotations

from collections import Counter
from datetime import timedelta
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from support.escalation import (
    HOUR,
    MINUTE,
    P0,
    P1,
    P2,
    P3,
    PEOPLE,
    SECOND,
    START,
    HalfCatalog,
    Post,
    rules,
)

from guardian.errors import CatalogError
from guardian.escalate.engine import Escalator
from guardian.escalate.holding import matches
from guardian.escalate.model import (
    Change,
    Condition,
    EntryKind,
    Incident,
    IncidentId,
    MessageKind,
    Observation,
    Settlement,
    Severity,
    Silence,
    State,
)
from guardian.escalate.rules import EscalationRules
from guardian.testing import FakeClock

CALLS = {
    MessageKind.ALERT,
    MessageKind.ESCALATION,
    MessageKind.REMINDER,
    MessageKind.UPDATE,
}
"""Messages that want somebody to do something."""

SCOPES = {
    "backups": ("backup.failed:main/mina", "backup.overdue:main/mina"),
    "outage": ("server.down:main",),
    "probe": ("probe.web:web", "probe.cache:cache"),
    "vitals": ("vital.connections:main",),
}
MOVES = {
    State.PENDING: {State.PENDING, State.FIRING, State.ACKNOWLEDGED, State.RESOLVED},
    State.FIRING: {State.FIRING, State.ACKNOWLEDGED, State.RECOVERING, State.RESOLVED},
    State.ACKNOWLEDGED: {State.ACKNOWLEDGED, State.FIRING, State.RECOVERING, State.RESOLVED},
    State.RECOVERING: {State.RECOVERING, State.FIRING, State.ACKNOWLEDGED, State.RESOLVED},
    State.RESOLVED: {State.PENDING, State.FIRING},
}
"""What one round may do; a reopened incident may fire in the same."""

SHORT = st.sampled_from([SECOND, 20 * SECOND, MINUTE, 5 * MINUTE, 14 * MINUTE])
LONG = st.sampled_from([30 * MINUTE, HOUR, 5 * HOUR, 20 * HOUR])
SEEN = st.fixed_dictionaries(
    {
        "severity": st.sampled_from([P0, P1, P1, P2, P3]),
        "count": st.integers(1, 3),
        "occurrence": st.sampled_from([None, "a", "b"]),
    }
)


class Anything(RuleBasedStateMachine):
    @initialize(reminds=st.booleans(), flat=st.booleans())
    def begin(self, reminds: bool, flat: bool) -> None:
        self.its_rules: EscalationRules = rules(
            people={"on-call": PEOPLE["on-call"], "lead": PEOPLE["lead"]} if flat else PEOPLE,
            remind_every={P0: 15 * MINUTE, P1: HOUR} if reminds else {},
        )
        self.clock = FakeClock(START)
        self.catalog = HalfCatalog(self.clock)
        self.post = Post()
        self.away: str | None = None
        self.silences: list[Silence] = []
        self.last: dict[IncidentId, Incident] = {}
        self.heard: dict[IncidentId, set[str]] = {}
        self.called: dict[IncidentId, Counter[str]] = {}
        self.climbed: dict[IncidentId, timedelta] = {}
        self.taken_until: dict[IncidentId, float] = {}
        self.start()

    def start(self) -> None:
        self.escalator = Escalator(self.catalog, self.clock, self.its_rules, courier=self.post)

    # --- what happens ---

    @rule(scope=st.sampled_from(sorted(SCOPES)), data=st.data())
    def look(self, scope: str, data: st.DataObject) -> None:
        conditions = []
        for key in SCOPES[scope]:
            seen: dict[str, Any] | None = data.draw(st.none() | SEEN)
            if seen is not None:
                server = "main" if ":main" in key else None
                kind = key.partition(":")[0]
                conditions.append(
                    Condition(key, kind, title=f"{key} is bad", server=server, **seen)
                )
        observation = Observation(scope, self.clock.now(), tuple(conditions))
        self.check(self.escalator.observe(observation))

    @rule(duration=SHORT | LONG)
    def wait(self, duration: timedelta) -> None:
        for one in self.last.values():
            if one.state is State.FIRING and one.held_by is None:
                self.climbed[one.id] += duration
        self.clock.advance(duration)
        self.check(self.escalator.tick())
        self.check_that_all_who_are_due_were_told()

    @rule(data=st.data(), lasting=st.none() | LONG)
    @precondition(lambda self: any(one.state.is_open for one in self.last.values()))
    def acknowledge(self, data: st.DataObject, lasting: timedelta | None) -> None:
        one = data.draw(st.sampled_from(self.open_now()))
        taken = self.by_hand(lambda: self.escalator.acknowledge(one.id, "anna", lasting=lasting))
        assert taken.acknowledged_until is not None
        holds = taken.acknowledged_until - self.clock.now()
        self.taken_until[one.id] = self.clock.monotonic() + holds.total_seconds()

    @rule(data=st.data())
    @precondition(lambda self: any(one.state.is_open for one in self.last.values()))
    def resolve(self, data: st.DataObject) -> None:
        one = data.draw(st.sampled_from(self.open_now()))
        assert self.by_hand(lambda: self.escalator.resolve(one.id, "anna")).state is State.RESOLVED

    @rule(kind=st.sampled_from(["*", "probe.*", "backup.failed"]), lasting=SHORT | LONG)
    @precondition(lambda self: self.away is None)
    def silence(self, kind: str, lasting: timedelta) -> None:
        made = self.escalator.silence(lasting, "because", "bob", match={"kind": kind})
        self.silences.append(made)

    @rule()
    @precondition(lambda self: self.away is None)
    def silence_ends(self) -> None:
        for one in self.catalog.silences(self.clock.now()):
            ended = self.escalator.end_silence(one.id)
            self.silences = [ended if each.id == one.id else each for each in self.silences]

    @rule(times=st.integers(1, 3))
    @precondition(lambda self: self.away is None)
    def others_are_faster(self, times: int) -> None:
        self.catalog.faster = times

    @rule(by=st.sampled_from([MINUTE, HOUR, 30 * HOUR]))
    def clock_is_set_back(self, by: timedelta) -> None:
        self.clock.jump_to(self.clock.now() - by)
        # A silence is a span on the wall's clock, and stays one.
        self.check(self.escalator.tick())

    @rule(how=st.sampled_from(["unreadable", "full"]))
    @precondition(lambda self: self.away is None)
    def catalog_goes(self, how: str) -> None:
        self.away = how
        self.catalog.faster = 0
        self.catalog.full = how == "full"
        self.catalog.fail(CatalogError("away") if how == "unreadable" else None)

    @rule()
    @precondition(lambda self: self.away is not None)
    def catalog_comes_back(self) -> None:
        self.away = None
        self.catalog.full = False
        self.catalog.fail(None)
        self.check(self.escalator.tick())
        self.catalog.settle(Settlement(follow_ups=tuple(self.post.given)))
        self.post.given.clear()
        assert self.escalator.trouble is None

    @rule()
    @precondition(lambda self: self.away is None)
    def guardian_starts_anew(self) -> None:
        self.start()
        self.check(self.escalator.tick())

    # --- what always holds ---

    @invariant()
    def one_open_incident_a_key(self) -> None:
        keys = Counter(one.key for one in self.open_now())
        assert all(count == 1 for count in keys.values()), keys

    @invariant()
    def the_catalog_has_it_as_it_was_told(self) -> None:
        if self.away is None and self.escalator.trouble is None:
            stored = {one.id: one.state for one in self.catalog.open_incidents()}
            assert stored == {one.id: one.state for one in self.open_now()}

    def check(self, change: Change) -> None:
        for after in change.incidents:
            before = self.last.get(after.id)
            if before is not None:
                assert after.state in MOVES[before.state], (before.state, after.state)
            self.check_rungs(after, change)
            self.check_acknowledged(before, after, change)
            self.check_calls(after, change)
            self.check_end(after, change)
            self.last[after.id] = after

    def check_rungs(self, after: Incident, change: Change) -> None:
        """A new climb begins when it fires anew, or gets worse than it ever was."""
        assert len(set(after.rungs_told)) == len(after.rungs_told)
        kinds = [one.kind for one in change.entries if one.incident == after.id]
        before = self.last.get(after.id)
        worse = before is not None and (after.peak or P3).rank < (before.peak or P3).rank
        if EntryKind.FIRED in kinds or worse or after.id not in self.climbed:
            self.climbed[after.id] = timedelta(0)
            self.called[after.id] = Counter()
        if EntryKind.REOPENED in kinds:
            self.heard[after.id] = set()
            self.taken_until.pop(after.id, None)

    def check_acknowledged(self, before: Incident | None, after: Incident, change: Change) -> None:
        """Nothing but its end, the time, or something worse takes it out of a person's hands."""
        until = self.taken_until.get(after.id)
        if until is None or before is None:
            return
        if after.state is State.RESOLVED or after.acknowledged_by is not None:
            return
        del self.taken_until[after.id]
        worse = (after.peak or P3).rank < (before.peak or P3).rank
        twice = after.condition.count >= 2 and after.kind == "backup.failed"
        occurred = any(
            one.kind is EntryKind.OCCURRED for one in change.entries if one.incident == after.id
        )
        assert self.clock.monotonic() >= until or worse or (twice and occurred)

    def check_calls(self, after: Incident, change: Change) -> None:
        sent = [one for one in change.envelopes if one.message.incident == after.id]
        channels = [one.channel for one in sent]
        assert len(set(channels)) == len(channels), "one message a channel and step"
        calls = [one for one in sent if one.message.kind in CALLS]
        self.heard.setdefault(after.id, set()).update(one.channel for one in calls)
        if sent:
            assert {one.message.number for one in sent} == {after.messages}
            assert after.id not in self.last or after.messages == self.last[after.id].messages + 1
        if not calls:
            return
        assert after.state is State.FIRING
        assert after.held_by is None
        assert not self.is_silenced(after)
        first = {one.rung for one in calls if one.message.kind in FIRST_WORDS}
        for person in first:
            self.called[after.id][person] += 1
            assert self.called[after.id][person] == 1, f"{person} is called twice in a climb"

    def check_end(self, after: Incident, change: Change) -> None:
        if after.state is not State.RESOLVED:
            return
        if self.last.get(after.id, after).state is State.RESOLVED and after.id in self.last:
            return
        ends = {
            one.channel
            for one in change.envelopes
            if one.message.incident == after.id and one.message.kind is MessageKind.RESOLVED
        }
        assert ends == self.heard.get(after.id, set()), "everybody who was told, and nobody else"

    def check_that_all_who_are_due_were_told(self) -> None:
        for one in self.open_now():
            if one.state is not State.FIRING or one.held_by is not None:
                continue
            told = {each.split("/")[2] for each in one.rungs_told}
            for rung in self.its_rules.ladder_of(one.severity).rungs:
                if rung.after <= self.climbed[one.id]:
                    assert set(rung.people) <= told

    # --- helpers of the model ---

    def open_now(self) -> list[Incident]:
        return [one for one in self.last.values() if one.state.is_open]

    def is_silenced(self, one: Incident) -> bool:
        now = self.clock.now()
        return any(
            each.starts_at <= now < each.ends_at and matches(each.match, one)
            for each in self.silences
        )

    def by_hand(self, act) -> Incident:
        """What a person did, with what it sent; the rounds themselves give no change."""
        changes: list[Change] = []
        unwrapped = self.escalator._round

        def noted(work) -> Change:
            change = unwrapped(work)
            changes.append(change)
            return change

        self.escalator._round = noted  # type: ignore[method-assign]
        try:
            done: Incident = act()
        finally:
            self.escalator._round = unwrapped  # type: ignore[method-assign]
        for change in changes:
            self.check(change)
        return done


FIRST_WORDS = {MessageKind.ALERT, MessageKind.ESCALATION}
assert set(Severity) == {P0, P1, P2, P3}

TestAnything = Anything.TestCase
TestAnything.settings = settings(max_examples=100, stateful_step_count=30, deadline=None)
