"""Commands seldom look for cycles, and at their end not at all."""

from __future__ import annotations

import subprocess
import sys

SCRIPT = """
import atexit, gc
atexit.register(lambda: print(gc.get_threshold()[0], gc.get_freeze_count() > 1000))
from guardian.cli.main import main
main(["--version"])
"""
"""What is registered before runs after."""


def test_what_is_imported_is_left_alone() -> None:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.splitlines()[-1] == "10000 True"
