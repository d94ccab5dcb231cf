"""What is told of the daemon itself: events for the record, and crashes.

None of it raises: who has something to tell is in trouble already.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

from guardian.daemon.app import App
from guardian.daemon.crashes import CrashReporter
from guardian.daemon.state import State
from guardian.errors import CatalogError
from guardian.model import DatabaseRef, Event

_log = logging.getLogger(__name__)


class Telling:
    """Takes what there is to tell, from any thread. ``app`` gives the configuration of now."""

    def __init__(self, app: Callable[[], App], state: State, crashes: CrashReporter) -> None:
        self._app = app
        self._state = state
        self.crashes = crashes

    def event(
        self, kind: str, text: str, ref: DatabaseRef | None = None, server: str | None = None
    ) -> None:
        """For the record, in the catalog."""
        app = self._app()
        now = app.clock.now()
        try:
            app.catalog.record_event(Event(now, kind, text, ref, server))
        except CatalogError as error:
            _log.warning("not recorded: %s: %s (%s)", kind, text, error)
            self._state.catalog_failed(now, str(error))

    def crash(self, where: str, error: BaseException) -> None:
        """An unexpected error in a job, a task, or anywhere else."""
        self.died(where, self.crashes.report(where, error))

    def went_well(self, where: str) -> None:
        """What has crashed there is over."""
        self._state.went_well(where)

    def died(self, where: str, text: str, ref: DatabaseRef | None = None) -> None:
        """The same, reported already by the process that it was in."""
        self._state.crashed(where, self._app().clock.now(), text)
        self.event("daemon.crash", f"{where}: {text}", ref)
