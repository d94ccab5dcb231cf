"""No piece of a secret comes through."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardian.adapters.veil import MASK, Veil, secrets_of

TOKEN = "xoxb-1234-abcdefgh"


@pytest.mark.parametrize(
    ("text", "seen"),
    [
        (f"invalid token {TOKEN}!", f"invalid token {MASK}!"),
        (f"{TOKEN}{TOKEN}", MASK),
        (f"it begins with {TOKEN[:8]}", f"it begins with {MASK}"),
        (f"it ends in {TOKEN[-9:]}", f"it ends in {MASK}"),
        (f"cut: {TOKEN[3:12]}…", f"cut: {MASK}…"),
        ("seven: xoxb-12", "seven: xoxb-12"),
        ("nothing", "nothing"),
        ("", ""),
    ],
)
def test_pieces_are_covered(text: str, seen: str) -> None:
    assert Veil([TOKEN]).over(text) == seen


def test_in_the_forms_that_addresses_give_it() -> None:
    veil = Veil(["p@ss/wörd&more"])
    assert "ss" not in veil.over("p%40ss%2Fw%C3%B6rd%26more")
    assert veil.over("p@ss/wörd&more") == MASK
    assert Veil(["a%20secret"]).over("it was: a secret") == f"it was: {MASK}"


def test_short_secrets_are_covered_as_a_whole_and_the_shortest_not_at_all() -> None:
    veil = Veil(["abcd", "xyz", ""])
    assert veil.over("abcd abc xyz") == f"{MASK} abc xyz"


def test_a_veil_does_not_show_what_it_hides() -> None:
    assert TOKEN not in repr(Veil([TOKEN]))


@given(st.text(min_size=4, max_size=40), st.text(max_size=30), st.text(max_size=30))
def test_no_secret_comes_through(secret: str, before: str, after: str) -> None:
    seen = Veil([secret]).over(before + secret + after)
    assert secret not in seen.replace(MASK, "\n\n") or secret in MASK


@pytest.mark.parametrize(
    ("url", "found"),
    [
        ("https://hooks.slack.com/services/T000/B000/XXXX", {"services", "T000", "B000", "XXXX"}),
        ("https://key@sentry.example/1", set()),
        ("https://longkey:pass@sentry.example/1", {"longkey", "pass"}),
        ("https://h.example/x?sig=signature&v=1#fragment", {"signature", "fragment"}),
        ("https://h.example", set()),
    ],
)
def test_the_secrets_of_an_address(url: str, found: set[str]) -> None:
    assert set(secrets_of(url)) == found
