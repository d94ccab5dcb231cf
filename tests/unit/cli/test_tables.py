"""Tables and lists: long ones are printed in other ways, as they come, and must show the same."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from guardian.cli.console import console, emit_json, emit_json_each, escape, print_table

ROWS = [
    ("20261123T020000Z-7f3a9c", escape("main/[red]a[/] 🦒\n"), "1.0 GiB", "[red]NO[/]"),
    ("20261122T020000Z-000000", escape("main/mina"), "12 B", "[dim]not yet[/]"),
]


def shown(capsys: pytest.CaptureFixture[str], times: int) -> list[str]:
    print_table(["ID", "DATABASE", "STORED", "PROVEN"], ROWS * times, right=["STORED"])
    return [line.rstrip() for line in capsys.readouterr().out.splitlines()]


def test_a_long_table_looks_like_a_short_one(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    short = shown(capsys, 1)
    long = shown(capsys, 200)
    assert len(long) == 401
    assert long[:3] == short
    assert "main/[red]a[/] 🦒\\n" in long[1]
    assert long[1].endswith("NO")


def test_a_long_table_is_printed_as_its_rows_come(capsys: pytest.CaptureFixture[str]) -> None:
    printed: list[str] = []

    def rows() -> Iterator[tuple[str, str, str]]:
        for number in range(5000):
            if number % 2000 == 0:
                printed.append(capsys.readouterr().out)
            yield str(number), "main/mina" if number < 4500 else "main/a longer name", ""

    print_table(["ID", "DATABASE", "SPARE"], rows(), right=["ID"], spare=["SPARE"])
    lines = "".join([*printed, capsys.readouterr().out]).splitlines()
    assert [text.count("\n") for text in printed] == [0, 2001, 2000]
    assert [line.split() for line in lines[:2]] == [["ID", "DATABASE", "SPARE"], ["0", "main/mina"]]
    assert [line.split()[0] for line in lines[1:]] == [str(number) for number in range(5000)]
    assert lines[1].startswith("   0  main")  # as wide as the page needs
    assert lines[-1].endswith("main/a longer name")


@pytest.mark.parametrize("count", [0, 1, 1999, 2000, 2001, 4000])
def test_a_json_list_that_comes_in_pages_is_the_same_document(
    capsys: pytest.CaptureFixture[str], count: int
) -> None:
    documents = [{"id": number, "stores": ["a", "ü\n]"], "none": []} for number in range(count)]
    emit_json(documents)
    whole = capsys.readouterr().out
    emit_json_each(iter(documents))
    assert capsys.readouterr().out == whole


@pytest.mark.parametrize("columns", ["80", "1", "0", "", "wide", "-5"])
def test_a_piped_sentence_is_a_line_however_wide_a_terminal_may_be(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, columns: str
) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    sentence = "a reason that goes on and on " * 20
    console().print(sentence)
    assert capsys.readouterr().out.splitlines() == [sentence]


def test_a_piped_table_keeps_to_columns(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    lines = shown(capsys, 1)
    assert max(map(len, lines)) <= 60
    monkeypatch.delenv("COLUMNS")
    assert len(shown(capsys, 1)) == 3 < len(lines)
