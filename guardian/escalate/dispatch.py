"""From the outbox to people: every message at least once, in order, whatever breaks.

A message is marked as delivered after it was, so a crash between the two sends it twice, and never
not at all. Each channel has a thread of its own while it sends (:mod:`guardian.escalate.sending`),
so one that hangs keeps no other waiting. What a channel does not take is tried again, then handed
over (:mod:`guardian.escalate.handover`); what is more than a person can read goes as one message
(:mod:`guardian.escalate.storms`). While the catalog is away, all of this goes on from memory
(:mod:`guardian.escalate.outbox`).
"""

from __future__ import annotations

import logging
import random
import secrets
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta

from guardian.errors import DeliveryError
from guardian.escalate import storms
from guardian.escalate.desks import Desks
from guardian.escalate.handover import (
    ENDS,
    Failure,
    Ways,
    after_failure,
    hand_over,
    in_whose_hands,
)
from guardian.escalate.model import (
    Entry,
    EntryKind,
    Envelope,
    Message,
    Observation,
    Settlement,
    Standing,
)
from guardian.escalate.outbox import Outbox
from guardian.escalate.pacing import Desk, Pace, Wall
from guardian.escalate.ports import Channel, EscalationCatalog
from guardian.escalate.rules import EscalationRules
from guardian.escalate.sending import Flight, Landing, Sender, close_channels
from guardian.ports import Clock

_POLL = 0.25
"""Seconds after which the outbox is looked at again while something is in the air."""

