"""What every catalog does for the watch, in memory, in SQLite and in PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest
from support.catalogs import START, CatalogSite, make_ready_site

from guardian.adapters.catalog.catalog import SqlCatalog
from guardian.errors import CatalogError, NotFoundError
from guardian.testing import MemoryCatalog
from guardian.watch.audit import KillMode, KillRecord
from guardian.watch.memory import Memory, Sent
from guardian.watch.model import Action, Mode, Outcome, SessionKey

MINUTE = timedelta(minutes=1)
HOSTILE = "naïve 🦖 it's; DROP TABLE x; -- \x00 \udc80 %s :x {}"


@pytest.fixture(params=["memory", "sqlite", "postgres"])
def site(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[CatalogSite]:
    def database():
        return request.getfixturevalue("fresh_database")(request.getfixturevalue("pg15"))

    made = make_ready_site(request.param, tmp_path, database)
    yield made
    made.close()


def opened(site: CatalogSite) -> SqlCatalog | MemoryCatalog:
    catalog = site.open()
    assert isinstance(catalog, SqlCatalog | MemoryCatalog)
    return catalog


@pytest.fixture
def catalog(site: CatalogSite) -> SqlCatalog | MemoryCatalog:
    return opened(site)


def kill(pid: int = 1, at: datetime = START, server: str = "main") -> KillRecord:
    return KillRecord(
        at=at,
        server=server,
        policy="idle connections",
        pid=pid,
        backend_start=START - timedelta(hours=1, microseconds=1),
        user="web",
        database="mina",
        application="web",
        query="select 1",
        action=Action.TERMINATE,
        mode=KillMode.ENFORCE,
        outcome=Outcome.SIGNALLED,
        reason="idle for 12m, longer than 10m",
        evidence={"victims": 3, "state": "idle", "blocked_by": [1, 2], "wait_seconds": None},
    )


def pids(found) -> list[int]:
    return [one.pid for one in found]


def test_a_kill_comes_back_as_it_was(catalog):
    full = kill()
    bare = replace(
        full,
        at=START + MINUTE,
        policy=None,
        backend_start=None,
        user=None,
        database=None,
        application=None,
        query=None,
        mode=KillMode.MANUAL,
        outcome=Outcome.REFUSED,
        evidence={},
    )
    catalog.record_kill(full)
    catalog.record_kill(bare)
    assert list(catalog.kills()) == [bare, full]


def test_times_come_back_in_utc(catalog):
    east = START.astimezone(timezone(timedelta(hours=5)))
    catalog.record_kill(kill(at=east))
    (found,) = catalog.kills()
    assert found.at == START
    assert found.at.tzinfo is UTC


def test_a_naive_time_is_refused(catalog):
    with pytest.raises(ValueError, match="timezone"):
        catalog.record_kill(kill(at=START.replace(tzinfo=None)))


def test_hostile_text_is_kept(site):
    catalog = opened(site)
    catalog.record_kill(replace(kill(), query=HOSTILE, application=HOSTILE, reason=HOSTILE))
    (found,) = catalog.kills()
    assert "naïve 🦖 it's; DROP TABLE x; --" in (found.query or "")
    assert "naïve 🦖" in found.reason


def test_kills_are_filtered_and_the_newest_come_first(catalog):
    for number in range(6):
        server = "main" if number % 2 == 0 else "other"
        catalog.record_kill(kill(number, START + number // 2 * MINUTE, server))
    assert pids(catalog.kills()) == [5, 4, 3, 2, 1, 0]
    assert pids(catalog.kills("main")) == [4, 2, 0]
    assert pids(catalog.kills("main", limit=1)) == [4]
    assert pids(catalog.kills(since=START + MINUTE)) == [5, 4, 3, 2]
    assert pids(catalog.kills("other", since=START + 2 * MINUTE)) == [5]
    assert pids(catalog.kills("nobody")) == []


def test_an_entry_is_settled_in_its_place(catalog):
    first = catalog.record_kill(kill(1))
    catalog.record_kill(kill(2))
    catalog.settle_kill(first, replace(kill(1), outcome=Outcome.GONE, evidence={"x": 1}))
    newest, oldest = catalog.kills()
    assert newest.outcome is Outcome.SIGNALLED
    assert (oldest.pid, oldest.outcome, oldest.evidence) == (1, Outcome.GONE, {"x": 1})


def test_an_entry_that_is_not_there_cannot_be_settled(catalog):
    with pytest.raises(NotFoundError):
        catalog.settle_kill(7, kill())


def test_old_entries_are_dropped_and_younger_stay(catalog):
    for number in range(4):
        catalog.record_kill(kill(number, START + number * MINUTE))
    assert catalog.prune_kills(2 * MINUTE, START + 4 * MINUTE) == 2
    assert pids(catalog.kills()) == [3, 2]


MEMORY = Memory(
    sent=(
        Sent(SessionKey(7, START), "p", Action.CANCEL, Mode.ENFORCE, START + MINUTE, START),
        Sent(SessionKey(8, None), HOSTILE.replace("\x00", ""), Action.REPORT, Mode.OBSERVE, START),
    ),
    refused=frozenset({SessionKey(9, START)}),
    waited={SessionKey(7, START): START + MINUTE},
    tripped=True,
)


def test_the_memory_survives_and_is_one_a_server(site):
    catalog = opened(site)
    assert catalog.load_memory("main") is None
    catalog.save_memory("main", Memory(), START)
    catalog.save_memory("main", MEMORY, START + MINUTE)
    catalog.save_memory("other", Memory(tripped=True), START)
    again = opened(site)
    assert again.load_memory("main") == MEMORY
    assert again.load_memory("other") == Memory(tripped=True)
    assert again.load_memory("third") is None


def test_a_damaged_memory_is_none(site):
    catalog = opened(site)
    catalog.save_memory("main", MEMORY, START)
    if site.kind == "memory":
        assert isinstance(catalog, MemoryCatalog)
        catalog._memories["main"] = "{"
    else:
        site.execute("UPDATE guardian_watch_memory SET memory = :text", text='{"sent": 5}')
    assert catalog.load_memory("main") is None


def test_segments_come_back_in_order_and_for_their_time(catalog):
    for number in (2, 0, 1):
        at = START + number * MINUTE
        catalog.record_segment("main", at, at + MINUTE / 2, bytes([number, 0, 255]))
    catalog.record_segment("other", START, START, b"other")
    everything = [b"\0\0\xff", b"\1\0\xff", b"\2\0\xff"]
    assert list(catalog.segments("main")) == everything
    assert list(catalog.segments("main", since=START + MINUTE / 2)) == everything
    assert list(catalog.segments("main", since=START + MINUTE)) == everything[1:]
    assert list(catalog.segments("main", until=START + MINUTE)) == everything[:2]
    assert list(catalog.segments("main", until=START - MINUTE)) == []
    assert list(catalog.segments("other")) == [b"other"]


def test_a_segment_takes_the_place_of_itself(catalog):
    catalog.record_segment("main", START, START + MINUTE, b"half")
    catalog.record_segment("main", START, START + 2 * MINUTE, b"whole")
    assert list(catalog.segments("main", since=START + 2 * MINUTE)) == [b"whole"]


def test_the_recording_is_bounded_in_age_and_size(catalog):
    for number in range(5):
        at = START + number * MINUTE
        catalog.record_segment("main", at, at + MINUTE / 2, bytes([number]) * 10)
    catalog.record_segment("other", START, START, b"x" * 100)
    assert catalog.prune_recording("main", START + MINUTE, max_bytes=1000) == 1
    assert [one[0] for one in catalog.segments("main")] == [1, 2, 3, 4]
    assert catalog.prune_recording("main", START, max_bytes=25) == 2
    assert [one[0] for one in catalog.segments("main")] == [3, 4]
    assert catalog.prune_recording("main", START, max_bytes=25) == 0
    assert len(list(catalog.segments("other"))) == 1


def test_what_was_pruned_while_it_is_read_is_left_out(catalog):
    for number in range(3):
        at = START + number * MINUTE
        catalog.record_segment("main", at, at, bytes([number]))
    reading = catalog.segments("main")
    assert next(reading) == b"\0"
    catalog.prune_recording("main", START + 2 * MINUTE, max_bytes=1000)
    assert list(reading)[-1:] == [b"\2"]


def test_a_catalog_that_is_away_says_so(site):
    catalog = opened(site)
    if isinstance(catalog, MemoryCatalog):
        catalog.fail(CatalogError("away"))
    else:
        site.execute("DROP TABLE guardian_kills")
    with pytest.raises(CatalogError):
        catalog.record_kill(kill())
