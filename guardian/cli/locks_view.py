"""Lock trees as lines for people, readable from 80 columns on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from guardian.cli.screen import cut, hanging, harmless
from guardian.cli.sessions_view import age, query_text, state_text, verdict_text, who

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

    from guardian.watch.locks import LockGraph, LockNode, LockRoot
    from guardian.watch.model import Observation, SessionKey
    from guardian.watch.policy import Verdict

_DRAWN_LEVELS = 10
"""So deep do guides grow; what lies deeper has its level written before it."""


def lock_lines(
    console: Console,
    observation: Observation,
    graph: LockGraph,
    verdicts: Mapping[SessionKey, Verdict],
) -> list[Text]:
    """Each root with the tree of those that wait behind it, the worst root first."""
    from rich.text import Text

    server = harmless(observation.server)
    if not graph.roots:
        return [Text(server, "bold").append(f"  {nobody_waits(observation)}", "not bold")]
    lines = []
    for root in graph.roots:
        lines.append(_root_line(server, root))
        node = graph.draw(root)
        lines += _holder(console, node, observation)
        verdict = verdicts.get(root.session.key) if root.session else None
        if verdict is not None:
            lines += hanging(
                console, verdict_text(verdict), console.width, first="    ", style="magenta"
            )
        for place, waiter in enumerate(node.blocks):
            is_last = place == len(node.blocks) - 1
            lines += _waiters(console, waiter, observation, ((), is_last), 1)
    return lines


def nobody_waits(observation: Observation) -> str:
    """What is said without a root: sessions that are hidden from us may wait unseen."""
    if any(not one.visible and one.database for one in observation.sessions):
        return "nobody that our role may see waits for a lock (the others are hidden from it)"
    return "nobody waits for a lock"


def _root_line(server: str, root: LockRoot) -> Text:
    from rich.text import Text

    name = f"pid {root.pid}" if root.pid else "prepared transaction"
    sessions = "session" if root.victims == 1 else "sessions"
    line = Text(server, "bold").append("  root ", "not bold").append(name, "bold red")
    line.append(
        f" holds up {root.victims} {sessions}, the longest for {age(root.longest_wait_seconds)}",
        "not bold",
    )
    return line.append("  DEADLOCK", "bold red") if root.deadlock else line


def _holder(console: Console, node: LockNode, observation: Observation) -> Iterator[Text]:
    for prepared in node.prepared:
        ago = age((observation.at - prepared.prepared_at).total_seconds())
        text = f"{prepared.gid} of {prepared.owner} in {prepared.database}, prepared {ago} ago"
        yield from hanging(console, text, console.width, first="    ")
    if node.session is None:
        if not node.prepared:
            text = "it had ended when we looked" if node.pid else "nobody knows which"
            yield from hanging(console, text, console.width, first="    ", style="dim")
        return
    one = node.session
    state = f"{state_text(one)} for {age(one.state_seconds(observation.at))}"
    yield from hanging(console, f"{who(one)}, {state}", console.width, first="    ")
    if query := query_text(one):
        yield _clipped(console, "    ", query, "" if one.is_running else "dim")


def _waiters(
    console: Console,
    node: LockNode,
    observation: Observation,
    place: tuple[tuple[bool, ...], bool],
    level: int,
) -> Iterator[Text]:
    """A waiter and those behind it. ``place``: which ancestors were last, and whether it is."""
    above, is_last = place
    yield _waiter_line(console, node, _guide(above, is_last=is_last, level=level))
    for index, behind in enumerate(node.blocks):
        last = index == len(node.blocks) - 1
        yield from _waiters(console, behind, observation, ((*above, is_last), last), level + 1)


def _guide(above: Sequence[bool], *, is_last: bool, level: int) -> str:
    if level > _DRAWN_LEVELS:
        return "    " + "  " * (_DRAWN_LEVELS - 1) + f"+{level - _DRAWN_LEVELS} "
    bars = "".join("  " if last else "│ " for last in above)
    return "    " + bars + ("└ " if is_last else "├ ")


def _waiter_line(console: Console, node: LockNode, guide: str) -> Text:
    from rich.text import Text

    line = Text(guide, "dim").append(str(node.pid), "bold not dim")
    if node.repeated:
        return line.append("  as above", "dim")
    line.append(f" waits {age(node.wait_seconds)}", "red not dim")
    if node.session is None:
        return line
    room = max(0, console.width - line.cell_len - 2)
    line.append("  " + cut(harmless(who(node.session)), min(room, 28)), "not dim")
    room = max(0, console.width - line.cell_len - 2)
    if room > 3 and (query := query_text(node.session)):
        line.append("  " + cut(harmless(query), room), "dim")
    return line


def _clipped(console: Console, indent: str, text: str, style: str) -> Text:
    from rich.text import Text

    return Text(indent).append(cut(harmless(text), console.width - len(indent)), style)
