"""One day of escalation, from the first failed probe to the last word of the end.

The real outage tracker, conditions, engine and dispatcher; a catalog in memory, channels that do as
they are told, and a clock that is turned. What comes of it is golden/day.txt: read that one.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path

from support.escalation import MINUTE, P0, P1, P2, P3, level

from guardian.errors import Cause, DeliveryError
from guardian.escalate.conditions.backups import backup_conditions
from guardian.escalate.conditions.history import History
from guardian.escalate.conditions.outages import is_blind, probe_conditions, server_conditions
from guardian.escalate.dispatch import Dispatcher
from guardian.escalate.engine import Escalator
from guardian.escalate.model import (
    Condition,
    EntryKind,
    Envelope,
    Message,
    Observation,
    Receipt,
    Standing,
)
from guardian.escalate.rules import BusinessHours, Digest, EscalationRules
from guardian.escalate.wording import headline
from guardian.model import BackupId, BackupRecord, DatabaseRef, RunStatus
from guardian.testing import FakeChannel, FakeClock, MemoryCatalog
from guardian.watch.outage import Outage, OutageRules, ProbeCause, ProbeResult, observe

GOLDEN = Path(__file__).parent / "golden" / "day.txt"
BEGIN = datetime(2026, 11, 23, 1, 0, tzinfo=UTC)
"""A Monday."""
STEP = timedelta(seconds=30)
MINA = DatabaseRef("main", "mina")

RULES = EscalationRules(
    people={"on-call": ("pager", "incidents"), "lead": ("lead-mail",), "cto": ("cto-mail",)},
    remind_every={P0: 15 * MINUTE, P1: 60 * MINUTE},
    business_hours=BusinessHours(timezone="Europe/Berlin"),
    digest=Digest("30 16 * * *", "UTC", ("lead",)),
)
SHOWN = (EntryKind.HELD_BACK, EntryKind.UNDELIVERED, EntryKind.LAPSED, EntryKind.NOTE)
"""What a timeline says that no message does."""


class Listening(FakeChannel):
    """A channel that notes when it took what."""

    def __init__(self, name: str, clock: FakeClock) -> None:
        super().__init__(name)
        self._clock = clock
        self.heard: list[tuple[datetime, Message]] = []

    def send(self, message: Message, memo: str | None = None) -> Receipt:
        receipt = super().send(message, memo)
        self.heard.append((self._clock.now(), message))
        return receipt


class Day:
    """The world as it was on that day, and guardian in it."""

    def __init__(self) -> None:
        self.clock = FakeClock(BEGIN)
        self.catalog = MemoryCatalog(self.clock)
        names = ("pager", "incidents", "lead-mail", "cto-mail")
        self.channels = {name: Listening(name, self.clock) for name in names}
        self.dispatcher = Dispatcher(
            self.channels, self.catalog, self.clock, RULES, luck=lambda: 0.5
        )
        self.escalator = Escalator(self.catalog, self.clock, RULES, courier=self.dispatcher)
        self.happened: list[tuple[datetime, str]] = []
        self.up = {"main": True, "web": True, "cache": True}
        self.outages = {name: Outage() for name in self.up}
        self.tries: list[BackupRecord] = []
        self.levels: dict[str, Condition] = {}

    # --- what the world does ---

    def happens(self, text: str) -> None:
        """Say so in the transcript."""
        self.happened.append((self.clock.now(), text))

    def until(self, hour: int, minute: int = 0, day: int = 23) -> None:
        """Live on until then."""
        end = datetime(2026, 11, day, hour, minute, tzinfo=UTC)
        while self.clock.now() < end:
            self.clock.advance(STEP)
            self.look()

    def backup(self, *, ok: bool) -> None:
        """The backup of main/mina runs."""
        now = self.clock.now()
        made = BackupRecord(
            id=BackupId(f"{now:%Y%m%dT%H%M%SZ}-7f3a9c"),
            ref=MINA,
            status=RunStatus.SUCCEEDED if ok else RunStatus.FAILED,
            started_at=now,
            finished_at=now,
            snapshot_at=now if ok else None,
            stores=("local",) if ok else (),
            cause=None if ok else Cause.DISK_FULL,
            error=None if ok else "no space left on /var/backups",
        )
        self.tries.insert(0, made)
        self.happens(f"the backup of main/mina {'succeeds' if ok else 'fails: the disk is full'}")

    def acknowledge(self, kind: str, by: str, lasting: timedelta | None = None) -> None:
        """A person takes what is open of that kind."""
        (one,) = (one for one in self.catalog.open_incidents() if one.kind == kind)
        more = "" if lasting is None else ", until it is mended"
        self.happens(f"{by} acknowledges{more}: {one.title}")
        self.escalator.acknowledge(one.id, by, lasting=lasting)

    # --- what guardian does ---

    def look(self) -> None:
        """One round of its jobs."""
        now = self.clock.now()
        for name, is_up in self.up.items():
            cause = None if is_up else ProbeCause.REFUSED
            result = ProbeResult(now, 0.01, cause, "" if is_up else "connection refused")
            self.outages[name], _ = observe(self.outages[name], result, OutageRules())
        for observation in self.observations(now):
            self.escalator.observe(observation)
        self.escalator.tick()
        report = self.dispatcher.run_once()
        self.escalator.observe(report.observation)

    def observations(self, now: datetime) -> Iterator[Observation]:
        main = self.outages["main"]
        down = server_conditions("main", main, now, page_after=5 * MINUTE)
        yield Observation("server:main", now, down, ("server.",) if is_blind(main) else ())
        for name in ("web", "cache"):
            outage = self.outages[name]
            blind = ("probe.",) if is_blind(outage) else ()
            yield Observation(f"probe:{name}", now, probe_conditions(name, outage), blind)
        good = [one for one in self.tries if one.status is RunStatus.SUCCEEDED]
        failures = self.tries.index(good[0]) if good else len(self.tries)
        history = History(MINA, backups=good, tries=self.tries, failures=failures)
        found = backup_conditions(history, now)
        yield Observation(
            "backups:main", now, tuple(one for one in found if one.kind == "backup.failed")
        )
        yield Observation("vitals:main", now, tuple(self.levels.values()))

    # --- what comes of it ---

    def transcript(self) -> str:
        """What happened (*), who was told, and what guardian notes beside it (in parentheses)."""
        lines = [(at, f"* {text}") for at, text in self.happened]
        lines += [
            (entry.at, f"  ({one.key}: {entry.text})")
            for one in self.catalog.incidents()
            for entry in self.catalog.timeline(one.id)
            if entry.kind in SHOWN
        ]
        lines += self._told()
        return "\n".join(_dated(lines))

    def _told(self) -> Iterator[tuple[datetime, str]]:
        """The same words to one person at one time are one line, whatever the channels."""
        together: dict[tuple[datetime, str, tuple[str, ...]], list[str]] = {}
        for person, channels in RULES.people.items():
            for name in channels:
                for at, message in self.channels[name].heard:
                    words = (headline(message), message.why, *message.items)
                    together.setdefault((at, person, words), []).append(name)
        for (at, person, words), names in together.items():
            title, *more = words
            yield (
                at,
                f"{person} by {', '.join(names)}: {title}"
                + "".join(f"\n        {one}" for one in more if one),
            )


def _dated(lines: list[tuple[datetime, str]]) -> Iterator[str]:
    """In the order of time; a day's name where it begins, a time where it is another."""
    day = last = ""
    for at, text in sorted(lines, key=lambda line: line[0]):
        if (today := f"{at:%A, %d %B %Y}") != day:
            yield f"{today} (UTC)\n" if not day else f"\n{today}\n"
            day, last = today, ""
        clock = f"{at:%H:%M:%S}"
        for part in text.split("\n"):
            yield f"{clock if clock != last else '':8}  {part}".rstrip()
            last = clock
    yield ""


