"""What a backup's globals say: pg_dumpall's script, taken apart by role and tablespace.

Source of its shapes: PostgreSQL's ``src/bin/pg_dump/pg_dumpall.c``. A statement of no known shape
is kept apart, so that it can be named instead of run.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

from guardian.restore.sql_text import Token, TokenKind, after, begins, statements, tokens

_SHOWN_WORDS = 5


@dataclass(frozen=True, slots=True)
class Membership:
    """``role`` was granted to ``member``; ``without_grantor`` leaves out who granted it."""

    role: str
    member: str
    statement: str
    without_grantor: str


@dataclass(frozen=True, slots=True)
class ParameterGrant:
    """A grant on a configuration parameter, to ``member``."""

    member: str
    statement: str


@dataclass
class GlobalsScript:
    """Statements without their semicolons.

    ``settings`` are those of the session that reads the others. ``roles`` has for each role what
    makes it, ``CREATE ROLE`` first; ``tablespaces`` likewise. ``unknown`` are the first words of
    what is neither. Passwords are in ``roles``: none of it may be shown.
    """

    settings: list[str] = field(default_factory=list)
    roles: dict[str, list[str]] = field(default_factory=dict)
    memberships: list[Membership] = field(default_factory=list)
    parameters: list[ParameterGrant] = field(default_factory=list)
    tablespaces: dict[str, list[str]] = field(default_factory=dict)
    unknown: list[str] = field(default_factory=list)

    def missing(self, existing: Collection[str]) -> list[str]:
        """The roles that a server with ``existing`` ones does not have, in the script's order."""
        return [name for name in self.roles if name not in existing]


def read_globals(data: bytes) -> GlobalsScript:
    """Take pg_dumpall's script apart.

    Raises:
        ValueError: a quote in it does not end; no statement is quoted in the message.
    """
    script = GlobalsScript()
    for statement in statements(data.decode("utf-8", "surrogateescape")):
        _sort_in(script, statement, list(tokens(statement)))
    return script


def without_attributes(statement: str, attributes: Collection[str]) -> tuple[str, list[str]]:
    """``ALTER ROLE … WITH`` less some attributes, and those of them that granted something.

    ``attributes`` are the positive words (``SUPERUSER``); their negations go, too.
    """
    kept, granted, position = [], [], 0
    for token in tokens(statement):
        if token.kind is not TokenKind.WORD:
            continue
        word = token.text.upper()
        if word in attributes or (word.startswith("NO") and word[2:] in attributes):
            kept.append(statement[position : token.start])
            position = token.end
            granted += [word] if word in attributes else []
    return "".join(kept) + statement[position:], granted


def _sort_in(script: GlobalsScript, statement: str, words: Sequence[Token]) -> None:
    head = [token.text.upper() for token in words[:3] if token.kind is TokenKind.WORD]
    if head[:1] == ["SET"]:
        script.settings.append(statement)
    elif (role := _role(words)) is not None:
        script.roles.setdefault(role, []).append(statement)
    elif (tablespace := _tablespace(words)) is not None:
        script.tablespaces.setdefault(tablespace, []).append(statement)
    elif begins(words, "GRANT", None, "TO"):
        script.memberships.append(_membership(statement, words))
    elif head[:1] == ["GRANT"] and (at := after(words, "ON", "PARAMETER")) is not None:
        script.parameters.append(ParameterGrant(_granted_to(words, at), statement))
    else:
        shown = " ".join(
            token.text for token in words[:_SHOWN_WORDS] if token.kind is not TokenKind.STRING
        )
        script.unknown.append(shown)


def _role(words: Sequence[Token]) -> str | None:
    for verb in ("CREATE", "ALTER"):
        for noun in ("ROLE", "USER"):
            if begins(words, verb, noun, None) and not begins(words[3:], "IN", "DATABASE"):
                return words[2].name
    if begins(words, "COMMENT", "ON", "ROLE", None):
        return words[3].name
    if begins(words, "SECURITY", "LABEL") and (at := after(words, "ON", "ROLE")) is not None:
        return words[at].name
    return None


def _tablespace(words: Sequence[Token]) -> str | None:
    for verb in ("CREATE", "ALTER"):
        if begins(words, verb, "TABLESPACE", None):
            return words[2].name
    if words and words[0].text.upper() in {"COMMENT", "GRANT", "REVOKE", "SECURITY"}:
        at = after(words, "ON", "TABLESPACE")
        return None if at is None else words[at].name
    return None


def _membership(statement: str, words: Sequence[Token]) -> Membership:
    granted = after(words, "GRANTED", "BY")
    before = statement if granted is None else statement[: words[granted - 2].start].rstrip()
    return Membership(words[1].name or "", words[3].name or "", statement, before)


def _granted_to(words: Sequence[Token], start: int) -> str:
    at = after(words[start:], "TO")
    return "" if at is None else words[start + at].name or ""
