"""Folders in the making: each is given its name when it is whole; those of the dead are removed."""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

_log = logging.getLogger(__name__)

_YOUNG_SECONDS = 600.0
"""A folder that nobody holds yet may have been made this instant."""


@contextlib.contextmanager
def folder_in_the_making(parent: Path, prefix: str) -> Iterator[Path]:
    """A new folder ``<prefix>…`` in ``parent``, to be renamed within the block, else removed.

    It is locked for as long as this process lives, so that what a kill -9 leaves is known for what
    it is: the next who makes one there removes it.

    Raises:
        OSError: it cannot be made.
    """
    _sweep(parent, prefix)
    making = Path(tempfile.mkdtemp(prefix=prefix, dir=parent))
    try:
        holding = os.open(making, os.O_RDONLY | os.O_DIRECTORY)
        try:
            with contextlib.suppress(OSError):  # no locks on this file system: nothing is swept
                fcntl.flock(holding, fcntl.LOCK_EX | fcntl.LOCK_NB)
            yield making
        finally:
            os.close(holding)
    finally:
        shutil.rmtree(making, ignore_errors=True)


def _sweep(parent: Path, prefix: str) -> None:
    """Remove what nobody holds any more. What cannot be removed stays for the next time."""
    for path in parent.glob(f"{prefix}*"):
        with contextlib.suppress(OSError):
            if path.is_symlink() or time.time() - path.stat().st_mtime < _YOUNG_SECONDS:
                continue
            holding = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
            try:
                fcntl.flock(holding, fcntl.LOCK_EX | fcntl.LOCK_NB)
                _log.info("removing %s, left behind by a process that died", path)
                shutil.rmtree(path, ignore_errors=True)
            finally:
                os.close(holding)
