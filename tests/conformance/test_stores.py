"""The contract of a store, as guardian/ports.py states it, over every store that there is."""

from __future__ import annotations

import contextlib
import hashlib
import random
import threading
from datetime import UTC, datetime, timedelta

import pytest
from support.stores import PART, Subject

from guardian.errors import StoreError, StoreExistsError, StoreNotFoundError
from guardian.ports import Store

LONG_AGO = datetime(2000, 1, 1, tzinfo=UTC)
SIZES = [0, 1, 1000, PART - 1, PART, PART + 1, 2 * PART, 2 * PART + 12345]

HOSTILE_KEYS = [
    "main/mina/20261123T020000Z-7f3a9c/manifest.json",
    "a b/c  d",
    "100%/%2F%2e%00",
    'it\'s/"quoted"',
    "a+b/c=d&e",
    "what?/#hash;semi,colon:",
    "(1)[2]{3}<4>",
    "~tilde/@at/*star/$dollar/!bang/^hat/`tick`/|pipe",
    "back\\slash",
    ".hidden/..two/...",
    "CASE/case/Case",
    "x" * 200 + "/" + "y" * 200,
]


IMPOSSIBLE_KEYS = [
    *("", "/a", "a/", "a//b", ".", "..", "a/../b", "./a", "a/..", "é", "a\nb", "a\0", "x" * 201),
    "/".join(["y" * 100] * 11),
    ".a.0123456789ab.guardian-tmp",
]


def soon() -> datetime:
    return datetime.now(UTC) + timedelta(hours=1)


def content(size: int) -> bytes:
    return random.Random(size).randbytes(size)


def put(store: Store, key: str, data: bytes, *, exclusive: bool = False) -> None:
    with store.open_writer(key, expected_bytes=len(data), exclusive=exclusive) as writer:
        for start in range(0, len(data), 300_000):
            writer.write(data[start : start + 300_000])
        stored = writer.commit()
    assert (stored.key, stored.size) == (key, len(data))


def get(store: Store, key: str, *, step: int = 1 << 20) -> bytes:
    with store.open_reader(key) as reader:
        pieces = []
        while piece := reader.read(step):
            assert len(piece) <= step
            pieces.append(piece)
        assert reader.read(step) == b""
    return b"".join(pieces)


def keys(store: Store, prefix: str = "") -> list[str]:
    return [found.key for found in store.list(prefix)]


@pytest.mark.parametrize("size", SIZES)
def test_what_was_written_is_read(subject: Subject, size: int) -> None:
    data = content(size)
    before = datetime.now(UTC) - timedelta(seconds=5)

    put(subject.store, "main/mina/part", data)

    assert hashlib.sha256(get(subject.store, "main/mina/part")).digest() == (
        hashlib.sha256(data).digest()
    )
    seen = subject.store.stat("main/mina/part")
    assert seen is not None
    assert (seen.key, seen.size) == ("main/mina/part", size)
    assert before < seen.modified_at < soon()
    assert seen.modified_at.utcoffset() == timedelta(0)
    assert [(found.key, found.size) for found in subject.store.list()] == [(seen.key, size)]
    assert subject.leftovers() == 0


def test_reading_in_one_go_and_in_odd_pieces(subject: Subject) -> None:
    data = content(100_000)
    put(subject.store, "object", data)

    with subject.store.open_reader("object") as reader:
        assert reader.read(0) == b""
        assert reader.read(7) == data[:7]
        assert reader.read() == data[7:]
        assert reader.read() == b""
    assert get(subject.store, "object", step=4093) == data


@pytest.mark.parametrize("size", [10, 2 * PART + 10])
def test_nothing_is_visible_before_the_commit(subject: Subject, size: int) -> None:
    store = subject.store
    with store.open_writer("a/b") as writer:
        writer.write(content(size))

        assert keys(store) == []
        assert store.stat("a/b") is None
        with pytest.raises(StoreNotFoundError), store.open_reader("a/b"):
            pass

        writer.commit()
        assert keys(store) == ["a/b"]
    assert keys(store) == ["a/b"]


@pytest.mark.parametrize("size", [0, 10, 2 * PART + 10])
def test_leaving_without_a_commit_leaves_nothing(subject: Subject, size: int) -> None:
    with subject.store.open_writer("a/b/c") as writer:
        writer.write(content(size))

    assert keys(subject.store) == []
    assert subject.leftovers() == 0


