"""Ending sessions for a swap, where the server lets nobody in any more."""

from __future__ import annotations

import time

from guardian.adapters.postgres.connection import Connector
from guardian.adapters.postgres.swapping import _Ending
from guardian.errors import ConnectionFailedError


class _FullServer(Connector):
    """All slots are taken, as they are when somebody has to be disconnected."""

    def connect(self, database: str | None = None, purpose: str = "") -> None:  # type: ignore[override]
        raise ConnectionFailedError("server --to: sorry, too many clients already")


class _Swap:
    def __init__(self) -> None:
        self.why: str | None = None

    def powerless(self, why: str) -> None:
        self.why = why


def test_a_server_without_a_free_slot_is_told_and_no_traceback() -> None:
    """What a thread raises is an error of the test: pytest sees it as a warning."""
    swap = _Swap()
    connector = _FullServer("--to", "host=h dbname=d user=u")
    with _Ending(connector, "postgres", 1, "restore", swap) as ending:  # type: ignore[arg-type]
        ending.start()
        until = time.monotonic() + 30
        while swap.why is None and time.monotonic() < until:
            time.sleep(0.005)
    assert swap.why == "server --to: sorry, too many clients already"
