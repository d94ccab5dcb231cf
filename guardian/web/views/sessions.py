"""Sessions and locks: who is there, who holds up whom, and what the policies say. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from guardian.watch.audit import KillMode, KillRecord
from guardian.watch.locks import LockGraph, LockNode, LockRoot
from guardian.watch.matching import immunity
from guardian.watch.model import CLIENT_BACKEND, Action, Observation, Outcome, Session, SessionKey
from guardian.watch.policy import Verdict
from guardian.web.ports import Look, ServerNow
from guardian.web.views.wording import Level, one_line, short_duration

UNSAID = "\N{EN DASH}"
"""In the place of what is not known, or is nothing."""
MOST = 200
"""So many sessions of a server are listed; those with a verdict, and those that wait, first."""
_STATE_ORDER = (
    "active",
    "fastpath function call",
    "idle in transaction (aborted)",
    "idle in transaction",
    "idle",
)
_STATE_KINDS = {
    "active": "active",
    "fastpath function call": "active",
    "idle in transaction": "open",
    "idle in transaction (aborted)": "open",
    "idle": "idle",
}
_OUTCOME_LEVELS = {
    Outcome.SIGNALLED: Level.OK,
    Outcome.WOULD: Level.BUSY,
    Outcome.GONE: Level.UNKNOWN,
    Outcome.CHANGED: Level.UNKNOWN,
    Outcome.REFUSED: Level.WARNING,
}


@dataclass(frozen=True, slots=True)
class SessionRow:
    """One session. ``verdict`` is what a policy says; ``spared`` why none may touch it."""

    pid: int
    user: str
    database: str
    application: str
    client: str
    state: str
    kind: str
    age: str
    transaction: str
    waits: str
    blocked_by: Sequence[int]
    victims: int
    query: str
    is_running: bool
    verdict: str
    verdict_action: str
    held: str
    spared: str
    is_own: bool


@dataclass(frozen=True, slots=True)
class TreeNode:
    """A holder or waiter in a drawn tree."""

    pid: int
    who: str
    said: str
    query: str
    verdict: str
    is_repeated: bool
    blocks: Sequence[TreeNode]


@dataclass(frozen=True, slots=True)
class Tree:
    """One root of the locks, with all that wait behind it."""

    node: TreeNode
    victims: int
    longest: str
    is_deadlock: bool


@dataclass(frozen=True, slots=True)
class StateShare:
    """How many clients are in one state; ``kind`` becomes a class, ``percent`` of all clients."""

    state: str
    kind: str
    count: int
    start: float
    percent: float


@dataclass(frozen=True, slots=True)
class ServerSessions:
    """One server's part of the page."""

    server: ServerNow
    at: datetime | None
    is_stale: bool
    error: str
    problems: Sequence[str]
    shares: Sequence[StateShare]
    clients: int
    others: int
    trees: Sequence[Tree]
    rows: Sequence[SessionRow]
    left_out: int
    hidden: int


@dataclass(frozen=True, slots=True)
class KillRow:
    """One entry of the audit."""

    at: datetime
    server: str
    pid: int
    who: str
    by: str
    action: str
    level: Level
    said: str
    reason: str
    query: str


def is_client(session: Session) -> bool:
    """Clients, and those hidden ones that may be one."""
    if not session.visible:
        return session.database is not None
    return session.backend_type == CLIENT_BACKEND


