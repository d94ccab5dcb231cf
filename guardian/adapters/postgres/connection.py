"""One server's address: how we connect, and how PostgreSQL's own tools are let in.

No secret is put on a command line, and none into an environment: tools get the password as a
libpq password file that lives in memory only (memfd), inherited as a file descriptor.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import psycopg
from psycopg import conninfo

from guardian.adapters.postgres.losing import is_lost, words_of_loss
from guardian.adapters.postgres.startup import Startup, with_options
from guardian.errors import (
    Cause,
    ConfigError,
    ConnectionFailedError,
    GuardianError,
    LockedError,
    PermissionDeniedError,
    TimedOutError,
)

APPLICATION_NAME = "guardian"
"""Prefix of every session's application_name, by which the watch knows our own work."""

_CONNECT_TIMEOUT_SECONDS = 15
_SECRET_PARAMETERS = ("password", "sslpassword", "oauth_client_secret")
_INHERITED = (
    "PATH",
    "HOME",
    "USER",
    "LOGNAME",
    "TMPDIR",
    "LD_LIBRARY_PATH",
    "TZ",
    "XDG_RUNTIME_DIR",
)
_INHERITED_PREFIXES = ("PG", "KRB5", "SSL_")

# libpq reports a refused connection without a SQLSTATE, so the words must do.
_AUTHENTICATION = re.compile(
    r"password authentication failed|no password supplied|authentication failed|"
    r"role \".*\" does not exist|no pg_hba\.conf entry|is not permitted to log in"
)
_NO_DATABASE = re.compile(r"database \".*\" does not exist|is not currently accepting connections")
REFUSAL = re.compile(f"{_AUTHENTICATION.pattern}|{_NO_DATABASE.pattern}")
"""What a server says when trying again will not help."""
_PASSING = frozenset({"40", "53", "55", "58"})
"""SQLSTATE classes of what may pass: conflicts, scarce resources, things in use, its system."""
_NO_CONNECT = re.compile(r"permission denied for database")


@dataclass(frozen=True, slots=True)
class ToolAccess:
    """What a child process needs to connect: its environment, its ``--dbname``, inherited files."""

    conninfo: str
    environ: Mapping[str, str]
    pass_fds: tuple[int, ...]


class Connector:
    """Opens connections to one configured server."""

    def __init__(self, server: str, dsn: str, password: str | None = None) -> None:
        """Take the DSN apart.

        Raises:
            ConfigError: when it is not a libpq URI or keyword string.
        """
        self.server = server
        self.startup = Startup()
        try:
            parameters = conninfo.conninfo_to_dict(dsn)
        except psycopg.ProgrammingError as error:
            # libpq's message quotes the DSN, password and all; ours must not.
            raise ConfigError(
                f"servers.{server}.dsn is not a libpq connection string",
                mend="write postgresql://user@host:5432/database or host=… dbname=…",
            ) from error
        self._parameters = {key: str(value) for key, value in parameters.items() if value != ""}
        if password is not None:
            self._parameters["password"] = password
        for name in _SECRET_PARAMETERS:
            if any(character in self._parameters.get(name, "") for character in "\r\n\0"):
                # libpq's password and service files hold one value a line.
                raise ConfigError(f"servers.{server}: {name} holds more than one line")

    def __repr__(self) -> str:
        return f"Connector({self.server!r})"

    @property
    def default_database(self) -> str:
        """The database that the DSN names, else what libpq would take."""
        parameters = self._parameters
        return (
            parameters.get("dbname")
            or os.environ.get("PGDATABASE")
            or parameters.get("user")
            or os.environ.get("PGUSER")
            or os.environ.get("USER", "postgres")
        )

    @property
    def where(self) -> str:
        """Host and port for people, without any secret."""
        host = self._parameters.get("host") or self._parameters.get("hostaddr") or "local socket"
        port = self._parameters.get("port")
        return f"{host}:{port}" if port else host

    def with_settings(self, settings: Mapping[str, str]) -> Connector:
        """The same, with settings for each session from its first moment on."""
        if not settings:
            return self
        parameters = with_options(self._parameters, settings)
        connector = Connector(self.server, conninfo.make_conninfo("", **parameters))
        connector.startup = self.startup
        return connector

    def scrub(self, text: str) -> str:
        """The text without this server's secrets."""
        secrets = {self._parameters.get(name, "") for name in _SECRET_PARAMETERS} - {""}
        for secret in sorted(secrets, key=len, reverse=True):  # one may be part of another
            text = text.replace(secret, "********")
        return text

    def parameters(self, database: str | None = None, purpose: str = "") -> dict[str, str]:
        """What libpq gets for a connection of ours, secrets and all: never show it."""
        return {
            "connect_timeout": str(_CONNECT_TIMEOUT_SECONDS),
            "keepalives_idle": "30",
            **self._parameters,
            "dbname": database or self.default_database,
            "application_name": f"{APPLICATION_NAME} {purpose}".strip(),
        }

    def connect(self, database: str | None = None, purpose: str = "") -> psycopg.Connection:
        """Open an autocommit connection without time limits, whose texts come in UTF-8.

        A database of encoding SQL_ASCII holds bytes of any: they come and go unchanged, a character
        each (Latin-1). psycopg would give ``bytes`` instead of texts there.

        Raises:
            ConnectionFailedError: unreachable, refused, wrong password, no such database.
            PermissionDeniedError: the role may not connect to this database.
        """
        parameters = {**self.parameters(database, purpose), "client_encoding": "UTF8"}
        try:
            connection = self.startup.open(parameters, _connected)
            if connection.info.parameter_status("server_encoding") == "SQL_ASCII":
                connection.execute("SET client_encoding = 'LATIN1'")
        except psycopg.Error as error:
            raise self.translate(error, database, connecting=True) from error
        return connection

    @contextmanager
    def tool_access(self, database: str | None, purpose: str) -> Iterator[ToolAccess]:
        """Let a PostgreSQL tool connect, without a secret on its command line."""
        parameters = self.startup.over(self._parameters)
        parameters["dbname"] = database or self.default_database
        parameters["application_name"] = f"{APPLICATION_NAME} {purpose}".strip()
        parameters.setdefault("connect_timeout", str(_CONNECT_TIMEOUT_SECONDS))
        environ = {
            name: value
            for name, value in os.environ.items()
            if name in _INHERITED or name.startswith(_INHERITED_PREFIXES)
        }
        environ["LC_ALL"] = "C"  # the tools' messages are read by us
        descriptors = []
        try:
            if (password := parameters.pop("password", None)) is not None:
                environ.pop("PGPASSWORD", None)
                if (descriptor := _memory_file(f"*:*:*:*:{_escape(password)}\n")) is None:
                    environ["PGPASSWORD"] = password
                else:
                    descriptors.append(descriptor)
                    parameters["passfile"] = f"/proc/self/fd/{descriptor}"
            secrets = {key: parameters.pop(key) for key in _SECRET_PARAMETERS if key in parameters}
            if secrets:
                lines = "".join(f"{key}={value}\n" for key, value in secrets.items())
                if (descriptor := _memory_file(f"[guardian]\n{lines}")) is None:
                    raise ConfigError(
                        f"servers.{self.server}.dsn: {', '.join(secrets)} needs Linux here"
                    )
                descriptors.append(descriptor)
                environ["PGSERVICEFILE"] = f"/proc/self/fd/{descriptor}"
                parameters["service"] = "guardian"
            yield ToolAccess(conninfo.make_conninfo("", **parameters), environ, tuple(descriptors))
        finally:
            for descriptor in descriptors:
                os.close(descriptor)

    def translate(
        self, error: psycopg.Error, database: str | None = None, *, connecting: bool = False
    ) -> GuardianError:
        """The GuardianError that says what a psycopg error means, in one line.

        ``connecting``: it was raised while we connected.
        """
        message = " ".join(self.scrub(str(error)).split())
        thing = f"server {self.server} ({self.where})"
        if database is not None:
            thing = f"database {database!r} on {thing}"
        return _meaning(error, thing, message, connecting=connecting)


