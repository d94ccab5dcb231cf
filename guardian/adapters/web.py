"""Speaking HTTP to services that take our messages: one way of failing for all of them.

Each call has a connection of its own, so none can be stale in the night when it is needed. A
redirect leads at most to another address on the same host: what we send is for that host alone.
Nothing of an address but its host gets into a text.
"""

from __future__ import annotations

import json
import logging
import math
import ssl
import time
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import Any

import httpx

from guardian import __version__
from guardian.adapters.network import describe, trust
from guardian.errors import DeliveryError

USER_AGENT = f"guardian/{__version__}"
LONGEST_WAIT = 24 * 3600.0
"""Nobody is kept waiting for longer, whatever a service says."""

for _name in ("httpx", "httpcore"):  # they log addresses, which are secrets here
    logging.getLogger(_name).setLevel(logging.WARNING)

_MOST_BYTES = 64 << 10
_MOST_REDIRECTS = 3
_KEEPS_METHOD = frozenset({307, 308})
_TRY_AGAIN = frozenset({408, 425, 429})


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back; ``retry_after`` in seconds, where the other side gave a time."""

    status: int
    body: bytes = b""
    retry_after: float | None = None
    is_page: bool = False
    """An HTML page: an answer for people, such as a proxy's, and not the service's own."""

    @property
    def summary(self) -> str:
        """``429 Too Many Requests``."""
        try:
            return f"{self.status} {HTTPStatus(self.status).phrase}"
        except ValueError:
            return str(self.status)

    @property
    def is_success(self) -> bool:
        """Any 2xx that is no page."""
        return 200 <= self.status < 300 and not self.is_page

    @property
    def text(self) -> str:
        """The body, whatever it is."""
        return self.body.decode("utf-8", "replace").strip()

    @property
    def document(self) -> Mapping[str, Any]:
        """The body's JSON object; empty where it is none."""
        try:
            found = json.loads(self.body)
        except (ValueError, RecursionError):
            return {}
        return found if isinstance(found, dict) else {}


class WebClient:
    """Speaks for one thing, such as ``channel incidents (slack)``. For several threads at once.

    ``tls`` replaces the system's trust (and SSL_CERT_FILE). All methods raise DeliveryError when no
    answer came; what an answer means is for the caller to say.
    """

    def __init__(self, thing: str, *, tls: ssl.SSLContext | None = None) -> None:
        self._thing = thing
        self._tls = tls

    def post(
        self,
        url: str,
        body: bytes,
        *,
        headers: Mapping[str, str] | None = None,
        content_type: str = "application/json",
        seconds: float = 15.0,
    ) -> Answer:
        """Send a body; a redirect that would drop it is an error."""
        return self._ask(
            "POST", url, body, {"Content-Type": content_type, **(headers or {})}, seconds
        )

    def get(self, url: str, *, seconds: float = 15.0) -> Answer:
        """Call an address."""
        return self._ask("GET", url, b"", {}, seconds)

    def refusal(self, answer: Answer, *, said: str = "", mend: str | None = None) -> DeliveryError:
        """The error for an answer that is no success: permanent, unless its status speaks of later.

        ``said`` is the service's own reason, already known to hold no secret.
        """
        reason = f": {said}" if said else ", with a page instead of an answer" * answer.is_page
        return DeliveryError(
            f"{self._thing} answered {answer.summary}{reason}",
            mend=mend or _mend_of(answer),
            permanent=not (answer.is_page or answer.status >= 500 or answer.status in _TRY_AGAIN),
            retry_after=answer.retry_after,
        )

    def odd(self, answer: Answer) -> DeliveryError:
        """The error for a success that is not the service's own: a proxy's, a login page."""
        return DeliveryError(
            f"{self._thing} answered {answer.summary}, but not as that service does",
            mend="check its address, and that no proxy answers in its place",
        )

    def _ask(
        self, method: str, url: str, body: bytes, headers: Mapping[str, str], seconds: float
    ) -> Answer:
        deadline = time.monotonic() + seconds
        own = {"User-Agent": USER_AGENT, "Accept-Encoding": "identity"}
        try:
            with httpx.Client(verify=self._tls or trust(), timeout=seconds, headers=own) as client:
                request = client.build_request(
                    method, url, headers=_encoded(headers), content=body or None
                )
                return self._converse(client, request, deadline)
        except (httpx.InvalidURL, httpx.UnsupportedProtocol):
            raise self._unusable("its address is none") from None
        except httpx.LocalProtocolError:
            raise self._unusable("one of its headers cannot be sent as it is") from None
        except (httpx.HTTPError, OSError, UnicodeError) as error:
            raise self._failure(error) from None

    def _converse(self, client: httpx.Client, request: httpx.Request, deadline: float) -> Answer:
        for _ in range(_MOST_REDIRECTS + 1):
            # A header given by hand goes before a name and password in the address.
            auth = httpx.Auth() if "Authorization" in request.headers else None
            with closing(client.send(request, stream=True, auth=auth)) as response:
                following = response.next_request
                if following is None:
                    return _read(response, deadline)
                if not self._may_follow(request, following, response.status_code):
                    raise DeliveryError(
                        f"{self._thing} sends us on to {following.url.host or 'elsewhere'} "
                        f"({response.status_code})",
                        mend="give its new address",
                        permanent=True,
                    )
                request = following
        raise DeliveryError(f"{self._thing} sends us round in circles", permanent=True)

    def _may_follow(self, request: httpx.Request, following: httpx.Request, status: int) -> bool:
        there, here = following.url, request.url
        if request.method == "POST" and status not in _KEEPS_METHOD:
            return False
        if there.host != here.host or (here.scheme == "https" and there.scheme != "https"):
            return False
        return there.port == here.port or (here.scheme == "http" and there.scheme == "https")

    def _failure(self, error: Exception) -> DeliveryError:
        words, mend = describe(error)
        return DeliveryError(f"{self._thing} cannot be reached: {words}", mend=mend)

    def _unusable(self, why: str) -> DeliveryError:
        return DeliveryError(
            f"{self._thing} cannot be used: {why}",
            mend="mend it in the configuration",
            permanent=True,
        )


