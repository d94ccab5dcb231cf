"""Graphs against an oracle that is too slow to be wrong, and the shapes that occur in life."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.sessions import ago, observation, session, waiter

from guardian.watch.locks import DEEPEST, LockGraph, LockNode
from guardian.watch.model import PreparedTransaction


def graph(blockers, waits=None, prepared=(), **extra) -> LockGraph:
    """Sessions of these edges; each waiter has waited as long as ``waits`` says, or 10 s."""
    pids = {*blockers, *(one for many in blockers.values() for one in many)} - {0}
    sessions = [
        waiter(pid, (waits or {}).get(pid, 10)) if pid in blockers else session(pid)
        for pid in pids
        if pid not in extra.get("missing", ())
    ]
    return LockGraph(observation(*sessions, blockers=blockers, prepared=tuple(prepared)))


def outline(node: LockNode):
    """A tree as nested tuples; ``~`` marks what is drawn in full elsewhere."""
    name = f"~{node.pid}" if node.repeated else node.pid
    return (name, *(outline(one) for one in node.blocks)) if node.blocks else name


def drawn(tree: LockGraph):
    return [outline(tree.draw(root)) for root in tree.roots]


def prepared(gid: str, database: str = "mina") -> PreparedTransaction:
    return PreparedTransaction(gid, ago(100), "web", database)


def nodes(node: LockNode):
    yield node
    for one in node.blocks:
        yield from nodes(one)


# --- shapes ---


def test_without_waiters_there_is_nothing():
    assert LockGraph(observation(session(1))).roots == ()


def test_a_chain_has_one_root_and_counts_all_behind_it():
    tree = graph({2: (1,), 3: (2,), 4: (3,)}, {2: 30, 3: 20, 4: 10})
    (root,) = tree.roots
    assert (root.pid, root.victims, root.longest_wait_seconds, root.deadlock) == (1, 3, 30, False)
    assert root.session == session(1)
    assert drawn(tree) == [(1, (2, (3, 4)))]
    assert [tree.victims(pid) for pid in (1, 2, 3, 4, 99)] == [3, 2, 1, 0, 0]
    assert [tree.longest_wait(pid) for pid in (1, 2, 3, 4, 99)] == [30, 20, 10, 0, 0]


def test_repetitions_by_the_server_count_once():
    tree = graph({2: (1, 1, 1), 3: (1, 2, 1)})
    assert tree.roots[0].victims == 2


def test_roots_are_ranked_by_victims_times_wait():
    many_short = {11: (10,), 12: (10,), 13: (10,)}
    tree = graph({**many_short, 21: (20,)}, {11: 5, 12: 5, 13: 5, 21: 16})
    assert [(one.pid, one.score) for one in tree.roots] == [(20, 16), (10, 15)]


def test_a_draw_goes_to_more_victims_and_then_to_the_lower_pid():
    tree = graph({2: (9,), 3: (9,), 4: (5,), 6: (1,)}, {2: 5, 3: 5, 4: 10, 6: 10})
    assert [one.pid for one in tree.roots] == [9, 1, 5]


def test_a_waiter_behind_two_roots_is_drawn_beneath_both_with_all_that_waits_for_it():
    tree = graph({3: (1, 2), 4: (3,)})
    assert [(one.pid, one.victims) for one in tree.roots] == [(1, 2), (2, 2)]
    assert drawn(tree) == [(1, (3, 4)), (2, (3, 4))]


def test_a_diamond_counts_its_end_once_and_draws_it_beneath_both():
    tree = graph({2: (1,), 3: (1,), 4: (2, 3), 5: (4,)})
    assert tree.roots[0].victims == 4
    assert drawn(tree) == [(1, (2, (4, 5)), (3, "~4"))]


def test_a_queue_for_one_lock_is_drawn_flat():
    """Each waits for the holder, and for those before it: 2^n ways, if all were drawn."""
    queue = {pid: tuple(range(1, pid)) for pid in range(2, 40)}
    tree = graph(queue, {pid: 100 - pid for pid in queue})
    assert drawn(tree) == [(1, *range(2, 40))]


def test_the_longest_wait_comes_first():
    tree = graph({2: (1,), 3: (1,), 4: (1,)}, {2: 5, 3: 50, 4: None})
    assert drawn(tree) == [(1, 3, 2, 4)]


def test_a_wait_of_unknown_start_counts_as_victim_but_not_as_time():
    """A query's age is no substitute: it may have begun to wait this moment."""
    tree = graph({2: (1,)}, {2: None})
    assert (tree.roots[0].victims, tree.roots[0].longest_wait_seconds) == (1, 0)
    assert tree.draw(tree.roots[0]).blocks[0].wait_seconds is None


