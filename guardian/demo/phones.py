"""The phones of the demo's people: a web hook for each, on loopback, that tells when it rings."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self

_MOST_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Ring:
    """One message that reached somebody: ``document`` is what the web hook was given."""

    person: str
    document: Mapping[str, Any]

    @property
    def kind(self) -> str:
        """Why it rang, such as ``escalation``."""
        return str(self.document.get("kind", ""))

    @property
    def text(self) -> str:
        """What it shows."""
        return str(self.document.get("headline") or self.document.get("title") or "")


class Phones:
    """Takes messages under ``/<person>`` for as long as the block lasts."""

    def __init__(self, people: Sequence[str], on_ring: Callable[[Ring], None]) -> None:
        self._people = tuple(people)
        self._on_ring = on_ring
        self._rings: list[Ring] = []
        self._rang = threading.Condition()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self._take))
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    def __enter__(self) -> Self:
        """Begin to listen."""
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Hang up."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(5)

    def address(self, person: str) -> str:
        """Where that person's web hook is."""
        return f"http://127.0.0.1:{self._server.server_address[1]}/{person}"

    def wait(self, person: str, kinds: Sequence[str], seconds: float) -> Ring | None:
        """The first message of these kinds to that person, None when none comes in time."""
        deadline = time.monotonic() + seconds
        with self._rang:
            while True:
                for ring in self._rings:
                    if ring.person == person and ring.kind in kinds:
                        return ring
                left = deadline - time.monotonic()
                if left <= 0:
                    return None
                self._rang.wait(left)

    def _take(self, person: str, body: bytes) -> bool:
        if person not in self._people:
            return False
        try:
            document = json.loads(body)
        except ValueError:
            return False
        if not isinstance(document, dict):
            return False
        ring = Ring(person, document)
        with self._rang:
            self._rings.append(ring)
            self._on_ring(ring)
            self._rang.notify_all()
        return True


def _handler(take: Callable[[str, bytes], bool]) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            length = min(int(self.headers.get("Content-Length") or 0), _MOST_BYTES)
            taken = take(self.path.strip("/"), self.rfile.read(length))
            self.send_response(202 if taken else 404)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
            """Nothing: the demo tells what matters."""

    return Handler
