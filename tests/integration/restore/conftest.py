"""One small database on 15, backed up once; restores go to the same server or to others."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from support.postgres import PostgresServer
from support.restoring import Restoring, back_up, make_shop


@pytest.fixture(scope="session")
def _shop(pg15: PostgresServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Restoring]:
    source = make_shop(pg15)
    yield back_up(tmp_path_factory.mktemp("restore") / "site", source, pg15)
    pg15.drop_database(source.name)


@pytest.fixture
def shop(_shop: Restoring) -> Iterator[Restoring]:
    """The shop's backup; what a test restores is dropped after it."""
    yield _shop
    _shop.clean()
    assert _shop.beside() == []
