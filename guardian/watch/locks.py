"""Who holds up whom: the blocking graph of one observation, its roots, and trees to look at.

Edges are what ``pg_blocking_pids`` says, and nothing else: joins on ``pg_locks`` by hand name
innocent holders. A *root* holds somebody up and is itself held up by nobody. It is a session, or a
prepared transaction, or a pid that ended before we could see it. A deadlock has no such member, so
one stands for it: the one with the lowest pid, marked. *Victims* of a holder are all sessions that
wait behind it, through the chain, each counted once.

Parallel workers count as their leader, whose locks they share.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from guardian.watch.model import Observation, PreparedTransaction, Session

DEEPEST = 40
"""Levels of a drawn tree. What lies deeper is drawn on the last level: nothing is left out."""


@dataclass(frozen=True, slots=True)
class LockRoot:
    """The start of a chain of waiting sessions.

    ``pid`` is 0 for a prepared transaction; then ``prepared`` names it, or, where the server does
    not say which one it is, all that it may be. ``session`` is None for those, and for a pid that
    was no longer there when we looked. ``longest_wait_seconds`` is 0 where no wait's start is
    known. ``deadlock``: it waits itself, in a circle. ``node`` is its place in the graph.
    """

    pid: int
    session: Session | None
    prepared: tuple[PreparedTransaction, ...]
    victims: int
    longest_wait_seconds: float
    deadlock: bool
    node: int

    @property
    def score(self) -> float:
        """Victims x wait: what killing it would set free."""
        return self.victims * self.longest_wait_seconds


@dataclass(frozen=True, slots=True)
class LockNode:
    """A holder in a drawn tree, and those that wait for it, the longest wait first.

    A waiter is drawn as near to its root as it can be, beneath each blocker of that level; what
    waits for itself is drawn beneath the first of these only, the others are ``repeated``.
    (A queue for one lock is a flat list so: everyone in it waits for the holder.)
    """

    pid: int
    session: Session | None
    prepared: tuple[PreparedTransaction, ...]
    wait_seconds: float | None
    blocks: tuple[LockNode, ...] = ()
    repeated: bool = False


class LockGraph:
    """The blocking graph of one observation. Building it takes time in the number of edges."""

    def __init__(self, observation: Observation) -> None:
        self._sessions = {one.pid: one for one in observation.sessions}
        self._prepared: dict[int, tuple[PreparedTransaction, ...]] = {}
        self._waits: dict[int, float | None] = {}
        self._read_waits(observation)
        self._blocked_by = self._read_edges(observation)
        self._blocks = _reversed(self._blocked_by)
        self._groups = _strong_groups(self._blocks)
        self._group_of = {
            node: number for number, group in enumerate(self._groups) for node in group
        }
        self._masks: list[int] = []
        self._longest: list[float] = []
        self._sum_up()

    @cached_property
    def roots(self) -> tuple[LockRoot, ...]:
        """All roots, the one that holds up the most for the longest first."""
        roots = [self._root(min(group), group) for group in self._groups if self._is_source(group)]
        return tuple(sorted(roots, key=lambda one: (-one.score, -one.victims, one.pid, one.node)))

    @cached_property
    def ranks(self) -> Mapping[int, int]:
        """The pids of those roots that are sessions, each with its place among the roots."""
        return {one.pid: place for place, one in enumerate(self.roots) if one.pid}

    def is_waiting(self, pid: int) -> bool:
        """Whether the session is held up by anybody."""
        return bool(self._blocked_by.get(pid))

    def victims(self, pid: int) -> int:
        """How many sessions are held up by this one, through the chain."""
        return self._behind(pid).bit_count()

    def longest_wait(self, pid: int) -> float:
        """Seconds of the longest wait behind this session, 0 when there is none."""
        group = self._group_of.get(pid)
        members = [] if group is None else self._groups[group]
        others = [self._waits.get(node) or 0.0 for node in members if node != pid]
        return max([*others, *map(self._longest_behind, members)], default=0.0)

    def holds_up_any(self, pid: int, pids: Iterable[int]) -> bool:
        """Whether one of ``pids`` waits behind this session."""
        behind = self._behind(pid)
        return any(behind & self._bits[other] for other in pids if other in self._bits)

    def draw(self, root: LockRoot) -> LockNode:
        """The tree beneath a root of this graph."""
        below: dict[int, list[tuple[int, bool]]] = {root.node: []}
        level = {root.node: 0}
        parent: dict[int, int] = {}
        queue = deque([root.node])
        while queue:
            node = queue.popleft()
            # Beneath the last level nothing is drawn: its waiters stand beside it.
            above = node if level[node] < DEEPEST else parent[node]
            for waiter in self._in_order(self._blocks.get(node, ())):
                if waiter not in level:
                    level[waiter] = level[node] + 1 if above == node else level[node]
                    parent[waiter] = above
                    below[waiter] = []
                    below[above].append((waiter, False))
                    queue.append(waiter)
                elif level[waiter] == level[node] + 1 and parent[waiter] != above:
                    below[above].append((waiter, True))
        return self._built(below, level, root.node)

    # --- reading ---

    def _folded(self, pid: int) -> int:
        session = self._sessions.get(pid)
        return pid if session is None or session.leader_pid is None else session.leader_pid

    def _read_waits(self, observation: Observation) -> None:
        for pid in observation.blockers:
            session = self._sessions.get(pid)
            known = [self._waits.get(self._folded(pid))]
            if session is not None:
                known.append(session.wait_seconds(observation.at))
            self._waits[self._folded(pid)] = max(
                (one for one in known if one is not None), default=None
            )

    def _read_edges(self, observation: Observation) -> dict[int, set[int]]:
        edges: dict[int, set[int]] = {}
        for pid, blockers in observation.blockers.items():
            waiter = self._folded(pid)
            nodes = {
                self._folded(one) if one else self._prepared_node(pid, observation)
                for one in set(blockers)
            }
            nodes.discard(waiter)
            if nodes:
                edges.setdefault(waiter, set()).update(nodes)
        return edges

    def _prepared_node(self, waiter: int, observation: Observation) -> int:
        """A negative number for what the server calls 0: those that it may be."""
        session = self._sessions.get(waiter)
        near = [one for one in observation.prepared if session and one.database == session.database]
        suspects = tuple(sorted(near or observation.prepared, key=lambda one: one.gid))
        for node, known in self._prepared.items():
            if known == suspects:
                return node
        node = -len(self._prepared) - 1
        self._prepared[node] = suspects
        return node

    # --- summing up ---

    def _sum_up(self) -> None:
        """What lies behind each group, from the last waiters up: the groups' order."""
        nodes = sorted(self._group_of)
        self._bits = {node: 1 << place for place, node in enumerate(nodes)}
        for group in self._groups:
            mask, longest = 0, 0.0
            number = self._group_of[group[0]]
            for node in group:
                mask |= self._bits[node]
                longest = max(longest, self._waits.get(node) or 0.0)
                for waiter in self._blocks.get(node, ()):
                    other = self._group_of[waiter]
                    if other != number:
                        mask |= self._masks[other]
                        longest = max(longest, self._longest[other])
            self._masks.append(mask)
            self._longest.append(longest)

    def _behind(self, node: int) -> int:
        """The bits of all that wait behind a node, without itself."""
        group = self._group_of.get(node)
        return 0 if group is None else self._masks[group] & ~self._bits[node]

    def _longest_behind(self, node: int) -> float:
        """The longest wait behind a node, outside of its own group."""
        own = self._group_of[node]
        groups = {self._group_of[waiter] for waiter in self._blocks.get(node, ())} - {own}
        return max((self._longest[group] for group in groups), default=0.0)

    def _is_source(self, group: Sequence[int]) -> bool:
        members = set(group)
        return all(self._blocked_by.get(node, set()) <= members for node in group)

    def _root(self, node: int, group: Sequence[int]) -> LockRoot:
        return LockRoot(
            pid=max(node, 0),
            session=self._sessions.get(node),
            prepared=self._prepared.get(node, ()),
            victims=self.victims(node),
            longest_wait_seconds=self.longest_wait(node),
            deadlock=len(group) > 1,
            node=node,
        )

    # --- drawing ---

    def _in_order(self, nodes: Iterable[int]) -> list[int]:
        return sorted(nodes, key=lambda node: (-(self._waits.get(node) or 0.0), node))

    def _built(
        self, below: Mapping[int, Sequence[tuple[int, bool]]], level: Mapping[int, int], root: int
    ) -> LockNode:
        """Nodes are frozen, so the deepest come first."""
        built: dict[int, LockNode] = {}
        for node in sorted(below, key=lambda one: -level[one]):
            blocks = tuple(
                self._leaf(waiter) if repeated else built[waiter]
                for waiter, repeated in below[node]
            )
            built[node] = self._node(node, blocks, repeated=False)
        return built[root]

    def _leaf(self, node: int) -> LockNode:
        return self._node(node, (), repeated=True)

    def _node(self, node: int, blocks: tuple[LockNode, ...], *, repeated: bool) -> LockNode:
        return LockNode(
            pid=max(node, 0),
            session=self._sessions.get(node),
            prepared=self._prepared.get(node, ()),
            wait_seconds=self._waits.get(node),
            blocks=blocks,
            repeated=repeated,
        )


