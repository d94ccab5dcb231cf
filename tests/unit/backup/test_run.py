"""How a run ends when something fails that nobody had thought of, or takes its lease."""

from __future__ import annotations

import functools
import hashlib
import io
import itertools
import secrets
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from datetime import timedelta
from typing import Any

import pytest
from support.catalogs import MAIN, START, TTL, backup_id, holder, manifest

from guardian.adapters.zstd import ZstdCompressor
from guardian.backup import attempt
from guardian.backup.lanes import Fanout
from guardian.backup.manifest import MANIFEST_NAME, NOTES_NAME, backup_prefix
from guardian.backup.recovery import read_manifest, recover
from guardian.backup.run import BackupPlan, BackupResult, BackupRunner
from guardian.errors import StoreError
from guardian.model import (
    BackupId,
    Encryption,
    EncryptionKind,
    GlobalsLevel,
    ProofLevel,
    RunStatus,
)
from guardian.ports import DumpStream, Readable, Sink, Snapshot
from guardian.testing import FakeClock, MemoryCatalog, MemoryStore

DUMP = "database.dump.zst.gpg"


class Broken:
    """A source with a fault that no error of ours tells of."""

    def databases(self) -> Sequence[str]:
        return ["mina"]

    def snapshot(self, database: str) -> AbstractContextManager[Snapshot]:
        raise KeyError(f"password of {database}")

    def open_globals(self) -> AbstractContextManager[tuple[DumpStream, GlobalsLevel]]:
        raise AssertionError


class Plain:
    """An encryptor for what never gets that far."""

    suffix = ".gpg"

    def describe(self) -> Encryption:
        return Encryption(EncryptionKind.SYMMETRIC)

    def check(self) -> None:
        pass

    def encrypt(self, source: Readable, sink: Sink) -> None:
        raise AssertionError

    def decrypt(self, source: Readable, sink: Sink) -> None:
        raise AssertionError


class Silent:
    def begin(self, label: str, total_bytes: int | None = None) -> None:
        pass

    def advance(self, done_bytes: int) -> None:
        pass

    def note(self, text: str) -> None:
        pass

    def end(self, summary: str) -> None:
        pass


def test_a_defect_of_ours_is_a_failed_backup_and_is_raised() -> None:
    clock = FakeClock()
    catalog = MemoryCatalog(clock, lambda _: None)
    runner = BackupRunner(
        source=Broken(),
        stores=[MemoryStore("local")],
        compressor=ZstdCompressor(),
        encryptor=Plain(),
        catalog=catalog,
        clock=clock,
        progress=Silent(),
        holder=holder(),
        plan=BackupPlan(),
        version="1",
        token=lambda: "abcdef",
    )
    with pytest.raises(KeyError):
        runner.run(MAIN)
    (record,) = catalog.tries()
    assert record.status is RunStatus.FAILED
    assert record.error == "internal error: KeyError", "without what a library said"
    assert catalog.consecutive_failures(MAIN) == 1
    assert catalog.leases() == []


# --- runs that lose their lease, and stores that hang ---


class Dump(io.BytesIO):
    """A dump, or the globals, in memory."""

    def finish(self) -> None:
        pass

    def cancel(self) -> None:
        pass


class Small:
    """A source of one small database, and its snapshot."""

    facts = manifest(backup_id(1)).facts
    taken_at = START
    dump_version = "15.4"
    estimated_bytes = 100
    snapshots = 0

    def databases(self) -> Sequence[str]:
        return ["mina"]

    @contextmanager
    def snapshot(self, database: str) -> Iterator[Any]:
        self.snapshots += 1
        yield self

    @contextmanager
    def open_dumps(self, jobs: int) -> Iterator[Any]:
        yield [Dump(b"rows " * 1000)]

    @contextmanager
    def open_globals(self) -> Iterator[Any]:
        yield Dump(b"CREATE ROLE ada;"), GlobalsLevel.FULL


class Salted(Plain):
    """As gpg does: the same text never encrypts to the same bytes."""

    def encrypt(self, source: Readable, sink: Sink) -> None:
        sink(secrets.token_bytes(8))
        while block := source.read(1 << 20):
            sink(block)


class Publishing(MemoryStore):
    """Something happens before or after an object becomes visible."""

    def __init__(self, name: str, clock: FakeClock) -> None:
        super().__init__(name, clock=clock)
        self.published: list[str] = []
        self.before: Callable[[str], None] = lambda _: None
        self.after: Callable[[str], None] = lambda _: None

    def publish(self, writer: Any, data: bytes, *, exclusive: bool) -> Any:
        name = writer.key.rpartition("/")[2]
        self.before(name)
        stored = super().publish(writer, data, exclusive=exclusive)
        self.published.append(name)
        self.after(name)
        return stored


