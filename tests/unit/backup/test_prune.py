from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any
from unittest.mock import Mock
from zoneinfo import ZoneInfo

import pytest
from support.scene import LAST_ONE, NOW, PARTS, REF, TTL, Scene, holder, manifest, verdicts

from guardian.adapters.stores.signed import Demands, SignedStore
from guardian.backup import pins, prune
from guardian.backup.lease import LeaseKeeper
from guardian.backup.manifest import MANIFEST_NAME, backup_prefix, encode_manifest, manifest_key
from guardian.backup.prune_result import PRUNE_FAILED, PRUNE_MENDED
from guardian.backup.retention import RetentionPolicy
from guardian.errors import (
    AlreadyRunningError,
    CatalogError,
    ForgedError,
    StoreError,
    StoreLockedError,
)
from guardian.model import (
    BackupId,
    DatabaseRef,
    ProofResult,
    RunStatus,
    StoreOutcome,
    StoreStatus,
)

DAY = timedelta(days=1)
LAST_TWO = replace(LAST_ONE, keep_last=2)


@pytest.fixture
def scene() -> Scene:
    return Scene()


# --- what goes and what stays ---


def test_what_no_rule_keeps_goes_from_every_store(scene: Scene):
    newest, middle, oldest = scene.nights(3)
    result = scene.prune()
    assert verdicts(result) == {
        newest: ("keep", False),
        middle: ("delete", True),
        oldest: ("delete", True),
    }
    assert not result.failed
    assert scene.ids("local") == scene.ids("offsite") == {newest}
    assert [one.id for one in scene.catalog.backups()] == [newest]
    assert len(scene.catalog.events(kind="backup.pruned")) == 4


def test_a_dry_run_changes_nothing_at_all(scene: Scene):
    scene.nights(3)
    half = scene.begin(NOW - 5 * DAY)
    scene.plant("local", half, PARTS[0], at=NOW - 5 * DAY)
    scene.fail(half, NOW - 4 * DAY)
    scene.stores["offsite"].faults.list = StoreError("store offsite: away")
    before = [store.contents() for store in scene.stores.values()]
    result = scene.prune(dry_run=True)
    assert [store.contents() for store in scene.stores.values()] == before
    assert not scene.catalog.events()
    assert [one.keep for one in result.backups] == [True, False, False]
    assert not any(one.deleted for one in result.backups)
    assert result.dry_run
    assert result.failed


def test_it_prunes_again_without_finding_anything(scene: Scene):
    scene.nights(5)
    scene.prune(LAST_TWO)
    before = [store.contents() for store in scene.stores.values()]
    again = scene.prune(LAST_TWO)
    assert [one.keep for one in again.backups] == [True, True]
    assert [store.contents() for store in scene.stores.values()] == before


def test_the_documents_are_as_the_contract_says(scene: Scene):
    newest, oldest = scene.nights(2)
    first, second = scene.prune().documents()
    assert json.loads(json.dumps(first))["reasons"] == ["newest good one", "last 1 of 1"]
    assert (first["id"], first["verdict"], first["deleted"]) == (newest, "keep", False)
    assert second == {
        "id": oldest,
        "server": "main",
        "database": "mina",
        "verdict": "delete",
        "reasons": ["no rule keeps it"],
        "deleted": True,
        "stores": [
            {
                "name": name,
                "verdict": "delete",
                "deleted": True,
                "locked_until": None,
                "error": None,
            }
            for name in ("local", "offsite")
        ],
    }


def test_order_comes_from_the_manifest_and_not_from_names(scene: Scene):
    late = scene.back_up(NOW - 1.5 * DAY, snapshot_at=NOW - 0.9 * DAY)
    early = scene.back_up(NOW - DAY)
    assert [one.id for one in scene.prune().backups] == [late, early]
    assert scene.ids("local") == {late}


def test_the_calendar_is_that_of_the_timezone(scene: Scene):
    two_a_day = replace(LAST_ONE, keep_last=0, keep_daily=2)
    scene.back_up(datetime(2026, 11, 21, 12, 0, tzinfo=UTC))
    scene.back_up(datetime(2026, 11, 22, 22, 30, tzinfo=UTC))
    scene.back_up(datetime(2026, 11, 22, 23, 30, tzinfo=UTC))
    here = scene.pruner().prune(REF, two_a_day, ZoneInfo("Europe/Berlin"), dry_run=True)
    there = scene.pruner().prune(REF, two_a_day, UTC, dry_run=True)
    assert [one.keep for one in here.backups] == [True, True, False]
    assert [one.keep for one in there.backups] == [True, False, True]


