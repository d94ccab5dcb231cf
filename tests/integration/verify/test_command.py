"""``guardian verify`` as people and scripts call it: words, stores, documents, exit codes."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from support.drilling import SMALL, proofs_in, verify, verify_one
from support.postgres import PostgresServer
from support.site import PASSPHRASE, Outcome, Site


@dataclass
class Place:
    """Two databases, of which the first has two backups; each in two folders."""

    site: Site
    first: str
    second: str
    old: str
    new: str
    other: str


@pytest.fixture(scope="module")
def place(pg15: PostgresServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    first, second = pg15.create_database(), pg15.create_database()
    first.execute(SMALL)
    second.execute("CREATE TABLE one (id int); INSERT INTO one VALUES (1)")
    root = tmp_path_factory.mktemp("command") / "site"
    site = Site(root, pg15.dsn())
    site.server = {"databases": [first.name, second.name]}
    site.stores["offsite"] = {"kind": "local", "path": str(root / "offsite")}
    old = site.back_up(f"main/{first.name}").result["id"]
    time.sleep(1.1)  # ids order by seconds
    made = {item["database"]: item["id"] for item in site.back_up().json}
    yield Place(site, first.name, second.name, old, made[first.name], made[second.name])
    for database in (first, second):
        pg15.drop_database(database.name)


# --- words --------------------------------------------------------------------------------------


def test_latest_all_servers_databases_and_ids(place: Place) -> None:
    """One run for each word; what it drills, and nothing twice."""
    latest, everything = {place.new, place.other}, {place.old, place.new, place.other}
    for words, ids in (
        ([], latest),
        (["all"], everything),
        ([f"main/{place.first}", place.old[:-2], place.new], {place.old, place.new}),
    ):
        drills = verify(place.site, *words)
        assert len(drills) == len(ids)
        assert {drill["id"] for drill in drills} == ids
        assert {drill["result"] for drill in drills} == {"proven"}
        assert {drill["store"] for drill in drills} == {"local"}


def refused(outcome: Outcome, *told: str) -> None:
    outcome.assert_clean()
    assert outcome.code == 2, outcome.err
    assert outcome.out in {"", "[]\n"}
    for words in told:
        assert words in outcome.err


def test_words_that_name_nothing(place: Place) -> None:
    site = place.site
    refused(site.run("verify", "--json", "elsewhere"), "there is no server 'elsewhere'", "main")
    refused(site.run("verify", "--json", "main/nowhere"), "no backup of main/nowhere")
    refused(site.run("verify", "--json", "main/"), "SERVER or SERVER/DATABASE")
    refused(site.run("verify", "--json", "20200101T000000Z-abcdef"), "there is no backup")
    refused(site.run("verify", "--json", place.new[:4]), "fits 3 backups")
    refused(site.run("verify", "--json", "--store", "attic"), "no store 'attic'", "local")


def test_without_any_backup(place: Place, tmp_path: Path) -> None:
    empty = Site(tmp_path / "site", place.site.dsn)
    refused(empty.run("verify", "--json"), "there is no backup to verify", "guardian backup now")


# --- stores -------------------------------------------------------------------------------------


def test_the_other_store(place: Place) -> None:
    drill = verify_one(place.site, place.new, "--store", "offsite")
    assert (drill["result"], drill["store"]) == ("proven", "offsite")
    folder = place.site.root / "offsite"
    assert [proof["store"] for proof in proofs_in(folder)[place.new]] == ["offsite"]


def test_a_backup_that_the_store_does_not_have(place: Place) -> None:
    site = replace(place.site)
    site.stores = {**site.stores, "attic": {"kind": "local", "path": str(site.root / "attic")}}
    (site.root / "attic").mkdir(mode=0o700, exist_ok=True)
    refused(site.run("verify", "--json", place.new, "--store", "attic"), "not in store attic")
    refused(site.run("verify", "--json", "latest", "--store", "attic"), "no backup in store attic")


def test_on_a_new_host_a_store_alone_is_enough(place: Place, tmp_path: Path) -> None:
    other = Site(tmp_path / "site", place.site.dsn, stores=place.site.stores)
    refused(other.run("verify", "--json", place.old), "there is no backup")
    drill = verify_one(other, place.old[:-1], "--store", "offsite")
    assert (drill["id"], drill["result"]) == (place.old, "proven")
    # Its catalog has taken it in; the others come with the store, too.
    listed = other.run("backup", "list", "--json", check=True).json
    assert [(item["id"], item["proven"]) for item in listed] == [(place.old, True)]
    fresh = Site(tmp_path / "third", place.site.dsn, stores=place.site.stores)
    drills = verify(fresh, f"main/{place.second}", "--store", "local")
    assert [drill["id"] for drill in drills] == [place.other]


def test_damage_in_one_store_and_the_other_is_well(place: Place) -> None:
    site = place.site
    folder = site.root / "offsite" / "main" / place.second / place.other
    (dump,) = folder.glob("database.dump*")
    good = dump.read_bytes()
    try:
        dump.chmod(0o600)
        dump.write_bytes(good[:-20] + bytes([good[-20] ^ 1]) + good[-19:])
        # One damaged, one well: the worst decides the exit code.
        drills = verify(site, place.other, place.new, "--store", "offsite", code=1)
        told = {drill["id"]: (drill["result"], drill["reason"]) for drill in drills}
        assert told[place.new] == ("proven", None)
        result, reason = told[place.other]
        assert result == "unrestorable"
        assert "database.dump.zst.gpg in store offsite is damaged" in reason
        assert "SHA-256" in reason
        assert "another store" in reason
        shown = site.run("backup", "show", place.other, "--json", check=True).json
        assert shown["proven"] is False
        assert verify_one(site, place.other, "--store", "local")["result"] == "proven"
        dump.unlink()
        drill = verify_one(site, place.other, "--store", "offsite", code=1)
        assert "is not in store offsite any more" in drill["reason"]
    finally:
        dump.write_bytes(good)


def test_a_backup_that_vanished_from_its_store(place: Place) -> None:
    folder = place.site.root / "offsite" / "main" / place.first / place.old
    away = folder.with_name("away")
    folder.rename(away)
    try:
        drill = verify_one(place.site, place.old, "--store", "offsite", code=1)
        assert drill["result"] == "unrestorable"
        assert f"the manifest of {place.old} is not in store offsite any more" in drill["reason"]
    finally:
        shutil.rmtree(folder, ignore_errors=True)  # the drill left its record there
        away.rename(folder)


# --- documents ----------------------------------------------------------------------------------

FIELDS = {
    "id": str,
    "server": str,
    "database": str,
    "store": str,
    "result": str,
    "at": str,
    "tables": int,
    "rows": int,
    "seconds": float,
    "fetch_seconds": float,
    "restore_seconds": float,
    "compare_seconds": float,
    "differences": list,
    "checks": list,
    "reason": type(None),
    "previous_proven": type(None),
    "notes": list,
}


def test_the_json_document(place: Place) -> None:
    site = replace(place.site)
    checks = [
        {"name": "users survive", "sql": "SELECT count(*) = 500 FROM users"},
        {"name": "größer", "sql": "SELECT count(*) FROM notes"},
    ]
    site.server = {**site.server, "verify": {"checks": checks}}
    drill = verify_one(site, f"main/{place.first}", code=1)
    assert {name: type(value) for name, value in drill.items()} == {**FIELDS, "reason": str}
    assert drill["checks"] == [
        {"name": "users survive", "passed": True, "found": "true"},
        {"name": "größer", "passed": False, "found": "2000"},
    ]
    assert drill["result"] == "mismatch"
    assert drill["reason"] == "check fell short: 'größer'"
    assert (drill["server"], drill["database"]) == ("main", place.first)
    proof = proofs_in(site.store)[place.new][-1]
    assert proof["result"] == "mismatch"
    drill = verify_one(place.site, f"main/{place.first}")
    assert {name: type(value) for name, value in drill.items()} == FIELDS


def test_what_people_read(place: Place) -> None:
    outcome = place.site.run("verify", place.new)
    assert outcome.code == 0
    assert f"{place.new}  main/{place.first}  proven  2 tables, 2,500 rows" in outcome.out
    assert "from local" in outcome.out
    assert "drill, restoring" in outcome.err
    assert "Traceback" not in outcome.err
    assert PASSPHRASE not in outcome.out + outcome.err


# --- two at once --------------------------------------------------------------------------------


def test_the_same_drill_is_running_already(place: Place) -> None:
    site = replace(place.site)
    slow = [{"name": "slow", "sql": "SELECT pg_sleep(5) IS NOT NULL"}]
    site.server = {**site.server, "verify": {"checks": slow}}
    first = site.start("verify", "--json", place.new)
    leases = site.root / "state" / "catalog.db"
    try:
        while b"verify:" + place.new.encode() not in _all_bytes(leases):
            assert first.poll() is None
            time.sleep(0.01)
        second = site.run("verify", "--json", place.new)
        assert second.code == 4, second.err
        assert second.json == []
        assert str(first.pid) in second.err
        # Another backup may be drilled meanwhile, and has its own result.
        both = place.site.run("verify", "--json", place.new, place.other)
        assert [drill["id"] for drill in both.json] == [place.other]
        assert both.code == 4
    finally:
        out, err = first.communicate(timeout=120)
    assert first.returncode == 0, err
    assert json.loads(out)[0]["result"] == "proven"


def _all_bytes(database: Path) -> bytes:
    return b"".join(path.read_bytes() for path in database.parent.glob(database.name + "*"))
