from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from itertools import product
from typing import Any

import pytest
from support.scene import LAST_ONE, NOW, PARTS, REF, TTL, Scene, holder, manifest

from guardian.backup import pins, rebuild, stocktaking
from guardian.backup.kept_file import kept_key
from guardian.backup.manifest import MANIFEST_NAME, backup_prefix, encode_manifest, manifest_key
from guardian.backup.proof_file import encode_proof, proof_key
from guardian.backup.rebuild import RebuildResult
from guardian.backup.rebuild_result import RebuiltStore
from guardian.backup.small_objects import write_small
from guardian.errors import AlreadyRunningError, CatalogError, StoreError
from guardian.model import (
    BackupId,
    DatabaseRef,
    Event,
    ProofRecord,
    ProofResult,
    RunStatus,
)
from guardian.testing import MemoryCatalog, MemoryStore
from guardian.verify.records import read_proofs, record_proof

DAY = timedelta(days=1)
OTHER = DatabaseRef("gone from the config".replace(" ", "-"), "büro/1")


@pytest.fixture(autouse=True, params=[1, 256], ids=["one at a time", "many at a time"])
def batch(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing depends on how many are read before the catalog is told."""
    monkeypatch.setattr(stocktaking, "BATCH", request.param)


@pytest.fixture
def scene() -> Scene:
    return Scene()


class Silence:
    """Progress that nobody watches."""

    def begin(self, label: str, total_bytes: int | None = None) -> None:
        pass

    def advance(self, done_bytes: int) -> None:
        pass

    def note(self, text: str) -> None:
        pass

    def end(self, summary: str) -> None:
        pass


def run(scene: Scene, *stores: str) -> RebuildResult:
    chosen = [scene.stores[name] for name in stores or scene.stores]
    return rebuild.rebuild(scene.catalog, chosen, scene.clock, holder(), Silence())


def lose_the_catalog(scene: Scene) -> None:
    scene.catalog = MemoryCatalog(scene.clock)


def drill(
    scene: Scene,
    backup: BackupId,
    store: str = "local",
    result: ProofResult = ProofResult.PROVEN,
) -> tuple[str, ...]:
    """A drill that ends now; the next one ends a second later."""
    scene.clock.advance(1)
    record = ProofRecord(backup, store, result, scene.clock.now(), tables=3, rows=42)
    made = scene.catalog.manifest(backup) or manifest(backup, NOW)
    return record_proof(
        scene.catalog,
        list(scene.stores.values()),
        made,
        record,
        clock=scene.clock,
        guardian_version="1",
        host="db-1",
    )


def keep(scene: Scene, backup: BackupId, why: str | None = None) -> tuple[str, ...]:
    record = scene.catalog.backup(backup)
    assert record is not None
    stores = list(scene.stores.values())
    return pins.keep(scene.catalog, stores, record, at=scene.clock.now(), by="ada", why=why)


def unkeep(scene: Scene, backup: BackupId) -> tuple[str, ...]:
    record = scene.catalog.backup(backup)
    assert record is not None
    stores = list(scene.stores.values())
    return pins.unkeep(scene.catalog, stores, record, at=scene.clock.now(), by="ada")


def known(scene: Scene) -> Any:
    """All that a person sees of the catalog's backups."""
    catalog = scene.catalog
    return [
        (replace(one, outcomes=()), catalog.manifest(one.id), catalog.proofs(one.id))
        for one in catalog.backups()
    ]


def told(result: RebuildResult, name: str) -> RebuiltStore:
    return next(one for one in result.stores if one.name == name)


# --- what comes back ---


def test_all_that_the_stores_tell_comes_back(scene: Scene):
    newest, middle, oldest = scene.nights(3)
    scene.back_up(NOW - DAY, ["offsite"], ref=OTHER)
    keep(scene, oldest, "before the migration")
    drill(scene, newest)
    drill(scene, middle, "offsite", ProofResult.MISMATCH)
    before = known(scene)
    lose_the_catalog(scene)
    result = run(scene)
    after = known(scene)
    assert [one[:2] for one in after] == [one[:2] for one in before]
    assert [[replace(p, reason=None) for p in one[2]] for one in after] == [
        one[2] for one in before
    ]
    assert result.stores == (
        RebuiltStore("local", backups=3, added=3, proofs=1, pins=1),
        RebuiltStore("offsite", backups=4, added=4, proofs=1, pins=1),
    )
    assert (result.backups, result.proofs, result.pins) == (4, 2, 1)
    assert not result.failed
    assert scene.catalog.events(kind="catalog.rebuilt")


def test_pruning_judges_as_before(scene: Scene):
    backups = scene.nights(6)
    keep(scene, backups[3])
    drill(scene, backups[4])
    drill(scene, backups[0], result=ProofResult.MISMATCH)
    policy = replace(LAST_ONE, keep_proven=1)
    before = scene.prune(policy, dry_run=True)
    lose_the_catalog(scene)
    run(scene)
    assert scene.prune(policy, dry_run=True).documents() == before.documents()


def test_doing_it_again_changes_nothing(scene: Scene):
    newest, oldest = scene.nights(2)
    keep(scene, oldest)
    drill(scene, newest)
    drill(scene, newest, "offsite", ProofResult.INCONCLUSIVE)
    lose_the_catalog(scene)
    first = run(scene)
    before = known(scene)
    contents = [store.contents() for store in scene.stores.values()]
    again = run(scene)
    assert known(scene) == before
    assert [store.contents() for store in scene.stores.values()] == contents
    assert again.stores == tuple(replace(one, added=0) for one in first.stores)
    assert replace(again, stores=()) == replace(first, stores=())


def test_in_place_it_keeps_what_the_catalog_alone_knows(scene: Scene):
    newest, oldest = scene.nights(2)
    scene.catalog.pin(oldest, NOW, "ada")  # as guardian did before there were notes
    drill(scene, newest, result=ProofResult.UNRESTORABLE)
    failed = scene.begin(NOW - 9 * DAY)
    scene.fail(failed, NOW - 9 * DAY)
    scene.catalog.record_event(Event(NOW, "test", "something happened"))
    lease = scene.catalog.acquire("backup:main/mina", holder(9), TTL)
    before = known(scene)
    result = run(scene)
    assert known(scene) == before
    assert not result.failed
    assert scene.catalog.events(kind="test")
    assert lease in scene.catalog.leases()
    found = scene.catalog.backup(failed)
    assert found is not None
    assert found.status is RunStatus.FAILED


def test_a_drill_is_not_doubled_beside_the_catalogs_fuller_record(scene: Scene):
    (backup,) = scene.nights(1)
    drill(scene, backup, result=ProofResult.UNRESTORABLE)
    (before,) = scene.catalog.proofs(backup)
    run(scene)
    assert scene.catalog.proofs(backup) == [before]


def test_locks_are_asked_for(scene: Scene):
    scene = Scene(lock_for=30 * DAY)
    (backup,) = scene.nights(1)
    locked(scene, backup)
    lose_the_catalog(scene)
    run(scene)
    record = scene.catalog.backup(backup)
    assert record is not None
    assert all(one.locked_until is not None for one in record.outcomes)


def test_a_lock_that_only_the_object_itself_tells(scene: Scene):
    """An S3 listing does not tell of locks."""
    scene = Scene(lock_for=30 * DAY)
    (backup,) = scene.nights(1)
    locked(scene, backup)
    lose_the_catalog(scene)
    for store in scene.stores.values():
        blind(store)
    run(scene)
    record = scene.catalog.backup(backup)
    assert record is not None
    assert all(one.locked_until is not None for one in record.outcomes)


def locked(scene: Scene, backup: BackupId) -> None:
    """Write the manifests as a run does; what the scene plants has no lock."""
    for store in scene.stores.values():
        key = manifest_key(REF, backup)
        write_small(store, key, store.contents()[key])


def blind(store: MemoryStore) -> None:
    listed = store.list

    def without_locks(prefix: str = "") -> Any:
        return (replace(one, locked_until=None) for one in listed(prefix))

    store.list = without_locks  # type: ignore[method-assign]


def test_a_try_that_was_given_up_and_lies_whole_is_a_backup(scene: Scene):
    backup = scene.begin(NOW - DAY)
    scene.put("local", manifest(backup, NOW - DAY))
    scene.fail(backup, NOW - DAY)
    run(scene)
    record = scene.catalog.backup(backup)
    assert record is not None
    assert (record.status, record.stores) == (RunStatus.SUCCEEDED, ("local",))


def test_a_manifest_that_is_damaged_in_the_catalog_is_mended(scene: Scene):
    (backup,) = scene.nights(1)
    scene.catalog._manifests[backup] = b"{"
    assert not run(scene).failed
    assert scene.catalog.manifest(backup) == manifest(backup, NOW.replace(hour=2))


# --- what is gone, damaged or foreign ---


def test_copies_that_are_not_there_any_more_are_forgotten(scene: Scene):
    newest, oldest = scene.nights(2)
    for key in [key for key in scene.stores["local"].contents() if oldest in key]:
        scene.stores["local"].delete(key)
    result = run(scene)
    assert told(result, "local").forgotten == 1
    assert not result.failed
    assert not result.notes
    assert [(one.id, one.stores) for one in scene.catalog.backups()] == [
        (newest, ("local", "offsite")),
        (oldest, ("offsite",)),
    ]
    (event,) = scene.catalog.events(kind="backup.missing")
    assert event.backup == oldest


def test_a_store_that_is_suddenly_empty_is_told_of_and_comes_back(scene: Scene):
    """As a disk that is not mounted looks."""
    (backup,) = scene.nights(1)
    keep(scene, backup)
    drill(scene, backup)
    before = known(scene)
    full = scene.stores["local"]
    scene.stores["local"] = MemoryStore("local", clock=scene.clock)
    result = run(scene)
    assert told(result, "local").forgotten == 1
    assert "if its disk is not mounted" in result.notes[0]
    scene.stores["local"] = full
    run(scene)
    assert known(scene) == before


def test_a_store_that_cannot_be_listed_changes_nothing_about_its_copies(scene: Scene):
    newest, oldest = scene.nights(2)
    scene.back_up(NOW - DAY, ["offsite"], ref=OTHER)
    before = known(scene)
    scene.stores["offsite"].faults.list = StoreError("store offsite: no route")
    scene.stores["offsite"].faults.list_after = 3
    result = run(scene)
    assert known(scene) == before
    assert result.failed
    assert told(result, "offsite").error == "store offsite: no route"
    assert "offsite was not read in full" in result.problems[0]
    assert told(result, "local").backups == 2
    lose_the_catalog(scene)
    run(scene)
    assert [one.id for one in scene.catalog.backups()] == [newest, oldest]


def test_one_manifest_that_cannot_be_read_does_not_cost_the_others(scene: Scene):
    _, broken, _ = scene.nights(3)
    lose_the_catalog(scene)
    scene.stores["local"].faults.open_reader = StoreError("store local: I/O error")
    scene.stores["local"].faults.keys = f"{broken}/{MANIFEST_NAME}"
    result = run(scene, "local")
    assert len(scene.catalog.backups()) == 2
    assert told(result, "local").damaged == 1
    assert "I/O error" in result.problems[0]


def test_a_copy_that_cannot_be_read_now_is_not_forgotten(scene: Scene):
    scene.nights(2)
    before = known(scene)
    scene.stores["local"].faults.open_reader = StoreError("store local: I/O error")
    scene.stores["local"].faults.keys = MANIFEST_NAME
    assert run(scene).failed
    assert known(scene) == before


def test_a_store_that_goes_away_is_given_up_and_nothing_is_forgotten(scene: Scene):
    nights = scene.nights(40)
    gone = nights[-1]
    scene.stores["local"].delete(manifest_key(REF, gone))
    before = known(scene)
    scene.stores["local"].faults.open_reader = StoreError("store local: no route")
    result = run(scene)
    assert known(scene) == before
    assert "given up" in (told(result, "local").error or "")
    assert told(result, "local").damaged < 40


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: b"",
        lambda data: data[: len(data) // 2],
        lambda data: data.replace(b'"main"', b'"evil"'),
        lambda data: data.replace(b'"name": "fingerprint.json.zst.gpg"', b'"name": "../../x"'),
        lambda data: data + b" " * (17 << 20),
        lambda data: re.sub(
            rb'"plain_bytes": \d+', b'"plain_bytes": %d' % (2**63 - 1), data
        ).replace(b'"kind": "globals"', b'"kind": "dump"'),
    ],
    ids=["empty", "half", "of another", "outside", "huge", "overflow"],
)
def test_damaged_manifests_are_told_and_not_taken_in(
    scene: Scene, damage: Callable[[bytes], bytes]
):
    newest, oldest = scene.nights(2)
    key = manifest_key(REF, newest)
    for store in scene.stores.values():
        store.plant(key, damage(store.contents()[key]), NOW)
    lose_the_catalog(scene)
    result = run(scene)
    assert [one.id for one in scene.catalog.backups()] == [oldest]
    assert [one.damaged for one in result.stores] == [1, 1]
    assert newest in result.problems[0]
    assert "local" in result.problems[0]


