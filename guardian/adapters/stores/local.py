"""A store in a local folder: what is there is whole, durable and private.

An object is written to a temporary file beside its place, fsynced, and renamed; so a reader sees
all of it or nothing, also after a power cut. Files are 0600, folders that we make 0700. No
symbolic link below the root is ever followed.

A missing root is made by the first write, never taken for an empty store: ``list``, ``stat`` and
``delete`` raise then, because the folder may be on a disk that is not mounted.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from secrets import token_bytes, token_hex

from guardian.adapters.stores import folders
from guardian.adapters.stores.keys import checked_key, is_temporary_name, is_valid_key
from guardian.adapters.stores.local_file import LocalReader, LocalWriter, Place
from guardian.errors import DiskFullError, StoreError, StoreNotFoundError
from guardian.model import StoredObject
from guardian.ports import Readable
from guardian.units import format_size

_GONE = {errno.ENOENT, errno.ENOTDIR}


class LocalStore:
    """A folder as a store. A write that is expected to leave less than ``min_free`` is refused."""

    def __init__(self, name: str, path: Path | str, *, min_free: int = 0) -> None:
        self._name = name
        self._path = Path(path).absolute()
        self._min_free = min_free
        self._place = Place(name, self._path)

    def __repr__(self) -> str:
        return f"LocalStore({self._name!r}, {str(self._path)!r})"

    @property
    def name(self) -> str:
        """The config's name for this store."""
        return self._name

    @property
    def path(self) -> Path:
        """The root folder."""
        return self._path

    def open_writer(
        self, key: str, *, expected_bytes: int | None = None, exclusive: bool = False
    ) -> LocalWriter:
        """Begin an object; makes missing folders. See :meth:`guardian.ports.Store.open_writer`."""
        checked_key(self._name, key)
        self._require_room(expected_bytes)
        with self._place.speaking(f"write {key}"):
            if not self._path.exists():
                folders.make_root(self._path)
            with folders.opened(folders.open_root(self._path)) as root:
                return LocalWriter(self._place, root, key, exclusive=exclusive)

    @contextmanager
    def open_reader(self, key: str) -> Iterator[Readable]:
        """Read an object. See :meth:`guardian.ports.Store.open_reader`."""
        descriptor = self._open_file(checked_key(self._name, key))
        with folders.opened(descriptor):
            yield LocalReader(self._place, descriptor, key)

    def stat(self, key: str) -> StoredObject | None:
        """Size and time of one object, None when it does not exist."""
        *above, last = checked_key(self._name, key).split("/")
        with self._place.speaking(f"look at {key}"), self._root() as root:
            try:
                with folders.opened(folders.open_below(root, above)) as folder:
                    found = os.stat(last, dir_fd=folder, follow_symlinks=False)
            except folders.LinkInTheWayError:
                raise
            except OSError as error:
                if error.errno in _GONE:
                    return None
                raise
        return _described(key, found) if stat.S_ISREG(found.st_mode) else None

    def list(self, prefix: str = "") -> Iterator[StoredObject]:
        """Every object whose key starts with ``prefix``, in order of key."""
        with self._place.speaking(f"list {prefix or 'everything'}"), self._root() as root:
            yield from self._walk(root, "", prefix)

    def delete(self, key: str) -> None:
        """Remove one object, durably, and the folders that it leaves empty."""
        *above, last = checked_key(self._name, key).split("/")
        with self._place.speaking(f"delete {key}"), self._root() as root:
            try:
                with folders.opened(folders.open_below(root, above)) as folder:
                    os.unlink(last, dir_fd=folder)
                    folders.sync_folder(folder)
            except folders.LinkInTheWayError:
                raise
            except OSError as error:
                if error.errno not in _GONE:
                    raise
            _prune_empty(root, above)

    def sweep(self, prefix: str, older_than: datetime) -> int:
        """Remove temporary files that nobody holds, last written before that instant.

        A writer, of any process, holds a lock on its file; it is never touched. Folders left empty
        go too. A root that is missing has nothing to sweep.
        """
        swept = 0
        with self._place.speaking("sweep"):
            if not self._path.exists():
                return 0
        with self._place.speaking("sweep"), self._root() as root:
            for above, name in list(_temporaries(root, (), prefix)):
                with folders.opened(folders.open_below(root, above)) as folder:
                    swept += _sweep_one(folder, name, older_than)
                _prune_empty(root, above)
        return swept

    def free_bytes(self) -> int | None:
        """Room on the disk that the root is on, or will be on."""
        with self._place.speaking("ask for free space"):
            above = next(folder for folder in (self._path, *self._path.parents) if folder.exists())
            room = os.statvfs(above)
        return room.f_bavail * room.f_frsize

    def lock_until(self, now: datetime) -> datetime | None:
        """None: a folder locks nothing."""
        del now
        return None

    def check(self) -> None:
        """Write, list, read and delete a small object."""
        key = f"guardian-check-{token_hex(8)}"
        content = token_bytes(1024)
        with self.open_writer(key, expected_bytes=len(content), exclusive=True) as writer:
            writer.write(content)
            writer.commit()
        try:
            with self.open_reader(key) as reader:
                same = reader.read() == content
            if not same or [found.key for found in self.list(key)] != [key]:
                raise StoreError(
                    f"store {self._name}: {self._path} gave back other bytes than were written",
                    mend="check the disk and its file system",
                )
        finally:
            self.delete(key)

    @contextmanager
    def _root(self) -> Iterator[int]:
        with folders.opened(folders.open_root(self._path)) as root:
            yield root

    def _require_room(self, expected_bytes: int | None) -> None:
        if expected_bytes is None:
            return
        free = self.free_bytes()
        if free is not None and free < expected_bytes + self._min_free:
            raise DiskFullError(
                f"store {self._name}: {self._path} has {format_size(free)} free, and about "
                f"{format_size(expected_bytes)} are to be written",
                mend="make room there, or keep fewer backups (retention)",
            )

    def _open_file(self, key: str) -> int:
        *above, last = key.split("/")
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
        with self._place.speaking(f"read {key}"), self._root() as root:
            try:
                with folders.opened(folders.open_below(root, above)) as folder:
                    descriptor = os.open(last, flags, dir_fd=folder)
            except folders.LinkInTheWayError:
                raise
            except OSError as error:
                if error.errno in _GONE:
                    raise self._not_found(key) from error
                raise
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                os.close(descriptor)
                raise self._not_found(key)
        return descriptor

    def _not_found(self, key: str) -> StoreNotFoundError:
        return StoreNotFoundError(f"store {self._name}: there is no {key} in {self._path}")

    def _walk(self, folder: int, above: str, prefix: str) -> Iterator[StoredObject]:
        for order, entry in _entries(folder):
            key = above + order
            if not (key.startswith(prefix) or (order.endswith("/") and prefix.startswith(key))):
                continue
            if order.endswith("/"):
                yield from self._walk_below(folder, entry, key, prefix)
            elif is_valid_key(key):  # any other name cannot be ours: open_writer refuses it
                try:
                    found = os.stat(entry, dir_fd=folder, follow_symlinks=False)
                except FileNotFoundError:
                    continue  # deleted meanwhile
                if stat.S_ISREG(found.st_mode):
                    yield _described(key, found)

    def _walk_below(
        self, folder: int, name: str, above: str, prefix: str
    ) -> Iterator[StoredObject]:
        try:
            below = folders.open_below(folder, [name])
        except FileNotFoundError:
            return  # pruned meanwhile
        with folders.opened(below):
            yield from self._walk(below, above, prefix)


