"""The watch through PgBouncer in transaction mode, where nothing that is set sticks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.conninfo import make_conninfo
from support.pooler import running_pooler
from support.site import Outcome as Ending
from support.site import Site

from guardian.adapters.postgres.connection import Connector
from guardian.watch.model import Action, Outcome

pytestmark = pytest.mark.needs_pgbouncer


@pytest.fixture
def scene(pg16: Any, make_scene: Any) -> Any:
    return make_scene(pg16)


@pytest.fixture
def pooler(scene: Any) -> Iterator[Callable[..., Connector]]:
    """``pooler(ignore="options")`` starts PgBouncer before the scene's server."""
    with ExitStack() as started:

        def start(**options: str) -> Connector:
            pool = running_pooler(scene.database.server, scene.role, **options)
            port = started.enter_context(pool)
            return Connector("main", scene.database.dsn(role=scene.role, tcp=True, port=port))

        yield start


def connector_dsn(connector: Connector) -> str:
    return make_conninfo("", **connector.parameters())


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


# --- backups and restores through it ---


@pytest.fixture
def site(scene: Any, tmp_path: Path) -> Site:
    scene.database.execute(
        "CREATE TABLE t AS SELECT g FROM generate_series(1, 100) g",
        f'GRANT pg_read_all_data TO "{scene.role.name}"',
    )
    return Site(tmp_path / "site", "", server={"backup": {"attempts": 1}})


def run(site: Site, *words: str) -> Ending:
    outcome = site.run_here(*words)
    outcome.assert_clean()
    return outcome


def settings_left(dsn: str) -> set[str]:
    """What is set in the connections of the pool, which anybody gets next."""
    found = set()
    with ExitStack() as opened:
        clients = [
            opened.enter_context(psycopg.connect(dsn, application_name="app")) for _ in range(3)
        ]
        for client in clients:  # each in a transaction, so each has another one of the pool's
            rows = client.execute("SELECT name FROM pg_settings WHERE source = 'session'")
            found |= {name for (name,) in rows}
    return found - {"application_name", "client_encoding"}  # which PgBouncer sets for each client


@pytest.mark.parametrize("ignore", ["", "options"])
def test_nothing_is_backed_up_through_a_pool_that_lends_and_nothing_stays_in_it(
    site, pooler, ignore
):
    """pg_dump's empty search_path would stay in connections that the application gets."""
    site.dsn = connector_dsn(pooler(ignore=ignore))
    outcome = run(site, "backup", "now", "--json")
    assert outcome.code == 1
    (result,) = outcome.json
    assert result["error"]["cause"] == "connection"
    assert "a pooler in transaction mode" in result["error"]["message"]
    checks = run(site, "doctor", "--json").json["checks"]
    (told,) = [one for one in checks if one["status"] == "failed"]
    assert "a pooler in transaction mode" in told["found"]
    assert told["mend"].startswith("let the dsn lead to the server itself")
    (between,) = [one for one in checks if "in reserve" in one["found"]]
    assert (between["name"], between["status"]) == ("main watch", "warning")
    assert run(site, "diagnose").code == 0
    assert run(site, "sessions").code == 0
    assert settings_left(site.dsn) == set()


def test_nothing_is_restored_through_one(site, scene, pooler):
    site.dsn = scene.database.dsn(role=scene.role, tcp=True)
    made = run(site, "backup", "now", "--json").result
    pooled = connector_dsn(pooler())
    outcome = run(site, "restore", made["id"], "--to", make_conninfo(pooled, dbname="back"))
    assert outcome.code == 1
    assert "a pooler in transaction mode" in outcome.err
    site.server = {"verify": {"scratch": pooled, "allow_source_server": True}}
    drilled = run(site, "verify", "--json")
    (result,) = drilled.json
    assert (drilled.code, result["result"]) == (3, "inconclusive")
    assert "a pooler in transaction mode" in result["reason"]
    assert settings_left(pooled) == set()


def test_through_a_pool_in_session_mode_backups_work(site, pooler):
    site.dsn = connector_dsn(pooler(mode="session"))
    made = run(site, "backup", "now", "--json")
    assert made.code == 0, made.err
    assert made.result["proof"] == "content"
    (drilled,) = run(site, "verify", "--json").json
    assert (drilled["result"], drilled["rows"]) == ("proven", 100)
