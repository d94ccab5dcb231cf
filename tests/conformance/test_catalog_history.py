"""Calendars, trends, lists and vitals over time: in memory, in SQLite and in PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from support.catalogs import (
    MAIN,
    START,
    TTL,
    CatalogSite,
    backup_id,
    holder,
    make_site,
    manifest,
    stored,
)

from guardian.adapters.catalog.catalog import SqlCatalog
from guardian.backup.history import BackupFilter, Wanted
from guardian.errors import Cause
from guardian.model import (
    BackupId,
    DatabaseRef,
    ProofRecord,
    ProofResult,
    RunStatus,
    StoreOutcome,
    StoreStatus,
)
from guardian.testing import MemoryCatalog
from guardian.watch.readings import Severity
from guardian.watch.trend import Sample, Series

DAY = timedelta(days=1)
HOUR = timedelta(hours=1)
MINUTE = timedelta(minutes=1)
OTHER = DatabaseRef("main", "orders")
BARE = DatabaseRef("spare", "mina")


@pytest.fixture(params=["memory", "sqlite", "postgres"])
def site(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[CatalogSite]:
    def database():
        return request.getfixturevalue("fresh_database")(request.getfixturevalue("pg15"))

    made = make_site(request.param, tmp_path, database)
    yield made
    made.close()


@pytest.fixture
def catalog(site: CatalogSite) -> SqlCatalog | MemoryCatalog:
    opened = site.open()
    assert isinstance(opened, SqlCatalog | MemoryCatalog)
    return opened


def made(catalog, number: int, ref: DatabaseRef = MAIN, *stores: str) -> BackupId:
    """A backup on the day of that number."""
    found = backup_id(number, START + number * DAY)
    catalog.commit_backup(manifest(found, ref, START + number * DAY), stored(*stores or ("local",)))
    return found


def failed(catalog, number: int, ref: DatabaseRef = MAIN, status=RunStatus.FAILED) -> BackupId:
    found = running(catalog, number, ref)
    catalog.fail_backup(found, status, START + number * DAY + MINUTE, Cause.DUMP, "broke")
    return found


def running(catalog, number: int, ref: DatabaseRef = MAIN) -> BackupId:
    lease = catalog.acquire(f"try:{number}", holder(), TTL)
    found = backup_id(number, START + number * DAY)
    catalog.begin_backup(found, ref, START + number * DAY, lease)
    return found


def proven(catalog, backup: BackupId, result=ProofResult.PROVEN, after=HOUR) -> datetime:
    at = catalog.backup(backup).started_at + after
    proof = ProofRecord(backup, "local", result, at, seconds=9, fetch_seconds=1, restore_seconds=5)
    catalog.record_proof(proof)
    return at


def ids(page) -> list[BackupId]:
    return [one.id for one in page.records]


# --- standings ---


def test_a_catalog_without_a_try_knows_no_database(catalog):
    assert list(catalog.standings()) == []


def test_each_database_stands_by_its_own_tries(catalog):
    good = made(catalog, 1)
    proven(catalog, good)
    newest = made(catalog, 2)
    failures = [failed(catalog, number) for number in (3, 4)]
    failed(catalog, 5, status=RunStatus.INTERRUPTED)
    lost = failed(catalog, 7, BARE)
    busy = running(catalog, 6, OTHER)
    main, orders, bare = catalog.standings()
    assert [one.ref for one in (main, orders, bare)] == [MAIN, OTHER, BARE]
    assert main.last_proven == catalog.backup(good)
    assert main.last == catalog.backup(newest)
    assert main.last_try.status is RunStatus.INTERRUPTED
    assert main.failures == len(failures)
    assert main.first_at == START + DAY
    assert (orders.last_try.id, orders.last, orders.failures) == (busy, None, 0)
    assert (bare.last_try.id, bare.last_proven, bare.failures) == (lost, None, 1)


def test_what_lies_nowhere_any_more_is_not_the_last_backup(catalog):
    old, new = made(catalog, 1), made(catalog, 2)
    for one in (old, new):
        proven(catalog, one)
    catalog.forget_copy(new, "local", START + 3 * DAY)
    (main,) = catalog.standings()
    assert (main.last.id, main.last_proven.id, main.last_try.id) == (old, old, new)


def test_a_drill_that_failed_does_not_prove(catalog):
    good, bad = made(catalog, 1), made(catalog, 2)
    proven(catalog, good)
    proven(catalog, bad, ProofResult.MISMATCH)
    (main,) = catalog.standings()
    assert (main.last.id, main.last.proven, main.last_proven.id) == (bad, False, good)


def test_failures_before_the_last_success_are_forgotten(catalog):
    failed(catalog, 1)
    made(catalog, 2)
    failed(catalog, 3)
    (main,) = catalog.standings()
    assert main.failures == 1 == catalog.consecutive_failures(MAIN)


# --- points ---


def test_points_are_told_oldest_first_from_an_instant_on(catalog):
    first, second, third = made(catalog, 1), failed(catalog, 2, OTHER), made(catalog, 3)
    proven(catalog, third)
    points = catalog.try_points(START + 2 * DAY)
    assert [one.id for one in points] == [second, third]
    assert [one.ref for one in points] == [OTHER, MAIN]
    assert [one.status for one in points] == [RunStatus.FAILED, RunStatus.SUCCEEDED]
    assert [one.proven for one in points] == [None, True]
    assert points[1].stored_bytes == 1010
    assert [one.id for one in catalog.try_points(START, MAIN)] == [first, third]
    assert [one.id for one in catalog.try_points(START, limit=2)] == [second, third]


def test_drills_are_told_oldest_first_with_their_database(catalog):
    one, other = made(catalog, 1), made(catalog, 2, OTHER)
    first = proven(catalog, one)
    second = proven(catalog, other, ProofResult.MISMATCH)
    third = proven(catalog, one, after=5 * DAY)
    points = catalog.drill_points(START)
    assert [(each.backup, each.at) for each in points] == [
        (one, first),
        (other, second),
        (one, third),
    ]
    assert [each.ref for each in points] == [MAIN, OTHER, MAIN]
    assert (points[1].result, points[1].recovery_seconds) == (ProofResult.MISMATCH, 5.0)
    assert [each.at for each in catalog.drill_points(second, limit=1)] == [third]
    assert [each.at for each in catalog.drill_points(second, MAIN)] == [third]


# --- pages ---


def test_a_page_is_a_piece_of_the_list_and_knows_its_length(catalog):
    every = [made(catalog, number) for number in range(5)]
    page = catalog.backup_page(BackupFilter(), 2, 1)
    assert ids(page) == [every[3], every[2]]
    assert page.total == 5
    assert ids(catalog.backup_page(BackupFilter(), 2, 4)) == [every[0]]
    beyond = catalog.backup_page(BackupFilter(), 2, 10)
    assert (ids(beyond), beyond.total) == ([], 5)


def test_a_list_shows_what_is_wanted(catalog):
    good, refuted, unproven = made(catalog, 1), made(catalog, 2), made(catalog, 3, OTHER)
    proven(catalog, good)
    proven(catalog, refuted, ProofResult.UNRESTORABLE)
    pruned = made(catalog, 4)
    catalog.forget_copy(pruned, "local", START + 5 * DAY)
    broken, cut = failed(catalog, 5), failed(catalog, 6, status=RunStatus.INTERRUPTED)
    busy = running(catalog, 7)
    catalog.pin(good, START, "ada")
    found = {one: set(ids(catalog.backup_page(BackupFilter(one), 50))) for one in Wanted}
    assert found == {
        Wanted.ALL: {good, refuted, unproven, pruned, broken, cut, busy},
        Wanted.BACKUPS: {good, refuted, unproven},
        Wanted.PROVEN: {good},
        Wanted.UNPROVEN: {unproven},
        Wanted.REFUTED: {refuted},
        Wanted.FAILED: {broken, cut},
        Wanted.RUNNING: {busy},
        Wanted.KEPT: {good},
        Wanted.PRUNED: {pruned},
    }


def test_filters_hold_together(catalog):
    both = made(catalog, 1, MAIN, "local", "offsite")
    made(catalog, 2, MAIN, "local")
    other = made(catalog, 3, OTHER, "offsite")
    half = backup_id(4, START + 4 * DAY)
    outcomes = [*stored("local"), StoreOutcome("offsite", StoreStatus.FAILED, "no", Cause.STORE)]
    catalog.commit_backup(manifest(half, MAIN, START + 4 * DAY), outcomes)
    assert set(ids(catalog.backup_page(BackupFilter(store="offsite"), 9))) == {both, other}
    wanted = BackupFilter(Wanted.BACKUPS, "main", "mina", "offsite")
    assert ids(catalog.backup_page(wanted, 9)) == [both]
    prefix = BackupFilter(id_prefix=other[:9])
    assert ids(catalog.backup_page(prefix, 9)) == [other]
    assert ids(catalog.backup_page(BackupFilter(id_prefix=other[:9].lower()), 9)) == []
    assert ids(catalog.backup_page(BackupFilter(id_prefix="%"), 9)) == []


# --- vitals ---


def sample(at: datetime, value: float, *, vital="connections", subject="", **more) -> Sample:
    severity = more.pop("severity", Severity.OK)
    seconds = more.pop("seconds", 300)
    return Sample(Series(vital, subject), at, seconds, value, value, value, severity)


def test_samples_come_back_as_they_were(catalog):
    hostile = "disk \"/var/ü' -- 🦖"
    one = Sample(Series("disk", hostile), START, 300, 0.5, 99.25, 1e12, Severity.CRITICAL)
    other = sample(START, 12.5)
    catalog.record_samples("main", [other, one])
    catalog.record_samples("spare", [sample(START, 1.0)])
    assert list(catalog.samples("main", START - HOUR)) == [other, one]
    assert list(catalog.samples("main", START - HOUR, one.series)) == [one]
    assert list(catalog.samples("nobody", START - HOUR)) == []


def test_a_sample_takes_the_place_of_an_earlier_one_of_its_time(catalog):
    catalog.record_samples("main", [sample(START, 1.0), sample(START, 5.0, vital="disk")])
    catalog.record_samples("main", [sample(START, 2.0)])
    assert [one.last for one in catalog.samples("main", START)] == [2.0, 5.0]


def test_samples_are_told_from_when_they_still_reach(catalog):
    samples = [sample(START + number * 5 * MINUTE, float(number)) for number in range(4)]
    catalog.record_samples("main", samples)
    since = START + 7 * MINUTE
    assert [one.last for one in catalog.samples("main", since)] == [1.0, 2.0, 3.0]


def test_many_samples_at_once(catalog):
    many = [sample(START, float(n), vital="sequences", subject=f"s{n}") for n in range(450)]
    for _ in range(2):
        catalog.record_samples("main", many)
    assert len(catalog.samples("main", START)) == 450


def test_old_samples_are_put_together_and_no_peak_is_lost(catalog):
    now = datetime(2026, 11, 23, 12, 2, tzinfo=UTC)
    fine = [
        sample(now.replace(minute=0) - 3 * DAY + number * 5 * MINUTE, float(number % 13))
        for number in range(24)
    ]
    young = sample(now.replace(minute=0), 50.0)
    catalog.record_samples("main", [*fine, young])
    assert catalog.thin_samples(now) == 22
    first, second, last = catalog.samples("main", now - 10 * DAY)
    assert (first.at, first.seconds) == (fine[0].at, 3600)
    assert (first.low, first.high, first.last) == (0.0, 11.0, 11.0)
    assert (second.low, second.high, second.last) == (0.0, 12.0, 10.0)
    assert last == young
    assert catalog.thin_samples(now) == 0


def test_hours_become_days_and_what_is_very_old_is_dropped(catalog):
    now = datetime(2026, 11, 23, 12, 2, tzinfo=UTC)
    day = datetime(2026, 9, 1, tzinfo=UTC)
    hours = [
        sample(day + number * HOUR, 10.0 + number, seconds=3600, severity=severity)
        for number, severity in enumerate([Severity.OK, Severity.CRITICAL, Severity.WARNING])
    ]
    ancient = sample(now - 500 * DAY, 1.0, seconds=86400)
    catalog.record_samples("main", [*hours, ancient])
    assert catalog.thin_samples(now) == 3
    (whole,) = catalog.samples("main", now - 600 * DAY)
    assert (whole.at, whole.seconds, whole.severity) == (day, 86400, Severity.CRITICAL)
    assert (whole.low, whole.high, whole.last) == (10.0, 12.0, 12.0)


def test_samples_that_come_late_join_what_was_put_together(catalog):
    now = datetime(2026, 11, 23, 12, 2, tzinfo=UTC)
    hour = now.replace(minute=0) - 3 * DAY
    catalog.record_samples("main", [sample(hour + 5 * MINUTE, 5.0)])
    catalog.thin_samples(now)
    catalog.record_samples("main", [sample(hour + 10 * MINUTE, 9.0)])
    catalog.thin_samples(now)
    (one,) = catalog.samples("main", hour - HOUR)
    assert (one.at, one.low, one.high) == (hour, 5.0, 9.0)
