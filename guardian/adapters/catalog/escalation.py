"""The part of the catalog in a database that belongs to escalation."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import (
    Connection,
    Select,
    and_,
    delete,
    exists,
    func,
    insert,
    or_,
    select,
    tuple_,
    update,
)
from sqlalchemy.exc import IntegrityError

from guardian.adapters.catalog import backups, escalation_rows, rows, rules
from guardian.adapters.catalog.engine import Database
from guardian.adapters.catalog.models import (
    CHANNELS,
    EVENTS,
    INCIDENTS,
    MEMOS,
    OCCASIONS,
    OUTBOX,
    SILENCES,
    TIMELINE,
    WATCHERS,
)
from guardian.errors import CatalogError
from guardian.escalate.model import (
    PUT_OFF_AT_MOST,
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

_NEWEST = (INCIDENTS.c.opened_at.desc(), INCIDENTS.c.number.desc())
_WORST = (OUTBOX.c.severity, OUTBOX.c.number)
_WAITING = Standing.WAITING.value


class SqlEscalation:
    """Incidents, outbox, channels, silences; see guardian.escalate.ports.EscalationCatalog."""

    _database: Database

    # --- incidents ---

    def open_incidents(self) -> Sequence[Incident]:
        """All that are not resolved, the oldest first."""
        return self._incidents(_is_open())[::-1]

    def incidents(
        self,
        *,
        only_open: bool = False,
        since: datetime | None = None,
        limit: int | None = None,
    ) -> Sequence[Incident]:
        """Newest opening first; ``since``: only those changed at or after it."""
        conditions = [_is_open()] if only_open else []
        if since is not None:
            conditions.append(INCIDENTS.c.updated_at >= since)
        return self._incidents(*conditions, limit=limit)

    def find_incidents(self, id_prefix: str) -> Sequence[Incident]:
        """Those whose id starts so, newest opening first."""
        prefix = rules.printable(id_prefix)
        return self._incidents(func.substr(INCIDENTS.c.id, 1, len(prefix)) == prefix)

    def latest_incident(self, key: str) -> Incident | None:
        """The newest one of that key, open or resolved."""
        found = self._incidents(INCIDENTS.c.key == rules.printable(key), limit=1)
        return next(iter(found), None)

    def timeline(self, incident: IncidentId) -> Sequence[Entry]:
        """Its entries, oldest first, in the order in which they were written."""
        query = select(TIMELINE).where(TIMELINE.c.incident_id == incident)
        with self._database.reading() as connection:
            found = connection.execute(query.order_by(TIMELINE.c.number))
            return [escalation_rows.entry(row) for row in found]

    def apply(self, change: Change) -> None:
        """Write all of it, or nothing. Raises StaleIncidentError."""
        with self._database.writing() as connection:
            for one in rules.in_order_of_writing(change.incidents):
                _write_incident(connection, one)
            _supersede(connection, change.superseded)
            _add_entries(connection, change.entries)
            _add_envelopes(connection, change.envelopes)

    # --- what is told at set times ---

    def last_told(self, occasion: str) -> datetime | None:
        """When it was told last, or from when on it counts."""
        query = select(OCCASIONS.c.told_at).where(OCCASIONS.c.name == occasion)
        with self._database.reading() as connection:
            return connection.scalar(query)

    def tell(self, occasion: Occasion) -> bool:
        """Write all of it, or nothing; False when another process was faster."""
        try:
            with self._database.writing() as connection:
                _take_occasion(connection, occasion)
                _add_envelopes(connection, occasion.envelopes)
                if occasion.text:
                    event = rules.settled(Event(occasion.at, occasion.name, occasion.text))
                    connection.execute(insert(EVENTS).values(rows.event_values(event)))
        except _TakenError:
            return False
        return True

    # --- who observes what ---

    def watchers(self) -> Sequence[Watcher]:
        """All that ever said what they observe, in order of name."""
        query = select(WATCHERS).order_by(WATCHERS.c.name)
        with self._database.reading() as connection:
            return [escalation_rows.watcher(row) for row in connection.execute(query)]

    def save_watcher(self, watcher: Watcher) -> None:
        """In the place of what was there."""
        values = escalation_rows.watcher_values(watcher)
        with self._database.writing() as connection:
            backups.put(connection, WATCHERS, {"name": rules.printable(watcher.name)}, values)

    # --- outbox ---

    def waiting(self, now: datetime, limit: int = 500) -> Sequence[Envelope]:
        """Envelopes that wait and are due, of each order the first alone, the worst first."""
        earlier = OUTBOX.alias()
        has_earlier = exists().where(
            earlier.c.standing == _WAITING,
            earlier.c.dedup_key == OUTBOX.c.dedup_key,
            earlier.c.channel == OUTBOX.c.channel,
            tuple_(earlier.c.position, earlier.c.number)
            < tuple_(OUTBOX.c.position, OUTBOX.c.number),
        )
        is_due = or_(OUTBOX.c.next_at <= now, OUTBOX.c.next_at > now + PUT_OFF_AT_MOST)
        place = func.row_number().over(partition_by=OUTBOX.c.channel, order_by=_WORST)
        due = (
            select(OUTBOX.c.number.label("due"), place.label("place"))
            .where(OUTBOX.c.standing == _WAITING, is_due, ~has_earlier)
            .subquery()
        )
        chosen = OUTBOX.c.number.in_(select(due.c.due).where(due.c.place <= limit))
        return self._envelopes(chosen, order=_WORST)

    def outstanding(self) -> int:
        """How many envelopes wait, due or not."""
        query = select(func.count(OUTBOX.c.number)).where(OUTBOX.c.standing == _WAITING)
        with self._database.reading() as connection:
            return connection.execute(query).scalar_one()

    def undelivered(self, limit: int = 100) -> Sequence[Envelope]:
        """Those that no channel took, newest first."""
        lost = OUTBOX.c.standing == Standing.UNDELIVERABLE.value
        return self._envelopes(lost, limit=limit, order=(OUTBOX.c.number.desc(),))

    def envelopes(self, incident: IncidentId) -> Sequence[Envelope]:
        """All of one incident, oldest first."""
        return self._envelopes(OUTBOX.c.incident_id == incident)

    def settle(self, settlement: Settlement) -> Sequence[Envelope]:
        """Write all of it, or nothing; returns the new rows with their ids."""
        past_the_outbox = [one for one in settlement.envelopes if not one.id]
        with self._database.writing() as connection:
            for one in sorted(settlement.envelopes, key=lambda one: one.id):
                if one.id:
                    _settle(connection, one)
            for dedup_key, channel, memo in settlement.memos:
                key = {
                    "dedup_key": rules.printable(dedup_key),
                    "channel": rules.printable(channel),
                }
                backups.put(connection, MEMOS, key, {"memo": memo})
            _add_entries(connection, settlement.entries)
            return _add_envelopes(connection, (*past_the_outbox, *settlement.follow_ups))

    def finished_storms(self) -> Sequence[Envelope]:
        """Storms' messages that were delivered, whose incidents have all been resolved since."""
        end, member = OUTBOX.alias(), OUTBOX.alias()
        ended = exists().where(
            end.c.dedup_key == OUTBOX.c.dedup_key,
            end.c.channel == OUTBOX.c.channel,
            end.c.kind == MessageKind.RESOLVED.value,
        )
        is_resolved = exists().where(
            INCIDENTS.c.id == member.c.incident_id, INCIDENTS.c.open_key.is_(None)
        )
        lasts = exists().where(
            member.c.told_in == OUTBOX.c.dedup_key, member.c.incident_id.is_not(None), ~is_resolved
        )
        is_storm = OUTBOX.c.kind == MessageKind.STORM.value
        delivered = OUTBOX.c.standing == Standing.DELIVERED.value
        return self._envelopes(and_(delivered, is_storm, ~ended, ~lasts))

    def memo(self, dedup_key: str, channel: str) -> str | None:
        """What the channel wanted to know again with the next message of that dedup key."""
        query = select(MEMOS.c.memo).where(
            MEMOS.c.dedup_key == rules.printable(dedup_key),
            MEMOS.c.channel == rules.printable(channel),
        )
        with self._database.reading() as connection:
            return connection.scalar(query)

    # --- channels and silences ---

    def channel_health(self) -> Sequence[ChannelHealth]:
        """Of every channel that was ever used, in order of name."""
        query = select(CHANNELS).order_by(CHANNELS.c.channel)
        with self._database.reading() as connection:
            return [escalation_rows.health(row) for row in connection.execute(query)]

    def save_channel_health(self, health: ChannelHealth) -> None:
        """In the place of what was there."""
        values = escalation_rows.health_values(health)
        with self._database.writing() as connection:
            backups.put(connection, CHANNELS, {"channel": health.channel}, values)

    def add_silence(self, silence: Silence) -> None:
        """Keep it. Raises CatalogError when its id is taken."""
        with self._database.writing() as connection:
            try:
                connection.execute(insert(SILENCES).values(escalation_rows.silence_values(silence)))
            except IntegrityError:
                raise CatalogError(f"silence {silence.id} is there already") from None

    def silences(self, now: datetime | None = None) -> Sequence[Silence]:
        """All, or those that hold now or later; the earliest end first."""
        query: Select[Any] = select(SILENCES)
        if now is not None:
            query = query.where(SILENCES.c.ends_at > now)
        query = query.order_by(SILENCES.c.ends_at, SILENCES.c.id)
        with self._database.reading() as connection:
            return [escalation_rows.silence(row) for row in connection.execute(query)]

    def end_silence(self, silence: str, at: datetime) -> None:
        """End it now. Raises NotFoundError when there is none such, or it has ended."""
        change = update(SILENCES).where(SILENCES.c.id == silence, SILENCES.c.ends_at > at)
        with self._database.writing() as connection:
            if not connection.execute(change.values(ends_at=at)).rowcount:
                raise rules.no_silence(silence)

    def prune_incidents(self, older_than: timedelta, now: datetime) -> int:
        """Drop resolved incidents of that age with all that belongs to them; returns how many."""
        before = now - older_than
        waits = exists().where(
            OUTBOX.c.incident_id == INCIDENTS.c.id, OUTBOX.c.standing == _WAITING
        )
        with self._database.writing() as connection:
            dropped = connection.execute(
                delete(INCIDENTS).where(INCIDENTS.c.resolved_at < before, ~waits)
            ).rowcount
            _drop_orphans(connection, before)
            return dropped

    def _incidents(self, *conditions: Any, limit: int | None = None) -> list[Incident]:
        query = select(INCIDENTS).where(*conditions)
        with self._database.reading() as connection:
            found = connection.execute(query.order_by(*_NEWEST).limit(limit))
            return [escalation_rows.incident(row) for row in found]

    def _envelopes(
        self, condition: Any, limit: int | None = None, order: Sequence[Any] = (OUTBOX.c.number,)
    ) -> list[Envelope]:
        query = select(OUTBOX).where(condition).order_by(*order).limit(limit)
        with self._database.reading() as connection:
            return [escalation_rows.envelope(row) for row in connection.execute(query)]


