"""What every Catalog does, in memory, in SQLite and in PostgreSQL."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest
from support.catalogs import (
    MAIN,
    START,
    TTL,
    CatalogSite,
    backup_id,
    fill,
    holder,
    make_ready_site,
    manifest,
    stored,
)

from guardian.errors import AlreadyRunningError, CatalogError, Cause, NotFoundError
from guardian.model import (
    BackupId,
    CheckOutcome,
    DatabaseRef,
    Difference,
    Event,
    Lease,
    Measured,
    ProofLevel,
    ProofRecord,
    ProofResult,
    RunStatus,
    StoreOutcome,
    StoreStatus,
)
from guardian.ports import Catalog

HOUR = timedelta(hours=1)
ONE = backup_id(1)
HOSTILE = [
    "it's",
    'say "x"',
    "back\\slash",
    "100%",
    "under_score",
    "new\nline",
    "tab\t",
    "🦖 dino",
    "naïve",
    "a/b/../c",
    "; DROP TABLE guardian_backups; --",
    "%s %(x)s :x ?",
    " ",
]


@pytest.fixture(params=["memory", "sqlite", "postgres"])
def site(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[CatalogSite]:
    def database():
        create = request.getfixturevalue("fresh_database")
        return create(request.getfixturevalue("pg15"))

    made = make_ready_site(request.param, tmp_path, database)
    yield made
    made.close()


@pytest.fixture
def catalog(site: CatalogSite) -> Catalog:
    return site.open()


def begin(catalog: Catalog, number: int = 1, at: datetime = START) -> Lease:
    lease = catalog.acquire(f"backup:{number}", holder(), TTL)
    catalog.begin_backup(backup_id(number), MAIN, at, lease)
    return lease


def commit(
    catalog: Catalog, number: int = 1, ref: DatabaseRef = MAIN, at: datetime = START, *stores: str
) -> BackupId:
    catalog.commit_backup(manifest(backup_id(number), ref, at), stored(*(stores or ("local",))))
    return backup_id(number)


def failed(catalog: Catalog, number: int, at: datetime, status: RunStatus = RunStatus.FAILED):
    lease = begin(catalog, number, at)
    catalog.fail_backup(backup_id(number), status, at, Cause.DUMP, "no")
    catalog.release(lease)


# --- tries and backups ---


def test_an_empty_catalog_holds_nothing(catalog):
    assert list(catalog.backups()) == []
    assert list(catalog.tries()) == []
    assert list(catalog.events()) == []
    assert list(catalog.leases()) == []
    assert list(catalog.find_backups("")) == []
    assert catalog.backup(ONE) is None
    assert catalog.manifest(ONE) is None
    assert catalog.consecutive_failures(MAIN) == 0
    assert list(catalog.proofs(ONE)) == []
    assert list(catalog.recover_runs(START)) == []


def test_a_try_that_runs_is_no_backup(catalog):
    begin(catalog)
    [record] = catalog.tries()
    assert (record.id, record.ref, record.status) == (ONE, MAIN, RunStatus.RUNNING)
    assert (record.started_at, record.finished_at) == (START, None)
    assert record.stores == ()
    assert record.proof is ProofLevel.NONE
    assert list(catalog.backups()) == []
    assert list(catalog.find_backups("2026")) == []
    assert catalog.manifest(ONE) is None


def test_a_backup_has_what_its_manifest_says(catalog):
    begin(catalog)
    made = manifest(ONE)
    later = START + timedelta(days=30)
    outcomes = [
        StoreOutcome("offsite", StoreStatus.SUCCEEDED, locked_until=later),
        StoreOutcome("local", StoreStatus.FAILED, "disk full", Cause.DISK_FULL),
        StoreOutcome("attic", StoreStatus.SUCCEEDED),
    ]
    catalog.commit_backup(made, outcomes)
    [record] = catalog.backups()
    assert record == catalog.backup(ONE)
    assert record.status is RunStatus.SUCCEEDED
    assert record.started_at == made.started_at
    assert record.snapshot_at == made.snapshot_at
    assert record.finished_at == made.finished_at
    assert record.stored_bytes == made.stored_bytes == 1010
    assert record.dumped_bytes == made.dumped_bytes == 5000
    assert record.proof is ProofLevel.CONTENT
    assert record.outcomes == tuple(outcomes)
    assert record.stores == ("offsite", "attic")
    assert (record.proven, record.proven_at, record.kept) == (None, None, False)
    assert (record.cause, record.error) == (None, None)
    assert catalog.manifest(ONE) == made


def test_times_come_back_in_utc(catalog):
    berlin = timezone(timedelta(hours=1))
    commit(catalog, 1, MAIN, START.astimezone(berlin))
    record = catalog.backup(ONE)
    assert record.started_at == START
    assert record.started_at.tzinfo is UTC
    assert record.snapshot_at.microsecond == 500


def test_naive_times_are_refused(catalog):
    naive = START.replace(tzinfo=None)
    lease = catalog.acquire("x", holder(), TTL)
    with pytest.raises(ValueError, match="timezone"):
        catalog.begin_backup(ONE, MAIN, naive, lease)
    with pytest.raises(ValueError, match="timezone"):
        catalog.record_event(Event(naive, "x", "y"))
    assert list(catalog.tries()) == []
    assert list(catalog.events()) == []


def test_an_id_is_used_once(catalog):
    lease = begin(catalog)
    with pytest.raises(CatalogError, match="already"):
        catalog.begin_backup(ONE, MAIN, START, lease)
    assert len(catalog.tries()) == 1


def test_a_backup_that_lies_nowhere_is_not_committed(catalog):
    begin(catalog)
    with pytest.raises(ValueError, match="at least one store"):
        catalog.commit_backup(manifest(ONE), [StoreOutcome("local", StoreStatus.FAILED)])
    assert catalog.backup(ONE).status is RunStatus.RUNNING


def test_a_failed_try_tells_why_and_is_no_backup(catalog):
    begin(catalog)
    outcomes = (
        StoreOutcome("local", StoreStatus.SUCCEEDED),
        StoreOutcome("offsite", StoreStatus.FAILED, "refused", Cause.STORE),
    )
    end = START + HOUR
    catalog.fail_backup(ONE, RunStatus.FAILED, end, Cause.STORE, "offsite refused", outcomes)
    [record] = catalog.tries()
    assert (record.status, record.finished_at) == (RunStatus.FAILED, end)
    assert (record.cause, record.error) == (Cause.STORE, "offsite refused")
    assert record.outcomes == outcomes
    assert record.stores == ()
    assert list(catalog.backups()) == []


def test_what_programs_print_can_be_recorded(catalog):
    begin(catalog)
    catalog.fail_backup(ONE, RunStatus.FAILED, START, Cause.DUMP, "odd \udc80 and \0 nul")
    assert catalog.backup(ONE).status is RunStatus.FAILED
    assert "odd" in catalog.backup(ONE).error
    catalog.record_event(Event(START, "x", "odd \udc80 and \0", data={"k": "\udc80\0"}))
    assert len(catalog.events()) == 1


def test_a_committed_backup_does_not_fail_afterwards(catalog):
    begin(catalog)
    commit(catalog)
    catalog.fail_backup(ONE, RunStatus.FAILED, START, Cause.UNKNOWN, "too late")
    record = catalog.backup(ONE)
    assert (record.status, record.error) == (RunStatus.SUCCEEDED, None)
    assert record.stores == ("local",)


def test_an_unknown_try_cannot_fail(catalog):
    with pytest.raises(NotFoundError, match=ONE):
        catalog.fail_backup(ONE, RunStatus.FAILED, START, Cause.UNKNOWN, "x")


def test_backups_come_newest_snapshot_first(catalog):
    for number, hours in [(1, 5), (2, 1), (3, 9), (4, 5)]:
        commit(catalog, number, MAIN, START + hours * HOUR)
    wanted = [backup_id(n) for n in (3, 4, 1, 2)]
    assert [one.id for one in catalog.backups()] == wanted
    assert [one.id for one in catalog.backups(limit=2)] == wanted[:2]
    assert [one.id for one in catalog.tries(limit=3)] == wanted[:3]


def test_lists_are_of_one_server_or_database(catalog):
    other, far = DatabaseRef("main", "other"), DatabaseRef("far", "mina")
    for number, ref in enumerate([MAIN, other, far, MAIN], start=1):
        commit(catalog, number, ref, START + number * HOUR, "local", "offsite")
    for listing in (catalog.backups, catalog.tries):
        assert [one.ref for one in listing("main")] == [MAIN, other, MAIN]
        assert [one.ref for one in listing("main", "mina")] == [MAIN, MAIN]
        assert [one.ref for one in listing(None, "mina")] == [MAIN, far, MAIN]
        assert [one.id for one in listing("main", "mina", 1)] == [backup_id(4)]
        assert list(listing("MAIN")) == []
        assert all(one.stores == ("local", "offsite") for one in listing())


def test_a_forgotten_copy_is_gone_and_the_last_one_takes_the_backup_along(catalog):
    commit(catalog, 1, MAIN, START, "local", "offsite")
    catalog.forget_copy(ONE, "local", START + HOUR)
    assert catalog.backups()[0].stores == ("offsite",)
    catalog.forget_copy(ONE, "offsite", START + HOUR)
    assert list(catalog.backups()) == []
    assert list(catalog.find_backups(ONE)) == []
    [record] = catalog.tries()
    assert (record.status, record.stores) == (RunStatus.SUCCEEDED, ())
    assert len(record.outcomes) == 2
    assert catalog.manifest(ONE) is not None
    catalog.forget_copy(ONE, "offsite", START + HOUR)
    catalog.forget_copy(ONE, "nowhere", START)
    catalog.forget_copy(backup_id(9), "local", START)


def test_ids_can_be_abbreviated(catalog):
    commit(catalog, 0xAB01)
    commit(catalog, 0xAB02)
    begin(catalog, 0xAB03)
    both = [backup_id(0xAB02), backup_id(0xAB01)]
    assert [one.id for one in catalog.find_backups("20261123T020000Z-00ab")] == both
    assert [one.id for one in catalog.find_backups(backup_id(0xAB01))] == both[1:]
    assert list(catalog.find_backups("20261123t")) == []
    assert list(catalog.find_backups("2026%")) == []
    assert list(catalog.find_backups("2026112_")) == []
    assert list(catalog.find_backups(backup_id(0xAB01) + "0")) == []


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_names_are_only_names(catalog, name):
    ref = DatabaseRef("srv " + name.replace("/", ""), name)
    lease = catalog.acquire(f"backup:{ref}", holder(), TTL)
    catalog.begin_backup(ONE, ref, START, lease)
    catalog.record_event(Event(START, name, name, ref, backup=ONE, data={name: name}))
    assert catalog.tries(ref.server, ref.database)[0].ref == ref
    assert [one.name for one in catalog.leases(f"backup:{ref}")] == [f"backup:{ref}"]
    [event] = catalog.events(kind=name)
    assert (event.message, event.ref, event.data) == (name, ref, {name: name})
    with pytest.raises(AlreadyRunningError):
        catalog.acquire(f"backup:{ref}", holder(2), TTL)
    catalog.fail_backup(ONE, RunStatus.FAILED, START, Cause.UNKNOWN, name)
    assert catalog.consecutive_failures(ref) == 1
    assert catalog.consecutive_failures(MAIN) == 0


# --- what stores tell ---


def test_an_imported_manifest_is_a_backup(catalog):
    later = START + timedelta(days=3)
    catalog.import_manifest(manifest(ONE), "offsite", later)
    catalog.import_manifest(manifest(ONE), "local")
    catalog.import_manifest(manifest(ONE), "local")
    [record] = catalog.backups()
    assert record.stores == ("offsite", "local")
    assert record.outcomes[0].locked_until == later
    assert record.snapshot_at == manifest(ONE).snapshot_at
    assert catalog.manifest(ONE) == manifest(ONE)


def test_an_import_keeps_what_else_is_known(catalog):
    commit(catalog, 1, MAIN, START, "local", "offsite")
    catalog.pin(ONE, START, "me")
    catalog.record_proof(ProofRecord(ONE, "local", ProofResult.PROVEN, START))
    catalog.forget_copy(ONE, "local", START)
    catalog.import_manifest(manifest(ONE), "local")
    record = catalog.backup(ONE)
    assert record.stores == ("local", "offsite")
    assert (record.kept, record.proven) == (True, True)


@pytest.mark.parametrize("way", ["import", "commit"])
def test_a_manifest_makes_a_success_of_a_try_that_was_given_up(catalog, way):
    begin(catalog)
    outcomes = stored("local")
    catalog.fail_backup(ONE, RunStatus.INTERRUPTED, START, Cause.INTERRUPTED, "died", outcomes)
    if way == "import":
        catalog.import_manifest(manifest(ONE), "offsite")
    else:
        catalog.commit_backup(manifest(ONE), stored("offsite"))
    [record] = catalog.backups()
    assert (record.status, record.cause, record.error) == (RunStatus.SUCCEEDED, None, None)
    assert record.stores == ("offsite",)


# --- failures in a row ---


def test_failures_in_a_row_count_since_the_last_success(catalog):
    failed(catalog, 1, START)
    assert catalog.consecutive_failures(MAIN) == 1
    commit(catalog, 2, MAIN, START + HOUR)
    assert catalog.consecutive_failures(MAIN) == 0
    failed(catalog, 3, START + 2 * HOUR)
    failed(catalog, 4, START + 3 * HOUR, RunStatus.INTERRUPTED)
    failed(catalog, 5, START + 4 * HOUR)
    begin(catalog, 6, START + 5 * HOUR)
    assert catalog.consecutive_failures(MAIN) == 2
    assert catalog.consecutive_failures(DatabaseRef("main", "other")) == 0
    catalog.forget_copy(backup_id(2), "local", START)
    assert catalog.consecutive_failures(MAIN) == 2


def test_failures_in_a_row_at_one_instant_count_in_order(catalog):
    failed(catalog, 1, START)
    commit(catalog, 2)
    failed(catalog, 3, START)
    assert catalog.consecutive_failures(MAIN) == 1


# --- pins and drills ---


def test_pins_come_and_go(catalog):
    commit(catalog)
    catalog.pin(ONE, START, "me", "audit")
    catalog.pin(ONE, START, "me too")
    assert catalog.backup(ONE).kept
    assert catalog.backups()[0].kept
    catalog.unpin(ONE)
    catalog.unpin(ONE)
    assert not catalog.backups()[0].kept
    with pytest.raises(NotFoundError, match="backup list"):
        catalog.pin(backup_id(9), START, "me")
    catalog.unpin(backup_id(9))


def test_a_drill_is_kept_whole(catalog):
    commit(catalog)
    drill = ProofRecord(
        backup=ONE,
        store="offsite",
        result=ProofResult.MISMATCH,
        at=START + HOUR,
        tables=24,
        rows=5_000_000_000,
        seconds=12.5,
        fetch_seconds=1.25,
        restore_seconds=8.0,
        compare_seconds=3.25,
        differences=(Difference('public."users"', "12 rows", "11 rows"),),
        checks=(CheckOutcome("users survive", passed=True, found="t"),),
        reason="1 difference",
    )
    catalog.record_proof(drill)
    assert list(catalog.proofs(ONE)) == [drill]
    record = catalog.backup(ONE)
    assert (record.proven, record.proven_at) == (False, START + HOUR)
    assert record.measured == drill.measured == Measured(1.25, 8.0, 3.25, 12.5, 24, 5_000_000_000)


def test_a_record_tells_what_the_drill_measured_that_decides(catalog):
    commit(catalog)
    commit(catalog, 2)

    def drill(result: ProofResult, hours: int, seconds: float, backup: BackupId = ONE) -> None:
        catalog.record_proof(
            ProofRecord(backup, "local", result, START + hours * HOUR, restore_seconds=seconds)
        )

    def measured(backup: BackupId = ONE) -> float | None:
        (listed,) = (one for one in catalog.backups() if one.id == backup)
        assert listed == catalog.backup(backup)
        return None if listed.measured is None else listed.measured.restore_seconds

    assert measured() is None
    drill(ProofResult.INCONCLUSIVE, 1, 1.0)
    assert measured() is None
    drill(ProofResult.PROVEN, 2, 2.0)
    drill(ProofResult.INCONCLUSIVE, 3, 3.0)
    assert measured() == 2.0
    drill(ProofResult.MISMATCH, 5, 5.0)
    drill(ProofResult.PROVEN, 4, 4.0)
    assert measured() == 5.0
    drill(ProofResult.PROVEN, 5, 6.0)  # at the very same instant: it came later
    drill(ProofResult.INCONCLUSIVE, 5, 7.0)
    assert measured() == 6.0
    assert len(catalog.backups()) == len(catalog.tries()) == 2
    assert measured(backup_id(2)) is None
    again = replace(manifest(ONE), warnings=())
    catalog.import_manifest(again, "offsite")
    assert measured() == 6.0


def test_tables_and_rows_are_the_manifests(catalog):
    commit(catalog)
    record = catalog.backup(ONE)
    assert (record.tables, record.rows) == (24, 5_000_000_000)
    bare = replace(manifest(backup_id(2)), tables=None, rows=None)
    catalog.import_manifest(bare, "local")
    record = catalog.backup(backup_id(2))
    assert (record.tables, record.rows, record.measured) == (None, None, None)


def test_the_last_proven_one_before_an_instant(catalog):
    """Of an earlier snapshot, and in a store still."""
    other = DatabaseRef("main", "other")
    for number, ref in ((1, MAIN), (2, MAIN), (3, MAIN), (4, other)):
        commit(catalog, number, ref, at=START + number * HOUR)
    at = {number: catalog.backup(backup_id(number)).snapshot_at for number in (1, 2, 3, 4)}

    def before(instant: datetime, ref: DatabaseRef = MAIN) -> BackupId | None:
        found = catalog.proven_before(ref, instant)
        return None if found is None else found.id

    def drill(number: int, result: ProofResult) -> None:
        instant = START + 9 * HOUR
        catalog.record_proof(ProofRecord(backup_id(number), "local", result, instant))

    late = START + 100 * HOUR
    assert before(late) is None
    drill(1, ProofResult.PROVEN)
    drill(2, ProofResult.PROVEN)
    drill(3, ProofResult.MISMATCH)
    assert (before(late), before(at[3])) == (backup_id(2), backup_id(2))
    assert (before(at[2]), before(at[1])) == (ONE, None)
    assert before(late, other) is None
    catalog.forget_copy(backup_id(2), "local", late)
    assert before(late) == ONE


def test_the_latest_conclusive_drill_decides(catalog):
    commit(catalog)

    def drill(result: ProofResult, hours: int) -> None:
        catalog.record_proof(ProofRecord(ONE, "local", result, START + hours * HOUR))

    drill(ProofResult.INCONCLUSIVE, 1)
    assert catalog.backup(ONE).proven is None
    drill(ProofResult.PROVEN, 2)
    drill(ProofResult.INCONCLUSIVE, 3)
    assert (catalog.backup(ONE).proven, catalog.backup(ONE).proven_at) == (True, START + 2 * HOUR)
    drill(ProofResult.UNRESTORABLE, 5)
    drill(ProofResult.PROVEN, 4)
    assert (catalog.backup(ONE).proven, catalog.backup(ONE).proven_at) == (False, START + 5 * HOUR)
    assert [one.at - START for one in catalog.proofs(ONE)] == [n * HOUR for n in (5, 4, 3, 2, 1)]
    with pytest.raises(NotFoundError):
        catalog.record_proof(ProofRecord(backup_id(9), "x", ProofResult.PROVEN, START))


def test_the_drills_of_a_database_are_those_of_all_its_backups(catalog):
    other = DatabaseRef("main", "other")
    for number, ref in ((1, MAIN), (2, MAIN), (3, other)):
        commit(catalog, number, ref)
    for number, hours in ((2, 1), (1, 3), (3, 2), (2, 4)):
        at = START + hours * HOUR
        catalog.record_proof(ProofRecord(backup_id(number), "local", ProofResult.PROVEN, at))
    found = [(one.backup, (one.at - START) / HOUR) for one in catalog.drills(MAIN)]
    assert found == [(backup_id(2), 4), (backup_id(1), 3), (backup_id(2), 1)]
    assert [one.backup for one in catalog.drills(MAIN, limit=1)] == [backup_id(2)]
    assert [one.backup for one in catalog.drills(other)] == [backup_id(3)]
    assert list(catalog.drills(DatabaseRef("main", "none"))) == []


# --- events ---


def test_events_come_newest_first(catalog):
    old = Event(START, "backup.failed", "one", MAIN, backup=ONE, data={"a": "1"})
    new = Event(START + HOUR, "prune", "two", server="main")
    same = Event(START + HOUR, "prune", "three")
    for event in (new, old, same):
        catalog.record_event(event)
    assert list(catalog.events()) == [same, new, replace(old, server="main")]
    assert list(catalog.events(limit=1)) == [same]
    assert [one.message for one in catalog.events(kind="backup.failed")] == ["one"]


def test_old_events_go_but_for_what_must_be_remembered(catalog):
    for kind, at in (("a", START), ("kept", START), ("a", START + HOUR), ("b", START + 2 * HOUR)):
        catalog.record_event(Event(at, kind, "happened"))
    assert catalog.prune_events(HOUR, START + 2 * HOUR, but={"kept"}) == 1
    assert [one.kind for one in catalog.events()] == ["b", "a", "kept"]
    assert catalog.prune_events(HOUR, START + 9 * HOUR) == 3
    assert list(catalog.events()) == []


# --- leases ---


def test_a_lease_is_held_until_released(catalog):
    lease = catalog.acquire("backup:main/mina", holder(), TTL)
    assert lease.name == "backup:main/mina"
    assert lease.holder == holder()
    assert lease.expires_at - lease.acquired_at == TTL
    assert list(catalog.leases()) == [lease]
    assert list(catalog.leases("backup:")) == [lease]
    assert list(catalog.leases("prune:")) == []
    with pytest.raises(AlreadyRunningError) as caught:
        catalog.acquire("backup:main/mina", holder(2), TTL)
    assert "backup:main/mina" in caught.value.message
    assert "guardian backup now (pid 100 on alpha)" in caught.value.message
    assert f"since {lease.acquired_at:%Y-%m-%d %H:%M:%S} UTC" in caught.value.message
    catalog.acquire("backup:main/other", holder(2), TTL)
    catalog.release(lease)
    catalog.release(lease)
    assert catalog.acquire("backup:main/mina", holder(2), TTL).token != lease.token


def test_one_process_gets_a_lease_once(catalog):
    catalog.acquire("x", holder(), TTL)
    with pytest.raises(AlreadyRunningError):
        catalog.acquire("x", holder(), TTL)


def test_a_lapsed_lease_can_be_taken_and_its_holder_hears_of_it(site, catalog):
    lease = catalog.acquire("x", holder(), TTL)
    site.turn(TTL - timedelta(seconds=5))
    with pytest.raises(AlreadyRunningError):
        catalog.acquire("x", holder(2), TTL)
    site.turn(timedelta(seconds=5))
    assert list(catalog.leases()) == []
    taken = catalog.acquire("x", holder(2, "beta"), TTL)
    with pytest.raises(AlreadyRunningError, match="pid 2 on beta"):
        catalog.renew(lease, TTL)
    catalog.release(lease)
    assert [one.token for one in catalog.leases()] == [taken.token]


def test_a_renewed_lease_does_not_lapse(site, catalog):
    lease = catalog.acquire("x", holder(), TTL)
    for _ in range(3):
        site.turn(TTL / 2)
        renewed = catalog.renew(lease, TTL)
        assert renewed.token == lease.token
        with pytest.raises(AlreadyRunningError):
            catalog.acquire("x", holder(2), TTL)


def test_a_lapsed_lease_that_nobody_took_can_be_renewed(site, catalog):
    lease = catalog.acquire("x", holder(), TTL)
    site.turn(2 * TTL)
    catalog.renew(lease, TTL)
    with pytest.raises(AlreadyRunningError):
        catalog.acquire("x", holder(2), TTL)


def test_the_lease_of_a_dead_process_is_taken_at_once(site, catalog):
    catalog.acquire("x", holder(1), TTL)
    site.alive[holder(1)] = False
    assert list(catalog.leases()) == []
    assert catalog.acquire("x", holder(2), TTL).holder == holder(2)
    site.alive[holder(2)] = True
    with pytest.raises(AlreadyRunningError):
        catalog.acquire("x", holder(3), TTL)


def test_of_many_threads_one_gets_the_lease(site):
    catalogs = [site.open() for _ in range(3)]
    won: list[Lease] = []
    refused: list[Exception] = []
    start = threading.Barrier(12)

    def race(number: int) -> None:
        start.wait()
        try:
            won.append(catalogs[number % 3].acquire("x", holder(number), TTL))
        except AlreadyRunningError as error:
            refused.append(error)

    threads = [threading.Thread(target=race, args=(number,)) for number in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(won), len(refused)) == (1, 11)
    assert [one.token for one in catalogs[0].leases()] == [won[0].token]


# --- runs that died ---


def test_a_live_run_is_never_marked(site, catalog):
    lease = begin(catalog)
    assert list(catalog.recover_runs(START)) == []
    site.alive[holder()] = True
    site.turn(2 * TTL)  # suspended: lapsed, but alive on this host
    assert list(catalog.recover_runs(START)) == []
    assert catalog.backup(ONE).status is RunStatus.RUNNING
    catalog.renew(lease, TTL)


def test_the_run_of_a_dead_process_is_marked(site, catalog):
    begin(catalog)
    site.alive[holder()] = False
    [record] = catalog.recover_runs(START + HOUR)
    assert record == catalog.backup(ONE)
    assert (record.status, record.cause) == (RunStatus.INTERRUPTED, Cause.INTERRUPTED)
    assert record.finished_at == START + HOUR
    assert "guardian backup now (pid 100 on alpha)" in record.error
    assert list(catalog.recover_runs(START + HOUR)) == []


def test_the_run_of_a_lapsed_lease_is_marked_and_its_holder_hears_of_it(site, catalog):
    lease = begin(catalog)
    site.turn(TTL)
    [record] = catalog.recover_runs(START + HOUR)
    assert record.id == ONE
    with pytest.raises(AlreadyRunningError, match="lapsed"):
        catalog.renew(lease, TTL)


def test_runs_are_marked_whose_lease_was_taken_or_given_back(site, catalog):
    begin(catalog, 1)
    catalog.release(begin(catalog, 2))
    site.turn(TTL)
    catalog.acquire("backup:1", holder(2), TTL)
    assert {one.id for one in catalog.recover_runs(START)} == {backup_id(1), backup_id(2)}
    assert [one.name for one in catalog.leases()] == ["backup:1"]


def test_only_runs_of_that_database_are_marked(catalog):
    lease = catalog.acquire("x", holder(), TTL)
    catalog.begin_backup(ONE, MAIN, START, lease)
    catalog.begin_backup(backup_id(2), DatabaseRef("main", "other"), START, lease)
    catalog.release(lease)
    assert [one.id for one in catalog.recover_runs(START, MAIN)] == [ONE]
    assert catalog.backup(backup_id(2)).status is RunStatus.RUNNING


def test_runs_that_ended_are_left_alone(catalog):
    begin(catalog, 1)
    catalog.commit_backup(manifest(ONE), stored("local"))
    failed(catalog, 2, START)
    assert list(catalog.recover_runs(START)) == []


# --- many ---


def test_the_newest_backup_of_each_database(catalog):
    other, third = DatabaseRef("main", "other"), DatabaseRef("second", "mina")
    refs = [DatabaseRef("main", "mina"), other, third]
    fill(catalog, 9, refs)
    failed(catalog, 20, START + timedelta(days=1))
    assert [one.id for one in catalog.newest_backups()] == [backup_id(n) for n in (8, 7, 6)]
    assert [one.ref for one in catalog.newest_backups("main")] == [other, refs[0]]
    assert catalog.newest_backups("main")[0].stores == ("local", "offsite")
    for store in ("local", "offsite"):  # deleted everywhere: the one before it is the newest
        catalog.forget_copy(backup_id(7), store, START)
    assert [one.id for one in catalog.newest_backups("main")] == [backup_id(6), backup_id(4)]
    assert list(catalog.newest_backups("nowhere")) == []


def test_each_backup_is_given_as_it_is_when_its_turn_comes(catalog):
    fill(catalog, 1200, [DatabaseRef("main", "mina")])
    given = catalog.each_backup()
    assert next(given).id == backup_id(1199)
    for store in ("local", "offsite"):
        catalog.forget_copy(backup_id(3), store, START)
    catalog.pin(backup_id(2), START, "ada")
    rest = {one.id: one for one in given}
    assert list(rest) == [backup_id(number) for number in reversed(range(1199)) if number != 3]
    assert rest[backup_id(2)].kept
    assert list(catalog.each_backup("nowhere")) == []


def test_records_of_some_ids(catalog):
    fill(catalog, 1200, [DatabaseRef("main", "mina")])
    failed(catalog, 1300, START)
    wanted = [backup_id(number) for number in (3, 1199, 1300, 7777)]
    found = {one.id: one for one in catalog.records(wanted)}
    assert found == {one: catalog.backup(one) for one in wanted[:3]}
    assert len(catalog.records([backup_id(number) for number in range(2000)])) == 1201
    assert list(catalog.records([])) == []


def test_five_thousand_backups_are_listed(catalog):
    refs = [DatabaseRef("main", f"db{number}") for number in range(5)]
    fill(catalog, 5000, refs)
    found = catalog.backups()
    assert [one.id for one in found] == [backup_id(number) for number in reversed(range(5000))]
    assert all(one.stores == ("local", "offsite") for one in found)
    assert len(catalog.backups("main", "db3")) == 1000
    assert list(catalog.each_backup()) == list(found)
    assert list(catalog.each_backup("main", "db3")) == list(catalog.backups("main", "db3"))
    newest = catalog.backups("main", "db3", 2)
    assert [one.id for one in newest] == [backup_id(4998), backup_id(4993)]
    assert newest[0].stores == ("local", "offsite")
