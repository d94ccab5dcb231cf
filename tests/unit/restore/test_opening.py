"""A stored part as a stream: its end says that every stage was well, and nothing else does."""

from __future__ import annotations

import hashlib
import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.archives import FIRST, SECOND, THIRD, WHOLE
from support.scene import NOW, manifest

from guardian.adapters.zstd import ZstdCompressor
from guardian.backup.manifest import backup_prefix
from guardian.errors import (
    DamagedMessageError,
    DamagedPartError,
    EncryptionError,
    GuardianError,
    KeyMissingError,
    StoreError,
    TimedOutError,
    UnrestorableError,
)
from guardian.model import BackupId, Encryption, EncryptionKind, Part, PartKind
from guardian.ports import Readable, Sink
from guardian.restore.opening import BackupReader, DumpArchive, FetchClock
from guardian.testing import Faults, MemoryStore

ID = BackupId("20261123T020000Z-7f3a9c")
PLAIN = random.Random(1).randbytes(300_000) + b"\0" * 3_000_000


class Upside:
    """Turns bits over, block by block; tells of damage only at the end, as gpg does."""

    suffix = ".gpg"

    def __init__(self) -> None:
        self.fails: GuardianError | None = None
        self.fails_after = 0
        self.block = 65_536

    def describe(self) -> Encryption:
        return Encryption(EncryptionKind.SYMMETRIC)

    def check(self) -> None:
        pass

    def encrypt(self, source: Readable, sink: Sink) -> None:
        self.decrypt(source, sink)

    def decrypt(self, source: Readable, sink: Sink) -> None:
        passed = 0
        while block := source.read(self.block):
            if self.fails is not None and passed >= self.fails_after:
                raise self.fails
            sink(block.translate(_TURNED))
            passed += len(block)
        if self.fails is not None:
            raise self.fails


_TURNED = bytes(255 - value for value in range(256))


def read_all(stream: Readable, step: int = 1 << 20) -> bytes:
    return b"".join(iter(lambda: stream.read(step), b""))


def sealed(plain: bytes) -> bytes:
    class Source:
        rest = plain

        def read(self, size: int = -1, /) -> bytes:
            given, self.rest = self.rest[:65536], self.rest[65536:]
            return given

    stream = ZstdCompressor(1).compress(Source())
    return read_all(stream).translate(_TURNED)


SEALED = sealed(PLAIN)
NAMES = {PartKind.DUMP: "database.dump.zst.gpg", PartKind.NOTES: "RESTORE.txt"}


class Scene:
    """One backup with a dump and notes, whose bytes and manifest a test may change."""

    def __init__(self) -> None:
        self.store = MemoryStore("local")
        self.encryptor = Upside()
        self.stop: Callable[[], None] = lambda: None
        self.parts = {
            PartKind.DUMP: self.put(PartKind.DUMP, SEALED, PLAIN),
            PartKind.NOTES: self.put(PartKind.NOTES, b"read me", b"read me"),
        }

    def put(self, kind: PartKind, stored: bytes, plain: bytes) -> Part:
        self.plant(kind, stored)
        digest = hashlib.sha256(stored).hexdigest()
        return Part(NAMES[kind], kind, len(stored), len(plain), digest)

    def plant(self, kind: PartKind, stored: bytes) -> None:
        made = manifest(ID, NOW)
        self.store.plant(backup_prefix(made.ref, ID) + NAMES[kind], stored, NOW)

    @property
    def reader(self) -> BackupReader:
        made = replace(manifest(ID, NOW), parts=tuple(self.parts.values()))
        return BackupReader(self.store, made, self.encryptor, ZstdCompressor(), self.stop)

    def read(self, kind: PartKind = PartKind.DUMP) -> bytes:
        return self.reader.data(self.parts[kind])


@pytest.fixture
def scene() -> Iterator[Scene]:
    before = set(threading.enumerate())
    yield Scene()
    for thread in set(threading.enumerate()) - before:
        thread.join(5)
    assert set(threading.enumerate()) <= before, "a thread is left"


# --- all is well --------------------------------------------------------------------------------


@pytest.mark.parametrize("block", [1000, 65_536, 1 << 20])
@pytest.mark.parametrize("step", [7919, 65_536, 1 << 20, -1])
def test_what_was_stored_is_read_in_steps_of_any_size(scene: Scene, step: int, block: int) -> None:
    scene.encryptor.block = block
    with scene.reader.open(scene.parts[PartKind.DUMP]) as stream:
        pieces = []
        while piece := stream.read(step):
            assert step < 0 or len(piece) <= step
            pieces.append(piece)
        assert stream.read(step) == b""
    assert b"".join(pieces) == PLAIN