def _reversed(edges: Mapping[int, Iterable[int]]) -> dict[int, list[int]]:
    turned: dict[int, list[int]] = {}
    for end, starts in edges.items():
        for start in starts:
            turned.setdefault(start, []).append(end)
    return turned


def _strong_groups(edges: Mapping[int, Sequence[int]]) -> list[list[int]]:
    """Nodes that reach one another, each group after all groups that it reaches (Tarjan 1972).

    Without recursion: a chain may be longer than Python's stack.
    """
    groups: list[list[int]] = []
    index: dict[int, int] = {}
    low: dict[int, int] = {}
    open_nodes: list[int] = []
    is_open: set[int] = set()
    for start in edges:
        if start in index:
            continue
        work = [(start, iter(edges[start]))]
        index[start] = low[start] = len(index)
        open_nodes.append(start)
        is_open.add(start)
        while work:
            node, rest = work[-1]
            follower = next((one for one in rest if one not in index or one in is_open), None)
            if follower is None:
                work.pop()
                if work:
                    low[work[-1][0]] = min(low[work[-1][0]], low[node])
                if low[node] == index[node]:
                    cut = open_nodes.index(node)
                    groups.append(open_nodes[cut:])
                    is_open.difference_update(open_nodes[cut:])
                    del open_nodes[cut:]
            elif follower in index:
                low[node] = min(low[node], index[follower])
            else:
                index[follower] = low[follower] = len(index)
                open_nodes.append(follower)
                is_open.add(follower)
                work.append((follower, iter(edges.get(follower, ()))))
    return groups
