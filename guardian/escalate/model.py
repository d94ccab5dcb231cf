"""What escalation speaks of: conditions, incidents, messages, deliveries. Frozen records, pure.

A *condition* is what somebody observed just now (a backup has failed, a server does not answer).
An *incident* is its story, from the first observation to its resolution. A *message* is what one
rung of the ladder is told of it; an *outbox* row is that message on its way through one channel.

Times are timezone-aware UTC. No text in here holds a secret or the data of a row.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, NewType

IncidentId = NewType("IncidentId", str)
"""Short enough to type: eight characters of lower-case letters and digits, such as ``k3f9w2ap``."""

PUT_OFF_AT_MOST = timedelta(hours=2)
"""No message is put off for longer. What is due later yet was written by a clock that was ahead, in
a process that has ended since: it is due."""

TITLE_LIMIT = 120
"""Characters of a title at most (what a phone's lock screen shows)."""


class Severity(StrEnum):
    """How bad it is. The runbook's classes; P0 wakes everybody, P3 waits for the digest."""

    P0 = "P0"
    P1 = "P1"
    P2 = "P2"
    P3 = "P3"

    @property
    def rank(self) -> int:
        """0 for the worst."""
        return int(self.value[1])


class State(StrEnum):
    """Where an incident is. The values are fixed by the contract (``incidents``' ``state``)."""

    PENDING = "pending"
    """It holds, but not for long enough to tell anybody."""
    FIRING = "firing"
    ACKNOWLEDGED = "acknowledged"
    """A person has it; nobody else is called until that lapses."""
    RECOVERING = "recovering"
    """It holds no longer, but not for long enough to be believed."""
    RESOLVED = "resolved"

    @property
    def is_open(self) -> bool:
        """Whether it still is anybody's business."""
        return self is not State.RESOLVED


@dataclass(frozen=True, slots=True)
class Fact:
    """One piece of evidence: ``disk of /var/backups`` is ``97% full``."""

    name: str
    value: str


@dataclass(frozen=True, slots=True)
class Condition:
    """Something is wrong, as it was seen just now.

    ``key`` says what it is the same as: ``backup.failed:main/mina``; two observations with one key
    are one incident. ``kind`` is the part before the colon. ``occurrence`` names this very
    happening (a backup's id, the instant a server went down), so that seeing it again is not
    counted again; None where each observation is just the same state. ``count`` is how often in a
    row, where that matters (consecutive failures).

    ``title`` says what is broken in at most TITLE_LIMIT characters. ``impact`` is what it means for
    people. ``tried`` is what guardian has done about it already; ``checks`` are the runbook's quick
    checks *done*, with what they gave; ``mend`` is what to do now, a command or sentence each.
    """

    key: str
    kind: str
    severity: Severity
    title: str
    server: str | None = None
    database: str | None = None
    since: datetime | None = None
    occurrence: str | None = None
    count: int = 1
    impact: str = ""
    evidence: tuple[Fact, ...] = ()
    tried: tuple[str, ...] = ()
    checks: tuple[Fact, ...] = ()
    mend: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Observation:
    """All that one sensor sees within its scope, at one instant.

    ``scope`` names the sensor and what it looked at (``backups:main``, ``vitals:main``,
    ``probe:web``). A condition of that scope that is not in ``conditions`` any more has gone: so a
    sensor says everything each time, and nothing is lost with a crash in between. ``blind`` are
    prefixes of keys that could not be looked at this time: what is open there stays as it is.
    """

    scope: str
    at: datetime
    conditions: tuple[Condition, ...] = ()
    blind: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Incident:
    """A condition's story so far. Its timeline is kept beside it.

    ``version`` counts changes, so that two processes do not overwrite each other. ``condition`` is
    the latest observation (its severity may have been overridden: ``severity`` counts).
    ``opened_at``: first seen. ``fired_at``: when it fired, anew after a reopening. ``cleared_at``:
    when it was last seen gone. ``entered_at``: when it came into its state. ``acknowledged_until``:
    when an acknowledgement lapses. ``resolved_by``: the person who did; None if it just went.

    A *climb* is one way up the ladder. It begins when the incident fires, and anew when it gets
    worse than ``peak``, its worst so far. The ladder's time is a stopwatch that runs only while the
    incident is firing and not ``held_by`` anything (a silence, a server that is down, the night):
    ``climbed_seconds``, and what has passed since ``climbing_since``. ``rungs_told`` are the
    ladder's entries told in this climb, as ``P1/30m/lead``; ``escalated_to`` is the highest one's
    person. ``people_told`` is everybody who was told since it opened or reopened, and so hears of
    its end. ``reminded_at`` is when people last heard of it; None while they are owed a word.
    ``messages`` is the number of the latest. ``flaps`` are the instants at which it fired, for
    damping.
    """

    id: IncidentId
    key: str
    kind: str
    scope: str
    severity: Severity
    state: State
    condition: Condition
    opened_at: datetime
    updated_at: datetime
    version: int = 0
    server: str | None = None
    database: str | None = None
    fired_at: datetime | None = None
    cleared_at: datetime | None = None
    resolved_at: datetime | None = None
    acknowledged_at: datetime | None = None
    acknowledged_by: str | None = None
    acknowledged_until: datetime | None = None
    occurrences: int = 1
    rungs_told: tuple[str, ...] = ()
    people_told: tuple[str, ...] = ()
    escalated_to: str | None = None
    reminded_at: datetime | None = None
    flaps: tuple[datetime, ...] = ()
    entered_at: datetime | None = None
    resolved_by: str | None = None
    peak: Severity | None = None
    climbed_seconds: float = 0.0
    climbing_since: datetime | None = None
    held_by: str | None = None
    messages: int = 0

    @property
    def title(self) -> str:
        """What is broken, in one line."""
        return self.condition.title


class EntryKind(StrEnum):
    """What a line of an incident's timeline tells of."""

    OPENED = "opened"
    FIRED = "fired"
    OCCURRED = "occurred"
    """Once more: another failed backup."""
    SEVERITY = "severity"
    TOLD = "told"
    """A message was put into the outbox for somebody."""
    DELIVERED = "delivered"
    UNDELIVERED = "undelivered"
    """A channel would not take it; to whom it was handed over."""
    HELD_BACK = "held_back"
    """Nobody is told for now: silenced, inhibited, outside of business hours."""
    ACKNOWLEDGED = "acknowledged"
    LAPSED = "lapsed"
    """The acknowledgement ran out; the climb goes on."""
    RECOVERING = "recovering"
    RELAPSED = "relapsed"
    RESOLVED = "resolved"
    REOPENED = "reopened"
    NOTE = "note"


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of an incident's timeline: when, what, in words; by whom, where it was a person."""

    incident: IncidentId
    at: datetime
    kind: EntryKind
    text: str
    by: str | None = None


class MessageKind(StrEnum):
    """Why somebody hears of it."""

    ALERT = "alert"
    ESCALATION = "escalation"
    """A later rung, since nobody answered."""
    REMINDER = "reminder"
    UPDATE = "update"
    """It got worse, or happened again."""
    ACKNOWLEDGED = "acknowledged"
    RESOLVED = "resolved"
    STORM = "storm"
    """Many incidents in one message."""
    DIGEST = "digest"
    TEST = "test"


@dataclass(frozen=True, slots=True)
class Message:
    """What one rung is told, ready to be shaped by a channel.

    ``title`` is what is broken, in at most TITLE_LIMIT characters; severity and what kind of news
    it is are for the channel to set before it (:func:`guardian.escalate.wording.headline`).
    ``dedup_key`` is the same for all messages of one incident (PagerDuty's key, a mail's thread).
    ``number`` orders the messages of one incident (those of one step share it). ``why`` says in
    words why this person hears now ("nobody acknowledged for 30m"). ``links`` are (label, address).
    ``items`` are the single lines of a storm or digest. ``told`` is who else has been told.
    """

    kind: MessageKind
    severity: Severity
    title: str
    at: datetime
    dedup_key: str
    number: int = 0
    incident: IncidentId | None = None
    incident_kind: str | None = None
    state: State | None = None
    server: str | None = None
    database: str | None = None
    since: datetime | None = None
    ended_at: datetime | None = None
    occurrences: int = 1
    why: str = ""
    impact: str = ""
    evidence: tuple[Fact, ...] = ()
    tried: tuple[str, ...] = ()
    checks: tuple[Fact, ...] = ()
    mend: tuple[str, ...] = ()
    links: tuple[tuple[str, str], ...] = ()
    items: tuple[str, ...] = ()
    told: tuple[str, ...] = ()


class Standing(StrEnum):
    """What became of one outbox row."""

    WAITING = "waiting"
    DELIVERED = "delivered"
    GROUPED = "grouped"
    """Told within a storm's message."""
    HANDED_OVER = "handed_over"
    """The channel failed; another one, or another rung, has it now."""
    SUPERSEDED = "superseded"
    """Not needed any more: a reminder of what is resolved meanwhile."""
    UNDELIVERABLE = "undeliverable"
    """No channel of any rung took it."""


@dataclass(frozen=True, slots=True)
class Envelope:
    """A message on its way to one rung through one channel: one row of the outbox.

    ``rung`` is the person's name in the config. ``others`` are the channels, and behind them the
    rungs, that it is handed over to if this one fails: ``pager`` or ``rung:lead``.
    ``attempts`` counts tries. ``next_at`` is when the next is due. ``tried`` are channels that
    have failed already, ``refused`` those of them that said they never take it.
    """

    message: Message
    channel: str
    rung: str
    created_at: datetime
    next_at: datetime
    id: int = 0
    others: tuple[str, ...] = ()
    tried: tuple[str, ...] = ()
    refused: tuple[str, ...] = ()
    attempts: int = 0
    standing: Standing = Standing.WAITING
    delivered_at: datetime | None = None
    error: str | None = None
    group: str | None = None
    """The dedup key of the storm's message that told it."""

    def is_due(self, at: datetime) -> bool:
        """Whether it may be sent at that instant."""
        return not at < self.next_at <= at + PUT_OFF_AT_MOST


@dataclass(frozen=True, slots=True)
class Receipt:
    """What a channel said to a delivered message.

    ``memo`` is what the channel wants to know again with the next message of the same incident: a
    thread's id. ``detail`` is one line for people (``202 accepted``).
    """

    detail: str = ""
    memo: str | None = None


@dataclass(frozen=True, slots=True)
class Silence:
    """Nobody is told of matching incidents for a while.

    ``match`` maps kind, server, database, severity or key to a glob; all must hold, an empty one
    matches everything.
    """

    id: str
    starts_at: datetime
    ends_at: datetime
    reason: str
    by: str
    match: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ChannelHealth:
    """How a channel does: since when it has failed without a success between, and why."""

    channel: str
    failing_since: datetime | None = None
    failures: int = 0
    last_success_at: datetime | None = None
    last_error: str | None = None


@dataclass(frozen=True, slots=True)
class Change:
    """What one step changes. Written in one transaction, or not at all.

    ``incidents`` are new or changed ones, each with the version it was read at. ``entries`` go into
    timelines, ``envelopes`` into the outbox. ``superseded`` are incidents whose waiting reminders
    and escalations are not needed any more.
    """

    incidents: tuple[Incident, ...] = ()
    entries: tuple[Entry, ...] = ()
    envelopes: tuple[Envelope, ...] = ()
    superseded: tuple[IncidentId, ...] = ()

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to write."""
        return not (self.incidents or self.entries or self.envelopes or self.superseded)


@dataclass(frozen=True, slots=True)
class Occasion:
    """Something that is told at set times, such as the digest, has its time.

    ``name`` says what, and is the kind of the event that tells of it. ``last`` is when it was told
    before, by the catalog: None for never. ``text`` says what came of it; without, nothing was told
    and only the time from which it counts is remembered.
    """

    name: str
    at: datetime
    last: datetime | None
    text: str = ""
    envelopes: tuple[Envelope, ...] = ()


@dataclass(frozen=True, slots=True)
class Watcher:
    """Who observes which scopes: the daemon, or the commands of one host with their own config."""

    name: str
    seen_at: datetime
    scopes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class JobTiming:
    """When a job is to run and how long it may take, for who watches from outside that it does.

    ``schedule`` is five cron fields, or ``every 6h``.
    """

    schedule: str
    timezone: str = "UTC"
    longest: timedelta | None = None


@dataclass(frozen=True, slots=True)
class Settlement:
    """What came of tries to deliver. Written in one transaction, or not at all.

    ``envelopes`` are rows as they are now: standing, attempts, next_at, error. ``entries`` go into
    timelines. ``memos`` are what a channel wants to know again with the next message of a dedup
    key: (dedup key, channel, memo). ``follow_ups`` are new rows: what was handed over, or put
    together.
    """

    envelopes: tuple[Envelope, ...] = ()
    entries: tuple[Entry, ...] = ()
    memos: tuple[tuple[str, str, str], ...] = ()
    follow_ups: tuple[Envelope, ...] = ()

    def __add__(self, later: Settlement) -> Settlement:
        """Both, in this order."""
        return Settlement(
            self.envelopes + later.envelopes,
            self.entries + later.entries,
            self.memos + later.memos,
            self.follow_ups + later.follow_ups,
        )


Document = Mapping[str, Any]
"""JSON's types alone."""
