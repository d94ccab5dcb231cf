"""How the work of a parallel restore is shared."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardian.restore.archive import Section, TocEntry
from guardian.restore.sharing import early_indexes, in_turns, share_parts, share_tables

BIG = 100_000


def entry(
    dump_id: int, kind: str, tag: str, *needs: int, section: Section = Section.PRE_DATA
) -> TocEntry:
    return TocEntry(dump_id, tag, kind, section, "public", "o", "", "", needs, has_data=False)


def rows_of(*names: str) -> list[TocEntry]:
    return [
        replace(entry(number, "TABLE DATA", name, section=Section.DATA), has_data=True)
        for number, name in enumerate(names, start=100)
    ]


def named(shares: list[list[TocEntry]]) -> list[list[str]]:
    return [[one.tag for one in share] for share in shares]


def counts(**rows: int) -> dict[tuple[str, str], int]:
    return {("public", name): count for name, count in rows.items()}


@pytest.mark.parametrize(
    ("tables", "rows", "streams", "expected"),
    [
        ([], {}, 4, []),
        (["a"], {}, 4, [["a"]]),
        # Small ones are not worth a stream, however many.
        (["a", "b", "c"], {"a": BIG - 1, "b": BIG - 1}, 4, [["a", "b", "c"]]),
        # One big table: a second stream would have nothing worth reading the archive for.
        (["a", "b"], {"a": 10 * BIG, "b": 1}, 4, [["a", "b"]]),
        (["a", "b"], {"a": BIG, "b": BIG}, 4, [["a"], ["b"]]),
        (["a", "b"], {"a": BIG, "b": BIG}, 1, [["a", "b"]]),
        (["a", "b"], {"a": BIG, "b": BIG}, 0, [["a", "b"]]),
        # The largest alone, the others together; each in the archive's order.
        (["a", "b", "c"], {"a": BIG, "b": 3 * BIG, "c": BIG}, 2, [["b"], ["a", "c"]]),
        # Tables that nobody counted (a partition of a hash tree) go where the least is.
        (["x", "a", "b", "y"], {"a": 2 * BIG, "b": BIG}, 2, [["a"], ["x", "b", "y"]]),
    ],
)
def test_shares(
    tables: list[str], rows: dict[str, int], streams: int, expected: list[list[str]]
) -> None:
    assert named(share_tables(rows_of(*tables), counts(**rows), streams)) == expected


@given(sizes=st.lists(st.integers(0, 5 * BIG), max_size=12), streams=st.integers(-1, 8))
def test_every_table_once_in_the_archives_order(sizes: list[int], streams: int) -> None:
    tables = rows_of(*(f"t{number}" for number in range(len(sizes))))
    rows = counts(**{f"t{number}": size for number, size in enumerate(sizes) if size})
    shares = share_tables(tables, rows, streams)
    assert sorted(one.dump_id for share in shares for one in share) == [t.dump_id for t in tables]
    for share in shares:
        assert share
        assert [one.dump_id for one in share] == sorted(one.dump_id for one in share)
    assert len(shares) <= max(1, streams)
    # No stream has more than it would with the largest table added to an equal share.
    loads = [sum(rows.get(("public", one.tag), 0) + 1 for one in share) for share in shares]
    if len(shares) > 1:
        assert max(loads) <= sum(loads) / len(shares) + max(sizes) + 1


TREE = [
    entry(1, "TABLE", "big"),
    entry(2, "TABLE", "small"),
    entry(3, "FUNCTION", "f(integer)"),
    entry(4, "TABLE", "other"),
    *[
        replace(one, dump_id=number)
        for number, one in zip((11, 12, 14), rows_of("big", "small", "other"), strict=True)
    ],
    entry(20, "INDEX", "big_a", 1, section=Section.POST_DATA),
    entry(21, "CONSTRAINT", "big big_pkey", 1, section=Section.POST_DATA),
    entry(22, "INDEX", "big_f", 1, 3, section=Section.POST_DATA),
    entry(23, "INDEX", "small_a", 2, section=Section.POST_DATA),
    entry(24, "FK CONSTRAINT", "big fk", 1, 2, section=Section.POST_DATA),
    entry(25, "INDEX", "on two", 1, 4, section=Section.POST_DATA),
    entry(26, "INDEX", "after another", 1, 20, section=Section.POST_DATA),
    entry(27, "TRIGGER", "big t", 1, section=Section.POST_DATA),
    entry(28, "INDEX ATTACH", "x", 20, section=Section.POST_DATA),
    entry(29, "INDEX", "on nothing known", 99, section=Section.POST_DATA),
]


def test_indexes_of_one_big_table_that_wait_for_nothing_else() -> None:
    found = early_indexes(TREE, counts(big=BIG, small=BIG - 1, other=BIG))
    assert {need: [one.dump_id for one in early] for need, early in found.items()} == {
        11: [20, 21, 22]
    }


def test_no_rows_to_wait_for_no_early_index() -> None:
    assert early_indexes(TREE, {}) == {}
    definitions = [one for one in TREE if one.kind != "TABLE DATA"]
    assert early_indexes(definitions, counts(big=BIG)) == {}


def test_tables_of_one_name_in_two_schemas_are_two() -> None:
    twin = [
        replace(
            one,
            dump_id=one.dump_id + 50,
            namespace="s",
            dependencies=(51,) * bool(one.dependencies),
        )
        for one in (TREE[0], TREE[4], TREE[7])
    ]
    found = early_indexes([*TREE, *twin], {("s", "big"): BIG})
    assert {need: [one.dump_id for one in early] for need, early in found.items()} == {61: [70]}


def after(dump_id: int, kind: str, *needs: int) -> TocEntry:
    return entry(dump_id, kind, f"e{dump_id}", *needs, section=Section.POST_DATA)


def turns_of(entries: list[TocEntry], jobs: int) -> list[tuple[list[int], int]]:
    return [([one.dump_id for one in turn], number) for turn, number in in_turns(entries, jobs)]


PARTITIONED = [
    after(1, "CONSTRAINT"),
    after(2, "INDEX"),
    after(3, "INDEX ATTACH", 1, 2),
    after(4, "FK CONSTRAINT", 1, 3),
    after(5, "COMMENT", 2),
    after(6, "MATERIALIZED VIEW", 1),
    after(7, "INDEX", 6),
    after(8, "INDEX ATTACH", 7),
]


def test_indexes_are_attached_alone_after_they_are_made_and_before_what_needs_them() -> None:
    assert turns_of(PARTITIONED, 2) == [([1, 2], 2), ([3], 1), ([4, 5, 6, 7, 8], 2)]


def test_one_job_needs_no_turns_nor_does_what_has_no_partitions() -> None:
    assert turns_of(PARTITIONED, 1) == [([1, 2, 3, 4, 5, 6, 7, 8], 1)]
    assert turns_of([after(1, "INDEX"), after(2, "FK CONSTRAINT", 1)], 4) == [([1, 2], 4)]
    assert turns_of([], 4) == []


@pytest.mark.parametrize(
    ("parts", "rows", "streams", "expected"),
    [
        # One part: as without parts.
        (["ab"], {"a": BIG, "b": BIG}, 2, [[["a"], ["b"]]]),
        # One stream for each part, also where there are fewer jobs.
        (["ab", "c"], {"a": BIG, "b": BIG, "c": BIG}, 1, [[["a", "b"]], [["c"]]]),
        (["ab", "c"], {"a": BIG, "b": BIG, "c": BIG}, 2, [[["a", "b"]], [["c"]]]),
        # More for the part that has most to do, as long as it has big tables to share.
        (["ab", "cd"], {"a": BIG, "b": BIG, "c": 9 * BIG}, 3, [[["a"], ["b"]], [["c", "d"]]]),
        (
            ["ab", "cd"],
            dict.fromkeys("abcd", BIG) | {"c": 2 * BIG},
            3,
            [[["a", "b"]], [["c"], ["d"]]],
        ),
        (["ab", "cd"], dict.fromkeys("abcd", BIG), 9, [[["a"], ["b"]], [["c"], ["d"]]]),
        # Nothing is wanted of a part.
        (["", "cd"], dict.fromkeys("cd", BIG), 2, [[], [["c"], ["d"]]]),
    ],
)
def test_shares_of_parts(
    parts: list[str], rows: dict[str, int], streams: int, expected: list[list[list[str]]]
) -> None:
    tables = [rows_of(*part) for part in parts]
    found = share_parts(tables, counts(**rows), streams, may_split=[True] * len(parts))
    assert [named(part) for part in found] == expected
    alone = share_parts(tables, counts(**rows), streams, may_split=[False] * len(parts))
    assert [named(part) for part in alone] == [[list(part)] if part else [] for part in parts]
