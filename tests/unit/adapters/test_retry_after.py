"""How long a service asks us to wait, in each form that it may be said."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardian.adapters.web import LONGEST_WAIT, retry_after, wait_of

NOW = datetime(2026, 11, 23, 2, 12, tzinfo=UTC).timestamp()
DATE = "Mon, 23 Nov 2026 02:13:00 GMT"


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry-after": "120"}, 120),
        ({"retry-after": " 1.5 "}, 1.5),
        ({"retry-after": "0"}, 0),
        ({"retry-after": "-3"}, 0),
        ({"retry-after": "1e9"}, LONGEST_WAIT),
        ({"retry-after": "inf"}, None),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "tomorrow"}, None),
        ({"retry-after": DATE}, 60),
        ({"retry-after": DATE, "date": "Mon, 23 Nov 2026 02:12:50 GMT"}, 10),
        ({"retry-after": DATE, "date": "rubbish"}, 60),
        ({"retry-after": "Mon, 23 Nov 2020 02:13:00 GMT"}, 0),
        ({"retry-after": "Mon, 99 Nov 2026 02:13:00 GMT"}, None),
    ],
)
def test_both_forms(headers, seconds) -> None:
    assert retry_after(headers, lambda: NOW) == seconds


@given(st.text(max_size=40))
def test_any_text_is_a_time_or_none(text: str) -> None:
    seconds = retry_after({"retry-after": text, "date": text}, lambda: NOW)
    assert seconds is None or 0 <= seconds <= LONGEST_WAIT


@pytest.mark.parametrize(
    ("value", "seconds"),
    [(3, 3), (0.25, 0.25), (-1, 0), (10**9, LONGEST_WAIT), (True, None), ("3", None), (None, None)],
)
def test_a_number_in_a_document(value, seconds) -> None:
    assert wait_of(value) == seconds