def test_reading_nothing_is_no_end(scene: Scene) -> None:
    with scene.reader.open(scene.parts[PartKind.DUMP]) as stream:
        assert stream.read(0) == b""
        assert stream.read(10) == PLAIN[:10]
        assert stream.read(0) == b""
        assert stream.read(10) == PLAIN[10:20]


def test_notes_are_stored_as_they_are(scene: Scene) -> None:
    assert scene.read(PartKind.NOTES) == b"read me"


def test_several_streams_of_one_archive_at_once(scene: Scene) -> None:
    archive = DumpArchive(scene.reader)
    assert archive.plain_bytes == len(PLAIN)
    with archive.open() as one, archive.open() as other:
        begin = one.read(1000), other.read(1000)
        assert begin[0] + read_all(one) == begin[1] + read_all(other) == PLAIN


def test_an_empty_part() -> None:
    scene = Scene()
    scene.parts[PartKind.DUMP] = scene.put(PartKind.DUMP, sealed(b""), b"")
    assert scene.read() == b""


def test_who_stops_reading_leaves_nothing_running(scene: Scene) -> None:
    for wanted in (0, 1, 400_000):
        with scene.reader.open(scene.parts[PartKind.DUMP]) as stream:
            taken = 0
            while taken < wanted:
                taken += len(stream.read(wanted - taken))


def test_seconds_of_waiting_for_the_store_are_the_longest_streams(scene: Scene) -> None:
    clock = FetchClock()
    for seconds in (1.0, 3.0, 2.0):
        clock.note(seconds)
    assert clock.longest == 3.0

    class Slow(MemoryStore):
        @contextmanager
        def open_reader(self, key: str) -> Iterator[Readable]:
            time.sleep(0.2)  # a remote store asks for the object here
            with super().open_reader(key) as reader:
                yield reader

    objects = scene.store.contents()
    scene.store = Slow("slow")
    for key, data in objects.items():
        scene.store.plant(key, data, NOW)
    reader = scene.reader
    reader.data(scene.parts[PartKind.DUMP])
    assert reader.fetch.longest >= 0.2


# --- damage in the store ------------------------------------------------------------------------


def test_a_part_that_is_gone(scene: Scene) -> None:
    del scene.parts[PartKind.NOTES]
    scene.store.delete(backup_prefix(scene.reader.manifest.ref, ID) + NAMES[PartKind.DUMP])
    with pytest.raises(DamagedPartError, match="not in store local any more"):
        scene.read()


@pytest.mark.parametrize(
    ("stored", "told"),
    [
        (SEALED[:-1], "bytes of"),
        (SEALED[:100], "bytes of"),
        (b"", "bytes of"),
        (SEALED + b"x", "longer than"),
        (SEALED * 2, "longer than"),
        (SEALED[:-1] + bytes([SEALED[-1] ^ 1]), "SHA-256"),
        (bytes([SEALED[0] ^ 1]) + SEALED[1:], "SHA-256"),
        (random.Random(2).randbytes(len(SEALED)), "SHA-256"),
    ],
    ids=["a byte short", "cut", "empty", "a byte long", "twice", "last", "first", "noise"],
)
def test_what_lies_there_is_not_what_was_stored(scene: Scene, stored: bytes, told: str) -> None:
    scene.plant(PartKind.DUMP, stored)
    with pytest.raises(DamagedPartError, match=told) as caught:
        scene.read()
    assert "another store" in str(caught.value)


@given(place=st.integers(0, len(SEALED) - 1), bit=st.integers(0, 7), step=st.integers(1, 1 << 20))
@settings(max_examples=60)
def test_a_flipped_bit_anywhere_is_named_as_damage_of_the_store(
    place: int, bit: int, step: int
) -> None:
    scene = Scene()
    stored = bytearray(SEALED)
    stored[place] ^= 1 << bit
    scene.plant(PartKind.DUMP, bytes(stored))
    step = max(step, 50_000)
    with (
        scene.reader.open(scene.parts[PartKind.DUMP]) as stream,
        pytest.raises(DamagedPartError, match="SHA-256"),
    ):
        read_all(stream, step)


def test_an_error_is_told_as_often_as_it_is_asked_for(scene: Scene) -> None:
    scene.plant(PartKind.DUMP, SEALED[:-5])
    with scene.reader.open(scene.parts[PartKind.DUMP]) as stream:
        for _ in range(3):
            with pytest.raises(DamagedPartError):
                read_all(stream)