def test_a_blocker_that_ended_before_we_looked_is_a_root_without_session():
    tree = graph({2: (1,)}, missing=(1,))
    assert (tree.roots[0].pid, tree.roots[0].session) == (1, None)


def test_workers_count_as_their_leader():
    """pg_blocking_pids names leaders; the rows that wait are the workers' own."""
    worker = {"backend_type": "parallel worker", "leader_pid": 2}
    tree = LockGraph(
        observation(
            session(1),
            waiter(2, 5),
            waiter(3, 8, **worker),
            waiter(4, None, **worker),
            blockers={2: (1,), 3: (1, 2), 4: (2,)},
        )
    )
    assert [(one.pid, one.victims, one.longest_wait_seconds) for one in tree.roots] == [(1, 1, 8)]


# --- deadlocks ---


def test_a_deadlock_has_its_lowest_pid_as_marked_root():
    tree = graph({7: (5,), 5: (6,), 6: (7,), 8: (6,)}, {7: 3, 5: 99, 6: 2, 8: 1})
    (root,) = tree.roots
    assert (root.pid, root.deadlock, root.victims) == (5, True, 3)
    assert root.longest_wait_seconds == 3  # its own wait is not behind it
    assert drawn(tree) == [(5, (7, (6, 8)))]


def test_a_circle_behind_a_root_is_no_root():
    tree = graph({2: (1, 3), 3: (2,)})
    assert [(one.pid, one.victims) for one in tree.roots] == [(1, 2)]
    assert tree.victims(2) == 1
    assert drawn(tree) == [(1, (2, 3))]


def test_who_waits_for_itself_alone_holds_nobody_up():
    assert graph({2: (2,)}).roots == ()


# --- prepared transactions ---


def test_a_prepared_transaction_is_a_root_without_session():
    tree = graph({2: (0, 0), 3: (2,)}, prepared=[prepared("a")])
    (root,) = tree.roots
    assert (root.pid, root.session, root.prepared) == (0, None, (prepared("a"),))
    assert root.victims == 2
    assert tree.ranks == {}


def test_a_prepared_transaction_is_looked_for_in_the_waiters_database():
    tree = graph({2: (0,)}, prepared=[prepared("a", "other"), prepared("b")])
    assert tree.roots[0].prepared == (prepared("b"),)


def test_of_several_prepared_ones_all_that_it_may_be_are_named():
    tree = graph({2: (0,), 3: (0,)}, prepared=[prepared("b"), prepared("a")])
    (root,) = tree.roots
    assert root.prepared == (prepared("a"), prepared("b"))
    assert root.victims == 2


def test_a_prepared_one_that_ended_before_we_looked_is_still_a_root():
    tree = graph({2: (0,)})
    assert (tree.roots[0].pid, tree.roots[0].prepared) == (0, ())


def test_only_sessions_have_a_rank():
    tree = graph({2: (1,), 3: (0,), 5: (4,)}, {2: 1, 3: 9, 5: 2}, prepared=[prepared("a")])
    assert tree.ranks == {4: 1, 1: 2}


# --- size ---


def test_a_storm_of_300_waiters_in_chains_of_five():
    chains = [[root * 10 + step for step in range(6)] for root in range(1, 61)]
    tree = graph({later: (earlier,) for chain in chains for earlier, later in pairwise(chain)})
    assert sorted(one.pid for one in tree.roots) == [chain[0] for chain in chains]
    assert {one.victims for one in tree.roots} == {5}


