"""Cutting scripts into statements, and reading names: quotes of every kind, comments, newlines."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardian.restore.sql_text import TokenKind, literal, quoted, statements, tokens


def words(text: str) -> list[str]:
    return [token.text for token in tokens(text)]


@pytest.mark.parametrize(
    ("script", "expected"),
    [
        ("", []),
        (" ;; \n;", []),
        ("SELECT 1", ["SELECT 1"]),
        ("A;B ;\nC", ["A", "B", "C"]),
        ("A 'x;y'; B", ["A 'x;y'", "B"]),
        ("A 'it''s; a'; B", ["A 'it''s; a'", "B"]),
        ("A 'line\n;two\n--three'; B", ["A 'line\n;two\n--three'", "B"]),
        ('A "x;""y"; B', ['A "x;""y"', "B"]),
        ("A 'back\\'; B", ["A 'back\\'", "B"]),
        ("A E'x\\';y'; B", ["A E'x\\';y'", "B"]),
        ("A $$x;y$$; B", ["A $$x;y$$", "B"]),
        ("A $t$x;$$;$t$; B", ["A $t$x;$$;$t$", "B"]),
        ("A -- no; 'not\n x; B", ["A -- no; 'not\n x", "B"]),
        ("A /* ; /* ' */ ; */ x; B", ["A /* ; /* ' */ ; */ x", "B"]),
        ("-- only\n\nA;\n-- end", ["A"]),
        ("\\restrict a'b\n\nA;\n\\unrestrict a'b\n", ["A"]),
        ("A x\\y; B", ["A x\\y", "B"]),
    ],
)
def test_statements(script: str, expected: list[str]) -> None:
    assert list(statements(script)) == expected


def test_strings_without_standard_conformity() -> None:
    script = "SET standard_conforming_strings = off;\nA 'x\\';y';B;"
    assert list(statements(script))[1:] == ["A 'x\\';y'", "B"]
    back = script + "SET standard_conforming_strings = on;C 'x\\';D"
    assert list(statements(back))[-2:] == ["C 'x\\'", "D"]


@pytest.mark.parametrize("text", ["A 'x", 'A "x', "A $$x", "A $a$ x $$", "A /* x", "A E'x\\'"])
def test_what_does_not_end_is_told(text: str) -> None:
    with pytest.raises(ValueError, match="does not end"):
        list(statements(text))


def test_tokens() -> None:
    assert words('GRANT "a b" TO Ünder1$,x.y;') == [
        "GRANT", '"a b"', "TO", "Ünder1$", ",", "x", ".", "y", ";",
    ]  # fmt: skip
    grant, name, *_ = tokens('GRANT "a""b"')
    assert grant.says("GRANT")
    assert not grant.says("REVOKE")
    assert grant.name == "grant"
    assert (name.kind, name.name) == (TokenKind.NAME, 'a"b')
    assert not name.says("A")
    assert next(iter(tokens("'x'"))).name is None


@given(st.text())
def test_any_name_and_literal_stays_whole(text: str) -> None:
    (one,) = tokens(quoted(text))
    assert one.name == text
    for conforming in (True, False):
        (other,) = tokens(literal(text), conforming=conforming)
        assert other.kind is TokenKind.STRING
    assert list(statements(f"A {quoted(text)} {literal(text)}; B")) == [
        f"A {quoted(text)} {literal(text)}",
        "B",
    ]
