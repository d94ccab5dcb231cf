"""Whoever can write to a store puts another manifest there: each is refused, and moves nothing."""

from __future__ import annotations

import json
import os
import shutil
from datetime import timedelta
from typing import Any

import psycopg
import pytest
from support.catalogs import holder
from support.forging import FORGERIES, MANIFEST, SIGNATURE, Scene, strip
from support.rebuilding import RebuildSite, assert_failed
from support.site import Site, snapshot_of

from guardian.config import load_config
from guardian.daemon.app import App
from guardian.daemon.sensors import Sensors
from guardian.errors import Cause
from guardian.model import BackupId, RunStatus
from guardian.testing import FakeClock

LATER = "20991123T020000Z-00000a"
NO_RULE = {"keep_daily": 0, "keep_weekly": 0, "keep_monthly": 0, "keep_within": "0s"}
KEEP_ONE = {"keep_last": 1, **NO_RULE}


def forge_all(scene: Scene, backup: str) -> dict[str, str]:
    """Every forgery at once, each claiming to be a newer backup: how each id must be refused."""
    told = {}
    for place, (how, why) in enumerate(FORGERIES.values()):
        new = f"20991123T020000Z-00000{place}"
        told[new] = why
        for intruder in scene.both:
            how(intruder.forge(backup, new, snapshot_at=f"2026-11-27T0{place}:00:00Z"))
    scene.reopen()
    return told


def test_a_forged_manifest_with_right_hashes_is_refused_by_every_command(scene: Scene) -> None:
    """Parts are the real ones; ids, sizes and hashes fit; it claims to be the newest backup."""
    forged = forge_all(scene, scene.older)
    for store in ("local", "offsite"):
        listed = scene.site.attempt("backup", "list", "--store", store)
        assert listed.code == 1
        for backup, why in forged.items():
            (line,) = [line for line in listed.err.splitlines() if backup in line]
            assert line.startswith(f"guardian: store {store}: the manifest of {backup} ")
            assert why in line
    for backup, why in forged.items():
        for words in (
            ("verify", backup, "--store", "local"),
            ("restore", backup, "--to", "dbname=nowhere host=/nowhere", "--store", "offsite"),
        ):
            assert_failed(scene.site.attempt(*words), f"the manifest of {backup} ", why)
    for _ in range(2):  # with the catalog, and after it is lost
        document = scene.site.rebuild(code=1)
        assert len(document["problems"]) == 2 * len(forged)
        for backup, why in forged.items():
            assert any(backup in one and why in one for one in document["problems"])
        assert scene.listed() == {scene.older, scene.newer}
        scene.site.lose_the_catalog()


def test_no_forged_backup_makes_a_real_one_go(scene: Scene) -> None:
    """Five that claim to be newer, beside keep_last: 1."""
    scene.site.site.server["retention"] = KEEP_ONE
    before = scene.site.run("backup", "prune", "--dry-run")
    forged = forge_all(scene, scene.newer)
    stored = [snapshot_of(one.folder(scene.newer)) for one in scene.both]
    outcome = scene.site.attempt("backup", "prune", "--json")
    assert_failed(outcome, "(and 2 more)", "stays and does not count")
    verdicts = {item["id"]: item["verdict"] for item in outcome.json}
    assert verdicts == {item["id"]: item["verdict"] for item in before}
    assert verdicts[scene.newer] == "keep"
    assert [snapshot_of(one.folder(scene.newer)) for one in scene.both] == stored
    for intruder in scene.both:
        left = {one.name for one in intruder.root.glob("main/*/*") if any(one.iterdir())}
        assert left == {scene.newer, *forged}
    assert scene.listed() == {scene.newer}


def test_an_older_backup_under_a_newer_ones_id(scene: Scene, stage: Any) -> None:
    """Rolled back: the newer one's folder holds the older one, as it is or under its own id."""
    for rewritten in (False, True):
        for intruder in scene.both:
            target = intruder.folder(scene.newer)
            shutil.rmtree(target)
            if rewritten:
                intruder.forge(scene.older, scene.newer, started_at="2026-11-27T00:00:00Z")
            else:
                intruder.copy(scene.older, scene.newer)
        scene.reopen()
        run = scene.site.attempt
        words = ("restore", scene.newer, "--to", stage.database.dsn())
        assert_failed(run(*words), "the manifest")
        document = scene.site.rebuild(code=1)
        assert any(scene.newer in problem for problem in document["problems"])
    scene.site.lose_the_catalog()
    scene.site.rebuild(code=1)
    assert scene.listed() == {scene.older}


