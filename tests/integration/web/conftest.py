"""A dashboard that is served for real, over a world of six weeks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest
from support.dashboard import NOW, World, copy_world, make_catalog

from guardian.testing import FakeClock
from guardian.web.server import WebServer

TOKEN = "a-long-token-that-nobody-guesses"

Serve = Callable[..., httpx.Client]


@pytest.fixture(scope="session")
def six_weeks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A catalog to copy: making one takes longer than most tests."""
    folder = tmp_path_factory.mktemp("six-weeks")
    make_catalog(folder, FakeClock(NOW), days=42).close()
    return folder


@pytest.fixture
def world(six_weeks: Path, tmp_path: Path) -> Iterator[World]:
    made = copy_world(six_weeks, tmp_path)
    yield made
    made.catalog.close()


@pytest.fixture
def serve(world: World) -> Iterator[Serve]:
    """``serve(token)``: a client of a server that is stopped after the test."""
    with ExitStack() as stack:

        def start(token: str | None = None, **options) -> httpx.Client:
            server = WebServer("127.0.0.1:0", token, world.sources, **options)
            server.start()
            stack.callback(server.stop)
            headers = {"Accept": "text/html"}
            client = httpx.Client(  # without certificates, which take long to read
                base_url=server.address, headers=headers, timeout=30, verify=False
            )
            return stack.enter_context(client)

        yield start


@pytest.fixture
def client(serve: Serve) -> httpx.Client:
    """A browser on this host, where there is no token."""
    return serve()
