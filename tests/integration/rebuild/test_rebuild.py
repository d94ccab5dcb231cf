"""``guardian catalog rebuild`` as a person runs it, on real stores, after real backups."""

from __future__ import annotations

import json
import shutil
import sqlite3
import time
from pathlib import Path

import psycopg
import pytest
from support.postgres import Database
from support.rebuilding import RebuildSite, assert_failed
from support.site import Site, snapshot_of

pytestmark = pytest.mark.usefixtures("hasty_stores")

NO_RULE = {"keep_daily": 0, "keep_weekly": 0, "keep_monthly": 0, "keep_within": "0s"}


def test_after_the_state_is_lost_all_is_as_before(site: RebuildSite) -> None:
    oldest, middle, newest = (site.back_up() for _ in range(3))
    site.site.server["retention"] = {"keep_last": 1, "keep_proven": 1, **NO_RULE}
    site.run("backup", "keep", oldest, "--reason", "before the migration")
    site.drill(middle, "offsite")
    site.drill(newest, "local", "mismatch")
    before, verdicts = site.shown(), site.run("backup", "prune", "--dry-run")
    stored = [snapshot_of(site.site.store), snapshot_of(site.bucket)]
    site.lose_the_catalog()
    document = site.rebuild()
    assert site.shown() == before
    assert site.run("backup", "prune", "--dry-run") == verdicts
    assert [snapshot_of(site.site.store), snapshot_of(site.bucket)] == stored
    assert document["set_aside"] is None
    assert (document["backups"], document["proofs"], document["pins"]) == (3, 2, 1)
    assert site.told(document, "local") == {
        "name": "local",
        "backups": 3,
        "added": 3,
        "proofs": 1,
        "pins": 1,
        "forgotten": 0,
        "unfinished": 0,
        "damaged": 0,
        "error": None,
    }
    again = site.rebuild()
    assert site.shown() == before
    assert (again["backups"], again["proofs"], again["pins"]) == (3, 2, 1)
    assert [one["added"] for one in again["stores"]] == [0, 0]
    assert len(site.proofs(middle)) == len(site.proofs(newest)) == 1
    assert site.proofs(newest)[0].differences[0].object == "table public.users"

    site.run("backup", "prune")
    assert [item["id"] for item in site.run("backup", "list")] == [middle, oldest]
    assert newest not in str(snapshot_of(site.bucket))


def test_a_new_host_with_nothing_but_the_bucket(site: RebuildSite, tmp_path: Path) -> None:
    backup = site.back_up()
    site.run("backup", "keep", backup)
    here = Site(tmp_path / "new host", site.site.dsn)
    here.stores = {"offsite": site.site.stores["offsite"]}
    fresh = RebuildSite(here, site.s3)
    assert fresh.run("backup", "list") == []
    fresh.rebuild()
    (item,) = fresh.run("backup", "list")
    assert (item["id"], item["stores"], item["kept"]) == (backup, ["offsite"], True)


def test_what_a_person_reads(site: RebuildSite) -> None:
    backup = site.back_up()
    site.run("backup", "keep", backup)
    site.lose_the_catalog()
    outcome = site.site.run("catalog", "rebuild", check=True)
    local, offsite, last = outcome.out.splitlines()
    assert local == (
        "local: 1 backup (1 new), 0 proofs, 1 pin, 0 forgotten, 0 unfinished folders, 0 damaged"
    )
    assert offsite.startswith("offsite: 1 backup (1 new)")
    assert last == "the catalog knows 1 backup of these stores, with 0 proofs and 1 pin"


