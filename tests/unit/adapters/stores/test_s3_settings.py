"""The size of parts: all of one size, few enough, none too small."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardian.adapters.stores.s3_settings import (
    MAX_OBJECT_BYTES,
    MAX_PART_BYTES,
    MAX_PARTS,
    MIB,
    MIN_PART_BYTES,
    S3Settings,
    part_bytes_for,
)

GIB = 1024 * MIB


@pytest.mark.parametrize(
    ("expected", "part"),
    [
        (None, 8 * MIB),
        (0, 8 * MIB),
        (GIB, 8 * MIB),
        (39 * GIB, 8 * MIB),
        (40 * GIB, 9 * MIB),
        (1000 * GIB, 205 * MIB),
        (MAX_OBJECT_BYTES, 525 * MIB),
        (100 * MAX_OBJECT_BYTES, 525 * MIB),
    ],
)
def test_the_size_of_parts_follows_the_estimate(expected: int | None, part: int) -> None:
    assert part_bytes_for(expected, 8 * MIB) == part


@given(
    expected=st.integers(0, 2 * MAX_OBJECT_BYTES),
    smallest=st.integers(MIN_PART_BYTES, MAX_PART_BYTES),
)
def test_every_estimate_fits_with_room_to_spare(expected: int, smallest: int) -> None:
    part = part_bytes_for(expected, smallest)
    assert part * MAX_PARTS >= min(2 * expected, MAX_OBJECT_BYTES)
    assert max(smallest, MIN_PART_BYTES) <= part <= MAX_PART_BYTES
    assert part % MIB == 0


def test_secrets_stay_out_of_sight() -> None:
    settings = S3Settings(bucket="b", access_key_id="KEY-ID", secret_access_key="S3CR3T")
    assert "KEY-ID" not in repr(settings)
    assert "S3CR3T" not in repr(settings)


@pytest.mark.parametrize(
    ("given", "prefix"), [("", ""), ("/", ""), ("pg", "pg/"), ("/a/b/", "a/b/")]
)
def test_a_prefix_is_a_folder(given: str, prefix: str) -> None:
    assert S3Settings(bucket="b", prefix=given).key_prefix == prefix


@pytest.mark.parametrize(
    "wrong",
    [
        {"part_bytes": MIN_PART_BYTES - 1},
        {"part_bytes": MAX_PART_BYTES + 1},
        {"uploads": 0},
        {"attempts": 0},
    ],
)
def test_impossible_settings_are_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="must"):
        S3Settings(bucket="b", **wrong)  # type: ignore[arg-type]
