"""The reader of archives' heads, on heads that a small writer makes: whole, cut, and hostile."""

from __future__ import annotations

import contextlib
import pickle
import random
import tracemalloc
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardian.errors import GuardianError, UnrestorableError
from guardian.restore.archive import Section, Toc, TocEntry, TocReader, UnknownArchiveError

VERSIONS = [(1, minor, 0) for minor in range(12, 17)]
SECTIONS = {Section.NONE: 1, Section.PRE_DATA: 2, Section.DATA: 3, Section.POST_DATA: 4}

TABLE = TocEntry(
    dump_id=7,
    tag="users",
    kind="TABLE",
    section=Section.PRE_DATA,
    namespace="public",
    owner="app",
    definition="CREATE TABLE public.users (id int);\n",
    copy_statement="",
    dependencies=(3, 4),
    has_data=False,
)
ROWS = replace(
    TABLE,
    dump_id=9,
    kind="TABLE DATA",
    section=Section.DATA,
    definition="",
    copy_statement="COPY public.users (id) FROM stdin;\n",
    dependencies=(7,),
    has_data=True,
)


@dataclass
class Writer:
    """Writes as pg_dump does (WriteHead, WriteToc); each piece can be made wrong."""

    version: tuple[int, int, int] = (1, 14, 0)
    integer_bytes: int = 4
    offset_bytes: int = 8
    encoding: str = "utf-8"
    null: str = "empty"  # how an empty string is written: "empty", or as no string at all

    def integer(self, value: int) -> bytes:
        return bytes([value < 0]) + abs(value).to_bytes(self.integer_bytes, "little")

    def string(self, value: str | bytes | None) -> bytes:
        if value is None or (value == "" and self.null == "null"):
            return self.integer(-1)
        data = value if isinstance(value, bytes) else value.encode(self.encoding, "surrogateescape")
        return self.integer(len(data)) + data

    def header(self, database: str = "mina", *, archive_format: int = 1) -> bytes:
        words = [b"PGDMP", bytes(self.version)]
        words += [bytes([self.integer_bytes, self.offset_bytes, archive_format])]
        words += [b"\1" if self.version >= (1, 15, 0) else self.integer(-1)]
        words += [self.integer(value) for value in (59, 30, 2, 23, 10, 126, -1)]
        words += [self.string(database), self.string("15.18 (Debian)"), self.string("18.4")]
        return b"".join(words)

    def fields(self, entry: TocEntry) -> list[bytes]:
        words = [self.integer(entry.dump_id), self.integer(int(entry.has_data))]
        words += [self.string("1259"), self.string("16385")]
        words += [self.string(entry.tag), self.string(entry.kind)]
        words += [self.integer(SECTIONS[entry.section]), self.string(entry.definition)]
        words += [self.string("DROP …".encode()), self.string(entry.copy_statement)]
        words += [self.string(entry.namespace), self.string(None)]
        if self.version >= (1, 14, 0):
            words += [self.string("heap")]
        if self.version >= (1, 16, 0):
            words += [self.integer(ord("r"))]
        return [*words, self.string(entry.owner), self.string("false")]

    def entry(self, entry: TocEntry) -> bytes:
        words = self.fields(entry) + [self.string(str(one)) for one in entry.dependencies]
        return b"".join(words) + self.string(None) + self.offset(1 if entry.has_data else 3)

    def offset(self, flag: int) -> bytes:
        return bytes([flag]) + bytes(self.offset_bytes)

    def head(self, entries: Sequence[TocEntry], database: str = "mina") -> bytes:
        body = b"".join(self.entry(entry) for entry in entries)
        return self.header(database) + self.integer(len(entries)) + body


def read(data: bytes, size: int | None = None, reader: TocReader | None = None) -> Toc | None:
    """Feed in blocks of that size; what the last block gave."""
    reader = reader or TocReader()
    step = size or len(data) or 1
    toc = None
    for start in range(0, len(data), step):
        toc = reader.feed(data[start : start + step])
    return toc


