"""What our sessions begin with: no time limit that was set for role or database is in force.

The settings go along when we connect (libpq's ``options``), which comes before all that is set for
a role or a database: a ``statement_timeout`` of 1 ms does not even end our first statement. Not
every server knows every limit, and libpq tells the version only once we are in. So where limits of
later versions are in force, or were quicker than our first question, we connect once more and name
them, too, from then on.

A pooler may refuse options. Nothing is set through it instead: it would stay for whoever gets that
connection next.
"""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Callable, Mapping

import psycopg

from guardian.adapters.postgres.breaking_off import break_off
from guardian.adapters.postgres.losing import is_lost

_ALWAYS = {
    "statement_timeout": "0",
    "lock_timeout": "0",
    "idle_in_transaction_session_timeout": "0",
    # What pg_dump asks takes milliseconds to run, and seconds to compile (known from 11 on).
    "jit": "off",
}
_SINCE = {"idle_session_timeout": 140000, "transaction_timeout": 170000}
_NO_OPTIONS = re.compile(r"unsupported startup parameter|command.line options", re.IGNORECASE)
_LATER_LIMITS = b"""
SELECT count(*) FROM (VALUES ('idle_session_timeout'), ('transaction_timeout')) AS limits (name)
 WHERE pg_catalog.current_setting(name, true) <> '0'
"""
_ANSWER_SECONDS = 30.0
"""The first question on a new connection; a server that says nothing for so long hangs."""


class Startup:
    """What one server takes when we connect, as far as it has told."""

    def __init__(self) -> None:
        self.takes_options = True
        self._version = 0

    def open(
        self,
        parameters: Mapping[str, str],
        connect: Callable[[Mapping[str, str]], psycopg.Connection],
    ) -> psycopg.Connection:
        """A connection without limits, as far as that can be had. Raises psycopg.Error."""
        try:
            connection = connect(self.over(parameters))
        except psycopg.OperationalError as error:
            if not self.takes_options or not _NO_OPTIONS.search(str(error)):
                raise
            self.takes_options = False
            return connect(parameters)
        if not self.takes_options or self._version:
            return connection
        self._version = connection.info.server_version
        if not _is_limited(connection):
            return connection
        connection.close()
        return connect(self.over(parameters))

    def over(self, parameters: Mapping[str, str]) -> dict[str, str]:
        """The parameters of a connection, with our settings as the last word."""
        named_elsewhere = "service" in parameters or "PGSERVICE" in os.environ
        if not self.takes_options or named_elsewhere:  # a service may have options that we'd hide
            return dict(parameters)
        later = [name for name, version in _SINCE.items() if self._version >= version]
        return with_options(parameters, _ALWAYS | dict.fromkeys(later, "0"))


def with_options(parameters: Mapping[str, str], settings: Mapping[str, str]) -> dict[str, str]:
    """The parameters of a connection with settings behind those that they have.

    Those of PGOPTIONS are kept, too, which libpq leaves out where ``options`` is given.
    """
    given = parameters.get("options") or os.environ.get("PGOPTIONS", "")
    words = [given, *(f"-c {name}={value}" for name, value in settings.items())]
    return {**parameters, "options": " ".join(words).strip()}


def _is_limited(connection: psycopg.Connection) -> bool:
    """Whether limits of later versions are in force, or one has ended us already."""
    patience = threading.Timer(_ANSWER_SECONDS, break_off, [connection])
    patience.daemon = True
    patience.start()
    try:
        return connection.execute(_LATER_LIMITS).fetchone() != (0,)
    except psycopg.Error as error:
        if is_lost(error):
            return True
        connection.close()
        raise
    finally:
        patience.cancel()