@pytest.mark.parametrize("error", [RuntimeError("boom"), KeyboardInterrupt()])
@pytest.mark.parametrize("size", [10, 2 * PART + 10])
def test_an_exception_aborts_and_comes_out(
    subject: Subject, size: int, error: BaseException
) -> None:
    put(subject.store, "a/b", b"older")

    def fail_in_the_middle() -> None:
        with subject.store.open_writer("a/b") as writer:
            writer.write(content(size))
            raise error

    with pytest.raises(type(error)) as caught:
        fail_in_the_middle()
    assert caught.value is error
    assert get(subject.store, "a/b") == b"older"
    assert subject.leftovers() == 0


def test_a_closed_writer_takes_nothing_more(subject: Subject) -> None:
    with subject.store.open_writer("a") as writer:
        writer.write(b"1")
        writer.commit()
    for step in (lambda: writer.write(b"2"), writer.commit):
        with pytest.raises(ValueError, match="closed"):
            step()
    assert get(subject.store, "a") == b"1"


@pytest.mark.parametrize("size", [3, 2 * PART + 3])
def test_overwriting_replaces_the_whole(subject: Subject, size: int) -> None:
    put(subject.store, "a", content(1000))
    put(subject.store, "a", content(size))
    assert get(subject.store, "a") == content(size)
    assert keys(subject.store) == ["a"]


@pytest.mark.parametrize("size", [3, 2 * PART + 3])
def test_an_exclusive_write_never_overwrites(subject: Subject, size: int) -> None:
    put(subject.store, "a", b"first", exclusive=True)

    with pytest.raises(StoreExistsError, match="already there"):
        put(subject.store, "a", content(size), exclusive=True)

    assert get(subject.store, "a") == b"first"
    assert subject.leftovers() == 0


def test_of_two_exclusive_writers_the_later_is_refused(subject: Subject) -> None:
    with (
        subject.store.open_writer("a", exclusive=True) as one,
        subject.store.open_writer("a", exclusive=True) as other,
    ):
        one.write(b"one")
        other.write(b"other")
        one.commit()
        with pytest.raises(StoreExistsError):
            other.commit()
    assert get(subject.store, "a") == b"one"


def test_of_many_exclusive_writers_at_once_exactly_one_succeeds(subject: Subject) -> None:
    if not subject.refuses_race:
        return  # the port says: where the store can tell
    outcomes: list[str] = []
    start = threading.Barrier(6)

    def write(number: int) -> None:
        with subject.store.open_writer("a", exclusive=True) as writer:
            writer.write(f"{number}".encode())
            start.wait()
            try:
                writer.commit()
            except StoreExistsError:
                outcomes.append("refused")
            else:
                outcomes.append(f"{number}")

    run_all(write, 6)
    assert outcomes.count("refused") == 5
    (winner,) = set(outcomes) - {"refused"}
    assert get(subject.store, "a") == winner.encode()


def test_writers_of_different_objects_do_not_disturb_each_other(subject: Subject) -> None:
    def write(number: int) -> None:
        put(subject.store, f"db/{number}/part", content(PART + number))

    run_all(write, 4)
    for number in range(4):
        assert get(subject.store, f"db/{number}/part") == content(PART + number)
    assert subject.leftovers() == 0


def test_writers_of_one_object_leave_one_of_their_contents(subject: Subject) -> None:
    def write(number: int) -> None:
        # A store that looks after its write may find somebody else's, and has to say so.
        with contextlib.suppress(StoreError):
            put(subject.store, "a/b", content(200_000 + number))

    run_all(write, 4)
    assert get(subject.store, "a/b") in [content(200_000 + number) for number in range(4)]
    assert subject.leftovers() == 0


def test_listing_is_ordered_by_key_and_narrowed_by_prefix(subject: Subject) -> None:
    present = ["a.b", "a/b.txt", "a/bc/x", "a/bc/y", "a0", "b", "a/b-", "A", "main/mina2/z"]
    for key in present:
        put(subject.store, key, key.encode())

    assert keys(subject.store) == sorted(present)
    assert keys(subject.store, "a/b") == ["a/b-", "a/b.txt", "a/bc/x", "a/bc/y"]
    assert keys(subject.store, "a/bc/") == ["a/bc/x", "a/bc/y"]
    assert keys(subject.store, "a/bc/x") == ["a/bc/x"]
    assert keys(subject.store, "a/bc/x/") == []
    assert keys(subject.store, "main/mina") == ["main/mina2/z"]
    assert keys(subject.store, "main/mina/") == []
    assert keys(subject.store, "nothing/here/") == []


def test_an_empty_store_lists_nothing(subject: Subject) -> None:
    assert keys(subject.store) == []


