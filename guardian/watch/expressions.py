"""Expressions that are searched in queries, in a time that grows with the query's length alone.

A policy is judged for every session at every look, over texts that clients write. Python's ``re``
needs centuries for ``(a+)+$`` on forty letters, and cannot be stopped: the watch would stand still
just when somebody sends such a text. RE2 has no such expressions. What it leaves out for that
(look-around, back-references, possessive and atomic groups) is refused when the configuration is
read; ``except`` says what a negative look-ahead would.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import re2

QUERY_CHARACTERS = 16_384
"""So much of a query is searched. A server shows 1,024 bytes unless it is told otherwise."""

_LARGEST_PROGRAM = 4_000
"""Instructions. At worst each is tried at each letter: some 0.1 s for the longest text."""

_LOOKING = "look-around is not offered; what must not be there goes into `except`"
_MEANT = (
    (b"invalid perl operator: (?=", _LOOKING),
    (b"invalid perl operator: (?!", _LOOKING),
    (b"invalid perl operator: (?<", _LOOKING),
    (b"invalid perl operator: (?P", "back-references are not offered"),
    (b"invalid perl operator: (?>", "atomic groups are not offered, and not needed"),
    (b"invalid perl operator: (?x", "verbose expressions are not offered"),
    (b"invalid escape sequence: \\Z", "write \\z for the end of the text"),
    (b"invalid escape sequence: \\u", "write the letter itself, or \\x{...}"),
    (b"invalid escape sequence: \\k", "back-references are not offered"),
    (b"bad repetition operator: ", "possessive repetition is not offered, and not needed"),
    (b"invalid repetition size", "a repetition, also of repetitions, goes to 1000"),
)


class Expression:
    """A regular expression in RE2's syntax, found anywhere in a text; case counts.

    Raises:
        ValueError: it is none; the words say what to write instead.
    """

    def __init__(self, pattern: str) -> None:
        options: Any = re2.Options()
        options.log_errors = False  # they would go to stderr
        options.never_capture = True  # only whether it is found matters
        try:
            self._compiled = re2.compile(pattern, options)
        except re2.error as error:
            raise ValueError(f"{pattern!r} is not a regular expression: {_why(error)}") from error
        except UnicodeEncodeError as error:
            raise ValueError(f"{pattern!r} holds what is no text") from error
        if self._compiled.programsize > _LARGEST_PROGRAM:
            raise ValueError(
                f"{pattern!r} is too large as a regular expression; write lower repetitions"
            )

    def is_in(self, text: str) -> bool:
        """Whether it is found in the first QUERY_CHARACTERS of the text."""
        # As bytes: cheaper, and a recorded text may hold half a letter that UTF-8 does not know.
        searched = text[:QUERY_CHARACTERS].encode("utf-8", "replace")
        return self._compiled.search(searched) is not None


@lru_cache(maxsize=256)
def expression(pattern: str) -> Expression:
    """The expression, compiled once. Raises as its class."""
    return Expression(pattern)


def _why(error: re2.error) -> str:
    said = error.args[0] if error.args else b""
    said = said if isinstance(said, bytes) else str(said).encode()
    if said.startswith(b"invalid escape sequence: \\") and said[-1:].isdigit():
        return "back-references are not offered"
    meant = next((words for start, words in _MEANT if said.startswith(start)), None)
    text = said.decode("utf-8", "replace")
    return f"{text}; {meant}" if meant else text
