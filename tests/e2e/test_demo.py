"""``guardian demo --once``: the whole tour, with nothing to configure."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

TOLD = (
    "every row compared",
    "57P01 terminating connection",
    "2 of 2 web requests got their turn",
    "on-call's phone: [P1] Server main is down",
    "lead's phone: [P1 escalated] Server main is down",
    "cto's phone: [P1 escalated] Server main is down",
    "on-call's phone: [P1 resolved]",
    "lead's phone: [P1 resolved]",
    "cto's phone: [P1 resolved]",
    "The dashboard: http://127.0.0.1:",
)


@pytest.fixture
def temporary() -> Iterator[Path]:
    """A folder that the user whom the server steps down to can go through."""
    with tempfile.TemporaryDirectory(prefix="tour-") as name:
        Path(name).chmod(0o755)
        yield Path(name)


def test_the_whole_tour(temporary: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "guardian", "demo", "--once", "--scale", "0.02"],
        env={**os.environ, "TMPDIR": str(temporary), "NO_COLOR": "1", "COLUMNS": "200"},
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    said = done.stdout + done.stderr
    assert done.returncode == 0, said
    assert [words for words in TOLD if words not in said] == []
    assert "Traceback" not in said
    assert list(temporary.iterdir()) == [], "something was left behind"