# --- what pg_dump writes ------------------------------------------------------------------------

texts = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=40)
entries = st.lists(
    st.builds(
        TocEntry,
        dump_id=st.integers(1, 2**31 - 1),
        tag=texts,
        kind=st.one_of(st.sampled_from(["TABLE", "TABLE DATA", "ACL"]), texts).filter(
            lambda kind: kind != "ENCODING"
        ),
        section=st.sampled_from(Section),
        namespace=texts,
        owner=texts,
        definition=texts,
        copy_statement=texts,
        dependencies=st.lists(st.integers(0, 2**31 - 1), max_size=5).map(tuple),
        has_data=st.booleans(),
    ),
    max_size=6,
    unique_by=lambda entry: entry.dump_id,
)
writers = st.builds(
    Writer,
    version=st.sampled_from(VERSIONS),
    integer_bytes=st.sampled_from([4, 8]),
    offset_bytes=st.sampled_from([4, 8]),
    null=st.sampled_from(["empty", "null"]),
)


@given(writers, entries, texts, st.integers(1, 50), st.binary(max_size=60))
def test_what_was_written_is_read_in_blocks_of_any_size(
    writer: Writer, wanted: list[TocEntry], database: str, size: int, rows: bytes
) -> None:
    head = writer.head(wanted, database)
    reader = TocReader()
    toc = read(head + rows, size, reader)
    assert toc == Toc(
        writer.version, database, "15.18 (Debian)", "18.4", tuple(wanted), head_bytes=len(head)
    )
    assert reader.head == head
    reader.close()


@given(writers, entries)
def test_it_is_there_with_the_last_byte_and_not_before(
    writer: Writer, wanted: list[TocEntry]
) -> None:
    head = writer.head(wanted)
    reader = TocReader()
    for position in range(len(head) - 1):
        assert reader.feed(head[position : position + 1]) is None
    with pytest.raises(ValueError, match="not whole"):
        _ = reader.head
    toc = reader.feed(head[-1:])
    assert toc is not None
    assert reader.feed(b"rows, which are not kept") is toc
    assert reader.head == head


@pytest.mark.parametrize("version", VERSIONS)
def test_every_version_has_its_own_fields(version: tuple[int, int, int]) -> None:
    toc = read(Writer(version).head([TABLE, ROWS]))
    assert toc is not None
    assert toc.version == version
    assert toc.entries == (TABLE, ROWS)


@pytest.mark.parametrize(
    ("name", "codec"), [("LATIN1", "iso8859_1"), ("WIN1251", "cp1251"), ("EUC_JP", "euc_jp")]
)
def test_names_are_in_the_archives_encoding(name: str, codec: str) -> None:
    word = {"LATIN1": "Müller", "WIN1251": "люди", "EUC_JP": "日本"}[name]
    encoding = replace(
        TABLE,
        tag="ENCODING",
        kind="ENCODING",
        definition=f"SET client_encoding = '{name}';\n",
    )
    table = replace(TABLE, dump_id=8, tag=word)
    toc = read(Writer(encoding=codec).head([encoding, table], database=word))
    assert toc is not None
    assert toc.entries[1].tag == word
    assert toc.database == word


def test_bytes_of_no_encoding_survive() -> None:
    entry = replace(TABLE, tag=b"caf\xe9".decode(errors="surrogateescape"))
    toc = read(Writer().head([entry]))
    assert toc is not None
    assert toc.entries[0].tag.encode(errors="surrogateescape") == b"caf\xe9"


# --- what is no archive -------------------------------------------------------------------------