def test_other_databases_and_foreign_files_are_not_touched(scene: Scene):
    other = DatabaseRef("main", "mina2")
    scene.back_up(NOW - 9 * DAY, ref=other)
    newest, oldest = scene.nights(2)
    store = scene.stores["local"]
    foreign = [
        "main/mina/readme.txt",
        "main/mina/notes/today.txt",
        f"main/mina/{oldest}/holiday.jpg",
        f"main/mina/{oldest}/deep/manifest.json",
        "main/mina/99999999T999999Z-abcdef/database.dump.zst.gpg",
        "main/mina/20200101T000000Z-abcdef/mine.txt",
        "elsewhere/mina/20200101T000000Z-abcdef/database.dump",
    ]
    for key in foreign:
        store.plant(key, b"mine", NOW - 99 * DAY)
    scene.prune()
    left = store.contents()
    assert set(foreign) <= set(left)
    assert scene.ids("local", other)
    assert {key.split("/")[2] for key in left if key.endswith(MANIFEST_NAME)} >= {newest}
    assert manifest_key(REF, oldest) not in left


def test_hostile_database_names_are_found_again(scene: Scene):
    ref = DatabaseRef("main", "../mina/🐘 %2F")
    newest = scene.back_up(NOW - DAY, ref=ref)
    scene.back_up(NOW - 2 * DAY, ref=ref)
    result = scene.pruner().prune(ref, LAST_ONE)
    assert [one.deleted for one in result.backups] == [False, True]
    assert [one.id for one in scene.catalog.backups()] == [newest]


# --- pins, drills, readers, runs ---


def test_a_pinned_backup_stays(scene: Scene):
    *_, oldest = scene.nights(3)
    scene.catalog.pin(oldest, NOW, "me")
    assert scene.prune().backups[-1].reasons == ("pinned",)
    assert oldest in scene.ids("local")


def test_the_newest_good_backup_stays_when_newer_ones_failed_their_drill(scene: Scene):
    first, second, third = scene.nights(3)
    scene.drill(first, ProofResult.UNRESTORABLE)
    scene.drill(second, ProofResult.MISMATCH)
    scene.prune()
    assert scene.ids("local") == {third}


def test_the_newest_proven_backup_stays(scene: Scene):
    newest, _, proven, _ = scene.nights(4)
    scene.drill(proven)
    scene.prune(replace(LAST_ONE, keep_proven=1))
    assert scene.ids("local") == {newest, proven}


@pytest.mark.parametrize("suffix", ["", ":drill-1"])
def test_a_backup_that_is_read_stays(scene: Scene, suffix):
    newest, middle, _ = scene.nights(3)
    scene.catalog.acquire(f"read:{middle}{suffix}", holder(5), TTL)
    result = scene.prune()
    assert result.backups[1].reasons == ("being read",)
    assert scene.ids("local") == {newest, middle}


class Meanwhile:
    """A catalog in which something happens right after everything has been looked at."""

    def __init__(self, scene: Scene, deed) -> None:
        self._catalog = scene.catalog
        self._deed = deed

    def __getattr__(self, name):
        return getattr(self._catalog, name)

    def leases(self, prefix=""):
        found = self._catalog.leases(prefix)
        if self._deed is not None and prefix == "read:":
            deed, self._deed = self._deed, None
            deed()
        return found


@pytest.mark.parametrize("what", ["pin", "read", "read:shared"])
def test_what_somebody_wants_in_the_meantime_stays(scene: Scene, what):
    newest, oldest = scene.nights(2)

    def deed():
        if what == "pin":
            scene.catalog.pin(oldest, NOW, "me")
        else:
            name = f"read:{oldest}" + what.removeprefix("read")
            scene.catalog.acquire(name, holder(5), TTL)

    pruner = scene.pruner(lambda one: Meanwhile(scene, deed) if one is scene.catalog else one)
    result = pruner.prune(REF, LAST_ONE)
    assert verdicts(result) == {newest: ("keep", False), oldest: ("keep", False)}
    assert result.backups[1].reasons == ("pinned or being read by now",)
    assert scene.ids("local") == {newest, oldest}
    assert not result.failed


def test_nobody_can_begin_to_read_what_is_being_deleted(scene: Scene):
    _, oldest = scene.nights(2)
    refused = []

    class Watching:
        def __init__(self, store) -> None:
            self._store = store

        def __getattr__(self, name):
            return getattr(self._store, name)

        def delete(self, key):
            with pytest.raises(AlreadyRunningError):
                scene.catalog.acquire(f"read:{oldest}", holder(5), TTL)
            refused.append(key)
            self._store.delete(key)

    scene.pruner(lambda one: one if one is scene.catalog else Watching(one)).prune(REF, LAST_ONE)
    assert len(refused) == 2 * (len(PARTS) + 1)
    assert not scene.catalog.leases()


class Deleting:
    """A store in which something happens as the first object is deleted."""

    def __init__(self, store, deed) -> None:
        self._store = store
        self._deed = deed

    def __getattr__(self, name):
        return getattr(self._store, name)

    def delete(self, key):
        if self._deed is not None:
            deed, self._deed = self._deed, None
            deed()
        self._store.delete(key)


def keep(scene: Scene, backup: BackupId) -> tuple[str, ...]:
    record = scene.catalog.backup(backup)
    assert record is not None
    stores = list(scene.stores.values())
    return pins.keep(scene.catalog, stores, record, at=scene.clock.now(), by="me")


def during_deletion(scene: Scene, deed) -> Any:
    """A pruner; the deed is done as it deletes the first object in the first store."""
    local = Deleting(scene.stores["local"], deed)
    return scene.pruner(lambda one: local if one is scene.stores["local"] else one)


