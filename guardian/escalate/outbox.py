"""The outbox as the dispatcher sees it: the catalog's, and what the catalog does not know yet.

While the catalog cannot be written, what came of tries is kept here, so that nothing is sent again
and again, and what would have been new rows is kept here too, under ids below zero. As soon as the
catalog is back, all of it is written in one transaction. A process that dies before that has lost
no message that the catalog knew: it is sent once more.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TypeVar

from guardian.errors import CatalogError
from guardian.escalate.model import (
    ChannelHealth,
    Entry,
    Envelope,
    Message,
    Settlement,
    Standing,
)
from guardian.escalate.ports import EscalationCatalog
from guardian.ports import Clock

_REST = 5.0
"""Seconds for which a catalog that failed is not asked again; each question may take as long."""
_MEMOS_KEPT = 1000
_HOLDS = (Standing.WAITING, Standing.DELIVERED, Standing.GROUPED)
_FAILED = (Standing.HANDED_OVER, Standing.UNDELIVERABLE)

_NOTHING: Sequence[Envelope] = ()

_log = logging.getLogger(__name__)
Found = TypeVar("Found")


@dataclass(slots=True)
class _Rest:
    """When reading, or writing, is worth a try again."""

    until: float = float("-inf")


class Outbox:
    """For one thread at a time."""

    def __init__(self, catalog: EscalationCatalog, clock: Clock) -> None:
        self._catalog = catalog
        self._clock = clock
        self.trouble: str | None = None
        self._apart = False
        self._reading, self._writing = _Rest(), _Rest()
        self._seen: dict[int, Envelope] = {}
        self._under_way: dict[int, Envelope] = {}
        self._renamed: dict[int, int] = {}
        self._last_id = 0
        self._memos: dict[tuple[str, str], str] = {}
        # What the catalog does not know: how rows are now, new rows that wait or are through.
        self._rows: dict[int, Envelope] = {}
        self._new: dict[int, Envelope] = {}
        self._through: list[Envelope] = []
        self._entries: list[Entry] = []
        self._new_memos: list[tuple[str, str, str]] = []
        self._health: dict[str, ChannelHealth] = {}

    @property
    def unwritten(self) -> int:
        """How many envelopes the catalog does not know, or not as they are."""
        return len(self._rows) + len(self._new) + len(self._through)

    @contextmanager
    def without_catalog(self) -> Iterator[None]:
        """Within, the catalog is left alone, since it may take long to say that it is away."""
        self._apart = True
        try:
            yield
        finally:
            self._apart = False

    # --- what there is ---

    def due(self, at: datetime) -> list[Envelope]:
        """What waits, is due and not under way; of each dedup key and channel the first alone.

        While the catalog does not say what waits, what it said last counts.
        """
        rows = self._ask(lambda: self._catalog.waiting(at), None)
        if rows is not None:
            unripe = {one.id: one for one in self._seen.values() if not one.is_due(at)}
            self._seen = unripe | {one.id: one for one in rows}
        waiting = self._seen if rows is None else {one.id: one for one in rows}
        known = waiting | self._rows | self._new | self._under_way
        first: dict[tuple[str, str], Envelope] = {}
        for one in sorted(known.values(), key=_position):
            if one.standing is Standing.WAITING:
                first.setdefault((one.message.dedup_key, one.channel), one)
        return [
            one
            for one in first.values()
            if one.is_due(at) and one.id not in self._under_way and (one.id < 0 or not self._apart)
        ]

    def outstanding(self) -> int | None:
        """How many wait, due or not; None where the catalog does not say."""
        kept = self._ask(self._catalog.outstanding, None)
        return None if kept is None else kept + len(self._new)

    def of_incident(self, message: Message) -> list[Envelope]:
        """All envelopes of a message's incident, as far as is known; empty where it has none."""
        if message.incident is None:
            return []
        incident = message.incident
        rows = self._ask(lambda: self._catalog.envelopes(incident), _NOTHING)
        unknown = (*self._new.values(), *self._through, *self._under_way.values())
        mine = [one for one in unknown if one.id <= 0 and one.message.incident == incident]
        return [*(self._rows.get(one.id, one) for one in rows), *mine]

    def tracks(self, message: Message) -> tuple[frozenset[str], frozenset[str]]:
        """Channels where this very message waits or was delivered, and those that failed it."""
        mine = [one for one in self.of_incident(message) if one.message.number == message.number]
        has = frozenset(one.channel for one in mine if one.standing in _HOLDS)
        failed = frozenset(one.channel for one in mine if one.standing in _FAILED)
        return has, failed - has

    def memo(self, envelope: Envelope) -> str | None:
        """What the channel wanted to know again."""
        key = (envelope.message.dedup_key, envelope.channel)
        if key in self._memos or envelope.id < 0:
            return self._memos.get(key)
        return self._ask(lambda: self._catalog.memo(*key), None)

    def finished_storms(self) -> Sequence[Envelope]:
        """Storms that are over and of whose end nobody was told."""
        if self.unwritten:
            return ()  # that end may be among it
        return self._ask(self._catalog.finished_storms, _NOTHING)

    def channel_health(self) -> Sequence[ChannelHealth] | None:
        """How channels did before; None where the catalog does not say."""
        return self._ask(self._catalog.channel_health, None)

    # --- what becomes of it ---

    def take(self, envelope: Envelope) -> None:
        """It is under way, until it is settled."""
        self._under_way[envelope.id] = envelope

    def add(self, envelopes: Sequence[Envelope]) -> None:
        """Take in what is in no outbox yet."""
        for one in envelopes:
            self._last_id -= 1
            self._new[self._last_id] = replace(one, id=self._last_id)

    def current(self, envelope: Envelope) -> Envelope:
        """The envelope under the id that it has by now."""
        return replace(envelope, id=self._renamed.get(envelope.id, envelope.id))

    def settle(self, settlement: Settlement) -> None:
        """Write what came of a try, or keep it until it can be written."""
        for one in settlement.envelopes:
            self._under_way.pop(one.id, None)
            self._seen.pop(one.id, None)
            if one.id > 0 and one.standing is Standing.WAITING:
                self._seen[one.id] = one
            if one.id > 0:
                known = self._rows.get(one.id)
                if known is None or known.standing is not Standing.DELIVERED:
                    self._rows[one.id] = one
            elif one.standing is Standing.WAITING:
                self._new[one.id] = one
            else:
                self._new.pop(one.id, None)
                self._through.append(replace(one, id=0))
        self.add(settlement.follow_ups)
        self._entries += settlement.entries
        self._new_memos += settlement.memos
        for dedup_key, channel, memo in settlement.memos:
            self._memos[dedup_key, channel] = memo
        while len(self._memos) > _MEMOS_KEPT:
            del self._memos[next(iter(self._memos))]
        self.flush()

    def note_health(self, health: ChannelHealth) -> None:
        """Write how a channel does, now or with the next flush."""
        self._health[health.channel] = health

    def flush(self) -> None:
        """Write what is not written yet, if the catalog lets us."""
        new = list(self._new.items())
        everything = Settlement(
            (*self._rows.values(), *self._through),
            tuple(self._entries),
            tuple(self._new_memos),
            tuple(replace(one, id=0) for _, one in new),
        )
        if everything != Settlement():
            written = self._try(lambda: self._catalog.settle(everything), None, self._writing)
            if written is None:
                return
            self._is_written(new, written[len(written) - len(new) :])
        while self._health:
            if not self._try(self._save_one, False, self._writing):
                return

    def _save_one(self) -> bool:
        channel, health = next(iter(self._health.items()))
        self._catalog.save_channel_health(health)
        del self._health[channel]
        return True

    def _is_written(self, new: Sequence[tuple[int, Envelope]], rows: Sequence[Envelope]) -> None:
        """Forget what the catalog knows now. What is under way goes on under its row's id."""
        for (old, _), row in zip(new, rows, strict=True):
            if old in self._under_way:
                del self._under_way[old]
                self._under_way[row.id] = row
                self._renamed[old] = row.id
        for kept in (self._rows, self._new, self._through, self._entries, self._new_memos):
            kept.clear()

    def _ask(self, question: Callable[[], Found], otherwise: Found) -> Found:
        return self._try(question, otherwise, self._reading)

    def _try(self, work: Callable[[], Found], otherwise: Found, rest: _Rest) -> Found:
        if self._apart or self._clock.monotonic() < rest.until:
            return otherwise
        try:
            done = work()
        except CatalogError as error:
            if self.trouble is None:
                _log.warning("alerts go on without the catalog until it is back: %s", error)
            self.trouble = str(error)
            rest.until = self._clock.monotonic() + _REST
            return otherwise
        if self.trouble is not None and (rest is self._writing or not self._unwritten_at_all()):
            _log.warning("the catalog is back; what alerts came to meanwhile is written down")
            self.trouble = None
        return done

    def _unwritten_at_all(self) -> bool:
        return bool(self.unwritten or self._entries or self._health)


def _position(one: Envelope) -> tuple[int, bool, int]:
    """The order in which messages of one dedup key go. Ids below zero are the newest."""
    return one.message.number, one.id < 0, abs(one.id)
