"""Where backups are restored to: a server as initdb leaves it."""

from __future__ import annotations

from dataclasses import dataclass

import psycopg
from psycopg import sql

from guardian.adapters.scratch.embedded import EmbeddedServer


@dataclass(frozen=True)
class Target:
    """A server with ordinary settings, and one database on it that is made anew each time."""

    server: EmbeddedServer
    database: str = "bench"

    @property
    def dsn(self) -> str:
        """Of the database."""
        return self.server.dsn(self.database)

    def make_empty(self) -> str:
        """Drop all databases that earlier runs have left, and make an empty one; its DSN."""
        with psycopg.connect(self.server.dsn("postgres"), autocommit=True) as connection:
            found = connection.execute(
                "SELECT datname FROM pg_database WHERE NOT datistemplate AND datname <> 'postgres'"
            ).fetchall()
            for (name,) in found:
                connection.execute(
                    sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name))
                )
            connection.execute("CHECKPOINT")
            connection.execute(
                sql.SQL("CREATE DATABASE {} TEMPLATE template0").format(
                    sql.Identifier(self.database)
                )
            )
        return self.dsn
