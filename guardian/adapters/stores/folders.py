"""Walking a folder tree by descriptors, never through a symbolic link.

Every step opens one folder relative to its parent with ``O_NOFOLLOW``, so that neither a link in
the way nor one put there in the middle can lead out of the root.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_NO_FSYNC = {errno.EINVAL, errno.ENOTSUP, errno.EBADF}
"""What file systems answer that cannot fsync a folder (CIFS, some FUSE)."""

_RACES = 20
"""How often a folder may be pruned by somebody else between its making and its use."""


class LinkInTheWayError(OSError):
    """A component of the path is a symbolic link; ``filename`` tells which."""


@contextlib.contextmanager
def opened(descriptor: int) -> Iterator[int]:
    """Close a descriptor at the end."""
    try:
        yield descriptor
    finally:
        os.close(descriptor)


@dataclass(slots=True)
class Descent:
    """Folders that were made on the way down, as (descriptor of the parent, name), top first.

    Owns duplicates of the parents' descriptors until :meth:`close`.
    """

    made: list[tuple[int, str]] = field(default_factory=list)

    def note(self, parent: int, name: str) -> None:
        """Remember a folder that was just made."""
        self.made.append((os.dup(parent), name))

    def sync(self) -> None:
        """Make the new folders' names durable."""
        for parent, _ in self.made:
            sync_folder(parent)

    def undo(self) -> None:
        """Remove the folders again that are empty, deepest first."""
        for parent, name in reversed(self.made):
            with contextlib.suppress(OSError):  # not empty any more: somebody else lives there
                os.rmdir(name, dir_fd=parent)

    def close(self) -> None:
        """Let go of the descriptors."""
        for parent, _ in self.made:
            os.close(parent)
        self.made.clear()


def open_root(path: Path) -> int:
    """Open the root folder itself; here, and only here, a link is followed: it is the config's."""
    return os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)


def make_root(path: Path) -> None:
    """Make the root folder and its missing parents (0700), durably."""
    missing = [path, *path.parents]
    missing = missing[: next(i for i, folder in enumerate(missing) if folder.exists())]
    for folder in reversed(missing):
        folder.mkdir(mode=0o700, exist_ok=True)
        with opened(open_root(folder.parent)) as parent:
            sync_folder(parent)


def open_below(root: int, segments: Sequence[str]) -> int:
    """Open the folder ``segments`` below ``root``.

    Raises:
        LinkInTheWayError: a component is a symbolic link.
        OSError: as the system says; ``filename`` is the path below the root.
    """
    current = os.dup(root)
    for depth, segment in enumerate(segments):
        try:
            below = _open_one(current, segment, "/".join(segments[: depth + 1]))
        finally:
            os.close(current)
        current = below
    return current


def make_below(root: int, segments: Sequence[str], descent: Descent) -> int:
    """As :func:`open_below`, making what is missing (0700) and noting it in ``descent``."""
    current = os.dup(root)
    for depth, segment in enumerate(segments):
        try:
            below = _make_one(current, segment, "/".join(segments[: depth + 1]), descent)
        finally:
            os.close(current)
        current = below
    return current


def retry_pruned(attempt: int, error: OSError) -> bool:
    """Whether ``error`` means that a folder was pruned from under us, worth another try."""
    return error.errno == errno.ENOENT and attempt + 1 < _RACES


def races() -> range:
    """The tries that are worth making."""
    return range(_RACES)


def sync_folder(descriptor: int) -> None:
    """Fsync a folder, where its file system can."""
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in _NO_FSYNC:
            raise


def _make_one(parent: int, name: str, shown: str, descent: Descent) -> int:
    try:
        return _open_one(parent, name, shown)
    except FileNotFoundError:
        with contextlib.suppress(FileExistsError):  # somebody else was faster
            os.mkdir(name, 0o700, dir_fd=parent)
            descent.note(parent, name)
        return _open_one(parent, name, shown)


def _open_one(parent: int, name: str, shown: str) -> int:
    try:
        return os.open(name, _FOLDER, dir_fd=parent)
    except OSError as error:
        # Linux says ENOTDIR to O_DIRECTORY on a link, others ELOOP: look what it is.
        if error.errno in {errno.ENOTDIR, errno.ELOOP} and is_link(name, parent):
            raise LinkInTheWayError(errno.ELOOP, "is a symbolic link", shown) from error
        raise OSError(error.errno, os.strerror(error.errno or 0), shown) from error


def is_link(name: str, parent: int) -> bool:
    """Whether ``name`` in the folder is a symbolic link."""
    try:
        return stat.S_ISLNK(os.stat(name, dir_fd=parent, follow_symlinks=False).st_mode)
    except FileNotFoundError:
        return False
