"""Two hundred sessions that change state at random while policies enforce.

The clients keep their own record, and it is the judge: whoever was killed had matched at the
moment of its death; nobody else was touched; nobody who matched for long was overlooked.
A quarter of a minute each day; with GUARDIAN_LONG=1 in the environment, two minutes.
"""

from __future__ import annotations

import heapq
import random
import selectors
import threading
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from itertools import pairwise
from typing import Any

import psycopg
import pytest
from psycopg import pq
from psycopg.pq.abc import PGconn
from support.postgres import PostgresServer, installation, running_server

from guardian.adapters.clock import SystemClock
from guardian.adapters.postgres.connection import Connector
from guardian.adapters.postgres.watching import PostgresWatcher
from guardian.testing import MemoryCatalog
from guardian.watch.audit import KillRecord
from guardian.watch.model import Action, Mode, Outcome
from guardian.watch.patrol import CycleReport, Patrol, WatchPlan
from guardian.watch.rules import Limits, Match, Policy

SESSIONS = 200
INTERVAL = 0.25
UNREAD = 0.25
IDLE_BOUND, QUERY_BOUND = 1.0, 1.5
IN_TRANSACTION = {"idle in transaction", "idle in transaction (aborted)"}
POLICIES = (
    Policy(
        "forgotten",
        Match(state=tuple(IN_TRANSACTION), for_=timedelta(seconds=IDLE_BOUND), users=("web",)),
        (Action.TERMINATE,),
    ),
    Policy(
        "runaway",
        Match(state=("active",), for_=timedelta(seconds=QUERY_BOUND), users=("web",)),
        (Action.CANCEL,),
    ),
)


@dataclass
class Spell:
    """A session in one state. Instants of this host's clock, each on the safe side of the truth.

    It began on the server between ``from_`` (before its statement was sent) and ``surely`` (its
    answer was there; for a running query, None). It ended after ``until`` at the earliest (the
    next statement was about to be sent, or the query's answer was there), and before ``by``.
    """

    pid: int
    state: str
    from_: float
    surely: float | None = None
    until: float | None = None
    by: float | None = None
    was_last: bool = False
    """The statement that was to end it was never answered: the session was dead, or died of it."""


@dataclass
class Actor:
    """One session and what it does next."""

    number: int
    pgconn: PGconn
    connection: psycopg.Connection
    descriptor: int
    """Of its socket; libpq forgets it when the connection is lost."""
    state: str = "idle"
    next_state: str = "idle"
    busy: bool = False
    spell: Spell | None = None
    before: Spell | None = None


