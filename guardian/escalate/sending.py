"""Messages in the air: each channel has a thread of its own while it sends, and nobody else's.

A channel that hangs is given up after a while; what it says later still counts. Threads are
daemons, so that nothing that hangs outlives the process or holds up its end.
"""

from __future__ import annotations

import logging
import queue
import threading
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from guardian.errors import DeliveryError
from guardian.escalate.model import Envelope, Receipt
from guardian.escalate.ports import Channel
from guardian.ports import Clock

_log = logging.getLogger(__name__)
_STUCK_AT_MOST = 3
"""Threads of one channel that hang, after which it gets no more before one comes back."""


@dataclass(eq=False, slots=True)
class Flight:
    """One envelope on its way, since an instant of the monotonic clock."""

    envelope: Envelope
    since: float


@dataclass(frozen=True, slots=True)
class Landing:
    """What came of a flight: a receipt or an error. ``late``: it had been given up before."""

    flight: Flight
    receipt: Receipt | None = None
    error: DeliveryError | None = None
    late: bool = False


class Sender:
    """Sends, at most one message a channel at a time. For one thread to call."""

    def __init__(self, channels: Mapping[str, Channel], clock: Clock, timeout: float) -> None:
        self.channels = channels
        self._clock = clock
        self._timeout = timeout
        self._flights: dict[str, Flight] = {}
        self._stuck: Counter[str] = Counter()
        self._landed: queue.SimpleQueue[Landing] = queue.SimpleQueue()

    @property
    def in_the_air(self) -> int:
        """How many are on their way."""
        return len(self._flights)

    def can_take(self, channel: str) -> bool:
        """Whether a message can leave through it now."""
        return channel not in self._flights and self._stuck[channel] < _STUCK_AT_MOST

    def start(self, envelope: Envelope, memo: str | None) -> Flight:
        """Let it leave; its channel can take one."""
        flight = Flight(envelope, self._clock.monotonic())
        self._flights[envelope.channel] = flight
        channel = self.channels[envelope.channel]
        thread = threading.Thread(
            target=self._fly,
            args=(flight, channel, memo),
            name=f"channel {envelope.channel}",
            daemon=True,
        )
        try:
            thread.start()
        except RuntimeError:  # one that never began must not count as one that hangs
            error = DeliveryError(f"channel {envelope.channel}: this host can start no thread")
            self._landed.put(Landing(flight, error=error))
        return flight

    def landings(self, wait: float) -> list[Landing]:
        """What has come back, and what is given up; waits at most so many seconds for the first."""
        found = []
        try:
            found.append(self._landed.get(timeout=wait) if wait > 0 else self._landed.get_nowait())
            while True:
                found.append(self._landed.get_nowait())
        except queue.Empty:
            pass
        return [*map(self._settled, found), *self._overdue()]

    def _settled(self, landing: Landing) -> Landing:
        channel = landing.flight.envelope.channel
        if self._flights.get(channel) is landing.flight:
            del self._flights[channel]
            return landing
        self._stuck[channel] -= 1
        return Landing(landing.flight, landing.receipt, landing.error, late=True)

    def _overdue(self) -> list[Landing]:
        now = self._clock.monotonic()
        late = [one for one in self._flights.values() if now - one.since >= self._timeout]
        for flight in late:
            del self._flights[flight.envelope.channel]
            self._stuck[flight.envelope.channel] += 1
        text = f"did not answer within {self._timeout:.0f}s"
        return [
            Landing(flight, error=DeliveryError(f"channel {flight.envelope.channel} {text}"))
            for flight in late
        ]

    def _fly(self, flight: Flight, channel: Channel, memo: str | None) -> None:
        receipt: Receipt | None = None
        error: DeliveryError | None = None
        try:
            receipt = channel.send(flight.envelope.message, memo)
        except DeliveryError as failed:
            error = failed
        except Exception as failed:  # noqa: BLE001 - a channel's defect must not lose the message
            # Its text is not ours, and may hold an address with a secret in it.
            error = DeliveryError(f"channel {channel.name} broke ({type(failed).__name__})")
        self._landed.put(Landing(flight, receipt, error))


def close_channels(channels: Sequence[Channel], deadline: float) -> None:
    """Close channels beside each other; one that hangs is left behind."""
    threads = [
        threading.Thread(target=_close_one, args=(one,), daemon=True, name=f"close {one.name}")
        for one in channels
    ]
    begun = []
    for thread in threads:
        try:
            thread.start()
        except RuntimeError:  # the host has none to give: the process' end closes the rest
            break
        begun.append(thread)
    for thread in begun:
        thread.join(deadline / len(begun))


def _close_one(channel: Channel) -> None:
    try:
        channel.close()
    except Exception as error:  # noqa: BLE001 - it is over with that channel in any case
        _log.warning("channel %s did not close well (%s)", channel.name, type(error).__name__)
