"""Sessions that hold others up, that policies want gone, and a limit that stopped the killing."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from guardian.escalate.conditions.phrases import LISTED, cut, fact, name, plain, times, title
from guardian.escalate.model import Condition, Fact, Severity
from guardian.units import format_duration
from guardian.watch.audit import KillRecord
from guardian.watch.locks import LockGraph, LockNode, LockRoot
from guardian.watch.model import Action, Mode, Outcome, Session
from guardian.watch.model import Observation as Look
from guardian.watch.policy import Hold, Verdict

VICTIMS = "sessions.victims"
BLOCKED = "locks.blocked"
LIMIT = "kill.limit"

DEFAULT_LOCK_WAIT = (timedelta(minutes=1), timedelta(minutes=5))
_QUERY_LIMIT = 200
_TREE_LINES = 12
_TREE_LEVELS = 4


@dataclass(frozen=True, slots=True)
class Round:
    """One round of the watch over a server.

    ``at`` is guardian's own time, for the look has the server's. ``kills`` are what was done in
    this round. ``lock_wait`` are the bounds of the vital of that name, None where it is switched
    off. ``query_text``: whether queries (redacted where they came in) may be told.
    """

    look: Look
    at: datetime
    mode: Mode
    verdicts: Sequence[Verdict] = ()
    kills: Sequence[KillRecord] = ()
    lock_wait: tuple[timedelta | None, timedelta | None] | None = DEFAULT_LOCK_WAIT
    query_text: bool = True

    @property
    def server(self) -> str:
        """Which one."""
        return self.look.server

    def since(self, start: datetime | None) -> datetime | None:
        """An instant of the server's clock by ours."""
        return None if start is None else self.at - max(self.look.at - start, timedelta(0))


def watch_conditions(round_: Round) -> tuple[Condition, ...]:
    """All that one look at a server's sessions shows."""
    by_policy: dict[str, list[Verdict]] = {}
    for one in round_.verdicts:
        by_policy.setdefault(one.policy, []).append(one)
    found = [
        _blocked(round_),
        _limit(round_),
        *(_victims(round_, policy, verdicts) for policy, verdicts in by_policy.items()),
    ]
    return tuple(one for one in found if one is not None)


# --- locks ---


def _blocked(round_: Round) -> Condition | None:
    graph = LockGraph(round_.look)
    warning, critical = round_.lock_wait or (None, None)
    least = warning if warning is not None else critical
    if least is None:
        return None
    roots = [one for one in graph.roots if one.longest_wait_seconds >= least.total_seconds()]
    if not roots:
        return None
    root = max(roots, key=lambda one: one.longest_wait_seconds)
    longest = root.longest_wait_seconds
    severity = Severity.P2
    if critical is not None and longest >= critical.total_seconds():
        severity = Severity.P1
    waiting = sum(one.victims for one in roots)
    server = round_.server
    return Condition(
        key=f"{BLOCKED}:{server}",
        kind=BLOCKED,
        severity=severity,
        title=title(f"Sessions on {name(server)} wait for a lock held by {_holder(root)}"),
        server=server,
        database=None if root.session is None else root.session.database,
        since=round_.since(_first_wait(round_.look)),
        occurrence=_root_identity(root),
        impact=f"{waiting} {'session waits' if waiting == 1 else 'sessions wait'} behind it, the "
        f"longest for {format_duration(round(longest))}: what they serve stands still.",
        evidence=tuple(_root_facts(round_, graph, roots)),
        tried=_deeds(round_, (Action.CANCEL, Action.TERMINATE)),
        checks=(Fact("who holds up whom", "\n".join(lock_tree(graph, round_, roots))),),
        mend=(
            f"guardian locks {server}",
            *((f"guardian kill {root.pid} --server {server}",) if root.session else ()),
            *(
                f"ROLLBACK PREPARED '{plain(one.gid)}', or COMMIT PREPARED, in database "
                f"{plain(one.database)}"
                for one in root.prepared[:2]
            ),
        ),
    )


def _holder(root: LockRoot) -> str:
    if root.deadlock:
        return f"one another, among them pid {root.pid}"
    if root.session is not None:
        return _who(root.session)
    if root.prepared:
        return f"the prepared transaction {name(root.prepared[0].gid, 40)}"
    return f"pid {root.pid}"


def _who(session: Session) -> str:
    of = f"{name(session.user or '?', 30)}@{name(session.database or '?', 30)}"
    return f"{of} (pid {session.pid})"


def _root_identity(root: LockRoot) -> str:
    if root.session is None or root.session.backend_start is None:
        return f"{root.pid} {' '.join(one.gid for one in root.prepared)}".strip()
    return f"{root.pid} {root.session.backend_start.isoformat()}"


def _first_wait(look: Look) -> datetime | None:
    return min((one.wait_started_at for one in look.sessions if one.wait_started_at), default=None)


def _root_facts(round_: Round, graph: LockGraph, roots: Sequence[LockRoot]) -> Iterable[Fact]:
    for root in roots[:LISTED]:
        text = f"holds up {root.victims}, for {format_duration(round(root.longest_wait_seconds))}"
        if root.session is not None:
            text += f"; {_session_text(round_, root.session)}"
        yield fact(_holder(root), text)
    if more := len(graph.roots) - min(len(roots), LISTED):
        yield Fact("more that hold up others", f"{more:,}")