def test_nobody_can_pin_what_is_being_deleted(scene: Scene):
    newest, oldest = scene.nights(2)
    refused = []

    def deed():
        with pytest.raises(AlreadyRunningError, match="is being pruned by") as info:
            keep(scene, oldest)
        refused.append(info.value)
        record = scene.catalog.backup(oldest)
        assert record is not None
        assert not record.kept

    result = during_deletion(scene, deed).prune(REF, LAST_ONE)
    assert refused
    assert verdicts(result)[oldest] == ("delete", True)
    assert scene.ids("local") == scene.ids("offsite") == {newest}


def test_a_pin_that_is_renewed_in_vain_is_still_a_pin(scene: Scene):
    _, oldest = scene.nights(2)
    keep(scene, oldest)
    scene.catalog.acquire(f"read:{oldest}", holder(5), TTL)
    with pytest.raises(AlreadyRunningError):
        keep(scene, oldest)
    record = scene.catalog.backup(oldest)
    assert record is not None
    assert record.kept


def test_a_reader_does_not_keep_anybody_from_pinning(scene: Scene):
    _, oldest = scene.nights(2)
    scene.catalog.acquire(f"read:{oldest}:drill", holder(5), TTL)
    assert keep(scene, oldest) == ()


@pytest.fixture
def keepers(monkeypatch) -> list[LeaseKeeper]:
    """Those of the prune at work: their renewals are the test's."""
    found: list[LeaseKeeper] = []

    class Kept(LeaseKeeper):
        def __enter__(self):
            found.append(self)
            return super().__enter__()

    monkeypatch.setattr(prune, "LeaseKeeper", Kept)
    return found


def test_a_store_that_is_slow_to_delete_lets_no_reader_in(scene: Scene, keepers):
    newest, oldest = scene.nights(2)
    refused = []

    def deed():
        for _ in range(4):
            scene.clock.advance(0.7 * TTL)
            for keeper in keepers:
                keeper.beat()
        with pytest.raises(AlreadyRunningError) as info:
            scene.catalog.acquire(f"read:{oldest}", holder(5), TTL)
        refused.append(info.value)

    during_deletion(scene, deed).prune(REF, LAST_ONE)
    assert refused
    assert scene.ids("local") == scene.ids("offsite") == {newest}
    assert not scene.catalog.leases()


@pytest.mark.parametrize("what", ["pin", "read", "lost"])
def test_who_comes_while_one_copy_is_deleted_keeps_the_next(scene: Scene, keepers, what):
    newest, oldest = scene.nights(2)

    def deed():
        if what == "pin":
            scene.catalog.pin(oldest, NOW, "me")
        elif what == "read":
            scene.catalog.acquire(f"read:{oldest}:restore", holder(5), TTL)
        else:
            scene.clock.advance(2 * TTL)
            scene.catalog.acquire(f"read:{oldest}", holder(5), TTL)
            keepers[-1].beat()

    result = during_deletion(scene, deed).prune(REF, LAST_ONE)
    assert scene.ids("local") == {newest}
    assert scene.ids("offsite") == {newest, oldest}
    assert result.backups[1].reasons == ("pinned or being read by now",)
    assert "was pinned, or is being read, by now" in result.notes[0]


def test_a_running_backup_is_no_candidate_and_its_parts_stay(scene: Scene):
    newest, oldest = scene.nights(2)
    running = scene.begin(NOW - 5 * DAY)
    part = scene.plant("local", running, PARTS[0], at=NOW - 5 * DAY)
    committed = scene.begin(NOW - 6 * DAY)
    scene.put("offsite", manifest(committed, NOW - 6 * DAY))
    result = scene.prune()
    assert verdicts(result) == {newest: ("keep", False), oldest: ("delete", True)}
    assert part in scene.stores["local"].contents()
    assert committed in scene.ids("offsite")


def test_two_prunes_do_not_race(scene: Scene):
    scene.nights(2)
    scene.catalog.acquire(f"prune:{REF}", holder(5), TTL)
    with pytest.raises(AlreadyRunningError, match="already running"):
        scene.prune()
    assert len(scene.ids("local")) == 2
    assert scene.prune(dry_run=True).backups


def test_a_prune_that_has_lost_its_lease_stops(scene: Scene, monkeypatch):
    newest, middle, _ = scene.nights(3)
    answers = iter([None, AlreadyRunningError("the lease was lost")])

    def check(_keeper):
        if (answer := next(answers)) is not None:
            raise answer

    monkeypatch.setattr(LeaseKeeper, "check", check)
    with pytest.raises(AlreadyRunningError, match="lease was lost"):
        scene.prune()
    assert scene.ids("local") == scene.ids("offsite") == {newest, middle}
    assert not scene.catalog.leases()


# --- stores that differ ---


