"""SQL as text: statements cut apart, names and literals read and written. No grammar beyond that.

Enough for what pg_dumpall and pg_dump write, which is told apart by its first few words.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import Enum


class TokenKind(Enum):
    """What a piece of a statement is; ``NAME`` is an identifier in double quotes."""

    WORD = "word"
    NAME = "name"
    STRING = "string"
    OTHER = "other"


@dataclass(frozen=True, slots=True)
class Token:
    """One piece of SQL, where it stands in its text."""

    kind: TokenKind
    text: str
    start: int

    @property
    def end(self) -> int:
        """Where it ends."""
        return self.start + len(self.text)

    @property
    def name(self) -> str | None:
        """The name that it is as an identifier, None for what is none."""
        if self.kind is TokenKind.NAME:
            return self.text[1:-1].replace('""', '"')
        return self.text.lower() if self.kind is TokenKind.WORD else None

    def says(self, word: str) -> bool:
        """Whether it is this keyword (upper case)."""
        return self.kind is TokenKind.WORD and self.text.upper() == word


_BLANK = re.compile(r"(?:\s|--[^\n]*(?:\n|\Z))+")
_WORD = re.compile(r"[A-Za-z_\u0080-\U0010ffff][\w$\u0080-\U0010ffff]*")
_NAME = re.compile(r'"(?:[^"]|"")*"', re.DOTALL)
_PLAIN_STRING = re.compile(r"'(?:[^']|'')*'", re.DOTALL)
_ESCAPED_STRING = re.compile(r"[eE]?'(?:[^'\\]|''|\\.)*'", re.DOTALL)
_DOLLAR = re.compile(r"\$(?:[A-Za-z_\u0080-\U0010ffff][\w\u0080-\U0010ffff]*)?\$")
_COMMENT_EDGE = re.compile(r"/\*|\*/")
_RAW_STRINGS = re.compile(r"SET standard_conforming_strings = (on|off|'on'|'off')", re.IGNORECASE)


def tokens(text: str, start: int = 0, *, conforming: bool = True) -> Iterator[Token]:
    """The pieces of ``text`` from ``start`` on, without blanks and comments.

    ``conforming``: a backslash in a plain literal stands for itself (standard_conforming_strings).

    Raises:
        ValueError: a quote, or a comment, does not end.
    """
    position = start
    while position < len(text):
        if blank := _BLANK.match(text, position):
            position = blank.end()
        elif text.startswith("/*", position):
            position = _comment_end(text, position)
        else:
            token = _token(text, position, conforming=conforming)
            yield token
            position = token.end


def statements(text: str) -> Iterator[str]:
    r"""The statements of a script, without their semicolons; psql's own commands are left out.

    Those are lines that begin with a backslash where a statement may begin (``\\restrict``,
    ``\\connect``).

    Raises:
        ValueError: a quote, or a comment, does not end.
    """
    position = 0
    conforming = True
    while True:
        begin = None
        for token in tokens(text, position, conforming=conforming):
            if begin is None and token.text == "\\":
                line_end = text.find("\n", token.start)
                position = len(text) if line_end < 0 else line_end + 1
                break
            if token.text == ";" and token.kind is TokenKind.OTHER:
                position = token.end
                if begin is not None:
                    statement = text[begin : token.start].rstrip()
                    if found := _RAW_STRINGS.fullmatch(statement):
                        conforming = "on" in found[1].lower()
                    yield statement
                break
            begin = token.start if begin is None else begin
        else:
            if begin is not None:
                yield text[begin:].rstrip()
            return


def begins(words: Sequence[Token], *pattern: str | None) -> bool:
    """Whether the first pieces are these keywords (upper case); None stands for any name."""
    if len(words) < len(pattern):
        return False
    return all(
        token.name is not None if word is None else token.says(word)
        for token, word in zip(words, pattern, strict=False)
    )


def after(words: Sequence[Token], *keywords: str) -> int | None:
    """Where the piece stands that follows these keywords."""
    for at in range(len(words) - len(keywords)):
        if begins(words[at:], *keywords):
            return at + len(keywords)
    return None


def quoted(name: str) -> str:
    """A name as an identifier, always in quotes."""
    return '"' + name.replace('"', '""') + '"'


def literal(value: str) -> str:
    """A text as a literal that means the same whatever standard_conforming_strings says."""
    text = value.replace("'", "''")
    return "E'" + text.replace("\\", "\\\\") + "'" if "\\" in text else f"'{text}'"


def _token(text: str, position: int, *, conforming: bool) -> Token:
    first = text[position]
    if first == '"':
        return _whole(TokenKind.NAME, _NAME, text, position)
    if first == "'":
        strings = _PLAIN_STRING if conforming else _ESCAPED_STRING
        return _whole(TokenKind.STRING, strings, text, position)
    if first in "eE" and text[position + 1 : position + 2] == "'":
        return _whole(TokenKind.STRING, _ESCAPED_STRING, text, position)
    if first == "$" and (mark := _DOLLAR.match(text, position)):
        end = text.find(mark[0], mark.end())
        if end < 0:
            raise ValueError(f"a text in {mark[0]} does not end")
        return Token(TokenKind.STRING, text[position : end + len(mark[0])], position)
    if word := _WORD.match(text, position):
        return Token(TokenKind.WORD, word[0], position)
    return Token(TokenKind.OTHER, first, position)


def _whole(kind: TokenKind, pattern: re.Pattern[str], text: str, position: int) -> Token:
    found = pattern.match(text, position)
    if found is None:
        raise ValueError(f"a quote does not end: {text[position]}")
    return Token(kind, found[0], position)


def _comment_end(text: str, position: int) -> int:
    """Comments nest."""
    depth = 0
    for edge in _COMMENT_EDGE.finditer(text, position):
        depth += 1 if edge[0] == "/*" else -1
        if depth == 0:
            return edge.end()
    raise ValueError("a comment does not end")
