"""Does a session match? Each key answers in words, which together are the reason for a verdict."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from fnmatch import translate
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, ip_interface, ip_network

from guardian.units import format_duration
from guardian.watch.expressions import expression
from guardian.watch.locks import LockGraph
from guardian.watch.model import CLIENT_BACKEND, Session
from guardian.watch.rules import Match
from guardian.watch.sparing import asks_to_be_spared


@dataclass(frozen=True, slots=True)
class View:
    """A session, and what the look at its server says of it beyond its own row.

    ``last_waiting`` is when it was last seen waiting for a lock itself. Someone who has just been
    given a lock holds up those behind it only since then, however long they have waited before.
    """

    session: Session
    at: datetime
    graph: LockGraph
    backups: frozenset[int]
    last_waiting: datetime | None = None

    @property
    def victims(self) -> int:
        """How many sessions it holds up, through the chain."""
        return self.graph.victims(self.session.pid)

    @property
    def blocking_seconds(self) -> float:
        """For how long it has held up the one that waits longest."""
        waited = self.graph.longest_wait(self.session.pid)
        if self.last_waiting is None:
            return waited
        return min(waited, max(0.0, (self.at - self.last_waiting).total_seconds()))

    @property
    def holds_up_backup(self) -> bool:
        """Whether a backup of ours waits behind it."""
        return self.graph.holds_up_any(self.session.pid, self.backups)


def immunity(session: Session, *, superusers: bool = False) -> str | None:
    """Why this session is never a victim, whatever the configuration says, None when it may be.

    ``superusers``: superusers may be victims too. It lifts nothing else.
    """
    if session.is_own:
        return "it is guardian's own"
    if not session.visible or session.backend_start is None:
        return "our role may not see what it does; grant it pg_monitor"
    if session.is_replication:
        return "it is replication"
    if session.leader_pid is not None:
        return f"it is a worker of pid {session.leader_pid}"
    if session.backend_type != CLIENT_BACKEND:
        return f"it is no client but {session.backend_type or 'of an unknown kind'}"
    if session.is_superuser and not superusers:
        return f"{_quoted(session.user)} is a superuser"
    if session.query is not None and asks_to_be_spared(session.query):
        return "its query carries the comment /* guardian:spare */"
    return None


def explain(match: Match, view: View) -> str | None:
    """Why *all* of the match's keys hold, in words, None when one does not.

    The application is told in any case: it is the first thing that a person asks for.
    """
    if match.wants_root and view.session.pid not in view.graph.ranks:
        return None
    words: list[str] = []
    for key in match.keys:
        answer = _KEYS[key](match, view)
        if answer is None:
            return None
        words.append(answer)
    if "for_" in match.keys and match.state:
        del words[match.keys.index("state")]  # `for` names the state already
    if view.session.application and not match.applications:
        words.append(f"application {_quoted(view.session.application)}")
    return "; ".join(words)


def spares(match: Match, view: View) -> bool:
    """Whether *any* of an exception's keys holds."""
    return any(_KEYS[key](match, view) is not None for key in match.keys)


# --- the keys: words when it holds, None when not ---


def _state(match: Match, view: View) -> str | None:
    return view.session.state if view.session.state in match.state else None


def _for(match: Match, view: View) -> str | None:
    state = view.session.state
    return _longer(state, view.session.state_seconds(view.at), match.for_) if state else None


def _transaction_for(match: Match, view: View) -> str | None:
    age = view.session.transaction_seconds(view.at)
    return _longer("transaction open", age, match.transaction_for)


def _users(match: Match, view: View) -> str | None:
    return _named("user", view.session.user, match.users)


def _databases(match: Match, view: View) -> str | None:
    return _named("database", view.session.database, match.databases)


def _applications(match: Match, view: View) -> str | None:
    return _named("application", view.session.application, match.applications)


def _wait_event_types(match: Match, view: View) -> str | None:
    return _named("wait event type", view.session.wait_event_type, match.wait_event_types)


def _clients(match: Match, view: View) -> str | None:
    client = view.session.client
    return f"client {client}" if client and _is_within(client, match.clients) else None


def _query(match: Match, view: View) -> str | None:
    query = view.session.query
    if query is None or match.query is None:
        return None
    found = expression(match.query).is_in(query)
    return f"query matches {_quoted(match.query)}" if found else None


def _blocking(match: Match, view: View) -> str | None:
    if match.blocking is None or view.victims < match.blocking:
        return None
    sessions = "session" if view.victims == 1 else "sessions"
    return f"holds up {view.victims} {sessions}, at least {match.blocking}"


def _blocking_for(match: Match, view: View) -> str | None:
    return _longer("holding up others", view.blocking_seconds, match.blocking_for)


def _waiting_for(match: Match, view: View) -> str | None:
    waited = view.session.wait_seconds(view.at)
    return _longer("waiting for a lock", waited, match.waiting_for)


def _blocking_backup(match: Match, view: View) -> str | None:
    if view.holds_up_backup is not match.blocking_backup:
        return None
    return "holds up a backup" if match.blocking_backup else "holds up no backup"


_KEYS: Mapping[str, Callable[[Match, View], str | None]] = {
    "state": _state,
    "for_": _for,
    "transaction_for": _transaction_for,
    "users": _users,
    "databases": _databases,
    "applications": _applications,
    "clients": _clients,
    "query": _query,
    "wait_event_types": _wait_event_types,
    "blocking": _blocking,
    "blocking_for": _blocking_for,
    "waiting_for": _waiting_for,
    "blocking_backup": _blocking_backup,
}


def _longer(what: str, seconds: float | None, bound: timedelta | None) -> str | None:
    """Words for a duration that exceeds its bound; exactly at the bound is not longer."""
    if seconds is None or bound is None or seconds <= bound.total_seconds():
        return None
    found, limit = format_duration(seconds), format_duration(bound)
    if found == limit:
        return f"{what} for just over {limit}"
    return f"{what} for {found}, longer than {limit}"


def _named(what: str, value: str | None, globs: Iterable[str]) -> str | None:
    if value is None or not any(_glob(one).match(value) for one in globs):
        return None
    return f"{what} {_quoted(value)}"


def _quoted(text: str | None) -> str:
    """In quotes, control characters escaped: names come from clients, reasons go to terminals."""
    return repr(text or "")


@lru_cache(maxsize=1024)
def _glob(pattern: str) -> re.Pattern[str]:
    return re.compile(translate(pattern))


@lru_cache(maxsize=4096)
def _is_within(client: str, networks: tuple[str, ...]) -> bool:
    try:
        address = ip_interface(client).ip
    except ValueError:
        return False
    forms: list[IPv4Address | IPv6Address] = [address]
    if isinstance(address, IPv6Address) and address.ipv4_mapped:
        forms.append(address.ipv4_mapped)  # a dual-stack listener shows IPv4 clients so
    parsed = [ip_network(one, strict=False) for one in networks]
    return any(form in network for form in forms for network in parsed)