class _TakenError(Exception):
    """Another process told it: raised to undo the transaction."""


def _take_occasion(connection: Connection, occasion: Occasion) -> None:
    if occasion.last is None:
        first = insert(OCCASIONS).values(name=occasion.name, told_at=occasion.at)
        try:
            connection.execute(first)
        except IntegrityError:
            raise _TakenError from None
        return
    again = update(OCCASIONS).where(
        OCCASIONS.c.name == occasion.name, OCCASIONS.c.told_at == occasion.last
    )
    if not connection.execute(again.values(told_at=occasion.at)).rowcount:
        raise _TakenError


def _is_open() -> Any:
    return INCIDENTS.c.open_key.is_not(None)


def _write_incident(connection: Connection, changed: Incident) -> None:
    values = escalation_rows.incident_values(changed)
    try:
        if changed.version == 0:
            connection.execute(insert(INCIDENTS).values(values))
            return
        known = update(INCIDENTS).where(
            INCIDENTS.c.id == values["id"], INCIDENTS.c.version == changed.version
        )
        if not connection.execute(known.values(values)).rowcount:
            raise rules.stale(changed)
    except IntegrityError:
        raise rules.stale(changed) from None


def _supersede(connection: Connection, incidents: Sequence[IncidentId]) -> None:
    if incidents:
        needless = update(OUTBOX).where(
            OUTBOX.c.incident_id.in_(incidents),
            OUTBOX.c.standing == _WAITING,
            OUTBOX.c.kind.in_([kind.value for kind in rules.NEEDLESS_LATER]),
        )
        connection.execute(needless.values(standing=Standing.SUPERSEDED.value))


