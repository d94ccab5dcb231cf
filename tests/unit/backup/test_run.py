"""How a run ends when something fails that nobody had thought of."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager

import pytest
from support.catalogs import MAIN, holder

from guardian.adapters.zstd import ZstdCompressor
from guardian.backup.run import BackupPlan, BackupRunner
from guardian.model import Encryption, EncryptionKind, GlobalsLevel, RunStatus
from guardian.ports import DumpStream, Readable, Sink, Snapshot
from guardian.testing import FakeClock, MemoryCatalog, MemoryStore


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
