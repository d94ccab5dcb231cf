"""Who this process is, and whether another one on this host still lives.

A pid alone says nothing: it is used again after a reboot, after 32,768 processes, and by every
container. So a process is (host, boot and pid namespace, pid, the moment it started).
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

from guardian.model import Holder

_PROC = Path("/proc")


def current_holder(command: str) -> Holder:
    """This process as the holder of leases; ``command`` is what a person typed to start it."""
    pid = os.getpid()
    return Holder(
        host=socket.gethostname(),
        boot=_boot(),
        pid=pid,
        pid_started=_started(pid) or "",
        command=command,
    )


def is_alive(holder: Holder) -> bool | None:
    """Whether the process that ``holder`` describes still runs.

    None when that cannot be known: it is on another host, boot or container, or hidden from us.
    """
    if not holder.boot or holder.boot != _boot():
        return None
    started = _started(holder.pid)
    if started is None:
        return None if _exists(holder.pid) else False
    if not holder.pid_started:
        return None
    return started == holder.pid_started


def _exists(pid: int) -> bool:
    """Whether there is a process with this pid, although it cannot be looked at (hidepid)."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True
    return True


def _boot() -> str:
    """This boot of this machine and our pid namespace; empty when unknown.

    The boot id is the kernel's and the same in all of its containers, which the namespace's inode
    tells apart. An inode is used again only when its namespace, and all in it, is gone.
    """
    if sys.platform == "darwin":
        return _output("sysctl", "-n", "kern.bootsessionuuid")
    try:
        boot = (_PROC / "sys/kernel/random/boot_id").read_text("ascii").strip()
        namespace = (_PROC / "self/ns/pid").stat().st_ino
    except OSError:
        return ""
    return f"{boot}/{namespace}"


def _started(pid: int) -> str | None:
    """When the process started: clock ticks since boot, or ps's text on macOS.

    Empty when it is dead but not yet collected by its parent; None when it cannot be seen.
    """
    if sys.platform == "darwin":
        return _output("ps", "-o", "lstart=", "-p", str(pid)) or None
    try:
        stat = (_PROC / str(pid) / "stat").read_text("utf-8", "replace")
    except OSError:
        return None
    return parse_stat(stat)


def parse_stat(stat: str) -> str:
    """The start ticks in the text of ``/proc/<pid>/stat``; empty for a zombie.

    The second field is the program's name in parentheses and may hold any character, so fields are
    counted from its last one (man 5 proc: state is field 3, num_threads 20, starttime 22).
    """
    fields = stat.rpartition(")")[2].split()
    state, threads, started = fields[0], int(fields[17]), fields[19]
    # A leader that has ended is a zombie while other threads of it still work.
    return "" if state in {"Z", "X"} and threads <= 1 else started


def _output(*command: str) -> str:
    environment = {"PATH": "/usr/bin:/bin:/usr/sbin:/sbin", "LC_ALL": "C", "TZ": "UTC"}
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, env=environment, timeout=10, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip()
