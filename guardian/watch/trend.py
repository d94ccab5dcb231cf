"""The vitals over time: what is kept of many readings, and how it grows coarser with age. Pure.

A *series* is one vital of one lasting subject: a disk, a slot, a database. Where the subject is a
session that will be gone tomorrow (the longest query, the oldest idle transaction), all of a
server's are one series, and what counts is the worst of them.

A *sample* tells of a span of time: the lowest, the highest and the last value in it. Young samples
span five minutes; older ones are put together, first to hours, then to days, so that a year takes
little room and no peak is lost.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Protocol

from guardian.watch.readings import Severity, Unit
from guardian.watch.vitals import Finding

SPAN = timedelta(minutes=5)
"""Of a young sample."""
COARSER = (
    (timedelta(days=2), timedelta(hours=1)),
    (timedelta(days=35), timedelta(days=1)),
)
"""From which age on samples are put together, and to which span."""
KEEP = timedelta(days=400)
"""How long samples are kept at all."""

UNITS = {
    "connections": Unit.PERCENT,
    "idle_in_transaction": Unit.SECONDS,
    "query_age": Unit.SECONDS,
    "lock_wait": Unit.SECONDS,
    "transaction_id_age": Unit.COUNT,
    "multixact_age": Unit.COUNT,
    "prepared_transactions": Unit.SECONDS,
    "slot_retained_wal": Unit.BYTES,
    "replica_lag": Unit.SECONDS,
    "checksum_failures": Unit.COUNT,
    "archiver": Unit.SECONDS,
    "sequences": Unit.PERCENT,
    "invalid_indexes": Unit.COUNT,
    "backup_age": Unit.INTERVALS,
    "size_drop": Unit.PERCENT,
    "disk": Unit.PERCENT,
}
"""What each vital counts."""

_PASSING = frozenset(
    {
        "connections",
        "idle_in_transaction",
        "query_age",
        "lock_wait",
        "transaction_id_age",
        "multixact_age",
        "prepared_transactions",
        "replica_lag",
        "checksum_failures",
        "archiver",
        "sequences",
    }
)
"""Vitals whose subjects come and go, or do not matter: one series a server."""


@dataclass(frozen=True, slots=True, order=True)
class Series:
    """One vital of one lasting subject; ``subject`` is empty where it is the server itself."""

    vital: str
    subject: str = ""


@dataclass(frozen=True, slots=True)
class Sample:
    """What a series was like in the ``seconds`` from ``at`` on.

    ``severity`` is the worst in that time. A time in which nothing could be read has no sample.
    """

    series: Series
    at: datetime
    seconds: int
    low: float
    high: float
    last: float
    severity: Severity

    @property
    def end(self) -> datetime:
        """When its span ends."""
        return self.at + timedelta(seconds=self.seconds)


class VitalsTrend(Protocol):
    """What the catalog keeps of vitals. All methods raise CatalogError."""

    def record_samples(self, server: str, samples: Sequence[Sample]) -> None:
        """Keep them, each in the place of one of its series that began at the same instant."""

    def samples(
        self, server: str, since: datetime, series: Series | None = None
    ) -> Sequence[Sample]:
        """Those that reach beyond that instant, of every series or of one, oldest first."""

    def thin_samples(self, now: datetime) -> int:
        """Put old samples together (COARSER), drop very old ones (KEEP); how many less there are.

        May be called at any time, also by two processes at once; once an hour is enough.
        """


def sample_all(findings: Iterable[Finding], at: datetime, span: timedelta = SPAN) -> list[Sample]:
    """One round's findings as samples, one a series; what is unknown gives none."""
    start = floor(at, span)
    found: dict[Series, Sample] = {}
    for one in findings:
        if one.value is None:
            continue
        series = series_of(one)
        sample = Sample(
            series,
            start,
            int(span.total_seconds()),
            one.value,
            one.value,
            one.value,
            one.severity,
        )
        known = found.get(series)
        # Of several sessions at the same instant the worst is the value.
        if known is None or (sample.high, sample.severity.rank) > (known.high, known.severity.rank):
            worst = max(sample.severity, known.severity if known else sample.severity, key=_rank)
            found[series] = replace(sample, severity=worst)
    return list(found.values())


def series_of(finding: Finding) -> Series:
    """The series that a finding belongs to."""
    passing = finding.vital in _PASSING
    return Series(finding.vital, "" if passing else finding.subject or "")


def join(earlier: Sample, later: Sample) -> Sample:
    """Two samples of one series as one, which begins and spans as the earlier one does."""
    return replace(
        earlier,
        low=min(earlier.low, later.low),
        high=max(earlier.high, later.high),
        last=later.last,
        severity=max(earlier.severity, later.severity, key=_rank),
    )


def coarsen(samples: Iterable[Sample], span: timedelta) -> list[Sample]:
    """Samples, oldest first, put together to a longer span; one that is longer stays so."""
    seconds = int(span.total_seconds())
    found: dict[tuple[Series, datetime], Sample] = {}
    for one in samples:
        wide = one
        if one.seconds < seconds:
            wide = replace(one, at=floor(one.at, span), seconds=seconds)
        known = found.get((wide.series, wide.at))
        found[wide.series, wide.at] = wide if known is None else join(known, wide)
    return sorted(found.values(), key=lambda one: (one.at, one.series))


def floor(at: datetime, span: timedelta) -> datetime:
    """The beginning of the span that an instant lies in, counted from 1970."""
    epoch = datetime(1970, 1, 1, tzinfo=UTC)
    return epoch + (at - epoch) // span * span


def _rank(severity: Severity) -> int:
    return severity.rank


class TrendLog:
    """Gathers a server's rounds and writes each span once, when it has ended. For one thread.

    A crash loses what was gathered since: five minutes of a chart.
    """

    def __init__(self, trend: VitalsTrend, server: str, span: timedelta = SPAN) -> None:
        self._trend = trend
        self._server = server
        self._span = span
        self._gathered: dict[Series, Sample] = {}

    def add(self, findings: Iterable[Finding], at: datetime) -> None:
        """Take one round's findings in. Raises CatalogError; nothing gathered is lost then."""
        fresh = sample_all(findings, at, self._span)
        start = floor(at, self._span)
        if any(one.at != start for one in self._gathered.values()):
            self.flush()
        for one in fresh:
            known = self._gathered.get(one.series)
            self._gathered[one.series] = one if known is None else join(known, one)

    def flush(self) -> None:
        """Write what was gathered. Raises CatalogError."""
        if self._gathered:
            self._trend.record_samples(self._server, list(self._gathered.values()))
            self._gathered = {}
