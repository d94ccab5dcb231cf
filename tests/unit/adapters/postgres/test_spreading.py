"""Whose rows get a stream of their own, and whose never."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardian.adapters.postgres.spreading import spread
from guardian.adapters.postgres.tables import Table

MIB = 1 << 20
PLAIN = Table(
    oid=1,
    schema="public",
    name="t",
    kind="r",
    unlogged=False,
    snapshot_filenode=1,
    current_filenode=1,
    readable=True,
    bytes=100 * MIB,
    hides_rows=False,
    condition=None,
    hash_root=None,
    columns=["a"],
)


def tables(*sizes: int) -> list[Table]:
    return [replace(PLAIN, oid=n, name=f"t{n}", bytes=size * MIB) for n, size in enumerate(sizes)]


def moved(found: list[Table], streams: int, encoding: str = "UTF8") -> list[list[str]]:
    return [[one.name for one in share] for share in spread(found, streams, encoding=encoding)]


@pytest.mark.parametrize(
    ("sizes", "streams", "expected"),
    [
        ([], 4, []),
        ([500, 400], 0, []),
        ([500, 400], 1, []),
        ([31, 31, 31, 31], 4, []),  # many small ones: one stream
        ([500, 20], 2, []),  # one big one: nothing to do for another
        ([500, 400], 2, [["t1"]]),  # one of two goes, the smaller: the first has the small ones
        ([500, 20, 20], 2, [["t0"]]),
        ([300, 200, 100, 90], 2, [["t1", "t2"]]),
        ([300, 200, 100], 8, [["t1"], ["t2"]]),
    ],
)
def test_big_tables_are_shared(sizes: list[int], streams: int, expected: list[list[str]]) -> None:
    assert moved(tables(*sizes), streams) == expected


@pytest.mark.parametrize(
    "doubtful",
    [
        replace(PLAIN, oid=7, name="d", condition=""),
        replace(PLAIN, oid=7, name="d", hash_root=3),
        replace(PLAIN, oid=7, name="d", unlogged=True),
        replace(PLAIN, oid=7, name="d", kind="p"),
    ],
)
def test_what_is_doubtful_stays(doubtful: Table) -> None:
    assert moved([doubtful, *tables(90, 80)], 3) == [["t0"], ["t1"]]


def test_names_come_to_the_server_as_they_were() -> None:
    named = [replace(one, name=f"é{one.oid}") for one in tables(90, 80)]
    assert moved(named, 2) != []
    assert moved(named, 2, "LATIN1") == []
    assert moved(tables(90, 80), 2, "LATIN1") == moved(tables(90, 80), 2)


def test_what_nobody_dumps_has_no_stream() -> None:
    found = tables(500, 400, 300)
    shares = spread(found, 3, encoding="UTF8", left_out={0, 2})
    assert shares == []


@given(st.lists(st.integers(0, 400), max_size=30), st.integers(1, 6))
def test_no_table_goes_twice_and_no_stream_has_nothing(sizes: list[int], streams: int) -> None:
    shares = spread(tables(*sizes), streams, encoding="UTF8")
    oids = [one.oid for share in shares for one in share]
    assert len(oids) == len(set(oids))
    assert len(shares) < streams or shares == []
    assert all(shares)
    assert all(one.bytes >= 32 * MIB for share in shares for one in share)
