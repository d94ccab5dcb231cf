"""Between a condition and its delivery: a kill at every step, a full disk, a locked catalog."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
from collections import Counter, deque
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.alerting import KEY, Nursery, Receiver

from guardian.adapters.catalog.catalog import SqlCatalog, open_catalog
from guardian.adapters.clock import SystemClock
from guardian.adapters.process import is_alive
from guardian.escalate.model import EntryKind, Standing, State

SETTLED = {Standing.DELIVERED, Standing.HANDED_OVER, Standing.GROUPED}
MOST_STEPS = 200


@pytest.fixture(scope="module")
def nursery() -> Iterator[Nursery]:
    made = Nursery()
    yield made
    made.close()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    made = Receiver()
    yield made
    made.close()


class Ground:
    """A catalog file of its own for each life."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()
        self.url = f"sqlite:///{folder}/catalog.db"

    def open(self) -> SqlCatalog:
        return open_catalog(self.url, clock=SystemClock(), is_alive=is_alive)


@pytest.fixture
def template(tmp_path: Path) -> bytes:
    """An empty catalog: to migrate one for each kill would take longer than all the rest."""
    ground = Ground(tmp_path / "template")
    ground.open().close()
    return (ground.folder / "catalog.db").read_bytes()


def fresh(template: bytes, folder: Path) -> Ground:
    ground = Ground(folder)
    (folder / "catalog.db").write_bytes(template)
    return ground


def test_killed_at_every_step_the_alert_arrives_and_the_state_is_as_it_was(
    nursery, receiver, template, tmp_path
):
    """The pager refuses, the mail is handed the alert; then the incident ends, and that is told."""
    killed = 0
    for die_at in range(MOST_STEPS):
        ground = fresh(template, tmp_path / f"life-{die_at}")
        receiver.heard.clear()
        receiver.answers = {"/pager": deque([503, 410])}
        steps = nursery.alert(ground.url, receiver.port, die_at, over=True)
        if steps is not None:
            break
        killed += 1
        assert nursery.alert(ground.url, receiver.port, over=True) is not None
        judge(ground, receiver)
    else:
        pytest.fail("it never came to the end")
    assert killed > 30
    judge(ground, receiver)
    assert {"sent pager", "after settle", "after apply", "answered mail"} <= set(steps)
    assert len(receiver.heard) == len({(one.path, one.number) for one in receiver.heard})


def judge(ground: Ground, receiver: Receiver) -> None:
    """Everybody has heard of it, at most twice; one incident, over; nothing is left to do."""
    catalog = ground.open()
    found = list(catalog.incidents())
    # A kill after the end was written and before it was told: the second life sees it anew.
    assert [one.key for one in found] == [KEY]
    assert found[0].state is State.RESOLVED
    rows = catalog.envelopes(found[0].id)
    assert catalog.outstanding() == 0
    assert {row.standing for row in rows} <= SETTLED
    for row in rows:
        if row.standing is Standing.DELIVERED:
            times = heard(receiver, row.channel, row.message.number)
            assert 1 <= times <= 2, (row.channel, row.message.kind, times)
    kinds = [one.kind for one in receiver.heard if one.path == "/chat"]
    assert kinds[0] == "alert"
    assert kinds[-1] == "resolved"
    assert {one.dedup_key for one in receiver.heard} == {f"guardian-{found[0].id}"}
    lines = Counter(one.kind for one in catalog.timeline(found[0].id))
    assert lines[EntryKind.OPENED] == 1
    catalog.close()


def heard(receiver: Receiver, channel: str, number: int) -> int:
    return sum(one.path == f"/{channel}" and one.number == number for one in receiver.heard)


def test_killed_within_a_storm_none_is_unmentioned(nursery, receiver, template, tmp_path):
    total = 0
    for die_at in range(0, MOST_STEPS, 7):
        ground = fresh(template, tmp_path / f"storm-{die_at}")
        receiver.heard.clear()
        steps = nursery.alert(ground.url, receiver.port, die_at, conditions=12)
        if steps is None:
            assert nursery.alert(ground.url, receiver.port, conditions=12) is not None
        total += 1
        for path in ("/pager", "/chat"):
            mine = [one for one in receiver.heard if one.path == path]
            said = {one.title for one in mine} | {
                item.partition(" ")[2] for one in mine for item in one.items
            }
            assert said >= {f"probe.web:{number} is wrong" for number in range(12)}
            assert len(mine) <= 14
        if steps is not None:
            break
    assert total > 5


