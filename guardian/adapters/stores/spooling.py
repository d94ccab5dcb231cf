"""Fetching once what is read several times: large objects of a remote store, kept on disk a while.

A restore in several streams reads a backup as often. What is kept is the object as stored, so it is
as encrypted as it is there; and its file has no name, so that nothing remains however we end.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from guardian.errors import StoreError
from guardian.model import StoredObject
from guardian.ports import Readable, Store, StoreWriter

_BLOCK = 1 << 20
_WORTH_BYTES = 4 << 20
"""Smaller objects are fetched each time."""


class SpoolingStore:
    """A store for the length of a ``with`` block, whose large objects are fetched once.

    ``directory`` is where, None for the system's folder for temporary files. Where there is no room
    an object is read from the store each time.
    """

    def __init__(self, inner: Store, directory: Path | None = None) -> None:
        self._inner = inner
        self._directory = directory
        self._files: dict[str, IO[bytes]] = {}
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
        """Let go of what was kept."""
        with self._lock:
            for file in self._files.values():
                file.close()
            self._files.clear()

    @property
    def name(self) -> str:
        """The store's."""
        return self._inner.name

    @contextmanager
    def open_reader(self, key: str) -> Iterator[Readable]:
        """Read an object; a large one from what was kept of it."""
        stored = self._inner.stat(key)
        if stored is not None and stored.size >= _WORTH_BYTES and self._keep(key, stored.size):
            yield _KeptReader(self._files[key].fileno())
            return
        with self._inner.open_reader(key) as reader:
            yield reader

    def _keep(self, key: str, size: int) -> bool:
        """Fetch it, unless it is here; False where there is no room."""
        with self._lock:
            if key in self._files:
                return True
            directory = self._directory or Path(tempfile.gettempdir())
            if shutil.disk_usage(directory).free < 2 * size:
                return False
            file = tempfile.TemporaryFile(dir=directory)  # noqa: SIM115 - closed with the store
            try:
                with self._inner.open_reader(key) as reader:
                    while block := reader.read(_BLOCK):
                        file.write(block)
                file.flush()
            except OSError as error:
                file.close()
                raise StoreError(
                    f"{key} cannot be kept in {directory}: {error.strerror}"
                ) from error
            except BaseException:
                file.close()
                raise
            self._files[key] = file
            return True

    # --- the rest is the inner store's -----------------------------------------------------------

    def open_writer(
        self, key: str, *, expected_bytes: int | None = None, exclusive: bool = False
    ) -> StoreWriter:
        """As the inner store."""
        return self._inner.open_writer(key, expected_bytes=expected_bytes, exclusive=exclusive)

    def stat(self, key: str) -> StoredObject | None:
        """As the inner store."""
        return self._inner.stat(key)

    def list(self, prefix: str = "") -> Iterator[StoredObject]:
        """As the inner store."""
        return self._inner.list(prefix)

    def delete(self, key: str) -> None:
        """As the inner store."""
        self._inner.delete(key)

    def sweep(self, prefix: str, older_than: datetime) -> int:
        """As the inner store."""
        return self._inner.sweep(prefix, older_than)

    def lock_until(self, now: datetime) -> datetime | None:
        """As the inner store."""
        return self._inner.lock_until(now)

    def free_bytes(self) -> int | None:
        """As the inner store."""
        return self._inner.free_bytes()

    def check(self) -> None:
        """As the inner store."""
        self._inner.check()


class _KeptReader:
    """Reads the file from its start, with a position of its own."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._position = 0

    def read(self, size: int = -1, /) -> bytes:
        """At most ``size`` bytes."""
        block = os.pread(self._descriptor, size if size > 0 else _BLOCK, self._position)
        self._position += len(block)
        return block