@dataclass
class Troupe:
    """All actors, in one thread, without a blocking call but for connecting."""

    server: PostgresServer
    dsn: str
    chance: random.Random
    spells: list[Spell] = field(default_factory=list)
    deaths: Counter[int] = field(default_factory=Counter)
    cancels: Counter[int] = field(default_factory=Counter)
    moves: int = 0

    def play(self, stop: threading.Event) -> None:
        self._selector = selectors.DefaultSelector()
        self._timers: list[tuple[float, int]] = []
        self._actors: dict[int, Actor] = {}
        for number in range(SESSIONS):
            self._enter(number)
        while not stop.is_set():
            now = time.time()
            while self._timers and self._timers[0][0] <= now:
                _, number = heapq.heappop(self._timers)
                if not self._actors[number].busy:
                    self._move(self._actors[number])
            pause = min(0.05, max(0.0, self._timers[0][0] - now)) if self._timers else 0.05
            for key, _ in self._selector.select(pause):
                self._hear(key.data)
        for actor in self._actors.values():
            self._leave(actor)
        self._selector.close()

    def _enter(self, number: int) -> None:
        connection = psycopg.connect(self.dsn, autocommit=True)
        actor = Actor(number, connection.pgconn, connection, connection.pgconn.socket)
        self._actors[number] = actor
        self._selector.register(actor.descriptor, selectors.EVENT_READ, actor)
        self._rest(actor, self.chance.uniform(0, 1))

    def _leave(self, actor: Actor) -> None:
        self._selector.unregister(actor.descriptor)
        actor.connection.close()

    def _rest(self, actor: Actor, seconds: float) -> None:
        heapq.heappush(self._timers, (time.time() + seconds, actor.number))

    def _move(self, actor: Actor) -> None:
        statement, after = self._choose(actor.state)
        before = time.time()
        if actor.spell is not None:
            actor.spell.until = before
        pid = actor.pgconn.backend_pid
        running = Spell(pid, "active", before)
        actor.pgconn.send_query(statement.encode())
        actor.pgconn.flush()
        if actor.spell is not None:
            actor.spell.by = time.time()
        actor.before, actor.spell = actor.spell, running
        actor.busy, actor.next_state = True, after
        self.spells.append(running)
        self.moves += 1

    def _choose(self, state: str) -> tuple[str, str]:
        # Mostly short; one in eight lasts long enough to be somebody's victim.
        nap = self.chance.uniform(0.01, 1.2) if self.chance.random() < 0.88 else 4.0
        roll = self.chance.random()
        if state == "idle":
            if roll < 0.5:
                return "BEGIN", "idle in transaction"
            return (f"SELECT pg_sleep({nap})", "idle") if roll < 0.8 else ("SELECT 1", "idle")
        if state == "idle in transaction (aborted)" or roll < 0.4:
            return "ROLLBACK", "idle"
        if roll < 0.6:
            return "SELECT 1", state
        if roll < 0.8:
            return f"SELECT pg_sleep({nap})", state
        return "SELECT 1/0", "idle in transaction (aborted)"

    def _hear(self, actor: Actor) -> None:
        try:
            actor.pgconn.consume_input()
        except psycopg.OperationalError:
            self._die(actor)
            return
        if not actor.busy:
            if actor.pgconn.status == pq.ConnStatus.BAD:
                self._die(actor)
            return
        if actor.pgconn.is_busy():
            return
        sqlstate = None
        while (result := actor.pgconn.get_result()) is not None:
            sqlstate = result.error_field(pq.DiagnosticField.SQLSTATE)
        if actor.pgconn.status == pq.ConnStatus.BAD or sqlstate == b"57P01":
            self._die(actor)
            return
        now = time.time()
        assert actor.spell is not None
        actor.spell.until = actor.spell.by = now
        if sqlstate == b"57014":
            self.cancels[actor.pgconn.backend_pid] += 1
            in_block = actor.state != "idle"
            actor.next_state = "idle in transaction (aborted)" if in_block else "idle"
        actor.state, actor.busy = actor.next_state, False
        actor.spell = Spell(actor.spell.pid, actor.state, actor.spell.from_, now)
        self.spells.append(actor.spell)
        long = self.chance.random() < 0.08
        self._rest(actor, 4.0 if long else self.chance.uniform(0.0, 1.2))

    def _die(self, actor: Actor) -> None:
        assert actor.spell is not None
        if actor.busy and actor.before is not None:
            actor.before.was_last = True
        self.deaths[actor.spell.pid] += 1
        self._leave(actor)
        self._enter(actor.number)


def _run(troupe: Troupe, patrol: Patrol, seconds: float) -> list[tuple[CycleReport, float, float]]:
    """Rounds at their interval while the troupe plays: each with its start and end."""
    stop = threading.Event()
    failures: list[BaseException] = []

    def play() -> None:
        try:
            troupe.play(stop)
        except BaseException as error:  # noqa: BLE001 - it is raised again in the test's own thread
            failures.append(error)

    player = threading.Thread(target=play)
    player.start()
    rounds = []
    deadline = time.monotonic() + seconds
    try:
        while time.monotonic() < deadline and not failures:
            began = time.time()
            report = patrol.cycle()
            rounds.append((report, began, time.time()))
            time.sleep(max(0.0, INTERVAL - (time.time() - began)))
    finally:
        time.sleep(0.5)  # what was signalled last is heard of
        stop.set()
        player.join()
    if failures:
        raise failures[0]
    return rounds


def _for_long(major: int) -> Any:
    return pytest.param(major, 120, marks=pytest.mark.takes_long)


