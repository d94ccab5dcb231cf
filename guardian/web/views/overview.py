"""The overview: one sentence that says how things are, then each database. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import TypeVar

from guardian.backup.history import DrillPoint, Standing, TryPoint
from guardian.escalate.model import Incident, Severity, State
from guardian.model import BackupRecord, DatabaseRef, ProofResult, RunStatus
from guardian.units import format_size
from guardian.watch.outage import Availability
from guardian.web.ports import DatabasePlan, ServerNow
from guardian.web.views import calendar
from guardian.web.views.calendar import Cell
from guardian.web.views.charts import Shape, Spark, night_strip, spark
from guardian.web.views.wording import Level, plural, short_duration

NIGHTS = 28
"""So many nights the overview shows."""


@dataclass(frozen=True, slots=True)
class Trend:
    """A number now, what it was like lately, and words for who cannot see the line."""

    now: str
    line: Spark | None
    words: str


@dataclass(frozen=True, slots=True)
class DatabaseRow:
    """One database on the overview. ``said`` explains its level in a few words."""

    ref: DatabaseRef
    level: Level
    word: str
    said: str
    last: BackupRecord | None
    last_proven: BackupRecord | None
    strip: Sequence[Shape]
    strip_words: str
    strip_codes: str
    first_night: date
    size: Trend
    recovery: Trend
    next_at: datetime | None
    is_configured: bool


@dataclass(frozen=True, slots=True)
class Headline:
    """The verdict on everything, and the facts behind it."""

    level: Level
    text: str
    facts: Sequence[str]


@dataclass(frozen=True, slots=True)
class Material:
    """What the overview is made of."""

    now: datetime
    standings: Sequence[Standing]
    plans: Sequence[DatabasePlan]
    tries: Sequence[TryPoint]
    drills: Sequence[DrillPoint]


def rows(material: Material) -> list[DatabaseRow]:
    """Every database, those that need somebody first."""
    tries = _by_ref(material.tries)
    drills = _by_ref(material.drills)
    standings = {one.ref: one for one in material.standings}
    plans = {one.ref: one for one in material.plans}
    made = [
        _row(
            ref,
            standings.get(ref),
            plans.get(ref),
            tries.get(ref, []),
            drills.get(ref, []),
            material.now,
        )
        for ref in sorted({*standings, *plans})
    ]
    return sorted(made, key=lambda row: (not row.is_configured, -_urgency(row.level), row.ref))


def judge(
    standing: Standing | None, plan: DatabasePlan | None, now: datetime
) -> tuple[Level, str, str]:
    """The level of one database, a word for it, and why."""
    if plan is None:
        return Level.UNKNOWN, "left", "not in the configuration any more"
    if standing is None or standing.last is None:
        return _without_backup(standing, plan)
    if standing.last.proven is False:
        return Level.BAD, "not restorable", "the drill of the last backup found that it is not good"
    if standing.failures and plan.overdue:
        return Level.BAD, "failing", _failures(standing)
    if plan.overdue:
        return Level.BAD, "overdue", "the backup that should be there is not"
    if standing.failures:
        return Level.WARNING, "failing", _failures(standing)
    if standing.last_proven is None:
        return Level.WARNING, "unproven", "no backup was ever restored to prove it"
    if standing.last_proven.id != standing.last.id:
        return _behind(standing, now)
    return Level.OK, "proven", ""


def headline(
    found: Sequence[DatabaseRow],
    incidents: Sequence[Incident],
    servers: Sequence[ServerNow],
    now: datetime,
    *,
    blind: bool = False,
) -> Headline:
    """One sentence, and what is behind it. ``blind``: the catalog could not be read."""
    if blind:
        return Headline(Level.BAD, "guardian cannot read its catalog", [])
    guarded = [row for row in found if row.is_configured]
    troubled = [row for row in guarded if row.level.rank >= Level.WARNING.rank]
    urgent = [one for one in incidents if one.severity.rank <= Severity.P1.rank]
    down = [one.name for one in servers if one.availability is Availability.DOWN]
    level = max((row.level for row in guarded), key=_urgency, default=Level.UNKNOWN)
    if urgent or down:
        level = Level.BAD
    elif incidents and level is Level.OK:
        level = Level.WARNING
    return Headline(level, _sentence(guarded, troubled, incidents, down), _facts(guarded, now))


def open_and_worst_first(incidents: Iterable[Incident]) -> list[Incident]:
    """What is anybody's business now: the worst first, acknowledged ones behind, then by age."""
    found = [one for one in incidents if one.state.is_open and one.state is not State.PENDING]
    quiet = {State.ACKNOWLEDGED, State.RECOVERING}
    return sorted(found, key=lambda one: (one.severity.rank, one.state in quiet, one.opened_at))


def _sentence(
    guarded: Sequence[DatabaseRow],
    troubled: Sequence[DatabaseRow],
    incidents: Sequence[Incident],
    down: Sequence[str],
) -> str:
    if not guarded:
        return "Nothing is guarded yet"
    if down:
        names = ", ".join(down[:3]) + (" …" if len(down) > 3 else "")
        return f"{'Server' if len(down) == 1 else 'Servers'} {names} {_is(down)} down"
    if troubled:
        if len(troubled) == 1:
            return f"{troubled[0].ref} needs attention: {troubled[0].word}"
        return f"{len(troubled)} of {plural(len(guarded), 'database')} need attention"
    if incidents:
        return f"Every database is proven; {plural(len(incidents), 'incident')} open"
    if len(guarded) == 1:
        return f"{guarded[0].ref} can be brought back"
    return f"All {len(guarded)} databases can be brought back"