# --- a catalog that cannot be written, in one process that lives on ---

WITHOUT = """
import json, sys, threading
from support.alerting import Guard, condition, full_disk

url, port, how = sys.argv[1:]
guard = Guard(url, int(port), busy=0.2)
guard.observe()
guard.deliver()

def alert():
    guard.observe(condition())
    guard.deliver(until=lambda: guard.dispatcher.run_once(0).unwritten >= 2)

if how == "full":
    with full_disk():
        alert()
        report = guard.dispatcher.run_once(0)
else:
    print("ready", flush=True)
    sys.stdin.readline()
    alert()
    report = guard.dispatcher.run_once(0)
print(json.dumps([report.unwritten, report.trouble]), flush=True)
sys.stdin.readline()

def written():
    guard.observe(condition())
    done = guard.dispatcher.run_once(1)
    return done.unwritten == 0 and done.trouble is None and guard.escalator.trouble is None

guard.deliver(until=written)
guard.observe()
guard.deliver()
guard.close()
print("done", flush=True)
"""


class Life:
    """That script, step by step."""

    def __init__(self, ground: Ground, receiver: Receiver, how: str) -> None:
        tests = Path(__file__).parents[2]
        environment = {**os.environ, "PYTHONPATH": f"{tests}:{tests.parent}"}
        self.process = subprocess.Popen(
            [sys.executable, "-c", WITHOUT, ground.url, str(receiver.port), how],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )

    def hear(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def go_on(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()

    def end(self) -> None:
        assert self.hear() == "done"
        self.process.communicate(timeout=30)
        assert self.process.returncode == 0


def arrived_and_recorded(ground: Ground, receiver: Receiver) -> None:
    alerts = [one for one in receiver.heard if one.kind == "alert"]
    assert sorted(one.path for one in alerts) == ["/chat", "/pager"], "each once"
    catalog = ground.open()
    (found,) = catalog.incidents()
    assert (found.key, found.state) == (KEY, State.RESOLVED)
    rows = catalog.envelopes(found.id)
    told = [(row.channel, row.message.kind.value, row.standing) for row in rows]
    assert sorted(told) == [
        (channel, kind, Standing.DELIVERED)
        for channel in ("chat", "pager")
        for kind in ("alert", "resolved")
    ]
    lines = [one.text for one in catalog.timeline(found.id) if one.kind is EntryKind.DELIVERED]
    assert len(lines) == 4
    assert {one.dedup_key for one in receiver.heard} == {f"guardian-{found.id}"}
    catalog.close()


def test_with_a_full_disk_the_alert_leaves_and_is_recorded_when_there_is_room(
    receiver, template, tmp_path
):
    ground = fresh(template, tmp_path / "full")
    life = Life(ground, receiver, "full")
    unwritten, trouble = json.loads(life.hear())
    assert sorted(one.path for one in receiver.heard) == ["/chat", "/pager"]
    assert unwritten == 2
    assert "its disk is full" in trouble
    life.go_on()
    life.end()
    arrived_and_recorded(ground, receiver)


def test_with_a_catalog_that_another_process_locks_the_alert_leaves_and_is_recorded_afterwards(
    receiver, template, tmp_path
):
    ground = fresh(template, tmp_path / "locked")
    life = Life(ground, receiver, "locked")
    assert life.hear() == "ready"
    other = sqlite3.connect(ground.folder / "catalog.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    life.go_on()
    unwritten, trouble = json.loads(life.hear())
    assert sorted(one.path for one in receiver.heard) == ["/chat", "/pager"]
    assert unwritten == 2
    assert "locked by another process" in trouble
    other.execute("ROLLBACK")
    other.close()
    life.go_on()
    life.end()
    arrived_and_recorded(ground, receiver)
