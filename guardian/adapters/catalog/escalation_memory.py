"""Escalation's part of the catalog in memory."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from datetime import datetime, timedelta
from typing import TypeVar

from guardian.adapters.catalog import rules
from guardian.adapters.catalog.documents import record_of, text_of
from guardian.errors import CatalogError
from guardian.escalate.model import (
    Change,
    ChannelHealth,
    Entry,
    Envelope,
    Incident,
    IncidentId,
    MessageKind,
    Occasion,
    Settlement,
    Silence,
    Standing,
    Watcher,
)
from guardian.model import Event

Record = TypeVar("Record")


class MemoryEscalation:
    """Incidents, outbox, channels, silences; see guardian.escalate.ports.EscalationCatalog."""

    _lock: AbstractContextManager[None]
    _events: list[Event]

    def __init__(self) -> None:
        super().__init__()
        self._incidents: dict[IncidentId, Incident] = {}  # in the order of their coming
        self._timeline: list[Entry] = []
        self._outbox: dict[int, Envelope] = {}
        self._posted = 0
        self._memos: dict[tuple[str, str], str] = {}
        self._health: dict[str, ChannelHealth] = {}
        self._silences: dict[str, Silence] = {}
        self._told: dict[str, datetime] = {}
        self._watchers: dict[str, Watcher] = {}

    # --- incidents ---

    def open_incidents(self) -> Sequence[Incident]:
        """All that are not resolved, the oldest first."""
        with self._lock:
            return [one for one in self._newest_first() if one.state.is_open][::-1]

    def incidents(
        self,
        *,
        only_open: bool = False,
        since: datetime | None = None,
        limit: int | None = None,
    ) -> Sequence[Incident]:
        """Newest opening first; ``since``: only those changed at or after it."""
        with self._lock:
            return [
                one
                for one in self._newest_first()
                if (one.state.is_open or not only_open)
                and (since is None or one.updated_at >= since)
            ][:limit]

    def find_incidents(self, id_prefix: str) -> Sequence[Incident]:
        """Those whose id starts so, newest opening first."""
        with self._lock:
            prefix = rules.printable(id_prefix)
            return [one for one in self._newest_first() if one.id.startswith(prefix)]

    def latest_incident(self, key: str) -> Incident | None:
        """The newest one of that key, open or resolved."""
        with self._lock:
            wanted = rules.printable(key)
            return next((one for one in self._newest_first() if one.key == wanted), None)

    def timeline(self, incident: IncidentId) -> Sequence[Entry]:
        """Its entries, oldest first, in the order in which they were written."""
        with self._lock:
            return [one for one in self._timeline if one.incident == incident]

    def apply(self, change: Change) -> None:
        """Write all of it, or nothing. Raises StaleIncidentError."""
        with self._lock:
            after = dict(self._incidents)
            for one in rules.in_order_of_writing(change.incidents):
                _put_incident(after, _kept(one))
            entries = [_kept(one) for one in change.entries]
            envelopes = [_kept(one) for one in change.envelopes]
            self._incidents = after
            self._supersede(change.superseded)
            self._timeline.extend(entries)
            self._post(envelopes)

    # --- what is told at set times ---

    def last_told(self, occasion: str) -> datetime | None:
        """When it was told last, or from when on it counts."""
        with self._lock:
            return self._told.get(occasion)

    def tell(self, occasion: Occasion) -> bool:
        """Write all of it, or nothing; False when another process was faster."""
        with self._lock:
            kept = _kept(occasion)
            if self._told.get(kept.name) != kept.last:
                return False
            self._told[kept.name] = kept.at
            self._post(kept.envelopes)
            if kept.text:
                self._events.append(rules.settled(Event(kept.at, kept.name, kept.text)))
            return True

    # --- who observes what ---

    def watchers(self) -> Sequence[Watcher]:
        """All that ever said what they observe, in order of name."""
        with self._lock:
            return [self._watchers[name] for name in sorted(self._watchers)]

    def save_watcher(self, watcher: Watcher) -> None:
        """In the place of what was there."""
        with self._lock:
            kept = _kept(watcher)
            self._watchers[kept.name] = kept

    # --- outbox ---

    def waiting(self, now: datetime, limit: int = 500) -> Sequence[Envelope]:
        """Envelopes that wait and are due, of each order the first alone, the worst first."""
        with self._lock:
            first: dict[tuple[str, str], Envelope] = {}
            for one in sorted(self._sent(Standing.WAITING), key=_by_position):
                first.setdefault((one.message.dedup_key, one.channel), one)
            of_channel: Counter[str] = Counter()
            found = []
            for one in sorted(first.values(), key=_worst):
                if one.is_due(now) and of_channel[one.channel] < limit:
                    of_channel[one.channel] += 1
                    found.append(one)
            return found

    def outstanding(self) -> int:
        """How many envelopes wait, due or not."""
        with self._lock:
            return len(self._sent(Standing.WAITING))

    def undelivered(self, limit: int = 100) -> Sequence[Envelope]:
        """Those that no channel took, newest first."""
        with self._lock:
            return self._sent(Standing.UNDELIVERABLE)[::-1][:limit]

    def envelopes(self, incident: IncidentId) -> Sequence[Envelope]:
        """All of one incident, oldest first."""
        with self._lock:
            return [one for one in self._outbox.values() if one.message.incident == incident]

    def settle(self, settlement: Settlement) -> Sequence[Envelope]:
        """Write all of it, or nothing; returns the new rows with their ids."""
        with self._lock:
            kept = _kept(settlement)
            for one in kept.envelopes:
                known = self._outbox.get(one.id)
                waits = known is not None and known.standing is Standing.WAITING
                if known is not None and (waits or one.standing is Standing.DELIVERED):
                    self._outbox[one.id] = one
            for dedup_key, channel, memo in kept.memos:
                self._memos[dedup_key, channel] = memo
            self._timeline.extend(kept.entries)
            past_the_outbox = [one for one in kept.envelopes if not one.id]
            return self._post([*past_the_outbox, *kept.follow_ups])

    def finished_storms(self) -> Sequence[Envelope]:
        """Storms' messages that were delivered, whose incidents have all been resolved since."""
        with self._lock:
            lasting = {one.group for one in self._outbox.values() if self._lasts(one)}
            ended = {
                (one.message.dedup_key, one.channel)
                for one in self._outbox.values()
                if one.message.kind is MessageKind.RESOLVED
            }
            return [
                one
                for one in self._sent(Standing.DELIVERED)
                if one.message.kind is MessageKind.STORM
                and one.message.dedup_key not in lasting
                and (one.message.dedup_key, one.channel) not in ended
            ]

    def _lasts(self, one: Envelope) -> bool:
        if one.message.incident is None:
            return False
        incident = self._incidents.get(one.message.incident)
        return incident is None or incident.state.is_open

    def memo(self, dedup_key: str, channel: str) -> str | None:
        """What the channel wanted to know again with the next message of that dedup key."""
        with self._lock:
            key = rules.printable(dedup_key), rules.printable(channel)
            return self._memos.get(key)

    # --- channels and silences ---

    def channel_health(self) -> Sequence[ChannelHealth]:
        """Of every channel that was ever used, in order of name."""
        with self._lock:
            return [self._health[name] for name in sorted(self._health)]

    def save_channel_health(self, health: ChannelHealth) -> None:
        """In the place of what was there."""
        with self._lock:
            self._health[health.channel] = _kept(health)

    def add_silence(self, silence: Silence) -> None:
        """Keep it. Raises CatalogError when its id is taken."""
        with self._lock:
            if silence.id in self._silences:
                raise CatalogError(f"silence {silence.id} is there already")
            self._silences[silence.id] = _kept(silence)

    def silences(self, now: datetime | None = None) -> Sequence[Silence]:
        """All, or those that hold now or later; the earliest end first."""
        with self._lock:
            found = [one for one in self._silences.values() if now is None or one.ends_at > now]
            return sorted(found, key=lambda one: (one.ends_at, one.id))

    def end_silence(self, silence: str, at: datetime) -> None:
        """End it now. Raises NotFoundError when there is none such, or it has ended."""
        with self._lock:
            found = self._silences.get(silence)
            if found is None or found.ends_at <= at:
                raise rules.no_silence(silence)
            self._silences[silence] = replace(found, ends_at=rules.utc(at))

    def prune_incidents(self, older_than: timedelta, now: datetime) -> int:
        """Drop resolved incidents of that age with all that belongs to them; returns how many."""
        before = now - older_than
        with self._lock:
            waited_for = {one.message.incident for one in self._sent(Standing.WAITING)}
            old = [
                one.id
                for one in self._incidents.values()
                if one.resolved_at is not None
                and one.resolved_at < before
                and one.id not in waited_for
            ]
            for incident in old:
                del self._incidents[incident]
            self._drop_orphans(before)
            return len(old)

    def _drop_orphans(self, before: datetime) -> None:
        for one in list(self._outbox.values()):
            through = one.created_at < before and one.standing is not Standing.WAITING
            if through and one.message.incident not in self._incidents:
                del self._outbox[one.id]
        self._timeline = [
            one for one in self._timeline if one.at >= before or one.incident in self._incidents
        ]
        threads = {one.message.dedup_key for one in self._outbox.values()}
        self._memos = {key: memo for key, memo in self._memos.items() if key[0] in threads}
        self._silences = {
            name: one for name, one in self._silences.items() if one.ends_at >= before
        }

    def _newest_first(self) -> list[Incident]:
        # Sorting is stable, so of those that opened at once the last to come is first.
        arrivals = list(self._incidents.values())[::-1]
        return sorted(arrivals, key=lambda one: one.opened_at, reverse=True)

    def _sent(self, standing: Standing) -> list[Envelope]:
        return [one for one in self._outbox.values() if one.standing is standing]

    def _post(self, envelopes: Sequence[Envelope]) -> list[Envelope]:
        posted = []
        for one in envelopes:
            self._posted += 1
            self._outbox[self._posted] = replace(one, id=self._posted)
            posted.append(self._outbox[self._posted])
        return posted

    def _supersede(self, incidents: Sequence[IncidentId]) -> None:
        for one in self._sent(Standing.WAITING):
            if one.message.incident in incidents and one.message.kind in rules.NEEDLESS_LATER:
                self._outbox[one.id] = replace(one, standing=Standing.SUPERSEDED)


def _by_position(one: Envelope) -> tuple[int, int]:
    return one.message.number, one.id


def _worst(one: Envelope) -> tuple[int, int]:
    return one.message.severity.rank, one.id


def _put_incident(kept: dict[IncidentId, Incident], changed: Incident) -> None:
    known = kept.get(changed.id)
    if changed.version != (known.version if known else 0) or (known and not changed.version):
        raise rules.stale(changed)
    if changed.state.is_open and any(
        one.key == changed.key and one.state.is_open and one.id != changed.id
        for one in kept.values()
    ):
        raise rules.stale(changed)
    kept[changed.id] = replace(changed, version=changed.version + 1)


def _kept(record: Record) -> Record:
    """As it comes out of a database; what cannot be written is found at once."""
    found = record_of(type(record), text_of(record))
    assert found is not None
    return found
