"""What is recorded comes back as it was, in little room."""

from __future__ import annotations

import zlib
from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.sessions import NOW, ago, observation, session, waiter

from guardian.errors import CatalogError
from guardian.testing import FakeClock, MemoryCatalog
from guardian.watch.model import Observation, PreparedTransaction, Session
from guardian.watch.recording import (
    QUERY_CHARACTERS,
    Recorder,
    SegmentWriter,
    decode_segment,
    recorded_observations,
)

SECOND = timedelta(seconds=1)


def at(seconds: float, *sessions: Session, **more) -> Observation:
    return observation(*sessions, at=NOW + timedelta(seconds=seconds), **more)


def back(*looks: Observation, query_text: bool = True) -> list[Observation]:
    writer = SegmentWriter(query_text=query_text)
    for look in looks:
        writer.add(look)
    return list(decode_segment(writer.encode("main")))


def by_pid(look: Observation) -> dict[int, Session]:
    return {one.pid: one for one in look.sessions}


def test_looks_come_back_as_they_were():
    prepared = (PreparedTransaction("it's", ago(60), "web", "mina"),)
    one, two = session(1, "active", 3), waiter(2, 5)
    looks = [
        at(0, one, two, blockers={2: (1, 1)}),
        at(5, one, replace(two, state="idle", wait_started_at=None), prepared=prepared),
        at(10, one),
        at(15, one, session(2, "idle", backend_start=NOW)),
    ]
    found = back(*looks)
    assert [look.at for look in found] == [look.at for look in looks]
    assert [by_pid(look) for look in found] == [by_pid(look) for look in looks]
    assert [look.blockers for look in found] == [look.blockers for look in looks]
    assert [look.prepared for look in found] == [look.prepared for look in looks]
    assert {look.server for look in found} == {"main"}


times = st.none() | st.integers(0, 10**7).map(lambda n: NOW - timedelta(milliseconds=n))
text = st.none() | st.text(max_size=8)
sessions = st.builds(
    Session,
    pid=st.integers(1, 4),
    backend_start=times,
    user=text,
    database=text,
    application=text,
    client=text,
    backend_type=text,
    state=text,
    query=text,
    wait_event_type=text,
    query_start=times,
    xact_start=times,
    state_change=times,
    wait_started_at=times,
    leader_pid=st.none() | st.integers(1, 4),
    is_superuser=st.booleans(),
    is_replication=st.booleans(),
    is_own=st.booleans(),
    is_backup=st.booleans(),
    visible=st.booleans(),
)
blockings = st.dictionaries(st.integers(1, 4), st.lists(st.integers(0, 4)).map(tuple))


@given(st.lists(st.tuples(st.lists(sessions, unique_by=lambda one: one.pid), blockings)))
def test_whatever_happens_comes_back(story):
    looks = [at(n, *people, blockers=locks) for n, (people, locks) in enumerate(story)]
    found = back(*looks)
    assert [by_pid(look) for look in found] == [by_pid(look) for look in looks]
    assert [look.blockers for look in found] == [look.blockers for look in looks]


def test_a_pid_that_came_back_is_another_session():
    first = session(1, "idle in transaction", 100, client="10.0.0.1")
    second = Session(1, NOW, state=None)
    found = back(at(0, first), at(5, second))
    assert by_pid(found[1]) == {1: second}


def test_what_matters_to_no_policy_is_no_change():
    writer = SegmentWriter()
    busy = session(1, "active", 10)
    for n in range(100):
        writer.add(at(n, replace(busy, xid_age=n, xmin_age=n, wait_event=f"event {n}")))
    raw = zlib.decompress(writer.encode("main"))
    assert raw.count(b'"changed"') == 1
    assert len(raw) < 4000


def test_five_hundred_quiet_sessions_take_little_room():
    people = [session(n, "idle", 5, query=f"select {n} /* {n * 7919} */") for n in range(500)]
    writer = SegmentWriter()
    for n in range(60):
        writer.add(at(5 * n, *people))
    assert len(writer.encode("main")) < 32_000


def test_query_texts_can_be_kept_out_but_not_the_wish_to_be_spared():
    secret = session(1, query="select 'secret'")
    spared = session(2, query="select 'secret' /* guardian:spare */")
    (look,) = back(at(0, secret, spared, session(3, query=None)), query_text=False)
    assert {one.query for one in look.sessions} == {None, "/* guardian:spare */"}
    assert by_pid(look)[2].query == "/* guardian:spare */"


