"""How calmly channels are spoken to: pauses after failures, and single messages a minute.

Instants are seconds of a monotonic clock, so that a clock that is set stops or hurries nobody.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from guardian.errors import DeliveryError
from guardian.escalate.model import ChannelHealth, MessageKind
from guardian.ports import Clock

_MINUTE = 60.0
_HOUR = 3600.0
_CLOCK_SLACK = timedelta(seconds=5)
_LONGEST_ASKED = _HOUR
"""Who asks for more than an hour of peace gets an hour."""
_WORTH_WRITING = timedelta(minutes=1)
_ERROR_CHARACTERS = 500


@dataclass(frozen=True, slots=True)
class Pace:
    """Seconds, and how many.

    ``send_timeout``: a channel that has not answered for so long has failed (its own timeouts are
    shorter). ``first_pause`` doubles with each failure in a row up to ``longest_pause``.
    ``storm_every``: beyond the single messages of a minute, one message at most so often, with all
    that has come together, up to ``storm_size``. ``tries``: so often at least a message is tried
    before time alone lets it be handed over (after a long sleep, say). ``give_up_after``: what no
    channel took for so long is undeliverable.
    """

    send_timeout: float = 30.0
    first_pause: float = 2.0
    longest_pause: float = 60.0
    storm_every: float = 20.0
    storm_size: int = 100
    tries: int = 3
    give_up_after: timedelta = timedelta(hours=24)

    def pause(self, failures: int, error: DeliveryError, luck: float) -> float:
        """How long to wait after so many failures in a row; ``luck`` in [0, 1) spreads it."""
        doubled = self.first_pause * 2.0 ** min(failures - 1, 30)
        spread = min(doubled, self.longest_pause) * (0.75 + 0.5 * luck)
        return max(spread, min(error.retry_after or 0.0, _LONGEST_ASKED))


@dataclass(slots=True)
class Desk:
    """What is known of one channel while the process lives. Not for several threads at once."""

    health: ChannelHealth
    _paused_until: float = 0.0
    _singles: deque[float] = field(default_factory=deque)
    _chosen: set[int] = field(default_factory=set)
    _grouped: dict[MessageKind, float] = field(default_factory=dict)

    @property
    def is_failing(self) -> bool:
        """Whether its last try failed."""
        return self.health.failing_since is not None

    def has_failed_for(self, span: timedelta, at: datetime) -> bool:
        """Whether it has failed for so long, without a success between."""
        since = self.health.failing_since
        return since is not None and at - since >= span

    def is_paused(self, now: float) -> bool:
        """Whether it is left alone for now."""
        return now < self._paused_until

    def is_outdated_by(self, known: ChannelHealth) -> bool:
        """Whether others had a success there since it has failed here."""
        since, success = self.health.failing_since, known.last_success_at
        return since is not None and success is not None and success > since

    def succeeded(self, at: datetime) -> bool:
        """It took a message; whether that is news, worth writing down."""
        before = self.health
        self.health = ChannelHealth(before.channel, last_success_at=at)
        self._paused_until = 0.0
        last = before.last_success_at
        return before.failing_since is not None or last is None or at - last >= _WORTH_WRITING

    def failed(self, error: DeliveryError, at: datetime, paused_until: float) -> None:
        """It did not; a refusal of one message is no reason to pause."""
        self.health = replace(
            self.health,
            failing_since=self.health.failing_since or at,
            failures=self.health.failures + 1,
            last_error=in_short(error),
        )
        if not error.permanent:
            self._paused_until = max(self._paused_until, paused_until)

    def singles_left(self, limit: int, now: float) -> int:
        """How many single messages it may still get this minute."""
        while self._singles and now - self._singles[0] >= _MINUTE:
            self._singles.popleft()
        return max(0, limit - len(self._singles))

    def choose(self, envelope: int, now: float) -> None:
        """It gets this one by itself, now or as soon as it can."""
        self._singles.append(now)
        self._chosen.add(envelope)

    def is_chosen(self, envelope: int) -> bool:
        """Whether that was decided before."""
        return envelope in self._chosen

    def is_through(self, envelope: int) -> None:
        """Nothing is to be remembered of it any more."""
        self._chosen.discard(envelope)

    def may_group(self, kind: MessageKind, every: float, now: float) -> bool:
        """Whether it is time for a message of many."""
        return now - self._grouped.get(kind, float("-inf")) >= every

    def is_calm(self, kind: MessageKind, now: float) -> bool:
        """Whether there was no need for one within the last minute."""
        return self.may_group(kind, _MINUTE, now)

    def count_group(self, kind: MessageKind, now: float) -> None:
        """It gets one of many."""
        self._grouped[kind] = now


class Wall:
    """The wall clock, for what was put off by it. For one thread.

    For an hour after it was set back it shows the time that it would be, so that what was put off
    shortly before does not wait that much longer.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._now, self._beat = clock.now(), clock.monotonic()
        self._set_back = timedelta(0)
        self._until = self._beat

    def latest(self) -> datetime:
        """What is due by then is due."""
        now, beat = self._clock.now(), self._clock.monotonic()
        drift = now - self._now - timedelta(seconds=beat - self._beat)
        self._now, self._beat = now, beat
        if drift < -_CLOCK_SLACK:
            self._set_back -= drift
            self._until = beat + _HOUR
        elif beat >= self._until:
            self._set_back = timedelta(0)
        return now + self._set_back


def in_short(error: DeliveryError) -> str:
    """The error in one line that a record can hold."""
    return error.message[:_ERROR_CHARACTERS]
