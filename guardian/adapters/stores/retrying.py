"""Tries again, over any store, what failed for a reason that may pass.

What can be repeated without loss is: looking, listing, deleting, beginning to read, and writing an
object small enough to be kept meanwhile (a manifest, a fingerprint). A large object is not: the
stream it came from is gone, so its failure is the backup's.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import datetime
from types import TracebackType
from typing import Self, TypeVar

import stamina

from guardian.adapters.stores.passing import PassingStore
from guardian.errors import StoreError, StoreExistsError
from guardian.model import StoredObject
from guardian.ports import Readable, Store, StoreWriter

T = TypeVar("T")

DEFAULT_KEPT_BYTES = 1024 * 1024
"""Up to this size an object being written is kept in memory, to be written again."""


@dataclass(frozen=True, slots=True)
class Patience:
    """How often, how long (seconds, in total) and how far apart to try.

    Waits double from ``first_wait`` to ``longest_wait``, plus up to a second of jitter, so that
    many clients of a server that comes back do not all come at once.
    """

    attempts: int = 4
    deadline: float = 120.0
    first_wait: float = 0.5
    longest_wait: float = 20.0
    jitter: float = 1.0

    def __call__(self, work: Callable[[], T]) -> T:
        """Do the work; again while it raises a transient StoreError and patience lasts."""
        for attempt in stamina.retry_context(
            on=is_transient,
            attempts=self.attempts,
            timeout=self.deadline,
            wait_initial=self.first_wait,
            wait_max=self.longest_wait,
            wait_jitter=self.jitter,
        ):
            with attempt:
                return work()
        raise AssertionError  # retry_context either returns or raises


def is_transient(error: Exception) -> bool:
    """Whether trying again may help."""
    return isinstance(error, StoreError) and error.transient


class RetryingStore(PassingStore):
    """Another store, asked again when it fails for a reason that may pass."""

    def __init__(
        self,
        inner: Store,
        patience: Patience | None = None,
        *,
        kept_bytes: int = DEFAULT_KEPT_BYTES,
    ) -> None:
        super().__init__(inner)
        self._patiently = patience or Patience()
        self._kept_bytes = kept_bytes

    def open_writer(
        self, key: str, *, expected_bytes: int | None = None, exclusive: bool = False
    ) -> StoreWriter:
        """Begin an object. It is written again after a failure as long as it is small."""

        def begin() -> StoreWriter:
            return self._inner.open_writer(key, expected_bytes=expected_bytes, exclusive=exclusive)

        return _RetryingWriter(self._inner, self._patiently, begin, key, self._kept_bytes)

    @contextmanager
    def open_reader(self, key: str) -> Iterator[Readable]:
        """Read an object; the beginning is retried, what comes after is the inner store's."""
        with ExitStack() as stack:
            yield self._patiently(lambda: stack.enter_context(self._inner.open_reader(key)))

    def stat(self, key: str) -> StoredObject | None:
        """As the inner store, patiently."""
        return self._patiently(lambda: self._inner.stat(key))

    def list(self, prefix: str = "") -> Iterator[StoredObject]:
        """As the inner store, patiently; taken up again after the last key that was yielded."""
        last = ""
        listing = self._inner.list(prefix)

        def following() -> StoredObject | None:
            nonlocal listing
            try:
                return next((found for found in listing if found.key > last), None)
            except StoreError:
                listing = self._inner.list(prefix)  # a generator that raised is finished
                raise

        while (found := self._patiently(following)) is not None:
            last = found.key
            yield found

    def delete(self, key: str) -> None:
        """As the inner store, patiently."""
        self._patiently(lambda: self._inner.delete(key))

    def sweep(self, prefix: str, older_than: datetime) -> int:
        """As the inner store, patiently. What a failed try swept is not counted."""
        return self._patiently(lambda: self._inner.sweep(prefix, older_than))

    def free_bytes(self) -> int | None:
        """As the inner store, patiently."""
        return self._patiently(self._inner.free_bytes)

    def check(self) -> None:
        """As the inner store, at once: whoever checks wants to hear of the first failure."""
        self._inner.check()


class _RetryingWriter:
    """Keeps what was written while it is small; then only passes on."""

    def __init__(
        self,
        store: Store,
        patiently: Patience,
        begin: Callable[[], StoreWriter],
        key: str,
        kept_bytes: int,
    ) -> None:
        self._store = store
        self._patiently = patiently
        self._begin = begin
        self._key = key
        self._kept_bytes = kept_bytes
        self._kept: bytearray | None = bytearray()
        self._inner: StoreWriter | None = patiently(begin)
        self._commit_failed = False
        self._closed = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._closed = True
        self._abort(kind, error, trace)

    def write(self, data: bytes) -> None:
        """Append; patiently while the whole is small."""
        self._require_open()
        kept = self._kept
        if kept is None or len(kept) + len(data) > self._kept_bytes:
            # From here on a failure is final. The bytes kept so far are in the inner writer.
            self._kept = None
            self._opened().write(data)
            return
        before = bytes(kept)
        kept += data
        self._replayed(lambda writer: writer.write(data), before)

    def commit(self) -> StoredObject:
        """Make the object visible; patiently while it is small."""
        self._require_open()
        if self._kept is None:
            return self._opened().commit()
        content = bytes(self._kept)
        try:
            return self._replayed(self._commit_once, content)
        except StoreExistsError:
            stored = self._landed(content) if self._commit_failed else None
            if stored is None:
                raise
            return stored

    def _commit_once(self, writer: StoreWriter) -> StoredObject:
        try:
            return writer.commit()
        except StoreError as error:
            self._commit_failed = self._commit_failed or error.transient
            raise

    def _replayed(self, step: Callable[[StoreWriter], T], before: bytes) -> T:
        """Do a step; after a failure in a new writer, which first gets what came ``before``."""

        def work() -> T:
            if self._inner is None:
                self._inner = self._begin()
                self._inner.write(before)
            try:
                return step(self._inner)
            except StoreError as error:
                if error.transient:
                    self._abort(type(error), error, error.__traceback__)
                raise

        return self._patiently(work)

    def _landed(self, content: bytes) -> StoredObject | None:
        """The object, if an earlier commit of ours made it although it seemed to fail."""
        stored = self._store.stat(self._key)
        if stored is None or stored.size != len(content):
            return None
        with self._store.open_reader(self._key) as reader:
            found = bytearray()
            while piece := reader.read(self._kept_bytes):
                found += piece
        return stored if found == content else None

    def _opened(self) -> StoreWriter:
        if self._inner is None:
            raise ValueError(f"the writer of {self._key} has failed")
        return self._inner

    def _require_open(self) -> None:
        if self._closed:
            raise ValueError(f"the writer of {self._key} is closed")

    def _abort(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        inner, self._inner = self._inner, None
        if inner is not None:
            with contextlib.suppress(StoreError):  # the sweep will
                inner.__exit__(kind, error, trace)