@pytest.mark.parametrize(
    ("major", "seconds"), [(16, 15), _for_long(15), _for_long(16), _for_long(18)]
)
def test_only_who_matched_was_hit_and_who_matched_was_not_overlooked(
    major: int, seconds: int
) -> None:
    seed = random.SystemRandom().randrange(1 << 32)
    print(f"seed {seed}")
    with running_server(
        installation(major, from_wheel=major != 15), more={"max_connections": str(SESSIONS + 30)}
    ) as server:
        server.create_role("web")
        guard = server.create_role()
        with server.connect() as connection:
            connection.execute(f'GRANT pg_monitor, pg_signal_backend TO "{guard.name}"'.encode())
        dsn = server.dsn(user="web")
        bystander = psycopg.connect(server.dsn(), autocommit=True)
        bystander.execute("BEGIN")
        troupe = Troupe(server, dsn, random.Random(seed))
        limits = Limits(per_cycle=1000, per_hour=100_000, cool_down=timedelta(microseconds=1))
        plan = WatchPlan(POLICIES, limits, Mode.ENFORCE, record=False)
        catalog = MemoryCatalog(SystemClock())
        watcher = PostgresWatcher(Connector("main", server.dsn(role=guard)))
        patrol = Patrol(watcher, catalog, SystemClock(), plan)
        rounds = _run(troupe, patrol, seconds)
        patrol.close()
        bystander.execute("SELECT 1")
        bystander.close()

    kills = catalog.kills()
    _tell(troupe, rounds, kills)
    hit = [kill for kill in kills if kill.outcome is Outcome.SIGNALLED]
    _nobody_else_was_hit(troupe, hit)
    for kill in hit:
        _had_matched(troupe, kill)
    _nobody_was_overlooked(troupe, rounds)
    # It was a real trial: much moved, many were hit, both ways.
    assert troupe.moves > seconds * SESSIONS / 4
    assert min(sum(troupe.deaths.values()), sum(troupe.cancels.values())) > seconds / 2
    assert {kill.outcome for kill in kills} <= {
        Outcome.SIGNALLED, Outcome.CHANGED, Outcome.GONE,
    }  # fmt: skip


def _tell(
    troupe: Troupe, rounds: list[tuple[CycleReport, float, float]], kills: Sequence[KillRecord]
) -> None:
    """Figures, for who runs it with -s."""
    lengths = sorted(ended - began for _, began, ended in rounds)
    outcomes = Counter(f"{kill.action} {kill.outcome}" for kill in kills)
    print(
        f"{troupe.moves} moves of {SESSIONS} sessions, {len(rounds)} rounds of "
        f"{lengths[len(lengths) // 2]:.3f} s (the longest {lengths[-1]:.3f} s): "
        + ", ".join(f"{count} {name}" for name, count in sorted(outcomes.items()))
    )


def _nobody_else_was_hit(troupe: Troupe, hit: list[KillRecord]) -> None:
    """The clients' count of their deaths and cancelled queries is the audit's."""
    audited = {
        action: Counter(kill.pid for kill in hit if kill.action is action)
        for action in (Action.TERMINATE, Action.CANCEL)
    }
    assert troupe.deaths == audited[Action.TERMINATE]
    # A cancel that came when its query had just ended by itself is heard by nobody.
    assert troupe.cancels <= audited[Action.CANCEL]


def _had_matched(troupe: Troupe, kill: KillRecord) -> None:
    """By the client's record it was in that state for longer than the bound, and still was.

    A statement that was sent may lie unread for a moment, while the server's processes wait for
    their turn on the processor: until it is read, the session is what it was.
    """
    at = kill.at.timestamp()
    states = IN_TRANSACTION if kill.action is Action.TERMINATE else {"active"}
    bound = IDLE_BOUND if kill.action is Action.TERMINATE else QUERY_BOUND
    mine = [spell for spell in troupe.spells if spell.pid == kill.pid]
    assert any(
        spell.state in states
        and at - spell.from_ > bound
        and (spell.by is None or spell.by + (UNREAD if spell.was_last else 0) >= at)
        for spell in mine
    ), (kill, mine[-4:])


def _nobody_was_overlooked(troupe: Troupe, rounds: list[tuple[CycleReport, float, float]]) -> None:
    """No state lasted longer than its bound and two intervals, as long as these really were.

    And to the point: who surely matched at a look was not still there, unharmed, when the round
    that it began ended.
    """
    starts = [began for _, began, _ in rounds]
    gap = max(later - earlier for earlier, later in pairwise(starts))
    last = rounds[-1][2]
    for spell in troupe.spells:
        if spell.state == "idle" or spell.until is None or spell.was_last:
            continue
        bound = QUERY_BOUND if spell.state == "active" else IDLE_BOUND
        began: Any = spell.surely if spell.surely is not None else spell.from_
        if spell.until < last:
            assert spell.until - began <= bound + 2 * gap, spell
        if spell.surely is None:
            continue
        for report, _, ended in rounds:
            matched = report.at.timestamp() - spell.surely > bound
            assert not (matched and spell.until > ended), (spell, report.at)
