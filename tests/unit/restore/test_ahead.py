"""Streams opened ahead of time give what a stream that is opened now would give, once each."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.scene import NOW, manifest

from guardian.errors import StoreError, UnrestorableError
from guardian.model import BackupId, Part
from guardian.ports import Readable
from guardian.restore import ahead
from guardian.restore.ahead import MOST, StreamsAhead

PART = manifest(BackupId("20261123T020000Z-7f3a9c"), NOW).parts[0]
OTHER = replace(PART, name="other")
PLAIN = bytes(range(256)) * 40


class Parts:
    """Opens parts, and counts."""

    def __init__(self) -> None:
        self.opened = 0
        self.closed = 0
        self.fails = False

    @contextmanager
    def open(self, part: Part) -> Iterator[Readable]:
        if self.fails:
            raise StoreError("away")
        self.opened += 1
        try:
            yield io.BytesIO(part.name.encode() + PLAIN)
        finally:
            self.closed += 1


def whole(part: Part = PART) -> bytes:
    return part.name.encode() + PLAIN


@pytest.fixture
def parts() -> Parts:
    return Parts()


@pytest.fixture
def streams(parts: Parts) -> StreamsAhead:
    return StreamsAhead(parts.open)


def read(streams: StreamsAhead, part: Part = PART) -> bytes:
    with streams.open(part) as stream:
        return b"".join(iter(lambda: stream.read(1000), b""))


def test_each_is_used_once(parts: Parts, streams: StreamsAhead) -> None:
    streams.begin(PART)
    streams.begin(OTHER)
    streams.begin(PART)
    assert [read(streams), read(streams, OTHER), read(streams)] == [whole(), whole(OTHER), whole()]
    assert (parts.opened, parts.closed) == (3, 3)
    assert read(streams) == whole()
    assert (parts.opened, parts.closed) == (4, 4)


def test_two_at_once_do_not_share_one(streams: StreamsAhead) -> None:
    streams.begin(PART)
    with streams.open(PART) as one, streams.open(PART) as two:
        assert (one.read(10), two.read(10), one.read(5)) == (
            whole()[:10],
            whole()[:10],
            whole()[10:15],
        )


@given(st.lists(st.integers(1, 3000), max_size=6), st.lists(st.integers(1, 3000), max_size=6))
def test_what_was_looked_at_is_read_from_its_start(first: list[int], second: list[int]) -> None:
    parts = Parts()
    streams = StreamsAhead(parts.open)
    for sizes in (first, second):
        wanted = list(sizes)

        def see(stream: Readable, wanted: list[int] = wanted) -> bytes:
            return b"".join(stream.read(size) for size in wanted)

        seen = streams.look(PART, see)
        assert whole().startswith(seen)
        assert not wanted or seen
    assert read(streams) == whole()
    assert (parts.opened, parts.closed) == (1, 1)


def test_a_look_that_fails_keeps_nothing(parts: Parts, streams: StreamsAhead) -> None:
    def refuse(stream: Readable) -> None:
        stream.read(10)
        raise UnrestorableError("no archive")

    with pytest.raises(UnrestorableError):
        streams.look(PART, refuse)
    assert (parts.opened, parts.closed) == (1, 1)
    assert read(streams) == whole()


def test_an_old_one_is_opened_anew(
    parts: Parts, streams: StreamsAhead, monkeypatch: pytest.MonkeyPatch
) -> None:
    streams.begin(PART)
    monkeypatch.setattr(ahead, "PATIENCE_SECONDS", 0.0)
    assert read(streams) == whole()
    assert (parts.opened, parts.closed) == (2, 2)


def test_only_a_few_wait(parts: Parts, streams: StreamsAhead) -> None:
    for _ in range(MOST + 3):
        streams.begin(PART)
    assert parts.opened - parts.closed == MOST
    streams.close()
    assert parts.opened == parts.closed
    streams.close()


def test_what_is_wrong_is_told_to_who_needs_it(parts: Parts, streams: StreamsAhead) -> None:
    parts.fails = True
    streams.begin(PART)
    with pytest.raises(StoreError, match="away"), streams.open(PART):
        pass
    parts.fails = False
    assert read(streams) == whole()


def test_who_stops_in_the_middle_leaves_nothing_open(parts: Parts, streams: StreamsAhead) -> None:
    def read_a_little() -> None:
        with streams.open(PART) as stream:
            stream.read(5)
            raise KeyboardInterrupt

    streams.begin(PART)
    with pytest.raises(KeyboardInterrupt):
        read_a_little()
    assert parts.opened == parts.closed


def test_what_is_read_for_good_is_not_kept(streams: StreamsAhead) -> None:
    """A stream of a terabyte must not be held in memory."""
    streams.begin(PART)
    with streams.open(PART) as stream:
        while stream.read(100):
            assert stream._read == []  # type: ignore[attr-defined]
    streams.look(PART, lambda stream: stream.read(10))
    with streams.open(PART) as stream:
        while stream.read(100):
            assert stream._read == []  # type: ignore[attr-defined]
