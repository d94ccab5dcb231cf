"""Parts of a dump as one archive: whole, cut, and foreign."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.archives import (
    FIRST,
    SECOND,
    THIRD,
    WHOLE,
    WIDTH,
    archive,
    entry,
    integer,
    rows,
    table,
)

from guardian.errors import InterruptedRunError, UnrestorableError
from guardian.ports import Readable
from guardian.restore.archive import TocReader
from guardian.restore.joining import JoinedStream, Renumbered, join, read_head


def opened(
    parts: Sequence[bytes], block: int = 1 << 20
) -> list[Callable[[], AbstractContextManager[Readable]]]:
    @contextmanager
    def part(data: bytes) -> Iterator[Readable]:
        yield Blocks(data, block)

    return [partial(part, data) for data in parts]


class Blocks:
    def __init__(self, data: bytes, block: int) -> None:
        self._data = io.BytesIO(data)
        self._block = block

    def read(self, size: int = -1, /) -> bytes:
        return self._data.read(self._block if size < 0 else min(size, self._block))


def joined(*parts: bytes, block: int = 1 << 20, step: int = -1) -> bytes:
    heads = [read_head(io.BytesIO(part)) for part in parts]
    stream = JoinedStream(join(heads), opened(parts, block))
    return b"".join(iter(lambda: stream.read(step), b""))


@given(st.integers(1, 400), st.one_of(st.just(-1), st.integers(1, 400)))
def test_parts_make_the_archive_of_one_run(block: int, step: int) -> None:
    assert joined(FIRST, SECOND, THIRD, block=block, step=step) == WHOLE


@pytest.mark.parametrize("version", [14, 15, 16])
def test_the_ids_in_the_whole_and_in_the_parts(version: int) -> None:
    entries = [table(5, "a"), table(6, "b")]
    parts = [archive(entries, {}, version), archive([rows(3, "b")], {3: [b"x"]}, version)]
    found = join([read_head(io.BytesIO(part)) for part in parts])
    toc = TocReader().feed(found.head)
    assert toc is not None
    assert toc.entries[-1] == rows(7, "b", 6)
    assert found.ids == ({5: 5, 6: 6}, {7: 3})


@pytest.mark.parametrize(
    ("second", "why"),
    [
        (
            archive([rows(1, "un\nknown")], {1: []}),
            r'rows of public."un\\nknown", which is no table',
        ),
        (archive([rows(1, "a")], {1: []}), "in another part, too"),
        (archive([rows(1, "b"), rows(2, "b")], {1: [], 2: []}), "in another part, too"),
        (archive([entry(1, "BLOBS", "BLOBS")], {}), "no table there"),
        (archive([rows(1, "b")], {1: []}, 16), "another version"),
    ],
)
def test_what_does_not_belong_together_is_refused(second: bytes, why: str) -> None:
    with pytest.raises(UnrestorableError, match=f"part 2 of the dump .* {why}"):
        joined(FIRST, second)


def test_a_part_that_ends_anywhere_but_behind_a_table_is_refused() -> None:
    head = len(SECOND) - sum(map(len, (b"\1", b"b1\n", b"b" * 300, b"\n"))) - 5 * 5
    read_head(io.BytesIO(SECOND[:head]))
    for end in range(head + 1, len(SECOND)):
        stream = JoinedStream(
            join([read_head(io.BytesIO(part)) for part in (FIRST, SECOND)]),
            opened([FIRST, SECOND[:end]]),
        )
        with pytest.raises(UnrestorableError, match="ends within the rows"):
            list(iter(stream.read, b""))


@pytest.mark.parametrize(
    "block",
    [
        b"\3" + integer(20) + integer(0),  # large objects
        b"\1" + integer(21) + integer(0),  # not in the table of contents
        b"\1" + integer(-20) + integer(0),
        b"\1" + integer(20) + integer(-1),
    ],
)
def test_blocks_that_are_none_of_rows(block: bytes) -> None:
    stream = Renumbered(io.BytesIO(block), {20: 100}, WIDTH)
    with pytest.raises(UnrestorableError):
        stream.read()


def test_nothing_is_opened_once_it_is_closed() -> None:
    stream = JoinedStream(join([read_head(io.BytesIO(FIRST))]), opened([FIRST]))
    while stream.read(1) != b"\n":
        pass
    stream.close()
    late = JoinedStream(replace(join([read_head(io.BytesIO(FIRST))]), head=b""), opened([FIRST]))
    late.close()
    with pytest.raises(InterruptedRunError):
        late.read()
