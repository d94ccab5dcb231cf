"""The runbook's quick checks, made on real servers, stores and keys, and never for long."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from support.clients import Crowd
from support.home import NOW, Home
from support.incidents import condition, incident
from support.postgres import Database, PostgresServer
from support.site import PASSPHRASE

from guardian.daemon.quick_checks import QuickChecks, run_within
from guardian.errors import StoreError
from guardian.escalate.model import Condition, Fact, Observation, Severity

NIGHT = NOW.replace(hour=2)


def seen(*conditions: Condition) -> Observation:
    return Observation("x", NOW, conditions)


def bare(key: str, **more: Any) -> Condition:
    return condition(key, checks=(), occurrence=None, **more)


def checks(home: Home, key: str, **more: Any) -> dict[str, str]:
    done = QuickChecks(home.app()).complete(seen(bare(key, **more)))
    return {one.name: one.value for one in done.conditions[0].checks}


@pytest.fixture
def database(pg16: PostgresServer, fresh_database: Callable[..., Database]) -> Database:
    return fresh_database(pg16)


@pytest.fixture
def home(tmp_path: Path, database: Database) -> Home:
    return Home(tmp_path, database.dsn())


def test_a_failed_backup_comes_with_disk_log_connection_and_key(home: Home) -> None:
    home.succeed(NIGHT - timedelta(days=1))
    home.fail(NIGHT)
    found = checks(home, "backup.failed:main/mina")
    assert list(found) == ["last backups", "disk space", "last tries", "connecting now", "key"]
    assert "5000 B dumped" in found["last backups"] or "4.88 KiB dumped" in found["last backups"]
    assert "% full, " in found["disk space"]
    assert str(home.site.root / "state") in found["disk space"]
    assert found["last tries"].splitlines() == [
        "2026-11-23 02:00 UTC failed (disk_full): no space left",
        "2026-11-22 02:00 UTC succeeded",
    ]
    assert found["connecting now"].startswith("answers, in ")
    assert found["key"] == "usable: symmetric, AES256"
    assert PASSPHRASE not in repr(found)


def test_what_is_broken_says_so(tmp_path: Path) -> None:
    home = Home(tmp_path)  # nobody listens there
    app = home.app()
    home.site.passphrase.chmod(0o644)
    done = QuickChecks(app).complete(seen(bare("backup.failed:main/mina")))
    found = {one.name: one.value for one in done.conditions[0].checks}
    assert "refused" in found["connecting now"]
    assert "chmod 600" in found["key"]
    assert found["last backups"] == "there is none"
    assert found["last tries"] == "there was none"


def test_a_store_is_tried(home: Home) -> None:
    home.site.store.mkdir()
    assert checks(home, "store.failing:local")["the store now"].startswith(
        "write, read, list and delete work; "
    )
    home.site.store.rmdir()
    home.site.store.write_text("no folder")
    assert "write" not in checks(home, "store.failing:local")["the store now"]


def test_who_is_connected_and_who_blocks_whom(
    home: Home, database: Database, fresh_role: Callable[..., Any]
) -> None:
    crowd = Crowd(database, fresh_role(database.server))
    try:
        root = crowd.holder(1, "shop")
        waiter = crowd.waiter(1, "shop")
        found = checks(home, "vital.lock_wait:main")
    finally:
        crowd.close()
    assert "1 idle in transaction" in found["connections"]
    assert f"pid {root.pid} of {crowd.role.name}: transaction open" in found["connections"]
    first, second = found["who holds up whom"].splitlines()
    assert f"(pid {root.pid}) idle in transaction" in first
    assert f"  {crowd.role.name}@{database.name} (pid {waiter.pid}) active, waits" in second


def test_a_server_that_is_down_comes_with_the_others_and_what_there_is_to_go_back_to(
    tmp_path: Path, database: Database
) -> None:
    home = Home(tmp_path)
    home.site.sections["servers"] = {"spare": {"dsn": database.dsn()}}
    home.drill(home.succeed(NIGHT), NIGHT)
    found = checks(home, "server.down:main", database=None)
    assert "refused" in found["connecting now"]
    assert found["other servers"].startswith("spare: answers")
    assert found["last backups"].startswith("mina: 20261123T020000Z-000001 2026-11-23 02:00 UTC")
    assert "proven" in found["last backups"]


def test_a_probe_is_tried_once_more(home: Home) -> None:
    home.site.sections["probes"] = [{"name": "cache", "kind": "tcp", "address": "127.0.0.1:1"}]
    found = checks(home, "probe.cache", kind="probe.cache", server=None)
    assert "refused" in found["a try now"]


@pytest.mark.parametrize(
    "key",
    [
        "backup.overdue:main/mina",
        "backup.shrunk:main/mina",
        "verify.mismatch:main/mina",
        "verify.inconclusive:main/mina",
        "proof.overdue:main/mina",
        "kill.limit:main",
        "disk.low:/x",
        "channel.failing:hook",
    ],
)
def test_every_other_kind_has_its_checks(home: Home, key: str) -> None:
    home.drill(home.succeed(NIGHT), NIGHT)
    found = checks(home, key)
    assert found
    assert not [text for text in found.values() if not text or "could not be looked" in text]


def test_kinds_without_checks_get_none(home: Home) -> None:
    assert checks(home, "guardian.privileges:main") == {}


# --- when they are made ---


def test_the_same_happening_keeps_its_checks_and_a_new_one_gets_new_ones(home: Home) -> None:
    old = Fact("disk space", "as it was")
    known = incident(condition=condition(checks=(old,), occurrence="first"))
    quick = QuickChecks(home.app())
    same = quick.complete(seen(condition(checks=(), occurrence="first")), [known])
    assert same.conditions[0].checks == (old,)
    new = quick.complete(seen(condition(checks=(), occurrence="second")), [known])
    assert len(new.conditions[0].checks) == 5


def test_what_a_condition_brings_itself_stays_the_newest(home: Home) -> None:
    old = (Fact("who holds up whom", "then"), Fact("connections", "then"))
    fresh = Fact("who holds up whom", "now")
    known = incident(
        key="locks.blocked:main", condition=bare("locks.blocked:main", severity=Severity.P2)
    )
    known = replace(known, condition=replace(known.condition, checks=old))
    done = QuickChecks(home.app()).complete(
        seen(replace(bare("locks.blocked:main"), checks=(fresh,))), [known]
    )
    assert done.conditions[0].checks == (fresh, old[1])


def test_a_hundred_conditions_of_a_server_look_once(home: Home) -> None:
    many = [bare(f"backup.failed:main/d{n}", database=f"d{n}") for n in range(100)]
    done = QuickChecks(home.app()).complete(seen(*many))
    answers = {
        one.value for each in done.conditions for one in each.checks if one.name == "connecting now"
    }
    assert len(answers) == 1


# --- never for long ---


@pytest.fixture
def silent() -> Iterator[int]:
    """Takes connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def test_a_server_that_hangs_costs_a_moment_and_the_rest_is_there(
    tmp_path: Path, silent: int
) -> None:
    home = Home(tmp_path, f"host=127.0.0.1 port={silent} dbname=mina user=x")
    home.fail(NIGHT)
    done = QuickChecks(home.app(), seconds=0.5).complete(seen(bare("backup.failed:main/mina")))
    found = {one.name: one.value for one in done.conditions[0].checks}
    assert found["connecting now"] == "no answer within 0.5s"
    assert found["last tries"].startswith("2026-11-23 02:00 UTC failed")


