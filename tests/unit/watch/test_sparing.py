"""The comment that spares a session outlives every cut of its query's text."""

from __future__ import annotations

import pytest

from guardian.watch.sparing import asks_to_be_spared, shortened


@pytest.mark.parametrize(
    ("query", "asks"),
    [
        ("SELECT 1 /* guardian:spare */", True),
        ("/*guardian:spare: until Friday*/ SELECT 1", True),
        ("SELECT 1 /* GUARDIAN:SPARE */", True),
        ("SELECT 'guardian:spare'", False),
        ("SELECT 1 /* guardian:spareme */", False),
        ("", False),
    ],
)
def test_who_asks(query: str, asks: bool) -> None:
    assert asks_to_be_spared(query) is asks


@pytest.mark.parametrize("place", [0, 5, 88, 95, 99, 100, 500])
def test_a_cut_keeps_the_comment_wherever_it_stands(place: int) -> None:
    query = "x" * place + "/* guardian:spare */" + "y" * (1000 - place)
    cut = shortened(query, 100)
    assert asks_to_be_spared(cut)
    assert len(cut) <= 100 + len("/* guardian:spare */ ")


def test_a_cut_adds_nothing_else() -> None:
    assert shortened("x" * 200, 100) == "x" * 100
    assert shortened("x" * 100, 100) == "x" * 100
    assert shortened("/* guardian:spare */" + "x" * 100, 50) == "/* guardian:spare */" + "x" * 30
