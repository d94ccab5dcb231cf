"""The escalator on a catalog in memory and a clock that is turned by hand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from guardian.errors import CatalogError, StaleIncidentError
from guardian.escalate.engine import Escalator
from guardian.escalate.model import (
    Change,
    Condition,
    Entry,
    Envelope,
    Incident,
    Observation,
    Settlement,
    Severity,
    Standing,
)
from guardian.escalate.rules import EscalationRules
from guardian.testing import FakeClock, MemoryCatalog

P0, P1, P2, P3 = Severity
START = datetime(2026, 11, 23, 2, 0, tzinfo=UTC)
"""A Monday."""
SECOND, MINUTE, HOUR = timedelta(seconds=1), timedelta(minutes=1), timedelta(hours=1)

DELIVERED = Standing.DELIVERED
PEOPLE = {"on-call": ("pager", "chat"), "lead": ("lead-mail", "chat"), "cto": ("cto-mail",)}
"""Lead and on-call share the chat."""


def rules(**changes: Any) -> EscalationRules:
    """The runbook's ladder over three people, without a quiet time after the start."""
    made: dict[str, Any] = {"people": PEOPLE, "startup_settle": timedelta(0), **changes}
    return EscalationRules(**made)


def failed(count: int = 1, **changes: Any) -> Condition:
    """The backup of main/mina has failed so often in a row."""
    values: dict[str, Any] = {
        "key": "backup.failed:main/mina",
        "kind": "backup.failed",
        "severity": P1,
        "title": "Backup of main/mina failed: a disk is full",
        "server": "main",
        "database": "mina",
        "occurrence": f"backup {count}",
        "count": count,
        "mend": ("make room",),
    }
    return Condition(**{**values, **changes})


def level(key: str = "probe.web:web", severity: Severity = P1, **changes: Any) -> Condition:
    """A state that holds; each time it is seen is the same as the last."""
    values: dict[str, Any] = {
        "key": key,
        "kind": key.partition(":")[0],
        "severity": severity,
        "title": f"{key} is not well",
    }
    return Condition(**{**values, **changes})


def down(severity: Severity = P1, **changes: Any) -> Condition:
    """The server main does not answer."""
    values: dict[str, Any] = {
        "title": "Server main does not answer",
        "server": "main",
        "occurrence": "down at 02:00",
    }
    return level("server.down:main", severity, **{**values, **changes})


class Post:
    """A courier that keeps what it is given."""

    def __init__(self) -> None:
        self.given: list[Envelope] = []

    def send_unrecorded(self, envelopes: Sequence[Envelope]) -> None:
        self.given += envelopes


class HalfCatalog(MemoryCatalog):
    """One that can be read and, on demand, not written: its disk is full. Or others are faster."""

    full = False
    faster = 0

    def apply(self, change: Change) -> None:
        if self.full:
            raise CatalogError("the catalog's disk is full")
        if self.faster:
            self.faster -= 1
            raise StaleIncidentError("another process was faster")
        super().apply(change)


class Scene:
    """Lets conditions come and go and time pass, and keeps what people were told."""

    def __init__(
        self,
        its_rules: EscalationRules | None = None,
        at: datetime = START,
        catalog: MemoryCatalog | None = None,
        clock: FakeClock | None = None,
        **more: Any,
    ) -> None:
        self.clock = clock or FakeClock(at)
        self.catalog = catalog or MemoryCatalog(self.clock)
        self.escalator = Escalator(self.catalog, self.clock, its_rules or rules(), **more)
        self.changes: list[Change] = []
        self.delivers = True
        self._shown = 0
        self._showing: dict[str, tuple[tuple[Condition, ...], tuple[str, ...]]] = {}

    def sees(
        self, *conditions: Condition, scope: str = "sensor", blind: tuple[str, ...] = ()
    ) -> Change:
        """The sensor of that scope sees exactly this, and goes on seeing it."""
        self._showing[scope] = conditions, blind
        return self._look(scope)

    def wait(self, duration: timedelta, step: timedelta = 15 * SECOND) -> None:
        """Let time pass; the daemon's jobs look and tick."""
        left = duration
        while left > timedelta(0):
            self.clock.advance(min(step, left))
            left -= step
            for scope in self._showing:
                self._look(scope)
            self.tick()

    def tick(self) -> Change:
        """Let the engine notice the time."""
        return self._done(self.escalator.tick())

    def told(self) -> list[str]:
        """What people were told since the last call: ``02:30 escalation lead: lead-mail, chat``."""
        lines: dict[tuple[datetime, str, str], list[str]] = {}
        changes, self._shown = self.changes[self._shown :], len(self.changes)
        for change in changes:
            for one in change.envelopes:
                by = one.created_at, one.message.kind.value, one.rung
                lines.setdefault(by, []).append(one.channel)
        return [
            f"{at:%H:%M} {kind} {person}: {', '.join(channels)}"
            for (at, kind, person), channels in lines.items()
        ]

    def envelopes(self) -> list[Envelope]:
        """All that was put into the outbox by observations and ticks."""
        return [one for change in self.changes for one in change.envelopes]

    def acknowledge(self, by: str = "anna", **more: Any) -> Incident:
        """The one open incident is acknowledged."""
        return self._by_hand(lambda: self.escalator.acknowledge(self.only().id, by, **more))

    def resolve(self, by: str = "anna") -> Incident:
        """The one open incident is resolved by hand."""
        return self._by_hand(lambda: self.escalator.resolve(self.only().id, by))

    def only(self) -> Incident:
        """The one open incident."""
        (found,) = self.catalog.open_incidents()
        return found

    def timeline(self, of: Incident | None = None) -> Sequence[Entry]:
        """Of that, or the one open incident."""
        return self.catalog.timeline((of or self.only()).id)

    def kinds(self, of: Incident | None = None) -> list[str]:
        """The timeline's kinds of lines."""
        return [one.kind.value for one in self.timeline(of)]

    def _look(self, scope: str) -> Change:
        conditions, blind = self._showing[scope]
        now = self.clock.now()
        return self._done(self.escalator.observe(Observation(scope, now, conditions, blind)))

    def _done(self, change: Change) -> Change:
        """Everything is delivered at once, unless a test has it otherwise."""
        self.changes.append(change)
        if self.delivers and change.envelopes and self.escalator.trouble is None:
            now = self.clock.now()
            due = self.catalog.waiting(now)
            while due:
                through = [replace(one, standing=DELIVERED, delivered_at=now) for one in due]
                self.catalog.settle(Settlement(tuple(through)))
                due = self.catalog.waiting(now)
        return change

    def _by_hand(self, act: Any) -> Incident:
        known = {one.id for one in self._outbox()}
        done: Incident = act()
        new = tuple(one for one in self._outbox() if one.id not in known)
        self._done(Change(envelopes=new))
        return done

    def _outbox(self) -> list[Envelope]:
        return [each for one in self.catalog.incidents() for each in self.catalog.envelopes(one.id)]
