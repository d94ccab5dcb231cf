"""guardian itself: channels that fail, rights that it lacks, work that does not get done."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from guardian.escalate.conditions.phrases import fact, instant, name, said, title
from guardian.escalate.model import ChannelHealth, Condition, Fact, Severity

CHANNEL = "channel.failing"
PRIVILEGES = "guardian.privileges"
DEGRADED = "guardian.degraded"

FAILS_FOR = timedelta(minutes=5)
FAILS_OFTEN = 3
"""A channel counts as failing after so long, or so many tries, without a success between."""


@dataclass(frozen=True, slots=True)
class Trouble:
    """A part of guardian that does not do its work.

    ``part`` names it and is the same as long as it lasts: ``watch main``, ``catalog``, ``schedule
    backup main``. ``text`` is one line, as an error's message; ``mend`` what to do.
    """

    part: str
    text: str
    since: datetime | None = None
    mend: str | None = None
    server: str | None = None
    severity: Severity = Severity.P1


def channel_conditions(
    channels: Iterable[ChannelHealth], now: datetime, configured: Sequence[str]
) -> tuple[Condition, ...]:
    """Channels of the config that do not take messages. Others' failures are nobody's business."""
    return tuple(
        _channel(one, [other for other in configured if other != one.channel])
        for one in channels
        if one.channel in configured and _fails(one, now)
    )


def unusable_conditions(
    unusable: Mapping[str, str], usable: Iterable[str]
) -> tuple[Condition, ...]:
    """Channels of the config that cannot even be made here, and why: an extra that is missing."""
    others = list(usable)
    return tuple(
        Condition(
            key=f"{CHANNEL}:{channel}",
            kind=CHANNEL,
            severity=Severity.P1,
            title=title(f"Channel {name(channel)} cannot be used: {said(why)}"),
            impact=_impact(others),
            evidence=(fact("error", why),),
            tried=("its messages go to others, or wait",) if others else (),
            mend=(f"guardian alerts test {channel}", "then systemctl reload guardian"),
        )
        for channel, why in unusable.items()
    )


def _impact(others: Sequence[str]) -> str:
    if others:
        return "Alerts meant for it go to others instead."
    return "There is no other channel: nobody hears of anything."


def _fails(health: ChannelHealth, now: datetime) -> bool:
    if health.failing_since is None:
        return False
    return now - health.failing_since >= FAILS_FOR or health.failures >= FAILS_OFTEN


def _channel(health: ChannelHealth, others: Sequence[str]) -> Condition:
    since = health.failing_since
    assert since is not None
    return Condition(
        key=f"{CHANNEL}:{health.channel}",
        kind=CHANNEL,
        severity=Severity.P1,
        title=title(f"Channel {name(health.channel)} does not take messages"),
        since=since,
        occurrence=since.isoformat(),
        impact=_impact(others),
        evidence=(
            fact("error", health.last_error or "none was recorded"),
            Fact("failures", f"{health.failures:,} since {instant(since)}"),
            Fact("last success", _or_never(health.last_success_at)),
        ),
        tried=("messages were tried again, and handed over to others",) if others else (),
        mend=(f"guardian alerts test {health.channel}",),
    )


def privilege_conditions(server: str, shortcomings: Sequence[str]) -> tuple[Condition, ...]:
    """What guardian's role may not see or do on a server, each line with its mend."""
    if not shortcomings:
        return ()
    return (
        Condition(
            key=f"{PRIVILEGES}:{server}",
            kind=PRIVILEGES,
            severity=Severity.P2,
            title=title(f"guardian's role lacks rights on {name(server)}"),
            server=server,
            impact="What it may not see it cannot watch, and policies match nothing there.",
            evidence=tuple(fact("it lacks", one) for one in shortcomings),
            mend=("guardian doctor",),
        ),
    )


def degraded_conditions(troubles: Iterable[Trouble]) -> tuple[Condition, ...]:
    """Parts of guardian that do not do their work."""
    return tuple(
        Condition(
            key=f"{DEGRADED}:{one.part}",
            kind=DEGRADED,
            severity=one.severity,
            title=title(f"guardian: {name(one.part, 40)}: {said(one.text)}"),
            server=one.server,
            since=one.since,
            impact="guardian does not do all that it is there for.",
            evidence=(fact("error", one.text),),
            mend=(said(one.mend),) if one.mend else ("guardian doctor",),
        )
        for one in troubles
    )


def _or_never(at: datetime | None) -> str:
    return "never" if at is None else instant(at)
