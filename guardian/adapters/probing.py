"""Probes of other things: a web address that must answer, an address that must accept.

One timeout covers the whole probe, names and slow answers too. No secret gets into a text: of the
address only host and path are shown, headers never, and what was answered only where it differs
from what was expected.
"""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Mapping
from contextlib import closing
from datetime import timedelta
from typing import Any

import httpx

from guardian import __version__
from guardian.adapters.deadline import SingleFlight
from guardian.adapters.network import cause_of
from guardian.ports import Clock
from guardian.units import format_duration
from guardian.watch.outage import ProbeCause, ProbeResult

_SLACK_SECONDS = 0.25
"""Lets our own deadline speak first."""
_MOST_REDIRECTS = 5
_MOST_BYTES = 1 << 20
_SHOWN_CHARACTERS = 80
_LEADS_NOWHERE = "it leads to an address that is no web address"
_MENDS: Mapping[ProbeCause, str] = {
    ProbeCause.REFUSED: "nobody listens there: start it, or mend its address",
    ProbeCause.TIMEOUT: "check that it runs, and the network between",
    ProbeCause.UNREACHABLE: "check the network between here and the host",
    ProbeCause.CLOSED: "it hung up: read its log",
    ProbeCause.DNS: "mend the host's name, or the name service",
    ProbeCause.TLS: "check its certificate; SSL_CERT_FILE names authorities of your own",
    ProbeCause.WRONG_ANSWER: "it runs and is not well: read its log",
}


class _FailedError(Exception):
    """The probe failed, for this cause."""

    def __init__(self, cause: ProbeCause, message: str) -> None:
        super().__init__(message)
        self.cause = cause
        self.message = message


class _Probe:
    """What both kinds have: one deadline, one result. For one thread at a time."""

    def __init__(self, name: str, where: str, clock: Clock, timeout: timedelta) -> None:
        self._thing = f"probe {name} ({where})"
        self._clock = clock
        self._timeout = timeout
        self._flight = SingleFlight(f"probe {name}")

    def probe(self) -> ProbeResult:
        """One try; takes at most the timeout (and a quarter of a second). Never raises."""
        at, began = self._clock.now(), self._clock.monotonic()
        seconds = self._timeout.total_seconds()
        deadline = time.monotonic() + seconds
        cause, said = None, ""
        try:
            self._flight.run(lambda: self._try(deadline), seconds + _SLACK_SECONDS)
        except _FailedError as error:
            cause, said = error.cause, error.message
        except (OSError, UnicodeError) as error:  # a host that is no name is a UnicodeError
            cause, said = cause_of(error), str(error)
        if cause is ProbeCause.TIMEOUT:
            said = f"no answer within {format_duration(self._timeout)}"
        latency = self._clock.monotonic() - began
        if cause is None:
            return ProbeResult(at, latency)
        text = f"{self._thing}: {' '.join(said.split())}"
        return ProbeResult(at, latency, cause, text, _MENDS.get(cause))

    def _try(self, deadline: float) -> None:
        raise NotImplementedError


class TcpProbe(_Probe):
    """Whether ``host:port`` (or ``[::1]:port``) accepts a connection."""

    def __init__(
        self, name: str, address: str, clock: Clock, *, timeout: timedelta = timedelta(seconds=10)
    ) -> None:
        super().__init__(name, address, clock, timeout)
        host, _, port = address.rpartition(":")
        self._host, self._port = host.removeprefix("[").removesuffix("]"), int(port)

    def _try(self, deadline: float) -> None:
        found = socket.getaddrinfo(self._host, self._port, type=socket.SOCK_STREAM)
        failure: OSError = TimeoutError()
        for index, (family, kind, protocol, _, address) in enumerate(found):
            left = deadline - time.monotonic()
            if left <= 0:
                break
            try:
                with socket.socket(family, kind, protocol) as connection:
                    # A dead address must not eat the time of those behind it.
                    connection.settimeout(left / (len(found) - index))
                    connection.connect(address)
            except OSError as error:
                failure = error
            else:
                return
        raise failure


