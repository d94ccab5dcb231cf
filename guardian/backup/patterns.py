"""psql's patterns for object names, as ``pg_dump --exclude-table-data`` understands them.

``*`` is any run of characters and ``?`` any one; a dot parts schema and name; ASCII letters fold to
lower case unless double-quoted; inside quotes nothing is special, outside the rest of regular
expressions is at work. Source: PostgreSQL's documentation of psql, "Patterns", and
``patternToSQLRegex`` in its fe_utils.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from guardian.errors import ConfigError


def matches_any(patterns: Iterable[str], schema: str, name: str, *, visible: bool = True) -> bool:
    """Whether any pattern names this table.

    ``visible`` tells whether the table is found under the role's own search path: a pattern
    without a schema names no other.

    Raises:
        ConfigError: a pattern is no regular expression; pg_dump would refuse it, too.
    """
    return any(_matches(pattern, schema, name, visible=visible) for pattern in patterns)


def exact_pattern(schema: str, name: str) -> str:
    """The pattern that names this table and no other, whatever its name holds."""
    return ".".join('"' + piece.replace('"', '""') + '"' for piece in (schema, name))


def compile_pattern(pattern: str) -> tuple[re.Pattern[str], ...]:
    """One regular expression a dotted piece, the last for the name; each to be matched in full.

    Raises:
        ValueError: a piece is no regular expression; the message says why.
    """
    try:
        return tuple(re.compile(piece, re.DOTALL) for piece in _regexes(pattern))
    except re.error as error:
        raise ValueError(str(error)) from error


def _matches(pattern: str, schema: str, name: str, *, visible: bool) -> bool:
    pieces = _regexes(pattern)
    try:
        if not re.fullmatch(pieces[-1], name, re.DOTALL):
            return False
        # A third, leading piece names the database, which is the one we dump.
        return (
            visible if len(pieces) < 2 else re.fullmatch(pieces[-2], schema, re.DOTALL) is not None
        )
    except re.error as error:
        raise ConfigError(
            f"exclude_table_data: {pattern!r} is not a pattern that pg_dump takes: {error}"
        ) from error


def _regexes(pattern: str) -> list[str]:
    """One regular expression per dotted piece."""
    pieces = [""]
    quoted = False
    position = 0
    while position < len(pattern):
        character = pattern[position]
        if character == '"':
            if quoted and pattern[position + 1 : position + 2] == '"':
                pieces[-1] += '"'
                position += 1
            else:
                quoted = not quoted
        elif quoted:
            pieces[-1] += re.escape(character)
        elif character == ".":
            pieces.append("")
        elif character == "*":
            pieces[-1] += ".*"
        elif character == "?":
            pieces[-1] += "."
        elif character == "$" or pattern.startswith("[]", position):
            pieces[-1] += re.escape(character)
        else:
            pieces[-1] += character.lower() if character.isascii() else character
        position += 1
    return pieces
