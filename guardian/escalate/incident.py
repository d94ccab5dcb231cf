"""An incident's life: pending, firing, acknowledged, recovering, resolved. Pure.

::

    pending ──settled──▶ firing ◀──lapsed, worse── acknowledged
       │                 │    ▲ └──a person has it──▶   │
       │ gone        gone│    │ back                    │gone
       ▼                 ▼    │                         ▼
    resolved ◀──gone for long── recovering ◀────────────┘
       └──back within reopen_within: pending, the same incident

Two things differ on purpose. A pending incident fires by time alone: should its sensor fall silent,
it is told rather than forgotten. A recovering one is resolved only by a sensor that looks again and
does not see it: silence is no recovery.

Who hears of all this is :mod:`guardian.escalate.ladder`'s business. A step's ``news`` are what it
must know beside the incident itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import Enum, StrEnum, auto
from fnmatch import fnmatchcase
from typing import Any

from guardian.escalate.model import Condition, Entry, EntryKind, Incident, IncidentId, State
from guardian.escalate.rules import BACKUP_FAILED, SETTLED_BY_HAND, EscalationRules
from guardian.units import format_duration

FLAP_WINDOW = timedelta(hours=1)
"""So long a firing counts for the damping; it is also the longest that damping makes a recovery."""

_FLAPS_KEPT = 16
_REFRESH = timedelta(minutes=1)
"""How old the evidence in the catalog may get while nothing else changes."""
_UPDATE_GAP = timedelta(minutes=30)
"""How often at most people hear that it happened once more."""


class News(StrEnum):
    """What a step brings that people may have to hear of."""

    WORSE = "worse"
    """A new climb begins."""
    AGAIN = "again"
    URGENT = "urgent"
    """So many times in a row that the next rung hears at once."""
    LAPSED = "lapsed"
    REOPENED = "reopened"
    ACKNOWLEDGED = "acknowledged"
    RESOLVED = "resolved"


@dataclass(frozen=True, slots=True)
class Step:
    """An incident after something happened, the lines of its timeline, and the news in words.

    ``changed``: there is something to write. The incident carries the newest evidence in any case.
    """

    incident: Incident
    entries: tuple[Entry, ...] = ()
    news: Mapping[News, str] = field(default_factory=dict)
    changed: bool = True


class Return(Enum):
    """What a condition is that comes back after its incident was resolved."""

    NEW = auto()
    SAME = auto()
    """The same incident, to be reopened."""
    SETTLED = auto()
    """Nothing: a person has resolved this very occurrence, and it has not happened again."""


def opened(
    incident: IncidentId, condition: Condition, scope: str, now: datetime, rules: EscalationRules
) -> Step:
    """Begin with a condition that is seen for the first time; it is pending."""
    severity = rules.severity_of(condition)
    life = _Life(
        Incident(
            id=incident,
            key=condition.key,
            kind=condition.kind,
            scope=scope,
            severity=severity,
            state=State.PENDING,
            condition=condition,
            opened_at=now,
            updated_at=now,
            server=condition.server,
            database=condition.database,
            entered_at=now,
            occurrences=max(1, condition.count),
            peak=severity,
        ),
        now,
        rules,
    )
    life.note(EntryKind.OPENED, condition.title)
    return life.step()


def what_returns(
    resolved: Incident, condition: Condition, now: datetime, rules: EscalationRules
) -> Return:
    """Whether a condition continues the latest incident of its key, which is resolved."""
    occurred = condition.occurrence
    happens = any(fnmatchcase(condition.kind, pattern) for pattern in SETTLED_BY_HAND)
    again = not occurred or occurred != resolved.condition.occurrence
    if happens and resolved.resolved_by and not again:
        return Return.SETTLED
    if resolved.resolved_at is None or now - resolved.resolved_at <= rules.reopen_within:
        return Return.SAME
    return Return.NEW


def reopened(
    incident: Incident, condition: Condition, scope: str, now: datetime, rules: EscalationRules
) -> Step:
    """Go on with one that was resolved a short while ago; it is pending, and has a new climb."""
    life = _Life(incident, now, rules)
    ago = now - (incident.resolved_at or now)
    text = f"it is back, {format_duration(max(ago, timedelta(0)))} after it was resolved"
    severity = rules.severity_of(condition)
    life.enter(
        State.PENDING,
        condition=condition,
        scope=scope,
        severity=severity,
        peak=severity,
        occurrences=incident.occurrences + 1,
        fired_at=None,
        cleared_at=None,
        resolved_at=None,
        resolved_by=None,
        people_told=(),
        escalated_to=None,
        **_NOT_ACKNOWLEDGED,
        **_CLIMB_BEGINS,
    )
    life.note(EntryKind.REOPENED, f"{text}: {condition.title}")
    life.news[News.REOPENED] = text
    return life.step()


def seen(
    incident: Incident, condition: Condition, scope: str, now: datetime, rules: EscalationRules
) -> Step:
    """The condition of an open incident holds."""
    life = _Life(incident, now, rules)
    life.take(condition, scope)
    return life.step()


def gone(incident: Incident, now: datetime, rules: EscalationRules) -> Step:
    """The condition of an open incident does not hold."""
    life = _Life(incident, now, rules)
    if incident.state is State.PENDING:
        life.resolve("it passed before anybody had to be told")
        return life.step()
    if incident.state is not State.RECOVERING:
        life.enter(State.RECOVERING, cleared_at=now)
        needed = recovery_needed(life.incident, now, rules)
        if needed > timedelta(0):
            text = f"it is gone; resolved if it stays so for {format_duration(needed)}"
            life.note(EntryKind.RECOVERING, text)
    needed = recovery_needed(life.incident, now, rules)
    been = _since_entered(life.incident, now)
    if been >= needed:
        life.resolve(f"it has been gone for {format_duration(been)}" if needed else "it is gone")
    return life.step()


def passed(incident: Incident, now: datetime, rules: EscalationRules) -> Step:
    """Time has passed, and nothing else."""
    life = _Life(incident, now, rules)
    if incident.state is State.PENDING:
        if _since_entered(incident, now) >= rules.settle_of(incident.kind, incident.key):
            life.fire()
    elif incident.state is State.ACKNOWLEDGED and not life.is_acknowledged():
        life.lapse()
    return life.step()


def acknowledged(
    incident: Incident,
    by: str,
    now: datetime,
    rules: EscalationRules,
    lasting: timedelta | None = None,
) -> Step:
    """A person takes an open incident, for the time that the rules or they themselves give."""
    life = _Life(incident, now, rules)
    until = now + (lasting or rules.acknowledgement_of(incident.severity))
    changes = {"acknowledged_at": now, "acknowledged_by": by, "acknowledged_until": until}
    if incident.state is State.RECOVERING:
        life.set(**changes)
    else:
        if incident.state is State.PENDING:
            changes |= {"fired_at": now, "flaps": life.flaps()}
        life.enter(State.ACKNOWLEDGED, **changes)
    day = "" if until.date() == now.date() else f"{until:%Y-%m-%d} "
    text = f"{by} has it until {day}{until:%H:%M} UTC"
    life.note(EntryKind.ACKNOWLEDGED, text, by)
    life.news[News.ACKNOWLEDGED] = text
    return life.step()


def resolved(incident: Incident, by: str, now: datetime, rules: EscalationRules) -> Step:
    """A person ends an open incident."""
    life = _Life(incident, now, rules)
    life.resolve(f"resolved by {by}", by)
    return life.step()


def ended(incident: Incident, text: str, now: datetime, rules: EscalationRules) -> Step:
    """An open incident ends for another reason than that its condition has gone: say which."""
    life = _Life(incident, now, rules)
    life.resolve(text)
    return life.step()


def shifted(incident: Incident, by: timedelta) -> Incident:
    """The same after the clock was set by so much: what is measured goes on, history stays."""

    def moved(at: datetime | None) -> datetime | None:
        return None if at is None else at + by

    return replace(
        incident,
        entered_at=moved(incident.entered_at),
        climbing_since=moved(incident.climbing_since),
        reminded_at=moved(incident.reminded_at),
        acknowledged_until=moved(incident.acknowledged_until),
    )


def recovery_needed(incident: Incident, now: datetime, rules: EscalationRules) -> timedelta:
    """How long it must be gone: twice as long for each time it fired within the last hour."""
    needed = rules.recovery_of(incident.kind, incident.key)
    flaps = sum(now - at <= FLAP_WINDOW for at in incident.flaps)
    damped = needed * (1 << max(0, flaps - 1))
    return max(needed, min(damped, FLAP_WINDOW))


_NOT_ACKNOWLEDGED: Mapping[str, Any] = {
    "acknowledged_at": None,
    "acknowledged_by": None,
    "acknowledged_until": None,
}
_CLIMB_BEGINS: Mapping[str, Any] = {
    "climbed_seconds": 0.0,
    "climbing_since": None,
    "rungs_told": (),
    "reminded_at": None,
}


def _since_entered(incident: Incident, now: datetime) -> timedelta:
    return max(now - (incident.entered_at or incident.opened_at), timedelta(0))


class _Life:
    """One step of an incident in the making."""

    def __init__(self, incident: Incident, now: datetime, rules: EscalationRules) -> None:
        self._before = self.incident = incident
        self._now = now
        self._rules = rules
        self._entries: list[Entry] = []
        self.news: dict[News, str] = {}

    def step(self) -> Step:
        """What has come of it. Evidence that is a little newer, alone, is no change."""
        incident = self.incident
        evidence_alone = replace(incident, condition=self._before.condition) == self._before
        if evidence_alone and not self._entries:
            fresh = self._now - self._before.updated_at < _REFRESH
            if fresh or incident.condition == self._before.condition:
                return Step(incident, changed=False)
        return Step(replace(incident, updated_at=self._now), tuple(self._entries), self.news)

    def set(self, **changes: Any) -> None:
        """Change the incident."""
        self.incident = replace(self.incident, **changes)

    def enter(self, state: State, **changes: Any) -> None:
        """Come into another state."""
        self.set(state=state, entered_at=self._now, **changes)

    def note(self, kind: EntryKind, text: str, by: str | None = None) -> None:
        """Add a line to the timeline."""
        self._entries.append(Entry(self.incident.id, self._now, kind, text, by))

    def flaps(self) -> tuple[datetime, ...]:
        """The instants at which it fired lately, and now."""
        recent = (at for at in self.incident.flaps if self._now - at <= FLAP_WINDOW)
        return (*recent, self._now)[-_FLAPS_KEPT:]

    def is_acknowledged(self) -> bool:
        """Whether a person still has it."""
        until = self.incident.acknowledged_until
        return until is not None and until > self._now

    def fire(self) -> None:
        """It has held for long enough."""
        self.enter(
            State.FIRING,
            fired_at=self._now,
            flaps=self.flaps(),
            peak=self.incident.severity,
            **_CLIMB_BEGINS,
        )
        self.note(EntryKind.FIRED, f"{self.incident.severity}: {self.incident.title}")
        self._urge()

    def resolve(self, text: str, by: str | None = None) -> None:
        """It has ended."""
        cleared = self.incident.cleared_at or self._now
        self.enter(State.RESOLVED, resolved_at=self._now, resolved_by=by, cleared_at=cleared)
        self.note(EntryKind.RESOLVED, text, by)
        self.news[News.RESOLVED] = text

    def lapse(self) -> None:
        """An acknowledgement has run out: those who were told are owed a word."""
        text = f"the acknowledgement by {self.incident.acknowledged_by} has run out"
        self.enter(State.FIRING, reminded_at=None, **_NOT_ACKNOWLEDGED)
        self.note(EntryKind.LAPSED, text)
        self.news[News.LAPSED] = text

    def take(self, condition: Condition, scope: str) -> None:
        """Take in what was seen."""
        before = self.incident.condition
        self.set(condition=condition, scope=scope)
        if self.incident.state is State.RECOVERING:
            self._relapse()
        self._regrade()
        happened = condition.occurrence not in {None, before.occurrence}
        if happened or condition.count > before.count:
            self._occur(rose=condition.count > before.count)

    def _relapse(self) -> None:
        self.enter(
            State.ACKNOWLEDGED if self.incident.acknowledged_at else State.FIRING,
            cleared_at=None,
            flaps=self.flaps(),
        )
        self.note(EntryKind.RELAPSED, f"it is back: {self.incident.title}")

    def _regrade(self) -> None:
        severity = self._rules.severity_of(self.incident.condition)
        before = self.incident.severity
        if severity is before:
            return
        self.set(severity=severity)
        if self.incident.state is State.PENDING:
            self.set(peak=severity)
            return
        text = f"{before} became {severity}: {self.incident.title}"
        self.note(EntryKind.SEVERITY, text)
        if severity.rank >= (self.incident.peak or before).rank:
            return  # no worse than it was before: what was told of that stands
        self.enter(State.FIRING, peak=severity, **_NOT_ACKNOWLEDGED, **_CLIMB_BEGINS)
        self.news[News.WORSE] = f"it got worse: {before} became {severity}"

    def _occur(self, *, rose: bool) -> None:
        condition = self.incident.condition
        self.set(occurrences=max(self.incident.occurrences + 1, condition.count))
        if self.incident.state is State.PENDING:
            return
        in_a_row = f"{condition.count} in a row" if condition.count > 1 else "once more"
        self.note(EntryKind.OCCURRED, f"it happened again, {in_a_row}: {condition.title}")
        if not rose:
            return
        self._urge()
        told_at = self.incident.reminded_at
        if told_at is None or self._now - told_at >= _UPDATE_GAP:
            self.set(reminded_at=None)
            self.news[News.AGAIN] = f"it happened again, {in_a_row}"

    def _urge(self) -> None:
        """So many failed backups in a row are everybody's: an acknowledgement ends, too."""
        condition = self.incident.condition
        if condition.kind == BACKUP_FAILED and condition.count >= self._rules.page_after:
            if self.incident.state is State.ACKNOWLEDGED:
                self.enter(State.FIRING, **_NOT_ACKNOWLEDGED)
            self.news[News.URGENT] = f"it failed {condition.count} times in a row"
