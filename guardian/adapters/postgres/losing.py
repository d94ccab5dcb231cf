"""A connection that broke, recognised alike however libpq tells of it.

libpq's own words carry no SQLSTATE. psycopg raises them as OperationalError or InterfaceError where
it notices itself, and as a bare DatabaseError where they stand in a result; a server that goes says
so with a SQLSTATE, and in any language.
"""

from __future__ import annotations

import re

import psycopg
from psycopg import pq

_ENDINGS = frozenset({"57P01", "57P02", "57P03", "57P04", "57P05", "25P03", "25P04"})
"""Shutdown, crash, not now, dropped database, and the timeouts that end sessions."""
_NOISE = re.compile(
    r"^consuming input failed:\s*|^sending query failed:\s*|\s*This probably means the server "
    r"terminated abnormally\s+before or while processing the request\.?"
)
_CLOSED = re.compile(r"server closed the connection unexpectedly")


def is_lost(error: psycopg.Error) -> bool:
    """Whether the connection ended with it, although libpq may not know yet."""
    state = error.sqlstate
    if state is not None:
        return state.startswith("08") or state in _ENDINGS
    own = isinstance(error, psycopg.OperationalError | psycopg.InterfaceError)
    return own or type(error) is psycopg.DatabaseError


def error_of(result: pq.abc.PGresult) -> psycopg.Error:
    """What a failed result of libpq's means."""
    error = psycopg.errors.error_from_result(result, encoding="utf-8")
    if error.sqlstate is None:
        return psycopg.OperationalError(str(error))
    return error


def words_of_loss(said: str) -> str:
    """Our words for libpq's of a broken connection; what a server said stays as it is."""
    return _CLOSED.sub("it closed the connection in the middle of our work", _NOISE.sub("", said))