def _entries(folder: int) -> list[tuple[str, str]]:
    """Names in a folder as (sort order, name): folders get their slash, so keys come in order.

    A link to a folder counts as one, and is then refused: to pass over it in silence would make
    backups that somebody moved behind it look deleted.
    """
    with os.scandir(folder) as found:
        return sorted(
            (entry.name + ("/" if entry.is_dir() else ""), entry.name)
            for entry in found
            if not is_temporary_name(entry.name)
        )


def _described(key: str, found: os.stat_result) -> StoredObject:
    return StoredObject(key, found.st_size, datetime.fromtimestamp(found.st_mtime, UTC))


def _prune_empty(root: int, segments: list[str] | tuple[str, ...]) -> None:
    """Remove the folder ``segments`` below ``root`` and those above it, as far as they are empty.

    An emptied folder that stays does no harm, so a failure here is none.
    """
    for depth in range(len(segments), 0, -1):
        try:
            with folders.opened(folders.open_below(root, segments[: depth - 1])) as parent:
                os.rmdir(segments[depth - 1], dir_fd=parent)
        except FileNotFoundError:
            continue
        except OSError:
            return


def _temporaries(
    folder: int, above: tuple[str, ...], prefix: str
) -> Iterator[tuple[tuple[str, ...], str]]:
    """Temporary files of keys that start with ``prefix``, as (folders above, name)."""
    with os.scandir(folder) as found:
        entries = sorted((entry.name, entry.is_dir(follow_symlinks=False)) for entry in found)
    for name, is_folder in entries:
        path = "/".join((*above, name)) + ("/" if is_folder else "")
        if is_folder and (path.startswith(prefix) or prefix.startswith(path)):
            try:
                below = folders.open_below(folder, [name])
            except FileNotFoundError:
                continue
            with folders.opened(below):
                yield from _temporaries(below, (*above, name), prefix)
        elif is_temporary_name(name):
            # .<name>.<12 hex digits>.guardian-tmp stands for <name>
            of = "/".join((*above, name[1:].rsplit(".", 2)[0]))
            if of.startswith(prefix):
                yield above, name


def _sweep_one(folder: int, name: str, older_than: datetime) -> bool:
    """Remove one temporary file if it is old, and no living process holds it."""
    try:
        descriptor = os.open(name, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)
    except FileNotFoundError:
        return False
    with folders.opened(descriptor):
        if os.fstat(descriptor).st_mtime >= older_than.timestamp():
            return False
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False  # it is being written
        except OSError as error:
            if error.errno not in {errno.ENOTSUP, errno.ENOLCK, errno.EINVAL}:
                raise  # else: a file system without locks, where only age can tell
        try:
            os.unlink(name, dir_fd=folder)
        except FileNotFoundError:
            return False
    return True
