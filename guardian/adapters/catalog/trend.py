"""The part of the catalog in a database that keeps vitals over time."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, Select, and_, delete, insert, or_, select

from guardian.adapters.catalog.engine import Database
from guardian.adapters.catalog.models import VITALS
from guardian.watch.readings import Severity
from guardian.watch.trend import COARSER, KEEP, Sample, Series, coarsen, floor

_LONGEST = max(span for _, span in COARSER)
_AT_ONCE = 200
"""Keys in one statement."""


class SqlTrend:
    """See :class:`~guardian.watch.trend.VitalsTrend`."""

    _database: Database

    def record_samples(self, server: str, samples: Sequence[Sample]) -> None:
        """Keep them, each in the place of one of its series that began at the same instant."""
        if not samples:
            return
        with self._database.writing() as connection:
            _remove(connection, server, samples)
            connection.execute(insert(VITALS), [_values(server, one) for one in samples])

    def samples(
        self, server: str, since: datetime, series: Series | None = None
    ) -> Sequence[Sample]:
        """Those that reach beyond that instant, of every series or of one, oldest first."""
        query = _chosen(server).where(VITALS.c.at > since - _LONGEST)
        if series is not None:
            query = query.where(VITALS.c.vital == series.vital, VITALS.c.subject == series.subject)
        with self._database.reading() as connection:
            found = _samples(connection, query)
        return [one for one in found if one.end > since]

    def thin_samples(self, now: datetime) -> int:
        """Put old samples together, drop very old ones; how many less there are."""
        with self._database.writing() as connection:
            outlived = delete(VITALS).where(VITALS.c.at < now - KEEP)
            less = connection.execute(outlived).rowcount
            for age, span in COARSER:
                less += _thin(connection, floor(now - age, span), span)
        return less


def _thin(connection: Connection, cutoff: datetime, span: timedelta) -> int:
    fine = VITALS.c.seconds < int(span.total_seconds())
    servers = select(VITALS.c.server).where(VITALS.c.at < cutoff, fine).distinct()
    less = 0
    for server in connection.scalars(servers).all():
        first = connection.scalar(
            select(VITALS.c.at)
            .where(VITALS.c.server == server, VITALS.c.at < cutoff, fine)
            .order_by(VITALS.c.at)
            .limit(1)
        )
        if first is None:
            continue
        reached = and_(VITALS.c.at >= floor(first, span), VITALS.c.at < cutoff)
        # Locked, so that another process that thins waits, and then finds nothing left to do.
        old = _samples(connection, _chosen(server).where(reached).with_for_update())
        coarse = coarsen(old, span)
        connection.execute(delete(VITALS).where(VITALS.c.server == server, reached))
        if coarse:
            connection.execute(insert(VITALS), [_values(server, one) for one in coarse])
        less += len(old) - len(coarse)
    return less


def _chosen(server: str) -> Select[Any]:
    order = (VITALS.c.at, VITALS.c.vital, VITALS.c.subject)
    return select(VITALS).where(VITALS.c.server == server).order_by(*order)


def _samples(connection: Connection, query: Select[Any]) -> list[Sample]:
    known: dict[tuple[str, str], Series] = {}
    found = []
    for _, vital, subject, at, seconds, low, high, last, severity in connection.execute(query):
        series = known.get((vital, subject))
        if series is None:
            series = known.setdefault((vital, subject), Series(vital, subject))
        found.append(Sample(series, at, seconds, low, high, last, Severity(severity)))
    return found


def _remove(connection: Connection, server: str, samples: Sequence[Sample]) -> None:
    """Clear the places of these samples."""
    for start in range(0, len(samples), _AT_ONCE):
        keys = [
            and_(
                VITALS.c.vital == one.series.vital,
                VITALS.c.subject == one.series.subject,
                VITALS.c.at == one.at,
            )
            for one in samples[start : start + _AT_ONCE]
        ]
        connection.execute(delete(VITALS).where(VITALS.c.server == server, or_(*keys)))


def _values(server: str, one: Sample) -> dict[str, Any]:
    return {
        "server": server,
        "vital": one.series.vital,
        "subject": one.series.subject,
        "at": one.at,
        "seconds": one.seconds,
        "low": one.low,
        "high": one.high,
        "last": one.last,
        "severity": one.severity.value,
    }
