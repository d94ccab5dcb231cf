"""What escalation needs of the world: a place to remember, and ways to reach people.

Each method states its contract, as in :mod:`guardian.ports`.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Protocol

from guardian.escalate.model import (
    Change,
    ChannelHealth,
    Entry,
    Envelope,
    Incident,
    IncidentId,
    JobTiming,
    Message,
    Occasion,
    Receipt,
    Settlement,
    Silence,
    Standing,
    Watcher,
)
from guardian.model import Event


class Channel(Protocol):
    """One destination: a Slack channel, a pager, a mailbox. May be called from several threads."""

    @property
    def name(self) -> str:
        """Its name in the config."""

    @property
    def groups(self) -> bool:
        """Whether a storm's single messages may be put together into one for it."""

    def send(self, message: Message, memo: str | None = None) -> Receipt:
        """Deliver, within its own timeout (at most 20 s in all), or raise.

        ``memo`` is that of the last receipt for the same incident. When it returns, the other side
        has accepted the message. Sending one again that had arrived does no harm beyond a second
        copy. Raises DeliveryError: ``permanent`` when trying again cannot help (400, an unknown
        recipient), else ``retry_after`` seconds where the other side said so.
        """

    def close(self) -> None:
        """Let go of connections, send what a library has queued."""


class Heartbeat(Protocol):
    """A dead man's switch: somebody outside who notices when we have gone silent.

    Called only while guardian's own jobs are alive. All methods raise DeliveryError.
    """

    @property
    def name(self) -> str:
        """Its kind and place in the config: ``heartbeat 1 (ping)``."""

    @property
    def every(self) -> timedelta:
        """How often it wants to hear from us."""

    def start(self, text: str = "") -> None:
        """We begin: the first beat follows. Says nothing where the other side knows no such word.

        ``text`` is one line for people, here as below; it may be left out or cut.
        """

    def beat(self, *, ok: bool, text: str = "") -> None:
        """We are alive; ``ok``: and well. Within its own timeout (at most 20 s in all).

        Where the other side has no word for a failure, silence is one: nothing is sent.
        """

    def close(self) -> None:
        """Let go of connections."""


class JobMonitor(Protocol):
    """Somebody outside who notices when a scheduled job does not run, fails, or never ends.

    Both methods raise DeliveryError, within at most 20 s.
    """

    def begin(self, job: str, timing: JobTiming) -> str:
        """A job begins; returns what ``end`` needs. ``job`` is a name such as ``backup main``."""

    def end(self, job: str, begun: str, *, ok: bool, seconds: float) -> None:
        """It has ended, well or not, after so long."""

    def close(self) -> None:
        """Let go of connections."""


class Courier(Protocol):
    """Takes urgent messages while the catalog cannot be written: the dispatcher."""

    def send_unrecorded(self, envelopes: Sequence[Envelope]) -> None:
        """Deliver these although they are in no outbox yet (their ``id`` is 0).

        They are tried, repeated and handed over like any others, and written down when the catalog
        is back. Returns at once, and never raises.
        """


class EscalationCatalog(Protocol):
    """What escalation keeps in the catalog. All methods raise CatalogError."""

    def open_incidents(self) -> Sequence[Incident]:
        """All that are not resolved, the oldest first."""

    def incidents(
        self,
        *,
        only_open: bool = False,
        since: datetime | None = None,
        limit: int | None = None,
    ) -> Sequence[Incident]:
        """Newest opening first; ``since``: only those changed at or after it."""

    def find_incidents(self, id_prefix: str) -> Sequence[Incident]:
        """Those whose id starts so."""

    def latest_incident(self, key: str) -> Incident | None:
        """The newest one of that key, open or resolved: what a reopening continues."""

    def timeline(self, incident: IncidentId) -> Sequence[Entry]:
        """Its entries, oldest first, in the order in which they were written."""

    def apply(self, change: Change) -> None:
        """Write all of it, or nothing.

        An incident with version 0 is new; else the stored one must have exactly that version, and
        is stored with the next. Raises StaleIncidentError (a CatalogError, transient) when another
        process was faster, also when a second open incident of one key would come to be: read
        again, decide again. Waiting reminders and escalations of ``superseded`` go before the new
        envelopes come.
        """

    def last_told(self, occasion: str) -> datetime | None:
        """When it was told last, or from when on it counts; None when :meth:`tell` never wrote."""

    def tell(self, occasion: Occasion) -> bool:
        """Write its time, its envelopes and the event that tells of it: all of it, or nothing.

        False, and nothing is written, when it was told last at another time than ``last``: another
        process was faster. So none of them is told twice, however many processes see it due.
        """

    def watchers(self) -> Sequence[Watcher]:
        """All that ever said what they observe, in order of name."""

    def save_watcher(self, watcher: Watcher) -> None:
        """In the place of what was there."""

    def waiting(self, now: datetime, limit: int = 500) -> Sequence[Envelope]:
        """Envelopes that wait and are due (:meth:`Envelope.is_due`), worst first, then oldest.

        Of one dedup key and channel only the first that waits (by the message's number, then by
        the row's), and none while that one is not due: so the messages of one incident arrive in
        order. At most ``limit`` of each channel, so that a channel that stands still crowds out no
        other.
        """

    def outstanding(self) -> int:
        """How many envelopes wait, due or not."""

    def undelivered(self, limit: int = 100) -> Sequence[Envelope]:
        """Those that no channel took, newest first."""

    def envelopes(self, incident: IncidentId) -> Sequence[Envelope]:
        """All of one incident, oldest first."""

    def settle(self, settlement: Settlement) -> Sequence[Envelope]:
        """Write all of it, or nothing; returns the new rows with their ids.

        An envelope takes the place of its row. A row that waits no more (superseded, or told by
        another process meanwhile) stays as it is, unless it was delivered now: that is a fact. One
        with id 0 was sent past the outbox, and is written as a new row, as ``follow_ups`` are.
        """

    def finished_storms(self) -> Sequence[Envelope]:
        """Storms' messages that were delivered, whose incidents have all been resolved since.

        Each until a resolved message of its dedup key is put into the outbox.
        """

    def memo(self, dedup_key: str, channel: str) -> str | None:
        """What the channel wanted to know again with the next message of that dedup key."""

    def channel_health(self) -> Sequence[ChannelHealth]:
        """Of every channel that was ever used."""

    def save_channel_health(self, health: ChannelHealth) -> None:
        """In the place of what was there."""

    def add_silence(self, silence: Silence) -> None:
        """Keep it. Raises CatalogError when its id is taken."""

    def silences(self, now: datetime | None = None) -> Sequence[Silence]:
        """All, or those that hold now or later; the earliest end first."""

    def end_silence(self, silence: str, at: datetime) -> None:
        """End it now. Raises NotFoundError when there is none such, or it has ended."""

    def prune_incidents(self, older_than: timedelta, now: datetime) -> int:
        """Drop resolved incidents of that age with all that belongs to them; returns how many.

        Goes with them: messages of no incident that are through, and silences that have ended. An
        incident of which a message still waits stays.
        """

    def record_event(self, event: Event) -> None:
        """Append to the log of what happened."""

    def events(self, limit: int = 100, kind: str | None = None) -> Sequence[Event]:
        """The log, newest first."""


__all__ = ["Channel", "Courier", "EscalationCatalog", "Heartbeat", "JobMonitor", "Standing"]
