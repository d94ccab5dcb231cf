"""Telling systemd how we do: its notification protocol (man sd_notify), without its library.

Datagrams of ``NAME=value`` lines to the socket that ``$NOTIFY_SOCKET`` names. Without that variable
every call does nothing, so the same daemon runs in a container or a terminal.
"""

from __future__ import annotations

import logging
import os
import socket
import time
from collections.abc import MutableMapping

_log = logging.getLogger(__name__)
_SOCKET = "NOTIFY_SOCKET"
_WATCHDOG = ("WATCHDOG_USEC", "WATCHDOG_PID")


class Notifier:
    """Our side of the protocol. No call raises or blocks: systemd may be in trouble, too."""

    def __init__(self, address: str | None = None, watchdog_seconds: float | None = None) -> None:
        self._address = address
        self._watchdog_seconds = watchdog_seconds
        self._status = ""

    @classmethod
    def from_environment(cls, environ: MutableMapping[str, str]) -> Notifier:
        """As systemd started us. The variables are removed, so that no child speaks for us."""
        address = environ.pop(_SOCKET, "")
        interval, pid = (environ.pop(name, "") for name in _WATCHDOG)
        ours = not pid or pid == str(os.getpid())
        seconds = int(interval) / 1e6 if interval.isdigit() and ours else None
        if not address.startswith(("/", "@")):
            return cls(None, None)
        return cls(address, seconds or None)

    @property
    def watchdog_every(self) -> float | None:
        """Seconds between two signs of life, half of what systemd waits; None: it does not."""
        return None if self._watchdog_seconds is None else self._watchdog_seconds / 2

    def ready(self, status: str) -> None:
        """Started, or reloaded."""
        self._status = status
        self._send("READY=1", f"STATUS={_one_line(status)}")

    def reloading(self) -> None:
        """A reload begins; :meth:`ready` ends it.

        ``Type=notify-reload`` takes the message only with the instant of its sending.
        """
        now = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
        self._send("RELOADING=1", f"MONOTONIC_USEC={now}", "STATUS=reloading")

    def stopping(self, status: str) -> None:
        """The end has begun."""
        self._send("STOPPING=1", f"STATUS={_one_line(status)}")

    def status(self, text: str) -> None:
        """One line for ``systemctl status``, sent when it changed."""
        if text != self._status:
            self._status = text
            self._send(f"STATUS={_one_line(text)}")

    def alive(self) -> None:
        """A sign of life for the watchdog."""
        self._send("WATCHDOG=1")

    def _send(self, *lines: str) -> None:
        if self._address is None:
            return
        # A name that begins with @ is in Linux's abstract namespace.
        address = "\0" + self._address[1:] if self._address[0] == "@" else self._address
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as near:
                near.setblocking(False)
                near.sendto("\n".join(lines).encode(), address)
        except OSError as error:
            _log.debug("systemd could not be told %s: %s", lines[0], error)


def _one_line(text: str) -> str:
    return " ".join(text.split())
