"""Tables: long ones are printed by a faster way, which must show the same."""

from __future__ import annotations

import pytest

from guardian.cli.console import console, escape, print_table

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