def server_sessions(
    server: ServerNow,
    look: Look | None,
    now: datetime,
    stale_after: timedelta,
    *,
    everyone: bool = False,
    with_query: bool = True,
) -> ServerSessions:
    """One server's sessions and locks, as of the last look."""
    if look is None:
        return ServerSessions(server, None, True, server.detail, (), (), 0, 0, (), (), 0, 0)
    seen = look.observation
    graph = LockGraph(seen)
    verdicts = {one.session.key: one for one in look.decisions.verdicts}
    clients = [one for one in seen.sessions if is_client(one)]
    shown = sorted(
        seen.sessions if everyone else clients,
        key=lambda one: _order(one, seen, graph, verdicts),
    )
    return ServerSessions(
        server=server,
        at=look.at,
        is_stale=now - look.at > stale_after,
        error=look.error or "",
        problems=look.problems,
        shares=_shares(clients),
        clients=len(clients),
        others=len(seen.sessions) - len(clients),
        trees=[_tree(seen, graph, root, verdicts, with_query=with_query) for root in graph.roots],
        rows=[
            session_row(one, seen, graph, verdicts.get(one.key), with_query=with_query)
            for one in shown[:MOST]
        ],
        left_out=max(0, len(shown) - MOST),
        hidden=sum(not one.visible for one in clients),
    )


def session_row(
    one: Session,
    seen: Observation,
    graph: LockGraph,
    verdict: Verdict | None,
    *,
    with_query: bool = True,
) -> SessionRow:
    """One session, with what it waits for and what is said of it."""
    at = seen.at
    transaction = one.transaction_seconds(at)
    return SessionRow(
        pid=one.pid,
        user=one_line(one.user) or UNSAID,
        database=one_line(one.database) or UNSAID,
        application=one_line(one.application),
        client=one_line(one.client) or "local",
        state=_state(one),
        kind=_STATE_KINDS.get(one.state or "", "other"),
        age=_age(one.state_seconds(at)),
        transaction="" if transaction is None else _age(transaction),
        waits=_waits(one, seen),
        blocked_by=sorted(set(seen.blockers.get(one.pid, ()))),
        victims=graph.victims(one.pid),
        query=query_text(one, with_query=with_query),
        is_running=one.is_running,
        verdict="" if verdict is None else f"by {one_line(verdict.policy)}: {verdict.reason}",
        verdict_action="" if verdict is None else verdict.action.value,
        held="" if verdict is None or verdict.hold is None else verdict.hold.value,
        spared=immunity(one, superusers=True) or "" if is_client(one) else "",
        is_own=one.is_own,
    )


def query_text(one: Session, *, with_query: bool) -> str:
    """Its query, as far as our role and the configuration let it be seen."""
    if not one.visible:
        return "hidden from our role"
    if not with_query:
        return "not shown (recording.query_text is false)" if one.query else ""
    return one_line(one.query)


def kill_rows(kills: Sequence[KillRecord], *, with_query: bool = True) -> list[KillRow]:
    """The audit, newest first."""
    return [
        KillRow(
            at=one.at,
            server=one.server,
            pid=one.pid,
            who=_who(one.user, one.database, one.application),
            by=_by(one),
            action=one.action.value,
            level=_OUTCOME_LEVELS[one.outcome],
            said=_outcome(one),
            reason=one_line(one.reason),
            query=one_line(one.query) if with_query else "",
        )
        for one in kills
    ]


def may_be_killed(one: Session, action: Action) -> str | None:
    """Why a person may not hit this session; None when they may."""
    if (why := immunity(one, superusers=True)) is not None:
        return why
    if action is Action.CANCEL and not one.is_running:
        return "it runs no query that could be cancelled"
    return None


def _order(
    one: Session,
    seen: Observation,
    graph: LockGraph,
    verdicts: Mapping[SessionKey, Verdict],
) -> tuple[bool, bool, bool, int, float, int]:
    place = _STATE_ORDER.index(one.state) if one.state in _STATE_ORDER else len(_STATE_ORDER)
    age = one.state_seconds(seen.at) or 0.0
    holds_up = one.pid in graph.ranks
    return one.key not in verdicts, not holds_up, one.pid not in seen.blockers, place, -age, one.pid


