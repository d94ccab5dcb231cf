"""The words that conditions share: names that fit into a title, instants, texts from outside.

Names of databases, users and applications come from whoever made them, and error texts from
servers. They go to phones and chats: on one line, without control characters, without secrets, and
without what servers say about rows.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import UTC, datetime

from guardian.escalate.model import TITLE_LIMIT, Fact
from guardian.model import BackupRecord
from guardian.watch.redaction import without_secrets

NAME_LIMIT = 60
"""Characters of a name within a title: then at least half of the title says what happened."""
VALUE_LIMIT = 500
LISTED = 5
"""So many of a list are told, and how many more there are."""

_ELLIPSIS = "…"
_ROW_DATA = re.compile(r"\s*\b(?:DETAIL|CONTEXT):.*", re.DOTALL)
"""A server's DETAIL quotes keys, its CONTEXT whole lines of COPY."""


def plain(text: str) -> str:
    """Text from outside on one line, every character of it printable."""
    folded = " ".join(text.split())
    if folded.isprintable():
        return folded
    return "".join(one if one.isprintable() else ascii(one)[1:-1] for one in folded)


def cut(text: str, limit: int) -> str:
    """As much of the text as has room, the cut marked."""
    return text if len(text) <= limit else text[: limit - 1].rstrip() + _ELLIPSIS


def said(text: str | None, limit: int = VALUE_LIMIT) -> str:
    """What an error or a server said, fit to be sent."""
    return cut(plain(without_secrets(_ROW_DATA.sub("", text or "")) or ""), limit)


def name(thing: object, limit: int = NAME_LIMIT) -> str:
    """A name for a title; of a long one the middle is left out, for both ends tell it apart."""
    text = plain(str(thing))
    if len(text) <= limit:
        return text
    tail = (limit - 1) // 2
    return text[: limit - 1 - tail] + _ELLIPSIS + text[-tail:]


def title(text: str) -> str:
    """A title: one line, at most TITLE_LIMIT characters."""
    return cut(plain(text), TITLE_LIMIT)


def instant(at: datetime) -> str:
    """``2026-11-23 02:00 UTC``."""
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M} UTC"


def fact(what: str, value: object) -> Fact:
    """Evidence, fit to be sent."""
    return Fact(what, said(str(value)))


def listed(items: Iterable[str], most: int = LISTED) -> str:
    """The first few, and how many more there are."""
    everything = list(items)
    shown = everything[:most]
    if more := len(everything) - len(shown):
        shown.append(f"and {more:,} more")
    return ", ".join(shown)


def backup_text(record: BackupRecord | None) -> str:
    """One backup for people: its id, what instant it shows, whether it is proven."""
    if record is None:
        return "none"
    proven = {True: "proven", False: "NOT restorable as it was", None: "not drilled yet"}
    shows = instant(record.snapshot_at or record.started_at)
    return f"{record.id}, shows {shows}, {proven[record.proven]}"


def times(count: int) -> str:
    """``twice``, ``3 times``."""
    return {1: "once", 2: "twice"}.get(count, f"{count:,} times")
