"""Keeping a lease: it is taken, renewed in the background while the work lasts, and given back.

The catalog decides who holds a lease; this room only keeps ours alive and notices its loss.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Callable
from datetime import timedelta
from types import TracebackType
from typing import Self

from guardian.errors import AlreadyRunningError, CatalogError
from guardian.model import Holder, Lease
from guardian.ports import Catalog

READING = "read:"
"""Who holds ``read:<id>`` reads that backup; pruning takes it itself before it deletes."""

_log = logging.getLogger(__name__)

_PATIENCE_SECONDS = 10.0
"""How long leaving waits for a renewal under way before it gives up on the catalog."""


class LeaseKeeper:
    """Holds the lease ``name`` for the length of a ``with`` block.

    A daemon thread renews every third of ``ttl``. While the catalog cannot be reached the lease is
    still ours until it lapses, so only then, or when the catalog says that somebody else has it,
    ``lost`` is set and ``on_lost`` called (once, on a thread of ours): the work must end then.

    ``monotonic`` gives seconds that never go backwards.
    """

    def __init__(
        self,
        catalog: Catalog,
        name: str,
        holder: Holder,
        ttl: timedelta,
        *,
        on_lost: Callable[[], None] | None = None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        if ttl <= timedelta(0):
            raise ValueError("a lease needs a ttl above zero")
        self.lost = threading.Event()
        self._catalog = catalog
        self._name = name
        self._holder = holder
        self._ttl = ttl
        self._on_lost = on_lost
        self._monotonic = monotonic
        self._stopping = threading.Event()
        self._losing = threading.Lock()
        self._renewer = threading.Thread(target=self._renew, name=f"lease {name}", daemon=True)
        self._watcher = threading.Thread(target=self._watch, name=f"lapse {name}", daemon=True)
        self._lease: Lease | None = None
        self._lapses_at = 0.0

    @property
    def lease(self) -> Lease:
        """The lease as last renewed."""
        if self._lease is None:
            raise RuntimeError(f"the lease {self._name} is taken on entering the with block")
        return self._lease

    def __enter__(self) -> Self:
        """Take the lease.

        Raises:
            AlreadyRunningError: somebody else holds it; the message names the holder.
            CatalogError: the catalog cannot be used.
        """
        # Counted from before the call, so that we never think we have it for longer than we do.
        asked_at = self._monotonic()
        self._lease = self._catalog.acquire(self._name, self._holder, self._ttl)
        self._lapses_at = asked_at + self._ttl.total_seconds()
        self._renewer.start()
        self._watcher.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop renewing and give the lease back.

        A catalog that is away now is no reason to fail work that is done: the lease lapses.
        """
        self._stopping.set()
        self._watcher.join()
        self._renewer.join(timeout=min(_PATIENCE_SECONDS, self._ttl.total_seconds()))
        if self._renewer.is_alive():
            _log.warning("%s: the catalog does not answer; the lease is left to lapse", self._name)
            return
        with contextlib.suppress(CatalogError):
            self._catalog.release(self.lease)

    def check(self) -> None:
        """Raise AlreadyRunningError when the lease was lost."""
        if self.lost.is_set():
            raise AlreadyRunningError(
                f"{self._name}: the lease was lost, another process may be at it",
                mend="look who holds it, and try again when they are done",
            )

    def beat(self) -> None:
        """Renew once. The thread calls this; it raises nothing."""
        asked_at = self._monotonic()
        try:
            self._lease = self._catalog.renew(self.lease, self._ttl)
        except AlreadyRunningError as error:
            self._lose(str(error))
        except CatalogError as error:
            _log.warning("%s: the lease could not be renewed: %s", self._name, error)
            self.look()
        else:
            self._lapses_at = asked_at + self._ttl.total_seconds()

    def look(self) -> None:
        """Notice whether the lease has lapsed. The thread calls this; it raises nothing."""
        if self._monotonic() >= self._lapses_at:
            self._lose("it lapsed, for the catalog could not be used")

    def _renew(self) -> None:
        while not self._stopping.wait(self._ttl.total_seconds() / 3) and not self.lost.is_set():
            self.beat()

    def _watch(self) -> None:
        """Apart from the renewals, because one of those may hang in a catalog that hangs."""
        while not self._stopping.wait(self._rest()) and not self.lost.is_set():
            self.look()

    def _rest(self) -> float:
        """Seconds until the lease may lapse; never so few that waiting becomes spinning."""
        return max(self._lapses_at - self._monotonic(), self._ttl.total_seconds() / 100)

    def _lose(self, why: str) -> None:
        with self._losing:
            if self.lost.is_set():
                return
            self.lost.set()
        _log.error("%s: the lease is lost: %s", self._name, why)
        if self._on_lost is not None:
            self._on_lost()
