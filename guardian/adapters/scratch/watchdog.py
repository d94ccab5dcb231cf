"""Ends a throw-away server when the process that started it is gone, however it went.

A kill -9 leaves no time to clean up. The kernel's parent-death signal would do on Linux, but it
follows the *thread* that started the child, and a scheduler's threads come and go. A pipe works
everywhere: only we hold its writing end, so its end is our death.
"""

from __future__ import annotations

import contextlib
import subprocess
from pathlib import Path

from guardian.adapters.scratch.stepdown import Runner

# Reads one line from guardian: its arrival means that all is well and the server is stopped.
# The pipe's end without one means that guardian is dead. $1 is the data folder; that the
# postmaster's working directory is that folder guards against a number that was given away again.
_SCRIPT = """
if read -r _; then exit 0; fi
n=0
while [ -d "$1" ] && [ $n -lt 50 ]; do
  pid=
  if [ -f "$1/postmaster.pid" ]; then pid=$(head -n 1 "$1/postmaster.pid" 2>/dev/null); fi
  if [ -n "$pid" ]; then
    if [ -d /proc/self ] && [ "$(readlink "/proc/$pid/cwd")" != "$1" ]; then exit 0; fi
    kill -QUIT "$pid"
    exit 0
  fi
  sleep 0.1
  n=$((n + 1))
done
"""


class Watchdog:
    """Watches over the postmaster of one data folder; may be posted before there is one."""

    def __init__(self, runner: Runner, data: Path) -> None:
        self._process = runner.popen(
            ["/bin/sh", "-c", _SCRIPT, "guardian-watchdog", str(data)], stdin=subprocess.PIPE
        )

    def dismiss(self) -> None:
        """Tell it that the server has been stopped, and wait for its end."""
        if self._process.stdin is not None:
            with contextlib.suppress(OSError), self._process.stdin as pipe:
                pipe.write(b"stopped\n")
        self._process.wait()
