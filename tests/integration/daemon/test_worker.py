"""Workers are real processes here; what they are given to do needs no server, or a mute one."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from support.site import Site, descendants

from guardian.adapters.clock import SystemClock
from guardian.config import load_config
from guardian.daemon.app import App
from guardian.daemon.crew import Crew
from guardian.daemon.work import Kind, Task, Workload
from guardian.daemon.worker import Assignment, LogSettings, Outcome, Result, Worker
from guardian.model import DatabaseRef, RunStatus

RECOVER = Task(Kind.RECOVER)
BACKUP = Task(Kind.BACKUP, DatabaseRef("main", "mina"))


def assignment(site: Site, task: Task) -> Assignment:
    site.write()
    log = LogSettings(logging.INFO, "json", run_id="k3f9")
    return Assignment(task, load_config(site.config), log)


def until(found: Callable[[], object], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not found():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.02)


class Running:
    """A worker in a thread, as the crew has it."""

    def __init__(self, given: Assignment, limit: timedelta | None = None) -> None:
        self.heard: list[tuple[str, Any]] = []
        self.worker = Worker(given, lambda *word: self.heard.append(word), limit=limit)
        self.outcomes: list[Outcome] = []
        self._thread = threading.Thread(target=lambda: self.outcomes.append(self.worker.run()))
        self._thread.start()

    def outcome(self, seconds: float = 60) -> Outcome:
        self._thread.join(seconds)
        (outcome,) = self.outcomes
        return outcome


@pytest.fixture
def app(silent_site: Site) -> Iterator[App]:
    silent_site.write()
    with App(load_config(silent_site.config)) as app:
        yield app


def is_at_work(app: App) -> bool:
    """Whether the catalog knows of a running try."""
    return any(one.status is RunStatus.RUNNING for one in app.catalog.tries())


def test_a_task_is_done(silent_site: Site) -> None:
    prune = Task(Kind.PRUNE)
    assert Running(assignment(silent_site, prune)).outcome() == Outcome(prune, Result.DONE)


def test_a_stopped_backup_is_interrupted_and_leaves_nothing(silent_site: Site, app: App) -> None:
    running = Running(assignment(silent_site, BACKUP))
    until(lambda: is_at_work(app))
    pid = running.worker.pid
    assert pid is not None
    running.worker.stop()
    running.worker.stop()
    assert running.outcome().result == Result.INTERRUPTED
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    (record,) = app.catalog.tries()
    assert record.status is RunStatus.INTERRUPTED
    assert app.catalog.leases() == []


def test_one_that_is_killed_is_a_crash_and_is_settled_by_the_next(
    silent_site: Site, app: App
) -> None:
    running = Running(assignment(silent_site, BACKUP))
    until(lambda: is_at_work(app))
    assert running.worker.pid is not None
    os.kill(running.worker.pid, signal.SIGKILL)
    outcome = running.outcome()
    assert outcome.result == Result.CRASHED
    assert "signal 9 (SIGKILL)" in outcome.message
    assert Running(assignment(silent_site, RECOVER)).outcome().message == (
        "1 interrupted run settled"
    )
    (record,) = app.catalog.tries()
    assert record.status is RunStatus.INTERRUPTED


def test_one_that_takes_far_too_long_is_ended(silent_site: Site, app: App) -> None:
    running = Running(assignment(silent_site, BACKUP), limit=timedelta(seconds=4))
    outcome = running.outcome()
    assert outcome.result == Result.CRASHED
    assert "still ran after 4s" in outcome.message
    assert [one.status for one in app.catalog.tries()] in ([], [RunStatus.INTERRUPTED])


def test_one_that_is_stopped_before_it_began_never_starts(silent_site: Site) -> None:
    worker = Worker(assignment(silent_site, BACKUP), lambda *_: None)
    worker.stop()
    assert worker.run().result == Result.INTERRUPTED
    assert worker.pid is None


def test_work_that_another_is_at_is_told_as_such(silent_site: Site, app: App) -> None:
    first = Running(assignment(silent_site, BACKUP))
    until(lambda: is_at_work(app))
    second = Running(assignment(silent_site, BACKUP)).outcome()
    assert second.result == Result.LOCKED
    assert "guardian run" in second.message
    first.worker.kill()
    assert first.outcome().result == Result.INTERRUPTED


def test_an_unexpected_error_is_an_outcome_without_the_secret(
    silent_site: Site, capfd: pytest.CaptureFixture[str]
) -> None:
    given = assignment(silent_site, RECOVER)
    broken = given.config.model_copy(update={"catalog": None, "state_dir": None})
    outcome = Running(Assignment(RECOVER, broken, given.log)).outcome()
    assert outcome.result == Result.CRASHED
    assert outcome.message.startswith("TypeError: ")
    err = capfd.readouterr().err
    assert '"run": "k3f9/recover"' in err
    assert "Traceback" not in err


def test_one_whose_words_are_not_understood_does_not_hang(
    silent_site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = (
        "import sys\n"
        "from multiprocessing.connection import Connection\n"
        "near = Connection(int(sys.argv[1]))\n"
        "near.recv()\n"
        "while True:\n"
        "    near.send(('advance', 1))\n"
    )

    def start(worker: Worker, far: Any) -> bool:
        worker._process = subprocess.Popen(
            [sys.executable, "-c", code, str(far.fileno())],
            pass_fds=(far.fileno(),),
            stderr=subprocess.DEVNULL,
        )
        return True

    def hear(word: str, value: object) -> None:
        raise KeyError(word)

    monkeypatch.setattr(Worker, "_start", start)
    worker = Worker(assignment(silent_site, RECOVER), hear)
    errors: list[str] = []

    def run() -> None:
        try:
            worker.run()
        except KeyError as error:
            errors.append(str(error))

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(20)
    hangs = thread.is_alive()
    assert worker.pid is not None
    if hangs:
        os.kill(worker.pid, signal.SIGKILL)
        thread.join()
    assert not hangs
    assert errors == ["'advance'"]
    with pytest.raises(ProcessLookupError):
        os.kill(worker.pid, 0)


def test_when_the_daemon_dies_its_workers_undo_what_they_began(silent_site: Site, app: App) -> None:
    silent_site.write()
    code = (
        "import sys\n"
        "from guardian.config import load_config\n"
        "from guardian.daemon.work import Kind, Task\n"
        "from guardian.daemon.worker import Assignment, LogSettings, Worker\n"
        "from guardian.model import DatabaseRef\n"
        "from pathlib import Path\n"
        "task = Task(Kind.BACKUP, DatabaseRef('main', 'mina'))\n"
        "config = load_config(Path(sys.argv[1]))\n"
        "Worker(Assignment(task, config, LogSettings(20)), lambda *_: None).run()\n"
    )
    daemon = subprocess.Popen(
        [sys.executable, "-c", code, str(silent_site.config)], stderr=subprocess.DEVNULL
    )
    until(lambda: is_at_work(app))
    workers = descendants(daemon.pid)
    daemon.kill()
    daemon.wait()
    until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in workers))
    (record,) = app.catalog.tries()
    assert record.status is RunStatus.INTERRUPTED
    assert app.catalog.leases() == []


def test_the_crew_does_what_is_offered_tells_where_it_is_and_ends(
    silent_site: Site, app: App
) -> None:
    given = assignment(silent_site, BACKUP)
    ended: list[Outcome] = []
    crashes: list[str] = []

    def assign(task: Task) -> tuple[Assignment, timedelta | None]:
        return Assignment(task, given.config, given.log), None

    crew = Crew(
        Workload(at_once=1),
        SystemClock(),
        assign=assign,
        ended=ended.append,
        crashed=lambda where, _: crashes.append(where),
    )
    other = Task(Kind.BACKUP, DatabaseRef("main", "other"))
    assert crew.offer(RECOVER)
    until(lambda: ended)
    assert ended.pop().result == Result.DONE
    assert crew.offer(BACKUP)
    assert not crew.offer(BACKUP)
    assert crew.offer(other)
    until(lambda: is_at_work(app))
    running, waiting = crew.now()
    assert (running.task, waiting.task) == (BACKUP, other)
    assert running.pid is not None
    assert waiting.started_at is None
    assert not crew.wait(0.01)
    assert crew.stop() == 1
    assert crew.wait(30)
    assert [one.result for one in ended] == [Result.INTERRUPTED]
    assert crew.now() == ()
    assert not crew.offer(BACKUP)
    assert crashes == []


def test_a_task_that_cannot_even_be_assigned_hurts_no_other(silent_site: Site) -> None:
    given = assignment(silent_site, RECOVER)
    ended: list[Outcome] = []
    crashes: list[str] = []

    def assign(task: Task) -> tuple[Assignment, timedelta | None]:
        if task.kind is Kind.PRUNE:
            raise KeyError("oh")
        return given, None

    crew = Crew(
        Workload(at_once=1),
        SystemClock(),
        assign=assign,
        ended=ended.append,
        crashed=lambda where, _: crashes.append(where),
    )
    crew.offer(Task(Kind.PRUNE))
    crew.offer(RECOVER)
    until(lambda: len(ended) == 2)
    assert crashes == ["prune"]
    assert [one.result for one in ended] == [Result.CRASHED, Result.DONE]
    assert crew.wait(10)