def test_a_backup_of_one_database_in_anothers_folder(scene: Scene) -> None:
    """As it is, and with a manifest that names that database."""
    for intruder in scene.both:
        folder = intruder.folder(scene.newer)
        for name, database in (("payments", None), ("billing", "billing")):
            moved = folder.parent.with_name(name) / scene.newer
            shutil.copytree(folder, moved)
            if database:
                document = json.loads((moved / MANIFEST).read_bytes()) | {"database": database}
                (moved / MANIFEST).write_text(json.dumps(document))
    scene.reopen()
    scene.site.lose_the_catalog()
    document = scene.site.rebuild(code=1)
    text = "\n".join(document["problems"])
    assert "is that of" in text
    assert f"the manifest of {scene.newer} is forged" in text
    assert {item["database"] for item in scene.site.run("backup", "list")}.isdisjoint(
        {"payments", "billing"}
    )
    assert scene.listed() == {scene.older, scene.newer}


def test_a_swapped_part(scene: Scene, stage: Any) -> None:
    """A real dump of ours, of another night: it decrypts well, and its hash is not the signed one.

    With the manifest changed to fit, the signature does not.
    """
    dump = "database.dump.zst.gpg"
    for intruder in scene.both:
        target, other = intruder.folder(scene.newer), intruder.folder(scene.older)
        shutil.copy(other / dump, target / dump)
    scene.reopen()
    to = stage.database.dsn().replace(stage.database.name, "swapped_part")
    assert_failed(scene.site.attempt("restore", scene.newer, "--to", to, "--create"), dump)
    for intruder in scene.both:
        theirs = {part["name"]: part for part in intruder.manifest(scene.older)["parts"]}
        document = intruder.manifest(scene.newer)
        document["parts"] = [theirs[dump] if p["name"] == dump else p for p in document["parts"]]
        (intruder.folder(scene.newer) / MANIFEST).write_text(json.dumps(document))
    scene.reopen()
    outcome = scene.site.attempt("restore", scene.newer, "--to", to, "--create")
    assert_failed(outcome, "the manifest", "is forged or damaged")
    with psycopg.connect(stage.database.dsn()) as connection:
        found = connection.execute("SELECT FROM pg_database WHERE datname = 'swapped_part'")
        assert found.fetchone() is None


@pytest.mark.parametrize("forgery", ["stripped", "left", "own passphrase"])
def test_a_drill_condemns_the_copy_of_a_known_backup_that_was_changed(
    scene: Scene, forgery: str
) -> None:
    """The catalog knows better, so it is certain, whatever the signature."""
    folder = scene.local.folder(scene.newer)
    document = scene.local.manifest(scene.newer) | {"rows": 1}
    (folder / MANIFEST).write_text(json.dumps(document))
    how, why = FORGERIES[forgery]
    how(folder)
    outcome = scene.site.attempt("verify", scene.newer, "--store", "local", "--json")
    assert outcome.code == 1
    assert outcome.result["result"] == "unrestorable"
    assert why in outcome.result["reason"]
    with App(load_config(scene.site.site.config)) as app:
        (event,) = app.catalog.events(kind="store.forged")
    assert event.data["store"] == "local"


def test_what_the_catalog_remembers_needs_no_signature_and_alarms_nobody(scene: Scene) -> None:
    """Stripped of it, a real backup is still the one that we made; a new host cannot know."""
    strip(scene.local.folder(scene.newer))
    shown = scene.site.run("backup", "show", scene.newer)
    assert shown["signed"] == "no"
    assert {one["store"]: one["signed"] for one in shown["copies"]} == {
        "local": "no",
        "offsite": "yes",
    }
    assert scene.site.rebuild()["damaged"] == 0
    assert scene.site.run("backup", "prune")
    scene.site.lose_the_catalog()
    document = scene.site.rebuild(code=1)
    (problem,) = document["problems"]
    assert "encryption.require_signed: false" in problem
    assert {item["id"]: item["stores"] for item in scene.site.run("backup", "list")} == {
        scene.older: ["local", "offsite"],
        scene.newer: ["offsite"],
    }
    scene.site.site.encryption["require_signed"] = False
    assert scene.site.rebuild()["damaged"] == 0
    assert set(scene.site.run("backup", "show", scene.newer)["stores"]) == {"local", "offsite"}


