"""Real receivers on loopback: a web server and a mail server that can fail in every way.

A receiver keeps what came to it. ``manner`` says how it behaves from now on; what hangs is let go
when the receiver ends.
"""

from __future__ import annotations

import socket
import ssl
import struct
import sys
import threading
import traceback
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from enum import StrEnum
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self


class Manner(StrEnum):
    """How a receiver behaves."""

    WELL = "well"
    """It answers as the service does."""
    HANG = "hang"
    """It takes what is sent and says nothing."""
    DRIP = "drip"
    """It answers a byte now and then, for ever."""
    RESET = "reset"
    """The connection is reset when all has been sent."""
    HANG_UP = "hang up"
    """The connection is closed without a word."""
    GARBAGE = "garbage"
    """It speaks another protocol."""


UNREACHABLE_MANNERS = [each for each in Manner if each is not Manner.WELL]


@dataclass(frozen=True)
class Request:
    """What a client asked for; names of headers in lower case."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def everything(self) -> bytes:
        """All of it, to be quoted back or looked through."""
        head = "".join(f"{name}: {value}\n" for name, value in self.headers.items())
        return f"{self.method} {self.path}\n{head}\n".encode() + self.body


@dataclass(frozen=True)
class Answer:
    """What it gets."""

    status: int
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)


class WebReceiver:
    """An HTTP(S) server. ``decide`` makes the answer to a request; it may be replaced."""

    def __init__(
        self, decide: Callable[[Request], Answer], *, tls: ssl.SSLContext | None = None
    ) -> None:
        self.decide = decide
        self.manner = Manner.WELL
        self.requests: list[Request] = []
        self._over = threading.Event()
        self._server = QuietServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        self._server.block_on_close = False
        self._tls = tls
        self.port = int(self._server.server_address[1])
        self.host = f"localhost:{self.port}"
        self.url = f"{'https' if tls else 'http'}://{self.host}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._over.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
        if self._server.errors:
            raise AssertionError(self._server.errors[0])

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def setup(self) -> None:
                if outer._tls is not None:
                    self.request.settimeout(10)
                    self.request = outer._tls.wrap_socket(self.request, server_side=True)
                super().setup()

            def finish(self) -> None:
                super().finish()
                if outer._tls is not None:  # the server knows only what it was wrapped round
                    self.request.close()

            def handle(self) -> None:
                with suppress(OSError):  # the client has gone
                    super().handle()

            def answer(self) -> None:
                length = int(self.headers.get("Content-Length") or 0)
                headers = {name.lower(): value for name, value in self.headers.items()}
                request = Request(self.command, self.path, headers, self.rfile.read(length))
                outer.requests.append(request)
                self.close_connection = True
                if outer.manner is not Manner.WELL:
                    misbehave(self.connection, outer.manner, outer._over)
                    return
                answer = outer.decide(request)
                self.send_response_only(answer.status)
                for name, value in answer.headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(answer.body)))
                self.send_header("Connection", "close")
                self.end_headers()
                self.wfile.write(answer.body)

            do_GET = do_POST = answer  # noqa: N815

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        return Handler


class QuietServer(ThreadingHTTPServer):
    """A failed handshake is no news: it is what some tests are about. Any other error is kept."""

    def __init__(self, *arguments: Any) -> None:
        self.errors: list[str] = []
        super().__init__(*arguments)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Keep what is a mistake in the test itself."""
        if not isinstance(sys.exception(), OSError):
            self.errors.append(traceback.format_exc())


def misbehave(connection: socket.socket, manner: Manner, over: threading.Event) -> None:
    """Treat a connection in that manner."""
    if manner is Manner.HANG:
        over.wait(60)
    elif manner is Manner.DRIP:
        connection.sendall(b"HTTP/1.1 200 OK\r\nX: ")
        while not over.wait(0.02):
            connection.sendall(b"x")
    elif manner is Manner.RESET:
        # With nothing left to linger for, closing sends a reset.
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        connection.close()
    elif manner is Manner.GARBAGE:
        connection.sendall(b"\x00\xff\xfe-ERR this is no such service\r\n\r\n\x80")


def closed_port() -> int:
    """A port at which nobody listens."""
    with socket.socket() as once:
        once.bind(("127.0.0.1", 0))
        return int(once.getsockname()[1])
