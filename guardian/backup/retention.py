"""Which backups stay, and the rule that keeps each: a pure function.

:func:`decide` judges the backups of *one* database. Its rules, each of which can only add to what
stays; whatever no rule keeps may go:

1.  Time is ``Candidate.at``, the instant of the snapshot from the manifest, and never a name.
2.  A backup is *good* unless a drill has shown it to be bad (``proven is False``). A bad one is
    counted by no rule: it takes no place in ``keep_last``, stands for no day, and is never "the
    newest". So adding one changes nothing for the others. It stays itself only while it is within
    ``keep_within`` (someone may want to look at it), pinned or being read.
3.  A backup from the future (more than :data:`CLOCK_TOLERANCE` after now), or one whose time is
    doubted by the store or by its own run, stays and is not counted either: when a clock is wrong,
    the others must not pay for it.
4.  Pinned backups and those being read stay. They are counted like any other.
5.  The newest good backup stays, whatever the policy says.
6.  ``keep_last``: the n newest good ones.
7.  ``keep_hourly`` … ``keep_yearly``, as restic has it: the newest good backup of each of the n
    most recent hours (days, ISO weeks, months, years) *that have a good backup*, by the calendar
    of the configured timezone. Nights without a backup use up nothing. The repeated hour at the
    end of summer time is two hours. While fewer than n such periods exist, the oldest good backup
    stays too, so that a history can grow that is as long as was asked for.
8.  ``keep_within``: everything at most so much older than the newest good backup. It is counted
    from that backup and not from now, so that nothing expires while no new backups are made.
9.  ``keep_proven``: the n newest that passed a drill.
10. Where there is no good backup at all, every backup stays.

Deciding again over what stayed deletes nothing more, and raising a number never deletes more.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, fields
from datetime import datetime, timedelta, tzinfo
from itertools import pairwise

from guardian.model import BackupId
from guardian.units import format_duration

CLOCK_TOLERANCE = timedelta(hours=1)
"""How far the clocks of this host, of a server and of a store may differ unsuspected."""

SMALLEST_HOLE = timedelta(days=8)
TRIES_TO_SETTLE = 3
TIME_TO_SETTLE = timedelta(days=7)


@dataclass(frozen=True, slots=True)
class RetentionPolicy:
    """How many backups each rule keeps; a backup stays when any rule keeps it.

    Raises:
        ValueError: for a negative number, and when all are 0, which would keep nothing.
    """

    keep_last: int = 3
    keep_hourly: int = 0
    keep_daily: int = 7
    keep_weekly: int = 4
    keep_monthly: int = 12
    keep_yearly: int = 0
    keep_within: timedelta = timedelta(days=30)
    keep_proven: int = 1

    def __post_init__(self) -> None:
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        for name, value in values.items():
            if value < (timedelta(0) if name == "keep_within" else 0):
                raise ValueError(f"{name} is negative: write 0 to switch the rule off")
        if not any(values.values()):
            raise ValueError("the policy keeps nothing: set keep_last to at least 1")


@dataclass(frozen=True, slots=True)
class Candidate:
    """A finished backup (a manifest lies in a store), as far as retention cares.

    ``proven`` is the latest conclusive drill's result, None before the first. ``in_use``: someone
    reads it right now. ``doubtful_time``: the store contradicts ``at``; ``backdated``: its own run
    does, which began long after. ``known``: the catalog knows it; what it does not know stays, and
    no other goes for it.
    """

    id: BackupId
    at: datetime
    proven: bool | None = None
    pinned: bool = False
    in_use: bool = False
    doubtful_time: bool = False
    backdated: bool = False
    known: bool = True

    @property
    def good(self) -> bool:
        """Not known to be bad: proven, or not drilled yet."""
        return self.proven is not False


@dataclass(frozen=True, slots=True)
class Decision:
    """What becomes of one backup, and why, in plain words; there is always a reason."""

    id: BackupId
    keep: bool
    reasons: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ClockDoubt:
    """A hole in a database's history that may be a jump of the clock."""

    before: datetime
    after: datetime

    def __str__(self) -> str:
        return (
            f"no try for {format_duration(self.after - self.before)} before {self.after:%Y-%m-%d}: "
            "a pause, or the clock has jumped"
        )


def decide(
    candidates: Iterable[Candidate], policy: RetentionPolicy, now: datetime, timezone: tzinfo
) -> list[Decision]:
    """Judge all backups of one database; the answer is newest first.

    ``timezone`` is the one whose calendar tells days, weeks, months and years apart. The rules
    are in the module's docstring.

    Raises:
        ValueError: when two candidates have the same id.
    """
    ranked = sorted(candidates, key=lambda one: (one.at, one.id), reverse=True)
    reasons: dict[BackupId, list[str]] = {one.id: [] for one in ranked}
    if len(reasons) != len(ranked):
        raise ValueError("two candidates have the same id")
    counted = [one for one in ranked if _counts(one, now)]
    good = [one for one in counted if one.good]
    for one in ranked:
        reasons[one.id] += _own_reasons(one, now)
    if good:
        reasons[good[0].id].append("newest good one")
    _keep_newest(good, policy.keep_last, "last", reasons)
    for rule, number, period in _calendar(policy, timezone):
        _keep_periods(good, number, rule, period, reasons)
    _keep_within(counted, good, policy.keep_within, reasons)
    _keep_newest([one for one in good if one.proven], policy.keep_proven, "proven", reasons)
    for one in ranked:
        if not good:
            reasons[one.id].append("no good backup is known, so nothing goes")
    return [_decision(one, reasons[one.id]) for one in ranked]