def test_a_name_that_no_catalog_holds_is_told(scene: Scene):
    odd = DatabaseRef("main", "\udcff")
    made = manifest(scene.nights(1)[0], NOW, odd)
    scene.put("local", made)
    result = run(scene)
    assert "not UTF-8" in result.problems[0]
    assert told(result, "local").damaged == 1


def test_a_backup_whose_parts_are_not_all_there_is_told_and_not_taken_in(scene: Scene):
    newest, _ = scene.nights(2)
    scene.stores["local"].delete(backup_prefix(REF, newest) + PARTS[0])
    lose_the_catalog(scene)
    result = run(scene)
    record = scene.catalog.backup(newest)
    assert record is not None
    assert record.stores == ("offsite",)
    assert f"{PARTS[0]} is missing" in result.problems[0]


def test_another_backup_under_a_known_id_is_not_taken_in(scene: Scene):
    (backup,) = scene.nights(1)
    before = known(scene)
    forged = manifest(backup, NOW.replace(hour=2))
    part = replace(forged.parts[0], sha256="cd" * 32)
    forged = replace(forged, parts=(part, *forged.parts[1:]))
    scene.stores["offsite"].plant(manifest_key(REF, backup), encode_manifest(forged), NOW)
    result = run(scene)
    assert known(scene) == before
    assert told(result, "offsite").damaged == 1
    assert "another backup" in result.problems[0]


