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
from sqlalchemy.orm import aliased

from guardian.adapters.catalog import backups, escalation_rows, rules
from guardian.adapters.catalog.engine import Database
from guardian.adapters.catalog.models import (
    ChannelMemo,
    ChannelState,
    OutboxRow,
    StoredIncident,
    StoredSilence,
    TimelineEntry,
)
from guardian.errors import CatalogError
from guardian.escalate.model import (
    Change,
    ChannelHealth,
    Entry,
    Envelope,
    Incident,
    IncidentId,
    MessageKind,
    Settlement,
    Silence,
    Standing,
)

_NEWEST = (StoredIncident.opened_at.desc(), StoredIncident.number.desc())
_WORST = (OutboxRow.severity, OutboxRow.number)
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
            conditions.append(StoredIncident.updated_at >= since)
        return self._incidents(*conditions, limit=limit)

    def find_incidents(self, id_prefix: str) -> Sequence[Incident]:
        """Those whose id starts so, newest opening first."""
        prefix = rules.printable(id_prefix)
        return self._incidents(func.substr(StoredIncident.id, 1, len(prefix)) == prefix)

    def latest_incident(self, key: str) -> Incident | None:
        """The newest one of that key, open or resolved."""
        found = self._incidents(StoredIncident.key == rules.printable(key), limit=1)
        return next(iter(found), None)

    def timeline(self, incident: IncidentId) -> Sequence[Entry]:
        """Its entries, oldest first, in the order in which they were written."""
        query = select(TimelineEntry.__table__).where(TimelineEntry.incident_id == incident)
        with self._database.reading() as connection:
            found = connection.execute(query.order_by(TimelineEntry.number))
            return [escalation_rows.entry(row) for row in found]

    def apply(self, change: Change) -> None:
        """Write all of it, or nothing. Raises StaleIncidentError."""
        with self._database.writing() as connection:
            for one in rules.in_order_of_writing(change.incidents):
                _write_incident(connection, one)
            _supersede(connection, change.superseded)
            _add_entries(connection, change.entries)
            _add_envelopes(connection, change.envelopes)

    # --- outbox ---

    def waiting(self, now: datetime, limit: int = 500) -> Sequence[Envelope]:
        """Envelopes that wait and are due, of each order the first alone, the worst first."""
        earlier = aliased(OutboxRow)
        has_earlier = exists().where(
            earlier.standing == _WAITING,
            earlier.dedup_key == OutboxRow.dedup_key,
            earlier.channel == OutboxRow.channel,
            tuple_(earlier.position, earlier.number) < tuple_(OutboxRow.position, OutboxRow.number),
        )
        place = func.row_number().over(partition_by=OutboxRow.channel, order_by=_WORST)
        due = (
            select(OutboxRow.number.label("due"), place.label("place"))
            .where(OutboxRow.standing == _WAITING, OutboxRow.next_at <= now, ~has_earlier)
            .subquery()
        )
        chosen = OutboxRow.number.in_(select(due.c.due).where(due.c.place <= limit))
        return self._envelopes(chosen, order=_WORST)

    def outstanding(self) -> int:
        """How many envelopes wait, due or not."""
        query = select(func.count(OutboxRow.number)).where(OutboxRow.standing == _WAITING)
        with self._database.reading() as connection:
            return connection.execute(query).scalar_one()

    def undelivered(self, limit: int = 100) -> Sequence[Envelope]:
        """Those that no channel took, newest first."""
        lost = OutboxRow.standing == Standing.UNDELIVERABLE.value
        return self._envelopes(lost, limit=limit, order=(OutboxRow.number.desc(),))

    def envelopes(self, incident: IncidentId) -> Sequence[Envelope]:
        """All of one incident, oldest first."""
        return self._envelopes(OutboxRow.incident_id == incident)

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
                backups.put(connection, ChannelMemo, key, {"memo": memo})
            _add_entries(connection, settlement.entries)
            return _add_envelopes(connection, (*past_the_outbox, *settlement.follow_ups))

    def finished_storms(self) -> Sequence[Envelope]:
        """Storms' messages that were delivered, whose incidents have all been resolved since."""
        end, member = aliased(OutboxRow), aliased(OutboxRow)
        ended = exists().where(
            end.dedup_key == OutboxRow.dedup_key,
            end.channel == OutboxRow.channel,
            end.kind == MessageKind.RESOLVED.value,
        )
        is_resolved = exists().where(
            StoredIncident.id == member.incident_id, StoredIncident.open_key.is_(None)
        )
        lasts = exists().where(
            member.told_in == OutboxRow.dedup_key, member.incident_id.is_not(None), ~is_resolved
        )
        is_storm = OutboxRow.kind == MessageKind.STORM.value
        delivered = OutboxRow.standing == Standing.DELIVERED.value
        return self._envelopes(and_(delivered, is_storm, ~ended, ~lasts))

    def memo(self, dedup_key: str, channel: str) -> str | None:
        """What the channel wanted to know again with the next message of that dedup key."""
        query = select(ChannelMemo.memo).where(
            ChannelMemo.dedup_key == rules.printable(dedup_key),
            ChannelMemo.channel == rules.printable(channel),
        )
        with self._database.reading() as connection:
            return connection.scalar(query)

    # --- channels and silences ---

    def channel_health(self) -> Sequence[ChannelHealth]:
        """Of every channel that was ever used, in order of name."""
        query = select(ChannelState.__table__).order_by(ChannelState.channel)
        with self._database.reading() as connection:
            return [escalation_rows.health(row) for row in connection.execute(query)]

    def save_channel_health(self, health: ChannelHealth) -> None:
        """In the place of what was there."""
        values = escalation_rows.health_values(health)
        with self._database.writing() as connection:
            backups.put(connection, ChannelState, {"channel": health.channel}, values)

    def add_silence(self, silence: Silence) -> None:
        """Keep it. Raises CatalogError when its id is taken."""
        with self._database.writing() as connection:
            try:
                connection.execute(
                    insert(StoredSilence).values(escalation_rows.silence_values(silence))
                )
            except IntegrityError:
                raise CatalogError(f"silence {silence.id} is there already") from None

    def silences(self, now: datetime | None = None) -> Sequence[Silence]:
        """All, or those that hold now or later; the earliest end first."""
        query: Select[Any] = select(StoredSilence.__table__)
        if now is not None:
            query = query.where(StoredSilence.ends_at > now)
        query = query.order_by(StoredSilence.ends_at, StoredSilence.id)
        with self._database.reading() as connection:
            return [escalation_rows.silence(row) for row in connection.execute(query)]

    def end_silence(self, silence: str, at: datetime) -> None:
        """End it now. Raises NotFoundError when there is none such, or it has ended."""
        change = update(StoredSilence).where(
            StoredSilence.id == silence, StoredSilence.ends_at > at
        )
        with self._database.writing() as connection:
            if not connection.execute(change.values(ends_at=at)).rowcount:
                raise rules.no_silence(silence)

    def prune_incidents(self, older_than: timedelta, now: datetime) -> int:
        """Drop resolved incidents of that age with all that belongs to them; returns how many."""
        before = now - older_than
        waits = exists().where(
            OutboxRow.incident_id == StoredIncident.id, OutboxRow.standing == _WAITING
        )
        with self._database.writing() as connection:
            dropped = connection.execute(
                delete(StoredIncident).where(StoredIncident.resolved_at < before, ~waits)
            ).rowcount
            _drop_orphans(connection, before)
            return dropped

    def _incidents(self, *conditions: Any, limit: int | None = None) -> list[Incident]:
        query = select(StoredIncident.__table__).where(*conditions)
        with self._database.reading() as connection:
            found = connection.execute(query.order_by(*_NEWEST).limit(limit))
            return [escalation_rows.incident(row) for row in found]

    def _envelopes(
        self, condition: Any, limit: int | None = None, order: Sequence[Any] = (OutboxRow.number,)
    ) -> list[Envelope]:
        query = select(OutboxRow.__table__).where(condition).order_by(*order).limit(limit)
        with self._database.reading() as connection:
            return [escalation_rows.envelope(row) for row in connection.execute(query)]


