"""Streams of stored parts that are opened ahead of time.

Opening one costs gpg a sixth of a second, in which it derives the key from the passphrase: that can
be while a server starts. And a stream that was opened for its head is read from its start again.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from typing import TypeVar

from guardian.errors import GuardianError
from guardian.model import Part
from guardian.ports import Readable

PATIENCE_SECONDS = 15.0
"""A store may have lost patience with a stream that nobody read for so long."""
MOST = 4
"""So many wait at once at most: each holds a few megabytes, and a process of gpg."""

_Seen = TypeVar("_Seen")
_Open = Callable[[Part], AbstractContextManager[Readable]]


class StreamsAhead:
    """Opens parts, and keeps streams that are to be used soon. For use by several threads."""

    def __init__(self, open_part: _Open) -> None:
        self._open_part = open_part
        self._waiting: deque[tuple[Part, BegunStream]] = deque()
        self._lock = threading.Lock()

    def begin(self, part: Part) -> None:
        """Open one now. What is wrong with it is told to whoever opens it in earnest."""
        with suppress(GuardianError):
            self._keep(part, BegunStream(self._open_part(part)))

    @contextmanager
    def open(self, part: Part) -> Iterator[Readable]:
        """Read a part from its start."""
        begun = self._take(part)
        if begun is None:
            with self._open_part(part) as stream:
                yield stream
            return
        try:
            yield begun
        finally:
            begun.close()

    def look(self, part: Part, see: Callable[[Readable], _Seen]) -> _Seen:
        """Let ``see`` read the part's beginning; the stream is kept, to be read from its start."""
        begun = self._take(part) or BegunStream(self._open_part(part))
        begun.remember()
        try:
            seen = see(begun)
            begun.rewind()
        except BaseException:
            begun.close()
            raise
        self._keep(part, begun)
        return seen

    def close(self) -> None:
        """Nobody wants those any more that still wait."""
        with self._lock:
            waiting, self._waiting = self._waiting, deque()
        for _, begun in waiting:
            begun.close()

    def _keep(self, part: Part, begun: BegunStream) -> None:
        with self._lock:
            if len(self._waiting) < MOST:
                self._waiting.append((part, begun))
                return
        begun.close()

    def _take(self, part: Part) -> BegunStream | None:
        with self._lock:
            stale = [one for one in self._waiting if not one[1].is_fresh]
            for one in stale:
                self._waiting.remove(one)
            found = next((one for one in self._waiting if one[0] == part), None)
            if found is not None:
                self._waiting.remove(found)
        for _, begun in stale:
            begun.close()
        return None if found is None else found[1]


class BegunStream:
    """An open stream, of which what was read can be read again."""

    def __init__(self, opening: AbstractContextManager[Readable]) -> None:
        self._opened = ExitStack()
        self._stream = self._opened.enter_context(opening)
        self._began = time.monotonic()
        self._read: list[bytes] = []
        self._again: deque[bytes] = deque()
        self._remembers = False

    @property
    def is_fresh(self) -> bool:
        """Whether it has not waited so long that a store may have lost patience."""
        return time.monotonic() - self._began < PATIENCE_SECONDS

    def remember(self) -> None:
        """Keep what is read from now on."""
        self._remembers = True

    def rewind(self) -> None:
        """Read again what was kept; it is kept no longer."""
        self._again.extendleft(reversed(self._read))
        self._read.clear()
        self._remembers = False

    def read(self, size: int = -1, /) -> bytes:
        """What is read again, then the rest."""
        block = self._next(size)
        if self._remembers and block:
            self._read.append(block)
        return block

    def _next(self, size: int) -> bytes:
        if not self._again:
            return self._stream.read(size)
        block = self._again.popleft()
        if 0 < size < len(block):
            self._again.appendleft(block[size:])
            return block[:size]
        return block

    def close(self) -> None:
        """Nobody reads any more."""
        self._opened.close()
