"""Why a connection could not be had: by SQLSTATE where a server gave one, by libpq's words else.

A server's words come in its own language (lc_messages), SQLSTATEs do not. libpq's own words, of
what fails before a server answers, are English: its messages are only translated where a
translation is installed and chosen, which Python does not do.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from guardian.watch.outage import ProbeCause

_BY_SQLSTATE: Mapping[str, ProbeCause] = {
    "28000": ProbeCause.AUTHENTICATION,
    "28P01": ProbeCause.AUTHENTICATION,
    "42501": ProbeCause.AUTHENTICATION,  # permission denied for database
    "3D000": ProbeCause.NO_DATABASE,
    "55000": ProbeCause.NO_DATABASE,  # it takes no connections: a template, an upgrade
    "53300": ProbeCause.TOO_MANY_CONNECTIONS,
    "57P01": ProbeCause.SHUTTING_DOWN,
    "57P02": ProbeCause.IN_RECOVERY,  # another backend crashed
}
_CANNOT_CONNECT_NOW = "57P03"

_WORDS: tuple[tuple[ProbeCause, tuple[str, ...]], ...] = (
    # The other side hung up: before TLS, whose errors quote it.
    (
        ProbeCause.CLOSED,
        (
            "server closed the connection",
            "connection reset",
            "broken pipe",
            "SYSCALL error: EOF",
            "unexpected eof",
        ),
    ),
    (ProbeCause.DNS, ("could not translate host name", "failed to resolve host")),
    (ProbeCause.REFUSED, ("connection refused", "on socket .* No such file or directory")),
    (
        ProbeCause.UNREACHABLE,
        (
            "no route to host",
            "network is (unreachable|down)",
            "host is (unreachable|down)",
            "cannot assign requested address",
        ),
    ),
    (ProbeCause.TIMEOUT, ("timeout expired", "timed out")),
    (
        ProbeCause.AUTHENTICATION,
        (
            "no password supplied",
            "authentication failed",
            "authentication method",
            "channel binding",
            r'role ".*" does not exist',
            r"no pg_hba\.conf entry",
            "not permitted to log in",
            "no such user",
        ),
    ),
    (ProbeCause.NO_DATABASE, (r'database ".*" does not exist', "no such database")),
    (
        ProbeCause.TOO_MANY_CONNECTIONS,
        ("too many (clients|connections)", "remaining connection slots", "no more connections"),
    ),
    (ProbeCause.TLS, (r"\b(SSL|TLS|certificate)\b",)),
)
_BY_WORDS = tuple(
    (cause, re.compile("|".join(words), re.IGNORECASE | re.DOTALL)) for cause, words in _WORDS
)
_BEFORE_ANY_ANSWER = frozenset(
    {
        ProbeCause.CLOSED,
        ProbeCause.DNS,
        ProbeCause.REFUSED,
        ProbeCause.UNREACHABLE,
        ProbeCause.TIMEOUT,
    }
)
_NOT_NOW: tuple[tuple[ProbeCause, re.Pattern[str]], ...] = (
    (ProbeCause.SHUTTING_DOWN, re.compile(r"is shutting down")),
    (ProbeCause.STARTING_UP, re.compile(r"is starting up|not yet accepting connections")),
    (ProbeCause.IN_RECOVERY, re.compile(r"in recovery mode|is not accepting connections")),
)
_NO_TLS = re.compile(r"no encryption|SSL off")

_MENDS: Mapping[ProbeCause, str] = {
    ProbeCause.REFUSED: "start the server, or mend host and port in dsn",
    ProbeCause.TIMEOUT: "check the host, the network and the firewall between",
    ProbeCause.UNREACHABLE: "check the network between here and the host",
    ProbeCause.CLOSED: "read the server's log; what listens there may be no PostgreSQL",
    ProbeCause.DNS: "mend the host in dsn, or the name service",
    ProbeCause.TLS: "check sslmode and sslrootcert in dsn, and the server's certificate",
    ProbeCause.AUTHENTICATION: "check user and password in dsn, and pg_hba.conf",
    ProbeCause.TOO_MANY_CONNECTIONS: (
        "end idle sessions (guardian sessions), shrink the applications' pools, or raise "
        "max_connections"
    ),
    ProbeCause.STARTING_UP: "wait; the server's log says how far it is",
    ProbeCause.IN_RECOVERY: (
        "wait, the server's log says how far it is; a standby takes queries with hot_standby = on"
    ),
    ProbeCause.SHUTTING_DOWN: "somebody stops it: wait, or start it again",
    ProbeCause.NO_DATABASE: "check the database's name in dsn",
}


def cause_of(sqlstate: str | None, message: str, *, tls_disabled: bool = False) -> ProbeCause:
    """Why a server could not be connected to.

    ``tls_disabled`` is whether we asked for no TLS: a server whose pg_hba.conf takes nothing else
    then says that there is no entry.
    """
    if sqlstate == _CANNOT_CONNECT_NOW:
        # In a foreign language the three cannot be told apart: the commonest stands for all.
        return next((c for c, words in _NOT_NOW if words.search(message)), ProbeCause.STARTING_UP)
    if tls_disabled and sqlstate in {None, "28000"} and _NO_TLS.search(message):
        return ProbeCause.TLS
    if sqlstate is not None and (cause := _BY_SQLSTATE.get(sqlstate)):
        return cause
    for cause, words in (*_NOT_NOW, *_BY_WORDS):
        if words.search(message):
            return cause
    return ProbeCause.UNKNOWN


def may_have_sqlstate(message: str) -> bool:
    """Whether a server may have said this, so that its SQLSTATE is worth asking for."""
    return "FATAL" in message or cause_of(None, message) not in _BEFORE_ANY_ANSWER


def mend_of(cause: ProbeCause) -> str | None:
    """What to do about it."""
    return _MENDS.get(cause)