def _meaning(error: psycopg.Error, thing: str, message: str, *, connecting: bool) -> GuardianError:
    if isinstance(error, psycopg.errors.InsufficientPrivilege) or _NO_CONNECT.search(message):
        return PermissionDeniedError(
            f"{thing}: {message}", mend="grant it, or back up as another role"
        )
    if _AUTHENTICATION.search(message):
        return ConnectionFailedError(
            f"{thing} refused us: {message}",
            mend="check user and password in dsn, and pg_hba.conf",
            transient=False,
        )
    if _NO_DATABASE.search(message):
        return ConnectionFailedError(
            f"{thing} cannot be opened: {message}",
            mend="check the database's name in dsn and databases",
            transient=False,
        )
    if is_lost(error):
        return _loss(thing, message, connecting=connecting)
    return _answer(error, thing, message)


def _loss(thing: str, message: str, *, connecting: bool) -> GuardianError:
    if connecting:
        return ConnectionFailedError(
            f"{thing} cannot be reached: {message}",
            mend="check that the server runs and that host, port and firewall are right",
        )
    return ConnectionFailedError(
        f"{thing} went away: {words_of_loss(message)}",
        mend="read the server's log: it was stopped, or crashed; else the network broke",
    )


def _answer(error: psycopg.Error, thing: str, message: str) -> GuardianError:
    """What a server that is there refuses."""
    if isinstance(error, psycopg.errors.LockNotAvailable | psycopg.errors.DeadlockDetected):
        return LockedError(f"{thing}: {message}")
    if isinstance(error, psycopg.errors.QueryCanceled):
        return TimedOutError(
            f"{thing}: a query of ours was canceled: {message}",
            mend="somebody canceled it there, or a pooler keeps a statement_timeout",
            transient=True,
        )
    if isinstance(error, psycopg.errors.DiskFull):
        return GuardianError(
            f"{thing} has no room left: {message}",
            mend="make room on that server's disks",
            cause=Cause.DISK_FULL,
        )
    return GuardianError(f"{thing}: {message}", transient=(error.sqlstate or "")[:2] in _PASSING)


def _connected(parameters: Mapping[str, str]) -> psycopg.Connection:
    return psycopg.connect(
        conninfo.make_conninfo("", **parameters), autocommit=True, prepare_threshold=None
    )


def _memory_file(text: str) -> int | None:
    """A descriptor of a file in memory that only we and our children can open (Linux)."""
    if not hasattr(os, "memfd_create"):
        return None
    descriptor = os.memfd_create("guardian", 0)  # inherited on purpose, through pass_fds
    os.fchmod(descriptor, 0o600)
    os.write(descriptor, text.encode())
    return descriptor


def _escape(password: str) -> str:
    """A password as libpq's password file wants it: backslash before colon and backslash."""
    return password.replace("\\", "\\\\").replace(":", "\\:")
