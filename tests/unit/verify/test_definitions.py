"""What objects are made of, compared by what a server makes of the source's words."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pytest

from guardian.model import Definition, Fingerprint, LargeObjects, ProofLevel
from guardian.verify.compare import compare
from guardian.verify.definitions import KIND, compare_definitions

VIEW = ("view", "public.adults", "", " SELECT id FROM users WHERE age > 17;", ["view"])
KEY = ("table constraint", "users_pkey on public.users", "", "PRIMARY KEY (id)", None)
INVENTORY = {"table": ("public.users",), "view": ("public.adults",)}


def fingerprint(*lines: Sequence[Any] | str, **objects: tuple[str, ...]) -> Fingerprint:
    texts = tuple(one if isinstance(one, str) else json.dumps(one) for one in lines)
    found = {**INVENTORY, **objects, **({KIND: texts} if texts else {})}
    return Fingerprint(ProofLevel.CONTENT, 1, (), found, (), LargeObjects(0))


def other(line: Sequence[Any], text: str) -> list[Any]:
    return [*line[:3], text, line[4]]


def told(
    expected: Fingerprint,
    found: Fingerprint,
    *answers: str | None,
    same_major: bool = True,
) -> list[str]:
    """Names of what differs; the server answers so, and nothing else is asked."""
    left = list(answers)

    def retell(asked: Sequence[Definition]) -> list[str | None]:
        assert asked
        assert all(one.how for one in asked)
        return [left.pop(0) for _ in asked]

    differences = compare_definitions(expected, found, same_major=same_major, retell=retell)
    assert left == []
    assert all(one.expected != one.found for one in differences)
    return [one.object for one in differences]


def test_equal_texts_ask_nobody() -> None:
    assert told(fingerprint(VIEW, KEY), fingerprint(VIEW, KEY)) == []


def test_other_words_for_the_same_are_no_difference() -> None:
    restored = fingerprint(other(VIEW, "in other words"))
    assert told(fingerprint(VIEW), restored, "in other words") == []
    assert told(fingerprint(VIEW), restored, "in other words", same_major=False) == []


def test_another_view_of_that_name() -> None:
    restored = fingerprint(other(VIEW, " SELECT id FROM users WHERE age > 18;"))
    for same_major in (True, False):
        found = told(fingerprint(VIEW), restored, VIEW[3], same_major=same_major)
        assert found == ["view public.adults"]


def test_a_server_that_cannot_be_asked_accuses_nobody() -> None:
    assert told(fingerprint(VIEW), fingerprint(other(VIEW, "x")), None) == []


def test_a_text_without_an_expression_is_the_same_within_a_major() -> None:
    restored = fingerprint(other(KEY, "PRIMARY KEY (email)"))
    name = "table constraint users_pkey on table public.users"
    assert told(fingerprint(KEY), restored) == [name]
    assert told(fingerprint(KEY), restored, same_major=False) == []


def test_each_answer_goes_to_its_own_question() -> None:
    one, two = other(VIEW, "b"), ["view", "public.second", "", "b", ["view"]]
    before = fingerprint(VIEW, ["view", "public.second", "", "a", ["view"]])
    assert told(before, fingerprint(one, two), "b", "c") == ["view public.second"]
    assert told(before, fingerprint(one, two), "c", "b") == ["view public.adults"]


def test_what_is_on_one_side_alone_is_the_inventorys_business() -> None:
    assert told(fingerprint(VIEW), fingerprint(KEY)) == []


@pytest.mark.parametrize("line", ["no json", "[]", '["view", "public.adults", "", 7, null]', "{}"])
def test_what_a_later_guardian_wrote_is_passed_over(line: str) -> None:
    assert told(fingerprint(line), fingerprint(line, VIEW)) == []
    assert told(fingerprint(VIEW), fingerprint(line)) == []


def test_backups_of_an_older_guardian_are_compared_by_name() -> None:
    assert told(fingerprint(), fingerprint(VIEW, KEY)) == []
    assert compare(fingerprint(), fingerprint(VIEW), source_major=15, target_major=15) == ()
    assert compare(fingerprint(VIEW), fingerprint(), source_major=15, target_major=15) == ()


def test_quotes_of_another_major_are_the_same_object() -> None:
    before = fingerprint(["index", 'public."key"', "", "USING btree (a)", None])
    after = fingerprint(["index", "public.key", "", "USING btree (b)", None])
    assert told(before, after) == ['index public."key"']


def test_no_text_is_told() -> None:
    (found,) = compare_definitions(
        fingerprint(VIEW),
        fingerprint(other(VIEW, "")),
        same_major=True,
        retell=lambda asked: [one.text for one in asked],
    )
    assert found.found == "no definition"
    assert "SELECT" not in found.expected
    assert len(found.expected) == len("definition 1234…")


def test_an_aspect_without_a_line_is_empty() -> None:
    options = ["table", "public.users", "options", "fillfactor=50", None]
    assert told(fingerprint(VIEW, options), fingerprint(VIEW)) == ["table public.users"]
    assert told(fingerprint(VIEW), fingerprint(VIEW, options)) == ["table public.users"]
    assert told(fingerprint(VIEW), fingerprint(VIEW, options), same_major=False) == []
    lost = fingerprint(VIEW, table=())
    assert told(fingerprint(VIEW, options), lost) == [], "the inventory tells of a lost table"