@pytest.mark.parametrize(
    "data",
    [
        b"-- PostgreSQL database dump",
        b"P\n",
        b"\x28\xb5\x2f\xfd zstd",
        b"\x8c\x0d\x04",
        b"toc.dat" + bytes(505),
        bytes(100),
    ],
)
def test_garbage_is_refused_at_its_first_bytes(data: bytes) -> None:
    with pytest.raises(UnrestorableError, match=r"^the dump is not a custom-format archive$"):
        read(data, 1)


@pytest.mark.parametrize("version", [(1, 17, 0), (2, 0, 0), (1, 11, 0), (255, 255, 255)])
def test_other_versions_are_told_apart_from_garbage(version: tuple[int, int, int]) -> None:
    age = "older" if version < (1, 12) else "newer"
    with pytest.raises(UnknownArchiveError, match=f"{version[0]}\\.{version[1]}, {age} than"):
        read(b"PGDMP" + bytes(version) + b"\xff" * 40)


def test_a_revision_within_a_known_version_is_read() -> None:
    assert read(Writer((1, 16, 200)).head([TABLE])) is not None


HEADER = Writer().header()
FIELDS = Writer().fields(TABLE)
END = Writer().string(None)


def body(*words: bytes, count: int = 1) -> bytes:
    return HEADER + Writer().integer(count) + b"".join(words)


def changed(index: int, word: bytes) -> bytes:
    return body(*FIELDS[:index], word, *FIELDS[index + 1 :], END, Writer().offset(3))


HOSTILE: dict[str, bytes] = {
    "a directory's toc.dat": Writer().header(archive_format=5),
    "a tar's": Writer().header(archive_format=3),
    "wide integers": Writer(integer_bytes=32).header(),
    "no integers": b"PGDMP\1\16\0\0\10\1" + bytes(50),
    "wide offsets": Writer(offset_bytes=200).header(),
    "a negative count": body(count=-1),
    "a sign that is none": HEADER + b"\2\0\0\0\0",
    "an integer out of range": HEADER + b"\0\xff\xff\xff\xff",
    "id 0": changed(0, Writer().integer(0)),
    "a negative id": changed(0, Writer().integer(-5)),
    "a section that is none": changed(6, Writer().integer(5)),
    "section 0": changed(6, Writer().integer(0)),
    "a negative length": changed(4, Writer().integer(-2) + b"users"),
    "a zero byte in a name": changed(4, Writer().string("us\0ers")),
    "an id twice": body(Writer().entry(TABLE), Writer().entry(TABLE), count=2),
    "a dependency on no number": body(*FIELDS, Writer().string("7x"), END, Writer().offset(3)),
    "a negative dependency": body(*FIELDS, Writer().string("-7"), END, Writer().offset(3)),
    "an empty dependency": body(*FIELDS, Writer().string(""), END, Writer().offset(3)),
    "a huge dependency": body(*FIELDS, Writer().string("9" * 5000), END, Writer().offset(3)),
    "an offset of no kind": body(*FIELDS, END, Writer().offset(4)),
}


@pytest.mark.parametrize("data", HOSTILE.values(), ids=HOSTILE.keys())
@pytest.mark.parametrize("size", [1, None])
def test_damage_is_told(data: bytes, size: int | None) -> None:
    with pytest.raises(UnrestorableError, match="custom-format archive, or is damaged: "):
        read(data, size)


def test_the_hostile_bytes_are_hostile_in_one_place_only() -> None:
    assert read(changed(0, FIELDS[0])) is not None


@pytest.mark.parametrize("size", [1, None])
@pytest.mark.parametrize(
    "data",
    [body(count=2**31 - 1), changed(4, Writer().integer(2**31 - 1) + b"users")],
    ids=["a huge count", "a huge string"],
)
def test_sizes_beyond_the_limit_are_refused_as_soon_as_they_are_claimed(
    data: bytes, size: int | None
) -> None:
    with pytest.raises(UnknownArchiveError, match=r"larger than the 1.00 GiB that guardian reads"):
        read(data, size)


