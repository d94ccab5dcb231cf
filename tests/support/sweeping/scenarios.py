"""What is swept: a command in a world that was prepared, the run after it, and what must hold."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import partial

from psycopg import sql
from psycopg.conninfo import conninfo_to_dict
from support.listeners import Crowd, crowd
from support.postgres import Database
from support.proxy import BreakableProxy
from support.sweeping.daemon import DAEMON
from support.sweeping.ground import Bucket, CatalogServer, Ground
from support.sweeping.hazards import CutWire, FullDisk, small_disk
from support.sweeping.invariants import require
from support.sweeping.nursery import Life
from support.sweeping.stage import (
    LARGE,
    RETENTION,
    SMALL,
    Scenario,
    Scene,
    World,
    back_up,
    prove,
)

from guardian.adapters.catalog import schema
from guardian.escalate.model import State

CONDEMNING = {"mismatch", "unrestorable"}

# --- backups ------------------------------------------------------------------------------------


def _prepare_backup(world: World) -> Iterator[Scene]:
    yield _backups(world, world.stocked())


def _backups(world: World, ground: Ground) -> Scene:
    """A proven backup and three newer ones, the oldest of which the next backup's prune removes.

    So the run after it removes the second at most, and the first and the newest stay throughout.
    """
    proven, *_, newest = world.larder.ids
    judge = world.judge(ground, {proven, newest})
    return Scene(ground, judge, ["backup", "now", "--json"])


def _prepare_full_disk(world: World) -> Iterator[Scene]:
    """State, store and temporary files on a disk that is as good as full."""
    with small_disk(world.folder / "disk") as disk:
        yield replace(_backups(world, world.stocked(disk)), hazard=FullDisk(disk))


def _prepare_cut_backup(world: World) -> Iterator[Scene]:
    """The server behind a wire that is cut."""
    with world.wire() as wire:
        ground = world.stocked()
        ground.site.dsn = world.through(wire, world.larder.database.dsn(tcp=True))
        yield replace(_backups(world, ground), hazard=CutWire(wire))


def _prepare_s3(world: World) -> Iterator[Scene]:
    """The same in a folder and a bucket, with an object that is uploaded in parts."""
    with world.database(SMALL, LARGE) as database:
        ground = world.ground(database)
        server = world.s3()
        ground.bucket = Bucket(server, server.new_bucket("sweep"))
        ground.site.stores["offsite"] = ground.bucket.section
        proven = back_up(ground)
        prove(ground, [proven])
        judge = world.judge(ground, {proven, back_up(ground)}, database)
        yield Scene(ground, judge, ["backup", "now", "--json"])


def _prepare_catalog_server(world: World) -> Iterator[Scene]:
    """The catalog in PostgreSQL: each of its statements is a point."""
    with world.database() as database:
        yield from _with_catalog(world, database, database.dsn(tcp=True))


def _prepare_cut_catalog(world: World) -> Iterator[Scene]:
    """That server behind a wire that is cut; the one that is backed up stays."""
    with world.database() as database, world.wire() as wire:
        dsn = world.through(wire, database.dsn(tcp=True))
        for scene in _with_catalog(world, database, dsn):
            yield replace(scene, hazard=CutWire(wire))


def _with_catalog(world: World, database: Database, dsn: str) -> Iterator[Scene]:
    ground = world.stocked()
    at = conninfo_to_dict(dsn)
    url = (
        f"postgresql+psycopg://{at['user']}:{at['password']}@{at['host']}:{at['port']}"
        f"/{at['dbname']}?sslmode={at.get('sslmode', 'prefer')}"
    )
    ground.catalog = CatalogServer(database, url)
    ground.site.sections["catalog"] = url
    ground.well("catalog", "rebuild", "--json")
    try:
        yield _backups(world, ground)
    finally:
        ground.catalog.close()


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
    unread = scene.judge.without_fingerprint()
    require(result["id"] not in unread, "the next backup has no fingerprint")
    require(life.struck or not unread, f"no fingerprint, and no fault: {unread}")
    prove(ground, scene.judge.touched(there), unread)


# --- pruning ------------------------------------------------------------------------------------


def _prepare_prune(world: World) -> Iterator[Scene]:
    """Four backups, of which two are to go."""
    ground = world.stocked(retention={**RETENTION, "keep_last": 1})
    proven, *_, newest = world.larder.ids
    yield Scene(ground, world.judge(ground, {proven, newest}), ["backup", "prune", "--json"])


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
    """The latest backup, drilled on a given server."""
    yield _drills(world, world.stocked())


def _prepare_embedded_drill(world: World) -> Iterator[Scene]:
    """The same on a server that is made for it."""
    ground = world.stocked(verify={"scratch": "embedded", "schedule": None, "jobs": 1})
    ground.well("verify", "--json")  # makes the template of such a server
    yield _drills(world, ground)


def _prepare_cut_drill(world: World) -> Iterator[Scene]:
    """The scratch server behind a wire that is cut."""
    with world.wire() as wire:
        ground = world.stocked()
        scratch = world.through(wire, world.server.dsn(tcp=True))
        ground.site.server["verify"]["scratch"] = scratch
        yield replace(_drills(world, ground), hazard=CutWire(wire))


def _drills(world: World, ground: Ground) -> Scene:
    judge, facts = world.judge(ground, world.larder.ids), {"drilled": world.larder.ids[-1]}
    return Scene(ground, judge, ["verify", "--json"], facts=facts)


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
    prove(scene.ground, [scene.facts["drilled"]])
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
    with world.database() as target:
        ground = world.stocked()
        judge = world.judge(ground, world.larder.ids)
        dsn = target.dsn() if wire is None else world.through(wire, target.dsn(tcp=True))
        words = ["restore", world.larder.ids[-1], "--to", dsn, "--replace", "--json"]
        hazard = None if wire is None else CutWire(wire)
        scene = Scene(ground, judge, words, hazard, facts={"target": target})
        scene.also = partial(_put_target_back, scene)
        try:
            yield scene
        finally:
            _put_target_back(scene)


def _put_target_back(scene: Scene) -> None:
    """Nothing but the database that was there, with what was in it."""
    target: Database = scene.facts["target"]
    for name in scene.judge.databases(f"{target.name}%"):
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


# --- alerts -------------------------------------------------------------------------------------


def _prepare_alerts(world: World) -> Iterator[Scene]:
    """A backup that fails, for others may read the passphrase; and two who hear of it."""
    with crowd("pager", "mail") as people:
        ground = world.stocked()
        ground.site.sections["escalation"] = people.section(
            {"on-call": ["pager"], "lead": ["mail"]}
        )
        proven, *_, newest = world.larder.ids
        judge = world.judge(ground, {proven, newest})

        def begin() -> None:
            ground.site.passphrase.chmod(0o644)
            for receiver in people.receivers.values():
                receiver.requests.clear()

        words = ["backup", "now", "--json"]
        yield Scene(ground, judge, words, facts={"people": people}, also=begin)


def _check_alerts(scene: Scene, life: Life, whole: dict[str, set[str]]) -> None:
    if not life.killed:
        require(life.status != 0, "a backup that cannot be encrypted ends with 0")


def _settle_alerts(scene: Scene, life: Life) -> None:
    """It fails again and is told; then it succeeds, and the end is told to all who heard."""
    people: Crowd = scene.facts["people"]
    site = scene.ground.site
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


# --- migration ----------------------------------------------------------------------------------


def _prepare_migration(world: World) -> Iterator[Scene]:
    """A catalog of the first guardian, with backups in it, opened by this one."""
    ground = world.stocked()
    judge = world.judge(ground, world.larder.ids)
    with judge.catalog() as catalog, catalog._database.writing() as connection:
        schema.downgrade(connection, schema.REVISIONS[0])
    judge = world.judge(ground, world.larder.ids)
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
    """The catalog is gone; the backups, one of them proven, lie in the store."""
    ground = world.stocked()
    for path in ground.state.glob("catalog.db*"):
        path.unlink()
    judge = world.judge(ground, world.larder.ids)
    facts = {"proven": world.larder.ids[0]}
    yield Scene(ground, judge, ["catalog", "rebuild", "--json"], facts=facts)


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
    Scenario("alerts", 60, _prepare_alerts, _check_alerts, _settle_alerts, fails=True),
    Scenario("migration", 30, _prepare_migration, _check_listing, _settle_migration),
    Scenario("rebuild", 30, _prepare_rebuild, _check_rebuild, _settle_rebuild),
    Scenario("backup, catalog server", 120, _prepare_catalog_server, _check_backup, _settle_backup),
    DAEMON,
    Scenario(
        "backup, disk full", 20, _prepare_full_disk, _check_backup, _settle_backup, needs_root=True
    ),
    Scenario("backup, wire cut", 60, _prepare_cut_backup, _check_backup, _settle_backup),
    Scenario("backup, catalog cut off", 60, _prepare_cut_catalog, _check_backup, _settle_backup),
    Scenario("drill, wire cut", 60, _prepare_cut_drill, _check_drill, _settle_drill),
    Scenario("restore, wire cut", 60, _prepare_cut_restore, _check_restore, _settle_restore),
)
BY_NAME = {one.name: one for one in ALL}

__all__ = ["ALL", "BY_NAME", "Scenario", "Scene", "World"]
