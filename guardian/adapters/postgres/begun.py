"""A stream of an archive that was begun for its head, and is used once more for its rows.

Opening a stream costs gpg a sixth of a second, in which it derives the key from the passphrase.
"""

from __future__ import annotations

import time
from collections import deque
from contextlib import ExitStack

from guardian.restore.archive import Toc, TocReader
from guardian.restore.ports import Archive

_BLOCK = 1 << 20
_PATIENCE_SECONDS = 15.0


class BegunStream:
    """Reads the archive's head, then all of it from its start."""

    def __init__(self, archive: Archive) -> None:
        self._opened = ExitStack()
        self._stream = self._opened.enter_context(archive.open())
        self._read: deque[bytes] = deque()
        self._began = time.monotonic()

    def __enter__(self) -> BegunStream:
        """Itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Nobody reads any more."""
        self._opened.close()

    @property
    def is_fresh(self) -> bool:
        """Whether it has not waited so long that a store may have lost patience."""
        return time.monotonic() - self._began < _PATIENCE_SECONDS

    def read_head(self) -> tuple[bytes, Toc]:
        """The head, and what it says.

        Raises:
            UnrestorableError, UnknownArchiveError: as TocReader; and what the stream raises.
        """
        reader = TocReader()
        while block := self._stream.read(_BLOCK):
            self._read.append(block)
            if (toc := reader.feed(block)) is not None:
                return reader.head, toc
        reader.close()
        raise AssertionError

    def read(self, size: int = -1, /) -> bytes:
        """What was read for the head, then the rest."""
        if not self._read:
            return self._stream.read(size)
        block = self._read.popleft()
        if 0 < size < len(block):
            self._read.appendleft(block[size:])
            return block[:size]
        return block
