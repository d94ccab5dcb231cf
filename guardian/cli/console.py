"""How commands speak: one JSON document on stdout, or tables and lines for people."""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from enum import Enum
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from rich.console import Console

_MANY_ROWS = 200
_PIPED_WIDTH = 200
_NARROWEST = 20
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
    click.echo(json.dumps(document, indent=2, default=_plain, ensure_ascii=False))


def time_text(value: datetime | None) -> str | None:
    """An instant for JSON: ISO 8601, UTC, with Z."""
    if value is None:
        return None
    return value.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


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


def print_table(
    headings: Sequence[str], rows: Iterable[Sequence[str]], *, right: Sequence[str] = ()
) -> None:
    """A plain table; columns named in ``right`` are flush right. Cells may hold rich markup."""
    from rich.table import Table

    cells = list(rows)
    if len(cells) > _MANY_ROWS:
        _print_long_table(headings, cells, right)
        return
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for heading in headings:
        table.add_column(
            heading, justify="right" if heading in right else "left", overflow="fold", no_wrap=False
        )
    for row in cells:
        table.add_row(*row)
    console().print(table, soft_wrap=False)


def _print_long_table(
    headings: Sequence[str], rows: Sequence[Sequence[str]], right: Sequence[str]
) -> None:
    """The same without folding: rich takes 3 s for 5,000 rows."""
    from rich.cells import cell_len

    colours = sys.stdout.isatty() and not os.environ.get("NO_COLOR")
    plain = [list(headings), *([_TAG.sub(_unescaped, cell) for cell in row] for row in rows)]
    widths = [max(map(cell_len, column)) for column in zip(*plain, strict=True)]
    flush = [heading in right for heading in headings]
    lines = []
    for number, row in enumerate(plain):
        cells = []
        for column, text in enumerate(row):
            padding = " " * (widths[column] - cell_len(text))
            tag = _TAG.match(rows[number - 1][column]) if colours and number else None
            shown = click.style(text, **_STYLES[tag[1]]) if tag and tag[1] in _STYLES else text
            cells.append(padding + shown if flush[column] else shown + padding)
        lines.append("  ".join(cells).rstrip())
    click.echo("\n".join(lines))


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
