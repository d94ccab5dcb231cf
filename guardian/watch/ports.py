"""What the watch needs of the world: eyes and hands on a server, and a place to remember.

Each method states its contract, as in :mod:`guardian.ports`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

from guardian.model import Event
from guardian.watch.audit import KillRecord
from guardian.watch.memory import Memory
from guardian.watch.model import Action, Observation, Outcome, Session


@dataclass(frozen=True, slots=True)
class SignalResult:
    """What came of one signal.

    ``confirmed``: the session's end, or for a cancel its query's, was seen. None where nothing
    was sent. ``detail``: one line where there is something to say (refused by whom, still there).
    """

    outcome: Outcome
    confirmed: bool | None = None
    detail: str | None = None


@dataclass(frozen=True, slots=True)
class WatchFacts:
    """Who we are on the server, and what that lets us see and do.

    ``role`` as SQL writes it. ``pooled``: something like PgBouncer stands between.
    ``shortcomings`` are sentences that say what does not work, each with its mend (a GRANT).
    """

    server_version_num: int
    role: str
    is_superuser: bool
    may_see_all: bool
    may_signal: bool
    may_use_reserved_slots: bool
    pooled: bool
    shortcomings: tuple[str, ...] = ()


class Watcher(Protocol):
    """One server, as the thing to watch. One call at a time; a second one meanwhile is refused."""

    @property
    def server(self) -> str:
        """Its name in the config."""

    def observe(self) -> Observation:
        """Look once. Takes its timeout at most, also when the server hangs.

        Reconnects by itself, also to another address of the DSN. Raises ConnectionFailedError,
        PermissionDeniedError, TimedOutError; AlreadyRunningError when another look is under way.
        """

    def signal(
        self, session: Session, action: Action, *, whatever_it_does: bool = False
    ) -> SignalResult:
        """Cancel its query, or terminate it, if it still does what was observed; see the end.

        With ``whatever_it_does`` it need only be the same session. Never one of our own two
        connections, nor anything but a client backend. Raises as :meth:`observe`; then whether a
        signal was sent is not known.
        """

    @property
    def facts(self) -> WatchFacts | None:
        """As found when it last connected; None before that."""

    def close(self) -> None:
        """Hang up. A later call connects again."""


class WatchCatalog(Protocol):
    """What the watch keeps in the catalog. All methods raise CatalogError."""

    def record_event(self, event: Event) -> None:
        """Append to the log of what happened."""

    def record_kill(self, kill: KillRecord) -> int:
        """Append to the audit; returns the entry's number."""

    def settle_kill(self, number: int, kill: KillRecord) -> None:
        """Put what came of it in the place of an entry. Raises NotFoundError."""

    def kills(
        self, server: str | None = None, since: datetime | None = None, limit: int | None = None
    ) -> Sequence[KillRecord]:
        """The audit, newest first."""

    def save_memory(self, server: str, memory: Memory, at: datetime) -> None:
        """Keep what the next look must know, in the place of what was kept."""

    def load_memory(self, server: str) -> Memory | None:
        """What was kept last, None when nothing was, or what was is damaged."""

    def record_segment(self, server: str, first: datetime, last: datetime, data: bytes) -> None:
        """Keep a piece of the recording, in the place of one that begins at the same instant."""

    def segments(
        self, server: str, since: datetime | None = None, until: datetime | None = None
    ) -> Iterator[bytes]:
        """The pieces that reach into this time, the oldest first; not all in memory at once."""

    def prune_recording(self, server: str, older_than: datetime, max_bytes: int) -> int:
        """Drop pieces that ended before that, and the oldest beyond so many bytes. How many."""

    def prune_kills(self, older_than: timedelta, now: datetime) -> int:
        """Drop audit entries of that age; returns how many."""