def test_show_tells_a_good_a_forged_and_an_unchecked_signature(scene: Scene) -> None:
    assert scene.site.run("backup", "show", scene.newer)["signed"] == "yes"
    scene.site.site.passphrase.write_text("another one\n")
    assert scene.site.run("backup", "show", scene.newer)["signed"] == "unchecked"
    text = scene.site.attempt("backup", "show", scene.older).out
    assert "signed" in text
    scene.site.site.passphrase.unlink()
    scene.site.site.__post_init__()
    (scene.local.folder(scene.newer) / SIGNATURE).write_bytes(b"{}")
    assert scene.site.run("backup", "show", scene.newer)["signed"] == "invalid"
    assert "INVALID in local" in scene.site.attempt("backup", "show", scene.newer).out
    scene.site.site.stores["local"]["path"] += "-moved"
    assert scene.site.run("backup", "show", scene.older)["copies"][0]["signed"] == "unknown"


def test_a_forged_store_is_an_incident_that_names_it(scene: Scene) -> None:
    """Told by the prune that met it: a page, and gone a day after it was last seen."""
    strip(scene.local.forge(scene.newer, LATER))
    assert scene.site.attempt("backup", "prune").code == 1
    with App(load_config(scene.site.site.config)) as app:
        (found,) = Sensors(app).stores().conditions
        later = FakeClock(app.clock.now() + timedelta(hours=26))
    assert (found.key, found.kind, found.severity.value) == (
        "store.forged:local",
        "store.forged",
        "P0",
    )
    assert LATER in str(found.evidence)
    with App(load_config(scene.site.site.config), clock=later) as app:
        assert Sensors(app).stores().conditions == ()


def test_a_try_that_died_is_not_made_a_success_by_a_forged_manifest(scene: Scene) -> None:
    """Its id shows in the store while it runs; the intruder completes it with a manifest."""
    dead = BackupId("20261127T000000Z-0000dd")
    with App(load_config(scene.site.site.config)) as app:
        ref, now = app.catalog.backups()[0].ref, app.clock.now()
        lease = app.catalog.acquire(f"backup:{ref}", holder(), timedelta(minutes=2))
        app.catalog.begin_backup(dead, ref, now, lease)
        app.catalog.fail_backup(dead, RunStatus.INTERRUPTED, now, Cause.INTERRUPTED, "killed")
        app.catalog.release(lease)
    for intruder in scene.both:
        strip(intruder.forge(scene.newer, dead))
    scene.reopen()
    assert_failed(scene.site.attempt("backup", "prune"), dead, "is not signed")
    assert dead not in scene.listed()


def test_the_bucket_alone_on_a_new_host(scene: Scene, tmp_path: Any) -> None:
    """Nothing but passphrase and bucket: the real ones come in, the forged one does not."""
    strip(scene.offsite.forge(scene.newer, LATER))
    scene.reopen()
    here = Site(tmp_path / "new host", scene.site.site.dsn)
    here.stores = {"offsite": scene.site.site.stores["offsite"]}
    fresh = RebuildSite(here, scene.site.s3)
    fresh.rebuild(code=1)
    assert {item["id"] for item in fresh.run("backup", "list")} == {scene.older, scene.newer}


def test_unfinished_signatures_are_swept(scene: Scene) -> None:
    """Of a run that died between signature and manifest, long ago."""
    for intruder in scene.both:
        folder = intruder.folder(scene.older).with_name("20200101T000000Z-00000a")
        folder.mkdir()
        (folder / SIGNATURE).write_text("{}")
        os.utime(folder / SIGNATURE, (1_577_836_800, 1_577_836_800))
    scene.reopen()
    scene.site.run("backup", "prune")
    left = [list(one.root.glob("main/*/20200101T000000Z-00000a/*")) for one in scene.both]
    assert left == [[], []]