def test_a_store_that_failed_for_a_month_keeps_its_own_newest_good_one(scene: Scene):
    scene.nights(40, stores=["local"])
    old = [scene.back_up(NOW - (40 + ago) * DAY) for ago in range(3)]
    result = scene.prune()
    assert scene.ids("offsite") == {old[0]}
    assert len(scene.ids("local")) == 1
    (kept,) = [one for one in result.backups if one.id == old[0]]
    assert kept.keep
    assert kept.reasons == ("newest good one, in offsite", "last 1 of 1, in offsite")
    assert [(copy.store, copy.keep, copy.deleted) for copy in kept.copies] == [
        ("local", False, True),
        ("offsite", True, False),
    ]


def test_each_store_keeps_the_proven_ones_that_it_has(scene: Scene):
    newest = scene.nights(3)[0]
    proven_here, proven_there = (
        scene.back_up(NOW - 10 * DAY, ["local"]),
        scene.back_up(NOW - 20 * DAY, ["offsite"]),
    )
    scene.drill(proven_here)
    scene.drill(proven_there)
    scene.prune(replace(LAST_ONE, keep_proven=1))
    assert scene.ids("local") == {newest, proven_here}
    assert scene.ids("offsite") == {newest, proven_there}


def test_a_store_that_cannot_be_listed_is_left_alone_and_told(scene: Scene):
    newest, oldest = scene.nights(2)
    scene.stores["offsite"].faults.list = StoreError("store offsite: away")
    scene.stores["offsite"].faults.list_after = 7
    result = scene.prune()
    assert result.problems == ("main/mina: nothing is deleted in offsite: store offsite: away",)
    assert scene.ids("offsite") == {newest, oldest}
    assert scene.ids("local") == {newest}
    assert verdicts(result)[oldest] == ("delete", False), "it still lies offsite"
    assert scene.catalog.events(kind="prune.failed")
    scene.stores["offsite"].faults.list = None
    assert verdicts(scene.prune())[oldest] == ("delete", True)


def test_a_row_of_failures_is_told_with_its_runs_and_ends_with_one_event(scene: Scene):
    scene.nights(2)
    scene.prune()
    assert list(scene.catalog.events(kind=PRUNE_MENDED)) == [], "nothing was broken"
    scene.stores["offsite"].faults.list = StoreError("store offsite: away")
    for _ in range(2):
        scene.clock.advance(DAY)
        scene.prune()
    scene.prune(dry_run=True)
    failed = scene.catalog.events(kind=PRUNE_FAILED)
    assert [one.data["store"] for one in failed] == ["offsite", "offsite"]
    assert len({one.data["run"] for one in failed}) == 2
    scene.stores["offsite"].faults.list = None
    for _ in range(2):
        scene.clock.advance(DAY)
        scene.prune()
    (mended,) = scene.catalog.events(kind=PRUNE_MENDED)
    assert mended.ref == REF


def test_a_manifest_that_cannot_be_read_stops_the_store(scene: Scene):
    scene.nights(2)
    unknown = scene.back_up(NOW - 9 * DAY, remembered=False)
    scene.stores["offsite"].faults.read = StoreError("store offsite: the line broke")
    result = scene.prune()
    assert "nothing is deleted in offsite: store offsite: the line broke" in result.problems[0]
    assert len(scene.ids("offsite")) == 3
    assert unknown in scene.ids("local")
    assert len(scene.ids("local")) == 2


def test_known_manifests_are_not_fetched_again(scene: Scene):
    scene.nights(5)
    for store in scene.stores.values():
        store.faults.open_reader = StoreError("nobody shall read")
    result = scene.prune()
    assert not result.failed
    assert len(scene.ids("local")) == 1


@pytest.mark.parametrize(
    "data",
    [b"", b"{}", b"not json", encode_manifest(manifest(BackupId("20200101T000000Z-abcdef"), NOW))],
)
def test_a_manifest_that_is_not_understood_keeps_its_backup(scene: Scene, data):
    newest, _ = scene.nights(2)
    odd = scene.back_up(NOW - 9 * DAY, ["local"], remembered=False)
    scene.plant("local", odd, MANIFEST_NAME, data, at=NOW - 9 * DAY)
    before = {key for key in scene.stores["local"].contents() if odd in key}
    result = scene.prune()
    assert {key for key in scene.stores["local"].contents() if odd in key} == before
    assert scene.ids("local") == {newest, odd}
    assert result.failed
    assert odd in result.problems[0]


def test_a_damaged_copy_is_not_the_newest_good_one(scene: Scene):
    newest, second, _ = scene.nights(3)
    scene.plant("local", newest, PARTS[0], b"", at=NOW)
    result = scene.prune()
    assert scene.ids("local") == {newest, second}
    assert scene.ids("offsite") == {newest}
    assert (
        f"{newest} is damaged in local: {PARTS[0]} has 0 bytes instead of 21" in result.problems[0]
    )


def test_a_copy_with_a_part_missing_everywhere_saves_an_older_backup(scene: Scene):
    newest, second, third = scene.nights(3)
    for store in scene.stores.values():
        store.delete(backup_prefix(REF, newest) + PARTS[0])
    result = scene.prune()
    assert scene.ids("local") == {second}
    assert third not in scene.ids("offsite")
    assert verdicts(result)[newest] == ("delete", True), "bad ones are kept by no count"
    assert f"{PARTS[0]} is missing" in result.problems[0]