def test_parts_without_a_manifest_are_counted_and_left(scene: Scene):
    scene.nights(1)
    half = scene._new_id(NOW - DAY)
    scene.plant("local", half, PARTS[0], at=NOW - DAY)
    scene.plant("local", half, PARTS[1], at=NOW - DAY)
    before = scene.stores["local"].contents()
    result = run(scene)
    assert told(result, "local").unfinished == 1
    assert not result.failed
    assert scene.stores["local"].contents() == before


def test_foreign_files_are_nothing(scene: Scene):
    (backup,) = scene.nights(1)
    local = scene.stores["local"]
    for key in (
        "readme.txt",
        "main/mina/manifest.json",
        "main/mina/20269923T020000Z-000001/manifest.json",
        "main/mina/20261123T020000Z-00000g/manifest.json",
        "main/mina/20261120T020000Z-0000aa/holiday.jpg",
        "a/b/c/d/e/f",
        backup_prefix(REF, backup) + "proof-of-purchase.json",
        backup_prefix(REF, backup) + "kept.json.bak",
    ):
        local.plant(key, b"{}", NOW)
    lose_the_catalog(scene)
    result = run(scene)
    assert told(result, "local") == RebuiltStore("local", backups=1, added=1)
    assert not result.problems
    assert not result.notes


