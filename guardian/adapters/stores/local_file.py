"""One file of a local store: being written, being read; and what its errors mean to people."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import logging
import os
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Self

from guardian.adapters.stores import folders
from guardian.adapters.stores.keys import temporary_name
from guardian.errors import DiskFullError, StoreError, StoreExistsError
from guardian.model import StoredObject

_log = logging.getLogger(__name__)

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_REFUSED = {errno.EACCES, errno.EPERM, errno.EROFS}
_NO_LINKS = {errno.EPERM, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK, errno.EXDEV}
"""What file systems answer that have no hard links (FAT, some FUSE)."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a local store is, for its error messages."""

    name: str
    path: Path

    @contextlib.contextmanager
    def speaking(self, doing: str) -> Iterator[None]:
        """Turn an OSError into the StoreError that names the thing, the cause and the mend."""
        try:
            yield
        except OSError as error:
            raise self.explained(error, doing) from error

    def explained(self, error: OSError, doing: str) -> StoreError:
        """The StoreError for what the system said while ``doing``."""
        why = (error.strerror or type(error).__name__).lower()
        where = f"store {self.name}: cannot {doing} in {self.path}"
        if isinstance(error, folders.LinkInTheWayError):
            return StoreError(
                f"{where}: {error.filename} is a symbolic link, which guardian never follows",
                mend="put a real folder there, or let the store's path point to the target",
            )
        if error.errno in _FULL:
            return DiskFullError(
                f"{where}: {why}", mend="make room there, or keep fewer backups (retention)"
            )
        if error.errno in _REFUSED:
            mend = (
                "mount it writable"
                if error.errno == errno.EROFS
                else f"give user id {os.geteuid()} read and write access to it"
            )
            return StoreError(f"{where}: {why}", mend=mend)
        if error.errno in {errno.ENOENT, errno.ENOTDIR} and not self.path.is_dir():
            return StoreError(
                f"store {self.name}: there is no folder {self.path}",
                mend="mount its disk or correct its path; the first backup makes a new folder",
            )
        return StoreError(f"{where}: {why}", mend="check the disk and its file system")


class LocalWriter:
    """A temporary file that becomes the object. It is locked while this process lives."""

    def __init__(self, place: Place, root: int, key: str, *, exclusive: bool) -> None:
        self._place = place
        self._key = key
        self._exclusive = exclusive
        *self._above, self._last = key.split("/")
        self._size = 0
        self._committed = False
        self._descent = folders.Descent()
        self._temporary = temporary_name(self._last)
        self._folder = -1
        self._file = -1
        try:
            self._begin(root)
        except BaseException:
            self.abort()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.abort()

    def write(self, data: bytes) -> None:
        """Append."""
        self._require_open()
        with self._place.speaking(f"write {self._key}"), memoryview(data) as view:
            done = 0
            while done < len(view):
                count = os.write(self._file, view[done:])
                done += count
                self._size += count

    def commit(self) -> StoredObject:
        """Make it durable, then visible."""
        self._require_open()
        with self._place.speaking(f"finish {self._key}"):
            os.fsync(self._file)
            found = os.fstat(self._file)
            if found.st_size != self._size:
                raise StoreError(
                    f"store {self._place.name}: {self._key} has {found.st_size} bytes on disk, "
                    f"{self._size} were written",
                    mend="check the disk and its file system",
                )
            # A backup is not read again soon; leave the page cache to the database.
            if hasattr(os, "posix_fadvise"):  # macOS has none
                os.posix_fadvise(self._file, 0, 0, os.POSIX_FADV_DONTNEED)
            self._require_no_link()
            self._publish()
            try:
                self._settle()
            except OSError:
                # Visible, but perhaps not for long: to the caller this is a failure, so let it be
                # one to readers too.
                with contextlib.suppress(OSError):
                    os.unlink(self._last, dir_fd=self._folder)
                raise
        self._committed = True
        self._close()
        return StoredObject(
            self._key, self._size, datetime.fromtimestamp(found.st_mtime, UTC), None
        )

    def abort(self) -> None:
        """Remove what was begun; nothing to do after a commit."""
        if self._folder >= 0 and self._temporary:
            try:
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(self._temporary, dir_fd=self._folder)
            except OSError as error:  # the sweep will
                _log.warning("%s", self._place.explained(error, f"remove unfinished {self._key}"))
        if not self._committed:
            self._descent.undo()
        self._temporary = ""
        self._close()

    def _begin(self, root: int) -> None:
        """Make the folders and the temporary file; again when a prune removes them in between."""
        for attempt in folders.races():
            try:
                self._folder = folders.make_below(root, self._above, self._descent)
                self._file = os.open(
                    self._temporary,
                    os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC,
                    0o600,
                    dir_fd=self._folder,
                )
                break
            except OSError as error:
                if not folders.retry_pruned(attempt, error):
                    raise
                self._close()
        with contextlib.suppress(OSError):  # no locks on this file system: the sweep goes by age
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def _require_no_link(self) -> None:
        if folders.is_link(self._last, self._folder):
            raise folders.LinkInTheWayError(errno.ELOOP, "is a symbolic link", self._key)

    def _publish(self) -> None:
        """Give the file its name, in one step."""
        both = {"src_dir_fd": self._folder, "dst_dir_fd": self._folder}
        if not (self._exclusive and self._link(both)):
            os.replace(self._temporary, self._last, **both)  # noqa: PTH105 - by descriptor
            self._temporary = ""

    def _settle(self) -> None:
        """Make the new name durable, and leave no other."""
        if self._temporary:
            os.unlink(self._temporary, dir_fd=self._folder)
            self._temporary = ""
        folders.sync_folder(self._folder)
        self._descent.sync()

    def _link(self, both: dict[str, int]) -> bool:
        """Name the file unless the name is taken; False where the file system has no links."""
        try:
            os.link(self._temporary, self._last, follow_symlinks=False, **both)
        except FileExistsError as error:
            raise self._taken() from error
        except OSError as error:
            if error.errno not in _NO_LINKS:
                raise
            with contextlib.suppress(FileNotFoundError):
                os.stat(self._last, dir_fd=self._folder, follow_symlinks=False)
                raise self._taken() from error
            return False
        return True

    def _taken(self) -> StoreExistsError:
        return StoreExistsError(
            f"store {self._place.name}: {self._key} is already there; nothing was overwritten"
        )

    def _require_open(self) -> None:
        if self._file < 0:
            raise ValueError(f"the writer of {self._key} is closed")

    def _close(self) -> None:
        for descriptor in (self._file, self._folder):
            if descriptor >= 0:
                os.close(descriptor)
        self._file = self._folder = -1
        self._descent.close()


class LocalReader:
    """Reads one file; an end before the size it had at the start is an error, not an end."""

    def __init__(self, place: Place, descriptor: int, key: str) -> None:
        self._place = place
        self._descriptor = descriptor
        self._key = key
        self._size = os.fstat(descriptor).st_size
        self._offset = 0

    def read(self, size: int = -1, /) -> bytes:
        """At most ``size`` bytes, all that remain when negative."""
        if size < 0:
            pieces = []
            while piece := self.read(1024 * 1024):
                pieces.append(piece)
            return b"".join(pieces)
        with self._place.speaking(f"read {self._key}"):
            data = os.read(self._descriptor, size)
        self._offset += len(data)
        if not data and size and self._offset < self._size:
            raise StoreError(
                f"store {self._place.name}: {self._key} ended after {self._offset} of "
                f"{self._size} bytes",
                mend="somebody cut it short; check who else writes to that folder",
            )
        return data