def _facts(guarded: Sequence[DatabaseRow], now: datetime) -> list[str]:
    facts = []
    proven = [row for row in guarded if row.last_proven is not None]
    if proven:
        oldest = min(proven, key=lambda row: _shown_at(row.last_proven))
        age = short_duration(now - _shown_at(oldest.last_proven))
        facts.append(f"{len(proven)} of {plural(len(guarded), 'database')} proven")
        facts.append(f"oldest proof {age} ({oldest.ref})" if len(proven) > 1 else f"{age} ago")
    return facts


def _row(
    ref: DatabaseRef,
    standing: Standing | None,
    plan: DatabasePlan | None,
    tries: Sequence[TryPoint],
    drills: Sequence[DrillPoint],
    now: datetime,
) -> DatabaseRow:
    level, word, said = judge(standing, plan, now)
    if plan is not None and plan.running is not None:
        said = f"{said}; {plan.running}" if said else plan.running
    cells = night_cells(ref, standing, plan, tries, now)
    return DatabaseRow(
        ref=ref,
        level=level,
        word=word,
        said=said,
        last=standing.last if standing else None,
        last_proven=standing.last_proven if standing else None,
        strip=night_strip(cells),
        strip_words=calendar.summary(cells),
        strip_codes=calendar.codes(cells),
        first_night=cells[0].day,
        size=size_trend(tries),
        recovery=recovery_trend(drills),
        next_at=plan.next_backup_at if plan else None,
        is_configured=plan is not None,
    )


def night_cells(
    ref: DatabaseRef,
    standing: Standing | None,
    plan: DatabasePlan | None,
    tries: Sequence[TryPoint],
    now: datetime,
    count: int = NIGHTS,
) -> tuple[Cell, ...]:
    """The last nights of one database, today's among them."""
    del ref
    timezone = plan.timezone if plan else "UTC"
    zone = calendar.zone_of(timezone)
    last = now.astimezone(zone).date()
    return calendar.nights(
        tries,
        calendar.Plan(
            plan.schedule if plan else None,
            timezone,
            standing.first_at.astimezone(zone).date() if standing else None,
            overdue=plan.overdue if plan else False,
        ),
        last - timedelta(days=count - 1),
        last,
    )


def size_trend(tries: Sequence[TryPoint]) -> Trend:
    """What a backup takes in one store."""
    good = [one for one in tries if one.status is RunStatus.SUCCEEDED]
    values: list[float | None] = [float(one.stored_bytes) for one in good]
    if not good:
        return Trend("", None, "no size is known")
    text = format_size(good[-1].stored_bytes)
    return Trend(text, spark(values), f"{text}{_change(values)}")


def recovery_trend(drills: Sequence[DrillPoint]) -> Trend:
    """How long drills took to bring the database back."""
    good = [one for one in drills if one.result is not ProofResult.INCONCLUSIVE]
    values: list[float | None] = [one.recovery_seconds for one in good]
    if not good:
        return Trend("", None, "no drill has told how long a restore takes")
    text = short_duration(good[-1].recovery_seconds)
    return Trend(text, spark(values), f"{text}{_change(values)}")


def _change(values: Sequence[float | None]) -> str:
    first, last = values[0], values[-1]
    if len(values) < 2 or not first or last is None:
        return ""
    percent = 100 * (last - first) / first
    return f", {percent:+.0f} % in {plural(len(values), 'backup')}"


def _without_backup(standing: Standing | None, plan: DatabasePlan) -> tuple[Level, str, str]:
    if standing is None:
        by_hand = "by hand only, and never made"
        said = "none was made yet" if plan.schedule is not None else by_hand
        return Level.WARNING, "no backup", said
    if standing.last_try.status is RunStatus.RUNNING:
        return Level.BUSY, "first backup", "the first backup is being made"
    return Level.BAD, "no backup", _failures(standing) or "no store has one"


def _behind(standing: Standing, now: datetime) -> tuple[Level, str, str]:
    """The last backup is not proven (yet); an older one is."""
    assert standing.last is not None
    assert standing.last_proven is not None
    age = short_duration(now - _shown_at(standing.last_proven))
    is_new = now - _shown_at(standing.last) < timedelta(hours=6)
    level = Level.OK if is_new else Level.WARNING
    return level, "proven" if is_new else "unproven", f"the last proven one is {age} old"


def _failures(standing: Standing) -> str:
    if not standing.failures:
        return ""
    error = standing.last_try.error
    text = f"{plural(standing.failures, 'failure')} in a row"
    return f"{text}: {error}" if error else text


def _shown_at(record: BackupRecord | None) -> datetime:
    assert record is not None
    return record.snapshot_at or record.started_at


_Point = TypeVar("_Point", TryPoint, DrillPoint)


def _by_ref(points: Iterable[_Point]) -> Mapping[DatabaseRef, list[_Point]]:
    found: dict[DatabaseRef, list[_Point]] = {}
    for one in points:
        found.setdefault(one.ref, []).append(one)
    return found


def _urgency(level: Level) -> int:
    return level.rank


def _is(names: Sequence[str]) -> str:
    return "is" if len(names) == 1 else "are"
