"""A site with one small database, and one with a database whose dump takes a while."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support.postgres import Database, PostgresServer
from support.site import Site

SMALL = """
CREATE TABLE users (id bigint PRIMARY KEY, name text NOT NULL);
INSERT INTO users SELECT g, 'user ' || g FROM generate_series(1, 500) g;
CREATE TABLE notes (id bigint PRIMARY KEY, user_id bigint REFERENCES users, body text);
INSERT INTO notes SELECT g, 1 + g % 500, md5(g::text) FROM generate_series(1, 2000) g;
"""

# About 60 MB that no compressor makes small, so that a backup takes long enough to be hit.
LARGE = """
CREATE TABLE noise AS
SELECT g AS id, (SELECT string_agg(md5(g::text || i::text), '') FROM generate_series(1, 60) i) AS t
  FROM generate_series(1, 30000) g;
"""


@pytest.fixture
def small(pg15: PostgresServer, fresh_database: Callable[..., Database]) -> Database:
    database = fresh_database(pg15)
    database.execute(SMALL)
    return database


@pytest.fixture(scope="session")
def large(pg15: PostgresServer) -> Iterator[Database]:
    database = pg15.create_database()
    database.execute(LARGE)
    yield database
    pg15.drop_database(database.name)


@pytest.fixture
def site(small: Database, tmp_path: Path) -> Site:
    return Site(tmp_path / "site", small.dsn())


@pytest.fixture
def large_site(large: Database, tmp_path: Path) -> Site:
    return Site(tmp_path / "site", large.dsn())
