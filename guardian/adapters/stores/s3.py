"""A store in a bucket of anything that speaks S3: AWS, MinIO, R2, B2, Ceph, rclone.

Small objects go in one request, large ones in parts of one size, out of a bounded number of
buffers; the object appears when all of it is there, and its size is then looked at. Nothing is
kept on disk. boto3 is loaded by the first request, so that who never makes one does not pay for it.

In a bucket with versions a deletion hides an object and frees no room: let a lifecycle rule expire
noncurrent versions.
"""

from __future__ import annotations

import secrets
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from guardian.adapters.stores.keys import checked_key, is_valid_key
from guardian.adapters.stores.s3_reader import S3Reader
from guardian.adapters.stores.s3_records import WriteRequest
from guardian.adapters.stores.s3_settings import ObjectLock, S3Settings, part_bytes_for
from guardian.adapters.stores.s3_writer import S3Writer, is_live
from guardian.errors import StoreError, StoreLockedError
from guardian.model import StoredObject
from guardian.ports import Clock, Readable

if TYPE_CHECKING:
    from guardian.adapters.stores.s3_api import S3Api

__all__ = ["ObjectLock", "S3Settings", "S3Store"]


class S3Store:
    """A bucket, or a prefix in one, as a store."""

    def __init__(self, name: str, settings: S3Settings, *, clock: Clock | None = None) -> None:
        self._name = name
        self._settings = settings
        self._clock = clock
        self._opening = threading.Lock()
        self._opened: S3Api | None = None
        self._outgrown = 0

    def __repr__(self) -> str:
        return f"S3Store({self._name!r}, {self._settings.bucket}/{self._settings.key_prefix})"

    @property
    def name(self) -> str:
        """The config's name for this store."""
        return self._name

    def open_writer(
        self, key: str, *, expected_bytes: int | None = None, exclusive: bool = False
    ) -> S3Writer:
        """Begin an object. See :meth:`guardian.ports.Store.open_writer`.

        ``expected_bytes`` sizes the parts; without it an object can have 10,000 times the
        configured ``part_bytes``.
        """
        lock_until = self.lock_until(self._now())
        return self._writer(key, expected_bytes, lock_until, exclusive=exclusive)

    @contextmanager
    def open_reader(self, key: str) -> Iterator[Readable]:
        """Read an object. See :meth:`guardian.ports.Store.open_reader`."""
        with S3Reader(self._api, checked_key(self._name, key)) as reader:
            yield reader

    def stat(self, key: str) -> StoredObject | None:
        """Size, time and lock of one object, None when it does not exist.

        The lock is None also where the credentials lack ``s3:GetObjectRetention``.
        """
        head = self._api.head(checked_key(self._name, key))
        if head is None:
            return None
        return StoredObject(key, head.size, head.modified_at, head.locked_until)

    def list(self, prefix: str = "") -> Iterator[StoredObject]:
        """Every object whose key starts with ``prefix``, in order of key."""
        for found in self._api.list(prefix):
            if is_valid_key(found.key):  # any other cannot be ours: open_writer refuses it
                yield StoredObject(found.key, found.size, found.modified_at)

    def delete(self, key: str) -> None:
        """Delete one object. Raises StoreLockedError when it is known to be locked.

        S3 itself would not refuse: it would hide a locked object behind a delete marker, and
        keep it.
        """
        self._require_unlocked(checked_key(self._name, key))
        self._api.delete(key)

    def sweep(self, prefix: str, older_than: datetime) -> int:
        """Abort multipart uploads under ``prefix`` that were begun before that instant.

        None that this process is writing; those of other processes are told by their age alone.
        """
        swept = 0
        for upload in self._api.uploads(prefix):
            if upload.begun_at < older_than and not is_live(upload.id):
                self._api.abort_upload(upload.key, upload.id)
                swept += 1
        return swept

    def free_bytes(self) -> int | None:
        """None: a bucket has no such number."""
        return None

    def lock_until(self, now: datetime) -> datetime | None:
        """Until when an object committed now is locked by this store's ``object_lock``."""
        lock = self._settings.object_lock
        return now + lock.duration if lock is not None else None

    def check(self) -> None:
        """Write, list, read and delete a small object, which is not locked."""
        if self._settings.object_lock is not None:
            self._api.require_object_lock()
        key = f"guardian-check-{secrets.token_hex(8)}"
        content = secrets.token_bytes(1024)
        with self._writer(key, len(content), None, exclusive=True) as writer:
            writer.write(content)
            writer.commit()
        try:
            with self.open_reader(key) as reader:
                same = reader.read() == content
            if not same or [found.key for found in self.list(key)] != [key]:
                raise StoreError(
                    f"store {self._name}: bucket {self._settings.bucket} gave back other bytes "
                    "than were written",
                    mend="ask its provider",
                )
        finally:
            self._api.delete(key)

    @property
    def _api(self) -> S3Api:
        with self._opening:
            if self._opened is None:
                from guardian.adapters.stores.s3_api import S3Api  # noqa: PLC0415 - boto3: 40 MB

                self._opened = S3Api(self._name, self._settings)
            return self._opened

    def _writer(
        self,
        key: str,
        expected_bytes: int | None,
        lock_until: datetime | None,
        *,
        exclusive: bool,
    ) -> S3Writer:
        checked_key(self._name, key)
        expected = max(expected_bytes or 0, self._outgrown)
        return S3Writer(
            self._api,
            WriteRequest(key, secrets.token_hex(16), exclusive, lock_until),
            part_bytes=part_bytes_for(expected, self._settings.part_bytes),
            uploads=self._settings.uploads,
            part_patience=self._settings.part_patience,
            on_outgrown=self._note_outgrown,
        )

    def _note_outgrown(self, size: int) -> None:
        """Take it into account that an estimate was far too low, until this process ends."""
        self._outgrown = max(self._outgrown, 4 * size)

    def _require_unlocked(self, key: str) -> None:
        try:
            head = self._api.head(key)
        except StoreError:
            return  # who may not look may still be allowed to delete: the deletion will tell
        if head is not None and head.locked_until and head.locked_until > self._now():
            raise StoreLockedError(
                f"store {self._name}: {key} is locked until {head.locked_until:%Y-%m-%d %H:%M}Z",
                mend="it can be deleted after that",
            )

    def _now(self) -> datetime:
        return self._clock.now() if self._clock is not None else datetime.now(UTC)
