"""What belongs to a database as a whole: owner, settings, grants, comment, rewritten for a name.

pg_restore brings these only with ``--create``, and then only under the source's name. They are
in the archive as statements that name the database; where that name stands is found word by word.
Source of their shapes: PostgreSQL's ``src/bin/pg_dump``, dumpDatabase and dumpDatabaseConfig.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

from guardian.restore.archive import TocEntry
from guardian.restore.sql_text import (
    Token,
    TokenKind,
    after,
    begins,
    literal,
    quoted,
    statements,
    tokens,
)

_PREFIX = "DATABASE "
_QUOTED_LISTS = frozenset(
    {
        "local_preload_libraries",
        "search_path",
        "session_preload_libraries",
        "shared_preload_libraries",
        "temp_tablespaces",
        "unix_socket_directories",
    }
)
"""Settings that are lists of names, kept quoted (pg_dump's variable_is_guc_list_quote)."""


class ItemKind(StrEnum):
    """What a statement about a database is about."""

    PROPERTY = "property"
    SETTING = "setting"
    GRANT = "grant"
    COMMENT = "comment"
    LABEL = "label"


@dataclass(frozen=True, slots=True)
class DatabaseItem:
    """One statement. ``label`` says what it is about, without the value (which may be secret).

    ``head`` and ``tail`` are the statement around the database's name; ``tail`` is None for one
    that names no database (SET SESSION AUTHORIZATION before a grant).
    """

    kind: ItemKind
    label: str
    head: str
    tail: str | None

    def on(self, database: str) -> str:
        """The statement for a database of this name."""
        return self.head if self.tail is None else f"{self.head}{quoted(database)}{self.tail}"


@dataclass(frozen=True, slots=True)
class DatabaseItems:
    """All of them. ``owner`` None leaves the owner as it is.

    ``unknown`` are the labels of statements in which the name was not found; they are left out.
    """

    owner: str | None = None
    items: tuple[DatabaseItem, ...] = ()
    unknown: tuple[str, ...] = ()

    def of(self, kind: ItemKind) -> tuple[DatabaseItem, ...]:
        """Those of one kind."""
        return tuple(item for item in self.items if item.kind is kind)

    def without(self, *, owner: bool = False, grants: bool = False) -> DatabaseItems:
        """Less the owner, less the grants."""
        kept = [item for item in self.items if not (grants and item.kind is ItemKind.GRANT)]
        return DatabaseItems(None if owner else self.owner, tuple(kept), self.unknown)

    def over(self, older: DatabaseItems) -> DatabaseItems:
        """These, and of each kind that is not among them those of ``older``; likewise the owner."""
        items = list(self.items)
        for kind in ItemKind:
            if not self.of(kind):
                items += older.of(kind)
        return DatabaseItems(self.owner or older.owner, tuple(items), self.unknown)


def database_items(entries: Iterable[TocEntry]) -> DatabaseItems:
    """What an archive says of its database."""
    owner: str | None = None
    items: list[DatabaseItem] = []
    unknown: list[str] = []
    for entry in entries:
        if entry.kind == "DATABASE":
            owner = entry.owner or None
        elif entry.kind == "DATABASE PROPERTIES" or (
            entry.kind in {"ACL", "COMMENT", "SECURITY LABEL"} and entry.tag.startswith(_PREFIX)
        ):
            try:
                items += list(_items(entry))
            except ValueError:
                unknown.append(entry.kind.lower())
    return DatabaseItems(owner, tuple(items), tuple(unknown))


def setting_item(setting: str, role: str | None = None) -> DatabaseItem:
    """``name=value``, as pg_db_role_setting keeps it, as a statement; of one role where given."""
    name, _, value = setting.partition("=")
    if name in _QUOTED_LISTS:
        written = ", ".join(literal(one) for one in _list_of_names(value))
    else:
        written = literal(value)
    head = "ALTER DATABASE " if role is None else f"ALTER ROLE {quoted(role)} IN DATABASE "
    of_role = "" if role is None else f" of role {role}"
    return DatabaseItem(
        ItemKind.SETTING, f"setting {name}{of_role}", head, f" SET {quoted(name)} TO {written}"
    )


def owner_item(owner: str) -> DatabaseItem:
    """ALTER DATABASE … OWNER TO."""
    return DatabaseItem(
        ItemKind.PROPERTY, f"owner {owner}", "ALTER DATABASE ", f" OWNER TO {quoted(owner)}"
    )


def _items(entry: TocEntry) -> Iterator[DatabaseItem]:
    for statement in statements(entry.definition):
        words = list(tokens(statement))
        if begins(words, "SET", "SESSION", "AUTHORIZATION") or begins(words, "RESET", "SESSION"):
            yield DatabaseItem(ItemKind.GRANT, "grants by another role", statement, None)
            continue
        kind, at, label = _recognized(words)
        if at >= len(words) or words[at].name is None:
            raise ValueError(f"no name of a database in {label}")
        yield DatabaseItem(kind, label, statement[: words[at].start], statement[words[at].end :])


def _recognized(words: Sequence[Token]) -> tuple[ItemKind, int, str]:
    """What a statement is about, and where the database's name stands in it."""
    if begins(words, "ALTER", "DATABASE", None, "SET", None):
        return ItemKind.SETTING, 2, f"setting {words[4].name}"
    if begins(words, "ALTER", "ROLE", None, "IN", "DATABASE", None, "SET", None):
        return ItemKind.SETTING, 5, f"setting {words[7].name} of role {words[2].name}"
    if begins(words, "ALTER", "DATABASE", None, None):
        label = " ".join(one.text.lower() for one in words[3:5] if one.kind is TokenKind.WORD)
        return ItemKind.PROPERTY, 2, label
    if begins(words, "COMMENT", "ON", "DATABASE", None):
        return ItemKind.COMMENT, 3, "comment"
    at = after(words, "ON", "DATABASE")
    if at is None:
        raise ValueError("a statement of unknown shape")
    if begins(words, "SECURITY", "LABEL"):
        return ItemKind.LABEL, at, "security label"
    if begins(words, "GRANT") or begins(words, "REVOKE"):
        return ItemKind.GRANT, at, " ".join(word.text for word in words[:at])
    raise ValueError("a statement of unknown shape")


def _list_of_names(value: str) -> list[str]:
    """The elements of ``"select", zoo``: names, quoted where they need it."""
    names: list[str] = []
    for token in tokens(value):
        if token.name is not None:
            # A list is kept as its names are: a word in it was not folded, nor is it now.
            names.append(token.name if token.text.startswith('"') else token.text)
        elif token.text != ",":
            return [value]
    return names or [""]