_GOODBYE = 5.0
"""Seconds that channels have to close."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class DispatchReport:
    """What one run did, and how things stand.

    ``delivered``, ``postponed``, ``grouped``, ``handed_over`` and ``undeliverable`` count
    envelopes. ``in_the_air`` have not come back yet. ``outstanding`` wait, due or not (None: the
    catalog does not say); ``unwritten`` are not in the catalog as they are. ``trouble`` is why.
    ``observation`` is what the escalator is to hear of the channels.
    """

    observation: Observation
    delivered: int = 0
    postponed: int = 0
    grouped: int = 0
    handed_over: int = 0
    undeliverable: int = 0
    in_the_air: int = 0
    outstanding: int | None = None
    unwritten: int = 0
    trouble: str | None = None


class Dispatcher:
    """Sends what the outbox holds. ``run_once`` for one thread at a time, the rest for any.

    ``channels`` are those of the config by name; ``unusable`` the others of it, with why they
    cannot be made: what is for them goes to the next, or waits until they are mended. ``luck``
    gives numbers in [0, 1) that spread pauses.
    """

    def __init__(
        self,
        channels: Mapping[str, Channel],
        catalog: EscalationCatalog,
        clock: Clock,
        rules: EscalationRules,
        *,
        unusable: Mapping[str, str] | None = None,
        pace: Pace | None = None,
        luck: Callable[[], float] = random.random,
    ) -> None:
        self._channels = dict(channels)
        self._unusable = dict(unusable or {})
        self._clock = clock
        self._rules = rules
        self._pace = pace or Pace()
        self._luck = luck
        self._outbox = Outbox(catalog, clock)
        self._sender = Sender(self._channels, clock, self._pace.send_timeout)
        self._desks = Desks()
        self._inbox: deque[Envelope] = deque()
        self._urged = threading.Event()
        self._turn = threading.Lock()
        self._started: set[Flight] = set()
        self._counts: dict[Standing, int] = {}
        self._wall = Wall(clock)
        self._overtaking: dict[tuple[str, str], Message] = {}

    def send_unrecorded(self, envelopes: Sequence[Envelope]) -> None:
        """Deliver these although they are in no outbox yet; see guardian.escalate.ports.Courier."""
        self._inbox.extend(envelopes)
        self.urge()

    def urge(self) -> None:
        """Something is in the outbox that must not wait: whoever waits in ``wait`` goes on."""
        self._urged.set()

    def wait(self, seconds: float) -> None:
        """Until there is something urgent, or so many seconds have passed."""
        self._urged.wait(seconds)

    def run_once(self, deadline: float = 10.0) -> DispatchReport:
        """Send all that is due.

        Waits at most ``deadline`` seconds for what it has sent itself; what is still in the air
        then is dealt with by the next run. Raises nothing: a catalog that is away is in the report.
        """
        with self._turn:
            self._urged.clear()
            self._counts = {}
            self._started.clear()
            ends = self._clock.monotonic() + deadline
            with self._outbox.without_catalog():  # what is urgent goes before all questions
                self._take_inbox()
                self._serve_all()
            self._outbox.flush()
            if self._desks.wants_health:
                self._desks.learn(self._outbox.channel_health())
            self._collect(0)
            self._end_storms()
            self._work(deadline, ends)
            self._outbox.flush()
            return self._report()

    def _work(self, deadline: float, ends: float) -> None:
        """Let go and collect until nothing more can be done, or it is time."""
        waited = 0.0
        while True:
            moved = self._serve_all()
            if not (self._started or moved):
                return
            pause = min(_POLL, deadline - waited, ends - self._clock.monotonic())
            came = self._collect(0 if moved else pause)
            if not (came or moved):
                if pause <= 0:
                    return
                waited += pause  # by the real clock: a fake one may stand still
            self._take_inbox()

    def reconfigure(
        self,
        channels: Mapping[str, Channel],
        rules: EscalationRules,
        unusable: Mapping[str, str] | None = None,
    ) -> None:
        """Go by another config from the next run on; channels that are no longer in it close."""
        with self._turn:
            gone = [one for one in self._channels.values() if one not in channels.values()]
            self._channels = self._sender.channels = dict(channels)
            self._unusable = dict(unusable or {})
            self._rules = rules
        close_channels(gone, _GOODBYE)

    def close(self, deadline: float = 5.0) -> None:
        """Wait a little for what is in the air, write down what came of it, close the channels."""
        with self._turn:
            waited = 0.0
            while self._sender.in_the_air and waited < deadline:
                waited += 0.0 if self._collect(_POLL) else _POLL
            self._outbox.flush()
        close_channels(list(self._channels.values()), deadline)

    # --- what goes now ---

    def _collect(self, wait: float) -> bool:
        """Deal with what has come back; whether anything has."""
        landings = self._sender.landings(wait)
        for landing in landings:
            self._land(landing)
        return bool(landings)

    def _take_inbox(self) -> None:
        while self._inbox:
            self._outbox.add([self._inbox.popleft()])

    def _serve_all(self) -> bool:
        """Let everything leave that may; whether anything was handed over or put together."""
        of_channel: dict[str, list[Envelope]] = {}
        for one in self._outbox.due(self._wall.latest()):
            of_channel.setdefault(one.channel, []).append(one)
        moved = [self._serve(name, due) for name, due in of_channel.items()]
        return any(moved)

    def _serve(self, name: str, due: list[Envelope]) -> bool:
        if name not in self._channels:
            error = DeliveryError(f"channel {name} is not in the config", permanent=True)
            if (why := self._unusable.get(name)) is not None:
                error = DeliveryError(f"channel {name} cannot be used: {why}")
            for one in due:
                self._fail(one, error, None)
            return True
        desk = self._desks.of(name)
        if not self._sender.can_take(name) or desk.is_paused(self._clock.monotonic()):
            return self._give_away(desk, due)
        if desk.is_failing:  # one will show whether it does again
            self._start(min(due, key=_least_tried))
            return False
        return self._serve_well(desk, due)

    def _serve_well(self, desk: Desk, due: list[Envelope]) -> bool:
        now, pace = self._clock.monotonic(), self._pace
        groups = self._channels[desk.health.channel].groups
        alone: dict[str, bool] = {}

        def goes_alone(one: Envelope) -> bool:
            if not groups or desk.is_chosen(one.id):
                return True
            return one.message.kind in ENDS and self._was_alone(one, alone)

        plan = storms.plan(
            due,
            left=desk.singles_left(self._rules.storm_limit, now),
            size=pace.storm_size,
            is_calm=lambda kind: desk.is_calm(kind, now),
            may_gather=lambda kind: desk.may_group(kind, pace.storm_every, now),
            goes_alone=goes_alone,
        )
        moved = False
        for gathering in plan.gatherings:
            if len(gathering.members) > 1:
                self._gather(desk, gathering)
                moved = True
        for one in plan.singles:
            if storms.is_one_of_many(one) and not goes_alone(one):
                desk.choose(one.id, now)
        if plan.singles:
            self._start(plan.singles[0])
        elif plan.gatherings and not moved:  # one is no storm, and goes as itself
            desk.count_group(plan.gatherings[0].kind, now)
            self._start(plan.gatherings[0].members[0])
        return moved

    def _was_alone(self, end: Envelope, known: dict[str, bool]) -> bool:
        """Whether this channel heard of the incident in a message of its own."""
        key = end.message.dedup_key
        if key not in known:
            known[key] = any(
                one.channel == end.channel
                and one.standing is Standing.DELIVERED
                and one.message.kind not in ENDS
                for one in self._outbox.of_incident(end.message)
            )
        return known[key]

    def _gather(self, desk: Desk, gathering: storms.Gathering) -> None:
        now, name = self._clock.now(), desk.health.channel
        key = f"guardian-storm-{name}-{now:%Y%m%dT%H%M%S}-{secrets.token_hex(3)}"
        whole, told, entries = storms.gathered(gathering, key, now)
        desk.count_group(gathering.kind, self._clock.monotonic())
        self._outbox.settle(Settlement(told, entries, follow_ups=(whole,)))
        self._count(Standing.GROUPED, len(told))

    def _start(self, one: Envelope) -> None:
        memo = self._outbox.memo(one)
        self._outbox.take(one)
        self._started.add(self._sender.start(one, memo))

    def _end_storms(self) -> None:
        now = self._clock.now()
        ends = tuple(storms.storm_ended(one, now) for one in self._outbox.finished_storms())
        if ends:
            self._outbox.settle(Settlement(follow_ups=ends))

    # --- what came of it ---

    def _land(self, landing: Landing) -> None:
        self._started.discard(landing.flight)
        sent = self._outbox.current(landing.flight.envelope)
        desk = self._desks.of(sent.channel)
        if landing.error is not None:
            if landing.late:
                return  # that it had failed is known
            pause = self._pace.pause(desk.health.failures + 1, landing.error, self._luck())
            desk.failed(landing.error, self._clock.now(), self._clock.monotonic() + pause)
            self._outbox.note_health(desk.health)
            self._fail(sent, landing.error, desk)
            return
        receipt, now = landing.receipt, self._clock.now()
        desk.is_through(landing.flight.envelope.id)
        if desk.succeeded(now):
            self._outbox.note_health(desk.health)
        done = replace(
            sent,
            attempts=sent.attempts + 1,
            standing=Standing.DELIVERED,
            delivered_at=now,
            error=None,
        )
        detail = f": {receipt.detail}" if receipt is not None and receipt.detail else ""
        memos: tuple[tuple[str, str, str], ...] = ()
        if receipt is not None and receipt.memo is not None:
            memos = ((sent.message.dedup_key, sent.channel, receipt.memo),)
        text = f"{sent.message.kind} told to {sent.rung} through {sent.channel}{detail}"
        entries = self._entries(sent, EntryKind.DELIVERED, text)
        last_word = self._last_word(sent, unseen=landing.flight.envelope.id < 0)
        self._outbox.settle(Settlement((done,), entries, memos, last_word))
        self._count(Standing.DELIVERED)

    def _last_word(self, sent: Envelope, *, unseen: bool) -> tuple[Envelope, ...]:
        """The end once more, where it overtook what was delivered now.

        That happens when the catalog goes away with a message in it that nobody here has seen: the
        urgent ones behind it do not wait. But a pager must not be left with the alert.
        """
        key, message = (sent.message.dedup_key, sent.channel), sent.message
        if message.kind in ENDS:
            if unseen:
                self._overtaking[key] = message
            return ()
        end = self._overtaking.get(key)
        if end is None or end.number < message.number:
            return ()
        now = self._clock.now()
        return (Envelope(end, sent.channel, sent.rung, now, now),)

    def _fail(self, sent: Envelope, error: DeliveryError, desk: Desk | None) -> None:
        """Decide what becomes of it: once more, handed over, or lost."""
        now, patience = self._clock.now(), self._rules.hand_over_after
        pause = self._pace.pause(sent.attempts + 1, error, self._luck())
        failure = Failure(
            error,
            now,
            now + timedelta(seconds=pause),
            too_long=desk.has_failed_for(patience, now) if desk else not error.permanent,
        )
        tried = replace(sent, attempts=sent.attempts + 1)
        verdict = after_failure(tried, failure, self._ways(sent), patience, self._pace)
        if verdict.text is not None:
            _log.warning("%s: %s", sent.message.title, verdict.text)
        self._settle(verdict.envelope, verdict.follow_ups, verdict.text)

    def _give_away(self, desk: Desk, due: Sequence[Envelope]) -> bool:
        """Hand over at once what would wait for a channel that has failed for long."""
        now, health = self._clock.now(), desk.health
        if not desk.has_failed_for(self._rules.hand_over_after, now):
            return False
        moved = False
        for one in due:
            if not one.others or one.message.kind in ENDS:
                continue
            passed = replace(one, tried=(*one.tried, one.channel), error=health.last_error)
            given = hand_over(passed, self._ways(one), now)
            if given is not None:
                done = replace(passed, standing=Standing.HANDED_OVER)
                text = f"{one.channel} has failed for long ({health.last_error})"
                self._settle(done, given, f"{text}; {in_whose_hands(given)}")
                moved = True
        return moved

    def _settle(
        self, envelope: Envelope, follow_ups: tuple[Envelope, ...], text: str | None
    ) -> None:
        entries = () if text is None else self._entries(envelope, EntryKind.UNDELIVERED, text)
        ends = self._ends_for(envelope, follow_ups)
        self._outbox.settle(Settlement((envelope,), entries, follow_ups=follow_ups + ends))
        if envelope.standing is not Standing.WAITING:
            self._desks.of(envelope.channel).is_through(envelope.id)
        self._count(envelope.standing)

    def _ends_for(self, given: Envelope, follow_ups: Sequence[Envelope]) -> tuple[Envelope, ...]:
        """What whoever gets it now must hear as well: that it is over already."""
        if not follow_ups or given.message.kind in ENDS:
            return ()
        later = {
            one.message.number: one.message
            for one in self._outbox.of_incident(given.message)
            if one.message.kind in ENDS and one.message.number > given.message.number
        }
        return tuple(
            Envelope(message, one.channel, one.rung, one.created_at, one.next_at)
            for message in later.values()
            for one in follow_ups
            if one.channel not in self._outbox.tracks(message)[0]
        )

    # --- behind ---

    def _ways(self, sent: Envelope) -> Ways:
        has, failed = self._outbox.tracks(sent.message)
        return Ways(self._rules.people, self._channels, has, failed, self._unusable)

    def _entries(self, of: Envelope, kind: EntryKind, text: str) -> tuple[Entry, ...]:
        if of.message.incident is None:
            return ()
        return (Entry(of.message.incident, self._clock.now(), kind, text),)

    def _count(self, standing: Standing, many: int = 1) -> None:
        self._counts[standing] = self._counts.get(standing, 0) + many

    def _report(self) -> DispatchReport:
        now, counts = self._clock.now(), self._counts
        return DispatchReport(
            observation=self._desks.observation(now, self._channels, self._unusable),
            delivered=counts.get(Standing.DELIVERED, 0),
            postponed=counts.get(Standing.WAITING, 0),
            grouped=counts.get(Standing.GROUPED, 0),
            handed_over=counts.get(Standing.HANDED_OVER, 0),
            undeliverable=counts.get(Standing.UNDELIVERABLE, 0),
            in_the_air=self._sender.in_the_air,
            outstanding=self._outbox.outstanding(),
            unwritten=self._outbox.unwritten,
            trouble=self._outbox.trouble,
        )


def _least_tried(one: Envelope) -> tuple[int, int, int, int]:
    return (one.attempts, *storms.worst_first(one))[:4]
