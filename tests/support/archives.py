"""Small archives in pg_dump's custom format, and one dump in three parts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from guardian.restore.archive import Section, TocEntry

WIDTH = 4


def integer(value: int) -> bytes:
    return bytes([value < 0]) + abs(value).to_bytes(WIDTH, "little")


def string(value: str | None) -> bytes:
    return integer(-1) if value is None else integer(len(value.encode())) + value.encode()


def entry(dump_id: int, kind: str, tag: str, *needs: int) -> TocEntry:
    sections = {"TABLE": Section.PRE_DATA, "TABLE DATA": Section.DATA, "BLOBS": Section.DATA}
    section = sections.get(kind, Section.NONE if kind == "ACL" else Section.POST_DATA)
    has_data = kind in {"TABLE DATA", "BLOBS"}
    return TocEntry(dump_id, tag, kind, section, "public", "o", "", "", needs, has_data=has_data)


def table(dump_id: int, name: str) -> TocEntry:
    return entry(dump_id, "TABLE", name)


def rows(dump_id: int, name: str, *needs: int) -> TocEntry:
    return entry(dump_id, "TABLE DATA", name, *needs)


def archive(
    entries: Sequence[TocEntry], blocks: Mapping[int, Sequence[bytes]], version: int = 14
) -> bytes:
    """As pg_dump writes it to a pipe; ``blocks`` are the pieces of rows by their entry's id."""
    words = [b"PGDMP", bytes((1, version, 0)), bytes([WIDTH, 8, 1])]
    words += [b"\1" if version >= 15 else integer(-1), *map(integer, (59, 30, 2, 23, 10, 126, -1))]
    words += [*map(string, ("mina", "15.18", "15.18")), integer(len(entries))]
    numbers = {section: number for number, section in enumerate(Section, 1)}
    for one in entries:
        words += [integer(one.dump_id), integer(one.has_data), string("1259"), string("7")]
        words += [string(one.tag), string(one.kind), integer(numbers[one.section])]
        words += [string(""), string(""), string(""), string(one.namespace), string(None)]
        words += [string("heap")] + [integer(114)] * (version >= 16)
        words += [string(one.owner), string("false")]
        words += [*map(string, map(str, one.dependencies)), string(None)]
        words += [bytes([1 if one.has_data else 3]), bytes(8)]
    for dump_id, pieces in blocks.items():
        words += [b"\1", integer(dump_id), *(integer(len(one)) + one for one in pieces), integer(0)]
    return b"".join(words)


FIRST_ENTRIES = [
    *(table(5, "a"), table(6, "b"), table(7, "c"), entry(8, "ACL", "TABLE a", 5)),
    *(rows(20, "a", 5), entry(9, "INDEX", "b_i", 6), entry(10, "ACL", "x", 99)),
]
FIRST = archive(FIRST_ENTRIES, {20: [b"a1\n", b"a2\n"]})
SECOND = archive([rows(20, "b", 4), entry(30, "ACL", "y")], {20: [b"b1\n", b"b" * 300, b"\n"]})
THIRD = archive([rows(20, "c")], {20: []})
WHOLE = archive(
    [*FIRST_ENTRIES[:5], rows(100, "b", 6), rows(101, "c", 7), *FIRST_ENTRIES[5:]],
    {20: [b"a1\n", b"a2\n"], 100: [b"b1\n", b"b" * 300, b"\n"], 101: []},
)
"""What the three parts make: further rows stand behind the first's, and need their table."""
