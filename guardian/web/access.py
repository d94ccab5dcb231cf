"""Who may ask, and that it is really they who ask.

- With a token, every page wants a login (the token, and a name for the audit), or the token as a
  bearer, for Prometheus. ``/health`` alone is open. Without one we listen on loopback only, and
  whoever is on this host may look.
- Without a token a request's Host must be loopback: else a web page anywhere could point its own
  name at 127.0.0.1 and read along (DNS rebinding). With one that page would have no cookie.
- What changes anything is a POST with the session's CSRF token, from our own pages only.
- Whoever guesses tokens is held up: after a few wrong ones nobody from that address is heard for a
  while, and after many from everywhere, nobody at all.
"""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import re
import secrets
import threading
from collections import deque
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from datetime import timedelta

SESSION_LASTS = timedelta(hours=12)
"""After its last use."""
NAME_LIMIT = 60
_HOST = re.compile(
    r"(?:\[(?P<address>[0-9A-Fa-f:.]+)\]|(?P<name>[A-Za-z0-9._-]+))(?::\d{1,5})?", re.ASCII
)
_WRONG_FROM_ONE = 5
_WRONG_FROM_ALL = 100
_WINDOW_SECONDS = 60.0
_ADDRESSES = 10_000


@dataclass(slots=True)
class Throttle:
    """Counts wrong tokens by address. ``monotonic`` gives seconds."""

    monotonic: Callable[[], float]
    _wrong: dict[str, deque[float]] = field(default_factory=dict)
    _all: deque[float] = field(default_factory=deque)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def wait(self, address: str) -> float:
        """Seconds for which this address is not heard; 0 when it is."""
        with self._lock:
            now = self.monotonic()
            return max(
                self._left(self._wrong.get(address), _WRONG_FROM_ONE, now),
                self._left(self._all, _WRONG_FROM_ALL, now),
            )

    def note(self, address: str) -> None:
        """A wrong token came from there."""
        with self._lock:
            now = self.monotonic()
            if len(self._wrong) >= _ADDRESSES:
                self._forget(now)
            for times in (self._wrong.setdefault(address, deque()), self._all):
                times.append(now)
                while times and times[0] <= now - _WINDOW_SECONDS:
                    times.popleft()

    @staticmethod
    def _left(times: deque[float] | None, allowed: int, now: float) -> float:
        """Until the window holds less than ``allowed``."""
        recent = [at for at in times or () if at > now - _WINDOW_SECONDS]
        return recent[-allowed] + _WINDOW_SECONDS - now if len(recent) >= allowed else 0.0

    def _forget(self, now: float) -> None:
        """Make room for many at once, so that this is seldom done: the oldest half goes."""
        recent = {
            address: times
            for address, times in self._wrong.items()
            if times[-1] > now - _WINDOW_SECONDS
        }
        self._wrong = dict(list(recent.items())[-_ADDRESSES // 2 :])


class Gate:
    """What is known about who may come in."""

    def __init__(
        self, token: str | None, monotonic: Callable[[], float], hosts: Collection[str] = ()
    ) -> None:
        self._token = token.encode() if token else None
        self._hosts = frozenset(one.lower() for one in hosts)
        self._ended: set[str] = set()
        self.throttle = Throttle(monotonic)

    @property
    def wants_token(self) -> bool:
        """Whether there is a login."""
        return self._token is not None

    @property
    def cookie_key(self) -> bytes:
        """What cookies are signed with: of the token, so that logins outlive a restart of ours.

        A new token ends all logins. Without one there are none to end.
        """
        if self._token is None:
            return secrets.token_bytes(32)
        return hmac.digest(self._token, b"guardian dashboard cookies", hashlib.sha256)

    def is_token(self, text: str) -> bool:
        """Whether this is the token. Takes as long for any wrong one."""
        return self._token is not None and hmac.compare_digest(text.encode(), self._token)

    def is_known_host(self, host: str) -> bool:
        """Whether we answer to this Host header; see the module."""
        name = host_name(host)
        if name is None:
            return False
        if self._hosts and name in self._hosts:
            return True
        if _is_loopback(name):
            return True
        if self._token is None:
            return False
        return not self._hosts or _is_address(name)

    def end(self, session: str) -> None:
        """A login is over, though its cookie would still be good."""
        if len(self._ended) > _ADDRESSES:
            self._ended.clear()
        self._ended.add(session)

    def has_ended(self, session: str) -> bool:
        """Whether that login was ended by its owner."""
        return session in self._ended


def host_name(host: str) -> str | None:
    """The name in a Host header, in lower case, without its port; None when it is none."""
    found = _HOST.fullmatch(host)
    if found is None:
        return None
    return (found["address"] or found["name"]).rstrip(".").lower()


def person_name(text: str) -> str:
    """A person's name as it goes into timelines and the audit; empty when there is none."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())[:NAME_LIMIT]


def safe_path(text: str) -> str:
    r"""Where to go after a login: a path of ours, else the overview.

    Browsers read ``//evil`` and ``/\evil`` as other hosts, and drop tabs and line ends.
    """
    is_ours = text.startswith("/") and not text.startswith("//") and "\\" not in text
    return text if is_ours and text.isprintable() else "/"


def same(one: str, other: str) -> bool:
    """Compare in constant time."""
    return hmac.compare_digest(one.encode(), other.encode())


def _is_loopback(name: str) -> bool:
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
