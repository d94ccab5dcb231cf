"""Sites for drills. Servers and backups are made once for a file's tests wherever that may be."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support.drilling import SMALL
from support.postgres import Database, PostgresServer
from support.site import Site


@pytest.fixture(scope="module")
def small(pg15: PostgresServer) -> Iterator[Database]:
    """Two tables with a foreign key; tests of the module leave it as it is."""
    database = pg15.create_database()
    database.execute(SMALL)
    yield database
    pg15.drop_database(database.name)


@pytest.fixture(scope="module")
def site(small: Database, tmp_path_factory: pytest.TempPathFactory) -> Site:
    """With one backup of it, in a local store."""
    made = Site(tmp_path_factory.mktemp("verify") / "site", small.dsn())
    assert made.back_up().code == 0
    return made


@pytest.fixture
def new_site(small: Database, tmp_path: Path) -> Callable[[], Site]:
    """Sites of the test's own, without a backup."""
    count = iter(range(100))
    return lambda: Site(tmp_path / f"site{next(count)}", small.dsn())
