"""Lines that fit a terminal: columns of which one gives way, and text from outside made harmless.

Names of applications and texts of queries come from whoever connects to the server. Nothing of
theirs reaches the terminal as a control character, nor as markup: lines are made of rich's Text.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

_GAP = 2
_LEAST = 8
"""So narrow may a column that gives way become."""
_ELLIPSIS = "…"


@dataclass(frozen=True, slots=True)
class Cell:
    """Text in one style. It is made harmless when it is laid out."""

    text: str
    style: str = ""


@dataclass(frozen=True, slots=True)
class Column:
    """A heading, and how the cells beneath it behave. ``elastic`` ones give way, each in turn."""

    heading: str
    right: bool = False
    most: int | None = None
    elastic: bool = False


def harmless(text: str | None) -> str:
    """Text from outside on one line: white space folded, what is not printable escaped."""
    if not text:
        return ""
    folded = " ".join(text.split())
    if folded.isprintable():
        return folded
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in folded)


def cut(text: str, width: int) -> str:
    """As much of a text as has room, the cut marked."""
    from rich.cells import cell_len, set_cell_size

    if cell_len(text) <= width:
        return text
    return set_cell_size(text, max(0, width - 1)).rstrip() + _ELLIPSIS if width > 0 else ""


def lay_out(
    columns: Sequence[Column],
    rows: Sequence[Sequence[Cell | str]],
    width: int,
    indent: int = 0,
) -> list[Text]:
    """The heading and the rows as lines of at most ``width`` cells.

    Columns are as wide as what they hold, at most ``most``; when that is too much, elastic ones
    become narrower, the last one first, down to eight cells.
    """
    table = [[_cell(cell) for cell in row] for row in rows]
    widths = _widths(columns, table, width - indent)
    heading = [Cell(one.heading, "bold") for one in columns]
    return [_line(row, columns, widths, indent) for row in (heading, *table)]


def _cell(cell: Cell | str) -> Cell:
    style = "" if isinstance(cell, str) else cell.style
    return Cell(harmless(cell if isinstance(cell, str) else cell.text), style)


def _widths(columns: Sequence[Column], table: Sequence[Sequence[Cell]], width: int) -> list[int]:
    from rich.cells import cell_len

    wanted = []
    for place, column in enumerate(columns):
        found = max((cell_len(row[place].text) for row in table), default=0)
        if column.most is not None:
            found = min(found, column.most)
        wanted.append(max(found, cell_len(column.heading)))
    excess = sum(wanted) + _GAP * (len(wanted) - 1) - width
    for place in reversed(range(len(columns))):
        if excess > 0 and columns[place].elastic:
            given = max(0, min(excess, wanted[place] - _LEAST))
            wanted[place] -= given
            excess -= given
    return wanted


def _line(
    cells: Sequence[Cell], columns: Sequence[Column], widths: Sequence[int], indent: int
) -> Text:
    from rich.cells import cell_len
    from rich.text import Text

    line = Text(" " * indent)
    for place, (cell, column, room) in enumerate(zip(cells, columns, widths, strict=True)):
        shown = cut(cell.text, room)
        padding = " " * (room - cell_len(shown))
        if column.right:
            line.append(padding)
        line.append(shown, style=cell.style)
        if not column.right and place < len(cells) - 1:
            line.append(padding)
        if place < len(cells) - 1:
            line.append(" " * _GAP)
    line.rstrip()
    return line


def hanging(
    console: Console, text: str, width: int, *, first: Text | str = "", style: str = ""
) -> list[Text]:
    """A text behind ``first``, over as many lines as it takes, each beneath the other."""
    from rich.text import Text

    lead = Text(first) if isinstance(first, str) else first
    room = max(_LEAST, width - lead.cell_len)
    lines = []
    for place, words in enumerate(Text(harmless(text), style).wrap(console, room)):
        words.rstrip()
        line = lead.copy() if place == 0 else Text(" " * lead.cell_len)
        lines.append(line.append_text(words))
    return lines or [lead]


def show(console: Console, lines: Iterable[Text]) -> None:
    """Print lines as they are: no wrapping, no guessing at numbers to colour."""
    for line in lines:
        console.print(line, no_wrap=True, overflow="ignore", crop=False)
