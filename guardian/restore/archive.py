"""Read the head of pg_dump's custom-format archive, its table of contents, while it streams by.

The head comes first in the stream: a header, then one entry an object with its definition and what
it depends on; then come the rows. In a file of its own, the head is enough for ``pg_restore
--list`` and ``pg_restore --section=post-data``. Source: PostgreSQL's ``src/bin/pg_dump``,
``pg_backup_archiver.c`` (ReadHead, ReadToc, ReadInt, ReadStr) and ``pg_backup_custom.c``
(_ReadExtraToc), archive versions 1.12 (pg_dump 9.0 to 10) to 1.16 (17 and 18).
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from sys import intern

from guardian.errors import GuardianError, UnrestorableError
from guardian.units import format_size

HEAD_LIMIT = 1 << 30
"""Bytes of header and table of contents that we keep at most: some ten million objects."""

_MAGIC = b"PGDMP"
_OLDEST = (1, 12)
_NEWEST = (1, 16)
_CUSTOM_FORMAT = 1
_COMPRESSION_BYTE = (1, 15)  # since then the algorithm as a byte, before the level as an integer
_ACCESS_METHOD = (1, 14)
_RELATION_KIND = (1, 16)
_DATE_INTEGERS = 7
_OFFSET_FLAGS = (1, 2, 3)  # not set (a stream), set (a file), no data
_LARGEST_INTEGER = (1 << 31) - 1
_DEPENDENCY_DIGITS = 10
_SMALLEST_ENTRY = 75  # bytes: 15 integers, of which 12 are the lengths of strings


class UnknownArchiveError(GuardianError):
    """The archive may well be good, but its head is of a version or a size that we do not read.

    Whoever wants the table of contents goes without it; pg_restore has the last word.
    """


class Section(StrEnum):
    """When pg_restore brings an entry back: before the rows, as rows, after them, or in any."""

    NONE = "none"
    PRE_DATA = "pre-data"
    DATA = "data"
    POST_DATA = "post-data"


_SECTIONS = dict(enumerate(Section, start=1))


@dataclass(frozen=True, slots=True)
class TocEntry:
    """One object of the archive, or one part of an object.

    ``kind`` is pg_dump's *desc*: ``TABLE``, ``TABLE DATA``, ``INDEX``, ``ACL`` … ``namespace`` and
    ``owner`` are empty where there is none. ``dependencies`` are dump ids, not all of which need be
    in the archive. ``has_data`` tells whether a block of rows or large objects follows the head.
    Bytes that are not of the archive's encoding come as surrogate escapes.
    """

    dump_id: int
    tag: str
    kind: str
    section: Section
    namespace: str
    owner: str
    definition: str
    copy_statement: str
    dependencies: tuple[int, ...]
    has_data: bool


@dataclass(frozen=True, slots=True)
class Toc:
    """The table of contents. ``version`` is the archive's, the other two are as in 15.18 (Debian).

    ``head_bytes`` is where the rows begin.
    """

    version: tuple[int, int, int]
    database: str
    server_version: str
    dump_version: str
    entries: tuple[TocEntry, ...]
    head_bytes: int


@dataclass(frozen=True, slots=True)
class Layout:
    """Where things lie in the head: the number of entries, and each entry.

    An entry is (its begin, where its dependencies begin, where they end, its end). Integers have a
    byte for the sign, and ``integer_bytes``.
    """

    integer_bytes: int
    count_at: int
    entries: tuple[tuple[int, int, int, int], ...]


class TocReader:
    """Takes the archive's bytes in blocks of any size, until the table of contents is whole.

    Each byte is looked at a bounded number of times, whatever the size of the blocks. Raises
    UnrestorableError for what is no archive or a damaged one, UnknownArchiveError for a version or
    a size that it does not read; after that, every further call raises the same.
    """

    def __init__(self, *, limit: int = HEAD_LIMIT) -> None:
        self._bytes = _Bytes(limit)
        self._step: Callable[[], None] = self._read_magic
        self._needed = 0
        self._failure: GuardianError | None = None
        self._toc: Toc | None = None
        self._decode = _decoder("UTF8")
        self._version = (0, 0, 0)
        self._names: tuple[bytes, ...] = ()
        self._offset_bytes = 0
        self._count = 0
        self._entries: list[TocEntry] = []
        self._ids: set[int] = set()
        self._fields = _Fields()
        self._dependencies: list[int] = []
        self._integer_bytes = 0
        self._count_at = 0
        self._places: list[tuple[int, int, int, int]] = []
        self._begin = (0, 0)

    @property
    def layout(self) -> Layout:
        """Where things lie in :attr:`head`."""
        return Layout(self._integer_bytes, self._count_at, tuple(self._places))

    @property
    def head(self) -> bytes:
        """Exactly the bytes of header and table of contents. ValueError until they are whole."""
        if self._toc is None:
            raise ValueError("the table of contents is not whole yet")
        return bytes(self._bytes.kept)

    def feed(self, data: bytes) -> Toc | None:
        """Take the next bytes of the stream; the table of contents as soon as it is whole.

        What lies behind it in ``data``, and all that is fed later, is not kept.
        """
        if self._failure is not None:
            raise self._failure
        if self._toc is not None:
            return self._toc
        self._bytes.kept += data
        if len(self._bytes.kept) < self._needed:
            return None
        try:
            self._parse()
        except GuardianError as failure:
            self._failure = failure
            self._bytes.kept.clear()
            raise
        return self._toc

    def close(self) -> None:
        """The stream has ended. Raises UnrestorableError unless the table of contents is whole."""
        if self._failure is not None:
            raise self._failure
        if self._toc is None:
            raise UnrestorableError("the dump ends within its table of contents")

    def _parse(self) -> None:
        """Take whole steps as far as the bytes reach."""
        while self._toc is None:
            begin = self._bytes.position
            try:
                self._step()
            except _MoreNeeded as more:
                self._bytes.position = begin
                self._needed = more.size
                return

    def _read_magic(self) -> None:
        for byte in _MAGIC:  # one by one: garbage shorter than the magic is garbage, too
            if self._bytes.take(1)[0] != byte:
                raise UnrestorableError("the dump is not a custom-format archive")
        major, minor, revision = self._bytes.take(3)
        self._version = (major, minor, revision)
        if not _OLDEST <= (major, minor) <= _NEWEST:
            age = "newer" if (major, minor) > _NEWEST else "older"
            raise UnknownArchiveError(
                f"the dump is an archive of version {major}.{minor}, {age} than what guardian "
                f"reads ({_written(_OLDEST)} to {_written(_NEWEST)})"
            )
        self._step = self._read_header

    def _read_header(self) -> None:
        source = self._bytes
        integer_bytes, self._offset_bytes, archive_format = source.take(3)
        if integer_bytes not in {4, 8} or self._offset_bytes not in {4, 8}:
            raise _damaged(f"integers of {integer_bytes} and offsets of {self._offset_bytes} bytes")
        if archive_format != _CUSTOM_FORMAT:
            raise _damaged(f"its format has the number {archive_format}")
        source.set_width(integer_bytes)
        self._integer_bytes = integer_bytes
        if self._version >= _COMPRESSION_BYTE:
            source.take(1)
        else:
            source.integer()
        for _ in range(_DATE_INTEGERS):
            source.integer()
        self._names = tuple(source.string() or b"" for _ in range(3))
        self._step = self._read_count

    def _read_count(self) -> None:
        self._count_at = self._bytes.position
        self._count = self._bytes.integer()
        if self._count < 0:
            raise _damaged(f"{self._count} entries")
        self._bytes.check_room(self._count * _SMALLEST_ENTRY)
        self._begin_entry()

    def _begin_entry(self) -> None:
        self._bytes.check_room(0)
        self._step = self._read_fields
        if len(self._entries) == self._count:
            self._finish()

    def _read_fields(self) -> None:
        source = self._bytes
        begin = source.position
        fields = _Fields(dump_id=source.integer(), has_data=source.integer() != 0)
        if fields.dump_id <= 0 or fields.dump_id in self._ids:
            raise _damaged(f"entry {len(self._entries) + 1} has the id {fields.dump_id}")
        source.string(), source.string()  # object identifiers of the source's catalogs
        fields.tag, fields.kind = source.string(), source.string()
        section = source.integer()
        if section not in _SECTIONS:
            raise _damaged(f"entry {fields.dump_id} is of section {section}")
        fields.section = _SECTIONS[section]
        fields.definition = source.string()
        source.string()  # DROP statement
        fields.copy_statement, fields.namespace = source.string(), source.string()
        source.string()  # tablespace
        if self._version >= _ACCESS_METHOD:
            source.string()
        if self._version >= _RELATION_KIND:
            source.integer()
        fields.owner = source.string()
        source.string()  # WITH OIDS
        self._fields = fields
        self._begin = begin, source.position
        self._dependencies = []
        self._step = self._read_dependency

    def _read_dependency(self) -> None:
        word = self._bytes.string()
        if word is None:
            self._step = self._read_offset
        elif word.isdigit() and len(word) <= _DEPENDENCY_DIGITS:
            self._dependencies.append(int(word))
        else:
            raise _damaged(f"entry {self._fields.dump_id} depends on no number")

    def _read_offset(self) -> None:
        end = self._bytes.position
        flag = self._bytes.take(1 + self._offset_bytes)[0]
        if flag not in _OFFSET_FLAGS:
            raise _damaged(f"entry {self._fields.dump_id} has an offset of kind {flag}")
        entry = self._fields.entry(self._decode, tuple(self._dependencies))
        if entry.kind == "ENCODING":
            self._decode = _decoder(entry.definition)
        self._entries.append(entry)
        self._places.append((*self._begin, end, self._bytes.position))
        self._ids.add(entry.dump_id)
        self._begin_entry()

    def _finish(self) -> None:
        database, server_version, dump_version = map(self._decode, self._names)
        head_bytes = self._bytes.position
        del self._bytes.kept[head_bytes:]
        self._toc = Toc(
            version=self._version,
            database=database,
            server_version=server_version,
            dump_version=dump_version,
            entries=tuple(self._entries),
            head_bytes=head_bytes,
        )
        self._entries.clear()
        self._ids.clear()


@dataclass(slots=True)
class _Fields:
    """An entry's fields as they lie in the archive; None is the null string."""

    dump_id: int = 0
    has_data: bool = False
    tag: bytes | None = None
    kind: bytes | None = None
    section: Section = Section.NONE
    definition: bytes | None = None
    copy_statement: bytes | None = None
    namespace: bytes | None = None
    owner: bytes | None = None

    def entry(self, decode: Callable[[bytes], str], dependencies: tuple[int, ...]) -> TocEntry:
        return TocEntry(
            dump_id=self.dump_id,
            tag=decode(self.tag or b""),
            kind=intern(decode(self.kind or b"")),
            section=self.section,
            namespace=intern(decode(self.namespace or b"")),
            owner=intern(decode(self.owner or b"")),
            definition=decode(self.definition or b""),
            copy_statement=decode(self.copy_statement or b""),
            dependencies=dependencies,
            has_data=self.has_data,
        )