class HttpProbe(_Probe):
    """Whether a web address answers with the right status, and JSON that holds what it must.

    Redirects are followed (unless the right status is one), at most five; ``headers`` go to the
    first host only. ``expect_json`` names keys and values that the answer must have, also nested;
    it may have more.
    """

    def __init__(
        self,
        name: str,
        url: str,
        clock: Clock,
        *,
        expect_status: int = 200,
        expect_json: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: timedelta = timedelta(seconds=10),
    ) -> None:
        self._url = httpx.URL(url)
        super().__init__(name, _shown(self._url), clock, timeout)
        self._expect_status = expect_status
        self._expect_json = expect_json
        self._headers = {key.encode(): value.encode() for key, value in (headers or {}).items()}
        self._tls = httpx.create_ssl_context()

    def _try(self, deadline: float) -> None:
        own = {"User-Agent": f"guardian/{__version__}", "Accept-Encoding": "identity"}
        seconds = max(0.001, deadline - time.monotonic())
        try:
            with httpx.Client(verify=self._tls, timeout=seconds, headers=own) as client:
                self._converse(client, deadline)
        except httpx.LocalProtocolError as error:
            # Its text would quote the header.
            message = "one of its headers cannot be sent as it is"
            raise _FailedError(ProbeCause.UNKNOWN, message) from error
        except (httpx.InvalidURL, httpx.UnsupportedProtocol) as error:
            raise _FailedError(ProbeCause.WRONG_ANSWER, _LEADS_NOWHERE) from error
        except httpx.HTTPError as error:
            if "location header" in str(error):  # httpx has no class for it
                raise _FailedError(ProbeCause.WRONG_ANSWER, _LEADS_NOWHERE) from error
            raise _FailedError(cause_of(error), str(error) or type(error).__name__) from error

    def _converse(self, client: httpx.Client, deadline: float) -> None:
        request = client.build_request("GET", self._url, headers=self._headers)
        for _ in range(_MOST_REDIRECTS + 1):
            with closing(client.send(request, stream=True)) as response:
                following = response.next_request
                if response.status_code == self._expect_status or following is None:
                    self._judge(response, deadline)
                    return
            if _origin(following.url) != _origin(self._url):
                for key in self._headers:  # they may be secrets, and are not meant for others
                    following.headers.pop(key.decode(), None)
            request = following
        raise _FailedError(ProbeCause.WRONG_ANSWER, f"more than {_MOST_REDIRECTS} redirects")

    def _judge(self, response: httpx.Response, deadline: float) -> None:
        if response.status_code != self._expect_status:
            raise _FailedError(
                ProbeCause.WRONG_ANSWER,
                f"answered {response.status_code}, expected {self._expect_status}",
            )
        if self._expect_json is None:
            return
        try:
            found = json.loads(_body(response, deadline))
        except (ValueError, RecursionError) as error:
            raise _FailedError(ProbeCause.WRONG_ANSWER, "its answer is no JSON") from error
        if (difference := difference_of(self._expect_json, found)) is not None:
            raise _FailedError(ProbeCause.WRONG_ANSWER, difference)


def difference_of(expected: Any, found: Any, path: str = "") -> str | None:
    """Where ``found`` lacks what is expected, in words; None where it has all of it.

    Objects may have more keys than expected; all else must be equal. ``true`` is not 1.
    """
    if isinstance(expected, Mapping) and isinstance(found, Mapping):
        for key, value in expected.items():
            inner = f"{path}.{key}" if path else str(key)
            if key not in found:
                return f"its answer has no {inner}"
            if (difference := difference_of(value, found[key], inner)) is not None:
                return difference
        return None
    same_kind = isinstance(expected, bool) == isinstance(found, bool)
    if same_kind and expected == found:
        return None
    return f"{path or 'its answer'} is {_short(found)}, expected {_short(expected)}"


def _body(response: httpx.Response, deadline: float) -> bytes:
    body = bytearray()
    for chunk in response.iter_raw():  # we asked for no encoding
        body += chunk
        if time.monotonic() > deadline:
            raise _FailedError(ProbeCause.TIMEOUT, "")
        if len(body) > _MOST_BYTES:
            raise _FailedError(ProbeCause.WRONG_ANSWER, "its answer is longer than 1 MiB")
    return bytes(body)


def _shown(url: httpx.URL) -> str:
    """The address without user, password and query, any of which may be secret."""
    return str(url.copy_with(username=None, password=None, query=None, fragment=None))


def _origin(url: httpx.URL) -> tuple[str, str, int | None]:
    return url.scheme, url.host, url.port


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= _SHOWN_CHARACTERS else text[:_SHOWN_CHARACTERS] + "…"
