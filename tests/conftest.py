"""Fixtures for every test folder: real servers, and databases and roles on them.

Servers start when a test first asks for one, live for the session (of one xdist worker) and die
with it, also when pytest is killed. Nothing here skips: what is missing fails, and says so.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable, Iterator
from functools import partial

import pytest
from hypothesis import settings
from support.clients import can_choose_pids
from support.postgres import Database, PostgresServer, Role, installation, running_server
from support.s3 import MotoS3, RcloneS3

from guardian.adapters.scratch.folder import sweep_strays
from guardian.adapters.stores.retrying import Patience

# What pytest makes of our asserts is kept, also where Python may write no bytecode: to make it anew
# takes each worker half a minute.
sys.dont_write_bytecode = False

# Time is not judged by tests: a busy machine would fail them. CI tries the same examples each time.
settings.register_profile("guardian", deadline=None, derandomize="CI" in os.environ)
settings.load_profile("guardian")

# How wide whoever started us has their terminal must decide nothing.
for _name in ("COLUMNS", "LINES"):
    os.environ.pop(_name, None)

FreshDatabase = Callable[..., Database]
FreshRole = Callable[..., Role]


@pytest.fixture(scope="session")
def pg15() -> Iterator[PostgresServer]:
    """Debian's PostgreSQL 15: TLS, ICU, contrib."""
    with running_server(installation(15, from_wheel=False), tls=True) as server:
        yield server


@pytest.fixture(scope="session")
def pg16() -> Iterator[PostgresServer]:
    """The wheel's PostgreSQL 16: no TLS, no ICU, no contrib."""
    with running_server(installation(16, from_wheel=True)) as server:
        yield server


@pytest.fixture(scope="session")
def pg18() -> Iterator[PostgresServer]:
    """The wheel's PostgreSQL 18: no TLS, no ICU, no contrib."""
    with running_server(installation(18, from_wheel=True)) as server:
        yield server


@pytest.fixture(scope="session", params=["pg15", "pg16", "pg18"])
def pg(request: pytest.FixtureRequest) -> PostgresServer:
    """Each of the three in turn."""
    server: PostgresServer = request.getfixturevalue(request.param)
    return server


@pytest.fixture
def fresh_role() -> Iterator[FreshRole]:
    """``fresh_role(server, attributes="SUPERUSER")``: a role that is dropped after the test."""
    made: list[tuple[PostgresServer, Role]] = []

    def create(server: PostgresServer, name: str | None = None, *, attributes: str = "") -> Role:
        made.append((server, server.create_role(name, attributes=attributes)))
        return made[-1][1]

    yield create
    for server, role in reversed(made):
        server.drop_role(role)


@pytest.fixture
def fresh_database(fresh_role: FreshRole) -> Iterator[FreshDatabase]:
    """``fresh_database(server, options="TEMPLATE x")``: one that is dropped after the test.

    It needs ``fresh_role`` only so that databases go before the roles that own things in them.
    """
    made: list[Database] = []

    def create(server: PostgresServer, name: str | None = None, *, options: str = "") -> Database:
        made.append(server.create_database(name, options=options))
        return made[-1]

    yield create
    for database in reversed(made):
        database.server.drop_database(database.name)


@pytest.fixture
def hasty_stores(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who runs guardian in this process: it tries a store as often as ever, and pauses less."""
    hasty = partial(Patience, first_wait=0.02, longest_wait=0.1, jitter=0.02)
    monkeypatch.setattr("guardian.adapters.stores.retrying.Patience", hasty)


@pytest.fixture(scope="session")
def rclone_s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RcloneS3]:
    """An S3 server that checks credentials; its buckets are folders to look into."""
    with RcloneS3(tmp_path_factory.mktemp("rclone") / "root") as server:
        yield server


@pytest.fixture(scope="session")
def moto_s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MotoS3]:
    """An S3 server with conditional writes, versions and object lock."""
    with MotoS3(tmp_path_factory.mktemp("moto") / "moto.log") as server:
        yield server


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what only root can do where we are not root, and what takes minutes."""
    left_out = {"needs_root"} if os.geteuid() != 0 else set()
    if not can_choose_pids():
        left_out.add("needs_pids")
    if shutil.which("systemd-analyze") is None:
        left_out.add("needs_systemd")
    if not os.environ.get("GUARDIAN_LONG"):
        left_out.add("takes_long")
    rest = [item for item in items if not any(item.get_closest_marker(name) for name in left_out)]
    kept = set(rest)
    config.hook.pytest_deselected(items=[item for item in items if item not in kept])
    items[:] = rest


def pytest_sessionstart(session: pytest.Session) -> None:
    """Remove what a killed run left behind. Live runs beside us hold their folders' locks."""
    if not hasattr(session.config, "workerinput"):
        sweep_strays()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Name the skipped tests: a skip is a hole in what a green run says."""
    if skipped := _skipped(terminalreporter):
        terminalreporter.line(f"FAILED: skipped under CI: {', '.join(sorted(skipped))}", red=True)


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """Under CI a run with skipped tests fails."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if reporter is not None and not session.exitstatus and _skipped(reporter):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def _skipped(reporter: pytest.TerminalReporter) -> set[str]:
    if not os.environ.get("CI"):
        return set()
    return {report.nodeid for report in reporter.stats.get("skipped", [])}