def lock_tree(graph: LockGraph, round_: Round, roots: Sequence[LockRoot]) -> list[str]:
    """The blocking trees as indented lines, not too many of them."""
    lines: list[str] = []

    def draw(node: LockNode, level: int) -> None:
        wait = f", waits {format_duration(round(node.wait_seconds))}" if node.wait_seconds else ""
        if node.session is not None:
            text = f"{_who(node.session)} {plain(node.session.state or '')}{wait}"
        elif node.prepared:
            text = f"prepared transaction {name(node.prepared[0].gid, 40)}"
        else:
            text = f"pid {node.pid}{wait}"
        lines.append("  " * level + text)
        for each in node.blocks if level < _TREE_LEVELS else ():
            draw(each, level + 1)

    for root in roots[:LISTED]:
        draw(graph.draw(root), 0)
    if len(lines) > _TREE_LINES:
        lines[_TREE_LINES - 1 :] = [
            f"… and {len(lines) - _TREE_LINES + 1} more; guardian locks {round_.server}"
        ]
    return lines


# --- policies ---


def _victims(round_: Round, policy: str, verdicts: Sequence[Verdict]) -> Condition | None:
    """Sessions that a policy names, and that are still there.

    Where kills are enforced, those that are about to be ended are nobody's business: only what the
    server refuses, and what is only to be reported.
    """
    enforced = round_.mode is Mode.ENFORCE
    reported = [one for one in verdicts if one.action is Action.REPORT]
    refused = [one for one in verdicts if one.hold is Hold.REFUSED]
    named = [*refused, *reported] if enforced else list(verdicts)
    if not named:
        return None
    server = round_.server
    count = len(named)
    sessions = "session" if count == 1 else "sessions"
    if refused and enforced:
        what = f"Policy {name(policy, 40)!r} cannot end sessions on {name(server)}"
        impact = f"The server does not let our role end {len(refused)} of its victims."
    else:
        what = f"Policy {name(policy, 40)!r} matches sessions on {name(server)}"
        ends = "" if reported else " Mode observe: nobody is ended."
        impact = (
            f"{count} {sessions} {'does' if count == 1 else 'do'} what the policy is for.{ends}"
        )
    return Condition(
        key=f"{VICTIMS}:{server}/{policy}",
        kind=VICTIMS,
        severity=Severity.P2 if enforced or reported else Severity.P3,
        title=title(what),
        server=server,
        since=round_.since(min((x.session.spell for x in named if x.session.spell), default=None)),
        impact=impact,
        evidence=_named(round_, named),
        tried=_deeds(round_, (Action.CANCEL, Action.TERMINATE), policy),
        mend=(
            f"guardian sessions {server}",
            "`guardian doctor` names the GRANT that lets it end them"
            if refused and enforced
            else f"guardian kill PID --server {server}",
        ),
    )


def _named(round_: Round, verdicts: Sequence[Verdict]) -> tuple[Fact, ...]:
    facts = [
        fact(_who(one.session), f"{one.reason}; {_session_text(round_, one.session)}")
        for one in verdicts[:LISTED]
    ]
    if more := len(verdicts) - len(facts):
        facts.append(Fact("more sessions", f"{more:,}"))
    return tuple(facts)


def _limit(round_: Round) -> Condition | None:
    held = [one for one in round_.verdicts if one.hold is Hold.PER_HOUR]
    if not held:
        return None
    server, enforced = round_.server, round_.mode is Mode.ENFORCE
    would = "" if enforced else " would have"
    return Condition(
        key=f"{LIMIT}:{server}",
        kind=LIMIT,
        severity=Severity.P1 if enforced else Severity.P3,
        title=title(f"The hour's limit of kills on {name(server)}{would} stopped guardian"),
        server=server,
        impact=(
            f"{len(held)} more would be due. Sessions that policies want gone stay"
            + (" until the hour is over." if enforced else ", as always in mode observe.")
        ),
        evidence=_named(round_, held),
        tried=_deeds(round_, (Action.CANCEL, Action.TERMINATE)),
        mend=(
            f"guardian audit --server {server} --since 1h",
            "find what makes such sessions without end, or mend the policy",
            "the limit is watch.limits.per_hour",
        ),
    )


def _deeds(round_: Round, actions: Sequence[Action], policy: str | None = None) -> tuple[str, ...]:
    """What this round did, or was refused."""
    words = {Outcome.SIGNALLED: "was ended", Outcome.REFUSED: "could not be ended: refused"}
    done = [
        f"pid {one.pid} {words[one.outcome]} (policy {name(one.policy or 'none', 40)})"
        for one in round_.kills
        if one.outcome in words
        and one.action in actions
        and (policy is None or one.policy == policy)
    ]
    shown = done[:LISTED]
    if more := len(done) - len(shown):
        shown.append(f"{times(more)} more")
    return tuple(shown)


def _session_text(round_: Round, session: Session) -> str:
    """What it does, for how long, and with which query where that may be told."""
    seconds = session.state_seconds(round_.look.at)
    state = plain(session.state or "unknown state")
    words = [state if seconds is None else f"{state} for {format_duration(round(seconds))}"]
    if session.application:
        words.append(f"application {name(session.application, 40)}")
    if session.client:
        words.append(f"from {plain(session.client)}")
    if round_.query_text and session.query:
        words.append(f"query: {cut(plain(session.query), _QUERY_LIMIT)}")
    return ", ".join(words)
