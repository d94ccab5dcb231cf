"""One object being written to S3: in one request while it is small, in parts when it is not."""

from __future__ import annotations

import base64
import hashlib
import io
import logging
import queue
import threading
from collections.abc import Callable
from types import TracebackType
from typing import IO, TYPE_CHECKING, Self, cast

import stamina

from guardian.adapters.stores.retrying import is_transient
from guardian.adapters.stores.s3_records import Piece, WriteRequest
from guardian.adapters.stores.s3_settings import MAX_PARTS
from guardian.errors import GuardianError, StoreError
from guardian.model import StoredObject
from guardian.units import format_size

if TYPE_CHECKING:
    from guardian.adapters.stores.s3_api import S3Api

_log = logging.getLogger(__name__)

_live_lock = threading.Lock()
_live_uploads: set[str] = set()


def is_live(upload: str) -> bool:
    """Whether this process is writing that upload right now."""
    with _live_lock:
        return upload in _live_uploads


class CancelledSendError(OSError):
    """What a part's stream raises when the write was given up, so that sending ends at once."""


class PartStream(io.RawIOBase):
    """Part of a buffer as a file, without a copy of it. Raises once ``cancelled`` is set."""

    def __init__(self, view: memoryview, cancelled: threading.Event) -> None:
        super().__init__()
        self._view = view
        self._position = 0
        self._cancelled = cancelled

    def readable(self) -> bool:
        """Yes."""
        return True

    def seekable(self) -> bool:
        """Yes: a repeated request starts again."""
        return True

    def tell(self) -> int:
        """Position in the part."""
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Move; the end is at the end of what was filled in."""
        self._require_wanted()
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: len(self._view)}
        self._position = base[whence] + offset
        return self._position

    def readinto(self, buffer: memoryview | bytearray) -> int:  # type: ignore[override]
        """Copy the next bytes."""
        self._require_wanted()
        piece = self._view[self._position : self._position + len(buffer)]
        buffer[: len(piece)] = piece
        self._position += len(piece)
        return len(piece)

    def _require_wanted(self) -> None:
        if self._cancelled.is_set():
            raise CancelledSendError("the write was given up")


class PartQueue:
    """Sends parts in the background, out of a fixed number of buffers.

    Whoever fills buffers faster than they are sent waits: that is the back-pressure, and the bound
    on memory. Threads are daemons, so a server that hangs cannot keep the process from ending.
    """

    def __init__(
        self, send: Callable[[int, Piece], str], part_bytes: int, uploads: int, patience: float
    ) -> None:
        self._send = send
        self._patience = patience
        self._idle: queue.Queue[bytearray] = queue.Queue()
        self._jobs: queue.Queue[tuple[int, bytearray, int] | None] = queue.Queue()
        self._etags: dict[int, str] = {}
        self._error: BaseException | None = None
        self.cancelled = threading.Event()
        for _ in range(uploads):  # one buffer more is in the writer's hands
            self._idle.put(bytearray(part_bytes))
        self._threads = [
            threading.Thread(target=self._work, name="s3 upload", daemon=True)
            for _ in range(uploads)
        ]
        for thread in self._threads:
            thread.start()

    def swap(self, number: int, buffer: bytearray, size: int) -> bytearray:
        """Hand in a filled buffer, get an idle one. Raises what an earlier part failed with."""
        self._raise_error()
        self._jobs.put((number, buffer, size))
        idle = self._idle.get()
        self._raise_error()
        return idle

    def finish(self) -> list[str]:
        """Wait for all parts; their ETags in order."""
        self._join()
        self._raise_error()
        return [self._etags[number] for number in sorted(self._etags)]

    def cancel(self) -> None:
        """Give up; returns when no request is under way any more."""
        self.cancelled.set()
        self._join()

    def _join(self) -> None:
        for _ in self._threads:
            self._jobs.put(None)
        for thread in self._threads:
            thread.join()

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            number, buffer, size = job
            try:
                if self._error is None and not self.cancelled.is_set():
                    self._etags[number] = self._send_patiently(number, buffer, size)
            except BaseException as error:  # noqa: BLE001 - raised again in the writer's thread
                self._error = error
            self._idle.put(buffer)

    def _send_patiently(self, number: int, buffer: bytearray, size: int) -> str:
        """Send one part; again for a while when that fails for a reason that may pass."""
        for attempt in stamina.retry_context(
            on=lambda error: is_transient(error) and not self.cancelled.is_set(),
            attempts=None if self._patience else 1,
            timeout=self._patience or None,
            wait_initial=1.0,
            wait_max=10.0,
        ):
            with attempt:
                return self._send(number, piece_of(buffer, size, self.cancelled))
        raise AssertionError  # retry_context either returns or raises

    def _raise_error(self) -> None:
        if self._error is not None:
            raise self._error


class S3Writer:
    """Collects bytes into parts of one size. Holds one buffer, and more while parts are sent."""

    def __init__(
        self,
        api: S3Api,
        request: WriteRequest,
        *,
        part_bytes: int,
        uploads: int,
        part_patience: float,
        on_outgrown: Callable[[int], None],
    ) -> None:
        self._api = api
        self._request = request
        self._part_bytes = part_bytes
        self._uploads = uploads
        self._part_patience = part_patience
        self._on_outgrown = on_outgrown
        self._buffer = bytearray(part_bytes)  # untouched pages cost no memory
        self._filled = 0
        self._size = 0
        self._parts = 0
        self._upload: str | None = None
        self._queue: PartQueue | None = None
        self._asked_to_publish = False
        self._closed = False

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
        """Append; waits while all buffers are being sent."""
        self._require_open()
        with memoryview(data) as view:
            done = 0
            while done < len(view):
                if self._filled == self._part_bytes:
                    self._hand_in()
                count = min(self._part_bytes - self._filled, len(view) - done)
                self._buffer[self._filled : self._filled + count] = view[done : done + count]
                self._filled += count
                self._size += count
                done += count

    def commit(self) -> StoredObject:
        """Send the rest, make the object, and see that it has the right size."""
        self._require_open()
        key = self._request.key
        if self._request.exclusive and self._api.head(key) is not None:
            raise self._api.taken(key)  # some servers ignore If-None-Match in silence
        if self._queue is None or self._upload is None:
            self._asked_to_publish = True
            piece = piece_of(self._buffer, self._filled, threading.Event())
            self._api.put(self._request, piece)
        else:
            self._hand_in()
            etags = self._queue.finish()
            self._asked_to_publish = True
            self._api.finish_upload(self._request, self._upload, etags)
        stored = self._verified()
        self._close()
        return stored

    def abort(self) -> None:
        """Leave nothing behind, as far as the connection allows; the sweep does the rest."""
        if self._closed:
            return
        try:
            if self._queue is not None:
                self._queue.cancel()
            if self._upload is not None:
                self._api.abort_upload(self._request.key, self._upload)
            # A request whose answer was lost may have made the object all the same.
            if self._asked_to_publish and self._api.is_ours(self._request.key, self._request.token):
                self._api.delete(self._request.key)
        except GuardianError as error:
            level = logging.INFO if self._upload is None else logging.WARNING
            _log.log(level, "what was written of %s may stay: %s", self._request.key, error)
        finally:
            self._close()

    def _hand_in(self) -> None:
        """Give the filled buffer to the senders; begins the upload at the first one."""
        if self._queue is None:
            self._begin()
        if self._parts == MAX_PARTS:
            raise self._outgrown()
        self._parts += 1
        if self._queue is not None:
            self._buffer = self._queue.swap(self._parts, self._buffer, self._filled)
            self._filled = 0

    def _begin(self) -> None:
        key = self._request.key
        upload = self._api.begin_upload(self._request)
        with _live_lock:
            _live_uploads.add(upload)
        self._upload = upload

        def send(number: int, piece: Piece) -> str:
            return self._api.put_part(key, upload, number, piece)

        self._queue = PartQueue(send, self._part_bytes, self._uploads, self._part_patience)

    def _outgrown(self) -> StoreError:
        self._on_outgrown(self._size)
        return StoreError(
            f"store {self._api.store}: {self._request.key} outgrew the {MAX_PARTS} parts of "
            f"{format_size(self._part_bytes)} that it was expected to fit",
            mend="try again: the next try uses larger parts",
            transient=True,
        )

    def _verified(self) -> StoredObject:
        head = self._api.head(self._request.key)
        if head is None or head.size != self._size:
            found = "nothing" if head is None else f"{head.size} bytes"
            raise StoreError(
                f"store {self._api.store}: {self._request.key} was written with "
                f"{self._size} bytes, and the server shows {found}",
                mend="look whether somebody else writes or deletes there",
            )
        return StoredObject(self._request.key, head.size, head.modified_at, head.locked_until)

    def _close(self) -> None:
        self._closed = True
        self._buffer = bytearray()
        self._queue = None
        if self._upload is not None:
            with _live_lock:
                _live_uploads.discard(self._upload)

    def _require_open(self) -> None:
        if self._closed:
            raise ValueError(f"the writer of {self._request.key} is closed")


def piece_of(buffer: bytearray, size: int, cancelled: threading.Event) -> Piece:
    """The first ``size`` bytes of a buffer, to be sent. MD5 guards the way, nothing else."""
    view = memoryview(buffer)[:size]
    digest = hashlib.md5(view, usedforsecurity=False).digest()
    stream = PartStream(view, cancelled)
    return Piece(cast("IO[bytes]", stream), size, base64.b64encode(digest).decode())
