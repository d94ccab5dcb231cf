"""What is swept: a command in a world that was prepared, the run after it, and what must hold."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from psycopg import sql
from psycopg.conninfo import make_conninfo
from support.listeners import Crowd, crowd
from support.postgres import Database, PostgresServer
from support.proxy import BreakableProxy
from support.s3 import MotoS3
from support.site import Site
from support.sweeping.ground import Bucket, Ground
from support.sweeping.hazards import CutWire, FullDisk, Hazard, small_disk
from support.sweeping.invariants import Judge, require
from support.sweeping.nursery import Life, Nursery

from guardian.adapters.catalog import schema
from guardian.escalate.model import State

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
CONDEMNING = {"mismatch", "unrestorable"}


@dataclass
class Scene:
    """A scenario that was prepared: the ground, and what every check needs."""

    ground: Ground
    judge: Judge
    words: list[str]
    hazard: Hazard | None = None
    facts: dict[str, Any] = field(default_factory=dict)


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

    @contextmanager
    def scene(self, world: World) -> Iterator[Scene]:
        yield from self.prepare(world)


@dataclass
class World:
    """What scenarios are made in."""

    server: PostgresServer
    s3: Callable[[], MotoS3]
    nursery: Nursery
    folder: Path

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

    def judge(self, ground: Ground, database: Database, kept: set[str]) -> Judge:
        ground.remember()
        return Judge(ground, self.server, database.name, frozenset(kept), ground.objects())


# --- backups ------------------------------------------------------------------------------------


def _back_up(ground: Ground) -> str:
    (result,) = ground.well("backup", "now", "--json").json
    assert result["status"] == "succeeded", result
    return str(result["id"])


def _prepare_backup(world: World) -> Iterator[Scene]:
    with world.database(SMALL) as database:
        yield _backups(world, world.ground(database), database)


def _backups(world: World, ground: Ground, database: Database) -> Scene:
    """A proven backup and three newer ones, the oldest of which the next backup's prune removes.

    So the run after it removes the second at most, and the first and the newest stay throughout.
    """
    proven = _back_up(ground)
    _prove(ground, [proven])
    newest = [_back_up(ground) for _ in range(3)][-1]
    judge = world.judge(ground, database, {proven, newest})
    return Scene(ground, judge, ["backup", "now", "--json"])


def _prepare_full_disk(world: World) -> Iterator[Scene]:
    """State, store and temporary files on a disk that is as good as full."""
    with small_disk(world.folder / "disk") as disk, world.database(SMALL) as database:
        ground = world.ground(database, root=disk)
        yield replace(_backups(world, ground, database), hazard=FullDisk(disk))


def _prepare_cut_backup(world: World) -> Iterator[Scene]:
    """The server behind a wire that is cut."""
    with world.database(SMALL) as database, world.wire() as wire:
        ground = world.ground(database)
        ground.site.dsn = world.through(wire, database.dsn(tcp=True))
        yield replace(_backups(world, ground, database), hazard=CutWire(wire))


def _prepare_s3(world: World) -> Iterator[Scene]:
    """The same in a folder and a bucket, with an object that is uploaded in parts."""
    with world.database(SMALL, LARGE) as database:
        ground = world.ground(database)
        server = world.s3()
        ground.bucket = Bucket(server, server.new_bucket("sweep"))
        ground.site.stores["offsite"] = ground.bucket.section
        proven = _back_up(ground)
        _prove(ground, [proven])
        newest = _back_up(ground)
        judge = world.judge(ground, database, {proven, newest})
        yield Scene(ground, judge, ["backup", "now", "--json"])


def _check_backup(scene: Scene, life: Life, whole: dict[str, set[str]]) -> None:
    """What it says is so."""
    if life.killed or not life.out.strip():
        return
    for result in life.json:
        if result["status"] == "succeeded":
            lies = {name for name, ids in whole.items() if result["id"] in ids}
            said = {one["name"] for one in result["stores"] if one["status"] == "succeeded"}
            require(said, "a success in no store")
            require(said == lies, f"said to lie in {said}, lies in {lies}")
        else:
            require(life.status != 0, "a failure that ends with 0")
            require(result["error"]["cause"], "a failure without a cause")


def _settle_backup(scene: Scene, life: Life) -> None:
    ground = scene.ground
    ground.age()
    (result,) = ground.well("backup", "now", "--json").json
    require(result["status"] == "succeeded", f"the next backup: {result}")
    require(all(one["status"] == "succeeded" for one in result["stores"]), f"{result['stores']}")
    there = scene.judge.after_the_next_run()
    require(result["id"] in there, "the next backup is not there")
    _prove(ground, sorted(there - scene.judge.kept))


def _prove(ground: Ground, ids: Sequence[str]) -> None:
    drills = ground.well("verify", "--json", *ids).json
    found = {one["id"]: one["result"] for one in drills}
    require(found == dict.fromkeys(ids, "proven"), f"drills: {drills}")


# --- pruning ------------------------------------------------------------------------------------


def _prepare_prune(world: World) -> Iterator[Scene]:
    """Five backups, of which three are to go; one try that failed half-way."""
    with world.database(SMALL) as database:
        ground = world.ground(database, retention={**RETENTION, "keep_last": 9})
        proven = _back_up(ground)
        _prove(ground, [proven])
        made = [_back_up(ground) for _ in range(4)]
        ground.site.server["retention"] = {**RETENTION, "keep_last": 1}
        judge = world.judge(ground, database, {proven, made[-1]})
        yield Scene(ground, judge, ["backup", "prune", "--json"])


def _check_prune(scene: Scene, life: Life, whole: dict[str, set[str]]) -> None:
    if life.killed or not life.out.strip():
        return
    for one in life.json:
        for store in one["stores"]:
            there = one["id"] in whole[store["name"]]
            require(not (store["deleted"] and there), f"{one['id']} is said to be deleted")


def _settle_prune(scene: Scene, life: Life) -> None:
    scene.ground.age()
    scene.ground.well("backup", "prune", "--json")
    there = scene.judge.after_the_next_run()
    require(there == set(scene.judge.kept), f"left: {there}")


# --- drills -------------------------------------------------------------------------------------


def _prepare_drill(world: World) -> Iterator[Scene]:
    """One backup, drilled on a given server."""
    with world.database(SMALL) as database:
        yield _drills(world, world.ground(database), database)


def _prepare_embedded_drill(world: World) -> Iterator[Scene]:
    """One backup, drilled on a server that is made for it."""
    with world.database(SMALL) as database:
        ground = world.ground(database, verify={"scratch": "embedded", "schedule": None, "jobs": 1})
        yield _drills(world, ground, database)


def _prepare_cut_drill(world: World) -> Iterator[Scene]:
    """The scratch server behind a wire that is cut."""
    with world.database(SMALL) as database, world.wire() as wire:
        ground = world.ground(database)
        scratch = world.through(wire, world.server.dsn(tcp=True))
        ground.site.server["verify"]["scratch"] = scratch
        yield replace(_drills(world, ground, database), hazard=CutWire(wire))


def _drills(world: World, ground: Ground, database: Database) -> Scene:
    backup = _back_up(ground)
    ground.well("verify", "--json")  # makes the template of a scratch server
    return Scene(ground, world.judge(ground, database, {backup}), ["verify", "--json"])


def _check_drill(scene: Scene, life: Life, whole: dict[str, set[str]]) -> None:
    if life.killed or not life.out.strip():
        return
    for drill in life.json:
        require(drill["result"] not in CONDEMNING, f"a false alarm: {drill['reason']}")
        require(
            (life.status == 0) == (drill["result"] == "proven"), f"{life.status}: {drill['result']}"
        )


def _settle_drill(scene: Scene, life: Life) -> None:
    scene.ground.age()
    _prove(scene.ground, sorted(scene.judge.kept))
    scene.judge.after_the_next_run()
    require(not list(scene.ground.state.rglob("making-*")), "an unfinished template is left")


# --- restores -----------------------------------------------------------------------------------


def _prepare_restore(world: World) -> Iterator[Scene]:
    yield from _restores(world, None)


def _prepare_cut_restore(world: World) -> Iterator[Scene]:
    """The server to restore to behind a wire that is cut."""
    with world.wire() as wire:
        yield from _restores(world, wire)


def _restores(world: World, wire: BreakableProxy | None) -> Iterator[Scene]:
    """Over a database that has other tables."""
    with world.database(SMALL) as database, world.database() as target:
        ground = world.ground(database)
        backup = _back_up(ground)
        judge = world.judge(ground, database, {backup})
        dsn = target.dsn() if wire is None else world.through(wire, target.dsn(tcp=True))
        words = ["restore", backup, "--to", dsn, "--replace", "--json"]
        hazard = None if wire is None else CutWire(wire)
        scene = Scene(ground, judge, words, hazard, facts={"target": target})
        _put_target_back(scene)
        try:
            yield scene
        finally:
            _put_target_back(scene)


def _put_target_back(scene: Scene) -> None:
    """Nothing but the database that was there, with what was in it."""
    target: Database = scene.facts["target"]
    for name in [*scene.judge.databases(f"{target.name}%"), *scene.judge.databases("guardian\\_%")]:
        target.server.drop_database(name)
    with target.server.connect() as connection:
        connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(target.name)))
    target.execute("CREATE TABLE mine AS SELECT 42 AS answer")


def _check_restore(scene: Scene, life: Life, whole: dict[str, set[str]]) -> None:
    """The wanted database is the old or the new one, in full; never none, never half."""
    target: Database = scene.facts["target"]
    old = target.rows("SELECT to_regclass('mine') IS NOT NULL")[0][0]
    if old:
        require(target.rows("SELECT answer FROM mine") == [(42,)], "the old database was changed")
    else:
        counts = "SELECT (SELECT count(*) FROM users), (SELECT count(*) FROM notes)"
        require(target.rows(counts) == [(300, 600)], "the new database is not whole")
    if not life.killed:
        require(life.status != 0 or not old, "a success, and the old database is there")
        said = "as it was before" in life.err
        require(old or not said, f"the name was taken: {life.err[-300:]}")


def _settle_restore(scene: Scene, life: Life) -> None:
    scene.ground.age()
    target: Database = scene.facts["target"]
    done = scene.ground.well(*scene.words).json
    require(done["status"] == "restored", f"the next restore: {done}")
    _check_restore(scene, Life(0, "", ""), {})
    scene.judge.after_the_next_run()
    kept = [name for name in scene.judge.databases(f"{target.name}%") if name != target.name]
    require(len(kept) <= 2, f"databases: {kept}")
    _put_target_back(scene)


# --- alerts -------------------------------------------------------------------------------------


def _prepare_alerts(world: World) -> Iterator[Scene]:
    """A backup that fails, for others may read the passphrase; and two who hear of it."""
    with world.database(SMALL) as database, crowd("pager", "mail") as people:
        ground = world.ground(database)
        ground.site.sections["escalation"] = people.section(
            {"on-call": ["pager"], "lead": ["mail"]}
        )
        backup = _back_up(ground)
        people.receivers["pager"].requests.clear()
        judge = world.judge(ground, database, {backup})
        facts = {"people": people}
        scene = Scene(ground, judge, ["backup", "now", "--json"], facts=facts)
        ground.site.passphrase.chmod(0o644)
        yield scene


def _check_alerts(scene: Scene, life: Life, whole: dict[str, set[str]]) -> None:
    if not life.killed:
        require(life.status != 0, "a backup that cannot be encrypted ends with 0")


def _settle_alerts(scene: Scene, life: Life) -> None:
    """It fails again and is told; then it succeeds, and the end is told to all who heard."""
    people: Crowd = scene.facts["people"]
    site = scene.ground.site
    try:
        failed = scene.ground.run("backup", "now", "--json")
        require(failed.status == 1, f"the second failure: {failed.err}")
        require("alert" in people.kinds("pager"), "nobody was paged")
        site.passphrase.chmod(0o600)
        _settle_backup(scene, life)
        with scene.judge.catalog() as catalog:
            require(catalog.outstanding() == 0, "a message waits")
            left = [one.key for one in catalog.incidents() if one.state is not State.RESOLVED]
            require(not left, f"open: {left}")
        for name in ("pager", "mail"):
            kinds = people.kinds(name)
            require(not kinds or kinds[-1] == "resolved", f"{name} heard no end: {kinds}")
            for one in people.heard(name):
                same = sum(other == one for other in people.heard(name))
                require(same <= 2, f"{name} heard {same} times: {one['title']}")
    finally:
        site.passphrase.chmod(0o644)
        for receiver in people.receivers.values():
            receiver.requests.clear()


# --- migration ----------------------------------------------------------------------------------


def _prepare_migration(world: World) -> Iterator[Scene]:
    """A catalog of the first guardian, with backups in it, opened by this one."""
    with world.database(SMALL) as database:
        ground = world.ground(database)
        made = {_back_up(ground), _back_up(ground)}
        judge = world.judge(ground, database, made)
        with judge.catalog() as catalog, catalog._database.writing() as connection:
            schema.downgrade(connection, schema.REVISIONS[0])
        judge = world.judge(ground, database, made)
        yield Scene(ground, judge, ["backup", "list", "--json"])


def _check_listing(scene: Scene, life: Life, whole: dict[str, set[str]]) -> None:
    if life.status == 0:
        listed = {one["id"] for one in life.json}
        require(listed == set(scene.judge.kept), f"listed: {listed}")


def _settle_migration(scene: Scene, life: Life) -> None:
    scene.ground.age()
    _check_listing(scene, scene.ground.well(*scene.words), {})
    scene.judge.after_the_next_run()


# --- a catalog from the stores ------------------------------------------------------------------


def _prepare_rebuild(world: World) -> Iterator[Scene]:
    """The catalog is gone; two backups, one of them proven, lie in the store."""
    with world.database(SMALL) as database:
        ground = world.ground(database)
        made = [_back_up(ground), _back_up(ground)]
        _prove(ground, made[:1])
        for path in ground.state.glob("catalog.db*"):
            path.unlink()
        judge = world.judge(ground, database, set(made))
        yield Scene(ground, judge, ["catalog", "rebuild", "--json"], facts={"proven": made[0]})


def _check_rebuild(scene: Scene, life: Life, whole: dict[str, set[str]]) -> None:
    """The store is only read."""
    if not life.killed and life.status == 0:
        with scene.judge.catalog() as catalog:
            known = {str(one.id) for one in catalog.backups()}
            require(known == set(scene.judge.kept), f"taken in: {known}")


def _settle_rebuild(scene: Scene, life: Life) -> None:
    scene.ground.age()
    scene.ground.well(*scene.words)
    scene.judge.after_the_next_run()
    with scene.judge.catalog() as catalog:
        proven = {str(one.id) for one in catalog.backups() if one.proven}
        require(proven == {scene.facts["proven"]}, f"proven: {proven}")


ALL = (
    Scenario("backup", 120, _prepare_backup, _check_backup, _settle_backup),
    Scenario("backup to S3", 140, _prepare_s3, _check_backup, _settle_backup),
    Scenario("prune", 60, _prepare_prune, _check_prune, _settle_prune),
    Scenario("drill", 60, _prepare_drill, _check_drill, _settle_drill),
    Scenario("drill, embedded", 60, _prepare_embedded_drill, _check_drill, _settle_drill),
    Scenario("restore", 60, _prepare_restore, _check_restore, _settle_restore),
    Scenario("alerts", 60, _prepare_alerts, _check_alerts, _settle_alerts),
    Scenario("migration", 30, _prepare_migration, _check_listing, _settle_migration),
    Scenario("rebuild", 30, _prepare_rebuild, _check_rebuild, _settle_rebuild),
    Scenario("backup, disk full", 20, _prepare_full_disk, _check_backup, _settle_backup, True),
    Scenario("backup, wire cut", 60, _prepare_cut_backup, _check_backup, _settle_backup),
    Scenario("drill, wire cut", 60, _prepare_cut_drill, _check_drill, _settle_drill),
    Scenario("restore, wire cut", 60, _prepare_cut_restore, _check_restore, _settle_restore),
)
BY_NAME = {one.name: one for one in ALL}

__all__ = ["ALL", "BY_NAME", "Scenario", "Scene", "World"]