@pytest.mark.parametrize("name", ["lost+found/x", "notes/x", "old/x/y", "0/manifest.json"])
def test_a_foreign_folder_within_a_backup_does_not_cut_it_in_two(scene: Scene, name: str):
    newest, oldest = scene.nights(2)
    keep(scene, oldest, "before the migration")
    drill(scene, newest, result=ProofResult.UNRESTORABLE)
    for store, backup in product(scene.stores, (newest, oldest)):
        scene.plant(store, backup, name, at=NOW)
    before = known(scene)
    lose_the_catalog(scene)
    result = run(scene)
    assert [one[:2] for one in known(scene)] == [one[:2] for one in before]
    assert (result.backups, result.proofs, result.pins) == (2, 1, 1)
    assert [(one.backups, one.unfinished) for one in result.stores] == [(2, 0), (2, 0)]
    assert not result.problems


# --- drills ---


def signed(scene: Scene, backup: BackupId, **changes: Any) -> None:
    """The record of a drill beside a backup, with something wrong about it."""
    record = ProofRecord(backup, "local", ProofResult.PROVEN, scene.clock.now())
    data = encode_proof(record, manifest_sha256="ab" * 32, guardian_version="1", host="h")
    document = json.loads(data) | changes
    key = proof_key(REF, backup, record.at)
    scene.stores["local"].plant(key, json.dumps(document).encode(), NOW)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({}, "another manifest"),
        ({"result": "splendid"}, "damaged"),
        ({"id": "20200101T000000Z-000000"}, "that of 2020"),
        ({"format": 7}, "format 7"),
    ],
    ids=str,
)
def test_a_drill_that_does_not_fit_is_left_out_and_told(
    scene: Scene, changes: dict[str, Any], words: str
):
    (backup,) = scene.nights(1)
    signed(scene, backup, **changes)
    lose_the_catalog(scene)
    result = run(scene)
    assert not scene.catalog.proofs(backup)
    assert words in result.notes[0]
    assert not result.failed


