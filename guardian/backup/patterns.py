"""psql's patterns for object names, as ``pg_dump --exclude-table-data`` understands them.

``*`` is any run of characters and ``?`` any one; a dot parts schema and name; letters fold to
lower case unless double-quoted; inside quotes nothing is special. Source: PostgreSQL's
documentation of psql, "Patterns".
"""

from __future__ import annotations

import re
from collections.abc import Iterable


def matches_any(patterns: Iterable[str], schema: str, name: str) -> bool:
    """Whether any pattern names this table."""
    return any(_matches(pattern, schema, name) for pattern in patterns)


def _matches(pattern: str, schema: str, name: str) -> bool:
    pieces = _regexes(pattern)
    if not re.fullmatch(pieces[-1], name, re.DOTALL):
        return False
    # A pattern without schema means tables that are visible; under pg_dump's empty search path
    # that is every schema. A third, leading piece names the database, which is the one we dump.
    return len(pieces) < 2 or re.fullmatch(pieces[-2], schema, re.DOTALL) is not None


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
        elif character in "$^\\{}()|":
            pieces[-1] += re.escape(character)
        else:
            pieces[-1] += character.lower() if character not in "[]+" else character
        position += 1
    return pieces
