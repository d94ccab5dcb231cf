"""Tables of a run's results: on the terminal, and in the documents.

    python -m bench.report FILE [--update-docs]

With ``--update-docs`` every figure of docs/benchmarks.md, the table in README.md and the charts are
made anew from this file, which is then kept as docs/benchmarks.json.
"""

from __future__ import annotations

import argparse
import re
import statistics
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from bench.chart import draw
from bench.results import Contest, Results, Row, Size
from guardian.units import format_size

_HOME = Path(__file__).resolve().parent.parent
KEPT = _HOME / "docs" / "benchmarks.json"
DOCUMENT = _HOME / "docs" / "benchmarks.md"
README = _HOME / "README.md"
IMAGES = _HOME / "docs" / "images"
README_LEAST_BYTES = 1 << 30
"""Of a smaller database the time is mostly that of a start, which is no news for a README."""

_HEADINGS = ("", "seconds", "spread", "x first", "CPU", "server CPU", "memory", "stored")
_LAST = (("plaintext", "stock tools"), ("plaintext", "result"))
_UNKNOWN = "·"


def cells(contest: Contest, row: Row) -> list[str]:
    """What a table says of one way, in the order of its headings."""
    if row.failure or row.wall is None:
        return [row.name, row.failure or "not run"]
    times = contest.times_of_first(row)
    return [
        row.name,
        f"{row.wall.median:.2f}",
        f"{row.wall.least:.2f} .. {row.wall.most:.2f}",
        f"{times:.2f}" if times is not None else _UNKNOWN,
        f"{statistics.median(row.cpu):.1f}" if row.cpu else _UNKNOWN,
        f"{statistics.median(row.server_cpu):.1f}" if row.server_cpu else _UNKNOWN,
        _size(row.peak_bytes),
        _size(row.stored_bytes),
        _UNKNOWN if row.plaintext is None else ("yes" if row.plaintext else "no"),
        _last(row),
    ]


def _last(row: Row) -> str:
    """Whether stock tools restore it; of a restore, whether it was right."""
    if row.equal is not None:
        return "equal" if row.equal else "DIFFERS"
    return _UNKNOWN if row.stock is None else ("no" if row.stock else "yes")


def _size(value: int | None) -> str:
    return _UNKNOWN if value is None else format_size(value)


def _headings(contest: Contest) -> list[str]:
    return [*_HEADINGS, *_LAST[any(row.equal is not None for row in contest.rows)]]


def as_text(found: Results) -> str:
    """Everything, for a terminal."""
    parts = [f"{found.made_at}  {_facts(found.machine)}", _facts(found.versions)]
    for size in found.sizes:
        for contest in size.contests:
            parts.append(f"\n{contest.title}, {_of(size)}")
            parts.append(_text_table(contest))
    if found.watch is not None:
        parts += ["\nwatch", *("  ".join(line) for line in watch_cells(found))]
    if found.service is not None:
        parts += ["\nservice", *("  ".join(line) for line in service_cells(found))]
    return "\n".join(parts)


def _text_table(contest: Contest) -> str:
    lines = [_headings(contest), *(cells(contest, row) for row in contest.rows)]
    columns = range(len(lines[0]))
    whole = [line for line in lines if len(line) == len(columns)]
    widths = [max(len(line[column]) for line in whole) for column in columns]
    widths[0] = max(len(line[0]) for line in lines)
    shown = []
    for line in lines:
        name, *rest = line
        if len(rest) == 1:
            shown.append(f"{name:{widths[0]}}  {rest[0]}")
        else:
            figures = (f"{one:>{width}}" for one, width in zip(rest, widths[1:], strict=True))
            shown.append("  ".join([f"{name:{widths[0]}}", *figures]))
    return "\n".join(shown)


def as_markdown(contest: Contest) -> str:
    """One contest as a table; our own rows in bold."""
    headings = _headings(contest)
    lines = [_line(headings), _line(["---", *["---:"] * (len(headings) - 3), "---", "---"])]
    for row in contest.rows:
        name, *rest = cells(contest, row)
        lines.append(_line([_named(row, name), *rest, *[""] * (len(headings) - 1 - len(rest))]))
    return "\n".join(lines)


def _named(row: Row, name: str) -> str:
    return f"**{_safe(name)}**" if row.ours else _safe(name)


def _safe(text: str) -> str:
    """As text in a cell of Markdown."""
    return re.sub(r"([\\`*_<>\[\]|])", r"\\\1", text)


def _line(found: Sequence[str]) -> str:
    return f"| {' | '.join(found)} |"


def _of(size: Size) -> str:
    return f"{format_size(size.database_bytes)}, median of {size.rounds}"


def _facts(facts: Mapping[str, str]) -> str:
    return " · ".join(f"{name} {value}" for name, value in facts.items())


