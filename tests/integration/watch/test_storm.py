"""A lock storm: 300 waiters behind chains of depth 5, freed with the least number of kills."""

from __future__ import annotations

import selectors
import time
from collections.abc import Iterable, Iterator
from datetime import timedelta
from pathlib import Path

import psycopg
import pytest
from psycopg import pq
from support.clients import until
from support.postgres import PostgresServer, installation, running_server

from guardian.adapters.clock import SystemClock
from guardian.adapters.postgres.connection import Connector
from guardian.adapters.postgres.watching import PostgresWatcher
from guardian.testing import MemoryCatalog
from guardian.watch.locks import LockGraph, LockNode
from guardian.watch.model import Action, Mode, Outcome
from guardian.watch.patrol import Patrol, WatchPlan
from guardian.watch.rules import Limits, Match, Policy

ROOTS, DEPTH, WAITERS = 4, 5, 300
MOST_SECONDS = 0.2
"""Of the server's processor, for one look at all of them."""


class Storm:
    """Sessions without threads: a statement is sent, and its answer is awaited by all at once.

    Each chain: the root holds lock 1; each link holds the next lock and waits for the one before;
    the rest wait for the last lock. Whoever gets a lock commits, as an application would.
    """

    def __init__(self, server: PostgresServer) -> None:
        self._server = server
        self._opened: list[psycopg.Connection] = []
        self.roots = [self._holder(self._lock(chain, 1)) for chain in range(ROOTS)]
        self.waiting: list[psycopg.Connection] = []
        for level in range(1, DEPTH):
            for chain in range(ROOTS):
                link = self._holder(self._lock(chain, level + 1))
                self._wait(link, self._lock(chain, level))
        while len(self.waiting) < WAITERS:
            tail = self._connect()
            tail.execute("BEGIN")
            self._wait(tail, self._lock(len(self.waiting) % ROOTS, DEPTH))

    @staticmethod
    def _lock(chain: int, level: int) -> int:
        return chain * 100 + level

    def _connect(self) -> psycopg.Connection:
        dsn = self._server.dsn()
        self._opened.append(psycopg.connect(dsn, autocommit=True, application_name="storm"))
        return self._opened[-1]

    def _holder(self, lock: int) -> psycopg.Connection:
        connection = self._connect()
        connection.execute("BEGIN")
        connection.execute("SELECT pg_advisory_xact_lock(%s)", [lock])
        return connection

    def _wait(self, connection: psycopg.Connection, lock: int) -> None:
        connection.pgconn.send_query(f"SELECT pg_advisory_xact_lock({lock})".encode())
        self.waiting.append(connection)

    def drain(self, seconds: float = 60.0) -> int:
        """Let everybody who gets a lock commit, until nobody waits; how many failed."""
        failed = 0
        deadline = time.monotonic() + seconds
        with selectors.DefaultSelector() as selector:
            for one in self.waiting:
                selector.register(one.pgconn.socket, selectors.EVENT_READ, one)
            while selector.get_map():
                if time.monotonic() > deadline:
                    raise TimeoutError(f"{len(selector.get_map())} still wait")
                for key, _ in selector.select(1.0):
                    one = key.data
                    one.pgconn.consume_input()
                    if one.pgconn.is_busy():
                        continue
                    selector.unregister(key.fileobj)
                    result = one.pgconn.get_result()
                    while one.pgconn.get_result() is not None:
                        pass
                    failed += result is None or result.status != pq.ExecStatus.TUPLES_OK
                    one.pgconn.exec_(b"COMMIT")
        self.waiting = []
        return failed

    def close(self) -> None:
        for one in self._opened:
            one.close()


@pytest.fixture(params=[15, 16, 18])
def storm(request: pytest.FixtureRequest) -> Iterator[tuple[PostgresServer, Storm]]:
    with running_server(
        installation(request.param, from_wheel=request.param != 15),
        more={"max_connections": "330"},
    ) as server:
        made = Storm(server)
        yield server, made
        made.close()


def _depth(node: LockNode) -> int:
    return 1 + max(map(_depth, node.blocks), default=0)


def _count(node: LockNode) -> int:
    return sum(1 + _count(one) for one in node.blocks)


def _used_seconds(pids: Iterable[int]) -> float:
    """Of processor, by the kernel's count: a machine with other work to do makes it no more."""
    used = (Path(f"/proc/{pid}/schedstat").read_text().split()[0] for pid in pids)
    return sum(map(int, used)) / 1e9


def test_a_storm_is_understood_and_ended_with_one_kill_a_root(storm):
    server, storm = storm
    watcher = PostgresWatcher(Connector("main", server.dsn()))
    roots = {one.info.backend_pid for one in storm.roots}
    until(lambda: len(watcher.observe().blockers) == WAITERS)

    before = _used_seconds(watcher._own_pids())
    graph = LockGraph(watcher.observe())
    assert _used_seconds(watcher._own_pids()) - before < MOST_SECONDS
    assert {one.pid for one in graph.roots} == roots
    assert sum(one.victims for one in graph.roots) == WAITERS
    trees = [graph.draw(one) for one in graph.roots]
    assert {_depth(tree) for tree in trees} == {DEPTH + 1}
    assert sum(map(_count, trees)) == WAITERS

    held = timedelta(seconds=1)
    policy = Policy("roots", Match(blocking=3, blocking_for=held), (Action.TERMINATE,),
                    superusers=True)  # fmt: skip
    plan = WatchPlan([policy], Limits(per_cycle=10), Mode.ENFORCE, record=False)
    catalog = MemoryCatalog(SystemClock())
    patrol = Patrol(watcher, catalog, SystemClock(), plan)
    time.sleep(held.total_seconds())
    report = patrol.cycle()
    assert {kill.pid for kill in report.kills} == roots
    assert report.looks == ROOTS  # one for each: the next root may be another
    assert {kill.outcome for kill in report.kills} == {Outcome.SIGNALLED}
    assert storm.drain() == 0
    assert watcher.observe().blockers == {}
    assert patrol.cycle().kills == ()
    assert len(catalog.kills()) == ROOTS
    patrol.close()
