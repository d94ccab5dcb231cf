"""What the benchmarks share: a sample database on a server of its own, and one way measured."""

from __future__ import annotations

import os
import shutil
import statistics
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psycopg

from guardian.adapters.postgres.tools import choose_server
from guardian.adapters.scratch.cluster import PLAIN_SETTINGS
from guardian.adapters.scratch.embedded import EmbeddedServer
from guardian.units import format_size

WIDE = """
CREATE TABLE wide AS
SELECT g AS id, repeat(md5(g::text), 8) AS body,
       jsonb_build_object('a', g, 'b', md5((g * 7)::text), 'c', array[g, g + 1, g + 2]) AS document,
       timestamptz '2026-01-01' + g * interval '1 second' AS at
  FROM generate_series(1, {rows}) g
"""

CANARY = "canary-7d1e0c-whoever-reads-this-needed-no-key"
CANARIES = f"""
CREATE TABLE canaries AS
SELECT g AS id, '{CANARY} ' || md5(g::text) AS song FROM generate_series(1, 200) g
"""
"""A small table that comes first in a dump, to be looked for where no row should be readable."""


@dataclass(frozen=True)
class Sample:
    """A database to measure with."""

    server: EmbeddedServer
    version: str
    dsn: str
    size: int

    @property
    def bindir(self) -> Path:
        """The programs of its server."""
        return self.server.bindir

    def __str__(self) -> str:
        return f"PostgreSQL {self.version}, {format_size(self.size)}, {os.cpu_count()} cores"


def contents(dsn: str) -> dict[str, tuple[int, str]]:
    """Of each table: how many rows, and a sum of their hashes. Guardian's own are not asked."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        tables = connection.execute(
            "SELECT format('%I.%I', schemaname, tablename) FROM pg_tables"
            " WHERE schemaname NOT IN ('pg_catalog', 'information_schema')"
        ).fetchall()
        found = {}
        for (table,) in tables:
            query = f"SELECT count(*), sum(hashtextextended(t::text, 0))::text FROM {table} t"
            row = connection.execute(query.encode()).fetchone()
            assert row is not None
            found[table] = (row[0], row[1] or "0")
    return found


@contextmanager
def sample_server(
    scale: int, directory: Path | None = None, *, major: int = 15
) -> Iterator[Sample]:
    """Pgbench at the given scale and a wide table, on a server with ordinary settings.

    ``major`` is the oldest that will do: the host's own programs first, then the newest.
    """
    installation = choose_server(major)
    with EmbeddedServer(
        installation.bindir, directory=directory, settings=PLAIN_SETTINGS
    ) as server:
        with psycopg.connect(server.dsn("postgres"), autocommit=True) as connection:
            connection.execute("CREATE DATABASE bench")
        dsn = server.dsn("bench")
        pgbench = shutil.which("pgbench", path=f"{installation.bindir}:{os.environ['PATH']}")
        subprocess.run(
            [str(pgbench), "-i", "-q", "-s", str(scale), dsn], check=True, capture_output=True
        )
        with psycopg.connect(dsn, autocommit=True) as connection:
            connection.execute(WIDE.format(rows=scale * 25000))
            connection.execute(CANARIES.encode())
            connection.execute("VACUUM ANALYZE")
            connection.execute("CHECKPOINT")
            row = connection.execute("SELECT pg_database_size('bench')").fetchone()
        assert row is not None
        yield Sample(server, installation.version, dsn, row[0])


@dataclass
class Way:
    """One way to back up, and what it took each time."""

    name: str
    command: Sequence[str]
    seconds: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)
    peak: list[int] = field(default_factory=list)

    def forget(self) -> None:
        """Drop what was measured, but for the memory."""
        self.seconds.clear()
        self.cpu.clear()

    @property
    def median(self) -> float:
        """Of the seconds."""
        return statistics.median(self.seconds)


def measure(way: Way, environ: dict[str, str]) -> None:
    """Run once; the usage is that of the command and all the children it waited for."""
    began = time.monotonic()
    process = subprocess.Popen(
        way.command, env=environ, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    _, status, usage = os.wait4(process.pid, 0)
    way.seconds.append(time.monotonic() - began)
    if os.waitstatus_to_exitcode(status) != 0:
        raise SystemExit(f"{way.name} failed: {' '.join(way.command)}")
    way.cpu.append(usage.ru_utime + usage.ru_stime)
    way.peak.append(usage.ru_maxrss * 1024)
