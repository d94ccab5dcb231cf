"""The sample's scripts, without a server: each table is filled once, and only from the seed."""

from __future__ import annotations

import re

import pytest

from guardian.demo import seed as seeding

CREATED = re.compile(r"^CREATE TABLE (\S+) \(", re.MULTILINE)


def code(name: str) -> str:
    """A script without its comments."""
    return re.sub(r"--[^\n]*", "", seeding._script(name).decode())


def test_every_table_is_filled_by_one_block() -> None:
    created = {
        name if "." in name else f"public.{name}" for name in CREATED.findall(code("sample.sql"))
    }
    filled = [name for name, _ in seeding._blocks() if not name.startswith("(")]
    assert len(created) >= 20
    assert sorted(filled) == sorted(created)


def test_every_block_is_one_insert_into_its_own_table() -> None:
    for name, statements in seeding._blocks():
        if not name.startswith("("):
            assert re.findall(r"^INSERT INTO (\S+)", statements, re.MULTILINE) == [
                name.removeprefix("public.")
            ]


def test_rows_come_from_nothing_but_the_seed() -> None:
    rows = code("sample_rows.sql")
    found = re.search(
        r"now\(\)|current_(date|timestamp)|clock_timestamp|random|uuid_generate|gen_", rows
    )
    assert found is None


@pytest.mark.parametrize("scale", [0, -1, float("nan"), float("inf")])
def test_a_scale_that_makes_no_sense_is_refused_before_anything_is_done(scale: float) -> None:
    with pytest.raises(ValueError, match="scale is"):
        seeding.seed("host=/nowhere", scale=scale)


def test_a_summary_adds_up() -> None:
    summary = seeding.SeedSummary({"public.a": 2, "billing.b": 3}, 4096, 0.5)
    assert (summary.tables, summary.rows) == (2, 5)
