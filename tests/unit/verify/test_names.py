"""Quoting, and the form of an identity that does not depend on the server."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardian.verify.names import NAME, QUALIFIED, comparable, one_line, qualified, quoted


@pytest.mark.parametrize(
    ("name", "written"),
    [
        ("users", "users"),
        ("_", "_"),
        ("a1_", "a1_"),
        ("Users", '"Users"'),
        ("1a", '"1a"'),
        ("a$b", '"a$b"'),
        ("a b", '"a b"'),
        ('a"b', '"a""b"'),
        ("ä", '"ä"'),
        ("", '""'),
        ("select", '"select"'),
        ("json_table", '"json_table"'),
        ("name", "name"),
    ],
)
def test_names_are_quoted_as_the_server_does(name: str, written: str) -> None:
    assert quoted(name) == written


def test_a_schema_and_a_name() -> None:
    assert qualified("my schema", "users") == '"my schema".users'


@pytest.mark.parametrize(
    ("identity", "same"),
    [
        ('public."system_user"', "public.system_user"),
        ('"select"."Table"', 'select."Table"'),
        ('zoo.f(pg_catalog.text,pg_catalog."any")', "zoo.f(text,any)"),
        ('public."a""b"', 'public."a""b"'),
        ('public."x""select""y"', 'public."x""select""y"'),
        ("public.pg_catalog.id", "public.pg_catalog.id"),
        ('"pg_catalog.x".y', '"pg_catalog.x".y'),
        ('""', '""'),
    ],
)
def test_what_depends_on_the_server_is_not_compared(identity: str, same: str) -> None:
    assert comparable(identity) == same


@given(st.text(), st.text(), st.text(), st.text())
def test_different_names_stay_different(a: str, b: str, c: str, d: str) -> None:
    assert (comparable(qualified(a, b)) == comparable(qualified(c, d))) == ((a, b) == (c, d))


@given(st.text(), st.text())
def test_whatever_is_quoted_is_a_name(schema: str, name: str) -> None:
    assert re.fullmatch(NAME, quoted(name), re.DOTALL)
    assert re.fullmatch(QUALIFIED, qualified(schema, name), re.DOTALL)


@given(st.text())
def test_one_line_is_one_line(text: str) -> None:
    assert len(one_line(text).splitlines()) <= 1