def test_a_listing_of_more_than_a_thousand_is_whole(subject: Subject) -> None:
    if subject.plant is None:
        return  # too slow to fill
    present = [f"many/{number:05d}/part" for number in range(1105)]
    subject.plant(present)
    put(subject.store, "other", b"x")
    assert keys(subject.store) == [*present, "other"]
    assert keys(subject.store, "many/") == present
    assert keys(subject.store, "many/0010") == present[100:110]


def test_any_printable_key_is_kept_to_the_letter(subject: Subject) -> None:
    for key in HOSTILE_KEYS:
        put(subject.store, key, key.encode())
    assert keys(subject.store) == sorted(HOSTILE_KEYS)
    for key in HOSTILE_KEYS:
        assert keys(subject.store, key) == [key]
        assert get(subject.store, key) == key.encode()
        assert subject.store.stat(key) is not None
        subject.store.delete(key)
    assert keys(subject.store) == []


def test_an_impossible_key_is_refused_everywhere(subject: Subject) -> None:
    store = subject.store
    for key in IMPOSSIBLE_KEYS:
        with pytest.raises(StoreError, match="not a possible name"):
            store.open_writer(key)
        with pytest.raises(StoreError, match="not a possible name"), store.open_reader(key):
            pass
        with pytest.raises(StoreError, match="not a possible name"):
            store.stat(key)
        with pytest.raises(StoreError, match="not a possible name"):
            store.delete(key)
    assert keys(store) == []


def test_deleting_removes_one_object_and_may_be_repeated(subject: Subject) -> None:
    store = subject.store
    for key in ("a/b/c", "a/b/d", "a/bb"):
        put(store, key, b"x")

    store.delete("a/b/c")
    assert keys(store) == ["a/b/d", "a/bb"]
    store.delete("a/b/c")
    store.delete("never/was/here")
    assert keys(store) == ["a/b/d", "a/bb"]
    store.delete("a/b/d")
    store.delete("a/bb")
    assert keys(store) == []
    assert subject.leftovers() == 0


def test_what_is_not_there_is_not_found(subject: Subject) -> None:
    put(subject.store, "a/b", b"x")
    for key in ("nope", "a/nope", "nope/nope", "a/b/nope", "a"):
        assert subject.store.stat(key) is None
        with pytest.raises(StoreNotFoundError, match=r"nope|there is no a|a: it is not"):
            subject.store.open_reader(key).__enter__()


def test_sweeping_removes_what_dead_writers_left(subject: Subject) -> None:
    store = subject.store
    put(store, "main/mina/1/done", b"done")
    subject.abandon("main/mina/1/half")
    subject.abandon("main/other/2/half")
    assert subject.leftovers() >= 2

    assert store.sweep("", LONG_AGO) == 0
    assert store.sweep("nothing/", soon()) == 0
    assert store.sweep("main/mina/", soon()) == 1
    assert store.sweep("main/mina/", soon()) == 0
    assert store.sweep("", soon()) == 1
    assert subject.leftovers() == 0
    assert keys(store) == ["main/mina/1/done"]
    assert get(store, "main/mina/1/done") == b"done"


@pytest.mark.parametrize("size", [10, 2 * PART + 10])
def test_sweeping_spares_live_writers(subject: Subject, size: int) -> None:
    with subject.store.open_writer("main/mina/live") as writer:
        writer.write(content(size))
        assert subject.store.sweep("", soon()) == 0
        writer.write(b"more")
        writer.commit()
    assert get(subject.store, "main/mina/live") == content(size) + b"more"


def test_checking_a_good_store_leaves_it_as_it_was(subject: Subject) -> None:
    put(subject.store, "a", b"x")
    subject.store.check()
    assert keys(subject.store) == ["a"]
    assert subject.leftovers() == 0


def test_free_space_and_locks_are_numbers_or_none(subject: Subject) -> None:
    free = subject.store.free_bytes()
    assert free is None or free > 0
    assert subject.store.lock_until(datetime.now(UTC)) is None
    put(subject.store, "a", b"x")
    seen = subject.store.stat("a")
    assert seen is not None
    assert seen.locked_until is None


def test_neither_name_nor_repr_tells_a_secret(subject: Subject) -> None:
    assert subject.store.name
    assert "secret" not in repr(subject.store).lower()


def run_all(work: object, count: int) -> None:
    """Run ``work(0)`` … at the same time, and raise what any of them raised."""
    errors: list[BaseException] = []

    def guarded(number: int) -> None:
        try:
            work(number)  # type: ignore[operator]
        except BaseException as error:  # noqa: BLE001 - raised again below
            errors.append(error)

    threads = [threading.Thread(target=guarded, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]