def test_a_part_that_came_while_the_listing_ran_is_no_damage(scene: Scene):
    newest, second = scene.nights(2)
    hidden = backup_prefix(REF, newest) + PARTS[0]

    class Slow:
        def __init__(self, store) -> None:
            self._store = store

        def __getattr__(self, name):
            return getattr(self._store, name)

        def list(self, prefix=""):
            return (one for one in self._store.list(prefix) if one.key != hidden)

    result = scene.pruner(lambda one: one if one is scene.catalog else Slow(one)).prune(
        REF, LAST_ONE
    )
    assert not result.failed
    assert verdicts(result) == {newest: ("keep", False), second: ("delete", True)}


def test_copies_that_the_catalog_forgot_are_remembered(scene: Scene):
    newest, second = scene.nights(2)
    scene.catalog.forget_copy(newest, "offsite", NOW)
    interrupted = scene.begin(NOW - 5 * timedelta(hours=1))
    scene.put("local", manifest(interrupted, NOW - 5 * timedelta(hours=1)))
    scene.fail(interrupted, NOW, RunStatus.INTERRUPTED)
    scene.prune(LAST_TWO)
    assert {one.id: set(one.stores) for one in scene.catalog.backups()} == {
        newest: {"local", "offsite"},
        interrupted: {"local"},
        second: {"offsite"},
    }


def test_a_damaged_copy_is_not_remembered(scene: Scene):
    (newest,) = scene.nights(1)
    scene.catalog.forget_copy(newest, "offsite", NOW)
    scene.plant("offsite", newest, PARTS[0], b"", at=NOW)
    assert scene.prune().failed
    assert [one.stores for one in scene.catalog.backups()] == [("local",)]


def test_a_backup_that_the_catalog_does_not_know_stays_and_is_told(scene: Scene):
    newest, _ = scene.nights(2)
    unknown = scene.back_up(NOW - 9 * DAY, remembered=False)
    result = scene.prune()
    assert scene.ids("local") == {newest, unknown}
    assert result.backups[-1].reasons == ("not in the catalog",)
    assert "1 backups in the stores stay" in result.notes[0]
    assert "guardian catalog rebuild" in result.notes[0]
    assert not result.failed


@pytest.mark.parametrize(
    "policy",
    [
        LAST_ONE,
        replace(LAST_ONE, keep_last=0, keep_daily=2),
        replace(LAST_ONE, keep_last=0, keep_within=timedelta(hours=30)),
        replace(LAST_ONE, keep_last=0, keep_monthly=3),
    ],
)
@pytest.mark.parametrize("ago", [timedelta(minutes=-30), timedelta(hours=1), 40 * DAY])
def test_none_goes_because_of_one_that_the_catalog_does_not_know(policy, ago):
    """Anybody who can write to a store can put it there: newest, of the same day, or oldest."""
    plain, joined = Scene(), Scene()
    for scene in (plain, joined):
        scene.nights(4)
        scene.back_up(NOW - 33 * DAY)
    unknown = {joined.back_up(NOW - ago, remembered=False) for _ in range(3)}
    results = [scene.prune(policy, trust_clock=True) for scene in (plain, joined)]
    kept = [
        {one.id[:16] for one in result.backups if one.keep and one.id not in unknown}
        for result in results
    ]
    assert kept[0] == kept[1]
    assert len(kept[0]) < 5
    assert unknown < joined.ids("local")


def test_what_nobody_of_ours_has_signed_is_told_once_a_sort_and_left_alone(scene: Scene):
    newest, _ = scene.nights(2)
    unknown = [scene.back_up(NOW - 9 * DAY, ["local"], remembered=False) for _ in range(3)]
    scene.plant("local", unknown[0], f"{MANIFEST_NAME}.sig", b"rubbish", at=NOW - 9 * DAY)
    inner = scene.stores["local"]
    seal = SimpleNamespace(verify=Mock(side_effect=ForgedError("is forged")))
    stores: dict[str, Any] = scene.stores
    stores["local"] = SignedStore(inner, seal, Demands(required=True))
    result = scene.prune()
    assert set(unknown) | {newest} == {one.key.split("/")[2] for one in inner.list()}
    assert [one.id for one in result.backups if one.keep] == [newest]
    forged, unsigned = sorted(result.problems)
    assert f"the manifest of {unknown[0]} is forged, so it stays" in forged
    assert "is not signed (and 1 more), so it stays and does not count" in unsigned
    assert len(scene.catalog.events(kind="store.forged")) == 2


def test_an_empty_catalog_deletes_nothing():
    scene = Scene("local")
    for ago in range(9):
        scene.back_up(NOW - ago * DAY, remembered=False)
    before = scene.stores["local"].contents()
    scene.prune()
    assert scene.stores["local"].contents() == before


def test_a_catalog_that_is_away_deletes_nothing(scene: Scene):
    scene.nights(3)
    scene.catalog.fail(CatalogError("catalog: away"))
    with pytest.raises(CatalogError):
        scene.prune()
    assert len(scene.ids("local")) == 3


# --- object lock ---


