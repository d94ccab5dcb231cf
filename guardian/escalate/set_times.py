"""What is told at set times: the digest, and the self-test of the ways to people.

When each was told last is in the catalog, and is changed there in one transaction with what is
told. So a restart neither repeats nor forgets one, and of several processes that see it due (a
command beside the daemon, two daemons after a lapse) the first tells it. One that was missed is
told as soon as anybody runs; several missed ones are one.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from guardian.backup.schedule import CLOCK_TOLERANCE, parse_schedule
from guardian.errors import CatalogError, GuardianError
from guardian.escalate import compose
from guardian.escalate.digest import Protection, make_digest
from guardian.escalate.handoff import Planned
from guardian.escalate.model import Envelope, MessageKind, Occasion
from guardian.escalate.ports import EscalationCatalog
from guardian.escalate.rules import EscalationRules

DIGEST_SENT = "digest_sent"
SELF_TEST_SENT = "self_test_sent"
"""The kinds of the events that tell of them, and their names in the catalog."""

_SOON = timedelta(days=1)
"""Longer than any message is put off between two tries."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Plan:
    """One of them. ``make`` gives what is told, from when it was told last and now."""

    name: str
    schedule: str
    timezone: str
    what: str
    make: Callable[[datetime, datetime], compose.Mail]

    def next_after(self, instant: datetime) -> datetime:
        return parse_schedule(self.schedule).next_after(instant, ZoneInfo(self.timezone))


class SetTimes:
    """Tells what has its time. For one thread at a time.

    ``started_at`` is from when on those count that were never told. ``protections`` are what the
    digest says of databases, since an instant.
    """

    def __init__(
        self,
        catalog: EscalationCatalog,
        started_at: datetime,
        protections: Callable[[datetime], Sequence[Protection]] = lambda _since: (),
    ) -> None:
        self._catalog = catalog
        self._started_at = started_at
        self._protections = protections
        self._next: dict[str, datetime] = {}
        self._asked_at = started_at

    def forget(self) -> None:
        """Ask the catalog again: the rules are others now."""
        self._next.clear()

    def tell(self, now: datetime, rules: EscalationRules) -> tuple[Envelope, ...]:
        """Put into the outbox what has its time; returns it.

        Raises:
            CatalogError: it could not be written; it is told when the catalog is back.
        """
        if now < self._asked_at:  # the clock was set back
            self._next.clear()
        self._asked_at = now
        told: tuple[Envelope, ...] = ()
        for plan in self._plans(rules):
            if (due := self._next.get(plan.name)) is None or due <= now:
                told += self._tell(plan, now)
        return told

    def planned(self, now: datetime, rules: EscalationRules) -> Iterator[Planned]:
        """When each is told next, for people. Raises CatalogError."""
        for plan in self._plans(rules):
            last = self._catalog.last_told(plan.name)
            since = now if last is None or last > now + CLOCK_TOLERANCE else last
            yield Planned(max(plan.next_after(since), now), plan.what)

    # --- behind ---

    def _tell(self, plan: _Plan, now: datetime) -> tuple[Envelope, ...]:
        last = self._catalog.last_told(plan.name)
        if last is None or last > now + CLOCK_TOLERANCE:  # never, or by a clock that was wrong
            begun = now if last is not None else min(self._started_at, now)
            if not self._catalog.tell(Occasion(plan.name, begun, last)):
                return ()
            last = begun
        due = plan.next_after(last)
        if due <= now:
            mail = plan.make(last, now).envelopes
            text = "1 message" if len(mail) == 1 else f"{len(mail)} messages"
            if not self._catalog.tell(Occasion(plan.name, now, last, text, mail)):
                return ()
            self._next[plan.name] = plan.next_after(now)
            return mail
        self._next[plan.name] = due
        return ()

    def _plans(self, rules: EscalationRules) -> Iterator[_Plan]:
        digest, test = rules.digest, rules.self_test
        if digest is not None and digest.people:
            what = f"digest to {', '.join(digest.people)}"

            def make(since: datetime, now: datetime) -> compose.Mail:
                return self._digest(since, now, rules)

            yield _Plan(DIGEST_SENT, digest.schedule, digest.timezone, what, make)
        if test is not None and test.channels:
            what = f"self-test of {', '.join(test.channels)}"

            def send(_since: datetime, now: datetime) -> compose.Mail:
                return self._self_test(test.channels, now, rules)

            yield _Plan(SELF_TEST_SENT, test.schedule, test.timezone, what, send)

    def _digest(self, since: datetime, now: datetime, rules: EscalationRules) -> compose.Mail:
        found = {one.id: one for one in self._catalog.incidents(since=since)}
        found |= {one.id: one for one in self._catalog.open_incidents()}
        fired = (one for one in found.values() if one.fired_at is not None)
        digest = make_digest(since, now, fired, self._protected(since))
        if digest.is_empty:
            return compose.Mail()
        return compose.digest_mail(digest, since, now, rules)

    def _protected(self, since: datetime) -> Sequence[Protection]:
        """How databases are protected; a digest that cannot say so says the rest."""
        try:
            return self._protections(since)
        except CatalogError:
            raise
        except GuardianError as error:
            _log.warning("the digest does not tell of backups: %s", error)
            return ()

    def _self_test(
        self, channels: Sequence[str], now: datetime, rules: EscalationRules
    ) -> compose.Mail:
        """A test for each channel, but for those at which the one before still waits.

        Such a channel fails, which is known, and the one that waits goes on asking it.
        """
        waiting = {
            one.channel
            for one in self._catalog.waiting(now + _SOON)
            if one.message.kind is MessageKind.TEST
        }
        return compose.self_test_mail([one for one in channels if one not in waiting], now, rules)


__all__ = ["DIGEST_SENT", "SELF_TEST_SENT", "SetTimes"]