def test_no_more_than_the_limit_is_kept() -> None:
    reader = TocReader(limit=10_000)
    reader.feed(body(*FIELDS))
    with pytest.raises(UnknownArchiveError, match="larger than"):
        read(Writer().string("1") * 10_000, 600, reader)
    assert not reader._bytes.kept


def test_a_head_of_exactly_the_limit_is_read_and_rows_do_not_count() -> None:
    head = Writer().head([TABLE, ROWS])
    assert read(head + bytes(10_000), None, TocReader(limit=len(head))) is not None
    with pytest.raises(UnknownArchiveError):
        read(head + bytes(10_000), None, TocReader(limit=len(head) - 1))


def test_a_huge_string_that_does_not_come_takes_no_memory() -> None:
    data = changed(4, Writer().integer(2**29) + b"users")
    tracemalloc.start()
    try:
        assert read(data, 7) is None
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()


def test_after_a_failure_every_call_fails_alike() -> None:
    reader = TocReader()
    for call in (lambda: reader.feed(b"garbage"), lambda: reader.feed(b"PGDMP"), reader.close):
        with pytest.raises(UnrestorableError, match="not a custom-format archive"):
            call()


@pytest.mark.parametrize("kept", [0, 3, 11, 40, -1])
def test_a_stream_that_ends_too_early_is_told(kept: int) -> None:
    reader = TocReader()
    assert reader.feed(Writer().head([TABLE])[:kept]) is None
    with pytest.raises(UnrestorableError, match="ends within its table of contents"):
        reader.close()


@given(st.binary(max_size=300), st.integers(1, 40))
def test_no_bytes_raise_anything_else(data: bytes, size: int) -> None:
    for start in (b"", b"PGDMP\1\16\0\4\10\1", Writer((1, 16, 0)).header()):
        with contextlib.suppress(UnrestorableError, UnknownArchiveError):
            read(start + data, size)


@given(writers, entries, st.data())
def test_flipped_bytes_raise_nothing_else(
    writer: Writer, wanted: list[TocEntry], data: st.DataObject
) -> None:
    head = bytearray(writer.head(wanted))
    for _ in range(data.draw(st.integers(1, 3))):
        head[data.draw(st.integers(0, len(head) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(UnrestorableError, UnknownArchiveError):
        toc = read(bytes(head), data.draw(st.integers(1, 100)))
        assert toc is None or toc.head_bytes <= len(head)


# --- work ---------------------------------------------------------------------------------------


class Counting(TocReader):
    """Counts how often a step is begun again."""

    def __init__(self) -> None:
        super().__init__()
        self.tries = 0
        self._watch()

    def _watch(self) -> None:
        for name in ("_read_fields", "_read_dependency", "_read_offset"):
            setattr(self, name, self._counted(getattr(self, name)))

    def _counted(self, step: Callable[[], None]) -> Callable[[], None]:
        def counted() -> None:
            self.tries += 1
            step()

        return counted


@pytest.mark.parametrize("size", [1, 7, 1000, 65536])
def test_small_blocks_do_not_make_it_begin_again_and_again(size: int) -> None:
    """A long definition and many dependencies are the two ways to be quadratic."""
    long = replace(TABLE, definition="x" * 300_000, dependencies=tuple(range(1, 2000)))
    head = Writer().head([long, ROWS])
    reader = Counting()
    assert read(head, size, reader) is not None
    assert reader.tries < 100 + 3 * 2000


def test_the_rest_of_a_block_is_not_kept() -> None:
    head = Writer().head([TABLE])
    reader = TocReader()
    reader.feed(head + random.randbytes(1 << 20))
    assert len(reader._bytes.kept) == len(head)


def test_errors_cross_processes() -> None:
    with pytest.raises(UnknownArchiveError) as caught:
        read(b"PGDMP\1\21\0")
    again = pickle.loads(pickle.dumps(caught.value))
    assert isinstance(again, GuardianError)
    assert str(again) == str(caught.value)