def _add_entries(connection: Connection, entries: Iterable[Entry]) -> None:
    for one in entries:
        connection.execute(insert(TIMELINE).values(escalation_rows.entry_values(one)))


def _add_envelopes(connection: Connection, envelopes: Iterable[Envelope]) -> list[Envelope]:
    added = []
    for one in envelopes:
        values = escalation_rows.envelope_values(one)
        done = connection.execute(insert(OUTBOX).values(values))
        (number,) = done.inserted_primary_key or (0,)
        added.append(replace(one, id=int(number)))
    return added


def _settle(connection: Connection, sent: Envelope) -> None:
    row = update(OUTBOX).where(OUTBOX.c.number == sent.id)
    if sent.standing is not Standing.DELIVERED:
        row = row.where(OUTBOX.c.standing == _WAITING)
    connection.execute(row.values(escalation_rows.outcome_values(sent)))


def _drop_orphans(connection: Connection, before: datetime) -> None:
    """Drop what is as old and belongs to no incident, or to none any more."""
    kept = select(INCIDENTS.c.id)
    of_nobody = or_(OUTBOX.c.incident_id.is_(None), OUTBOX.c.incident_id.not_in(kept))
    connection.execute(
        delete(OUTBOX).where(OUTBOX.c.created_at < before, OUTBOX.c.standing != _WAITING, of_nobody)
    )
    connection.execute(
        delete(TIMELINE).where(TIMELINE.c.at < before, TIMELINE.c.incident_id.not_in(kept))
    )
    connection.execute(delete(MEMOS).where(MEMOS.c.dedup_key.not_in(select(OUTBOX.c.dedup_key))))
    connection.execute(delete(SILENCES).where(SILENCES.c.ends_at < before))
