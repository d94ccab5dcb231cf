"""Who is the active daemon: a lease in the catalog, so that of two on one catalog one waits.

It differs from the lease of a backup (guardian.backup.lease) in what its loss means. Only when the
catalog says that another one has it does this daemon step down. While the catalog cannot be used,
nobody else can take it either: then the guard goes on, and alerts leave without being recorded.
"""

from __future__ import annotations

import logging
import threading
from contextlib import suppress
from datetime import timedelta
from enum import StrEnum

from guardian.errors import AlreadyRunningError, CatalogError
from guardian.model import Holder, Lease
from guardian.ports import Catalog

_log = logging.getLogger(__name__)

LEASE = "daemon"
TTL = timedelta(seconds=30)
RENEW_EVERY = TTL / 3
LOOK_EVERY = TTL / 10
"""How often a standby looks whether the lease is to be had."""


class Standing(StrEnum):
    """What a renewal found."""

    HELD = "held"
    UNSURE = "unsure"
    """The catalog cannot be used."""
    LOST = "lost"
    """Another daemon has taken over."""


class Tenure:
    """Our claim on the lease ``daemon``. May be used from any thread."""

    def __init__(self, catalog: Catalog, holder: Holder, *, ttl: timedelta = TTL) -> None:
        self._catalog = catalog
        self._holder = holder
        self._ttl = ttl
        self._lock = threading.Lock()
        self._lease: Lease | None = None
        self.rival: str | None = None
        """Who has it, as last told."""
        self.error = ""
        """Why the latest renewal was unsure."""

    def claim(self) -> bool:
        """Try to take it; False while another living daemon has it.

        Raises:
            CatalogError: the catalog cannot be used.
        """
        with self._lock:
            try:
                self._lease = self._catalog.acquire(LEASE, self._holder, self._ttl)
            except AlreadyRunningError:
                held = [one for one in self._catalog.leases(LEASE) if one.name == LEASE]
                self.rival = str(held[0].holder) if held else self.rival
                return False
            self.rival = None
            return True

    def renew(self) -> Standing:
        """Prolong it. Raises nothing.

        One that lapsed and that nobody took is ours again.
        """
        with self._lock:
            if self._lease is None:
                return Standing.LOST
            try:
                self._lease = self._catalog.renew(self._lease, self._ttl)
            except AlreadyRunningError as error:
                _log.error("%s", error)
                self._lease = None
                return Standing.LOST
            except CatalogError as error:
                self.error = str(error)
                return Standing.UNSURE
            return Standing.HELD

    def give_up(self) -> None:
        """Give it back, so that a standby takes over at once. Raises nothing."""
        with self._lock:
            lease, self._lease = self._lease, None
            if lease is not None:
                with suppress(CatalogError):
                    self._catalog.release(lease)