def test_a_drill_from_the_future_would_decide_for_ever(scene: Scene):
    (backup,) = scene.nights(1)
    scene.clock.advance(2 * DAY)
    drill(scene, backup)
    lose_the_catalog(scene)
    scene.clock.jump_to(NOW)
    result = run(scene)
    assert not scene.catalog.proofs(backup)
    assert "2026-11-25" in result.notes[0]


def test_a_drill_that_cannot_be_read_costs_itself_alone(scene: Scene):
    (backup,) = scene.nights(1)
    drill(scene, backup)
    drill(scene, backup)
    names = [key for key in scene.stores["local"].contents() if "proof-" in key]
    scene.stores["local"].faults.open_reader = StoreError("store local: I/O error")
    scene.stores["local"].faults.keys = names[0]
    lose_the_catalog(scene)
    result = run(scene)
    assert len(scene.catalog.proofs(backup)) == 1
    assert "I/O error" in result.notes[0]


# --- pins ---


def test_a_pin_comes_back_with_who_and_why(scene: Scene):
    (backup,) = scene.nights(1)
    keep(scene, backup, "before the migration")
    document = json.loads(scene.stores["offsite"].contents()[kept_key(REF, backup)])
    assert (document["by"], document["reason"]) == ("ada", "before the migration")
    lose_the_catalog(scene)
    told_pins: list[tuple[Any, ...]] = []
    pin = scene.catalog.pin
    scene.catalog.pin = lambda *words: (told_pins.append(words), pin(*words))[1]  # type: ignore[method-assign,func-returns-value]
    run(scene)
    assert told_pins == [(backup, NOW, "ada", "before the migration")]


def test_what_was_unkept_stays_so(scene: Scene):
    (backup,) = scene.nights(1)
    keep(scene, backup)
    assert unkeep(scene, backup) == ()
    assert not any("kept" in key for key in scene.stores["local"].contents())
    lose_the_catalog(scene)
    assert run(scene).pins == 0
    record = scene.catalog.backup(backup)
    assert record is not None
    assert not record.kept


def test_under_object_lock_a_pin_is_taken_back_by_a_note(scene: Scene):
    scene = Scene(lock_for=30 * DAY)
    (backup,) = scene.nights(1)
    keep(scene, backup)
    assert unkeep(scene, backup) == ()
    lose_the_catalog(scene)
    assert run(scene).pins == 0
    keep(scene, backup)
    lose_the_catalog(scene)
    assert run(scene).pins == 1


def test_a_store_that_is_away_costs_the_note_and_not_the_pin(scene: Scene):
    (backup,) = scene.nights(1)
    scene.stores["offsite"].faults.open_writer = StoreError("store offsite: no route")
    (line,) = keep(scene, backup)
    assert "no route" in line
    record = scene.catalog.backup(backup)
    assert record is not None
    assert record.kept
    lose_the_catalog(scene)
    run(scene)
    record = scene.catalog.backup(backup)
    assert record is not None
    assert record.kept


def test_unkeep_says_where_the_note_stays(scene: Scene):
    (backup,) = scene.nights(1)
    keep(scene, backup)
    scene.stores["offsite"].faults.delete = StoreError("store offsite: no route")
    (line,) = unkeep(scene, backup)
    assert "pin it again" in line
    record = scene.catalog.backup(backup)
    assert record is not None
    assert not record.kept
    run(scene)
    record = scene.catalog.backup(backup)
    assert record is not None
    assert record.kept


