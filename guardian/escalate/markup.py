"""A message's parts as text: plain, as Markdown or HTML, each escaped in its own way. Pure.

A markup writes line by line and closes in a line what it opened there, so that a text may be cut
between any two lines.
"""

from __future__ import annotations

import html
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from guardian.escalate.model import Fact, Message
from guardian.escalate.wording import (
    Link,
    Part,
    Tightness,
    colour,
    emblem,
    fitting,
    headline,
    parts,
)

_UNSEEN_SPACE = "\u200b"
_MARKDOWN = re.compile(r"([\\`*_~|<>\[\]()#:@!+.-])")
_HTML_STYLE = "font-family:system-ui,sans-serif;font-size:15px;line-height:1.45;color:#1f2937"
_PRE_STYLE = (
    "margin:4px 0;padding:8px;background:#f3f4f6;font-size:13px;white-space:pre-wrap;"
    "overflow-wrap:anywhere"
)


_PAGE = """\
<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8">
<title>{title}</title></head>
<body style="{style}">
<h1 style="font-size:18px;border-left:6px solid {colour};padding-left:10px">{emblem} {title}</h1>
{lines}
</body></html>
"""


@dataclass(frozen=True, slots=True)
class Markup:
    """How one service writes: each function takes plain text and gives what it wants to read.

    ``block`` is for text of several lines; ``link`` takes label and address.
    """

    escape: Callable[[str], str]
    bold: Callable[[str], str]
    block: Callable[[str], str]
    link: Callable[[str, str], str]


def _escape_markdown(text: str) -> str:
    return _MARKDOWN.sub(r"\\\1", text)


def _fence(text: str) -> str:
    """Within a fence nothing is escaped, so nothing may end it."""
    safe = text.replace("`", "`" + _UNSEEN_SPACE)
    return f"```\n{safe}\n```"


def _markdown_link(label: str, url: str) -> str:
    address = url.replace("(", "%28").replace(")", "%29").replace("<", "%3C").replace(">", "%3E")
    return f"[{_escape_markdown(label)}]({address})"


def _escape_html(text: str) -> str:
    return html.escape(text, quote=False)


PLAIN = Markup(
    escape=str,
    bold=str,
    block=lambda text: "\n".join(f"    {line}" for line in text.split("\n")),
    link=lambda label, url: f"{label}: {url}",
)
DISCORD = Markup(
    escape=_escape_markdown,
    bold=lambda text: f"**{_escape_markdown(text)}**",
    block=_fence,
    link=_markdown_link,
)
TELEGRAM = Markup(
    escape=_escape_html,
    bold=lambda text: f"<b>{_escape_html(text)}</b>",
    block=lambda text: f"<pre>{_escape_html(text)}</pre>",
    link=lambda label, url: f'<a href="{html.escape(url)}">{_escape_html(label)}</a>',
)


def body(message: Message, markup: Markup, limit: int, size: Callable[[str], int] = len) -> str:
    """What is said below the headline, within the limit. May be empty."""
    made = fitting(
        lambda tightness: "\n".join(_lines(parts(message, tightness), markup)),
        lambda text: size(text) <= limit,
    )
    return made if size(made) <= limit else ""


def letter(message: Message, tightness: Tightness) -> str:
    """The whole message as a page of HTML, for a mail. Nothing in it is loaded from elsewhere."""
    title = _escape_html(headline(message))
    lines = (line for part in parts(message, tightness) for line in _html_part(part))
    return _PAGE.format(
        title=title,
        style=_HTML_STYLE,
        colour=f"#{colour(message):06x}",
        emblem=emblem(message),
        lines="\n".join(lines),
    )


def _lines(said: Iterable[Part], markup: Markup) -> Iterator[str]:
    for index, part in enumerate(said):
        if index:
            yield ""
        if part.heading:
            yield markup.bold(part.heading)
        bullet = "• " if part.heading and len(part.lines) > 1 else ""
        for line in part.lines:
            if isinstance(line, Fact):
                yield from _fact(line, markup)
            elif isinstance(line, Link):
                yield bullet + markup.link(line.label, line.url)
            else:
                yield bullet + markup.escape(line)


def _fact(fact: Fact, markup: Markup) -> Iterator[str]:
    name = f"{markup.bold(fact.name)}:"
    if "\n" in fact.value:
        yield name
        yield markup.block(fact.value)
    else:
        yield f"{name} {markup.escape(fact.value)}"


def _html_part(part: Part) -> Iterator[str]:
    if part.heading:
        yield f'<h2 style="font-size:15px;margin:16px 0 4px">{part.heading}</h2>'
    for line in part.lines:
        if isinstance(line, Link):
            inner = TELEGRAM.link(line.label, line.url)
        elif isinstance(line, Fact) and "\n" in line.value:
            value = _escape_html(line.value)
            inner = f'<b>{_escape_html(line.name)}:</b><pre style="{_PRE_STYLE}">{value}</pre>'
        elif isinstance(line, Fact):
            inner = f"<b>{_escape_html(line.name)}:</b> {_escape_html(line.value)}"
        else:
            inner = _escape_html(line)
        yield f'<div style="margin:2px 0">{inner}</div>'
