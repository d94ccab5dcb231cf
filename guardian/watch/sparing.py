"""The comment by which a query asks to be spared, which must outlive every cut of its text."""

from __future__ import annotations

import re

COMMENT = "/* guardian:spare */"
_ASKED = re.compile(r"/\*\s*guardian:spare\b", re.IGNORECASE)


def asks_to_be_spared(query: str) -> bool:
    """Whether the comment stands anywhere in it."""
    return _ASKED.search(query) is not None


def shortened(query: str, characters: int) -> str:
    """The beginning of a query; when only what is cut off asks to be spared, with the comment."""
    cut = query[:characters]
    if len(cut) < len(query) and asks_to_be_spared(query) and not asks_to_be_spared(cut):
        return f"{COMMENT} {cut}"
    return cut