def retry_after(headers: Mapping[str, str], now: Callable[[], float] = time.time) -> float | None:
    """The seconds that ``Retry-After`` asks for, given as a number or as a date.

    A date is counted from the answer's own ``Date``, so that clocks may differ.
    """
    text = headers.get("retry-after", "").strip()
    try:
        seconds = float(text)
    except ValueError:
        until = _instant(text)
        if until is None:
            return None
        said = _instant(headers.get("date", ""))
        seconds = until.timestamp() - (said.timestamp() if said else now())
    return wait_of(seconds)


def wait_of(seconds: Any) -> float | None:
    """A number of seconds that somebody asks for, if it is one, within reason."""
    if isinstance(seconds, bool) or not isinstance(seconds, int | float):
        return None
    return min(max(float(seconds), 0.0), LONGEST_WAIT) if math.isfinite(seconds) else None


def _instant(text: str) -> datetime | None:
    try:
        return parsedate_to_datetime(text)
    except (TypeError, ValueError, IndexError, OverflowError):
        return None


def _read(response: httpx.Response, deadline: float) -> Answer:
    """The beginning of the body: what a service has to say is short."""
    body = bytearray()
    for chunk in response.iter_raw():
        body += chunk
        if len(body) >= _MOST_BYTES:
            break
        if time.monotonic() > deadline:
            raise httpx.ReadTimeout("the answer takes too long")
    return Answer(
        response.status_code,
        bytes(body[:_MOST_BYTES]),
        retry_after(response.headers),
        is_page=_is_page(response, body),
    )


def _is_page(response: httpx.Response, body: bytearray) -> bool:
    """By its content, too: Slack calls its plain ``ok`` HTML."""
    says_so = response.headers.get("content-type", "").lower().startswith("text/html")
    return says_so and body.lstrip().startswith(b"<")


def _mend_of(answer: Answer) -> str | None:
    if answer.status in {401, 403}:
        return "give it a valid key or token"
    if answer.status in {404, 410}:
        return "check its address"
    if answer.status == 407:
        return "check the proxy that HTTPS_PROXY names"
    return None


def _encoded(headers: Mapping[str, str]) -> dict[bytes, bytes]:
    return {key.encode(): value.encode() for key, value in headers.items()}
