"""How the work of a parallel restore is shared: tables among streams, big indexes ahead of time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from guardian.restore.archive import TocEntry

STREAM_WORTH_BYTES = 64 << 20
"""Below so many bytes a second stream costs more than it saves."""
_BIG_ROWS = 100_000
"""Tables from so many rows on are worth placing; building their indexes is worth a process."""
_INDEXES = frozenset({"INDEX", "CONSTRAINT"})
_ATTACHING = "INDEX ATTACH"


def share_tables(
    tables: Sequence[TocEntry], rows: Mapping[tuple[str, str], int], streams: int
) -> list[list[TocEntry]]:
    """Tables (TABLE DATA entries) in at most ``streams`` shares of about as many rows.

    Within a share they keep the order of the archive, in which a stream brings them. A table whose
    rows are not known counts as small. No share is empty.
    """
    big = sum(rows.get(_table(entry), 0) >= _BIG_ROWS for entry in tables)
    streams = max(1, min(streams, big))
    loads = [0] * streams
    placed: dict[int, int] = {}
    for entry in sorted(tables, key=lambda one: -rows.get(_table(one), 0)):
        lightest = loads.index(min(loads))
        loads[lightest] += rows.get(_table(entry), 0) + 1
        placed[entry.dump_id] = lightest
    shares: list[list[TocEntry]] = [[] for _ in range(streams)]
    for entry in tables:
        shares[placed[entry.dump_id]].append(entry)
    return [share for share in shares if share]


def share_parts(
    parts: Sequence[Sequence[TocEntry]],
    rows: Mapping[tuple[str, str], int],
    streams: int,
    *,
    may_split: Sequence[bool],
) -> list[list[list[TocEntry]]]:
    """The tables of each part of a dump, in shares.

    One share a part; while there are fewer than ``streams``, more of the parts that have most to do
    and ``may_split``.
    """
    loads = [sum(rows.get(_table(entry), 0) for entry in tables) for tables in parts]
    most = [
        sum(rows.get(_table(entry), 0) >= _BIG_ROWS for entry in tables) if split else 1
        for tables, split in zip(parts, may_split, strict=True)
    ]
    numbers = [1 if tables else 0 for tables in parts]
    while sum(numbers) < streams:
        open_ones = [part for part, number in enumerate(numbers) if 0 < number < most[part]]
        if not open_ones:
            break
        numbers[max(open_ones, key=lambda part: loads[part] / numbers[part])] += 1
    return [
        share_tables(tables, rows, number) for tables, number in zip(parts, numbers, strict=True)
    ]


def in_turns(entries: Sequence[TocEntry], jobs: int) -> list[tuple[list[TocEntry], int]]:
    """What comes after the rows, in turns one after the other, each with its number of jobs.

    Attaching an index to that of the partitioned table locks the index first and its table after;
    a foreign key, or a primary key, that is made at the same time does it the other way round, and
    pg_restore does not keep the two apart: a deadlock. So it is done alone, after all indexes but
    those of something that is only made then (a materialized view that needs a primary key).
    """
    if jobs == 1 or not any(entry.kind == _ATTACHING for entry in entries):
        return [(list(entries), jobs)] if entries else []
    indexes: list[TocEntry] = []
    attaching: list[TocEntry] = []
    rest: list[TocEntry] = []
    late: set[int] = set()
    for entry in entries:  # whatever it depends on stands before it
        if entry.kind not in {_ATTACHING, *_INDEXES} or not late.isdisjoint(entry.dependencies):
            rest.append(entry)
            late.add(entry.dump_id)
        else:
            (attaching if entry.kind == _ATTACHING else indexes).append(entry)
    turns = [(indexes, jobs), (attaching, 1), (rest, jobs)]
    return [(turn, number) for turn, number in turns if turn]


def early_indexes(
    entries: Sequence[TocEntry], rows: Mapping[tuple[str, str], int]
) -> dict[int, list[TocEntry]]:
    """Indexes that can be built as soon as one big table is loaded, by its TABLE DATA's id.

    Those that depend on that table alone, besides things that come before the rows.
    """
    data = {
        (entry.namespace, entry.tag): entry.dump_id
        for entry in entries
        if entry.kind == "TABLE DATA" and rows.get(_table(entry), 0) >= _BIG_ROWS
    }
    tables = {
        entry.dump_id: data.get((entry.namespace, entry.tag))
        for entry in entries
        if entry.kind == "TABLE"
    }
    after = {entry.dump_id for entry in entries if entry.section == "post-data"}
    found: dict[int, list[TocEntry]] = {}
    for entry in entries:
        if entry.kind not in _INDEXES or after.intersection(entry.dependencies):
            continue
        needs = {tables[need] for need in entry.dependencies if need in tables}
        if len(needs) == 1 and (only := needs.pop()) is not None:
            found.setdefault(only, []).append(entry)
    return found


def _table(entry: TocEntry) -> tuple[str, str]:
    return entry.namespace, entry.tag
