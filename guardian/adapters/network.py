"""Why a conversation over the network failed, whichever library held it."""

from __future__ import annotations

import errno
import os
import socket
import ssl
from collections.abc import Mapping
from functools import lru_cache

import httpx

from guardian.watch.outage import ProbeCause

_PATH = "check the network between here and there"
_WORDS: Mapping[ProbeCause, tuple[str, str]] = {
    ProbeCause.REFUSED: ("nobody listens there", "check its address and port"),
    ProbeCause.TIMEOUT: ("no answer in time", _PATH),
    ProbeCause.UNREACHABLE: ("no way leads there", _PATH),
    ProbeCause.CLOSED: ("it hung up", "check its port, and that no proxy or firewall is between"),
    ProbeCause.DNS: ("its name is not known", "mend the host's name, or the name service"),
    ProbeCause.TLS: (
        "TLS fails",
        "check its certificate and port; SSL_CERT_FILE names authorities of your own",
    ),
}
_ELSE = ("the conversation broke off", "check its address and port")
_UNREACHABLE = frozenset(
    {errno.ENETUNREACH, errno.EHOSTUNREACH, errno.ENETDOWN, errno.EHOSTDOWN, errno.EADDRNOTAVAIL}
)


def trust() -> ssl.SSLContext:
    """Whom we trust: who certifi's list vouches for, or the files that SSL_CERT_FILE names.

    One for all who ask: it takes a tenth of a second and some megabytes to read.
    """
    return _trust(os.environ.get("SSL_CERT_FILE"), os.environ.get("SSL_CERT_DIR"))


@lru_cache(maxsize=2)
def _trust(*_named: str | None) -> ssl.SSLContext:
    return httpx.create_ssl_context()


def cause_of(error: BaseException) -> ProbeCause:
    """Why a conversation failed; libraries wrap what the system said, so the chain is walked."""
    each: BaseException | None = error
    seen: set[int] = set()
    while each is not None and id(each) not in seen:
        seen.add(id(each))
        if (cause := _cause_of_one(each)) is not None:
            return cause
        each = each.__cause__ or each.__context__
    if isinstance(error, httpx.NetworkError | httpx.RemoteProtocolError):
        return ProbeCause.CLOSED
    return ProbeCause.UNKNOWN


def describe(error: BaseException) -> tuple[str, str]:
    """What happened, and the mend, in words of ours: what libraries say may quote what we sent."""
    cause = cause_of(error)
    words, mend = _WORDS.get(cause, _ELSE)
    if cause is ProbeCause.TLS and (why := _tls_reason(error)):
        words = f"{words}: {why}"
    return words, mend


def _tls_reason(error: BaseException) -> str:
    """Why, in OpenSSL's words."""
    each: BaseException | None = error
    while each is not None:
        if isinstance(each, ssl.SSLCertVerificationError):
            return each.verify_message
        if isinstance(each, ssl.SSLError):
            return (each.reason or "").lower().replace("_", " ")
        each = each.__cause__ or each.__context__
    return ""


def _cause_of_one(error: BaseException) -> ProbeCause | None:
    if isinstance(error, socket.gaierror | UnicodeError):
        return ProbeCause.DNS
    if isinstance(error, ssl.SSLEOFError | ConnectionResetError | BrokenPipeError):
        return ProbeCause.CLOSED
    if isinstance(error, ssl.SSLError):
        return ProbeCause.TLS
    if isinstance(error, TimeoutError | httpx.TimeoutException):
        return ProbeCause.TIMEOUT
    if isinstance(error, ConnectionRefusedError):
        return ProbeCause.REFUSED
    if isinstance(error, OSError) and error.errno in _UNREACHABLE:
        return ProbeCause.UNREACHABLE
    return None
