"""One session in full, for the person who is about to end it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from guardian.cli.screen import hanging
from guardian.cli.sessions_view import age, query_text
from guardian.watch.locks import LockGraph

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

    from guardian.watch.model import Observation, Session

_QUERY_CHARACTERS = 1_000
_NAMES = 12


def card_lines(console: Console, seen: Observation, session: Session) -> Iterator[Text]:
    """Who it is, what it does, and what its end would set free. What is hidden from us says so."""
    from rich.text import Text

    for name, value in _facts(seen, session).items():
        lead = Text(f"{name:<{_NAMES}}", "bold").append("  ")
        yield from hanging(console, value, console.width, first=lead, style="not bold")


def _facts(seen: Observation, session: Session) -> dict[str, str]:
    at = seen.at
    facts = {
        "session": f"pid {session.pid} on server {seen.server}",
        "user": session.user or "-",
        "database": session.database or "-",
        "application": session.application or "-",
    }
    if not session.visible:
        return facts | {"state": "hidden from our role"}
    facts |= {
        "client": session.client or ("Unix socket" if session.user else "-"),
        "connected": f"{age(_since(seen, session))} ago",
        "state": f"{session.state or '-'} for {age(session.state_seconds(at))}",
    }
    if session.xact_start is not None:
        facts["transaction"] = f"open for {age(session.transaction_seconds(at))}"
    if blockers := seen.blockers.get(session.pid):
        facts["held up by"] = ", ".join(map(str, sorted(set(blockers))))
    graph = LockGraph(seen)
    if victims := graph.victims(session.pid):
        waited = age(graph.longest_wait(session.pid))
        facts["holds up"] = f"{victims} sessions, the longest for {waited}"
    name = "query" if session.is_running else "last query"
    facts[name] = query_text(session)[:_QUERY_CHARACTERS] or "-"
    return facts


def _since(seen: Observation, session: Session) -> float | None:
    start = session.backend_start
    return None if start is None else max(0.0, (seen.at - start).total_seconds())