class _MoreNeeded(Exception):
    """The bytes end before what is to be read; ``size`` is how many there must be in all."""

    def __init__(self, size: int) -> None:
        super().__init__(size)
        self.size = size


class _Bytes:
    """The bytes kept, and the place up to where they are understood."""

    def __init__(self, limit: int) -> None:
        self.kept = bytearray()
        self.position = 0
        self._integer = struct.Struct("<BI")
        self._limit = limit

    def set_width(self, integer_bytes: int) -> None:
        """Integers have so many bytes, 4 or 8."""
        self._integer = struct.Struct("<BI" if integer_bytes == 4 else "<BQ")

    def check_room(self, size: int) -> None:
        """Raise UnknownArchiveError when so many more bytes are more than we keep."""
        if self.position + size > self._limit:
            raise UnknownArchiveError(
                "the dump's table of contents is larger than the "
                f"{format_size(self._limit)} that guardian reads"
            )

    def take(self, size: int) -> bytes:
        end = self.position + size
        if end > len(self.kept):
            self.check_room(size)
            raise _MoreNeeded(end)
        piece = bytes(self.kept[self.position : end])
        self.position = end
        return piece

    def integer(self) -> int:
        """A sign, then the magnitude, least significant byte first."""
        end = self.position + self._integer.size
        if end > len(self.kept):
            self.check_room(self._integer.size)
            raise _MoreNeeded(end)
        sign, magnitude = self._integer.unpack_from(self.kept, self.position)
        if sign > 1 or magnitude > _LARGEST_INTEGER:
            raise _damaged(f"an integer at byte {self.position} is out of range")
        self.position = end
        return -magnitude if sign else int(magnitude)

    def string(self) -> bytes | None:
        """A length, then so many bytes; None for length -1."""
        length = self.integer()
        if length < 0:
            if length == -1:
                return None
            raise _damaged(f"a string at byte {self.position} has the length {length}")
        piece = self.take(length)
        if b"\0" in piece:  # pg_restore would see less of it than we do
            raise _damaged(f"a string that ends at byte {self.position} holds a zero byte")
        return piece


