"""What tests of drills share: databases to back up, and looking at what a drill said and left."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql
from support.postgres import Database, PostgresServer
from support.site import Outcome, Site

from guardian.demo.seed import seed

SMALL = """
CREATE TABLE users (id bigint PRIMARY KEY, name text NOT NULL);
INSERT INTO users SELECT g, 'user ' || g FROM generate_series(1, 500) g;
CREATE TABLE notes (id bigint PRIMARY KEY, user_id bigint REFERENCES users, body text);
INSERT INTO notes SELECT g, 1 + g % 500, md5(g::text) FROM generate_series(1, 2000) g;
CREATE INDEX notes_user ON notes (user_id);
"""


def create_demo(server: PostgresServer, name: str) -> Database:
    """The demo's sample database, small."""
    database = server.create_database(name)
    seed(database.dsn(), scale=0.02)
    return database


def create_pgbench(server: PostgresServer, name: str) -> Database:
    """What pgbench makes, with foreign keys and partitions."""
    database = server.create_database(name)
    options = ["-i", "-q", "-s", "1", "--foreign-keys", "--partitions=3"]
    subprocess.run(
        [_pgbench(server), *options, database.dsn()], check=True, capture_output=True, text=True
    )
    return database


def _pgbench(server: PostgresServer) -> Path:
    """The server's own, else Debian's: it only sends SQL."""
    own = server.tool("pgbench")
    return own if own.exists() else Path("/usr/lib/postgresql/15/bin/pgbench")


def verify(site: Site, *words: str, code: int | None = 0) -> list[dict[str, Any]]:
    """Run ``guardian verify --json``; its drills."""
    outcome = site.run_quickly("verify", "--json", *words)
    outcome.assert_clean()
    if code is not None:
        assert outcome.code == code, outcome.out + outcome.err
    return list(outcome.json)


def verify_one(site: Site, *words: str, code: int | None = 0) -> dict[str, Any]:
    """The only drill of a ``guardian verify --json``."""
    (drill,) = verify(site, *words, code=code)
    return dict(drill)


def by_database(drills: Iterable[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Drills by their database's name."""
    return {drill["database"]: drill for drill in drills}


def results(drills: Iterable[dict[str, Any]]) -> dict[str, tuple[str, str | None]]:
    """What came of each, and why."""
    return {drill["database"]: (drill["result"], drill["reason"]) for drill in drills}


def proofs_in(folder: Path) -> dict[str, list[dict[str, Any]]]:
    """The records of drills that lie beside backups in a local store, by the backup's id."""
    found: dict[str, list[dict[str, Any]]] = {}
    for path in sorted(folder.rglob("proof-*.json")):
        found.setdefault(path.parent.name, []).append(json.loads(path.read_text()))
    return found


def scratch_databases(server: PostgresServer) -> list[str]:
    """What drills left on a server."""
    with server.connect() as connection:
        rows = connection.execute(
            "SELECT datname FROM pg_database WHERE datname LIKE 'guardian_drill_%'"
        ).fetchall()
    return [name for (name,) in rows]


def sessions_of_ours(server: PostgresServer) -> list[tuple[Any, ...]]:
    """Sessions of guardian on a server, once those that are ending have ended."""
    found: list[tuple[Any, ...]] = []
    with server.connect() as connection:
        for _ in range(150):
            found = connection.execute(
                "SELECT datname, application_name, state, query FROM pg_stat_activity "
                "WHERE application_name LIKE 'guardian%'"
            ).fetchall()
            if not found:
                return []
            time.sleep(0.1)
    return found


def scratch_folders(folder: Path) -> list[str]:
    """Throw-away servers that lie in a folder."""
    return sorted(path.name for path in folder.glob("guardian-*"))


def gone(pids: Sequence[int]) -> list[str]:
    """Which of these processes still live after a while, by their command lines."""
    for _ in range(150):
        alive = [pid for pid in pids if _lives(pid)]
        if not alive:
            return []
        time.sleep(0.1)
    return [f"{pid} {_command(pid)}" for pid in pids if _lives(pid)]


def _lives(pid: int) -> bool:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return stat.rsplit(")", 1)[1].split()[0] != "Z"


def _command(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
    except OSError:
        return "?"


def execute(dsn: str, *statements: str) -> None:
    """Run statements, each in its own transaction."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        for statement in statements:
            connection.execute(statement.encode())


def ensure_roles(server: PostgresServer, *names: str) -> None:
    """Roles that another test of the session may have made already; they stay."""
    for name in names:
        statement = sql.SQL("CREATE ROLE {}").format(sql.Identifier(name))
        with server.connect() as connection, suppress(psycopg.errors.DuplicateObject):
            connection.execute(statement)


def told(outcome: Outcome) -> str:
    """All that a command said."""
    return outcome.out + outcome.err


def environment_without(*names: str) -> dict[str, str]:
    """This process's environment without some variables."""
    return {key: value for key, value in os.environ.items() if key not in names}
