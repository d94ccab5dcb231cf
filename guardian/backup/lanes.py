"""One part to every store at once: a thread and a bounded queue each, and an outcome each.

A store that fails, or stands still, leaves the others alone. Nothing becomes visible in any store
before :meth:`Fanout.commit`, which the caller reaches only when the whole part is known good.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from types import TracebackType

from guardian.errors import Cause, GuardianError, StoreError
from guardian.ports import Store, StoreWriter

_QUEUED_BLOCKS = 6
_ABORT_SECONDS = 30
"""How long to wait for a store to take back what was not committed."""
_END = None


@dataclass(slots=True)
class Lane:
    """One store during one backup. ``error`` is set once, by what put it out of the race.

    ``hanging`` says that a write was given up while it hung: it may still come through, so that
    nothing of the backup must be removed yet; the next run settles it. ``landing`` says that it was
    a commit: what it publishes must not land among the parts of another try of the same backup.
    """

    store: Store
    error: GuardianError | None = None
    written: list[str] = field(default_factory=list)
    committed: bool = False
    hanging: bool = False
    landing: bool = False
    locked_until: datetime | None = None

    @property
    def alive(self) -> bool:
        """Whether this store is still in the race."""
        return self.error is None

    def fail(self, error: GuardianError) -> None:
        """Take it out; the first reason stays."""
        if self.error is None:
            self.error = error


class Fanout:
    """A part being written under one key to all lanes that are alive.

    Leaving the block without :meth:`commit` aborts the part everywhere.
    """

    def __init__(
        self,
        lanes: Sequence[Lane],
        key: str,
        *,
        expected_bytes: int | None = None,
        stall_timeout: timedelta = timedelta(minutes=10),
    ) -> None:
        self._lanes = lanes
        self._pumps = [
            _Pump(lane, key, expected_bytes, stall_timeout) for lane in lanes if lane.alive
        ]

    def __enter__(self) -> Fanout:
        """Start the threads."""
        for pump in self._pumps:
            pump.thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Abort what was not committed."""
        for pump in self._pumps:
            pump.stop()

    def write(self, data: bytes) -> None:
        """Hand a block to every lane; blocks while a live lane's queue is full.

        Raises:
            StoreError: when no lane is left.
        """
        for pump in self._pumps:
            pump.put(data)
        self._require_one()

    def commit(self, size: int) -> None:
        """Make the part durable and visible wherever all ``size`` bytes arrived.

        Raises:
            StoreError: when no lane is left.
        """
        for pump in self._pumps:
            pump.finish(size)
        for pump in self._pumps:
            pump.wait()
        self._require_one()

    def _require_one(self) -> None:
        if not any(pump.lane.alive for pump in self._pumps):
            raise no_store_left(self._lanes)


class _Pump:
    """A lane's thread: takes blocks from its queue, so that lanes do not wait for each other."""

    def __init__(
        self, lane: Lane, key: str, expected_bytes: int | None, stall_timeout: timedelta
    ) -> None:
        self.lane = lane
        self._key = key
        self._expected_bytes = expected_bytes
        self._stall_timeout = stall_timeout
        self._queue: queue.Queue[bytes | None] = queue.Queue(_QUEUED_BLOCKS)
        self._stopped = threading.Event()
        self._size: int | None = None
        self._steps = 0  # blocks written so far: what shows that the store still moves
        self._whole = False
        self._stalled = False
        # Not Thread.join: until Python 3.12 a signal's exception in it marks the thread as ended.
        self._done = threading.Event()
        self.thread = threading.Thread(
            target=self._run, name=f"store {lane.store.name}", daemon=True
        )

    def put(self, data: bytes | None) -> None:
        if not self.lane.alive:
            return
        try:
            self._queue.put(data, timeout=self._stall_timeout.total_seconds())
        except queue.Full:
            self._give_up()

    def _give_up(self) -> None:
        self._stopped.set()
        self._stalled = True
        self.lane.fail(
            StoreError(
                f"store {self.lane.store.name} took no data for "
                f"{self._stall_timeout.total_seconds():.0f}s",
                mend="check its network or disk",
                transient=True,
            )
        )

    def finish(self, size: int) -> None:
        self._size = size
        self.put(_END)

    def wait(self) -> None:
        """Until the part is committed, or the store has failed or not moved for too long."""
        while self.lane.alive and not self._done.is_set():
            steps = self._steps
            moved = self._done.wait(self._stall_timeout.total_seconds())
            if not moved and self._steps == steps:
                self._give_up()
        if self.lane.alive and not self._whole:
            self.lane.fail(StoreError(f"store {self.lane.store.name} did not finish {self._key}"))

    def stop(self) -> None:
        """Abort unless finished. Does not wait long for a store that hangs: it is a daemon."""
        if self._done.is_set() or self.thread.ident is None:
            return
        self._stopped.set()
        while True:  # make room, so that the end mark is seen
            try:
                self._queue.put_nowait(_END)
                break
            except queue.Full:
                self._discard()
        if not self._stalled:  # else it hangs, and we have waited long enough
            self._done.wait(min(_ABORT_SECONDS, self._stall_timeout.total_seconds()))
        if not self._done.is_set():  # only ever set: parts that are sealed at once share the lane
            self.lane.hanging = True
            self.lane.landing = self.lane.landing or self._key in self.lane.written

    def _discard(self) -> None:
        try:
            self._queue.get_nowait()
        except queue.Empty:
            return

    def _run(self) -> None:
        try:
            self._work()
        finally:
            self._done.set()

    def _work(self) -> None:
        try:
            expected = _expected(self.lane.store, self._expected_bytes)
            with self.lane.store.open_writer(self._key, expected_bytes=expected) as writer:
                if self._pump(writer):
                    self.lane.written.append(self._key)  # a commit that fails may have been made
                    self._require_size(writer.commit().size)
                    self._whole = True
        except GuardianError as error:
            self.lane.fail(error)
        except Exception as error:  # noqa: BLE001 - a store's defect must not spoil the others
            self.lane.fail(
                StoreError(f"store {self.lane.store.name}: {type(error).__name__}: {error}")
            )
        while not self.lane.alive and self._queue.qsize():
            self._discard()  # wake a put() that waits for room

    def _require_size(self, size: int) -> None:
        if size != self._size:
            raise StoreError(
                f"store {self.lane.store.name} kept {size} of {self._size} bytes of {self._key}"
            )

    def _pump(self, writer: StoreWriter) -> bool:
        """Write until the end mark; True when the part is to be committed."""
        while (data := self._queue.get()) is not _END:
            if self._stopped.is_set():
                return False
            writer.write(data)
            self._steps += 1
        return not self._stopped.is_set() and self._size is not None


def _expected(store: Store, expected_bytes: int | None) -> int | None:
    """An estimate for sizing. Negative marks a guess, which must not make a disk look full."""
    if expected_bytes is None or expected_bytes >= 0:
        return expected_bytes
    return None if store.free_bytes() is not None else -expected_bytes


def no_store_left(lanes: Sequence[Lane]) -> GuardianError:
    """The error of a part that no store took, in the words of each."""
    errors = [lane.error for lane in lanes if lane.error is not None]
    if not errors:
        return StoreError("no store is configured to write to")
    causes = {error.cause for error in errors}
    first = errors[0]
    return StoreError(
        "; ".join(error.message for error in errors),
        mend=first.mend,
        cause=first.cause if len(causes) == 1 else Cause.STORE,
        transient=any(error.transient for error in errors),
    )