def test_in_place_nothing_is_lost_and_what_is_gone_is_forgotten(site: RebuildSite) -> None:
    oldest, newest = site.back_up(), site.back_up()
    site.run("backup", "keep", newest)
    failing = Site(site.site.root, "host=/nowhere dbname=x", {"backup": {"attempts": 1}})
    assert failing.run("backup", "now").code == 1
    with sqlite3.connect(site.catalog) as connection:
        tries = connection.execute("SELECT * FROM guardian_backups").fetchall()
        events = connection.execute("SELECT * FROM guardian_events").fetchall()
    before = site.shown()
    site.rebuild()
    assert site.shown() == before
    shutil.rmtree(next(site.site.store.glob(f"*/*/{oldest}")))
    document = site.rebuild()
    assert site.told(document, "local")["forgotten"] == 1
    listed = {item["id"]: item["stores"] for item in site.run("backup", "list")}
    assert listed == {newest: ["local", "offsite"], oldest: ["offsite"]}
    with sqlite3.connect(site.catalog) as connection:
        assert connection.execute("SELECT * FROM guardian_backups").fetchall() == tries
        assert connection.execute("SELECT * FROM guardian_events").fetchall()[: len(events)] == (
            events
        )


def test_a_store_that_cannot_be_reached_changes_nothing_and_is_told(site: RebuildSite) -> None:
    backup = site.back_up()
    before = site.shown()
    assert site.s3 is not None
    site.s3.stop()
    assert_failed(site.site.run("catalog", "rebuild"), "store offsite was not read in full")
    assert site.shown() == before
    site.lose_the_catalog()
    document = site.rebuild(code=1)
    assert site.told(document, "offsite")["error"]
    (item,) = site.run("backup", "list")
    assert (item["id"], item["stores"]) == (backup, ["local"])


def test_damaged_manifests_and_foreign_files(site: RebuildSite) -> None:
    damaged, whole = site.back_up(), site.back_up()
    folder = next(site.site.store.glob(f"*/*/{damaged}"))
    (folder / "manifest.json").write_bytes(b"\x00" * 100)
    (site.site.store / "holiday.jpg").write_bytes(b"jpg")
    (folder.parent / "notes.txt").write_text("mine")
    (folder.parent / "20261123T020000Z-00000a").mkdir()
    (folder.parent / "20261123T020000Z-00000a" / "manifest.json.orig").write_text("{}")
    half = folder.parent / "20261123T020000Z-00000b"
    half.mkdir()
    (half / "database.dump.zst.gpg").write_bytes(b"half")
    before = snapshot_of(site.site.store)
    site.lose_the_catalog()
    document = site.rebuild(code=1)
    told = site.told(document, "local")
    assert (told["backups"], told["damaged"], told["unfinished"]) == (1, 1, 1)
    (problem,) = document["problems"]
    assert damaged in problem
    assert "damaged" in problem
    listed = {item["id"]: item["stores"] for item in site.run("backup", "list")}
    assert listed == {whole: ["local", "offsite"], damaged: ["offsite"]}
    assert snapshot_of(site.site.store) == before


def test_under_object_lock_pins_and_locks_come_back(locked_site: RebuildSite) -> None:
    site = locked_site
    backup = site.back_up()
    site.run("backup", "keep", backup)
    site.drill(backup, "offsite")
    before = site.shown()
    assert before[1][0]["copies"][0]["locked_until"] is not None
    site.lose_the_catalog()
    document = site.rebuild()
    assert (document["proofs"], document["pins"]) == (1, 1)
    after = site.shown()
    locks = [shown[1][0]["copies"][0].pop("locked_until")[:15] for shown in (before, after)]
    assert locks[0] == locks[1]  # the store's own time may be off by a moment
    assert after == before
    assert site.run("backup", "unkeep", backup)["notes"] == []
    site.lose_the_catalog()
    assert site.rebuild()["pins"] == 0
    assert not site.run("backup", "show", backup)["kept"]


def test_keep_says_where_its_note_could_not_go(site: RebuildSite) -> None:
    backup = site.back_up()
    assert site.s3 is not None
    site.s3.stop()
    document = site.run("backup", "keep", backup)
    assert document["kept"]
    (note,) = document["notes"]
    assert "offsite" in note
    site.lose_the_catalog()
    site.rebuild(code=1)
    assert site.run("backup", "show", backup)["kept"]


