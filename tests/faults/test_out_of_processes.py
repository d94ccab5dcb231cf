"""A host that can start no more processes: each step says so, and leaves none behind."""

from __future__ import annotations

import os
import resource
import subprocess
import threading
import time
from pathlib import Path
from typing import Any

import psycopg
import pytest

from guardian.adapters.postgres.connection import Connector
from guardian.adapters.postgres.crew import Crew, run_at_once
from guardian.adapters.postgres.pg_restore import running_restore
from guardian.adapters.postgres.reading_process import ReadingProcess, ReadingTask
from guardian.errors import ConnectionFailedError, UnsuitableTargetError
from guardian.model import ProofLevel


def refuse(monkeypatch: pytest.MonkeyPatch, nth: int) -> list[int]:
    """Let no process start from the n-th on; the numbers of those that did."""
    started: list[int] = []
    real = subprocess.Popen.__init__
    left = nth - 1

    def begin(process: Any, *args: Any, **named: Any) -> None:
        nonlocal left
        if left == 0:
            raise BlockingIOError(11, "Resource temporarily unavailable")
        left -= 1
        real(process, *args, **named)
        started.append(process.pid)

    monkeypatch.setattr(subprocess.Popen, "__init__", begin)
    return started


def endless(folder: Path) -> Path:
    """A pg_restore that does not come back."""
    tool = folder / "pg_restore"
    tool.write_text("#!/bin/sh\nexec sleep 600\n")
    tool.chmod(0o755)
    return tool


def is_gone(pid: int) -> bool:
    return not Path(f"/proc/{pid}").exists()


def test_without_its_guard_pg_restore_does_not_stay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tool = endless(tmp_path)
    started = refuse(monkeypatch, 2)
    with (
        pytest.raises(UnsuitableTargetError, match="/bin/sh cannot be started: Resource"),
        running_restore(tool, [], None, str),
    ):
        pytest.fail("nobody would end it")
    assert [is_gone(pid) for pid in started] == [True]


def refuse_threads(monkeypatch: pytest.MonkeyPatch, name: str, nth: int = 1) -> None:
    """Let no thread of that name start from the n-th on."""
    real = threading.Thread.start
    left = nth - 1

    def begin(thread: threading.Thread) -> None:
        nonlocal left
        if thread.name.startswith(name):
            if left == 0:
                raise RuntimeError("can't start new thread")
            left -= 1
        real(thread)

    monkeypatch.setattr(threading.Thread, "start", begin)


def test_without_a_thread_pg_restore_does_not_stay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tool = endless(tmp_path)
    started = refuse(monkeypatch, 2)
    refuse_threads(monkeypatch, "pg_restore")
    with (
        pytest.raises(ConnectionFailedError, match="no thread can be had"),
        running_restore(tool, [], None, str),
    ):
        pytest.fail("nobody would hear of it")
    assert [is_gone(pid) for pid in started] == [True]


def test_streams_end_when_there_is_no_thread_for_one(monkeypatch: pytest.MonkeyPatch) -> None:
    refuse_threads(monkeypatch, "load", nth=2)
    crew, ends = Crew(), []

    def load() -> None:
        while not crew.stopped:
            time.sleep(0.01)
        ends.append("stopped")

    with pytest.raises(ConnectionFailedError, match="no thread can be had"):
        run_at_once([load, load], crew)
    assert ends == ["stopped"]


def test_tables_that_no_process_can_read_are_no_defect_of_ours(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    refuse(monkeypatch, 1)
    task = ReadingTask(
        connector=Connector("main", psycopg.conninfo.make_conninfo(dbname="mina")),
        database="mina",
        encoding="utf-8",
        snapshot="0-0-1",
        locked=(),
        tables=(),
        level=ProofLevel.CONTENT,
        seed=1,
        content_limit=None,
    )
    with pytest.raises(ConnectionFailedError, match="no process can be started"):
        ReadingProcess().run(task, lambda _: None)


def test_nor_are_those_for_which_no_descriptor_is_left() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    reader = ReadingProcess()
    lowest = os.open(os.devnull, os.O_RDONLY)
    os.close(lowest)
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest, hard))
    try:
        with pytest.raises(ConnectionFailedError, match="to read tables: Too many open files"):
            reader.start()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    reader.close()
