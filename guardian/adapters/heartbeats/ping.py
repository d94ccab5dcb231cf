"""Addresses that want to be called: Healthchecks, BetterStack, Uptime Kuma, or any other.

Each has its own word for a failure, a *flavour*; where it has none, silence is the word. Sources:
healthchecks.io/docs/http_api (``/start``, ``/fail``, the body is kept; ``OK (not found)`` is none),
betterstack.com/docs on heartbeats (``/fail``), and Uptime Kuma's push monitors
(``?status=up|down&msg=…``, JSON with ``ok``).
"""

from __future__ import annotations

import re
import ssl
from datetime import timedelta
from enum import StrEnum
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from guardian.adapters.delivery import DEADLINE_SECONDS, Delivery
from guardian.adapters.veil import secrets_of
from guardian.adapters.web import Answer, WebClient
from guardian.escalate.wording import clean, cut, in_one_line, utf8_length

_BODY_LIMIT = 10_000
_LINE_LIMIT = 250
_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)
_KUMAS_OWN = frozenset({"status", "msg", "ping"})


class Flavour(StrEnum):
    """Whose manners an address has."""

    PLAIN = "plain"
    HEALTHCHECKS = "healthchecks"
    BETTERSTACK = "betterstack"
    UPTIME_KUMA = "uptime-kuma"


def flavour_of(url: str) -> Flavour:
    """Whose address it is, as far as its path shows: all of them can be self-hosted."""
    parts = urlsplit(url)
    host, path = parts.hostname or "", parts.path.rstrip("/")
    if "/api/push/" in path:
        return Flavour.UPTIME_KUMA
    if "/api/v1/heartbeat/" in path:
        return Flavour.BETTERSTACK
    if host == "hc-ping.com" or _UUID.fullmatch(path.rpartition("/")[2]):
        return Flavour.HEALTHCHECKS
    return Flavour.PLAIN


class Ping:
    """A :class:`~guardian.escalate.ports.Heartbeat` by HTTP."""

    def __init__(
        self,
        name: str,
        url: str,
        every: timedelta,
        *,
        flavour: Flavour | None = None,
        tls: ssl.SSLContext | None = None,
        seconds: float = DEADLINE_SECONDS,
    ) -> None:
        self.name = name
        self.every = every
        self.flavour = flavour or flavour_of(url)
        self._url = url
        self._delivery = Delivery(name, secrets_of(url), seconds=seconds)
        self._client = WebClient(name, tls=tls)

    def start(self, text: str = "") -> None:
        """Tell Healthchecks that we begin; the others have no word for it."""
        if self.flavour is Flavour.HEALTHCHECKS:
            self._delivery.run(lambda: self._post("start", text))

    def beat(self, *, ok: bool, text: str = "") -> None:
        """Tell that we are alive, and whether we are well."""
        if self.flavour is Flavour.PLAIN:
            if ok:
                self._delivery.run(self._get)
        elif self.flavour is Flavour.UPTIME_KUMA:
            self._delivery.run(lambda: self._push(ok=ok, text=text))
        else:
            self._delivery.run(lambda: self._post("" if ok else "fail", text))

    def close(self) -> None:
        """Nothing is kept open between two beats."""

    def __repr__(self) -> str:
        return f"<{self.name}>"

    def _get(self) -> None:
        answer = self._client.get(self._url, seconds=self._delivery.seconds)
        if not answer.is_success and not (answer.is_page and 200 <= answer.status < 300):
            raise self._client.refusal(answer)

    def _post(self, word: str, text: str) -> None:
        said = cut(clean(text), _BODY_LIMIT, utf8_length).encode()
        answer = self._client.post(
            _below(self._url, word),
            said,
            content_type="text/plain; charset=utf-8",
            seconds=self._delivery.seconds,
        )
        if not answer.is_success:
            raise self._client.refusal(answer)
        if self.flavour is Flavour.HEALTHCHECKS and answer.text != "OK":
            raise self._unknown(answer)

    def _push(self, *, ok: bool, text: str) -> None:
        told = cut(in_one_line(text), _LINE_LIMIT) or ("OK" if ok else "not well")
        url = _pushing(self._url, "up" if ok else "down", told)
        answer = self._client.get(url, seconds=self._delivery.seconds)
        if not answer.is_success:
            raise self._client.refusal(answer)
        if answer.document.get("ok") is not True:
            raise self._unknown(answer)

    def _unknown(self, answer: Answer) -> Exception:
        """It answers well, and does not know us."""
        return self._client.odd(answer)


def _below(url: str, word: str) -> str:
    """The address with one more word at the end of its path; its query stays."""
    if not word:
        return url
    parts = urlsplit(url)
    return urlunsplit(parts._replace(path=f"{parts.path.rstrip('/')}/{word}"))


def _pushing(url: str, status: str, text: str) -> str:
    """The address with our words in the place of those that Uptime Kuma shows for copying."""
    parts = urlsplit(url)
    kept = [pair for pair in parse_qsl(parts.query) if pair[0] not in _KUMAS_OWN]
    query = urlencode([*kept, ("status", status), ("msg", text), ("ping", "")])
    return urlunsplit(parts._replace(query=query))