def watch_cells(found: Results) -> list[list[str]]:
    """Each watcher: what a look costs the server, and itself a share of a core and memory."""
    lines = [["", "a look, elapsed", "a look, processor", "own share of a core", "memory"]]
    lines += [
        [
            name,
            f"{cost['elapsed_ms']:.1f} ms",
            f"{cost['used_ms']:.1f} ms",
            f"{cost['processor']:.2%}" if cost["memory_bytes"] else _UNKNOWN,
            format_size(cost["memory_bytes"]) if cost["memory_bytes"] else _UNKNOWN,
        ]
        for name, cost in (found.watch or {}).items()
        if isinstance(cost, dict)
    ]
    return lines


def service_cells(found: Results) -> list[list[str]]:
    """What a person waits for, and what the idle daemon takes, each with its bound."""
    return [["", "measured", "bound"]] + [
        [
            one["name"],
            f"{one['value']:.1f} {one['unit']}",
            _UNKNOWN if one["bound"] is None else f"{one['bound']:g} {one['unit']}",
        ]
        for one in found.service or ()
    ]


# --- documents -----------------------------------------------------------------------------------


def blocks(found: Results) -> dict[str, str]:
    """What stands in the documents between ``<!-- bench: NAME -->`` and ``<!-- end -->``."""
    made = found.made_at[:10]
    about = [f"- Made on {made} with `{found.command}`", f"- Machine: {_facts(found.machine)}"]
    about.append(f"- Versions: {_facts(found.versions)}")
    about += [f"- {found.note}"] if found.note else []
    tables = []
    for size in found.sizes:
        for contest in size.contests:
            title = contest.title[0].upper() + contest.title[1:]
            tables += [f"### {title}, {_of(size)}", as_markdown(contest)]
    return {
        "about": "\n".join(about),
        "tables": "\n\n".join(tables),
        "watch": _plain_table(watch_cells(found)),
        "service": _plain_table(service_cells(found)),
        "readme": _for_readme(found),
    }


def _plain_table(lines: list[list[str]]) -> str:
    if len(lines) == 1:
        return "Not part of this run."
    heads, *rows = lines
    return "\n".join(map(_line, [heads, ["---", *["---:"] * (len(heads) - 1)], *rows]))


def _for_readme(found: Results) -> str:
    size = found.sizes[-1]
    backup = size.contest("backup")
    assert backup is not None
    about = f"On {found.machine['cores']} cores shared with the server, {_of(size)} rounds:"
    lines = [
        f"{about}\n",
        _line(
            ["", "seconds", "x raw dump", "memory", "stored", "plaintext on disk", "stock tools"]
        ),
        _line(["---", *["---:"] * 4, "---", "---"]),
    ]
    for row in backup.rows:
        if row.wall is not None:
            told = cells(backup, row)
            lines.append(
                _line([_named(row, told[0]), told[1], told[3], told[6], told[7], *told[8:]])
            )
    picture = "![Seconds for one backup](docs/images/benchmark-backup.svg)"
    return "\n".join([*lines, "", picture])


def put_in(text: str, found: dict[str, str]) -> str:
    """A document with its marked blocks replaced.

    Raises:
        ValueError: it asks for a block that there is none of.
    """

    def replaced(match: re.Match[str]) -> str:
        if match[1] not in found:
            raise ValueError(f"no block of results is called {match[1]!r}")
        return f"<!-- bench: {match[1]} -->\n\n{found[match[1]]}\n\n<!-- end -->"

    return re.sub(r"<!-- bench: (\w+) -->.*?<!-- end -->", replaced, text, flags=re.DOTALL)


def charts(found: Results) -> dict[str, str]:
    """The file of each chart in docs/images: of the largest database."""
    size = found.sizes[-1]
    subtitle = (
        f"{_of(size)}, with least and most · PostgreSQL {found.versions['PostgreSQL']}, "
        f"{found.machine['cores']} cores · {found.command.partition(' --')[0]}"
    )
    words = {
        "backup": "One backup: seconds by the clock",
        "restore": "The way back: seconds by the clock",
    }
    return {
        f"benchmark-{contest.title}.svg": draw(contest, words[contest.title], subtitle)
        for contest in size.contests
        if contest.title in words
    }


def documents(found: Results) -> dict[Path, str]:
    """Every file that a run's figures stand in, as it has to be."""
    marked = [DOCUMENT]
    if found.sizes[-1].database_bytes >= README_LEAST_BYTES:
        marked.append(README)
    made = blocks(found)
    return {
        KEPT: found.to_json(),
        **{path: put_in(path.read_text(), made) for path in marked},
        **{IMAGES / name: text for name, text in charts(found).items()},
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m bench.report", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("file", type=Path)
    parser.add_argument("--update-docs", action="store_true")
    options = parser.parse_args()
    try:
        found = Results.from_json(options.file.read_text())
    except (OSError, ValueError) as error:
        sys.exit(f"bench.report: {options.file}: {error}")
    print(as_text(found))
    if options.update_docs:
        for path, text in documents(found).items():
            path.write_text(text)


if __name__ == "__main__":
    main()