# --- keys and messages --------------------------------------------------------------------------


@pytest.mark.parametrize("after", [0, 100_000, 1 << 30])
def test_a_key_that_is_not_here_is_no_damage(scene: Scene, after: int) -> None:
    scene.encryptor.fails = KeyMissingError("the secret key is not here")
    scene.encryptor.fails_after = after
    with pytest.raises(KeyMissingError):
        scene.read()


@pytest.mark.parametrize("after", [0, 100_000, 1 << 30])
@pytest.mark.parametrize("kind", [KeyMissingError, DamagedMessageError, EncryptionError])
def test_damage_is_told_before_what_it_looks_like(
    scene: Scene, after: int, kind: type[EncryptionError]
) -> None:
    scene.encryptor.fails = kind("what gpg says")
    scene.encryptor.fails_after = after
    scene.plant(PartKind.DUMP, SEALED[:-1] + b"x")
    with pytest.raises(DamagedPartError, match="SHA-256"):
        scene.read()


def test_a_message_that_was_stored_damaged(scene: Scene) -> None:
    scene.encryptor.fails = DamagedMessageError("the data is damaged or cut short")
    with pytest.raises(DamagedPartError, match="is what was stored, but it cannot be decrypted"):
        scene.read()


def test_gpg_that_cannot_be_run_is_no_damage(scene: Scene) -> None:
    scene.encryptor.fails = EncryptionError("gpg cannot be run")
    with pytest.raises(EncryptionError) as caught:
        scene.read()
    assert caught.type is EncryptionError


# --- what was stored does not hold what the manifest says -----------------------------------------


def test_damage_is_told_as_often_as_it_is_asked_for_also_when_a_later_stage_saw_it(
    scene: Scene,
) -> None:
    scene.parts[PartKind.DUMP] = scene.put(PartKind.DUMP, SEALED[:-1000] + b"x" * 500, PLAIN)
    with scene.reader.open(scene.parts[PartKind.DUMP]) as stream:
        for _ in range(3):
            with pytest.raises(UnrestorableError, match="compressed"):
                read_all(stream)


@pytest.mark.parametrize("plain_bytes", [0, 1, len(PLAIN) - 1, len(PLAIN) + 1])
def test_another_number_of_plain_bytes(scene: Scene, plain_bytes: int) -> None:
    part = scene.parts[PartKind.DUMP] = replace(scene.parts[PartKind.DUMP], plain_bytes=plain_bytes)
    with pytest.raises(UnrestorableError, match="manifest") as caught:
        scene.read()
    assert caught.type is UnrestorableError
    # With damage in the store besides, that is told.
    scene.plant(PartKind.DUMP, SEALED[:-1] + b"x")
    with pytest.raises(DamagedPartError):
        scene.reader.data(part)


def test_a_part_that_grows_beyond_its_size_is_not_read_on(scene: Scene) -> None:
    part = scene.parts[PartKind.DUMP] = replace(scene.parts[PartKind.DUMP], plain_bytes=1500)
    with scene.reader.open(part) as stream:
        given: list[bytes] = []
        with pytest.raises(UnrestorableError, match="manifest"):
            given.extend(iter(lambda: stream.read(200), b""))
        assert 1300 < sum(map(len, given)) <= 1500


def test_bytes_behind_a_whole_message_are_damage(scene: Scene) -> None:
    class Content(Upside):
        def decrypt(self, source: Readable, sink: Sink) -> None:
            sink(source.read(len(SEALED)).translate(_TURNED))

    scene.encryptor = Content()
    assert scene.read() == PLAIN
    scene.plant(PartKind.DUMP, SEALED + b"x")
    with pytest.raises(DamagedPartError, match="longer"):
        scene.read()


def test_stored_bytes_that_are_not_compressed(scene: Scene) -> None:
    scene.parts[PartKind.DUMP] = scene.put(PartKind.DUMP, b"x" * 100_000, PLAIN)
    with pytest.raises(UnrestorableError, match="compressed data is damaged") as caught:
        scene.read()
    assert caught.type is UnrestorableError


def test_compressed_bytes_that_end_too_early(scene: Scene) -> None:
    scene.parts[PartKind.DUMP] = scene.put(PartKind.DUMP, SEALED[:-1000], PLAIN)
    with pytest.raises(UnrestorableError, match="ends too early"):
        scene.read()


def test_a_part_too_large_for_memory_is_not_read(scene: Scene) -> None:
    scene.store.faults = Faults(open_reader=AssertionError("read all the same"))
    with pytest.raises(UnrestorableError, match="claims"):
        scene.reader.data(scene.parts[PartKind.DUMP], limit=1000)