def test_a_very_long_chain_is_cut_in_depth_and_loses_nobody():
    tree = graph({pid: (pid - 1,) for pid in range(2, 3002)})
    top = tree.draw(tree.roots[0])
    assert tree.roots[0].victims == 3000
    assert sorted(one.pid for one in nodes(top)) == list(range(1, 3002))
    deepest, depth = top, 0
    while deepest.blocks:
        deepest, depth = deepest.blocks[0], depth + 1
    assert depth == DEEPEST


def test_layers_of_diamonds_are_not_drawn_exponentially():
    blockers = {}
    for layer in range(1, 60):
        for place in range(3):
            blockers[layer * 10 + place + 10] = tuple(layer * 10 + one for one in range(3))
    tree = graph({**blockers, 11: (10,), 12: (10,)})
    assert len(list(nodes(tree.draw(tree.roots[0])))) < 3 * len(blockers) + 10


# --- against the oracle ---

PIDS = st.integers(1, 12)
EDGES = st.dictionaries(PIDS, st.lists(PIDS, min_size=1, max_size=4).map(tuple), max_size=12)
WAITS = st.dictionaries(PIDS, st.integers(0, 100) | st.none())


def behind(blockers, pid) -> set[int]:
    found: set[int] = set()
    fresh = {pid}
    while fresh:
        fresh = {one for one, many in blockers.items() if fresh & ({*many} - {one})} - found
        found |= fresh
    return found - {pid}


@given(EDGES, WAITS)
def test_victims_and_waits_agree_with_the_oracle(blockers, waits):
    tree = graph(blockers, waits)
    for pid in range(1, 13):
        held = behind(blockers, pid)
        assert tree.victims(pid) == len(held)
        assert tree.longest_wait(pid) == max((waits.get(one, 10) or 0 for one in held), default=0)
        for other in range(1, 13):
            assert tree.holds_up_any(pid, [other]) == (other in held)


@given(EDGES, WAITS)
def test_roots_cover_all_waiters_and_only_a_deadlock_waits_itself(blockers, waits):
    tree = graph(blockers, waits)
    waiting = {one for one, many in blockers.items() if {*many} - {one}}
    assert {pid for pid in blockers if tree.is_waiting(pid)} == waiting
    covered = set()
    for root in tree.roots:
        covered |= behind(blockers, root.pid)
        assert root.deadlock == (root.pid in waiting)
        assert root.victims > 0
    assert waiting - covered <= {one.pid for one in tree.roots if one.deadlock}


@given(EDGES, WAITS)
def test_no_root_is_behind_another(blockers, waits):
    roots = [one.pid for one in graph(blockers, waits).roots]
    for pid in roots:
        assert not behind(blockers, pid) & {*roots} - {pid}


@given(EDGES, WAITS)
def test_a_tree_draws_each_victim_once_in_full_and_only_true_edges_between_levels(blockers, waits):
    tree = graph(blockers, waits)
    for root in tree.roots:
        top = tree.draw(root)
        full = [one.pid for one in nodes(top) if not one.repeated]
        assert len(full) == len({*full})
        assert {*full} - {root.pid} == behind(blockers, root.pid)
        for node in nodes(top):
            assert all(node.pid in blockers[one.pid] for one in node.blocks)


@given(EDGES, WAITS, st.randoms())
def test_the_order_of_sessions_and_blockers_does_not_matter(blockers, waits, random):
    tree = graph(blockers, waits)
    mixed = list(blockers)
    random.shuffle(mixed)
    again = graph({pid: blockers[pid][::-1] for pid in mixed}, waits)
    assert again.roots == tree.roots
    assert [again.draw(one) for one in again.roots] == [tree.draw(one) for one in tree.roots]


@pytest.mark.parametrize("count", [0, 1])
def test_holding_up_any_of_none_is_false(count):
    assert not graph({2: (1,)}).holds_up_any(1, [99] * count)
