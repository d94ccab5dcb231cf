from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardian.daemon.work import Kind, Task, Workload
from guardian.model import DatabaseRef

NOW = datetime(2026, 11, 23, 2, 0, tzinfo=UTC)


def backup(name: str) -> Task:
    server, _, database = name.partition("/")
    return Task(Kind.BACKUP, DatabaseRef(server, database))


def drill(name: str) -> Task:
    server, _, database = name.partition("/")
    return Task(Kind.DRILL, DatabaseRef(server, database))


def taken(work: Workload) -> list[str]:
    found = []
    while (task := work.take()) is not None:
        found.append(task.key)
    return found


def test_the_same_work_is_never_there_twice() -> None:
    work = Workload(at_once=4)
    assert work.offer(backup("a/x"), NOW)
    assert not work.offer(backup("a/x"), NOW), "it waits already"
    task = work.take()
    assert task == backup("a/x")
    assert not work.offer(backup("a/x"), NOW), "it runs already"
    work.done(task)
    assert work.offer(backup("a/x"), NOW)


def test_one_of_a_kind_a_server_and_a_drill_beside_it() -> None:
    work = Workload(at_once=8)
    for task in (backup("a/x"), backup("a/y"), backup("b/x"), drill("a/x"), drill("a/y")):
        work.offer(task, NOW)
    assert taken(work) == ["backup:a/x", "backup:b/x", "drill:a/x"]
    work.done(backup("a/x"))
    assert taken(work) == ["backup:a/y"]
    work.done(drill("a/x"))
    assert taken(work) == ["drill:a/y"]


def test_drills_leave_a_place_for_the_nights_backup() -> None:
    work = Workload(at_once=2)
    work.offer(drill("a/x"), NOW)
    work.offer(drill("b/x"), NOW)
    assert taken(work) == ["drill:a/x"]
    work.offer(backup("c/x"), NOW)
    assert taken(work) == ["backup:c/x"]


def test_where_there_is_one_place_a_drill_gets_it_too() -> None:
    work = Workload(at_once=1)
    work.offer(drill("a/x"), NOW)
    assert taken(work) == ["drill:a/x"]


def test_backups_go_before_drills_and_the_oldest_first() -> None:
    work = Workload(at_once=1)
    work.offer(drill("a/x"), NOW)
    work.offer(backup("b/x"), NOW + timedelta(seconds=2))
    work.offer(backup("a/x"), NOW + timedelta(seconds=1))
    order = []
    while (task := work.take()) is not None:
        order.append(task.key)
        work.done(task)
    assert order == ["backup:a/x", "backup:b/x", "drill:a/x"]


def test_after_the_end_nothing_begins() -> None:
    work = Workload(at_once=1)
    work.offer(backup("a/x"), NOW)
    work.offer(backup("b/x"), NOW)
    running = work.take()
    assert work.close() == (running,)
    assert not work.offer(backup("c/x"), NOW)
    assert work.take() is None
    assert work.waiting == ()


def test_what_waits_for_a_server_that_left_is_dropped() -> None:
    work = Workload()
    work.offer(backup("a/x"), NOW)
    work.offer(backup("b/x"), NOW)
    work.offer(Task(Kind.PRUNE), NOW)
    work.withdraw(frozenset({"b"}))
    assert [offer.task.key for offer in work.waiting] == ["backup:b/x", "prune"]


def test_no_place_at_all_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one"):
        Workload(at_once=0)
    with pytest.raises(ValueError, match="at least one"):
        Workload(backups_of={"a": 0})


def test_a_server_that_bears_more_gets_more_backups_at_once_and_one_drill() -> None:
    work = Workload(at_once=8, backups_of={"a": 2})
    for task in (backup("a/x"), backup("a/y"), backup("a/z"), drill("a/x"), drill("a/y")):
        work.offer(task, NOW)
    assert taken(work) == ["backup:a/x", "backup:a/y", "drill:a/x"]
    work.resize(8, {})
    work.done(backup("a/x"))
    assert taken(work) == [], "another one is running still"


_NAMES = st.sampled_from(["a/x", "a/y", "b/x", "b/y", "c/x"])
_STEPS = st.lists(st.tuples(st.sampled_from(["backup", "drill", "take", "done"]), _NAMES))


@given(steps=_STEPS, at_once=st.integers(1, 4), most=st.integers(1, 2))
def test_the_limits_hold_and_nothing_is_lost(
    steps: list[tuple[str, str]], at_once: int, most: int
) -> None:
    work = Workload(at_once, {"a": most})
    offered: list[str] = []
    ended: list[str] = []
    for number, (step, name) in enumerate(steps):
        task = drill(name) if step == "drill" else backup(name)
        if step == "take":
            work.take()
        elif step == "done":
            ended += end_all(work, most=1)
        elif work.offer(task, NOW + timedelta(seconds=number)):
            offered.append(task.key)
        assert_within_limits(work, at_once, most)
    while taken(work) or work.running:  # everything that was taken in comes to its turn
        ended += end_all(work)
    assert sorted(ended) == sorted(offered)


def end_all(work: Workload, most: int = 99) -> list[str]:
    ended = list(work.running[:most])
    for task in ended:
        work.done(task)
    return [task.key for task in ended]


def assert_within_limits(work: Workload, at_once: int, most: int) -> None:
    running = work.running
    assert len(running) <= at_once
    assert len({task.key for task in running}) == len(running)
    beside = Counter((task.kind, task.server) for task in running)
    assert beside.pop((Kind.BACKUP, "a"), 0) <= most
    assert max(beside.values(), default=0) <= 1
    if at_once > 1:
        assert sum(task.kind is Kind.DRILL for task in running) < at_once