def several(scene: Scene, *plain: bytes) -> DumpArchive:
    """A dump in parts; the second is the one that a test may change afterwards."""
    parts = []
    for number, data in enumerate(plain):
        NAMES[PartKind.DUMP] = f"data-{number:02d}.dump.zst.gpg"
        parts.append(scene.put(PartKind.DUMP, sealed(data), data))
    made = replace(scene.reader.manifest, parts=tuple(parts))
    return DumpArchive(BackupReader(scene.store, made, scene.encryptor, ZstdCompressor()))


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(NAMES, PartKind.DUMP, NAMES[PartKind.DUMP])


@pytest.mark.usefixtures("names")
def test_streams_that_were_opened_for_their_heads_end_with_the_archive(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = several(scene, FIRST, SECOND, THIRD)
    reading: list[str] = []
    open_reader = scene.store.open_reader

    @contextmanager
    def counted(key: str) -> Iterator[Readable]:
        with open_reader(key) as stream:
            reading.append(key)
            yield stream
            reading.remove(key)

    monkeypatch.setattr(scene.store, "open_reader", counted)
    assert len(archive.parts) == 3  # as their heads tell
    assert len(reading) == 3
    archive.close()
    assert reading == []


@pytest.mark.usefixtures("names")
def test_a_dump_in_several_parts_is_read_as_one_and_part_by_part(scene: Scene) -> None:
    archive = several(scene, FIRST, SECOND, THIRD)
    with archive.open() as stream:
        whole = read_all(stream)
    assert whole == WHOLE
    assert archive.plain_bytes == len(FIRST + SECOND + THIRD)
    assert [dict(part.ids) for part in archive.parts][1] == {100: 20}
    for part, plain in zip(archive.parts, (FIRST, SECOND, THIRD), strict=True):
        with part.open() as stream:
            assert read_all(stream) == plain
        assert part.plain_bytes == len(plain)


@pytest.mark.usefixtures("names")
@pytest.mark.parametrize("place", [10, -10])
def test_damage_in_any_part_is_told_before_anything_else(scene: Scene, place: int) -> None:
    archive = several(scene, FIRST, SECOND)
    stored = bytearray(sealed(SECOND))
    stored[place] ^= 1
    scene.plant(PartKind.DUMP, bytes(stored))
    with pytest.raises(DamagedPartError, match="data-01"), archive.open() as stream:
        read_all(stream)


@pytest.mark.usefixtures("names")
def test_parts_that_do_not_belong_together_are_whole_but_refused(scene: Scene) -> None:
    with pytest.raises(UnrestorableError, match="does not belong"):
        _ = several(scene, FIRST, FIRST).parts


def test_a_dump_in_one_part_has_no_parts_and_one_in_none_is_refused(scene: Scene) -> None:
    assert DumpArchive(scene.reader).parts == ()
    del scene.parts[PartKind.DUMP]
    with pytest.raises(UnrestorableError, match="no dump"):
        DumpArchive(scene.reader)


# --- the store fails, the drill has to end --------------------------------------------------------


@pytest.mark.parametrize("after", [0, 100, 200_000])
def test_a_store_that_fails_in_the_middle(scene: Scene, after: int) -> None:
    scene.store.faults = Faults(read=StoreError("the bucket is away"), read_after=after)
    with pytest.raises(StoreError, match="the bucket is away"):
        scene.read()


@pytest.mark.parametrize("at", [0, 1, 5])
def test_a_drill_that_is_stopped(scene: Scene, at: int) -> None:
    asked = 0

    def stop() -> None:
        nonlocal asked
        asked += 1
        if asked > at:
            raise TimedOutError("too late")

    scene.stop = stop
    scene.encryptor.block = 1000
    with pytest.raises(TimedOutError):
        scene.read()


def test_a_drill_is_stopped_while_the_store_says_nothing(scene: Scene) -> None:
    """The consumer is not kept waiting; the stream ends when the store does."""
    waiting, late = threading.Event(), threading.Event()

    class Stalling(Upside):
        def decrypt(self, source: Readable, sink: Sink) -> None:
            sink(source.read(1000).translate(_TURNED))
            late.set()
            waiting.wait(20)

    def stop() -> None:
        if late.is_set():
            raise TimedOutError("too late")

    scene.encryptor, scene.stop = Stalling(), stop
    with scene.reader.open(scene.parts[PartKind.DUMP]) as stream:
        with pytest.raises(TimedOutError):
            read_all(stream)
        waiting.set()