def lived() -> Day:
    """The day, from before the first failed backup to after the next good one."""
    day = Day()
    day.backup(ok=True)
    day.until(2)
    day.backup(ok=False)
    day.until(2, 10)
    day.acknowledge("backup.failed", "anna")

    day.until(3, 12)
    day.up["main"] = False
    day.happens("server main stops answering")
    day.levels["vital"] = level(
        "vital.connections:main", P1, server="main", title="Connections of main: 97%"
    )
    day.until(3, 40)
    day.up["main"] = True
    day.levels.clear()
    day.happens("server main answers again")

    day.until(4)
    day.levels["disk"] = level("disk.low:backups", P2, title="Disk of /var/backups: 86% full")
    day.levels["index"] = level(
        "vital.invalid_indexes:main", P3, title="An index of main is invalid"
    )
    day.happens("the disk of the backups is 86% full; an index is invalid")
    day.until(6, 40)
    day.acknowledge("backup.failed", "anna", lasting=timedelta(hours=24))
    day.until(8, 30)
    del day.levels["disk"]
    day.happens("somebody makes room on the disk")

    day.until(9)
    day.happens("web comes and goes for an hour: 2 minutes away, 3 minutes there")
    for minute in range(0, 60, 5):
        day.up["web"] = False
        day.until(9, minute + 2)
        day.up["web"] = True
        day.until(9 + (minute + 5) // 60, (minute + 5) % 60)

    day.until(12)
    day.escalator.silence(timedelta(hours=1), "deploy", "bob", match={"kind": "locks.*"})
    day.happens("bob silences locks.* for an hour: deploy")
    day.until(12, 20)
    day.levels["locks"] = level(
        "locks.blocked:main", P1, server="main", title="12 sessions wait for a lock"
    )
    day.happens("12 sessions wait for a lock")
    day.until(13, 10)
    del day.levels["locks"]
    day.happens("nobody waits any more")

    day.until(15)
    day.channels["incidents"].otherwise = DeliveryError("incidents: 503 from its server")
    day.happens("the channel incidents dies")
    day.until(15, 5)
    day.up["cache"] = False
    day.happens("the cache stops answering")
    day.until(15, 50)
    day.up["cache"] = True
    day.happens("the cache answers again")
    day.until(16)
    day.channels["incidents"].otherwise = Receipt("taken")
    day.happens("the channel incidents works again")

    day.until(2, day=24)
    day.backup(ok=False)
    day.until(2, 20, day=24)
    day.acknowledge("backup.failed", "lena")
    day.until(2, 45, day=24)
    day.backup(ok=True)
    day.until(3, 30, day=24)
    return day


def test_the_day_is_the_golden_one(monkeypatch):
    """Regenerate with GUARDIAN_GOLDEN=1, and read the difference before you commit it."""
    ids = (f"{number:04}" for number in count(1))
    monkeypatch.setattr("guardian.escalate.engine._new_id", lambda: next(ids))
    day = lived()
    found = day.transcript()
    if os.environ.get("GUARDIAN_GOLDEN"):
        GOLDEN.write_text(found, encoding="utf-8")
    assert found == GOLDEN.read_text(encoding="utf-8")
    assert nothing_is_lost(day) == []


def nothing_is_lost(day: Day) -> list[Envelope]:
    """Envelopes that are neither through, nor handed over, nor needless by now."""
    fine = {Standing.DELIVERED, Standing.GROUPED, Standing.HANDED_OVER, Standing.SUPERSEDED}
    return [
        sent
        for one in day.catalog.incidents()
        for sent in day.catalog.envelopes(one.id)
        if sent.standing not in fine
    ]
