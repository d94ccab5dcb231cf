"""A bar is one line, and is gone before anything else is said."""

from __future__ import annotations

import io
from collections.abc import Callable
from contextlib import redirect_stderr

import pytest
from support.terminal import plain, too_wide

from guardian.cli.progress import BarProgress

MIB = 1 << 20


class _Screen(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def _eighty_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("TERM", "xterm")


def drawn(work: Callable[[BarProgress], None]) -> str:
    """All that is written to a terminal of 80 columns."""
    with redirect_stderr(_Screen()) as screen, BarProgress() as progress:
        work(progress)
    return screen.getvalue()


def lines(written: str) -> list[str]:
    """Each line as it stood on the screen, one after the other."""
    return plain(written).replace("\r", "\n").split("\n")


def test_the_bar_is_off_the_screen_before_the_line_about_the_end() -> None:
    def work(progress: BarProgress) -> None:
        progress.begin("main/mina", 3 * MIB)
        progress.advance(3 * MIB)
        progress.end("main/mina: done")

    written = drawn(work)
    assert any("3.00 MiB of 3.00 MiB" in line for line in lines(written))
    # Nothing is drawn behind it, so what the command says on stdout now stands alone.
    assert written.partition("main/mina: done")[2] == "\n"


def test_a_new_piece_of_work_has_a_bar_of_its_own() -> None:
    def work(progress: BarProgress) -> None:
        progress.begin("fetching", 8 * MIB)
        progress.advance(8 * MIB)
        progress.begin("comparing", 4 * MIB)

    written = lines(drawn(work))
    begun = next(i for i, line in enumerate(written) if "comparing" in line)
    assert "MiB" not in written[begun]
    assert not any("fetching" in line for line in written[begun:])


def test_however_long_the_name_and_the_figures_are_it_is_one_line() -> None:
    def work(progress: BarProgress) -> None:
        progress.begin("main/" + "wide_" * 12 + ": drill, comparing", 999 << 40)
        for _ in range(3):
            progress.advance(111 << 40)

    written = drawn(work)
    assert any("main/wide_" in line and "of 999 TiB" in line for line in lines(written))
    assert not too_wide(written.replace("\r", "\n"))


def test_an_estimate_that_was_too_low_is_told_no_longer() -> None:
    def work(progress: BarProgress) -> None:
        progress.begin("main/mina", 3 * MIB)
        progress.advance(5 * MIB)

    last = next(line for line in reversed(lines(drawn(work))) if "main/mina" in line)
    assert "5.00 MiB" in last
    assert " of " not in last


def test_a_name_from_outside_writes_no_control_character() -> None:
    written = drawn(lambda progress: progress.begin("main/\x1b[2Jevil[red]", 3 * MIB))
    assert "\x1b[2J" not in written
    assert any("evil[red]" in line for line in lines(written))
