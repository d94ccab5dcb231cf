"""What a kill -9 leaves of a copy of a cluster or of programs goes with the next; nothing else."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from guardian.adapters.scratch.making import folder_in_the_making

HOLD = """
import sys
from pathlib import Path
from guardian.adapters.scratch.making import folder_in_the_making

with folder_in_the_making(Path(sys.argv[1]), "making-") as making:
    (making / "PG_VERSION").write_text("15")
    print(making, flush=True)
    sys.stdin.read()
"""


@contextmanager
def holder(folder: Path) -> Iterator[tuple[subprocess.Popen[str], Path]]:
    """A process that is at it, and its folder, which looks an hour old."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    made = Path(process.stdout.readline().strip())
    let_pass(made)
    try:
        yield process, made
    finally:
        process.kill()
        process.communicate()


def let_pass(folder: Path, seconds: float = 3600.0) -> None:
    then = time.time() - seconds
    os.utime(folder, (then, then))


def make_one(folder: Path) -> None:
    with folder_in_the_making(folder, "making-"):
        pass


def test_of_one_that_died_nothing_stays(tmp_path: Path) -> None:
    with holder(tmp_path) as (process, made):
        process.kill()
        process.wait()
        assert (made / "PG_VERSION").exists()
        make_one(tmp_path)
        assert list(tmp_path.iterdir()) == []


def test_one_that_is_at_work_is_left_alone_however_long_it_takes(tmp_path: Path) -> None:
    with holder(tmp_path) as (_, made):
        make_one(tmp_path)
        assert list(tmp_path.iterdir()) == [made]


def test_one_that_was_made_this_instant_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "making-1").mkdir()
    make_one(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["making-1"]


def test_links_and_other_names_are_left_alone(tmp_path: Path) -> None:
    for name in ("making", "mine"):
        (tmp_path / name).mkdir()
        let_pass(tmp_path / name)
    (tmp_path / "making-link").symlink_to(tmp_path / "mine")
    (tmp_path / "making-file").touch()
    let_pass(tmp_path / "making-file")
    make_one(tmp_path)
    left = {path.name for path in tmp_path.iterdir()}
    assert left == {"making", "mine", "making-link", "making-file"}


def test_one_that_was_renamed_stays_and_one_that_failed_does_not(tmp_path: Path) -> None:
    with folder_in_the_making(tmp_path, "making-") as made:
        made.rename(tmp_path / "whole")

    with pytest.raises(OSError, match="No space"), folder_in_the_making(tmp_path, "making-"):
        raise OSError(28, "No space left on device")
    assert [path.name for path in tmp_path.iterdir()] == ["whole"]
