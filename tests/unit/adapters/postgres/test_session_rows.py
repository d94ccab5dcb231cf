"""What becomes of a query's text between the server and whoever judges it."""

from __future__ import annotations

import pytest

from guardian.adapters.postgres.session_rows import QueryTexts
from guardian.watch.sparing import asks_to_be_spared


@pytest.mark.parametrize(
    "query",
    [
        "SELECT 1 FROM users u WHERE token=u.token/* guardian:spare */",
        "ALTER ROLE x PASSWORD 'abc\\' /* guardian:spare */",
        "UPDATE a SET password = 'abc\\', b = 1 /* GUARDIAN:SPARE, says Ada */",
    ],
)
def test_a_comment_that_goes_with_a_secret_still_spares(query: str) -> None:
    texts = QueryTexts()
    for _ in range(2):
        texts.begin()
        shown = texts.clean(query)
        assert asks_to_be_spared(shown)
        assert "abc" not in shown


def test_who_does_not_ask_is_not_spared() -> None:
    assert not asks_to_be_spared(QueryTexts().clean("SELECT 'guardian:spare' -- token=abc/* no */"))