def test_no_note_is_written_where_the_backup_is_not(scene: Scene):
    (backup,) = scene.nights(1)
    scene.stores["local"].delete(manifest_key(REF, backup))
    (line,) = keep(scene, backup)
    assert "not there any more" in line
    assert not any("kept" in key for key in scene.stores["local"].contents())


def test_a_store_out_of_the_configuration_is_told(scene: Scene):
    (backup,) = scene.nights(1)
    del scene.stores["offsite"]
    (line,) = keep(scene, backup)
    assert "offsite: it is not configured any more" in line


def test_a_damaged_pin_keeps(scene: Scene):
    (backup,) = scene.nights(1)
    scene.stores["local"].plant(kept_key(REF, backup), b"{", NOW)
    lose_the_catalog(scene)
    result = run(scene)
    record = scene.catalog.backup(backup)
    assert record is not None
    assert record.kept
    assert "kept to be safe" in result.notes[0]


# --- beside others ---


def test_a_running_try_is_left_to_its_process(scene: Scene):
    backup = scene._new_id(NOW)
    lease = scene.catalog.acquire(f"backup:{REF}", holder(7), TTL)
    scene.catalog.begin_backup(backup, REF, NOW, lease)
    scene.put("local", manifest(backup, NOW))
    result = run(scene)
    record = scene.catalog.backup(backup)
    assert record is not None
    assert record.status is RunStatus.RUNNING
    assert result.backups == 0
    assert "left to that run" in result.notes[0]


def test_a_dead_try_that_lies_whole_is_taken_in(scene: Scene):
    backup = scene._new_id(NOW)
    lease = scene.catalog.acquire(f"backup:{REF}", holder(7), TTL)
    scene.catalog.begin_backup(backup, REF, NOW, lease)
    scene.put("local", manifest(backup, NOW))
    scene.dead.add(7)
    run(scene)
    assert [one.id for one in scene.catalog.backups()] == [backup]


def test_what_is_pruned_while_it_reads_is_not_brought_back(scene: Scene):
    newest, oldest = scene.nights(2)
    lose_the_catalog(scene)
    local = scene.stores["local"]
    stat = local.stat

    def gone(key: str) -> Any:
        if oldest in key:
            local.delete(key)
        return stat(key)

    local.stat = gone  # type: ignore[method-assign]
    result = run(scene, "local")
    assert [one.id for one in scene.catalog.backups()] == [newest]
    assert told(result, "local").backups == 1


def test_what_is_finished_while_it_reads_is_not_forgotten(scene: Scene):
    (backup,) = scene.nights(1)
    local = scene.stores["local"]
    listed = local.list
    local.list = lambda prefix="": (one for one in listed(prefix) if backup not in one.key)  # type: ignore[method-assign]
    result = run(scene)
    assert told(result, "local").forgotten == 0
    assert scene.catalog.backups()[0].stores == ("local", "offsite")


def test_pruning_waits_until_pins_and_drills_are_taken_in(scene: Scene):
    newest, oldest = scene.nights(2)
    keep(scene, oldest)
    lose_the_catalog(scene)
    imported = scene.catalog.import_manifest

    def prune_in_between(*words: Any) -> None:
        imported(*words)
        with pytest.raises(AlreadyRunningError):
            scene.prune()

    scene.catalog.import_manifest = prune_in_between  # type: ignore[method-assign,assignment]
    run(scene)
    assert [one.id for one in scene.catalog.backups()] == [newest, oldest]
    scene.prune()
    assert scene.ids("local") == {newest, oldest}


def test_it_waits_for_a_prune_and_then_gives_the_database_up(scene: Scene):
    scene.nights(1)
    scene.back_up(NOW - DAY, ref=OTHER)
    lose_the_catalog(scene)
    scene.catalog.acquire(f"prune:{REF}", holder(9), timedelta(hours=1))
    result = run(scene)
    assert [one.ref for one in scene.catalog.backups()] == [OTHER]
    assert "main/mina was not taken in full" in result.problems[0]
    assert sum(scene.clock.slept) >= 60


def test_it_waits_for_a_prune_that_ends(scene: Scene):
    scene.nights(1)
    lose_the_catalog(scene)
    scene.catalog.acquire(f"prune:{REF}", holder(9), timedelta(seconds=30))
    result = run(scene)
    assert not result.failed
    assert len(scene.catalog.backups()) == 1