def _is_open() -> Any:
    return StoredIncident.open_key.is_not(None)


def _write_incident(connection: Connection, changed: Incident) -> None:
    values = escalation_rows.incident_values(changed)
    try:
        if changed.version == 0:
            connection.execute(insert(StoredIncident).values(values))
            return
        known = update(StoredIncident).where(
            StoredIncident.id == values["id"], StoredIncident.version == changed.version
        )
        if not connection.execute(known.values(values)).rowcount:
            raise rules.stale(changed)
    except IntegrityError:
        raise rules.stale(changed) from None


def _supersede(connection: Connection, incidents: Sequence[IncidentId]) -> None:
    if incidents:
        needless = update(OutboxRow).where(
            OutboxRow.incident_id.in_(incidents),
            OutboxRow.standing == _WAITING,
            OutboxRow.kind.in_([kind.value for kind in rules.NEEDLESS_LATER]),
        )
        connection.execute(needless.values(standing=Standing.SUPERSEDED.value))


def _add_entries(connection: Connection, entries: Iterable[Entry]) -> None:
    for one in entries:
        connection.execute(insert(TimelineEntry).values(escalation_rows.entry_values(one)))


def _add_envelopes(connection: Connection, envelopes: Iterable[Envelope]) -> list[Envelope]:
    added = []
    for one in envelopes:
        values = escalation_rows.envelope_values(one)
        done = connection.execute(insert(OutboxRow).values(values))
        (number,) = done.inserted_primary_key or (0,)
        added.append(replace(one, id=int(number)))
    return added


def _settle(connection: Connection, sent: Envelope) -> None:
    row = update(OutboxRow).where(OutboxRow.number == sent.id)
    if sent.standing is not Standing.DELIVERED:
        row = row.where(OutboxRow.standing == _WAITING)
    connection.execute(row.values(escalation_rows.outcome_values(sent)))


def _drop_orphans(connection: Connection, before: datetime) -> None:
    """Drop what is as old and belongs to no incident, or to none any more."""
    kept = select(StoredIncident.id)
    of_nobody = or_(OutboxRow.incident_id.is_(None), OutboxRow.incident_id.not_in(kept))
    connection.execute(
        delete(OutboxRow).where(
            OutboxRow.created_at < before, OutboxRow.standing != _WAITING, of_nobody
        )
    )
    connection.execute(
        delete(TimelineEntry).where(
            TimelineEntry.at < before, TimelineEntry.incident_id.not_in(kept)
        )
    )
    connection.execute(
        delete(ChannelMemo).where(ChannelMemo.dedup_key.not_in(select(OutboxRow.dedup_key)))
    )
    connection.execute(delete(StoredSilence).where(StoredSilence.ends_at < before))
