"""Which roles a restore needs on the server: those that own something, and those with grants."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from guardian.restore.archive import TocEntry
from guardian.restore.sql_text import Token, after, begins, statements, tokens

_GRANTS = frozenset({"ACL", "DEFAULT ACL"})
_BUILT_IN = ("pg_",)


def roles_needed(
    entries: Iterable[TocEntry], *, owners: bool = True, grants: bool = True
) -> tuple[str, ...]:
    """The roles that these entries of an archive name, sorted.

    Policies and user mappings name roles whether or not owners and grants are restored.
    """
    found: set[str] = set()
    for entry in entries:
        if owners and entry.owner:
            found.add(entry.owner)
        if (grants and entry.kind in _GRANTS) or entry.kind == "POLICY":
            found |= _named_in(entry.definition)
    return tuple(sorted(role for role in found if not role.startswith(_BUILT_IN)))


def _named_in(definition: str) -> set[str]:
    found: set[str] = set()
    try:
        for statement in statements(definition):
            found |= _named(list(tokens(statement)))
    except ValueError:  # a preflight that knows less; pg_restore has the last word
        pass
    return found - {"public"}


def _named(words: Sequence[Token]) -> set[str]:
    found: set[str | None] = set()
    if begins(words, "ALTER", "DEFAULT", "PRIVILEGES", "FOR", "ROLE", None):
        found.add(words[5].name)
    if begins(words, "SET", "SESSION", "AUTHORIZATION", None):
        return {words[3].name or ""} - {"default"}
    found |= _list_after(words, "TO")
    if not begins(words, "CREATE"):  # in a policy FROM is part of an expression
        found |= _list_after(words, "FROM")
    return {name for name in found if name}


def _list_after(words: Sequence[Token], keyword: str) -> set[str | None]:
    """The names behind a keyword, as far as commas join them."""
    found: set[str | None] = set()
    at = after(words, keyword)
    while at is not None and at < len(words):
        found.add(words[at].name)
        at = at + 2 if at + 1 < len(words) and words[at + 1].text == "," else None
    return found
