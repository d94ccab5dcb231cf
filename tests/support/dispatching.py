"""A dispatcher with fake channels and a catalog in memory, and a clock that tests turn."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any

from support.incidents import MINUTE, START, incident, incident_id, message

from guardian.errors import CatalogError
from guardian.escalate.dispatch import Dispatcher, DispatchReport
from guardian.escalate.model import (
    Change,
    Envelope,
    Incident,
    MessageKind,
    Severity,
    Standing,
    State,
)
from guardian.escalate.pacing import Pace
from guardian.escalate.rules import EscalationRules
from guardian.testing import FakeChannel, FakeClock, MemoryCatalog

PEOPLE = {"on-call": ("pager", "chat"), "lead": ("mail",), "cto": ("phone",)}
BEHIND_PAGER = ("chat", "rung:lead", "rung:cto")
ALERTS = (
    MessageKind.ALERT,
    MessageKind.ESCALATION,
    MessageKind.REMINDER,
    MessageKind.UPDATE,
    MessageKind.STORM,
)


@dataclass
class Office:
    """All that a test of dispatching needs."""

    people: dict[str, tuple[str, ...]] = field(default_factory=lambda: dict(PEOPLE))
    rules: dict[str, Any] = field(default_factory=dict)
    pace: Pace = field(default_factory=Pace)

    def __post_init__(self) -> None:
        self.clock = FakeClock(START)
        self.catalog = MemoryCatalog(self.clock)
        names = dict.fromkeys(name for channels in self.people.values() for name in channels)
        self.channels = {name: FakeChannel(name) for name in names}
        self.dispatcher = self.start()

    def start(self, unusable: dict[str, str] | None = None) -> Dispatcher:
        """A new process."""
        self.dispatcher = Dispatcher(
            self.channels,
            self.catalog,
            self.clock,
            EscalationRules(people=self.people, **self.rules),
            unusable=unusable,
            pace=self.pace,
            luck=lambda: 0.5,
        )
        return self.dispatcher

    def __getattr__(self, name: str) -> FakeChannel:
        """A channel by its name."""
        try:
            return self.__dict__["channels"][name]
        except KeyError:
            raise AttributeError(name) from None

    def open(self, *numbers: int, severity: Severity = Severity.P1) -> None:
        """These incidents are in the catalog, and fire."""
        self.catalog.apply(
            Change(
                incidents=tuple(incident(at, f"a:{at}", severity=severity) for at in numbers),
            )
        )

    def resolve(self, *numbers: int) -> None:
        """And now they do not."""
        for number in numbers:
            (found,) = self.catalog.find_incidents(incident_id(number))
            self.catalog.apply(Change(incidents=(_resolved(found),)))

    def post(self, *envelopes: Envelope) -> None:
        """Put these into the outbox."""
        self.catalog.apply(Change(envelopes=envelopes))

    def tell(
        self,
        of: int,
        number: int = 1,
        kind: MessageKind = MessageKind.ALERT,
        channel: str = "pager",
        others: tuple[str, ...] = BEHIND_PAGER,
        rung: str = "on-call",
        **changes: Any,
    ) -> Envelope:
        """Put a message of an incident into the outbox."""
        now = self.clock.now()
        made = Envelope(
            message(number, of, kind, **changes), channel, rung, now, now, others=others
        )
        self.post(made)
        return made

    def run(self, deadline: float = 5.0) -> DispatchReport:
        """One run."""
        return self.dispatcher.run_once(deadline)

    def pass_time(self, span: timedelta, step: float = 5.0) -> list[DispatchReport]:
        """Let time pass, as the daemon does: a run every few seconds."""
        reports = []
        for _ in range(int(span.total_seconds() / step)):
            self.clock.advance(step)
            reports.append(self.run())
        return reports

    def break_catalog(self) -> None:
        self.catalog.fail(CatalogError("catalog x has no room left", mend="make room"))

    def mend_catalog(self) -> None:
        self.catalog.fail(None)

    def of(self, number: int) -> list[tuple[str, Standing]]:
        """What became of an incident's messages: channel and standing, oldest first."""
        found = self.catalog.envelopes(incident_id(number))
        return [(one.channel, one.standing) for one in found]

    def words(self, number: int) -> list[str]:
        """The timeline of an incident, in words."""
        return [one.text for one in self.catalog.timeline(incident_id(number))]


def _resolved(found: Incident) -> Incident:
    return replace(found, state=State.RESOLVED, resolved_at=START)


def told(channel: FakeChannel) -> list[tuple[str | None, MessageKind]]:
    """Of which incidents a channel heard, in order, and what."""
    return [(one.incident, one.kind) for one in channel.sent]


def titles(channels: Iterable[FakeChannel]) -> set[str]:
    """All titles that anybody was told, alone or in a storm."""
    heard = set()
    for channel in channels:
        for one in channel.sent:
            heard.add(one.title)
            heard.update(item.partition(" ")[2] for item in one.items)
    return heard


__all__ = ["ALERTS", "BEHIND_PAGER", "MINUTE", "PEOPLE", "Office", "titles", "told"]