def test_what_hangs_raises_or_crashes_costs_no_other_check() -> None:
    never = threading.Event()

    def hang() -> str:
        never.wait()
        return "at last"

    def refuse() -> str:
        raise StoreError("store x: it is gone", mend="bring it back")

    def crash() -> str:
        raise ZeroDivisionError("secret detail")

    try:
        found = run_within(0.2, {"a": hang, "b": refuse, "c": crash, "d": lambda: "fine"})
    finally:
        never.set()
    assert found == {
        "a": "no answer within 0.2s",
        "b": "store x: it is gone; bring it back",
        "c": "could not be looked at: ZeroDivisionError",
        "d": "fine",
    }
    assert list(run_within(0, {"a": hang}).values()) == ["left out: other checks took all the time"]


def test_a_host_without_threads_costs_the_checks_and_not_the_alert(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    found = run_within(5, {"a": lambda: "fine", "b": lambda: "fine"})
    assert set(found.values()) == {"could not be looked at: this host can start no thread"}


def test_a_catalog_that_cannot_be_opened_costs_the_checks_and_not_the_alert(
    tmp_path: Path,
) -> None:
    home = Home(tmp_path)
    (home.site.root / "state").write_text("no folder")
    given = seen(bare("backup.failed:main/mina"))
    assert QuickChecks(home.app(memory=False)).complete(given) == given
