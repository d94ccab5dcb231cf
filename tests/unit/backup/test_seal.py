from __future__ import annotations

import hashlib
import io
import random
import threading
import zlib
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest

from guardian.adapters.zstd import ZstdCompressor
from guardian.backup.attempt import Guard
from guardian.backup.lanes import Lane
from guardian.backup.seal import Sealing
from guardian.errors import DumpError, EncryptionError, StoreError
from guardian.model import Encryption, EncryptionKind, PartKind
from guardian.ports import Readable, Sink
from guardian.testing import FakeClock, MemoryStore

KEY = "main/mina/20261123T020000Z-7f3a9c/database.dump.zst.gpg"


class Crossing:
    """An encryptor that turns every bit, in pieces; ``most`` lets it leave some of its input."""

    suffix = ".x"

    def __init__(self, most: int | None = None, error: Exception | None = None) -> None:
        self.most, self.error = most, error

    def describe(self) -> Encryption:
        return Encryption(EncryptionKind.SYMMETRIC)

    def check(self) -> None:
        pass

    def encrypt(self, source: Readable, sink: Sink) -> None:
        blocks = 0
        while (self.most is None or blocks < self.most) and (block := source.read(1000)):
            sink(bytes(255 - byte for byte in block))
            blocks += 1
        if self.error:
            raise self.error

    decrypt = encrypt


@pytest.fixture(autouse=True)
def _threads_end() -> Iterator[None]:
    before = set(threading.enumerate())
    yield
    for thread in set(threading.enumerate()) - before:
        thread.join(10)
        assert not thread.is_alive()


def sealing(
    source: Readable,
    *stores: MemoryStore,
    finish: Callable[[], None] = lambda: None,
    encryptor: Crossing | None = None,
    advance: Callable[[int], None] = lambda _: None,
) -> Sealing:
    made = Sealing(
        source,
        kind=PartKind.DUMP,
        key=KEY,
        lanes=[Lane(store) for store in stores],
        compressor=ZstdCompressor(),
        encryptor=encryptor or Crossing(),
        finish=finish,
        advance=advance,
        stall_timeout=timedelta(seconds=5),
    )
    made.start()
    return made


def outcome(made: Sealing) -> BaseException:
    assert made.wait(20)
    with pytest.raises(BaseException) as raised:
        made.result()
    return raised.value


def test_the_part_tells_what_lies_in_every_store() -> None:
    data = b"".join(zlib.compress(bytes([n])) for n in range(256)) * 2000
    stores = [MemoryStore("a"), MemoryStore("b")]
    seen: list[int] = []
    made = sealing(io.BytesIO(data), *stores, advance=seen.append)
    assert made.wait(20)
    part = made.result()
    stored = stores[0].contents()[KEY]
    assert stores[1].contents() == {KEY: stored}
    assert part.name == "database.dump.zst.gpg"
    assert (part.stored_bytes, part.plain_bytes) == (len(stored), len(data))
    assert part.sha256 == hashlib.sha256(stored).hexdigest()
    assert sum(seen) == len(data)
    plain = ZstdCompressor().decompress(io.BytesIO(bytes(255 - byte for byte in stored)))
    assert b"".join(iter(plain.read, b"")) == data


class Raising:
    def read(self, size: int = -1, /) -> bytes:
        raise DumpError("pg_dump failed")


def refuse() -> None:
    raise DumpError("pg_dump exited with 1")


@pytest.mark.parametrize(
    ("source", "finish", "encryptor", "error"),
    [
        (Raising(), None, None, "pg_dump failed"),
        (io.BytesIO(b"half a dump"), refuse, None, "pg_dump exited with 1"),
        (io.BytesIO(b"x"), None, Crossing(error=EncryptionError("no key")), "no key"),
        (io.BytesIO(b"x"), None, Crossing(most=0), "not read to its end"),
    ],
)
def test_whatever_fails_nothing_is_published(source, finish, encryptor, error: str) -> None:
    stores = [MemoryStore("a"), MemoryStore("b")]
    made = sealing(source, *stores, finish=finish or (lambda: None), encryptor=encryptor)
    assert error in str(outcome(made))
    assert not any(store.contents() or store.unfinished for store in stores)


def test_finish_is_asked_before_the_commit_and_after_the_last_byte() -> None:
    store, source = MemoryStore("a"), io.BytesIO(bytes(5000))
    seen: list[tuple[int, bool]] = []
    made = sealing(
        source, store, finish=lambda: seen.append((source.tell(), bool(store.contents())))
    )
    assert made.wait(20)
    made.result()
    assert seen == [(5000, False)]
    assert store.contents()