def _damaged(detail: str) -> UnrestorableError:
    return UnrestorableError(f"the dump is not a custom-format archive, or is damaged: {detail}")


def _written(version: tuple[int, int]) -> str:
    return ".".join(map(str, version))


_CODECS = {
    **{f"LATIN{i}": f"iso8859_{i}" for i in range(1, 5)},
    **{f"LATIN{i}": f"iso8859_{i + 4}" for i in (5, 6)},
    **{f"LATIN{i}": f"iso8859_{i + 6}" for i in range(7, 11)},
    **{f"ISO_8859_{i}": f"iso8859_{i}" for i in range(5, 9)},
    **{f"WIN{i}": f"cp{i}" for i in (866, 874, *range(1250, 1259))},
    "KOI8R": "koi8_r", "KOI8U": "koi8_u", "EUC_JP": "euc_jp", "EUC_KR": "euc_kr",
    "EUC_CN": "gb2312", "EUC_JIS_2004": "euc_jis_2004", "JOHAB": "johab", "SJIS": "shift_jis",
    "BIG5": "big5", "GBK": "gbk", "UHC": "cp949", "GB18030": "gb18030",
}  # fmt: skip
"""PostgreSQL's names of encodings (its documentation, "Character Set Support") in Python's."""


def _decoder(encoding: str) -> Callable[[bytes], str]:
    """A decoder for the archive's ``SET client_encoding = 'LATIN1'``; UTF-8 when we know none."""
    named = re.search(r"'([^']*)'", encoding)
    codec = _CODECS.get(named[1] if named else encoding, "utf_8")

    def decode(data: bytes) -> str:
        return data.decode(codec, errors="surrogateescape")

    return decode