def test_beside_a_running_backup(local_site: RebuildSite, small: Database) -> None:
    """The dump waits behind a lock that we hold, so the rebuild surely meets it."""
    site = local_site
    first = site.back_up()
    with psycopg.connect(small.dsn()) as connection:
        connection.execute("LOCK TABLE users IN ACCESS EXCLUSIVE MODE")
        running = site.site.start("backup", "now", "--json")
        deadline = time.monotonic() + 60
        while not _waits(connection) and time.monotonic() < deadline:
            time.sleep(0.05)
        document = site.rebuild()
        assert document["backups"] == 1
        connection.rollback()
    out, err = running.communicate(timeout=120)
    assert running.returncode == 0, err
    (result,) = json.loads(out)
    assert [item["id"] for item in site.run("backup", "list")] == [result["id"], first]
    site.rebuild()
    assert [item["id"] for item in site.run("backup", "list")] == [result["id"], first]


def _waits(connection: psycopg.Connection[object]) -> bool:
    query = "SELECT count(*) > 0 FROM pg_locks WHERE NOT granted AND relation = 'users'::regclass"
    row = connection.execute(query).fetchone()
    return row == (True,)


# --- the file itself ---


def damage_all(file: Path) -> None:
    file.write_text("servers: {}\n" * 500)


def damage_pages(file: Path) -> None:
    with sqlite3.connect(file) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    size = file.stat().st_size
    with file.open("r+b") as damaged:
        damaged.seek(8192)
        damaged.write(b"\xa5" * (size - 8192))


def cut(file: Path) -> None:
    with sqlite3.connect(file) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    with file.open("r+b") as damaged:
        damaged.truncate(file.stat().st_size // 2)


def drop_a_table(file: Path) -> None:
    with sqlite3.connect(file) as connection:
        connection.execute("DROP TABLE guardian_pins")


@pytest.mark.parametrize("damage", [damage_all, damage_pages, cut, drop_a_table])
def test_a_damaged_file_is_put_aside(local_site: RebuildSite, damage: object) -> None:
    site = local_site
    backup = site.back_up()
    site.run("backup", "keep", backup)
    assert callable(damage)
    damage(site.catalog)
    broken = site.catalog.stat().st_ino
    aside = Path(site.rebuild()["set_aside"])
    assert aside.parent == site.state
    assert aside.name.startswith("catalog.db.damaged-2")
    assert aside.stat().st_ino == broken
    (item,) = site.run("backup", "list")
    assert (item["id"], item["kept"]) == (backup, True)
    assert site.rebuild()["set_aside"] is None
    site.back_up()


def test_a_log_that_was_left_is_not_played_into_the_new_catalog(local_site: RebuildSite) -> None:
    site = local_site
    backup = site.back_up()
    holder = sqlite3.connect(site.catalog)  # keeps the log from being folded in
    holder.execute("SELECT count(*) FROM guardian_backups").fetchone()
    site.run("backup", "keep", backup)
    log = site.catalog.with_name("catalog.db-wal")
    assert log.stat().st_size
    kept = log.read_bytes()
    holder.close()
    damage_all(site.catalog)
    log.write_bytes(kept)
    aside = Path(site.rebuild()["set_aside"])
    assert aside.with_name(aside.name + "-wal").exists()
    (item,) = site.run("backup", "list")
    assert item["kept"]


def test_a_damaged_file_says_what_to_do(local_site: RebuildSite) -> None:
    local_site.back_up()
    damage_all(local_site.catalog)
    outcome = local_site.site.run("backup", "list")
    assert_failed(outcome, "guardian catalog rebuild")


def test_the_catalog_of_a_newer_guardian_stays_where_it_is(local_site: RebuildSite) -> None:
    local_site.back_up()
    with sqlite3.connect(local_site.catalog) as connection:
        connection.execute("UPDATE guardian_catalog_version SET version_num = '9999'")
    outcome = local_site.site.run("catalog", "rebuild")
    assert_failed(outcome, "newer guardian")
    assert sorted(path.name for path in local_site.state.glob("*damaged*")) == []


def test_what_cannot_be_opened_for_other_reasons_stays(local_site: RebuildSite) -> None:
    local_site.back_up()
    local_site.catalog.rename(local_site.state / "elsewhere")
    local_site.catalog.mkdir()
    outcome = local_site.site.run("catalog", "rebuild")
    assert_failed(outcome, "cannot be opened")
    assert local_site.catalog.is_dir()
