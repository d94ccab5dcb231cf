"""A dump in several parts as one: what pg_dump would have written in one run.

The first part has all definitions, and rows; each further one the rows of some tables that the
first has none of. Their entries go into the first part's table of contents, under new ids, at the
end of its rows; and their rows follow the first part's, under those ids. Source: PostgreSQL's
``pg_backup_custom.c`` (_StartData, _CustomWriteFunc) for what lies behind the head.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass

from guardian.errors import InterruptedRunError, UnrestorableError
from guardian.ports import Readable
from guardian.restore.archive import Layout, Section, Toc, TocReader
from guardian.verify.names import one_line, qualified

_BLOCK = 1 << 20
_ROWS = 1
"""The kind of a block that holds rows; large objects are another."""
_NO_STRING = -1


@dataclass(frozen=True, slots=True)
class Head:
    """The head of one part: its bytes, what they say, and where."""

    data: bytes
    toc: Toc
    layout: Layout


@dataclass(frozen=True, slots=True)
class Joined:
    """The parts as one archive: its ``head``, and what lies behind it.

    ``ids`` are, for each part, of the rows that lie in it: the id in the whole, and that in the
    part. ``head_bytes`` are how long the parts' own heads are.
    """

    head: bytes
    ids: tuple[Mapping[int, int], ...]
    head_bytes: tuple[int, ...]
    integer_bytes: int


def read_head(stream: Readable) -> Head:
    """The head of an archive, from its start.

    Raises:
        UnrestorableError, UnknownArchiveError: as TocReader; and what the stream raises.
    """
    reader = TocReader()
    while block := stream.read(_BLOCK):
        if (toc := reader.feed(block)) is not None:
            return Head(reader.head, toc, reader.layout)
    reader.close()
    raise AssertionError


def join(heads: Sequence[Head]) -> Joined:
    """Join a dump's parts.

    Raises:
        UnrestorableError: they do not belong together: rows of a table that the first part does not
            define, or of which another part holds rows, too.
    """
    first = heads[0]
    width = first.layout.integer_bytes
    tables = {
        (one.namespace, one.tag): one.dump_id for one in first.toc.entries if one.kind == "TABLE"
    }
    taken = {
        (one.namespace, one.tag)
        for one in first.toc.entries
        if one.kind == "TABLE DATA" and one.has_data
    }
    ids: list[dict[int, int]] = [{one.dump_id: one.dump_id for one in first.toc.entries}]
    number = max((max(one.dump_id, *one.dependencies, 0) for one in first.toc.entries), default=0)
    added: list[bytes] = []
    for part, head in enumerate(heads[1:], 1):
        if (head.toc.version, head.layout.integer_bytes) != (first.toc.version, width):
            raise _foreign(part, "it is an archive of another version")
        ids.append({})
        for entry, place in zip(head.toc.entries, head.layout.entries, strict=True):
            if not entry.has_data:
                continue
            table = entry.namespace, entry.tag
            shown = one_line(qualified(*table))
            if entry.kind != "TABLE DATA" or table not in tables:
                raise _foreign(part, f"it holds rows of {shown}, which is no table there")
            if table in taken:
                raise _foreign(part, f"rows of {shown} are in another part, too")
            taken.add(table)
            number += 1
            ids[part][number] = entry.dump_id
            added.append(_renumbered(head.data, place, number, tables[table], width))
    return Joined(
        head=_with_entries(first, added),
        ids=tuple(ids),
        head_bytes=tuple(head.toc.head_bytes for head in heads),
        integer_bytes=width,
    )


def _foreign(part: int, why: str) -> UnrestorableError:
    return UnrestorableError(f"part {part + 1} of the dump does not belong to the first: {why}")


def _integer(value: int, width: int) -> bytes:
    return bytes([value < 0]) + abs(value).to_bytes(width, "little")


def _renumbered(
    data: bytes, place: tuple[int, int, int, int], dump_id: int, table: int, width: int
) -> bytes:
    """An entry's bytes, under another id, and depending on its table as the first part knows it."""
    begin, dependencies, offset, end = place
    needed = str(table).encode()
    return b"".join(
        (
            _integer(dump_id, width),
            data[begin + 1 + width : dependencies],
            _integer(len(needed), width),
            needed,
            _integer(_NO_STRING, width),
            data[offset:end],
        )
    )


