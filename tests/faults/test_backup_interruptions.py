"""Ctrl-C, SIGTERM and kill -9 in the middle: nothing half-made is taken for a backup, ever."""

from __future__ import annotations

import os
import signal
import time

import pytest
from support.aftermath import is_a_dump, is_writing, sessions_left, still_alive, words_of
from support.postgres import Database
from support.site import Site, descendants, interrupt_when, snapshot_of


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_and_sigterm_leave_nothing_behind(large_site: Site, number: signal.Signals) -> None:
    process = large_site.start("backup", "now", "--json")
    outcome = interrupt_when(process, is_writing(large_site.store), number)
    assert outcome.code == 130
    outcome.assert_clean()
    assert "interrupted" in outcome.err
    assert snapshot_of(large_site.store) == {}
    assert large_site.listed() == []
    assert sessions_left(large_site.dsn) == []
    assert large_site.back_up().code == 0


@pytest.mark.parametrize("delay", [0.0, 0.3, 0.6, 0.9, 1.2, 1.5])
def test_kill_9_at_any_moment_and_the_next_run_cleans_up(large_site: Site, delay: float) -> None:
    good = large_site.back_up().result["id"]
    process = large_site.start("backup", "now", "--json")
    time.sleep(0.3 + delay)
    children = descendants(process.pid)
    process.kill()
    process.communicate()
    killed = snapshot_of(large_site.store)
    assert any(good in name for name in killed)
    # What lies there is either whole or no backup: the store itself lists whole ones alone.
    listed = large_site.run("backup", "list", "--json", "--store", "local", check=True).json
    for item in listed:
        assert any(name.endswith(f"{item['id']}/manifest.json") for name in killed)
    outcome = large_site.back_up()
    assert outcome.code == 0, outcome.err
    _no_leftovers(large_site)
    assert still_alive(children) == []
    statuses = large_site.run("status", "--json", check=True).json["databases"]
    assert statuses[0]["running"] is None


def test_a_second_run_beside_the_first_is_refused_and_names_the_holder(large_site: Site) -> None:
    first = large_site.start("backup", "now", "--json")
    while (dump := _pg_dump_of(first.pid)) is None:
        assert first.poll() is None
        time.sleep(0.005)
    os.kill(dump, signal.SIGSTOP)  # or the first would end before the second has begun
    second = large_site.run("backup", "now", "--json")
    os.kill(dump, signal.SIGCONT)
    assert second.code == 4, second.err
    assert second.result["error"]["cause"] == "locked"
    assert str(first.pid) in second.result["error"]["message"]
    first.communicate(timeout=120)
    assert first.returncode == 0


def _pg_dump_of(pid: int) -> int | None:
    return next((child for child in descendants(pid) if is_a_dump(words_of(child))), None)


def test_kill_9_of_pg_dump_itself(large_site: Site) -> None:
    large_site.server = {"backup": {"attempts": 1}}
    process = large_site.start("backup", "now", "--json")
    ready = is_writing(large_site.store)
    while not ready():
        assert process.poll() is None
        time.sleep(0.01)
    child = _pg_dump_of(process.pid)
    assert child is not None
    os.kill(child, signal.SIGKILL)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 1, err
    assert '"status": "failed"' in out
    assert snapshot_of(large_site.store) == {}


def _no_leftovers(site: Site) -> None:
    """Every file belongs to a backup with a manifest."""
    files = snapshot_of(site.store)
    folders = {name.rsplit("/", 1)[0] for name in files}
    for folder in folders:
        assert f"{folder}/manifest.json" in files, sorted(files)


def test_the_source_is_named(large: Database) -> None:
    """The fixture is what the cases above rely on: a database of some size."""
    assert large.rows("SELECT pg_database_size(current_database()) > 40000000") == [(True,)]
