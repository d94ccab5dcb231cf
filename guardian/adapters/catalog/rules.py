"""What every catalog decides alike, whatever it is kept in. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime

from guardian.errors import AlreadyRunningError, CatalogError, NotFoundError, StaleIncidentError
from guardian.escalate.model import Incident, MessageKind
from guardian.model import BackupId, Event, Holder, Lease, StoreOutcome, StoreStatus

IsAlive = Callable[[Holder], bool | None]
"""Whether a holder's process runs; None where that cannot be known."""

NEEDLESS_LATER = frozenset({MessageKind.ESCALATION, MessageKind.REMINDER})
"""Messages that need not be sent any more once nobody is waited for."""


def utc(value: datetime) -> datetime:
    """The instant in UTC.

    Raises:
        ValueError: it is naive, so nobody knows which instant is meant.
    """
    if value.tzinfo is None:
        raise ValueError(f"{value!r} has no timezone; the catalog takes aware datetimes only")
    return value.astimezone(UTC)


def printable(text: str) -> str:
    """The text with escapes for NUL and lone surrogates."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8").replace("\0", "\\x00")


def is_free(lease: Lease, now: datetime, is_alive: IsAlive) -> bool:
    """Whether somebody else may take the lease: it has lapsed, or its holder is surely dead."""
    return lease.expires_at <= now or is_alive(lease.holder) is False


def is_live(lease: Lease, now: datetime, is_alive: IsAlive) -> bool:
    """Whether work under the lease may still go on.

    A process on this host that surely lives counts although its lease has lapsed (it was suspended,
    say, or the clock jumped): it will renew, or hear that another has taken the lease.
    """
    alive = is_alive(lease.holder)
    return alive is True or (alive is None and lease.expires_at > now)


def refusal(lease: Lease) -> AlreadyRunningError:
    """What somebody hears who wants a lease that is held."""
    return AlreadyRunningError(
        f"{lease.name} is already running: {lease.holder}, since {_readable(lease.acquired_at)}",
        mend="wait for it to end, or stop that process"
        f" (if it is gone, the lease lapses at {_readable(lease.expires_at)})",
    )


def loss(lease: Lease, other: Lease | None) -> AlreadyRunningError:
    """What the former holder of a lease hears at its next renewal."""
    if other is None:
        return AlreadyRunningError(f"{lease.name}: the lease has lapsed and was cleared away")
    since = _readable(other.acquired_at)
    return AlreadyRunningError(f"{lease.name}: the lease went to {other.holder}, since {since}")


def died(holder: str) -> str:
    """Why a try is marked interrupted."""
    return f"interrupted: the process that made it died: {holder}"


def unknown(backup: BackupId) -> NotFoundError:
    """The catalog has no such backup."""
    return NotFoundError(
        f"backup {backup} is not in the catalog", mend="`guardian backup list` shows those that are"
    )


def taken(backup: BackupId) -> CatalogError:
    """A try begins with an id that is there already."""
    return CatalogError(f"backup {backup} is in the catalog already; ids are used once")


def in_order_of_writing(incidents: Sequence[Incident]) -> list[Incident]:
    """What is resolved first, since it frees its key; else the same order in every process.

    Two that lock the same rows in different orders would wait for each other.
    """
    return sorted(incidents, key=lambda one: (one.state.is_open, one.id))


def stale(incident: Incident) -> StaleIncidentError:
    """Another process opened or changed the incident meanwhile."""
    return StaleIncidentError(
        f"incident {incident.id} ({incident.key}) was changed by another process meanwhile"
    )


def no_silence(silence: str) -> NotFoundError:
    """No such silence holds or is to come."""
    return NotFoundError(
        f"there is no silence {silence}", mend="`guardian silence list` shows those that hold"
    )


def settled(event: Event) -> Event:
    """The event as it is kept: in UTC, with the server of its database."""
    server = event.ref.server if event.ref else event.server
    return replace(event, at=utc(event.at), server=server, data=dict(event.data))


def checked(outcomes: Sequence[StoreOutcome]) -> Sequence[StoreOutcome]:
    """The outcomes of a backup that succeeded.

    Raises:
        ValueError: it lies in no store, so it did not succeed.
    """
    if not any(outcome.status is StoreStatus.SUCCEEDED for outcome in outcomes):
        raise ValueError("a backup that is committed lies in at least one store")
    return outcomes


def _readable(at: datetime) -> str:
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"