def _with_entries(first: Head, added: Sequence[bytes]) -> bytes:
    """The first part's head with more entries, behind its own rows."""
    layout = first.layout
    entries_at = layout.count_at + 1 + layout.integer_bytes
    after = (
        begin
        for entry, (begin, *_) in zip(first.toc.entries, layout.entries, strict=True)
        if entry.section is Section.POST_DATA
    )
    place = next(after, len(first.data))
    return b"".join(
        (
            first.data[: layout.count_at],
            _integer(len(first.toc.entries) + len(added), layout.integer_bytes),
            first.data[entries_at:place],
            *added,
            first.data[place:],
        )
    )


class Behind:
    """What lies behind the head of an archive."""

    def __init__(self, archive: Readable, head_bytes: int) -> None:
        self._archive = archive
        self._skip = head_bytes

    def read(self, size: int = -1, /) -> bytes:
        """As the archive."""
        while self._skip:
            block = self._archive.read(self._skip)
            if not block:
                raise UnrestorableError("the dump ends within its table of contents")
            self._skip -= len(block)
        return self._archive.read(size)


class Renumbered:
    """Blocks of rows under other ids.

    A block is a byte for its kind, an id, and pieces, each with its length; one of length 0 ends
    it. With rows of a hundred bytes this passes on some 300 MB/s.
    """

    def __init__(self, blocks: Readable, ids: Mapping[int, int], integer_bytes: int) -> None:
        self._blocks = blocks
        self._ids = ids
        self._integer = struct.Struct("<BI" if integer_bytes == 4 else "<BQ")
        self._rest = b""
        self._skip = 0
        self._within = False

    def read(self, size: int = -1, /) -> bytes:
        """The next bytes."""
        while True:
            block = self._blocks.read(size)
            if not block:
                if self._rest or self._skip or self._within:
                    raise UnrestorableError("the dump ends within the rows of a table")
                return b""
            if given := self._pass(block):
                return given

    def _pass(self, block: bytes) -> bytes:
        """The bytes with new ids; an integer that is cut by the end waits for the rest."""
        data = bytearray(self._rest + block)
        position, end, width = self._skip, len(data), self._integer.size
        unpack = self._integer.unpack_from
        while position + width + (not self._within) <= end:
            if self._within:
                sign, length = unpack(data, position)
                if sign:
                    raise UnrestorableError("the dump holds a piece of rows of negative length")
                self._within = length > 0
                position += width + length
            else:
                sign, number = unpack(data, position + 1)
                if data[position] != _ROWS or sign or number not in self._ids:
                    raise UnrestorableError(f"the dump does not list its block {number}")
                self._integer.pack_into(data, position + 1, 0, self._ids[number])
                self._within = True
                position += 1 + width
        self._skip = max(0, position - end)
        self._rest = bytes(data[position:])
        return bytes(data[:position])


class JoinedStream:
    """The whole, from its parts as they are opened one after the other."""

    def __init__(
        self, joined: Joined, parts: Sequence[Callable[[], AbstractContextManager[Readable]]]
    ) -> None:
        self._joined = joined
        self._parts = parts
        self._number = 0
        self._head = memoryview(joined.head)
        self._opened = ExitStack()
        self._stream: Readable | None = None
        self._closed = False

    def read(self, size: int = -1, /) -> bytes:
        """At most so many bytes; none after the last part's good end."""
        if self._head:
            size = len(self._head) if size < 0 else size
            given, self._head = bytes(self._head[:size]), self._head[size:]
            return given
        while self._number < len(self._parts):
            stream = self._stream or self._open(self._number)
            if given := stream.read(size):
                return given
            self._opened.close()
            self._stream = None
            self._number += 1
        return b""

    def _open(self, number: int) -> Readable:
        joined = self._joined
        archive = self._opened.enter_context(self._parts[number]())
        stream: Readable = Behind(archive, joined.head_bytes[number])
        if number:
            ids = {own: whole for whole, own in joined.ids[number].items()}
            stream = Renumbered(stream, ids, joined.integer_bytes)
        self._stream = stream
        if self._closed:  # by another thread, which may not have seen what was just opened
            self.close()
            raise InterruptedRunError("the reading of the dump was given up")
        return stream

    def close(self) -> None:
        """Nobody reads any more; from any thread."""
        self._closed = True
        self._opened.close()