class Night:
    """A clock, a catalog whose processes are all alive, stores, and runs over them."""

    def __init__(self, *names: str) -> None:
        self.clock = FakeClock()
        self.source = Small()
        self.catalog = MemoryCatalog(self.clock, lambda _: True)
        self.stores = [Publishing(name, self.clock) for name in names]
        self._tokens = (f"{number:06x}" for number in itertools.count(1))

    def run(self, pid: int = 1) -> BackupResult:
        runner = BackupRunner(
            source=self.source,
            stores=self.stores,
            compressor=ZstdCompressor(),
            encryptor=Salted(),
            catalog=self.catalog,
            clock=self.clock,
            progress=Silent(),
            holder=holder(pid),
            plan=BackupPlan(proof=ProofLevel.NONE),
            version="1",
            token=lambda: next(self._tokens),
        )
        return runner.run(MAIN)

    def take_over(self) -> None:
        """The clock jumps, and another process takes the lease before the first has renewed it."""
        self.clock.advance(1.5 * TTL)
        self.catalog.acquire(f"backup:{MAIN}", holder(2), TTL)
        recover(self.catalog, self.stores, MAIN, self.clock)

    def require_no_half_backup(self) -> None:
        """Wherever a manifest lies, its parts lie as it tells; the catalog lists those alone."""
        for store in self.stores:
            found = store.contents()
            whole = {
                BackupId(key.split("/")[2]) for key in found if key.endswith(f"/{MANIFEST_NAME}")
            }
            for backup in whole:
                for part in read_manifest(store, MAIN, backup).parts:
                    data = found[backup_prefix(MAIN, backup) + part.name]
                    assert hashlib.sha256(data).hexdigest() == part.sha256
            listed = {one.id for one in self.catalog.backups() if store.name in one.stores}
            assert listed <= whole


@pytest.mark.parametrize("when", [DUMP, NOTES_NAME])
def test_who_lost_the_lease_before_the_manifest_writes_none(when: str) -> None:
    night = Night("local")
    (store,) = night.stores
    store.after = lambda name: night.take_over() if name == when else None
    result = night.run()
    assert result.status is RunStatus.FAILED
    assert "lease was lost" in str(result.error)
    assert MANIFEST_NAME not in store.published
    assert store.contents() == {}
    assert night.catalog.backups() == []


def test_who_lost_the_lease_while_the_manifest_was_written_takes_it_back() -> None:
    night = Night("local")
    (store,) = night.stores
    store.before = lambda name: night.take_over() if name == MANIFEST_NAME else None
    assert night.run().status is RunStatus.FAILED
    assert store.published[-1] == MANIFEST_NAME
    assert store.contents() == {}
    assert night.catalog.backups() == []


def test_a_backup_that_another_process_found_whole_stays() -> None:
    night = Night("local")
    (store,) = night.stores
    store.after = lambda name: night.take_over() if name == MANIFEST_NAME else None
    result = night.run()
    assert [one.id for one in night.catalog.backups()] == [result.id]
    assert [one.stores for one in night.catalog.backups()] == [("local",)]
    assert f"{backup_prefix(MAIN, result.id)}{MANIFEST_NAME}" in store.contents()
    night.require_no_half_backup()


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    soon = functools.partial(Fanout, stall_timeout=timedelta(seconds=0.3))
    monkeypatch.setattr(attempt, "Fanout", soon)


def hang_once(store: Publishing, at: str) -> threading.Event:
    """The store's first publication of that name waits for what is returned."""
    go, left = threading.Event(), [at]

    def wait(name: str) -> None:
        if name in left:
            left.remove(name)
            go.wait(30)

    store.before = wait
    return go


def landed(store: Publishing, count: int) -> None:
    until = time.monotonic() + 30
    while store.published.count(MANIFEST_NAME) < count:
        assert time.monotonic() < until
        time.sleep(0.01)


@pytest.mark.usefixtures("impatient")
def test_a_store_whose_manifest_hangs_takes_no_other_try() -> None:
    night = Night("local")
    (store,) = night.stores
    go = hang_once(store, MANIFEST_NAME)
    result = night.run()
    assert result.status is RunStatus.FAILED
    assert night.source.snapshots == 1, "a try that no store would take is not begun"
    assert store.published.count(DUMP) == 1
    go.set()
    landed(store, 1)
    night.require_no_half_backup()


@pytest.mark.usefixtures("impatient")
def test_the_other_store_takes_the_next_try() -> None:
    night = Night("local", "offsite")
    hanging, failing = night.stores
    go = hang_once(hanging, MANIFEST_NAME)
    failures = [StoreError("store offsite: away", transient=True)]

    def fail_once(name: str) -> None:
        if name == MANIFEST_NAME and failures:
            raise failures.pop()

    failing.before = fail_once
    result = night.run()
    assert result.status is RunStatus.SUCCEEDED
    assert [one.stores for one in night.catalog.backups()] == [("offsite",)]
    assert hanging.published.count(DUMP) == 1
    go.set()
    landed(hanging, 1)
    night.require_no_half_backup()


def test_a_manifest_that_could_not_be_taken_back_bars_its_store_from_the_next_try() -> None:
    """Its commit failed, and had been made: it is about the bytes that lie there."""
    night = Night("local")
    (store,) = night.stores
    failures = [StoreError("store local: no answer", transient=True)]

    def fail_once(name: str) -> None:
        if name == MANIFEST_NAME and failures:
            store.faults.delete = StoreError("store local: away")
            raise failures.pop()

    store.after = fail_once
    assert night.run().status is RunStatus.FAILED
    assert store.published.count(DUMP) == 1
    night.require_no_half_backup()


def test_a_manifest_that_can_be_taken_back_after_all_lets_its_store_try_again() -> None:
    night = Night("local")
    (store,) = night.stores
    failures = [StoreError("store local: no answer", transient=True)]

    def fail_once(name: str) -> None:
        if name == MANIFEST_NAME and failures:
            raise failures.pop()

    store.after = fail_once
    assert night.run().status is RunStatus.SUCCEEDED
    assert store.published.count(DUMP) == 2
    night.require_no_half_backup()
