"""One part on its way: source → compress → encrypt → every store, counted and hashed.

The whole way runs in a worker thread, so that the main thread stays free to hear of Ctrl-C, of a
deadline and of a lost lease, and can then :meth:`Sealing.cancel`.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Sequence
from datetime import timedelta

from guardian.backup.lanes import Fanout, Lane
from guardian.errors import EncryptionError
from guardian.model import Part, PartKind
from guardian.ports import Compressor, Encryptor, Readable


class Sealing:
    """One part being sealed.

    ``finish`` is asked, after the last byte, whether the source was whole. ``key`` is where it
    goes in every store, the last piece of it its name. ``stop`` makes the source end early.
    """

    def __init__(
        self,
        source: Readable,
        *,
        kind: PartKind,
        key: str,
        lanes: Sequence[Lane],
        compressor: Compressor,
        encryptor: Encryptor,
        finish: Callable[[], None],
        stop: Callable[[], None] = lambda: None,
        advance: Callable[[int], None] = lambda _: None,
        expected_bytes: int | None = None,
        stall_timeout: timedelta = timedelta(minutes=10),
    ) -> None:
        self._source = _Counting(source, advance)
        self._kind = kind
        self._key = key
        self._compressor = compressor
        self._encryptor = encryptor
        self._finish = finish
        self._stop = stop
        self._fanout = Fanout(
            lanes, key, expected_bytes=expected_bytes, stall_timeout=stall_timeout
        )
        self._digest = hashlib.sha256()
        self._stored_bytes = 0
        self._part: Part | None = None
        self._error: BaseException | None = None
        # Not Thread.join: until Python 3.12 a signal's exception in it marks the thread as ended.
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"seal {kind.value}", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def wait(self, seconds: float) -> bool:
        """Wait at most so long for the end; whether it has come."""
        return self._thread.ident is None or self._done.wait(seconds)

    def cancel(self) -> None:
        """Stop the source, and let nothing more be published."""
        self._source.stop()
        self._stop()

    def check(self) -> None:
        """Raise what went wrong, as soon as it is known."""
        if self._error is not None:
            raise self._error

    def result(self) -> Part:
        """The part, after the end; raises what went wrong."""
        self.check()
        assert self._part is not None
        return self._part

    def _run(self) -> None:
        try:
            with self._fanout:
                self._encryptor.encrypt(self._compressor.compress(self._source), self._take)
                self._finish()
                self._source.require_whole()
                self._fanout.commit(self._stored_bytes)
            self._part = Part(
                name=self._key.rsplit("/", 1)[-1],
                kind=self._kind,
                stored_bytes=self._stored_bytes,
                plain_bytes=self._source.count,
                sha256=self._digest.hexdigest(),
            )
        except BaseException as error:  # noqa: BLE001 - carried over to the thread that waits
            self._error = error
        finally:
            self._done.set()

    def _take(self, data: bytes) -> None:
        self._digest.update(data)
        self._stored_bytes += len(data)
        self._fanout.write(data)


class _Counting:
    """Counts what goes by; once stopped it ends, and says that it did not end by itself."""

    def __init__(self, source: Readable, advance: Callable[[int], None]) -> None:
        self.count = 0
        self._source = source
        self._advance = advance
        self._stopped = threading.Event()
        self._ended = False

    def read(self, size: int = -1, /) -> bytes:
        if self._stopped.is_set():
            return b""
        data = self._source.read(size)
        self._ended = not data and size != 0
        self.count += len(data)
        self._advance(len(data))
        return data

    def stop(self) -> None:
        self._stopped.set()

    def require_whole(self) -> None:
        if self._stopped.is_set():
            raise InterruptedError("stopped before its end")
        if not self._ended:
            raise EncryptionError("the source was not read to its end")
