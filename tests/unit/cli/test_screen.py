from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from guardian.cli.diagnose_tables import count_text
from guardian.cli.screen import Cell, Column, cut, hanging, harmless, lay_out


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (None, ""),
        ("", ""),
        ("a\n\t b\r\nc", "a b c"),
        ("\x1b[2J\x07", "\\x1b[2J\\x07"),
        ("\u202eevil\u200b", "\\u202eevil\\u200b"),
        ("\x9b31m", "\\x9b31m"),
        ("[red]x[/]", "[red]x[/]"),
        ("größe 表", "größe 表"),
    ],
)
def test_text_from_outside_is_made_harmless(text: str | None, shown: str) -> None:
    assert harmless(text) == shown


@given(st.text())
def test_nothing_that_a_terminal_obeys_remains(text: str) -> None:
    assert harmless(text).isprintable()


@pytest.mark.parametrize(
    ("text", "width", "shown"),
    [
        ("abc", 3, "abc"),
        ("abcd", 3, "ab…"),
        ("ab cd", 4, "ab…"),
        ("表表", 3, "表…"),
        ("表表", 4, "表表"),
        ("abc", 0, ""),
        ("abc", 1, "…"),
    ],
)
def test_what_has_no_room_is_cut(text: str, width: int, shown: str) -> None:
    assert cut(text, width) == shown


def shown(*rows: list[Cell | str], width: int = 40, indent: int = 0) -> list[str]:
    columns = [
        Column("N", right=True),
        Column("NAME", most=12, elastic=True),
        Column("QUERY", elastic=True),
    ]
    return [line.plain for line in lay_out(columns, rows, width, indent)]


def test_columns_are_as_wide_as_what_they_hold() -> None:
    assert shown(["7", "web", "select 1"], ["1234", "a", "x"]) == [
        "   N  NAME  QUERY",
        "   7  web   select 1",
        "1234  a     x",
    ]


def test_elastic_columns_give_way_the_last_one_first() -> None:
    row: list[Cell | str] = ["1", "n" * 20, "q" * 50]
    assert shown(row) == [
        "N  NAME          QUERY",
        "1  nnnnnnnnnnn…  " + "q" * 22 + "…",
    ]
    assert shown(row, width=20)[1] == "1  nnnnnnn…  qqqqqqq…"  # eight each, and no less
    assert [len(line) for line in shown(row, width=30, indent=4)][1] == 30


@given(
    st.lists(st.tuples(st.text(max_size=30), st.text(max_size=40), st.text(max_size=90))),
    st.integers(60, 200),
)
def test_no_line_is_wider_than_the_terminal(rows: list[tuple[str, str, str]], width: int) -> None:
    columns = [
        Column("A", most=20),
        Column("B", elastic=True),
        Column("C", elastic=True, right=True),
    ]
    for line in lay_out(columns, rows, width):
        assert line.cell_len <= width
        assert line.plain.isprintable()


def test_long_texts_hang_beneath_each_other() -> None:
    console = Console(width=20)
    lines = hanging(console, "one two three four five", 14, first="  - ")
    assert [line.plain for line in lines] == ["  - one two", "    three four", "    five"]
    assert [line.plain for line in hanging(console, "", 14, first="  - ")] == ["  - "]
    assert all(line.cell_len <= 14 for line in hanging(console, "x" * 50, 14, first="  - "))


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (0, "0"),
        (9_999, "9,999"),
        (10_000, "10.0k"),
        (99_949, "99.9k"),
        (99_950, "100k"),
        (999_499, "999k"),
        (999_500, "1.0M"),
        (12_345_678, "12.3M"),
        (7_000_000_000_000, "7.0T"),
    ],
)
def test_numbers_in_few_letters(number: int, text: str) -> None:
    assert count_text(number) == text
