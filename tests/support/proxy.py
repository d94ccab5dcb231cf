"""A TCP proxy that breaks on demand: between a client and PostgreSQL, S3, or anything else."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from types import TracebackType
from typing import Self

_RESET = struct.pack("ii", 1, 0)  # SO_LINGER with 0 seconds: close sends RST, as a dead host does


class BreakableProxy:
    """Forwards 127.0.0.1:``port`` to a target, until told otherwise.

    ``cut`` resets every connection and refuses new ones. ``hang`` keeps connections open and
    forwards nothing more. ``cut_after`` counts bytes from the client from now on, and cuts when so
    many passed; with ``refuse=False`` new connections are served afterwards. ``mend`` undoes all.
    ``direction`` of ``cut_after`` may be ``"down"``: bytes from the server. ``hang_after`` counts
    alike, and hangs then. ``passed`` counts bytes that came, each way.
    """

    def __init__(self, target_host: str, target_port: int) -> None:
        self._target = (target_host, target_port)
        self._lock = threading.Lock()
        self._pairs: list[tuple[socket.socket, socket.socket]] = []
        self._flowing = threading.Event()
        self._flowing.set()
        self._refusing = False
        self._budget: dict[str, int] = {}
        self._refuse_after = True
        self._hang_after = False
        self._listener: socket.socket | None = None
        self._threads: list[threading.Thread] = []
        self._closing = False
        self.port = 0
        self.connections = 0
        self.passed = {"up": 0, "down": 0}
        self.was_cut = threading.Event()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    @property
    def endpoint_url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def flows(self) -> bool:
        """Whether it does not hang."""
        return self._flowing.is_set()

    def start(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self._spawn(self._accept)

    def stop(self) -> None:
        self._closing = True
        self._flowing.set()
        if self._listener is not None:
            with contextlib.suppress(OSError):
                self._listener.shutdown(socket.SHUT_RDWR)
            self._listener.close()
        self._reset_all()
        for thread in self._threads:
            thread.join(timeout=10)

    def cut(self, *, refuse: bool = True) -> None:
        """Reset all connections; with ``refuse`` also those that come."""
        with self._lock:
            self._refusing = refuse
            self._budget.clear()
        self._reset_all()
        self.was_cut.set()

    def hang(self) -> None:
        """Forward nothing more, close nothing."""
        self._flowing.clear()

    def mend(self) -> None:
        """Forward again, accept again."""
        with self._lock:
            self._refusing = False
            self._budget.clear()
        self.was_cut.clear()
        self._flowing.set()

    def cut_after(self, count: int, *, direction: str = "up", refuse: bool = True) -> None:
        """Cut as soon as ``count`` more bytes passed ``up`` (to the server) or ``down``."""
        with self._lock:
            self._budget = {direction: count}
            self._refuse_after = refuse
            self._hang_after = False

    def hang_after(self, count: int, *, direction: str = "down") -> None:
        """Hang as soon as ``count`` more bytes passed that way."""
        with self._lock:
            self._budget = {direction: count}
            self._hang_after = True

    def _spawn(self, target: object, *arguments: object) -> None:
        thread = threading.Thread(target=target, args=arguments, daemon=True)  # type: ignore[arg-type]
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        assert self._listener is not None
        while not self._closing:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            with self._lock:
                refusing = self._refusing or self._closing
            if refusing:
                _reset(client)
                continue
            try:
                server = socket.create_connection(self._target, timeout=10)
            except OSError:
                _reset(client)
                continue
            server.settimeout(None)
            with self._lock:
                self._pairs.append((client, server))
            self._spawn(self._pump, client, server, "up")
            self._spawn(self._pump, server, client, "down")

    def _pump(self, source: socket.socket, sink: socket.socket, direction: str) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                self._flowing.wait()
                allowed = self._spend(direction, len(data))
                sink.sendall(data[:allowed])
                if allowed < len(data) and self._hang_after:
                    self.hang()
                    self._flowing.wait()
                    sink.sendall(data[allowed:])
                elif allowed < len(data):
                    self.cut(refuse=self._refuse_after)
                    return
            sink.shutdown(socket.SHUT_WR)

    def _spend(self, direction: str, count: int) -> int:
        """How many of ``count`` bytes may pass."""
        with self._lock:
            self.passed[direction] += count
            if direction not in self._budget:
                return count
            allowed = min(count, self._budget[direction])
            self._budget[direction] -= allowed
            return allowed

    def _reset_all(self) -> None:
        with self._lock:
            pairs, self._pairs = self._pairs, []
        for pair in pairs:
            for end in pair:
                _reset(end)


def _reset(end: socket.socket) -> None:
    """Close so that the other side sees a reset, and wake who is blocked in ``recv``."""
    with contextlib.suppress(OSError):
        end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
    with contextlib.suppress(OSError):
        end.shutdown(socket.SHUT_RD)
    end.close()