def _shares(clients: Sequence[Session]) -> list[StateShare]:
    counts = Counter(_state(one) for one in clients)
    kinds = {_state(one): _STATE_KINDS.get(one.state or "", "other") for one in clients}
    places = {state: place for place, state in enumerate(_STATE_ORDER)}
    found = []
    start = 0.0
    for state in sorted(counts, key=lambda one: (places.get(one, 9), one)):
        percent = 100 * counts[state] / len(clients)
        found.append(
            StateShare(state, kinds[state], counts[state], round(start, 2), round(percent, 2))
        )
        start += percent
    return found


def _tree(
    seen: Observation,
    graph: LockGraph,
    root: LockRoot,
    verdicts: Mapping[SessionKey, Verdict],
    *,
    with_query: bool,
) -> Tree:
    return Tree(
        _tree_node(graph.draw(root), seen, verdicts, with_query=with_query),
        root.victims,
        short_duration(root.longest_wait_seconds),
        root.deadlock,
    )


def _tree_node(
    node: LockNode,
    seen: Observation,
    verdicts: Mapping[SessionKey, Verdict],
    *,
    with_query: bool,
) -> TreeNode:
    one = node.session
    verdict = verdicts.get(one.key) if one is not None else None
    return TreeNode(
        pid=node.pid,
        who="" if one is None else _who(one.user, one.database, one.application),
        said="; ".join(_said(node, seen)),
        query="" if one is None else query_text(one, with_query=with_query),
        verdict="" if verdict is None else f"{verdict.action.value}, by {verdict.policy}",
        is_repeated=node.repeated,
        blocks=[_tree_node(each, seen, verdicts, with_query=with_query) for each in node.blocks],
    )


def _said(node: LockNode, seen: Observation) -> Iterator[str]:
    for prepared in node.prepared:
        age = short_duration(seen.at - prepared.prepared_at)
        yield (
            f"prepared transaction {one_line(prepared.gid)} of {one_line(prepared.owner)} in "
            f"{one_line(prepared.database)}, {age} old"
        )
    if node.wait_seconds is not None:
        yield f"waits {short_duration(node.wait_seconds)}"
    if node.session is not None:
        yield f"{_state(node.session)} for {_age(node.session.state_seconds(seen.at))}"
    elif not node.prepared:
        yield "had ended when we looked"


def _waits(one: Session, seen: Observation) -> str:
    if one.pid in seen.blockers:
        waited = one.wait_seconds(seen.at)
        return "for a lock" + ("" if waited is None else f", {_age(waited)}")
    if one.is_running and one.wait_event_type and one.wait_event:
        return f"{one.wait_event_type}: {one.wait_event}"
    return ""


def _state(one: Session) -> str:
    return one_line(one.state) or (one.backend_type or "unknown") if one.visible else "hidden"


def _age(seconds: float | None) -> str:
    return UNSAID if seconds is None else short_duration(seconds)


def _who(user: str | None, database: str | None, application: str | None) -> str:
    name = f"{one_line(user) or UNSAID}@{one_line(database) or UNSAID}"
    return f"{name} ({one_line(application)})" if application else name


def _by(one: KillRecord) -> str:
    if one.mode is KillMode.MANUAL:
        return one_line(str(one.evidence.get("by") or "by hand"))
    return f"policy {one_line(one.policy)}"


def _outcome(one: KillRecord) -> str:
    if one.outcome is Outcome.SIGNALLED:
        confirmed = one.evidence.get("confirmed")
        if confirmed is True:
            return "ended"
        return "did not end" if confirmed is False else "signalled"
    words = {
        Outcome.WOULD: "would have (observe)",
        Outcome.GONE: "had ended already",
        Outcome.CHANGED: "left alone: it had moved on",
        Outcome.REFUSED: "refused by the server",
    }
    return words[one.outcome]


KILLS = (Action.CANCEL, Action.TERMINATE)
"""What a person may do to a session."""


def spell_of(one: Session) -> str:
    """What it does now, so that a form can say what its reader saw."""
    return one.spell.isoformat() if one.spell else ""
