"""A real browser on a dashboard that is served for real."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, Route, expect, sync_playwright
from support.dashboard import NOW, World, copy_world, make_catalog

from guardian.testing import FakeClock
from guardian.web.server import WebServer

expect.set_options(timeout=20_000)  # of a busy machine

Open = Callable[..., Page]

PAGES = (
    "/",
    "/database?server=main&database=mina",
    "/backups",
    "/backups/20261114T020008Z-080009",
    "/sessions",
    "/session?server=main&pid=21044",
    "/vitals",
    "/vitals/history?server=main&vital=connections",
    "/incidents",
    "/incidents/k3f9w2ap",
    "/doctor",
    "/nowhere",
)
CHROMIUM = shutil.which("chromium")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave these out where there is no chromium (``apt-get install chromium``)."""
    if CHROMIUM:
        return
    rest = [item for item in items if item.get_closest_marker("needs_chromium") is None]
    config.hook.pytest_deselected(items=[item for item in items if item not in rest])
    items[:] = rest


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"]
        )
        yield started
        started.close()


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
def served(world: World) -> Iterator[WebServer]:
    server = WebServer("127.0.0.1:0", None, world.sources)
    server.start()
    yield server
    server.stop()


@pytest.fixture
def open_page(browser: Browser, served: WebServer) -> Iterator[Open]:
    """``open_page("/backups", color_scheme="dark")``: a page of a fresh browser context.

    Requests to anybody but the server, and whatever the browser complains of, fail the test.
    """
    complaints: list[str] = []

    def only_ours(route: Route) -> None:
        if route.request.url.startswith(served.address):
            route.continue_()
        else:
            complaints.append(f"asked for {route.request.url}")
            route.abort()

    def complain(message: Any) -> None:
        if message.type == "error" and "404" not in message.text:
            complaints.append(message.text)

    with ExitStack() as stack:

        def start(path: str, **options: Any) -> Page:
            options.setdefault("viewport", {"width": 1280, "height": 800})
            context = stack.enter_context(browser.new_context(base_url=served.address, **options))
            context.route("**/*", only_ours)
            page = context.new_page()
            page.on("console", complain)
            page.on("pageerror", lambda error: complaints.append(str(error)))
            page.set_default_timeout(20_000)
            page.goto(path)
            return page

        yield start
    assert complaints == []
