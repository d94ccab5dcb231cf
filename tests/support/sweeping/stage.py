"""The stage of a scenario: a world with servers, a ground that was prepared, what is run on it."""

from __future__ import annotations

import secrets
import shutil
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from psycopg.conninfo import make_conninfo
from support.postgres import Database, PostgresServer
from support.proxy import BreakableProxy
from support.s3 import MotoS3
from support.site import Site
from support.sweeping.ground import Ground
from support.sweeping.hazards import Hazard
from support.sweeping.invariants import Judge, require
from support.sweeping.nursery import Life, Nursery
from support.sweeping.points import Label

Case = tuple[Label, int, str]
"""A point (what, the how-many-eth) and the fault there."""

SMALL = """
CREATE TABLE users (id bigint PRIMARY KEY, name text NOT NULL);
INSERT INTO users SELECT g, 'user ' || g FROM generate_series(1, 300) g;
CREATE TABLE notes (id bigint PRIMARY KEY, user_id bigint REFERENCES users, body text);
INSERT INTO notes SELECT g, 1 + g % 300, md5(g::text) FROM generate_series(1, 600) g;
"""
# What no compressor makes small, so that a part is uploaded in several requests.
LARGE = """
CREATE TABLE noise AS
SELECT g AS id, (SELECT string_agg(gen_random_uuid()::text, '') FROM generate_series(1, 64) i) AS t
  FROM generate_series(1, 5000) g;
"""
RETENTION = {
    "keep_last": 3,
    "keep_within": "0s",
    "keep_daily": 0,
    "keep_weekly": 0,
    "keep_monthly": 0,
    "keep_proven": 1,
}
BACKUPS = 4
"""How many a ground begins with; the oldest of them is proven."""


@dataclass
class Scene:
    """A scenario that was prepared: the ground, and what every check needs."""

    ground: Ground
    judge: Judge
    words: list[str]
    hazard: Hazard | None = None
    facts: dict[str, Any] = field(default_factory=dict)
    also: Callable[[], object] = lambda: None
    """What is to be put back besides the ground."""
    live: Callable[[Case | None], Life] | None = None
    """Lives the life that is swept, where that is more than to run ``words``."""

    def begin(self) -> None:
        """Put all back as it was prepared, whatever the last life has left."""
        self.ground.put_back()
        self.judge.drop_strays()
        self.also()

    def run(self, strike: Case | None = None) -> Life:
        """One life, with its points watched where no hazard does its work."""
        if self.live is not None:
            return self.live(strike)
        return self.ground.run(*self.words, strike=strike, watched=self.hazard is None)


@dataclass(frozen=True)
class Scenario:
    """One of the things that guardian does.

    ``fewest`` is how many points it has at least: when fewer are found, the harness sees less than
    it did. ``check`` looks right after the fault, ``settle`` makes the next run and looks again.
    """

    name: str
    fewest: int
    prepare: Callable[[World], Iterator[Scene]]
    check: Callable[[Scene, Life, dict[str, set[str]]], None]
    settle: Callable[[Scene, Life], None]
    needs_root: bool = False
    fails: bool = False
    """Whether the command fails without any fault, and is to."""

    @contextmanager
    def scene(self, world: World) -> Iterator[Scene]:
        yield from self.prepare(world)


@dataclass(frozen=True)
class Larder:
    """Backups of a small database, oldest first; the first of them is proven."""

    ground: Ground
    database: Database
    ids: tuple[str, ...]


@dataclass
class World:
    """What scenarios are made in. :meth:`close` it."""

    server: PostgresServer
    s3: Callable[[], MotoS3]
    nursery: Nursery
    folder: Path
    _stack: ExitStack = field(default_factory=ExitStack)

    def close(self) -> None:
        self._stack.close()

    @cached_property
    def larder(self) -> Larder:
        """Made once, for it takes seconds; each scenario's ground begins with a copy of it."""
        database = self._stack.enter_context(self.database(SMALL))
        ground = self.ground(database, retention={**RETENTION, "keep_last": 99})
        proven = back_up(ground)
        prove(ground, [proven])
        return Larder(ground, database, (proven, *(back_up(ground) for _ in range(BACKUPS - 1))))

    def stocked(self, root: Path | None = None, **section: Any) -> Ground:
        """A ground with the larder's backups of the larder's database."""
        ground = self.ground(self.larder.database, root, **section)
        for name in ("state", "store"):
            shutil.copytree(self.larder.ground.root / name, ground.root / name)
        return ground

    @contextmanager
    def database(self, *statements: str) -> Iterator[Database]:
        database = self.server.create_database()
        database.execute(*statements)
        try:
            yield database
        finally:
            self.server.drop_database(database.name)

    def ground(self, database: Database, root: Path | None = None, **section: Any) -> Ground:
        server = {
            "retention": RETENTION,
            "verify": {
                "scratch": self.server.uri(),
                "allow_source_server": True,
                "schedule": None,
                "jobs": 1,
            },
            "backup": {"attempts": 1},
            **section,
        }
        site = Site(root or self.folder / secrets.token_hex(3), database.dsn(), server)
        site.root.chmod(0o711)
        return Ground(site, self.nursery)

    @contextmanager
    def wire(self) -> Iterator[BreakableProxy]:
        with BreakableProxy("127.0.0.1", self.server.port) as proxy:
            yield proxy

    def through(self, wire: BreakableProxy, dsn: str) -> str:
        return make_conninfo(dsn, port=wire.port, sslmode="disable")

    def judge(self, ground: Ground, kept: Iterable[str], database: Database | None = None) -> Judge:
        """Looks at that ground, which is from now on as it is now whenever it is put back."""
        ground.remember()
        name = (database or self.larder.database).name
        return Judge(ground, self.server, name, frozenset(kept), ground.objects())


def back_up(ground: Ground) -> str:
    """Make one backup; its id."""
    (result,) = ground.well("backup", "now", "--json").json
    require(result["status"] == "succeeded", f"a backup: {result}")
    return str(result["id"])


def prove(ground: Ground, ids: Sequence[str], unread: Collection[str] = ()) -> None:
    """Drill these; each has to be proven by it, but for those without a fingerprint.

    Such a backup is good and was told of with a warning: the source could not be read for it.
    """
    life = ground.run("verify", "--json", *ids)
    found = {one["id"]: one["result"] for one in life.json}
    expected = {one: "inconclusive" if one in unread else "proven" for one in ids}
    require(found == expected, f"drills: {life.status} {life.json} {life.err[-1000:]}")


__all__ = ["LARGE", "RETENTION", "SMALL", "Scenario", "Scene", "World", "back_up", "prove"]
