from __future__ import annotations

import contextlib
import io
import os
import subprocess

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from guardian.adapters.zstd import ZstdCompressor
from guardian.errors import UnrestorableError
from guardian.ports import Readable


class Trickle:
    """Gives pieces of the lengths that it is told, whatever is asked for, then the rest."""

    def __init__(self, data: bytes, lengths: list[int]) -> None:
        self._data = io.BytesIO(data)
        self._lengths = list(lengths)

    def read(self, size: int = -1, /) -> bytes:
        most = self._lengths.pop(0) if self._lengths else size
        return self._data.read(most if size < 0 else min(most, size))


def drain(stream: Readable, sizes: list[int]) -> bytes:
    out, turn = b"", 0
    while block := stream.read(sizes[turn % len(sizes)]):
        out += block
        turn += 1
    assert stream.read(1) == b""  # the end stays the end
    return out


def compressed(data: bytes, level: int = 3) -> bytes:
    return drain(ZstdCompressor(level).compress(io.BytesIO(data)), [-1])


def plain(data: bytes) -> bytes:
    return drain(ZstdCompressor().decompress(io.BytesIO(data)), [-1])


lengths = st.lists(st.integers(1, 300), max_size=20)
sizes = st.lists(st.one_of(st.just(-1), st.integers(1, 100)), min_size=1, max_size=5)


@given(st.binary(max_size=5000), lengths, lengths, sizes, sizes, st.integers(1, 19))
def test_what_goes_in_comes_out(data, in_lengths, out_lengths, in_sizes, out_sizes, level) -> None:
    zstd = ZstdCompressor(level)
    small = drain(zstd.compress(Trickle(data, in_lengths)), in_sizes)
    assert drain(zstd.decompress(Trickle(small, out_lengths)), out_sizes) == data


@pytest.mark.parametrize("size", [0, 1, (1 << 17) - 1, 1 << 17, (1 << 20) + 1, 5 << 20])
def test_sizes_about_its_blocks(size: int) -> None:
    data = os.urandom(size)
    assert plain(compressed(data)) == data


@given(st.binary(min_size=1, max_size=3000), st.data())
def test_a_missing_end_is_seen(data: bytes, draw: st.DataObject) -> None:
    whole = compressed(data)
    with pytest.raises(UnrestorableError):
        plain(whole[: draw.draw(st.integers(0, len(whole) - 1))])


@given(st.binary(min_size=200, max_size=3000), st.data())
def test_a_flipped_bit_never_gives_other_data(data: bytes, draw: st.DataObject) -> None:
    whole = bytearray(compressed(data))
    place = draw.draw(st.integers(0, len(whole) * 8 - 1))
    whole[place // 8] ^= 1 << place % 8
    with contextlib.suppress(UnrestorableError):
        assert plain(bytes(whole)) == data  # an unused bit of the header


def test_the_checksum_is_in_the_stream() -> None:
    whole = compressed(os.urandom(1000))
    assert zstandard.get_frame_parameters(whole).has_checksum
    with pytest.raises(UnrestorableError, match="damaged"):
        plain(whole[:-1] + bytes([whole[-1] ^ 1]))


@pytest.mark.parametrize("garbage", [b"\0", b"garbage", compressed(b"more"), compressed(b"")])
@pytest.mark.parametrize("pieces", [[], [1] * 1000])
def test_data_behind_the_end_is_refused(garbage: bytes, pieces: list[int]) -> None:
    stream = ZstdCompressor().decompress(Trickle(compressed(b"dump" * 99) + garbage, pieces))
    with pytest.raises(UnrestorableError, match="goes on after its end"):
        drain(stream, [-1])


@pytest.mark.parametrize("data", [b"", b"PGDMP not compressed at all"])
def test_what_is_not_zstd_is_refused(data: bytes) -> None:
    with pytest.raises(UnrestorableError):
        plain(data)


class Counting:
    """Endless incompressible data; counts how often it was read."""

    def __init__(self) -> None:
        self.reads = 0

    def read(self, size: int = -1, /) -> bytes:
        self.reads += 1
        return os.urandom(200_000)


def test_it_gives_what_one_block_made_and_waits_for_no_more() -> None:
    source = Counting()
    assert ZstdCompressor().compress(source).read(100 << 20)
    assert source.reads <= 2


def test_what_a_source_raises_comes_out() -> None:
    class Broken:
        def read(self, size: int = -1, /) -> bytes:
            raise KeyError("mine")

    for stream in (ZstdCompressor().compress(Broken()), ZstdCompressor().decompress(Broken())):
        with pytest.raises(KeyError, match="mine"):
            stream.read(10)


def test_zeros_do_not_blow_up_memory() -> None:
    """128 KiB of zstd can hold 4 GiB of zeros: pieces handed out must stay small."""
    whole = compressed(bytes(64 << 20))
    stream = ZstdCompressor().decompress(io.BytesIO(whole))
    largest = total = 0
    while block := stream.read():
        largest, total = max(largest, len(block)), total + len(block)
    assert total == 64 << 20
    assert largest <= 16 << 20


def test_stock_zstd_opens_it() -> None:
    data = os.urandom(300_000) + bytes(300_000)
    result = subprocess.run(
        ["zstd", "-dc"], input=compressed(data), capture_output=True, check=True
    )
    assert result.stdout == data
    ours = subprocess.run(["zstd", "-c"], input=data, capture_output=True, check=True).stdout
    assert plain(ours) == data
