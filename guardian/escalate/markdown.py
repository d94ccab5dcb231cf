"""Markdown made of facts: what comes from outside cannot become markup, and blanks are seen."""

from __future__ import annotations

import re
from collections.abc import Iterable

from guardian.escalate.model import Fact

_SPECIAL = re.compile(r"[\\`*<>\[\]|]|(?<!\w)_|_(?!\w)")
_TICKS = re.compile(r"`+")


def text(value: object) -> str:
    """Words on one line, with what Markdown would take for markup made harmless.

    An underscore within a word is none, so that pg_dump stays readable in the plain file.
    """
    folded = " ".join(str(value).split())
    shown = "".join(one if one.isprintable() else ascii(one)[1:-1] for one in folded)
    return _SPECIAL.sub(r"\\\g<0>", shown)


def blank(what: str) -> str:
    """A place that a person has to fill in, and cannot miss."""
    return f"**[to fill in: {what}]**"


def bullets(lines: Iterable[str]) -> list[str]:
    """A list."""
    return [f"- {line}" for line in lines]


def numbered(lines: Iterable[str]) -> list[str]:
    """A list whose order counts."""
    return [f"{place}. {line}" for place, line in enumerate(lines, 1)]


def facts(found: Iterable[Fact]) -> list[str]:
    """Facts, a line each; a value of several lines as it is, in a fence that it cannot leave."""
    lines = []
    for one in found:
        if "\n" in one.value:
            longest = max((len(ticks) for ticks in _TICKS.findall(one.value)), default=0)
            fence = "`" * max(3, longest + 1)
            shown = "".join(c if c.isprintable() or c == "\n" else "?" for c in one.value)
            lines += [f"- {text(one.name)}:", "", f"  {fence}text"]
            lines += [f"  {line}".rstrip() for line in shown.splitlines()]
            lines += [f"  {fence}", ""]
        else:
            lines.append(f"- {text(one.name)}: {text(one.value)}")
    return lines


def document(*sections: Iterable[str]) -> str:
    """Sections with a blank line between, no two in a row, and a newline at the end."""
    lines: list[str] = []
    for section in sections:
        lines += [*section, ""]
    kept: list[str] = []
    for line in lines:
        if line or (kept and kept[-1]):
            kept.append(line)
    return "\n".join(kept).rstrip("\n") + "\n"