def test_a_long_query_is_cut_and_its_wish_is_not():
    long = "x" * (2 * QUERY_CHARACTERS)
    plain, spared = session(1, query=long), session(2, query=f"{long} /* guardian:spare */")
    (look,) = back(at(0, plain, spared))
    assert len(by_pid(look)[1].query or "") == QUERY_CHARACTERS
    assert (by_pid(look)[2].query or "").startswith("/* guardian:spare */")


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"no zlib",
        zlib.compress(b"no json"),
        zlib.compress(b"[]"),
        zlib.compress(b'{"version": 2, "server": "x", "looks": []}'),
        zlib.compress(b'{"version": 1, "server": "x", "looks": [{"at": 1, "gone": [7]}]}'),
        zlib.compress(b'{"version": 1, "server": "x", "looks": [{"at": "x"}]}'),
        zlib.compress(b'{"version": 1, "server": "x", "looks": [{"at": 1, "changed": {"1": {}}}]}'),
    ],
)
def test_damage_is_found(data):
    with pytest.raises(ValueError, match=r"segment|version|JSON|Expecting"):
        list(decode_segment(data))


# --- over segments, in a catalog ---


def recorder(catalog: MemoryCatalog, keep: timedelta = timedelta(days=7)) -> Recorder:
    return Recorder(catalog, "main", query_text=True, keep=keep, max_bytes=1 << 20)


def recorded(catalog: MemoryCatalog, **bounds) -> list[float]:
    found = recorded_observations(catalog, "main", **bounds)
    return [(look.at - NOW) / SECOND for look in found]


def test_an_hour_comes_back_look_by_look():
    catalog = MemoryCatalog(FakeClock())
    writer = recorder(catalog)
    seconds = [5.0 * n for n in range(720)]
    for second in seconds:
        writer.add(at(second, session(1, "idle", 9)))
    writer.save()
    assert recorded(catalog) == seconds
    assert len(list(catalog.segments("main"))) == 12
    since, until = NOW + 1000 * SECOND, NOW + 2000 * SECOND
    assert recorded(catalog, since=since, until=until) == [n for n in seconds if 1000 <= n <= 2000]


def test_one_that_dies_loses_a_minute_at_most():
    catalog = MemoryCatalog(FakeClock())
    writer = recorder(catalog)
    for n in range(20):
        writer.add(at(5 * n, session(1)))
    assert recorded(catalog)[-1] >= 95 - 60


def test_a_clock_that_goes_back_begins_another_segment():
    catalog = MemoryCatalog(FakeClock())
    writer = recorder(catalog)
    for second in (100, 105, 50, 55):
        writer.add(at(second, session(1)))
        writer.save()
    assert recorded(catalog) == [50, 55, 100, 105]


def test_what_is_old_is_dropped():
    catalog = MemoryCatalog(FakeClock())
    writer = recorder(catalog, keep=timedelta(hours=1))
    for n in range(0, 3 * 3600, 60):
        writer.add(at(n, session(1)))
    first = recorded(catalog)[0]
    assert 3 * 3600 - 3600 - 600 <= first <= 3 * 3600 - 3600 + 60


def test_a_catalog_that_is_away_leaves_a_hole_and_no_more():
    catalog = MemoryCatalog(FakeClock())
    writer = recorder(catalog)
    catalog.fail(CatalogError("away"))
    failures = 0
    for n in range(0, 1200, 5):
        try:
            writer.add(at(n, session(1)))
        except CatalogError:
            failures += 1
    assert failures > 0
    assert len(writer._writer._looks) <= 61
    catalog.fail(None)
    for n in range(1200, 1300, 5):
        writer.add(at(n, session(1)))
    writer.save()
    assert recorded(catalog)[-1] == 1295


def test_a_damaged_segment_is_left_out(caplog):
    catalog = MemoryCatalog(FakeClock())
    writer = recorder(catalog)
    writer.add(at(0, session(1)))
    catalog.record_segment("main", NOW - SECOND, NOW, b"damaged")
    assert recorded(catalog) == [0]
    assert "left out" in caplog.text
