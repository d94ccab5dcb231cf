"""Health, metrics and the pages at ``service.listen``, for as long as the daemon lives.

An address that cannot be had stops no guard: it is tried again, and told of meanwhile.
"""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING

from guardian.config import Config
from guardian.daemon.sources import Live, make_sources
from guardian.daemon.telling import Telling
from guardian.errors import GuardianError

if TYPE_CHECKING:
    from guardian.web.server import WebServer

_log = logging.getLogger(__name__)


class Dashboard:
    """The web server of the configuration at hand. May be called from any thread."""

    def __init__(self, live: Live, tell: Telling) -> None:
        self._live = live
        self._tell = tell
        self._lock = threading.Lock()
        self._server: WebServer | None = None
        self._serves: tuple[object, ...] = ()
        self.problem: str | None = None
        """Why nobody is served, None when somebody is."""

    def tend(self) -> None:
        """Serve as the configuration has it now; to be called again after it changed, or failed."""
        with self._lock:
            wanted = _asked_for(self._live.app.config)
            if self._server is not None and wanted == self._serves:
                return
            self._stop()
            try:
                self._server, self._serves = self._start(), wanted
                self.problem = None
            except GuardianError as error:
                if self.problem is None:
                    _log.error("%s", error)
                self.problem = str(error)

    def stop(self) -> None:
        """Serve nobody any more."""
        with self._lock:
            self._stop()

    def _start(self) -> WebServer:
        # Flask and what it brings, 10 MB: after the guard has begun.
        from guardian.web.server import WebServer  # noqa: PLC0415

        section = self._live.app.config.service
        token = None if section.token is None else section.token.get_secret_value()
        sources = make_sources(self._live, self._tell.crash, self._tell.went_well)
        server = WebServer(section.listen, token, sources, hosts=section.hosts)
        server.start()
        _log.info("dashboard at %s", server.address)
        return server

    def _stop(self) -> None:
        server, self._server = self._server, None
        if server is not None:
            server.stop()


def _asked_for(config: Config) -> tuple[object, ...]:
    """What a change of makes it begin anew."""
    service = config.service
    return (
        service.listen,
        service.token,
        tuple(service.hosts),
        service.heading,
        config.escalation.query_text,
    )