def test_what_is_locked_is_told_and_no_error():
    scene = Scene("vault", lock_for=30 * DAY)
    newest, young, old = (scene.back_up(NOW - ago * DAY) for ago in (1, 20, 40))
    result = scene.prune()
    assert not result.failed
    assert verdicts(result) == {
        newest: ("keep", False),
        young: ("delete", False),
        old: ("delete", True),
    }
    assert result.backups[1].reasons == (
        "no rule keeps it",
        "locked until 2026-12-03 12:00Z in vault",
    )
    assert young in scene.ids("vault")
    (document,) = [one for one in result.documents() if one["id"] == young]
    assert document["stores"][0]["locked_until"] == "2026-12-03T12:00:00+00:00"  # type: ignore[index]


def test_a_lock_that_only_the_store_knows_is_no_error():
    scene = Scene("vault")
    _, old = scene.nights(2)
    scene.stores["vault"].faults.delete = StoreLockedError("store vault: locked until tomorrow")
    result = scene.prune()
    assert not result.failed
    assert "locked until tomorrow" in result.notes[0]
    assert verdicts(result)[old] == ("delete", False)
    assert old in scene.ids("vault")


# --- leftovers ---


@pytest.mark.parametrize("status", [RunStatus.FAILED, RunStatus.INTERRUPTED])
def test_parts_of_a_try_that_is_over_go_at_once(scene: Scene, status):
    (newest,) = scene.nights(1)
    half = scene.begin(NOW - timedelta(minutes=9))
    for name in PARTS:
        scene.plant("local", half, name, at=NOW - timedelta(minutes=8))
    scene.fail(half, NOW, status)
    result = scene.prune()
    assert result.swept == len(PARTS)
    assert scene.ids("local") == {newest}
    assert half not in verdicts(result)


def test_parts_in_the_one_store_that_failed_go_at_once(scene: Scene):
    partly = scene.back_up(NOW - timedelta(minutes=9), ["local"])
    scene.plant("offsite", partly, PARTS[0], at=NOW)
    assert scene.prune().swept == 1
    assert scene.ids("offsite") == set()
    assert scene.ids("local") == {partly}


@pytest.mark.parametrize(
    ("begun", "written", "goes"),
    [(25, 25, True), (25, 23, False), (23, 25, False), (23, 23, False), (24, 24, True)],
)
def test_parts_of_an_unknown_try_go_when_they_are_a_day_old_in_both_ways(begun, written, goes):
    scene = Scene("local")
    scene.back_up(NOW - timedelta(minutes=1))
    unknown = BackupId(f"{NOW - timedelta(hours=begun):%Y%m%dT%H%M%SZ}-abcdef")
    scene.plant("local", unknown, PARTS[0], at=NOW - timedelta(hours=written))
    assert scene.prune().swept == int(goes)
    assert (unknown in scene.ids("local")) is not goes


def test_a_jumped_clock_does_not_make_parts_old():
    scene = Scene("local")
    scene.back_up(NOW - 2 * DAY)
    unknown = BackupId(f"{NOW:%Y%m%dT%H%M%SZ}-abcdef")
    scene.plant("local", unknown, PARTS[0], at=NOW)
    scene.clock.jump_to(NOW + 365 * DAY)
    assert scene.prune().swept == 0


def test_while_the_clock_is_in_doubt_no_parts_are_old():
    scene = Scene("local")
    scene.nights(5)
    unknown = BackupId(f"{NOW:%Y%m%dT%H%M%SZ}-abcdef")
    scene.plant("local", unknown, PARTS[0], at=NOW)
    scene.clock.jump_to(NOW + 365 * DAY)
    scene.back_up(scene.clock.now())
    assert scene.prune().swept == 0
    assert scene.prune(trust_clock=True).swept == 1


@pytest.mark.parametrize("took", [timedelta(0), 2 * DAY])
def test_a_backup_that_is_finished_after_the_listing_is_no_leftover(scene: Scene, took):
    scene.nights(1)
    fresh = scene.begin(NOW - took)
    for name in PARTS:
        scene.plant("local", fresh, name, at=NOW - took)

    class Late:
        """Finishes the backup between the listings and the look at the catalog."""

        def __getattr__(self, name):
            return getattr(scene.catalog, name)

        def tries(self, *rest):
            made = manifest(fresh, NOW)
            scene.put("local", made)
            scene.catalog.commit_backup(made, [StoreOutcome("local", StoreStatus.SUCCEEDED)])
            return scene.catalog.tries(*rest)

    result = scene.pruner(lambda one: Late() if one is scene.catalog else one).prune(REF, LAST_ONE)
    assert result.swept == 0
    assert len([key for key in scene.stores["local"].contents() if fresh in key]) == len(PARTS) + 1


def test_a_vanished_manifest_is_noticed_before_its_parts_go(scene: Scene):
    _, second = scene.nights(2)
    scene.stores["local"].delete(manifest_key(REF, second))
    scene.prune(LAST_TWO)
    assert second not in scene.ids("local")
    assert {one.id: one.stores for one in scene.catalog.backups()}[second] == ("offsite",)
    assert scene.catalog.events(kind="backup.missing")


