"""One round of the engine: what is known, what happened, and all that changes by it. Pure.

A round begins with the open incidents as they are kept, takes in an observation, a person's word or
the mere passing of time, and ends in one :class:`~guardian.escalate.model.Change`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from guardian.escalate import holding, incident, ladder
from guardian.escalate.compose import Mail, address
from guardian.escalate.incident import News, Return, Step
from guardian.escalate.model import (
    Change,
    Condition,
    Entry,
    Envelope,
    Incident,
    IncidentId,
    MessageKind,
    Observation,
    Silence,
    Standing,
    State,
)
from guardian.escalate.rules import CHANNEL_FAILING, EscalationRules

_SET_BACK = timedelta(seconds=5)
"""A clock that is behind what was written by more than this was set back."""


@dataclass(frozen=True, slots=True)
class World:
    """What a round begins with.

    ``latest`` finds the newest incident of a key, ``sent`` all envelopes of an incident: both are
    asked only where it matters. ``quiet`` says of which incidents nobody hears for now, since
    guardian has just started and does not know enough. ``set_back`` is by how much the clock was
    set since the last round; zero or negative.
    """

    now: datetime
    open: Sequence[Incident]
    silences: Sequence[Silence]
    latest: Callable[[str], Incident | None]
    sent: Callable[[IncidentId], Sequence[Envelope]]
    new_id: Callable[[], IncidentId]
    quiet: Callable[[Incident], bool]
    set_back: timedelta = timedelta(0)


class Round:
    """Collects the steps of incidents; each incident at most once a round."""

    def __init__(self, world: World, rules: EscalationRules) -> None:
        self._world = world
        self._rules = rules
        self._now = world.now
        self._steps: dict[str, Step] = {}
        self._open = {one.key: self._kept(one) for one in world.open}

    # --- what happened ---

    def observe(self, observation: Observation) -> None:
        """Take in all that one sensor sees: what it does not report any more has gone."""
        conditions = self._worst_of_each(observation.conditions)
        for key, condition in conditions.items():
            self._see(key, condition, observation.scope)
        for one in list(self._open.values()):
            unseen = one.scope == observation.scope and one.key not in conditions
            if unseen and not one.key.startswith(observation.blind):
                self._take(one, incident.gone(one, self._now, self._rules))

    def pass_time(self) -> None:
        """Let time alone do its work on every open incident."""
        for one in list(self._open.values()):
            self._take(one, self._timed(Step(one, changed=False)))

    def acknowledge(self, one: Incident, by: str, lasting: timedelta | None) -> None:
        """A person takes it."""
        self._take(one, incident.acknowledged(one, by, self._now, self._rules, lasting))

    def resolve(self, one: Incident, by: str) -> None:
        """A person ends it."""
        self._take(one, incident.resolved(one, by, self._now, self._rules))

    def end_unwatched(self, is_watched: Callable[[str], bool]) -> None:
        """End what belongs to a scope that nobody observes."""
        for one in list(self._open.values()):
            if not is_watched(one.scope):
                text = "it is not watched any more"
                self._take(one, incident.ended(one, text, self._now, self._rules))

    def find(self, wanted: IncidentId) -> Incident | None:
        """An open incident by its id."""
        return next((one for one in self._open.values() if one.id == wanted), None)

    # --- what comes of it ---

    def change(self) -> Change:
        """All of it, with what people are told."""
        current = [one for one in self._open.values() if one.state.is_open]
        failing = {
            one.key.partition(":")[2]
            for one in current
            if one.kind == CHANNEL_FAILING and one.state is not State.PENDING
        }
        incidents: list[Incident] = []
        entries: list[Entry] = []
        envelopes: list[Envelope] = []
        superseded: list[IncidentId] = []
        for step in self._steps.values():
            done, tellings = self._climb(step, current)
            if not done.changed:
                continue
            mail = self._addressed(done, tellings, failing)
            number = done.incident.messages + bool(mail.envelopes)
            incidents.append(replace(done.incident, messages=number))
            entries += (*done.entries, *mail.entries)
            envelopes += mail.envelopes
            if _ends_the_calling(done):
                superseded.append(done.incident.id)
        return Change(tuple(incidents), tuple(entries), tuple(envelopes), tuple(superseded))

    # --- behind ---

    def _kept(self, one: Incident) -> Incident:
        """An incident as it is kept, with the clock's setting back taken into account."""
        by = min(self._world.set_back, timedelta(0))
        if one.updated_at + by - self._now > _SET_BACK:  # set back while nobody of us looked
            by = self._now - one.updated_at
        if not by:
            return one
        moved = replace(incident.shifted(one, by), updated_at=self._now)
        self._steps[one.key] = Step(moved)
        return moved

    def _worst_of_each(self, conditions: Iterable[Condition]) -> dict[str, Condition]:
        worst: dict[str, Condition] = {}
        for one in conditions:
            known = worst.get(one.key)
            if known is None or one.severity.rank < known.severity.rank:
                worst[one.key] = one
        return worst

    def _see(self, key: str, condition: Condition, scope: str) -> None:
        known = self._open.get(key)
        if known is not None:
            step = incident.seen(known, condition, scope, self._now, self._rules)
        else:
            found = self._begun(key, condition, scope)
            if found is None:
                return
            step = found
            known = step.incident
        self._take(known, self._timed(step))

    def _begun(self, key: str, condition: Condition, scope: str) -> Step | None:
        last = self._world.latest(key)
        if last is not None and not last.state.is_open:
            returns = incident.what_returns(last, condition, self._now, self._rules)
            if returns is Return.SETTLED:
                return None
            if returns is Return.SAME:
                return incident.reopened(last, condition, scope, self._now, self._rules)
        return incident.opened(self._world.new_id(), condition, scope, self._now, self._rules)

    def _timed(self, step: Step) -> Step:
        """A step, and what time does on top of it."""
        if self._world.quiet(step.incident):
            return step
        return _joined(step, incident.passed(step.incident, self._now, self._rules))

    def _take(self, known: Incident, step: Step) -> None:
        earlier = self._steps.get(known.key)
        self._steps[known.key] = step if earlier is None else _joined(earlier, step)
        self._open[known.key] = step.incident

    def _climb(
        self, step: Step, current: Sequence[Incident]
    ) -> tuple[Step, tuple[ladder.Telling, ...]]:
        one = step.incident
        if self._world.quiet(one) and not _ends_the_calling(step):
            return step, ()
        held = holding.hold(one, current, self._world.silences, self._now, self._rules)
        return ladder.climb(step, held, self._now, self._rules)

    def _addressed(
        self, step: Step, tellings: Sequence[ladder.Telling], failing: Collection[str]
    ) -> Mail:
        one = step.incident
        heard: list[tuple[str, str]] = []
        waiting: set[str] = set()
        if tellings and _ends_the_calling(step):
            heard = _heard(self._world.sent(one.id))
        elif any(each.kind is MessageKind.REMINDER for each in tellings):
            waiting = _called_by(self._world.sent(one.id))
        return address(
            one,
            tellings,
            self._now,
            self._rules,
            failing=failing,
            heard=heard,
            waiting=waiting,
        )


def _heard(sent: Sequence[Envelope]) -> list[tuple[str, str]]:
    """(Channel, rung) of all that went out since the last end, also what was handed over."""
    resolved = MessageKind.RESOLVED
    ended = max((one.message.number for one in sent if one.message.kind is resolved), default=0)
    return [(one.channel, one.rung) for one in sent if one.message.number > ended]


def _called_by(sent: Iterable[Envelope]) -> set[str]:
    """Channels of which the last message that waits is a call, which a reminder would repeat."""
    last = {each.channel: each for each in sent if each.standing is Standing.WAITING}
    return {
        name for name, each in last.items() if each.message.kind is not MessageKind.ACKNOWLEDGED
    }


def _ends_the_calling(step: Step) -> bool:
    return News.RESOLVED in step.news or News.ACKNOWLEDGED in step.news


def _joined(first: Step, second: Step) -> Step:
    return Step(
        second.incident,
        first.entries + second.entries,
        {**first.news, **second.news},
        changed=first.changed or second.changed,
    )
