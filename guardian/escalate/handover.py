"""What becomes of a message that a channel did not take: once more, to others, or lost. Pure.

It goes to the next channel that has not had it, then to the rungs behind. When all have failed, it
goes round again among those that may yet take it, ever more slowly: a network that was gone for an
hour is no reason for nobody to hear. An end is told to those who heard of the beginning and to
nobody else, so it waits for its own channel; a person's other channel may have it meanwhile.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from guardian.errors import DeliveryError
from guardian.escalate.model import Envelope, MessageKind, Standing
from guardian.escalate.pacing import Pace, in_short

RUNG = "rung:"
"""Marks a stop of an envelope's ``others`` that is a rung's name."""

ENDS = frozenset({MessageKind.RESOLVED, MessageKind.ACKNOWLEDGED})


@dataclass(frozen=True, slots=True)
class Ways:
    """Where a message can go: all people and channels, and what is known of this very message.

    ``has`` are channels where it waits, or was delivered; ``failed`` those that had it in vain.
    ``unusable`` are channels that may be mended: nothing new goes there, but it may wait there.
    """

    people: Mapping[str, Sequence[str]]
    channels: Collection[str]
    has: Collection[str] = ()
    failed: Collection[str] = ()
    unusable: Collection[str] = ()


@dataclass(frozen=True, slots=True)
class Failure:
    """A try that failed, or one that is not made because the channel has failed for too long.

    ``retry_at`` is when this channel could be tried again. ``too_long``: it has failed for so long
    that nobody need wait for it.
    """

    error: DeliveryError
    at: datetime
    retry_at: datetime
    too_long: bool = False


@dataclass(frozen=True, slots=True)
class Verdict:
    """The envelope as it is now, who has the message next, and that in words for the timeline."""

    envelope: Envelope
    follow_ups: tuple[Envelope, ...] = ()
    text: str | None = None


def after_failure(
    tried: Envelope, failure: Failure, ways: Ways, patience: timedelta, pace: Pace
) -> Verdict:
    """Decide on an envelope that was just tried in vain (``attempts`` counts that already).

    ``patience`` is how long a channel may fail before others have its messages.
    """
    error, is_end = failure.error, tried.message.kind in ENDS
    said = f"{tried.channel} did not take it ({in_short(error)})"
    now = replace(tried, error=in_short(error))
    if not error.permanent:
        now = replace(now, next_at=failure.retry_at)
        if not _is_impatient(now, failure, patience, pace):
            first = tried.attempts == 1
            return Verdict(now, text=f"{said}; it is tried again" if first else None)
    passed = replace(now, tried=_with(now.tried, now.channel))
    if error.permanent:
        passed = replace(passed, refused=_with(passed.refused, now.channel))
    given = hand_over(passed, ways, failure.at)
    if given is not None:
        stays = is_end and not error.permanent
        standing = Standing.WAITING if stays else Standing.HANDED_OVER
        done = replace(passed, standing=standing, others=() if stays else passed.others)
        return Verdict(done, given, f"{said}; {in_whose_hands(given)}")
    if failure.at - tried.created_at >= pace.give_up_after:
        lost = replace(passed, standing=Standing.UNDELIVERABLE)
        return Verdict(lost, text=f"{said}; it is given up")
    if is_end and not error.permanent:
        return Verdict(replace(now, others=()))
    return _go_round(passed, failure, ways, said)


def hand_over(passed: Envelope, ways: Ways, at: datetime) -> tuple[Envelope, ...] | None:
    """Envelopes for the next stop; none where that has it already, None where there is no stop.

    A person's other channel that has it is passed over: all of them are told anyway, and the one
    that fails may have been the one that wakes people.
    """
    stops, message = list(passed.others), passed.message
    vain = {*passed.tried, *ways.failed}
    held = False
    while stops:
        stop = stops.pop(0)
        rung = stop.removeprefix(RUNG) if stop.startswith(RUNG) else None
        if rung is not None and passed.message.kind in ENDS:
            continue
        names = (stop,) if rung is None else tuple(ways.people.get(rung, ()))
        usable = [one for one in names if one in ways.channels and one not in vain]
        new = [one for one in usable if one not in ways.has]
        if new:
            return tuple(
                Envelope(
                    message=replace(message, why=_why(passed, rung)),
                    channel=one,
                    rung=rung or passed.rung,
                    created_at=at,
                    next_at=at,
                    others=tuple(stops),
                    tried=passed.tried,
                    refused=passed.refused,
                )
                for one in new
            )
        if usable and rung is not None:
            return ()
        held = held or bool(usable)
    # Its own channel will never take it, but another one of the same person has.
    return () if held and passed.channel in passed.refused else None


def _why(passed: Envelope, rung: str | None) -> str:
    """Why whoever gets it now hears of it: somebody else, or somewhere else, could not."""
    message = passed.message
    if message.kind in ENDS:  # that says how it ended
        return message.why
    if rung is not None and rung != passed.rung:
        return f"in place of {passed.rung}, whom {passed.channel} did not reach"
    instead = f"in place of {passed.channel}, which did not take it"
    return f"{instead}: {message.why}" if message.why else instead


def _is_impatient(tried: Envelope, failure: Failure, patience: timedelta, pace: Pace) -> bool:
    """Whether others shall have it: the channel has failed for long, or asks us to wait for long.

    Age alone proves nothing: we may have been away ourselves.
    """
    if failure.too_long or failure.retry_at - failure.at >= patience:
        return True
    return failure.at - tried.created_at >= patience and tried.attempts >= pace.tries


def _go_round(passed: Envelope, failure: Failure, ways: Ways, said: str) -> Verdict:
    """Everybody has failed. Go to the one whose failure is the oldest, if it may yet take it."""
    takers = {*ways.channels, *ways.unusable}
    candidates = [one for one in passed.tried if one in takers and one not in passed.refused]
    if not candidates:
        lost = replace(passed, standing=Standing.UNDELIVERABLE)
        return Verdict(lost, text=f"{said}; no other channel takes it either")
    channel = candidates[0]
    if channel == passed.channel:
        return Verdict(replace(passed, tried=(), others=(), standing=Standing.WAITING))
    again = replace(
        passed,
        id=0,
        channel=channel,
        rung=_rung_of(channel, ways) or passed.rung,
        next_at=failure.retry_at,
        others=(),
        tried=tuple(one for one in passed.tried if one != channel),
    )
    done = replace(passed, standing=Standing.HANDED_OVER)
    return Verdict(done, (again,), f"{said}; {channel} is tried once more")


def _rung_of(channel: str, ways: Ways) -> str | None:
    return next((name for name, channels in ways.people.items() if channel in channels), None)


def _with(names: tuple[str, ...], name: str) -> tuple[str, ...]:
    return (*(one for one in names if one != name), name)


def in_whose_hands(given: Sequence[Envelope]) -> str:
    """Who has a message that was handed over, in words."""
    if not given:
        return "those behind it have it already"
    return "handed over to " + ", ".join(f"{one.rung} through {one.channel}" for one in given)
