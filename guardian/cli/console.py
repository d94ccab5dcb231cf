"""How commands speak: one JSON document on stdout, or tables and lines for people."""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from enum import Enum
from functools import cached_property
from itertools import islice
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from rich.console import Console

_MANY_ROWS = 200
_PAGE = 2000
"""What is printed at once of a long list."""

_PIPED_WIDTH = 200
_NARROWEST = 20
_GAP = 2
_TAG = re.compile(r"\\?\[(/|[a-z ]+)\]")
_STYLES: dict[str, dict[str, Any]] = {
    "dim": {"dim": True},
    "red": {"fg": "red"},
    "green": {"fg": "green"},
    "yellow": {"fg": "yellow"},
}

Command = TypeVar("Command", bound=Callable[..., Any])


def json_option(command: Command) -> Command:
    """Add ``--json``, which arrives as ``as_json``."""
    return click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout.")(
        command
    )


def emit_json(document: Any) -> None:
    """Print the one JSON document of a command."""
    click.echo(_json(document))


def emit_json_each(documents: Iterable[Any]) -> None:
    """The same for a list that may be long: printed as it comes, and never held as a whole."""
    rest = iter(documents)
    before = "[\n"
    while page := list(islice(rest, _PAGE)):
        click.echo(before + _json(page)[2:-2], nl=False)  # without its brackets and their lines
        before = ",\n"
    click.echo("[]" if before == "[\n" else "\n]")


def _json(document: Any) -> str:
    return json.dumps(document, indent=2, default=_plain, ensure_ascii=False)


def time_text(value: datetime | None) -> str | None:
    """An instant for JSON: ISO 8601, UTC, with Z."""
    if value is None:
        return None
    return value.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def moment(at: datetime) -> str:
    """An instant for people: ``2026-11-23 02:00 UTC``."""
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M} UTC"


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return time_text(value)
    if isinstance(value, Enum):
        return value.value
    return str(value)


def console(*, stderr: bool = False) -> Console:
    """A rich console that obeys NO_COLOR and does not wrap what is piped.

    Only tables keep to a width there: that of COLUMNS, which some environments export, else 200.
    """
    from rich.console import Console

    stream = sys.stderr if stderr else sys.stdout
    piped = not stream.isatty()
    width = _piped_width() if piped else None
    return Console(stderr=stderr, width=width, highlight=False, soft_wrap=piped)


def _piped_width() -> int:
    wanted = os.environ.get("COLUMNS", "")
    return max(_NARROWEST, int(wanted)) if wanted.isdecimal() else _PIPED_WIDTH


@dataclass(frozen=True)
class _Column:
    """A column of a table: its cells with their markup, and what is seen of them.

    It is at least as wide as what was printed of it before: ``least``.
    """

    heading: str
    cells: Sequence[str]
    flush_right: bool
    least: int = 0

    @cached_property
    def texts(self) -> list[str]:
        """The heading and the cells, without markup."""
        return [self.heading, *map(_without_markup, self.cells)]

    @cached_property
    def width(self) -> int:
        """So wide is the widest."""
        return max(self.least, *map(_cell_width, self.texts))

    def padded(self, *, colours: bool) -> list[str]:
        """All of the same width; in their colours if they are wanted."""
        justify = str.rjust if self.flush_right else str.ljust
        width, texts = self.width, self.texts
        if all(map(str.isascii, texts)):
            shown = [justify(text, width) for text in texts]
        else:
            shown = [justify(text, width - _cell_width(text) + len(text)) for text in texts]
        if colours:
            shown[1:] = map(_coloured, self.cells, shown[1:])
        return shown


