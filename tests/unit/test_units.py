from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardian.units import format_duration, format_size, parse_duration, parse_size


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        *(("30s", 30), ("5m", 300), ("2h", 7200), ("7d", 604800), ("1w", 604800), ("0s", 0)),
        *(("1h30m", 5400), ("1h 30m", 5400), (" 1.5h ", 5400), ("250ms", 0.25), ("5 m", 300)),
    ],
)
def test_durations(text: str, seconds: float) -> None:
    assert parse_duration(text) == timedelta(seconds=seconds)


@pytest.mark.parametrize(
    "text",
    ["", " ", "5", "s", "-5m", "5m-", "5 x", "1e3s", "5m x", "x5m", "\u0665m", "5M", "1h,5m", "∞"],
)
def test_what_is_no_duration(text: str) -> None:
    with pytest.raises(ValueError, match="is not a duration"):
        parse_duration(text)


@pytest.mark.parametrize("text", ["9" * 30 + "w", "9" * 500 + "s"])
def test_a_duration_may_be_too_long(text: str) -> None:
    with pytest.raises(ValueError, match="too long"):
        parse_duration(text)


@pytest.mark.parametrize(
    ("text", "size"),
    [
        *(("0", 0), ("1024", 1024), ("64MB", 64_000_000), ("5GiB", 5 << 30), ("1.5KiB", 1536)),
        *((" 2 TB ", 2 * 10**12), ("1k", 1000), ("1Ki", 1024), ("1P", 10**15), ("7b", 7)),
        ("9007199254740993", 9007199254740993),
    ],
)
def test_sizes(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize(
    "text", ["", "x", "-1", "1iB", "1 XB", "1e3", "\u0663", "1MBs", "NaN", "1_000"]
)
def test_what_is_no_size(text: str) -> None:
    with pytest.raises(ValueError, match="is not a size"):
        parse_size(text)


@pytest.mark.parametrize("text", ["9" * 400, "9999999PiB", str(2**63)])
def test_a_size_may_be_too_large(text: str) -> None:
    with pytest.raises(ValueError, match="too large"):
        parse_size(text)


@given(st.text())
def test_nothing_else_is_ever_raised(text: str) -> None:
    for parse in (parse_duration, parse_size):
        try:
            parse(text)
        except ValueError as error:
            assert "\n" not in str(error)  # noqa: PT017 - some texts are fine


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        *((0, "0s"), (0.4, "0.4s"), (9.94, "9.9s"), (10, "10s"), (59.7, "1m"), (723, "12m 3s")),
        *((187200, "2d 4h"), (86430, "1d 30s"), (-90, "-1m 30s"), (timedelta(hours=1), "1h")),
    ],
)
def test_durations_as_text(seconds: float | timedelta, text: str) -> None:
    assert format_duration(seconds) == text


@pytest.mark.parametrize(
    ("size", "text"),
    [
        *((0, "0 B"), (999, "999 B"), (1000, "0.98 KiB"), (1 << 20, "1.00 MiB"), (-5, "-5 B")),
        *((15_000, "14.6 KiB"), (500_000, "488 KiB"), (1_632_087_572, "1.52 GiB")),
        *((3 << 50, "3.00 PiB"), (5000 << 50, "5000.00 PiB")),
    ],
)
def test_sizes_as_text(size: int, text: str) -> None:
    assert format_size(size) == text


@given(st.integers(0, 2**62))
def test_a_size_as_text_reads_as_nearly_the_same(size: int) -> None:
    assert parse_size(format_size(size)) == pytest.approx(size, rel=0.006)
