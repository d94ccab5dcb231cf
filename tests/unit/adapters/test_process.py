from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace

from guardian.adapters import process
from guardian.adapters.process import current_holder, is_alive, parse_stat

TAIL = "S 1 42 42 0 -1 4194304 900 0 0 0 1 0 0 0 20 0 {threads} 0 {started} 9000000 1000 1844"


def stat(name: str = "python3", state: str = "S", threads: int = 1, started: int = 777) -> str:
    return f"42 ({name}) " + state + TAIL[1:].format(threads=threads, started=started)


def test_we_are_alive():
    me = current_holder("guardian run")
    assert me.pid == os.getpid()
    assert me.boot
    assert me.pid_started
    assert str(me) == f"guardian run (pid {os.getpid()} on {me.host})"
    assert is_alive(me) is True


def test_a_pid_that_another_process_got_is_dead():
    assert is_alive(replace(current_holder("x"), pid_started="1")) is False


def test_a_pid_that_nobody_has_is_dead():
    assert is_alive(replace(current_holder("x"), pid=2**22 + 1)) is False


def test_who_is_on_another_boot_or_host_or_container_is_unknown():
    me = current_holder("x")
    assert is_alive(replace(me, boot="other")) is None
    assert is_alive(replace(me, boot="")) is None
    assert is_alive(replace(me, boot=me.boot + "0")) is None


def test_a_process_without_its_start_is_unknown():
    assert is_alive(replace(current_holder("x"), pid_started="")) is None


def test_a_process_that_cannot_be_looked_at_is_unknown(monkeypatch):
    me = current_holder("x")
    monkeypatch.setattr(process, "_started", lambda pid: None)
    assert is_alive(me) is None

    def refuse(pid: int, signal: int) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "kill", refuse)
    assert is_alive(me) is None


def test_a_child_lives_until_it_ends():
    with subprocess.Popen(
        [sys.executable, "-c", "input()"], stdin=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as child:
        started = process._started(child.pid)
        assert started
        theirs = replace(current_holder("x"), pid=child.pid, pid_started=started)
        assert is_alive(theirs) is True
        child.kill()
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        assert is_alive(theirs) is False
    assert is_alive(theirs) is False


def test_stat_is_read_whatever_the_program_is_called():
    for name in ("python3", "a b", "a) Z 1 (", "((", "))", "", "x) S 1 2"):
        assert parse_stat(stat(name)) == "777"


def test_a_zombie_is_dead_but_not_while_its_threads_work():
    assert parse_stat(stat(state="Z")) == ""
    assert parse_stat(stat(state="X", threads=0)) == ""
    assert parse_stat(stat(state="Z", threads=3)) == "777"
