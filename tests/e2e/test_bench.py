"""The benchmark on a tiny database: its figures mean nothing, all that it says of files does."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.results import Results, Row

HOME = Path(__file__).resolve().parents[2]
OURS_AND_BY_HAND = r"^runbook|^pg_dump -Fc \| gpg|^gpg -d \||proof: content$"


@pytest.fixture
def folder() -> Iterator[Path]:
    """A short path through which PostgreSQL gets when it has stepped down from root."""
    with tempfile.TemporaryDirectory(prefix="bench") as made:
        Path(made).chmod(0o711)
        yield Path(made)


@pytest.mark.parametrize(
    "chosen", [OURS_AND_BY_HAND, pytest.param("", id="all", marks=pytest.mark.takes_long)]
)
def test_a_run_finds_out_what_each_way_is_worth(folder, tmp_path, chosen):
    file = tmp_path / "results.json"
    done = subprocess.run(
        [
            *(sys.executable, "-m", "bench", "--sizes", "0.001", "--rounds", "1", "--no-watch"),
            *("--only", chosen, "--json", str(file), "--folder", str(folder)),
        ],
        cwd=HOME,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert list(folder.iterdir()) == []
    found = Results.from_json(file.read_text())
    (size,) = found.sizes
    backup, to_s3, restore = ({row.name: row for row in contest.rows} for contest in size.contests)

    by_hand, ours = backup["runbook: pg_dump, gpg, rm"], backup["guardian, proof: content"]
    assert by_hand.plaintext == "runbook/manual.sql"
    assert by_hand.stock == ""
    assert backup["pg_dump -Fc | gpg"].plaintext == ""
    for row in (ours, to_s3["guardian, proof: content"]):
        assert row.ours
        assert row.plaintext == ""
        assert row.stock == ""
    assert restore["runbook: gpg -d | psql"].equal
    assert restore["guardian verify, proof: content"].equal

    for row in (*backup.values(), *to_s3.values(), *restore.values()):
        assert_is_whole(row)
        assert row.name in done.stdout


def assert_is_whole(row: Row) -> None:
    """Measured, or not there; a way that is there and fails has rotted."""
    if row.failure.startswith("not installed"):
        return
    assert row.failure == "", row
    assert len(row.seconds) == len(row.cpu) == len(row.server_cpu) == 1
    assert row.peak_bytes
    assert row.plaintext is not None
    assert row.equal is not False
