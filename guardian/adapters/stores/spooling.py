"""Fetching once what is read several times: large objects of a remote store, kept on disk a while.

A restore in several streams reads a backup as often. What is kept is the object as stored, so it is
as encrypted as it is there; and its file has no name, so that nothing remains however we end. The
object is fetched on a thread of its own, and readers follow it: nobody waits for the last byte who
needs the first.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self

from guardian.adapters.stores.passing import PassingStore
from guardian.errors import StoreError
from guardian.model import StoredObject
from guardian.ports import Readable, Store

_BLOCK = 1 << 20
_WORTH_BYTES = 4 << 20
_POLL_SECONDS = 0.5
_ENDING_SECONDS = 5.0


class SpoolingStore(PassingStore):
    """A store for the length of a ``with`` block, whose large objects are fetched once.

    ``directory`` is where, None for the system's folder for temporary files. Where there is no room
    an object is read from the store each time, as are those smaller than ``worth_bytes``.
    """

    def __init__(
        self, inner: Store, directory: Path | None = None, *, worth_bytes: int = _WORTH_BYTES
    ) -> None:
        super().__init__(inner)
        self._directory = directory or Path(tempfile.gettempdir())
        self._worth_bytes = worth_bytes
        self._kept: dict[str, _Spool] = {}
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        """Nothing is fetched yet."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Let go of what was kept. Readers that are still open raise StoreError."""
        with self._lock:
            for spool in self._kept.values():
                spool.stop()
            self._kept.clear()

    @contextmanager
    def open_reader(self, key: str) -> Iterator[Readable]:
        """Read an object; a large one from what is kept of it."""
        stored = self._inner.stat(key)
        spool = None
        if stored is not None and stored.size >= max(1, self._worth_bytes):
            spool = self._spool(stored)
        if spool is not None:
            spool.await_begin()
            yield _Following(spool)
            return
        with self._inner.open_reader(key) as reader:
            yield reader

    def _spool(self, stored: StoredObject) -> _Spool | None:
        """What is kept of it, or is being fetched; None where there is no room."""
        with self._lock:
            spool = self._kept.get(stored.key)
            if spool is None or spool.failed or spool.stored != stored:
                if self._free_bytes() < 2 * stored.size:
                    return None
                self._kept[stored.key] = _Spool(self._inner, stored, self._directory)
                if spool is not None:
                    spool.stop()
                spool = self._kept[stored.key]
            return spool

    def _free_bytes(self) -> int:
        """Room for what is kept; none where the folder is missing, or its disk fails."""
        try:
            return shutil.disk_usage(self._directory).free
        except OSError:
            return 0


class _Spool:
    """One object: a thread fetches it into a file without a name."""

    def __init__(self, store: Store, stored: StoredObject, directory: Path) -> None:
        self.stored = stored
        self._store = store
        self._directory = directory
        try:
            self._file = tempfile.TemporaryFile(dir=directory, buffering=0)  # noqa: SIM115
        except OSError as error:
            raise self._unusable(error) from error
        self._news = threading.Condition()
        self._begun = False
        self._fetched = 0
        self._ended = False
        self._stopped = False
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="fetch", daemon=True)
        self._thread.start()

    @property
    def failed(self) -> bool:
        """Whether it will never be whole."""
        return self._error is not None

    def await_begin(self) -> None:
        """Return when the store has begun to give it; raise what it raised instead."""
        with self._news:
            while not (self._begun or self._ended):
                self._news.wait(_POLL_SECONDS)
            if not self._begun:
                self._raise()

    def read(self, size: int, position: int) -> bytes:
        """At most so many bytes from there, once they have come; none at the object's end."""
        with self._news:
            while self._fetched <= position and not (self._ended or self._stopped):
                self._news.wait(_POLL_SECONDS)
            if self._stopped or (self._fetched <= position and self._error is not None):
                self._raise()
            size = min(size, self._fetched - position)
            try:
                return os.pread(self._file.fileno(), size, position) if size > 0 else b""
            except OSError as error:
                raise self._unusable(error) from error

    def stop(self) -> None:
        """Keep it no longer. A store that is stalled is left to itself."""
        with self._news:
            self._stopped = True
            self._news.notify_all()
            if self._ended:
                self._file.close()
        self._thread.join(_ENDING_SECONDS)

    def _raise(self) -> None:
        raise self._error or StoreError(f"{self.stored.key}: the reading of it was given up")

    def _run(self) -> None:
        try:
            with self._store.open_reader(self.stored.key) as reader:
                self._note(begun=True)
                while not self._stopped and (block := reader.read(_BLOCK)):
                    self._keep(block)
        except BaseException as error:  # noqa: BLE001 - raised to whoever reads
            self._error = error
        finally:
            with self._news:
                self._ended = True
                self._news.notify_all()
                if self._stopped:
                    self._file.close()

    def _keep(self, block: bytes) -> None:
        view = memoryview(block)
        try:
            while view:
                view = view[self._file.write(view) or 0 :]
        except OSError as error:
            raise self._unusable(error) from error
        self._note(fetched=len(block))

    def _note(self, *, begun: bool = False, fetched: int = 0) -> None:
        with self._news:
            self._begun = self._begun or begun
            self._fetched += fetched
            self._news.notify_all()

    def _unusable(self, error: OSError) -> StoreError:
        return StoreError(
            f"{self.stored.key} cannot be kept in {self._directory}: {error.strerror}",
            mend="make room there, or name a folder on another disk in verify.scratch_dir",
        )


class _Following:
    """Reads from the start, with a position of its own."""

    def __init__(self, spool: _Spool) -> None:
        self._spool = spool
        self._position = 0

    def read(self, size: int = -1, /) -> bytes:
        """At most ``size`` bytes; all that is left where it is negative."""
        if size < 0:
            return b"".join(iter(lambda: self.read(_BLOCK), b""))
        block = self._spool.read(size, self._position) if size else b""
        self._position += len(block)
        return block