@pytest.mark.parametrize("what", ["pinned", "being read", "whole in no other store"])
def test_parts_that_lost_their_manifest_stay_while_somebody_may_need_them(what):
    """The catalog still has that manifest: all is there for a restore."""
    scene = Scene(*["local"] if "whole" in what else ["local", "offsite"])
    _, second = scene.nights(2)
    if what == "pinned":
        scene.catalog.pin(second, NOW, "me")
    elif what == "being read":
        scene.catalog.acquire(f"read:{second}:restore", holder(5), TTL)
    scene.stores["local"].delete(manifest_key(REF, second))
    before = scene.stores["local"].contents()
    result = scene.prune(LAST_TWO)
    assert scene.stores["local"].contents() == before
    assert result.swept == 0
    assert [text for text in result.problems if f"the manifest of {second} is gone" in text]
    record = scene.catalog.backup(second)
    assert record is not None
    assert "local" in record.stores, "nothing is forgotten of what stays"


def test_parts_that_lost_their_manifest_stay_while_the_other_copy_is_damaged(scene: Scene):
    _, second = scene.nights(2)
    scene.stores["local"].delete(manifest_key(REF, second))
    scene.stores["offsite"].delete(backup_prefix(REF, second) + PARTS[0])
    before = scene.stores["local"].contents()
    scene.prune(LAST_TWO)
    assert scene.stores["local"].contents() == before


@pytest.mark.parametrize("deletions", range(3))
def test_a_prune_that_was_cut_off_is_finished_however_young_the_backup(scene: Scene, deletions):
    """Wherever it stops, what is listed is there; the next one finishes."""
    _, newest = (scene.back_up(NOW - timedelta(minutes=ago)) for ago in (9, 5))
    whole, left = scene.stores["local"], iter(range(deletions))

    class CutOff:
        def __getattr__(self, name):
            return getattr(whole, name)

        def delete(self, key):
            if next(left, None) is None:
                raise KeyboardInterrupt
            whole.delete(key)

    scene.stores["local"] = CutOff()  # type: ignore[assignment]
    with pytest.raises(KeyboardInterrupt):
        scene.prune()
    scene.stores["local"] = whole
    listed = [one.id for one in scene.catalog.backups() if "local" in one.stores]
    assert listed == [newest]
    assert not scene.prune().failed
    assert scene.ids("local") == scene.ids("offsite") == {newest}
    assert [one.id for one in scene.catalog.backups()] == [newest]


def test_parts_whose_manifest_vanished_wait_for_a_day(scene: Scene):
    """That was no prune of ours: who removed it may want it back, and the catalog has a copy."""
    young, newest = (scene.back_up(NOW - timedelta(minutes=ago)) for ago in (9, 5))
    scene.stores["local"].delete(manifest_key(REF, young))
    assert scene.prune().swept == 0
    assert scene.ids("local") == {newest, young}


def test_unfinished_writes_of_dead_runs_are_swept_and_those_of_live_ones_are_not():
    scene = Scene("local")
    store = scene.stores["local"]

    def begin_write() -> BackupId:
        backup = scene.begin(scene.clock.now())
        store.open_writer(backup_prefix(REF, backup) + PARTS[0])
        store.crash()
        return backup

    dead = begin_write()
    scene.clock.advance(2 * 3600)
    scene.fail(dead, scene.clock.now(), RunStatus.INTERRUPTED)
    live = begin_write()
    assert scene.prune().swept == 0, "beside a live run only what is a day old"
    scene.clock.advance(3 * DAY)
    assert scene.prune().swept == 1, "never what began with the live one"
    scene.fail(live, scene.clock.now())
    assert scene.prune().swept == 1


def test_what_a_store_that_failed_beside_a_good_one_left_unfinished_is_swept():
    """The try succeeded, but not there: its upload, which could not be aborted, is nobody's."""
    scene = Scene()
    for store in scene.stores.values():
        store.open_writer(backup_prefix(REF, BackupId("x")) + PARTS[0])
        store.crash()
    scene.clock.advance(2 * 3600)
    scene.back_up(scene.clock.now(), ["local"])
    scene.clock.advance(3600)
    assert scene.prune().swept == 1
    assert [store.unfinished for store in scene.stores.values()] == [1, 0]


def test_what_began_shortly_before_a_live_run_is_not_swept_clocks_differ():
    scene = Scene("local")
    scene.stores["local"].open_writer(backup_prefix(REF, BackupId("x")) + PARTS[0])
    scene.stores["local"].crash()
    scene.clock.advance(1800)
    scene.begin(scene.clock.now())
    scene.clock.advance(3 * DAY)
    assert scene.prune().swept == 0


@pytest.mark.parametrize(
    ("error", "failed"),
    [(StoreError("store local: away"), True), (StoreLockedError("locked until tomorrow"), False)],
)
def test_parts_that_cannot_be_removed_are_told(error, failed):
    scene = Scene("local")
    half = scene.begin(NOW - DAY)
    scene.plant("local", half, PARTS[0], at=NOW - DAY)
    scene.fail(half, NOW - DAY)
    scene.stores["local"].faults.delete = error
    result = scene.prune()
    assert result.failed is failed
    (told,) = result.problems or result.notes
    assert half in told
    assert str(error) in told
    scene.stores["local"].faults.delete = None
    assert scene.prune().swept == 1


