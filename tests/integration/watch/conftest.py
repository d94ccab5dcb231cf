"""A database, its clients, and the watch over them as a role that may do just what it must."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from support.clients import Crowd
from support.postgres import Database, PostgresServer, Role

from guardian.adapters.clock import SystemClock
from guardian.adapters.postgres.connection import Connector
from guardian.adapters.postgres.watching import PostgresWatcher
from guardian.testing import MemoryCatalog
from guardian.watch.model import Action, Mode, Observation, Session
from guardian.watch.patrol import Patrol, WatchPlan
from guardian.watch.rules import Limits, Match, Policy

MakeWatcher = Callable[..., PostgresWatcher]


def grant_watch(server: PostgresServer, role: Role) -> Role:
    """What `guardian doctor` asks for: to see everybody, and to signal."""
    with server.connect() as connection:
        connection.execute(f'GRANT pg_monitor, pg_signal_backend TO "{role.name}"'.encode())
    return role


class Scene:
    """A database with clients, watched by a role with the two grants."""

    def __init__(self, database: Database, crowd: Crowd, role: Role, make: MakeWatcher) -> None:
        self.database = database
        self.crowd = crowd
        self.role = role
        self.catalog = MemoryCatalog(SystemClock())
        self._make = make
        self.watcher = self.new_watcher()

    @property
    def connector(self) -> Connector:
        return Connector("main", self.database.dsn(role=self.role, tcp=True))

    def new_watcher(self, **options: Any) -> PostgresWatcher:
        return self._make(self.connector, **options)

    def patrol(
        self,
        *policies: Policy,
        mode: Mode = Mode.ENFORCE,
        limits: Limits | None = None,
        watcher: PostgresWatcher | None = None,
    ) -> Patrol:
        plan = WatchPlan(policies, limits or Limits(per_cycle=100), mode, record=False)
        return Patrol(watcher or self.watcher, self.catalog, SystemClock(), plan)

    def policy(self, name: str = "p", /, action: str = "terminate", **more: Any) -> Policy:
        """A policy for this database alone; keys of the policy, or of its match."""
        own = {key: more.pop(key) for key in ("except_", "victims", "grace", "superusers")
               if key in more}  # fmt: skip
        actions = tuple(Action(one) for one in action.split(","))
        return Policy(name, Match(databases=(self.database.name,), **more), actions, **own)

    def find(self, pid: int, observation: Observation | None = None) -> Session:
        seen = observation or self.watcher.observe()
        return next(one for one in seen.sessions if one.pid == pid)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what needs PgBouncer where it is not installed (``apt-get install pgbouncer``)."""
    if shutil.which("pgbouncer"):
        return
    rest = [item for item in items if item.get_closest_marker("needs_pgbouncer") is None]
    config.hook.pytest_deselected(items=[item for item in items if item not in rest])
    items[:] = rest


@pytest.fixture
def make_watcher() -> Iterator[MakeWatcher]:
    made: list[PostgresWatcher] = []

    def make(connector: Connector, **options: Any) -> PostgresWatcher:
        made.append(PostgresWatcher(connector, **options))
        return made[-1]

    yield make
    for watcher in made:
        watcher.close()


@pytest.fixture
def make_scene(fresh_database: Any, fresh_role: Any, make_watcher: MakeWatcher) -> Iterator[Any]:
    """``make_scene(server)``: with a database and roles of its own, whose settings may change."""
    crowds: list[Crowd] = []

    def make(server: PostgresServer) -> Scene:
        # Roles first: they go last, when nobody is logged in as one of them any more.
        web = fresh_role(server)
        guard = grant_watch(server, fresh_role(server))
        crowds.append(Crowd(fresh_database(server), web))
        return Scene(crowds[-1].database, crowds[-1], guard, make_watcher)

    yield make
    for crowd in crowds:
        crowd.close()


@pytest.fixture(scope="session")
def rooms() -> dict[int, tuple[Database, Role, Role]]:
    """For each server a database, a client's role and the watch's, made once: that takes time."""
    return {}


@pytest.fixture
def enter(
    rooms: dict[int, tuple[Database, Role, Role]], make_watcher: MakeWatcher
) -> Iterator[Callable[[PostgresServer], Scene]]:
    crowds: list[Crowd] = []

    def make(server: PostgresServer) -> Scene:
        if server.port not in rooms:
            roles = server.create_role(), grant_watch(server, server.create_role())
            rooms[server.port] = (server.create_database(), *roles)
        database, web, guard = rooms[server.port]
        crowds.append(Crowd(database, web))
        return Scene(database, crowds[-1], guard, make_watcher)

    yield make
    for crowd in crowds:
        crowd.close()


@pytest.fixture
def scene(pg: PostgresServer, enter: Callable[[PostgresServer], Scene]) -> Scene:
    """On each of the three servers in turn."""
    return enter(pg)


@pytest.fixture
def scene16(pg16: PostgresServer, enter: Callable[[PostgresServer], Scene]) -> Scene:
    """On one server, where the version makes no difference."""
    return enter(pg16)
