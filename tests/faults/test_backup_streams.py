"""Failures of a backup whose dump comes in two streams: one ends all, and nothing is left."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.aftermath import is_a_dump, sessions_left, still_alive, words_of
from support.postgres import Database, PostgresServer
from support.site import Site, descendants, interrupt_when, snapshot_of

TWINS = """
CREATE TABLE noise AS
SELECT g AS id, (SELECT string_agg(md5(g::text || i::text), '') FROM generate_series(1, 40) i) AS t
  FROM generate_series(1, 28000) g;
CREATE TABLE twin AS TABLE noise;
"""


@pytest.fixture(scope="module")
def twins(pg15: PostgresServer) -> Iterator[Database]:
    """Two tables that no compressor makes small, each worth a stream as they are."""
    database = pg15.create_database()
    database.execute(TWINS)
    yield database
    pg15.drop_database(database.name)


@pytest.fixture
def site(twins: Database, tmp_path: Path) -> Site:
    made = Site(tmp_path / "site", twins.dsn())
    made.server = {"backup": {"jobs": 2, "attempts": 1}}
    return made


class Frozen:
    """A backup in the middle of both dumps, which stand still and end only when they are ended."""

    def __init__(self, site: Site) -> None:
        self.process = site.start("backup", "now", "--json")
        self.dumps: dict[int, list[str]] = {}
        deadline = time.monotonic() + 60
        while len(self.dumps) < 2:
            assert self.process.poll() is None
            if time.monotonic() > deadline:  # and none stands still for the tests that follow
                self.process.kill()
                raise AssertionError(f"two dumps were not seen within a minute, but {self.dumps}")
            for pid in descendants(self.process.pid):
                words = words_of(pid)
                if pid not in self.dumps and is_a_dump(words):
                    os.kill(pid, signal.SIGSTOP)
                    self.dumps[pid] = words
            time.sleep(0.005)
        self.children = descendants(self.process.pid)


def test_interrupted_nothing_is_left(site: Site, twins: Database) -> None:
    frozen = Frozen(site)
    outcome = interrupt_when(frozen.process, lambda: True, signal.SIGINT)
    assert outcome.code == 130
    outcome.assert_clean()
    assert_nothing_is_left(site, twins, frozen)


@pytest.mark.parametrize("option", ["--exclude-table-data=", "--table="])
def test_one_dump_that_dies_ends_the_other(site: Site, twins: Database, option: str) -> None:
    frozen = Frozen(site)
    (dump,) = [pid for pid, words in frozen.dumps.items() if any(option in one for one in words)]
    os.kill(dump, signal.SIGKILL)
    out, err = frozen.process.communicate(timeout=60)
    assert frozen.process.returncode == 1, err
    assert "killed by SIGKILL" in out
    assert_nothing_is_left(site, twins, frozen)


def test_kill_9_and_the_next_run_cleans_up(site: Site, twins: Database) -> None:
    frozen = Frozen(site)
    frozen.process.kill()
    for pid in frozen.dumps:
        os.kill(pid, signal.SIGCONT)
    frozen.process.communicate()
    result = site.back_up().result
    assert result["status"] == "succeeded", result
    assert site.listed() == [result["id"]]
    files = snapshot_of(site.store)
    assert all(f"/{result['id']}/" in name for name in files)
    assert sum(".dump." in name for name in files) == 2
    assert sessions_left(twins.dsn()) == []


def assert_nothing_is_left(site: Site, database: Database, frozen: Frozen) -> None:
    assert snapshot_of(site.store) == {}
    assert sessions_left(database.dsn()) == []
    assert still_alive(frozen.children) == []
