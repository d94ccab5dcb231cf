"""The watch through PgBouncer in transaction mode, where nothing that is set sticks."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.conninfo import make_conninfo
from support.clients import until
from support.ports import free_port

from guardian.adapters.postgres.connection import Connector
from guardian.watch.model import Action, Outcome

pytestmark = pytest.mark.needs_pgbouncer


@pytest.fixture
def scene(pg16: Any, make_scene: Any) -> Any:
    return make_scene(pg16)


@pytest.fixture
def pooler(scene: Any, tmp_path: Path) -> Iterator[Callable[..., Connector]]:
    """``pooler(ignore="options")`` starts PgBouncer before the scene's server."""
    started: list[subprocess.Popen[bytes]] = []
    server = scene.database.server

    def start(*, ignore: str = "") -> Connector:
        port = free_port()
        folder = server.embedded.path / f"pooler-{port}"
        folder.mkdir()
        users = folder / "users.txt"
        users.write_text(f'"{scene.role.name}" "{scene.role.password}"\n')
        config = folder / "pgbouncer.ini"
        config.write_text(
            f"[databases]\n* = host={server.socket_dir} port={server.port}\n"
            f"[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\n"
            f"auth_type = plain\nauth_file = {users}\npool_mode = transaction\n"
            f"default_pool_size = 3\nignore_startup_parameters = {ignore}\n"
        )
        for path in (folder, users, config):
            server.embedded.runner.own(path)
        program = shutil.which("pgbouncer")
        assert program is not None
        with (tmp_path / "pgbouncer.log").open("wb") as log:
            started.append(
                subprocess.Popen(
                    [program, config], stdout=log, stderr=log, env=dict(os.environ),
                    **server.embedded.runner.identity,
                )
            )  # fmt: skip
        connector = Connector("main", scene.database.dsn(role=scene.role, tcp=True, port=port))
        until(lambda: _answers(connector))
        return connector

    yield start
    for process in started:
        process.terminate()
        process.wait()


def connector_dsn(connector: Connector) -> str:
    return make_conninfo("", **connector.parameters())


def _answers(connector: Connector) -> bool:
    try:
        psycopg.connect(connector_dsn(connector)).close()
    except psycopg.OperationalError:
        return False
    return True


@pytest.mark.parametrize("ignore", ["", "options"])
def test_it_sees_and_kills_and_tells_that_a_pooler_is_between(scene, pooler, ignore):
    """Options may be refused, or swallowed without a word."""
    with scene.database.connect() as connection:
        connection.execute(f"ALTER ROLE \"{scene.role.name}\" SET DateStyle = 'SQL, DMY'".encode())
    connector = pooler(ignore=ignore)
    watcher = scene._make(connector)
    victim, bystander = scene.crowd.in_transaction(), scene.crowd.in_transaction()
    for _ in range(8):
        seen = watcher.observe()
        assert {victim.pid, bystander.pid} <= {one.pid for one in seen.sessions}
    assert watcher.facts.pooled
    (told,) = watcher.facts.shortcomings
    assert "PgBouncer" in told
    result = watcher.signal(scene.find(victim.pid, watcher.observe()), Action.TERMINATE)
    assert (result.outcome, result.confirmed) == (Outcome.SIGNALLED, True)
    assert victim.fate() == "57P01"
    assert bystander.fate() is None
    chief = scene.crowd.idle(superuser=True)
    result = watcher.signal(scene.find(chief.pid, watcher.observe()), Action.TERMINATE)
    assert result.outcome is Outcome.REFUSED
    assert watcher.observe().sessions
    # Nothing of ours was left in the pool's connections.
    with psycopg.connect(connector_dsn(connector), autocommit=True) as other:
        assert other.execute("SELECT current_setting('lock_timeout')").fetchone() == ("0",)


def test_its_own_server_connections_are_no_victims(scene, pooler):
    watcher = scene._make(pooler())
    patrol = scene.patrol(scene.policy(state=("idle", "active")), watcher=watcher)
    client = scene.crowd.idle()
    for _ in range(4):
        kills = patrol.cycle().kills
        assert {kill.pid for kill in kills} <= {client.pid}
    assert client.fate() == "57P01"


def test_a_pooler_that_refuses_options_gets_none_and_nothing_is_set_through_it(scene, pooler):
    """What we set would stay for whoever gets that connection next."""
    with scene.database.connect() as connection:
        connection.execute(
            f"ALTER ROLE \"{scene.role.name}\" SET statement_timeout = '7min'".encode()
        )
    connector = pooler()
    for _ in range(2):
        with connector.connect() as connection:
            assert connection.execute("SHOW statement_timeout").fetchone() == ("7min",)
    with connector.tool_access(None, "dump") as access:
        assert "options" not in access.conninfo