def print_table(
    headings: Sequence[str],
    rows: Iterable[Sequence[str]],
    *,
    right: Sequence[str] = (),
    spare: Sequence[str] = (),
) -> None:
    """A plain table; columns named in ``right`` are flush right. Cells may hold rich markup.

    Columns named in ``spare`` are left out where not all have room: empty ones, then the first
    named first. A long table is printed as its rows come: what has room is then decided by the
    first two thousand, and a column grows where a later cell needs it.
    """
    rest = iter(rows)
    columns = _columns(headings, list(islice(rest, _PAGE)), right)
    if spare:
        columns = _fitting(columns, spare)
    if len(columns[0].cells) <= _MANY_ROWS:
        _print_short_table(columns)
        return
    _print_long_table(columns)
    while more := list(islice(rest, _PAGE)):
        widths = {one.heading: one.width for one in columns}
        columns = [
            replace(one, least=widths[one.heading])
            for one in _columns(headings, more, right)
            if one.heading in widths
        ]
        _print_long_table(columns, with_headings=False)


def _columns(
    headings: Sequence[str], rows: Sequence[Sequence[str]], right: Sequence[str]
) -> list[_Column]:
    turned = zip(*rows, strict=True) if rows else [()] * len(headings)
    return [
        _Column(heading, column, heading in right)
        for heading, column in zip(headings, turned, strict=True)
    ]


def _fitting(columns: Sequence[_Column], spare: Sequence[str]) -> list[_Column]:
    """The columns that a line has room for."""
    kept = {one.heading: one for one in columns}
    empty = {one.heading for one in columns if not any(one.cells)}
    room = shutil.get_terminal_size().columns if sys.stdout.isatty() else _piped_width()
    for heading in sorted(spare, key=lambda one: one not in empty):
        if sum(one.width for one in kept.values()) + _GAP * (len(kept) - 1) <= room:
            break
        del kept[heading]
    return list(kept.values())


def _print_short_table(columns: Sequence[_Column]) -> None:
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, _GAP, 0, 0))
    for one in columns:
        table.add_column(
            one.heading,
            justify="right" if one.flush_right else "left",
            overflow="fold",
            no_wrap=False,
        )
    for row in zip(*(one.cells for one in columns), strict=True):
        table.add_row(*row)
    console().print(table, soft_wrap=False)


def _print_long_table(columns: Sequence[_Column], *, with_headings: bool = True) -> None:
    """The same without folding: rich takes 3 s for 5,000 rows."""
    colours = sys.stdout.isatty() and not os.environ.get("NO_COLOR")
    padded = [one.padded(colours=colours) for one in columns]
    gap = " " * _GAP
    lines = [gap.join(row).rstrip() for row in zip(*padded, strict=True)]
    click.echo("\n".join(lines if with_headings else lines[1:]))


def _without_markup(cell: str) -> str:
    return _TAG.sub(_unescaped, cell) if "[" in cell else cell


def _cell_width(text: str) -> int:
    if text.isascii():
        return len(text)
    from rich.cells import cell_len

    return cell_len(text)


def _coloured(cell: str, shown: str) -> str:
    """What is seen of a cell, in the colour that its markup begins with."""
    tag = _TAG.match(cell)
    return click.style(shown, **_STYLES[tag[1]]) if tag and tag[1] in _STYLES else shown


def _unescaped(match: re.Match[str]) -> str:
    """Markup goes; what was escaped from being markup stays, without its backslash."""
    return match[0][1:] if match[0].startswith("\\") else ""


def escape(text: str) -> str:
    """Text from outside, made safe for a terminal and for rich's markup."""
    if text.isprintable() and "[" not in text and "\\" not in text:
        return text
    from rich.markup import escape as escape_markup

    shown = "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)
    return escape_markup(shown)


def age_text(then: datetime | None, now: datetime) -> str:
    """How long ago, for people: ``3h 12m ago``."""
    from guardian.units import format_duration

    if then is None:
        return "never"
    seconds = (now - then).total_seconds()
    return f"{format_duration(max(0, int(seconds)))} ago"


def pairs(facts: Mapping[str, str]) -> None:
    """Facts, a line each, values aligned."""
    width = max(map(len, facts), default=0)
    for name, value in facts.items():
        console().print(f"[bold]{name:<{width}}[/]  {value}")


def person() -> str:
    """The person at the keyboard; a container's user may have no name."""
    import getpass
    import os

    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return f"uid {os.getuid()}"
