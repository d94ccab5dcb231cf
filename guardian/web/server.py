"""The server: listens, answers in a few threads, and stops within seconds."""

from __future__ import annotations

import errno
import socket
import threading
import time
from collections.abc import Collection
from contextlib import ExitStack
from typing import Any

import waitress.server
import waitress.task
from waitress import wasyncore
from waitress.channel import HTTPChannel
from waitress.parser import HTTPRequestParser, ParsingError

from guardian.errors import GuardianError
from guardian.web.application import create_app
from guardian.web.ports import Sources

_THREADS = 6
_SLOW_CLIENT_SECONDS = 30
_MOST_CONNECTIONS = 200
_LARGEST_REQUEST = 64 << 10
_SLOW_REQUEST_SECONDS = 30.0
"""A request must have arrived by then, however busily its bytes trickle in."""
_STOP_SECONDS = 5
_LOOP_SECONDS = 10
"""Between two looks for clients that are too slow; everything else wakes the loop."""


class ListenError(GuardianError):
    """The address of ``service.listen`` cannot be had."""


class _StrictParser(HTTPRequestParser):
    """Refuses what two servers in a row may understand in two ways (RFC 9112, 6.1 and 6.3).

    waitress believes the chunks where there is a length as well: a proxy in front of us that
    believes the length sees other requests than we do.
    """

    def parse_header(self, header_plus: bytes) -> None:
        """As waitress does; refused with 400 where the end of the body is told twice."""
        super().parse_header(header_plus)
        names = [line.partition(b":")[0].strip().lower() for line in header_plus.split(b"\r\n")[1:]]
        if b"transfer-encoding" not in names:
            return
        if self.version != "1.1":
            raise ParsingError("Transfer-Encoding is not of this version")
        if names.count(b"transfer-encoding") > 1 or b"content-length" in names:
            raise ParsingError("the end of the body is told twice")


class _StrictChannel(HTTPChannel):
    """A connection whose requests must be clear."""

    parser_class = _StrictParser


class WebServer:
    """Health, metrics and dashboard at one address. ``start`` once, ``stop`` once.

    ``listen`` is ``host:port``, ``[::1]:port`` for IPv6; port 0 takes any free one. ``token`` is
    what people log in with; None only on loopback. ``hosts`` are the names that we answer to, where
    not just any (see guardian.web.access).
    """

    def __init__(
        self,
        listen: str,
        token: str | None,
        sources: Sources,
        *,
        hosts: Collection[str] = (),
    ) -> None:
        host, _, port = listen.rpartition(":")
        self._host = host.strip("[]")
        self._port = int(port)
        self._listen = listen
        self._token = token
        self._sources = sources
        self._hosts = hosts
        self._map: dict[int, Any] = {}
        self._begun: dict[HTTPChannel, tuple[Any, float]] = {}
        self._ending = threading.Event()
        self._closing = threading.Lock()
        self._thread: threading.Thread | None = None

    @property
    def port(self) -> int:
        """The port, also where it was left to the system; after ``start``."""
        return self._port

    @property
    def address(self) -> str:
        """Where people find the dashboard from this host."""
        everywhere = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}  # nosec B104 # noqa: S104 - not bound
        host = everywhere.get(self._host, self._host)
        return f"http://{f'[{host}]' if ':' in host else host}:{self._port}"

    def start(self) -> None:
        """Listen, and answer from threads of our own. Raises ListenError."""
        with ExitStack() as undo:
            try:
                sockets = self._bind(undo)
            except OSError as error:
                raise ListenError(
                    f"cannot listen on {self._listen}: {error.strerror or error}",
                    mend="stop what listens there (ss -ltnp), or choose another service.listen",
                ) from error
            app = create_app(self._sources, self._token, port=self._port, hosts=self._hosts)
            server = waitress.server.create_server(
                app,
                map=self._map,
                sockets=sockets,
                threads=_THREADS,
                ident=None,
                channel_timeout=_SLOW_CLIENT_SECONDS,
                connection_limit=_MOST_CONNECTIONS,
                max_request_body_size=_LARGEST_REQUEST,
                max_request_header_size=_LARGEST_REQUEST,
                clear_untrusted_proxy_headers=False,  # read for the scheme alone
            )
            for one in self._map.values():
                if isinstance(one, waitress.server.BaseWSGIServer):
                    one.channel_class = _StrictChannel
            undo.pop_all()
        self._thread = threading.Thread(
            target=self._serve, args=(server.task_dispatcher,), name="web", daemon=True
        )
        self._thread.start()

    def stop(self) -> None:
        """Close the address; requests under way have a few seconds. Fine when not started."""
        if self._thread is None:
            return
        self._ending.set()
        with self._closing:  # or a trigger's number might by now be that of another file
            for one in list(self._map.values()):
                if isinstance(one, waitress.server.BaseWSGIServer):
                    one.pull_trigger()  # wakes the loop
        self._thread.join(2 * _STOP_SECONDS)
        self._thread = None

    def _serve(self, dispatcher: waitress.task.ThreadedTaskDispatcher) -> None:
        """The loop over all sockets. What belongs to it is closed by its own thread alone."""
        while not self._ending.is_set():
            wasyncore.loop(timeout=_LOOP_SECONDS, use_poll=True, map=self._map, count=1)
            self._end_trickles()
        dispatcher.shutdown(timeout=_STOP_SECONDS)
        with self._closing:
            wasyncore.close_all(self._map)

    def _end_trickles(self) -> None:
        """Close what has been sending one request for too long: each holds one of few places.

        waitress lets go of who is silent; a byte now and then would keep a place for ever.
        """
        now = time.monotonic()
        arriving = {
            one: one.request
            for one in list(self._map.values())
            if isinstance(one, HTTPChannel) and one.request is not None
        }
        self._begun = {
            channel: known
            if (known := self._begun.get(channel)) is not None and known[0] is request
            else (request, now)
            for channel, request in arriving.items()
        }
        for channel, (_, begun) in self._begun.items():
            if now - begun > _SLOW_REQUEST_SECONDS:
                channel.handle_close()

    def _bind(self, undo: ExitStack) -> list[socket.socket]:
        """A socket for each address that the host has; ``localhost`` may have two."""
        found = socket.getaddrinfo(
            self._host or None, self._port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
        sockets = []
        failure: OSError | None = None
        for family, _, _, _, address in dict.fromkeys(found):
            try:
                sockets.append(undo.enter_context(self._bound(family, address)))
            except OSError as error:
                failure = failure or error
                if error.errno != errno.EADDRNOTAVAIL:
                    break
            else:
                self._port = sockets[-1].getsockname()[1]
        if failure is not None and (not sockets or failure.errno != errno.EADDRNOTAVAIL):
            raise failure
        return sockets

    def _bound(self, family: int, address: tuple[Any, ...]) -> socket.socket:
        one = socket.socket(family, socket.SOCK_STREAM)
        try:
            one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                one.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            one.bind((address[0], self._port, *address[2:]))
        except BaseException:
            one.close()
            raise
        return one
