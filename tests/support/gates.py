"""A database whose restore stands still at the step that one names, for as long as one likes.

Steps of a small restore last for milliseconds; whoever watches for them would see them on a quick
machine one day and not the next. Here functions of the database wait instead: within sessions that
were opened with ``at(step)`` in their environment, which guardian hands on to all of its own.
"""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

import psycopg
from psycopg.conninfo import make_conninfo
from support.restoring import wait_for
from support.site import Site, descendants

_SETTING = "gates.at"
_OPEN = "gates-are-open"
"""A file in the data folder of the server: all who wait there go on."""

GATES = f"""
CREATE FUNCTION stay(step text, number bigint) RETURNS boolean IMMUTABLE LANGUAGE plpgsql AS $$
BEGIN
    WHILE current_setting('{_SETTING}', true) = step
        AND (pg_stat_file('{_OPEN}', true)).size IS NULL
    LOOP
        PERFORM pg_sleep(0.01);
    END LOOP;
    RETURN true;
END $$;
CREATE DOMAIN patient AS text CHECK (stay('definitions', 0));
CREATE FUNCTION patiently(patient, text) RETURNS patient IMMUTABLE LANGUAGE sql AS 'SELECT $1';
CREATE AGGREGATE slowly(text) (SFUNC = patiently, STYPE = patient, INITCOND = 'asked when made');
CREATE TABLE noise (id bigint, body text, CONSTRAINT slow CHECK (stay('rows', id)));
INSERT INTO noise SELECT g, repeat(md5(g::text), 400) FROM generate_series(1, 1000) g;
CREATE INDEX slowly_too ON noise (stay('indexes', id));
CREATE STATISTICS slowest ON (stay('analyzing', id)), (stay('analyzing', -id)) FROM noise;
CREATE TABLE still AS SELECT 1 AS id;
"""
"""Rows of 13 MB: all pipes and buffers hold less, so whoever brings them stands still, too."""

STEPS = {
    "definitions": r"^CREATE AGGREGATE public\.slowly",
    "rows": r"^COPY public\.noise .*FROM stdin",
    "indexes": r"^CREATE INDEX slowly_too",
    "comparing": r"^COPY .*\mstill\M.*TO STDOUT|pg_table_size",
    "analyzing": "^ANALYZE",
}
"""What runs then, as regular expressions for PostgreSQL."""


@dataclass(frozen=True)
class Place:
    """A server where guardian works, by a string to reach it and the folder of its data."""

    dsn: str
    data_dir: Path

    def databases_where(self, pattern: str) -> list[str]:
        """In which databases a statement like this runs for a guardian."""
        with psycopg.connect(self.dsn, connect_timeout=2, autocommit=True) as connection:
            rows = connection.execute(
                "SELECT datname FROM pg_stat_activity WHERE state <> 'idle' AND query ~ %s"
                " AND application_name LIKE 'guardian%%'",
                (pattern,),
            ).fetchall()
        return [name for (name,) in rows]

    def open(self) -> None:
        """All gates stand open from now on: for a server that is thrown away."""
        (self.data_dir / _OPEN).touch()

    @contextmanager
    def opened(self) -> Iterator[None]:
        """All gates stand open meanwhile."""
        self.open()
        try:
            yield
        finally:
            (self.data_dir / _OPEN).unlink(missing_ok=True)  # the server may be gone


@dataclass
class Standing:
    """A guardian at work, and where. ``place`` and ``database`` are those of its latest step."""

    process: subprocess.Popen[str]
    find: Callable[[], Place | None]
    place: Place = field(init=False)
    database: str = field(init=False)

    def comes_to(self, step: str) -> None:
        """Wait until it does: one of STEPS, or what a statement looks like."""
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            assert self.process.poll() is None, f"it ended before {step}"
            with suppress(psycopg.Error):  # the server may only just begin
                if (place := self.find()) and (
                    there := place.databases_where(STEPS.get(step, step))
                ):
                    self.place, self.database = place, there[0]
                    return
            time.sleep(0.03)
        raise AssertionError(f"it never came to {step}")


def guarded(pid: int) -> bool:
    """Whether each pg_restore below has the process that ends it when this one is killed.

    That is started just after it: whoever is killed in between leaves a pg_restore to its end.
    """
    lines = {one: command_line(one) for one in descendants(pid)}
    tools = [one for one, line in lines.items() if line[0].endswith(b"/pg_restore")]
    guards = sum(b"guardian-guard" in line for line in lines.values())
    return sum(leads_a_group(one) for one in tools) <= guards  # its workers are of its group


def leads_a_group(pid: int) -> bool:
    try:
        return os.getpgid(pid) == pid
    except OSError:
        return False


def command_line(pid: int) -> list[bytes]:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return [b""]


def at(step: str) -> dict[str, str]:
    """For the environment of a guardian that is to stand still there."""
    return {"PGOPTIONS": f"-c {_SETTING}={step}"}


@contextmanager
def standing(
    site: Site, words: Sequence[str], step: str, find: Callable[[], Place | None]
) -> Iterator[Standing]:
    """A guardian that has come to this step, and goes no further. ``find`` says where it works.

    At a statement that is none of STEPS it has to wait for something else.
    """
    gate = "indexes" if step == "comparing" else step
    environ = {**site.environ, **(at(gate) if gate in STEPS else {})}
    process = replace(site, environ=environ).start(*words)
    with ending(process), ExitStack() as stack:
        it = Standing(process, find)
        it.comes_to(gate)
        if step == "comparing":  # which calls no function of the database: a lock makes it wait
            stack.enter_context(_locked(make_conninfo(it.place.dsn, dbname=it.database)))
            stack.enter_context(it.place.opened())
            it.comes_to(step)
        wait_for(lambda: guarded(process.pid))
        yield it


@contextmanager
def _locked(dsn: str) -> Iterator[None]:
    """Nobody reads one of the tables of that database, where all rows are in place."""
    connection = psycopg.connect(dsn)
    try:
        connection.execute("LOCK TABLE still IN ACCESS EXCLUSIVE MODE")
        yield
    finally:
        connection.close()  # the server may be gone


@contextmanager
def ending(process: subprocess.Popen[str]) -> Iterator[None]:
    """Whatever comes, the process is gone afterwards."""
    try:
        yield
    finally:
        process.kill()
        process.communicate()
