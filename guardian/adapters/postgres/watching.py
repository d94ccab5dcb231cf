"""Eyes and hands on one server: looks at its sessions and locks, signals one session at a time."""

from __future__ import annotations

from collections.abc import Collection
from datetime import timedelta

from guardian.adapters.postgres.connection import Connector
from guardian.watch.model import Action, Observation, Session
from guardian.watch.ports import SignalResult, WatchFacts


class PostgresWatcher:
    """A :class:`~guardian.watch.ports.Watcher` over two kept connections, opened at first use.

    They take turns, so that the one in reserve is known to live: when all slots of the server are
    taken, what is still open serves for both looking and signalling. ``own_roles`` are roles
    beside the DSN's whose sessions are ours when they carry our application name.
    """

    def __init__(
        self,
        connector: Connector,
        *,
        timeout: timedelta = timedelta(seconds=5),
        patience: timedelta = timedelta(seconds=5),
        own_roles: Collection[str] = (),
    ) -> None:
        raise NotImplementedError

    @property
    def server(self) -> str:
        """Its name in the config."""
        raise NotImplementedError

    @property
    def facts(self) -> WatchFacts | None:
        """As found when it last connected; None before that."""
        raise NotImplementedError

    def observe(self) -> Observation:
        """Look once; see the port."""
        raise NotImplementedError

    def signal(
        self, session: Session, action: Action, *, whatever_it_does: bool = False
    ) -> SignalResult:
        """Cancel or terminate, if it still does what was observed; see the port."""
        raise NotImplementedError

    def close(self) -> None:
        """Hang up. A later call connects again."""
        raise NotImplementedError