def test_unfinished_writes_that_cannot_be_swept_are_told():
    scene = Scene("local")
    scene.stores["local"].faults.sweep = StoreError("store local: away")
    assert scene.prune().problems == (
        "main/mina: unfinished writes were not removed: store local: away",
    )


def test_a_store_that_fails_is_not_tried_again_in_this_prune(scene: Scene):
    newest, *rest = scene.nights(3)
    half = scene.begin(NOW - DAY)
    scene.plant("local", half, PARTS[0], at=NOW - DAY)
    scene.fail(half, NOW - DAY)
    scene.stores["local"].faults.delete = StoreError("store local: read-only")
    scene.stores["local"].faults.sweep = AssertionError("must not be asked")
    result = scene.prune()
    assert len(result.problems) == 1
    assert "store local: read-only" in result.problems[0]
    assert [one.copies[0].error for one in result.backups] == [
        None,
        "not tried: the store failed before",
        "store local: read-only",
    ]
    assert scene.ids("local") == {newest, *rest, half}
    assert scene.ids("offsite") == {newest}
    assert not any(one.deleted for one in result.backups)


def test_a_part_under_lock_is_left_behind_and_goes_later():
    scene = Scene("vault")
    newest, oldest = scene.nights(2)
    scene.stores["vault"].faults.delete = StoreLockedError("locked until tomorrow")
    scene.stores["vault"].faults.keys = PARTS[1]
    result = scene.prune()
    assert verdicts(result)[oldest] == ("delete", True)
    assert not result.failed
    assert oldest in scene.ids("vault")
    scene.stores["vault"].faults.delete = None
    scene.prune()
    assert scene.ids("vault") == {newest}


# --- clocks ---


def test_a_clock_that_jumped_a_year_ahead_deletes_nothing_for_a_week(scene: Scene):
    within = replace(LAST_ONE, keep_within=30 * DAY)
    nights = scene.nights(25)
    scene.clock.jump_to(NOW + 365 * DAY)
    jumped = scene.back_up(scene.clock.now())
    result = scene.prune(within)
    assert scene.ids("local") == {jumped, *nights}
    assert "the clock may have jumped" in result.backups[-1].reasons
    assert "nothing is deleted for some days" in result.notes[0]
    assert not result.failed
    trusted = scene.prune(within, trust_clock=True, dry_run=True)
    assert [one.keep for one in trusted.backups].count(True) == 1
    for _ in range(7):
        scene.clock.advance(DAY)
        scene.back_up(scene.clock.now())
    scene.prune(within)
    assert len(scene.ids("local")) == 8


def test_after_the_jump_is_mended_the_wrongly_dated_one_stays_beside_the_right_ones(scene: Scene):
    scene.nights(5)
    scene.clock.jump_to(NOW + 365 * DAY)
    jumped = scene.back_up(scene.clock.now())
    scene.clock.jump_to(NOW + DAY)
    right = scene.back_up(scene.clock.now())
    scene.prune()
    assert scene.ids("local") == {jumped, right}


def test_a_clock_far_behind_deletes_nothing(scene: Scene):
    scene.nights(5)
    scene.clock.jump_to(datetime(1970, 1, 2, tzinfo=UTC))
    scene.prune()
    assert len(scene.ids("local")) == 5


def test_a_server_whose_clock_is_ahead_of_the_store_is_not_believed(scene: Scene):
    scene.nights(3)
    ahead = scene.back_up(NOW - 3 * DAY, snapshot_at=NOW - timedelta(hours=1))
    result = scene.prune()
    assert result.backups[0].reasons == ("dated later than its store says",)
    assert scene.ids("local") == {ahead, result.backups[1].id}


@pytest.mark.parametrize("policy", [RetentionPolicy(), replace(LAST_ONE, keep_last=7)])
def test_a_server_whose_clock_is_behind_loses_no_new_backup(scene: Scene, policy):
    scene.nights(40)
    made = []
    for _ in range(3):
        scene.clock.advance(DAY)
        at = scene.clock.now() - timedelta(minutes=10)
        made.append(scene.back_up(at, snapshot_at=at - 400 * DAY))
        found = {one.id: one for one in scene.prune(policy).backups}
        assert found[made[-1]].reasons == ("dated long before its run began",)
    assert set(made) <= scene.ids("local")


def test_a_snapshot_from_a_little_before_its_run_counts(scene: Scene):
    scene.nights(3)
    late = scene.back_up(NOW - timedelta(hours=1), snapshot_at=NOW - timedelta(hours=2))
    scene.prune()
    assert scene.ids("local") == {late}


def test_the_policy_of_the_contract_over_a_year(scene: Scene):
    nights = scene.nights(400)
    scene.prune(RetentionPolicy())
    left = scene.ids("local")
    assert len(left) == 31 + 10, "a month, and the end of each of ten before"
    assert set(nights[:31]) <= left
    assert scene.ids("offsite") == left
