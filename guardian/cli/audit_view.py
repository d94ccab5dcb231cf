"""Audit entries and replays as lines for people, readable from 80 columns on."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from typing import TYPE_CHECKING

from guardian.cli.screen import Cell, Column, hanging, harmless, lay_out
from guardian.watch.model import Action, Outcome

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

    from guardian.watch.audit import KillRecord
    from guardian.watch.replay import Hit, PolicyReplay, Replay

_HITS_SHOWN = 20
_STYLES = {
    Outcome.WOULD: "cyan",
    Outcome.SIGNALLED: "red",
    Outcome.GONE: "dim",
    Outcome.CHANGED: "dim",
    Outcome.REFUSED: "yellow",
}


def kill_lines(console: Console, kills: Sequence[KillRecord]) -> Iterator[Text]:
    """The audit, newest first: who, and beneath it why."""
    from rich.text import Text

    if not kills:
        yield Text("nobody was hit, and nobody would have been", "dim")
        return
    several = len({one.server for one in kills}) > 1
    columns = [
        Column("AT"),
        Column("OUTCOME"),
        Column("ACTION"),
        Column("PID", right=True),
        Column("WHO", elastic=True),
        Column("BY", elastic=True),
    ]
    rows = [
        (
            _at(one.at),
            Cell(one.outcome.value, _STYLES[one.outcome]),
            one.action.value,
            str(one.pid),
            (f"{one.server}: " if several else "") + _who(one.user, one.database, one.application),
            one.policy or "hand",
        )
        for one in kills
    ]
    heading, *lines = lay_out(columns, rows, console.width)
    yield heading
    for one, line in zip(kills, lines, strict=True):
        yield line
        yield from hanging(console, one.reason, console.width, first=" " * 4, style="dim")


def replay_lines(console: Console, server: str, result: Replay) -> Iterator[Text]:
    """What each policy would have done on one server."""
    from rich.text import Text

    lead = Text(harmless(server), "bold").append("  ")
    if result.first is None or result.last is None:
        text = "nothing is recorded; `guardian run` records (servers.*.watch.recording)"
        yield from hanging(console, text, console.width, first=lead, style="not bold")
        return
    looks = "look" if result.looks == 1 else "looks"
    text = f"{result.looks:,} {looks} from {_at(result.first)} to {_at(result.last)}"
    yield from hanging(console, text, console.width, first=lead, style="not bold")
    if not result.policies:
        yield Text("  there are no policies (servers.*.watch.policies)", "dim")
    for one in result.policies:
        yield from _policy(console, one)
    for name, at in result.stops:
        text = f"the hour's limit would have stopped everything on {name} at {_at(at)}"
        yield from hanging(console, text, console.width, first="  ", style="yellow")


def _policy(console: Console, found: PolicyReplay) -> Iterator[Text]:
    from rich.text import Text

    words = [f"would have hit {_sessions(len(found.hits))}"] if found.hits else []
    if found.reports:
        words.append(f"reported {_sessions(len(found.reports))}")
    if found.limited:
        words.append(f"{_sessions(found.limited)} held back by its limits")
    lead = Text("  ").append(harmless(found.policy), "bold").append("  ")
    text = "; ".join(words) or "would have hit nobody"
    yield from hanging(console, text, console.width, first=lead)
    yield from _hits(console, [*found.hits, *found.reports])


def _hits(console: Console, hits: Sequence[Hit]) -> Iterable[Text]:
    from rich.text import Text

    for hit in hits[:_HITS_SHOWN]:
        session, action = hit.verdict.session, hit.verdict.action
        style = "" if action is Action.REPORT else "red"
        line = Text(f"    {_at(hit.at)}  ").append(action.value, style)
        who = _who(session.user, session.database, session.application)
        yield from hanging(
            console, f"pid {session.pid}, {who}", console.width, first=line.append("  ")
        )
        yield from hanging(console, hit.verdict.reason, console.width, first=" " * 6, style="dim")
    if len(hits) > _HITS_SHOWN:
        yield Text(f"    … and {len(hits) - _HITS_SHOWN} more (--json has all)", "dim")


def _who(user: str | None, database: str | None, application: str | None) -> str:
    name = f"{user or '-'}@{database or '-'}"
    return f"{name} ({application})" if application else name


def _sessions(number: int) -> str:
    return f"{number} session" if number == 1 else f"{number:,} sessions"


def _at(at: datetime) -> str:
    return f"{at.astimezone():%Y-%m-%d %H:%M:%S}"
