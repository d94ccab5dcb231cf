"""Sessions as lines for people, readable from 80 columns on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from guardian.cli.screen import Cell, Column, hanging, harmless, lay_out
from guardian.units import format_duration
from guardian.watch.model import CLIENT_BACKEND

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

    from guardian.watch.model import Observation, Session, SessionKey
    from guardian.watch.policy import Spared, Verdict

_SHORT_STATES = {
    "idle in transaction": "idle in tx",
    "idle in transaction (aborted)": "aborted tx",
    "fastpath function call": "fastpath",
}
_STATE_STYLES = {
    "active": "green",
    "idle in transaction": "yellow",
    "idle in transaction (aborted)": "yellow",
}
_STATE_ORDER = (
    "active",
    "fastpath function call",
    "idle in transaction (aborted)",
    "idle in transaction",
    "idle",
)
_COLUMNS = (
    Column("PID", right=True),
    Column("STATE"),
    Column("FOR", right=True),
    Column("WHO", most=28, elastic=True),
    Column("QUERY", elastic=True),
)


# --- sessions ---


def session_lines(
    console: Console,
    observation: Observation,
    verdicts: Mapping[SessionKey, Verdict],
    spared: Mapping[SessionKey, Spared],
    *,
    everyone: bool = False,
) -> list[Text]:
    """All clients (``everyone``: the server's own processes too), those with a verdict first.

    Beneath each stands what it waits for, and what the policies say of it, or why they do not.
    """
    shown = [one for one in observation.sessions if everyone or _is_client(one)]
    shown.sort(key=lambda one: _order(one, observation, verdicts))
    lines = _headline(console, observation, shown)
    if not shown:
        return lines
    table = lay_out(_COLUMNS, [_row(one, observation) for one in shown], console.width)
    lines.append(table[0])
    for one, line in zip(shown, table[1:], strict=True):
        lines.append(line)
        said = verdicts.get(one.key) or spared.get(one.key)
        lines += _remarks(console, one, observation, said)
    return lines


def _headline(console: Console, observation: Observation, shown: Sequence[Session]) -> list[Text]:
    from rich.text import Text

    clients = [one for one in shown if _is_client(one)]
    counts = Counter(state_text(one) for one in clients)
    states = ", ".join(f"{count} {state}" for state, count in counts.most_common())
    text = f"{len(clients)} {'session' if len(clients) == 1 else 'sessions'}"
    text += f": {states}" if states else ""
    if rest := len(observation.sessions) - len(clients):
        text += f"; {rest} of the server's own" + (" (--all)" if len(shown) == len(clients) else "")
    lead = Text(harmless(observation.server), "bold").append("  ")
    return hanging(console, text, console.width, first=lead, style="not bold")


def _is_client(session: Session) -> bool:
    return session.backend_type in {CLIENT_BACKEND, None} and (
        session.visible or session.database is not None
    )


def _order(
    one: Session, observation: Observation, verdicts: Mapping[SessionKey, Verdict]
) -> tuple[bool, int, float, int]:
    place = _STATE_ORDER.index(one.state) if one.state in _STATE_ORDER else len(_STATE_ORDER)
    age = one.state_seconds(observation.at) or 0.0
    return one.key not in verdicts, place, -age, one.pid


def _row(one: Session, observation: Observation) -> list[Cell | str]:
    dim = "dim" if one.is_own else ""
    return [
        Cell(str(one.pid), dim),
        Cell(state_text(one), dim or _STATE_STYLES.get(one.state or "", "")),
        Cell(age(one.state_seconds(observation.at)), dim),
        Cell(who(one), dim),
        # Whoever runs no query shows the last one that it ran.
        Cell(query_text(one), "" if one.is_running and not dim else "dim"),
    ]


def state_text(one: Session) -> str:
    """Its state in few letters."""
    if not one.visible:
        return "hidden"
    return _SHORT_STATES.get(one.state or "", one.state or "-")


def who(one: Session) -> str:
    """User, database and application: ``web@mina (api)``; a process of the server's by its kind."""
    if one.user is None and one.database is None:
        return one.backend_type or "-"
    name = f"{one.user or '-'}@{one.database or '-'}"
    return f"{name} ({one.application})" if one.application else name


def query_text(one: Session) -> str:
    """Its query, as far as our role may see it."""
    return (one.query or "") if one.visible else ""


def age(seconds: float | None) -> str:
    """A duration in whole units, ``-`` when it is not known."""
    return "-" if seconds is None else format_duration(int(seconds))


def _remarks(
    console: Console, one: Session, observation: Observation, said: Verdict | Spared | None
) -> Iterator[Text]:
    from guardian.watch.policy import Spared

    if blockers := observation.blockers.get(one.pid):
        by = ", ".join(str(pid) if pid else "a prepared transaction" for pid in sorted({*blockers}))
        waited = age(one.wait_seconds(observation.at))
        text = f"waits for a lock, {waited}, held up by {by}"
        yield from hanging(console, text, console.width, first="         ", style="red")
    if isinstance(said, Spared):
        text = f"{said.policy!r} would match, but {said.why}"
        yield from hanging(console, text, console.width, first="         ", style="dim")
    elif said is not None:
        yield from hanging(
            console, verdict_text(said), console.width, first="         ", style="magenta"
        )


def verdict_text(verdict: Verdict) -> str:
    """What a policy says: ``terminate, by 'idle connections': idle for 12m …``."""
    text = f"{verdict.action.value}, by {verdict.policy!r}: {verdict.reason}"
    return text if verdict.hold is None else f"{text} (not now: {verdict.hold.value})"