def test_it_holds_no_more_than_a_batch(scene: Scene, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(stocktaking, "BATCH", 4)
    scene.nights(30)
    lose_the_catalog(scene)
    held, most = 0, 0
    for store in scene.stores.values():
        opened = store.open_reader

        def count(key: str, opened: Any = opened) -> Any:
            nonlocal held, most
            if key.endswith(MANIFEST_NAME):
                held += 1
                most = max(most, held)
            return opened(key)

        store.open_reader = count  # type: ignore[method-assign]
    imported = scene.catalog.import_manifest

    def let_go(*words: Any) -> None:
        nonlocal held
        held -= 1
        imported(*words)

    scene.catalog.import_manifest = let_go  # type: ignore[method-assign,assignment]
    assert run(scene).backups == 30
    assert (held, most) == (0, 4)


@pytest.mark.parametrize("method", ["import_manifest", "pin", "record_proof", "forget_copy"])
@pytest.mark.parametrize("which", [0, 1, 4])
def test_interrupted_anywhere_nothing_is_lost_and_the_next_one_completes_it(
    scene: Scene, method: str, which: int
):
    nights = scene.nights(7)
    scene.back_up(NOW - DAY, ref=OTHER)
    for backup in nights[:5]:
        keep(scene, backup)
        drill(scene, backup, "offsite")
    lose_the_catalog(scene)
    run(scene)
    for backup in nights[1:6]:
        scene.stores["local"].delete(manifest_key(REF, backup))
    if method != "forget_copy":
        lose_the_catalog(scene)
    contents = [store.contents() for store in scene.stores.values()]
    calls, real = 0, getattr(scene.catalog, method)

    def interrupted(*words: Any) -> None:
        nonlocal calls
        calls += 1
        if calls > which:
            raise KeyboardInterrupt
        real(*words)

    setattr(scene.catalog, method, interrupted)
    with pytest.raises(KeyboardInterrupt):
        run(scene)
    assert not scene.catalog.leases()
    setattr(scene.catalog, method, real)
    result = run(scene)
    assert (result.backups, result.proofs, result.pins) == (8, 5, 5)
    after = known(scene)
    lose_the_catalog(scene)
    run(scene)
    assert known(scene) == after
    assert [store.contents() for store in scene.stores.values()] == contents


def test_a_store_that_goes_away_after_it_was_listed_is_forgotten_nothing_of(scene: Scene):
    """As a disk that is unmounted in the middle looks."""
    scene.nights(3)
    scene.back_up(NOW - DAY, ref=OTHER)
    before = known(scene)
    local, calls = scene.stores["local"], 0
    listed = local.list

    def only_once(prefix: str = "") -> Any:
        nonlocal calls
        calls += 1
        return listed(prefix) if calls == 1 else iter(())

    local.list = only_once  # type: ignore[method-assign]
    local.stat = lambda key: None  # type: ignore[method-assign]
    result = run(scene)
    assert known(scene) == before
    assert "went away" in (told(result, "local").error or "")
    assert result.failed


def test_two_at_once_are_refused(scene: Scene):
    scene.nights(1)
    scene.catalog.acquire("catalog:rebuild", holder(9), TTL)
    with pytest.raises(AlreadyRunningError):
        run(scene)


def test_a_catalog_that_is_away_ends_it(scene: Scene):
    scene.nights(1)
    scene.catalog.fail(CatalogError("catalog: away"))
    with pytest.raises(CatalogError):
        run(scene)


# --- beside the backup, and pruning ---


def test_what_lies_beside_goes_with_the_backup(scene: Scene):
    newest, oldest = scene.nights(2)
    keep(scene, oldest)
    drill(scene, oldest)
    unkeep(scene, oldest)
    scene.stores["local"].plant(kept_key(REF, oldest), b"whatever", NOW)
    order: list[str] = []
    delete = scene.stores["local"].delete
    scene.stores["local"].delete = lambda key: (order.append(key), delete(key))[1]  # type: ignore[method-assign,func-returns-value]
    scene.prune()
    assert scene.ids("local") == {newest}
    names = [key.rpartition("/")[2] for key in order]
    assert names[0] == MANIFEST_NAME
    assert {"kept.json", names[-1]} <= set(names)
    assert any(name.startswith("proof-") for name in names)
    assert names[-1] == "RESTORE.txt"


def test_a_later_lock_of_a_drill_does_not_keep_the_backup(scene: Scene):
    scene = Scene("local", lock_for=10 * DAY, now=NOW - 11 * DAY)
    oldest = scene.back_up(NOW - 11 * DAY)
    scene.clock.jump_to(NOW - DAY / 2)
    scene.back_up(NOW - DAY / 2)
    drill(scene, oldest)
    scene.clock.jump_to(NOW)
    result = scene.prune()
    assert [one.deleted for one in result.backups] == [False, True]
    left = [key for key in scene.stores["local"].contents() if oldest in key]
    assert {key.rpartition("/")[2][:6] for key in left} == {"proof-", "RESTOR"}
    scene.clock.jump_to(NOW + 20 * DAY)
    scene.prune(trust_clock=True)
    assert oldest not in scene.ids("local")


def test_a_drill_alone_in_a_folder_is_no_backup(scene: Scene):
    newest, oldest = scene.nights(2)
    drill(scene, oldest)
    scene.stores["local"].delete(manifest_key(REF, oldest))
    result = run(scene)
    assert told(result, "local").unfinished == 1
    assert told(result, "local").backups == 1
    scene.prune()
    assert scene.ids("local") == {newest}


# --- recording a drill ---


def test_a_drill_is_recorded_in_the_store_that_was_drilled(scene: Scene):
    (backup,) = scene.nights(1)
    assert drill(scene, backup, "offsite") == ()
    assert not any("proof" in key for key in scene.stores["local"].contents())
    (record,) = read_proofs(scene.stores["offsite"], REF, backup)
    assert record == scene.catalog.proofs(backup)[0]


def test_a_store_that_fails_never_loses_the_catalogs_record(scene: Scene):
    (backup,) = scene.nights(1)
    scene.stores["local"].faults.commit = StoreError("store local: full")
    (line,) = drill(scene, backup)
    assert "full" in line
    assert len(scene.catalog.proofs(backup)) == 1
    (event,) = scene.catalog.events(kind="proof.failed")
    assert event.backup == backup


def test_a_manifest_that_was_replaced_gets_no_proof(scene: Scene):
    (backup,) = scene.nights(1)
    made = manifest(backup, NOW.replace(hour=2))
    part = replace(made.parts[0], sha256="cd" * 32)
    forged = encode_manifest(replace(made, parts=(part, *made.parts[1:])))
    scene.stores["local"].plant(manifest_key(REF, backup), forged, NOW)
    (line,) = drill(scene, backup)
    assert "replaced" in line
    assert not any("proof-" in key for key in scene.stores["local"].contents())


def test_the_newest_ten_stay(scene: Scene):
    (backup,) = scene.nights(1)
    for _ in range(13):
        drill(scene, backup)
    found = read_proofs(scene.stores["local"], REF, backup)
    assert found == scene.catalog.proofs(backup)[:10]


def test_what_decides_stays_however_many_could_not_tell_since(scene: Scene):
    (backup,) = scene.nights(1)
    drill(scene, backup, result=ProofResult.MISMATCH)
    drill(scene, backup)
    for _ in range(12):
        drill(scene, backup, result=ProofResult.INCONCLUSIVE)
    lose_the_catalog(scene)
    run(scene)
    record = scene.catalog.backup(backup)
    assert record is not None
    assert record.proven is True
    assert len(scene.catalog.proofs(backup)) == 11


def test_locked_records_stay_and_harm_nobody(scene: Scene):
    scene = Scene(lock_for=30 * DAY)
    (backup,) = scene.nights(1)
    for _ in range(12):
        assert drill(scene, backup) == ()
    assert len(read_proofs(scene.stores["local"], REF, backup)) == 12


def test_a_backup_that_the_catalog_did_not_know_is_taken_in_with_its_pin(scene: Scene):
    backup = scene.back_up(NOW)
    keep(scene, backup)
    scene.stores["local"].delete(kept_key(REF, backup))  # as if local had been away then
    lose_the_catalog(scene)
    assert drill(scene, backup) == ()
    record = scene.catalog.backup(backup)
    assert record is not None
    assert (record.stores, record.kept, record.proven) == (("local",), True, True)
