"""A message in words: its headline, its parts, and how they are made to fit. Pure.

What stands in a message comes partly from outside: names of databases, errors of servers, texts of
queries. So everything is cleaned of what no person sees (control characters, marks that turn the
direction of writing round), and each channel escapes what its own markup would take for markup
(:mod:`guardian.escalate.markup`, or blocks of JSON that know no markup at all).

Each channel has a limit. What does not fit is shortened evenly, long values first, and says so with
``…``; the headline and the first facts stay whatever happens.
"""

from __future__ import annotations

import hashlib
import unicodedata
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TypeVar

from guardian.escalate.model import TITLE_LIMIT, Fact, Message, MessageKind, Severity
from guardian.units import format_duration

T = TypeVar("T")

_BLANKS = {0x09: " ", 0x0B: "\n", 0x0C: "\n", 0x0D: "\n", 0x85: "\n", 0x2028: "\n", 0x2029: "\n"}
_UNSEEN = dict.fromkeys(
    [
        *(0xAD, 0x061C, 0x180E, 0x200B, 0x200E, 0x200F, 0xFEFF),
        *range(0x202A, 0x202F),  # turn the direction of writing round
        *range(0x2060, 0x2070),
        *range(0xFFF9, 0xFFFC),
        *range(0xE0000, 0xE0080),  # tags: text that nobody sees
    ]
)
_MARK = "\ufffd"
_CONTROLS = dict.fromkeys(
    [*(code for code in range(0x20) if code != 0x0A), *range(0x7F, 0xA0), *range(0xD800, 0xE000)],
    _MARK,
)
_CLEANED = {**_CONTROLS, **_BLANKS, **_UNSEEN}

_WORDS = {
    MessageKind.ALERT: "",
    MessageKind.ESCALATION: "escalated",
    MessageKind.REMINDER: "reminder",
    MessageKind.UPDATE: "update",
    MessageKind.ACKNOWLEDGED: "acknowledged",
    MessageKind.RESOLVED: "resolved",
    MessageKind.STORM: "storm",
}
_EMBLEMS = {
    MessageKind.RESOLVED: "✅",
    MessageKind.ACKNOWLEDGED: "👀",
    MessageKind.TEST: "🔔",
    MessageKind.DIGEST: "📋",
}
_SEVERITY_EMBLEMS = {Severity.P0: "🔴", Severity.P1: "🟠", Severity.P2: "🟡", Severity.P3: "🔵"}
_COLOURS = {
    MessageKind.RESOLVED: 0x2E9E5B,
    MessageKind.ACKNOWLEDGED: 0x6B7280,
    MessageKind.TEST: 0x6B7280,
    MessageKind.DIGEST: 0x6B7280,
}
_SEVERITY_COLOURS = {
    Severity.P0: 0xC81E1E,
    Severity.P1: 0xE4620B,
    Severity.P2: 0xD9A300,
    Severity.P3: 0x2F6FDE,
}
_MOST_READ = 20_000
"""Characters of a text that are looked at, at all."""
_NAME_LIMIT = 80
_NO_TEXT = "-"
"""Services refuse texts that are empty."""
_HEAD_LIMIT = 30
_LINK_LIMIT = 1000


@dataclass(frozen=True, slots=True)
class Link:
    """An address with words for people."""

    label: str
    url: str


Line = Fact | Link | str
"""A fact, a link, or a sentence. A fact's value may have several lines: the end of a log."""


@dataclass(frozen=True, slots=True)
class Part:
    """Lines that belong together, under a heading of ours (empty for the first ones)."""

    heading: str
    lines: tuple[Line, ...]


@dataclass(frozen=True, slots=True)
class Tightness:
    """How much may be said: characters of a value or line, lines of a part (0: only the head).

    ``items`` and ``item_characters`` are the same for the single lines of a storm or digest: they
    become short before any is left out.
    """

    characters: int
    lines: int
    items: int
    item_characters: int


ROOMY = Tightness(2000, 60, 300, 200)
_EVER_TIGHTER = (
    ROOMY,
    Tightness(600, 25, 300, 120),
    Tightness(200, 12, 300, 80),
    Tightness(100, 6, 200, 60),
    Tightness(60, 3, 150, 40),
    Tightness(40, 2, 120, 28),
    Tightness(40, 0, 100, 24),
    Tightness(40, 0, 30, 24),
    Tightness(20, 0, 5, 24),
)
_NOTHING = Tightness(0, 0, 0, 0)


def clean(text: str) -> str:
    """The text as a person sees it, lines kept: nothing unseen, nothing that UTF-8 cannot say.

    No line ends in blanks.
    """
    if text.isascii() and text.isprintable():
        return text.rstrip()
    lines = text.replace("\r\n", "\n").translate(_CLEANED).split("\n")
    return "\n".join(line.rstrip() for line in lines).strip("\n")


def in_one_line(text: str) -> str:
    """The same, folded into a single line."""
    return " ".join(clean(text[:_MOST_READ]).split())


def utf8_length(text: str) -> int:
    """Bytes in UTF-8."""
    return len(text.encode())


def utf16_length(text: str) -> int:
    """Characters as JavaScript counts them: at least as many as any other way of counting."""
    return len(text) + sum(character > "\uffff" for character in text)


def cut(text: str, limit: int, size: Callable[[str], int] = len) -> str:
    """At most so much of the text; ``…`` says that there was more. No character is split."""
    if size(text) <= limit:
        return text
    room = limit - size("…")
    if room < 0:
        return ""
    lengths = range(min(len(text) - 1, room) + 1)  # each character counts at least one
    kept = text[: bisect_right(lengths, room, key=lambda length: size(text[:length])) - 1]
    while kept and (unicodedata.combining(text[len(kept)]) or text[len(kept)] in "\u200d\ufe0f"):
        kept = kept[:-1]  # what follows belongs to it
    return kept.rstrip(" \n\u200d") + "…"