def doubt_clock(tries: Iterable[datetime], now: datetime) -> ClockDoubt | None:
    """Whether a database's history looks as if the clock had jumped ahead a short while ago.

    ``tries`` are the starts of *all* tries that are remembered, pruned and failed ones too:
    pruning makes holes among the backups by itself, but none in this history. A hole is suspicious
    when it is longer than eight days and than twice any other; until three tries *and* seven days
    lie behind it, a caller should delete nothing. A real pause looks the same, and waiting a week
    then costs nothing either. Tries from the future say nothing.
    """
    times = sorted((one for one in set(tries) if one <= now + CLOCK_TOLERANCE), reverse=True)
    gaps = [later - earlier for later, earlier in pairwise(times)]
    for position, gap in enumerate(gaps):
        since = times[0] - times[position]
        if position + 1 >= TRIES_TO_SETTLE and since >= TIME_TO_SETTLE:
            return None
        others = gaps[:position] + gaps[position + 1 :]
        if gap > SMALLEST_HOLE and others and gap > 2 * max(others):
            return ClockDoubt(before=times[position + 1], after=times[position])
    return None


def _counts(one: Candidate, now: datetime) -> bool:
    """Whether others may go because this one is there."""
    return one.known and not (_is_future(one, now) or one.doubtful_time or one.backdated)


def _is_future(one: Candidate, now: datetime) -> bool:
    return one.at > now + CLOCK_TOLERANCE


def _own_reasons(one: Candidate, now: datetime) -> list[str]:
    """The reasons that need no look at the other backups."""
    reasons = {
        "pinned": one.pinned,
        "being read": one.in_use,
        "dated in the future": _is_future(one, now),
        "dated later than its store says": one.doubtful_time,
        "dated long before its run began": one.backdated,
        "not in the catalog": not one.known,
    }
    return [reason for reason, holds in reasons.items() if holds]


def _keep_newest(
    good: Sequence[Candidate], number: int, rule: str, reasons: dict[BackupId, list[str]]
) -> None:
    for place, one in enumerate(good[:number], start=1):
        reasons[one.id].append(f"{rule} {place} of {number}")


def _calendar(
    policy: RetentionPolicy, timezone: tzinfo
) -> list[tuple[str, int, Callable[[datetime], str]]]:
    """The calendar's rules: name, number, and the period in which an instant lies."""

    def local(at: datetime) -> datetime:
        return at.astimezone(timezone)

    def hour(at: datetime) -> str:
        # With the offset, or the hour that comes twice in autumn would be one.
        return f"{local(at):%Y-%m-%d %H:00%z}"

    def week(at: datetime) -> str:
        year, number, _ = local(at).isocalendar()
        return f"{year:04}-W{number:02}"

    return [
        ("hourly", policy.keep_hourly, hour),
        ("daily", policy.keep_daily, lambda at: f"{local(at):%Y-%m-%d}"),
        ("weekly", policy.keep_weekly, week),
        ("monthly", policy.keep_monthly, lambda at: f"{local(at):%Y-%m}"),
        ("yearly", policy.keep_yearly, lambda at: f"{local(at):%Y}"),
    ]


def _keep_periods(
    good: Sequence[Candidate],
    number: int,
    rule: str,
    period: Callable[[datetime], str],
    reasons: dict[BackupId, list[str]],
) -> None:
    newest: dict[str, Candidate] = {}
    for one in good:
        newest.setdefault(period(one.at), one)
    for name, one in list(newest.items())[:number]:
        reasons[one.id].append(f"{rule} {name}")
    if good and len(newest) < number and good[-1] not in newest.values():
        reasons[good[-1].id].append(f"oldest, until there are {number} {rule}")


def _keep_within(
    counted: Sequence[Candidate],
    good: Sequence[Candidate],
    span: timedelta,
    reasons: dict[BackupId, list[str]],
) -> None:
    if not span or not good:
        return
    for one in counted:
        if one.at >= good[0].at - span:
            reasons[one.id].append(f"within {format_duration(span)}")


def _decision(one: Candidate, reasons: Sequence[str]) -> Decision:
    if reasons:
        return Decision(one.id, keep=True, reasons=tuple(reasons))
    why = "no rule keeps it" if one.good else "failed its drill, and no rule keeps it"
    return Decision(one.id, keep=False, reasons=(why,))
