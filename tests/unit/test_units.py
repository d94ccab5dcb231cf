from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardian.units import format_duration, format_size, parse_duration, parse_size


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("30s", 30),
        ("5m", 300),
        ("2h", 7200),
        ("7d", 604800),
        ("1w", 604800),
        ("250ms", 0.25),
        ("1h30m", 5400),
        (" 1h 30m ", 5400),
        ("1.5h", 5400),
        ("0s", 0),
    ],
)
def test_durations_are_read(text, seconds):
    assert parse_duration(text) == timedelta(seconds=seconds)


@pytest.mark.parametrize(
    "text", ["", " ", "5", "m", "5 minutes", "-5m", "1h, 5m", "5mx", "x5m", "٣s"]
)
def test_other_texts_are_no_durations(text):
    with pytest.raises(ValueError, match="is not a duration: write 30s, 5m"):
        parse_duration(text)


def test_a_duration_can_be_too_long():
    with pytest.raises(ValueError, match="too long"):
        parse_duration("9" * 30 + "w")


@pytest.mark.parametrize(
    ("duration", "text"),
    [
        (timedelta(days=30), "30d"),
        (timedelta(days=2, hours=4, minutes=5), "2d 4h"),
        (723, "12m 3s"),
        (0.42, "0.4s"),
        (0, "0s"),
        (9.96, "10.0s"),
        (59.7, "1m"),
        (3600, "1h"),
        (86405, "1d 5s"),
        (-90, "-1m 30s"),
    ],
)
def test_durations_are_written_with_their_two_largest_units(duration, text):
    assert format_duration(duration) == text


@given(st.integers(0, 10**9))
def test_whole_seconds_survive_when_two_units_suffice(seconds):
    text = format_duration(seconds)
    assert abs(parse_duration(text).total_seconds() - seconds) < 86400 if seconds else text == "0s"
    assert format_duration(parse_duration(text)) == text


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("1024", 1024),
        ("0", 0),
        ("64MB", 64_000_000),
        ("64M", 64_000_000),
        ("5GiB", 5 * 2**30),
        ("5Gi", 5 * 2**30),
        ("1.5 kB", 1500),
        ("7B", 7),
        ("2TiB", 2 * 2**40),
        ("1PB", 10**15),
    ],
)
def test_sizes_are_read(text, size):
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "MB", "5 XB", "-1", "5iB", "1,5GB", "5GiBs"])
def test_other_texts_are_no_sizes(text):
    with pytest.raises(ValueError, match="is not a size: write 64MB"):
        parse_size(text)


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "0.98 KiB"),
        (1536, "1.50 KiB"),
        (123 * 1024, "123 KiB"),
        (12.34 * 2**20, "12.3 MiB"),
        (1.52 * 2**30, "1.52 GiB"),
        (3 * 2**40, "3.00 TiB"),
        (5 * 2**50, "5.00 PiB"),
        (-1536, "-1.50 KiB"),
    ],
)
def test_sizes_are_written_with_three_digits(size, text):
    assert format_size(size) == text