def headline(message: Message) -> str:
    """``[P1 resolved] Backup of main/mina failed: disk full``: one line of at most TITLE_LIMIT."""
    if message.kind in {MessageKind.TEST, MessageKind.DIGEST}:
        label = message.kind.value
    else:
        label = f"{message.severity.value} {_WORDS[message.kind]}".rstrip()
    return cut(f"[{label}] {in_one_line(message.title)}".rstrip(), TITLE_LIMIT)


def emblem(message: Message) -> str:
    """One sign that tells from afar how bad it is, or that it is over."""
    return _EMBLEMS.get(message.kind) or _SEVERITY_EMBLEMS[message.severity]


def colour(message: Message) -> int:
    """The same as a colour, 0xRRGGBB."""
    return _COLOURS.get(message.kind) or _SEVERITY_COLOURS[message.severity]


def short_key(key: str, limit: int) -> str:
    """A key that may be too long for a service, as one that is not, and the same each time."""
    printable = in_one_line(key)
    if printable == key and utf8_length(key) <= limit:
        return key
    digest = hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()[:32]
    return f"{cut(printable, limit - 33, utf8_length)}-{digest}"


def delivery_id(message: Message) -> str:
    """32 hex digits, the same for each try of one message: so a receiver tells a second copy."""
    at = message.at.astimezone(UTC).isoformat()
    story = "\0".join([message.dedup_key, message.kind.value, str(message.number), at])
    return hashlib.sha256(story.encode("utf-8", "surrogatepass")).hexdigest()[:32]


def instant(at: datetime) -> str:
    """``2026-11-23 02:00:13 UTC``."""
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"


def parts(message: Message, tightness: Tightness = ROOMY) -> tuple[Part, ...]:
    """All that is to be said below the headline, in the order in which it is needed.

    Texts are clean and cut, and not escaped yet. Parts without lines are left out.
    """
    if tightness == _NOTHING:
        return ()
    listed = _shortened(message.items, tightness.item_characters, tightness.items)
    found = [Part("", tuple(listed)), Part("", tuple(_head(message, tightness)))]
    if tightness.lines:
        found += _rest(message, tightness)
    return tuple(part for part in found if part.lines)


def fitting(make: Callable[[Tightness], T], fits: Callable[[T], bool]) -> T:
    """What is made with as much room as fits; at last what is made with no parts at all."""
    for tightness in _EVER_TIGHTER:
        if fits(made := make(tightness)):
            return made
    return make(_NOTHING)


def _rest(message: Message, tightness: Tightness) -> list[Part]:
    return [
        Part("What it means", _sentences([message.impact], tightness)),
        Part("Evidence", _facts(message.evidence, tightness)),
        Part("Checked", _facts(message.checks, tightness)),
        Part("Tried already", _sentences(message.tried, tightness)),
        Part("What to do", _sentences(message.mend, tightness)),
        Part("Links", tuple(_links(message, tightness))),
    ]


def _head(message: Message, tightness: Tightness) -> Iterator[Fact]:
    known: list[tuple[str, str]] = [("Where", _where(message))]
    if message.since is not None:
        lasted = (message.ended_at or message.at) - message.since
        known.append(("Since", f"{instant(message.since)} ({format_duration(lasted)})"))
    if message.ended_at is not None:
        known.append(("Until", instant(message.ended_at)))
    if message.occurrences > 1:
        known.append(("Happened", f"{message.occurrences} times"))
    known += [
        ("Why you hear of it", message.why),
        ("Told", ", ".join(message.told)),
        ("Incident", message.incident or ""),
    ]
    for name, value in known:
        if text := in_one_line(value):
            yield Fact(name, cut(text, max(tightness.characters, _HEAD_LIMIT)))


def _where(message: Message) -> str:
    return "/".join(name for name in (message.server, message.database) if name)


def _facts(facts: Sequence[Fact], tightness: Tightness) -> tuple[Line, ...]:
    shown = [
        Fact(cut(in_one_line(fact.name), _NAME_LIMIT) or _NO_TEXT, _value(fact.value, tightness))
        for fact in facts[: tightness.lines]
    ]
    return (*shown, *_more(len(facts) - len(shown)))


def _value(text: str, tightness: Tightness) -> str:
    """Of several lines the last are kept: in a log the end tells."""
    lines = clean(text[-_MOST_READ:]).split("\n")
    if len(lines) > tightness.lines:
        lines = ["…", *lines[-tightness.lines :]]
    kept = "\n".join(cut(line, tightness.characters) for line in lines)
    return (cut(kept, tightness.characters * 2) if len(lines) > 1 else kept) or _NO_TEXT


def _sentences(texts: Sequence[str], tightness: Tightness) -> tuple[Line, ...]:
    told = [text for text in texts if text]
    return tuple(_shortened(told, tightness.characters, tightness.lines))


def _shortened(texts: Sequence[str], characters: int, lines: int) -> Iterator[str]:
    read = 4 * characters + 100
    yield from (cut(in_one_line(text[:read]), characters) for text in texts[:lines])
    yield from _more(len(texts) - lines)


def _more(count: int) -> Iterable[str]:
    return (f"… and {count} more",) if count > 0 else ()


def _links(message: Message, tightness: Tightness) -> Iterator[Link]:
    """Only addresses that are whole: a cut one leads nowhere."""
    for label, url in message.links[: tightness.lines]:
        address = in_one_line(url)
        if len(address) <= _LINK_LIMIT and address.startswith(("https://", "http://")):
            yield Link(cut(in_one_line(label), _NAME_LIMIT) or "link", address.replace(" ", "%20"))