def test_one_store_that_fails_does_not_spoil_the_part() -> None:
    good, bad = MemoryStore("good"), MemoryStore("bad")
    bad.faults.write = StoreError("store bad: gone")
    made = sealing(io.BytesIO(bytes(5000)), good, bad)
    assert made.wait(20)
    assert made.result().stored_bytes == len(good.contents()[KEY])
    assert not bad.contents()


def test_all_stores_failing_ends_the_reading() -> None:
    class Endless:
        def read(self, size: int = -1, /) -> bytes:
            return threading.get_ident().to_bytes(8, "big") * 30_000

    bad = MemoryStore("bad")
    bad.faults.write = StoreError("store bad: gone")
    assert "store bad: gone" in str(outcome(sealing(Endless(), bad)))


class Gate:
    """Gives data until it was read twice, then says so and waits to be let on."""

    def __init__(self) -> None:
        self.reached, self.on = threading.Event(), threading.Event()
        self.reads = 0

    def read(self, size: int = -1, /) -> bytes:
        self.reads += 1
        if self.reads == 2:
            self.reached.set()
            self.on.wait(20)
        return bytes(1000) if self.reads < 3 else b""


def test_a_cancelled_part_is_never_published() -> None:
    store, gate = MemoryStore("a"), Gate()
    made = sealing(gate, store)
    assert gate.reached.wait(20)
    assert not made.wait(0)
    made.cancel()
    made.cancel()
    gate.on.set()
    assert isinstance(outcome(made), InterruptedError)
    assert not store.contents()
    assert store.unfinished == 0


def test_cancelled_in_finish_it_is_not_published_either() -> None:
    store = MemoryStore("a")
    reached, on = threading.Event(), threading.Event()

    def finish() -> None:
        reached.set()
        on.wait(20)

    made = sealing(io.BytesIO(b"whole"), store, finish=finish)
    assert reached.wait(20)
    made.cancel()
    on.set()
    assert isinstance(outcome(made), InterruptedError)
    assert not store.contents()


# --- several at once ------------------------------------------------------------------------------


def guard() -> Guard:
    return Guard(FakeClock(), None, threading.Event())


def parts(lanes: list[Lane], *sources: Readable, **options: Any) -> list[Sealing]:
    return [
        Sealing(
            source,
            kind=PartKind.DUMP,
            key=f"main/mina/20261123T020000Z-7f3a9c/data-{number:02d}.dump.zst.gpg",
            lanes=lanes,
            compressor=ZstdCompressor(),
            encryptor=Crossing(),
            stall_timeout=timedelta(seconds=5),
            finish=lambda: None,
            **options,
        )
        for number, source in enumerate(sources)
    ]


def test_parts_are_sealed_at_once_and_told_in_order() -> None:
    store, gates = MemoryStore("a"), [Gate(), Gate()]

    class Both(Gate):
        """Goes on only when the others are under way."""

        def read(self, size: int = -1, /) -> bytes:
            assert all(gate.reached.wait(20) for gate in gates)
            for gate in gates:
                gate.on.set()
            return super().read(size) if self.reads else self._first()

        def _first(self) -> bytes:
            self.reads = 5
            return b"x"

    found = guard().seal(*parts([Lane(store)], *gates, Both()))
    assert [part.name[:7] for part in found] == ["data-00", "data-01", "data-02"]
    assert [part.plain_bytes for part in found] == [2000, 2000, 1]
    assert len(store.contents()) == 3


def test_one_that_fails_stops_the_others_and_is_what_is_told() -> None:
    store, gate = MemoryStore("a"), Gate()
    made = parts([Lane(store)], gate, Raising(), stop=gate.on.set)
    with pytest.raises(DumpError, match="pg_dump failed"):
        guard().seal(*made)
    assert isinstance(outcome(made[0]), InterruptedError)
    assert not store.contents()
    assert store.unfinished == 0


def test_a_store_that_fails_in_one_part_is_out_of_all_and_does_not_hang() -> None:
    """What it has of other parts is there to be taken back; the other store has everything."""
    good, bad = MemoryStore("good"), MemoryStore("bad")
    bad.faults.write, bad.faults.keys = StoreError("store bad: full"), "data-01.dump.zst.gpg"
    lanes = [Lane(good), Lane(bad)]
    noise = [io.BytesIO(random.Random(number).randbytes(3 << 20)) for number in range(3)]
    found = guard().seal(*parts(lanes, *noise))
    assert len(good.contents()) == len(found) == 3
    assert "store bad: full" in str(lanes[1].error)
    assert not lanes[1].hanging
    assert bad.unfinished == 0
