"""What the lines of a fingerprint's inventory mean: which object each is about, and what it says.

An inventory is lines of text under a kind (``inventory.sql`` writes them): some name an object,
some say something of one (its owner, a grant, a column's type). Kinds that begin with ``hint`` are
no objects and are never compared: they tell what belongs to what, so that a missing table explains
its missing indexes. Backups made by an older guardian lack them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from guardian.verify.names import NAME, QUALIFIED, comparable, one_line

HINT = "hint"
_BELONGS = "hint: belongs"
_CYCLES = "hint: cycles"

THERE = "there"
MISSING = "missing"

_RELATIONS = ("table", "view", "materialized view", "foreign table")
_ROUTINES = ("function", "procedure", "aggregate")
_SUBJECTS = {"relation": _RELATIONS, "routine": _ROUTINES}
"""An inventory's own words for what owners and grants are about; others stand for themselves."""

_DIGITS = 4
_LABELS = 3
_MD5 = 32

_ON_TABLE = re.compile(rf"{NAME} on ({QUALIFIED})", re.DOTALL)
_CONSTRAINT = re.compile(rf"({NAME}) on ({NAME})\.{NAME}", re.DOTALL)
_FOR_COLUMN = re.compile(rf"for ({QUALIFIED})", re.DOTALL)
_COLUMN_NAME = re.compile(rf"({NAME}\.{NAME})\.{NAME}", re.DOTALL)
_COLUMN = re.compile(rf"({NAME}\.{NAME})\.({NAME}) (.*)", re.DOTALL)
_ENUM = re.compile(rf"({QUALIFIED}): (.*)", re.DOTALL)
_ENUM_LABEL = re.compile(r"E?'(?:[^']|'')*'", re.DOTALL)
_OWNER = re.compile(rf"(\w+) (.*): ({NAME})", re.DOTALL)
_GRANT = re.compile(rf"(\w+) (.*): ([A-Z ]+) (PUBLIC|{NAME})( with grant option)?", re.DOTALL)
_COMMENT = re.compile(
    r"((?:(?:foreign )?table|(?:materialized )?view|index) column|(?:table|domain) constraint"
    r"|materialized view|foreign table|composite type|event trigger|large object|access method"
    r"|text search \w+|operator (?:class|family)|statistics object|\S+) (.*)",
    re.DOTALL,
)
_MAPPING = re.compile(rf"({NAME})( for .*)", re.DOTALL)
_BELONGING = re.compile(rf"(.+?) ({QUALIFIED}) of ({QUALIFIED})", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Item:
    """One thing that an inventory says.

    ``key`` identifies it on any server. ``lead``, ``subject`` and ``tail`` make its name for
    people; ``kinds`` are what the subject may be, all that is known of it from this line alone.
    ``value`` is what may differ between two servers, empty where it is only there or not.
    ``grantee`` and ``privilege`` are a grant's, ``owned`` is the key of its subject's owner.
    ``names_kind``: the name for people says which of ``kinds`` the subject is.
    """

    kind: str
    key: str
    lead: str
    value: str = ""
    subject: str = ""
    kinds: tuple[str, ...] = ()
    tail: str = ""
    grantee: str = ""
    privilege: str = ""
    owned: str = ""
    names_kind: bool = True

    def agrees_with(self, other: Item) -> bool:
        """Whether two servers say the same of it, maybe with other words in quotes."""
        if self.value == other.value:
            return True
        # Quotes inside an enum's values are part of them.
        return self.kind != "enum values" and comparable(self.value) == comparable(other.value)

    @property
    def below(self) -> tuple[str, ...]:
        """The keys, any of which may be that of the object that it is a part of."""
        identity = comparable(self.subject)
        return tuple(f"{kind} {identity}" for kind in self.kinds)


@dataclass(frozen=True, slots=True)
class Inventory:
    """Everything that one inventory says, by key, and what it hints at.

    ``belongs`` gives for an object the keys that may be those of what it falls with.
    """

    items: dict[str, Item] = field(default_factory=dict)
    belongs: dict[str, tuple[str, ...]] = field(default_factory=dict)
    cycling: frozenset[str] = frozenset()

    def above(self, item: Item) -> tuple[str, ...]:
        """The keys, any of which may be that of what explains the item's absence."""
        return item.below + self.belongs.get(item.key, ())


class _Words(NamedTuple):
    """How a kind is told: what its absence means, and a value beside the other side's."""

    absent: str = MISSING
    present: Callable[[str, str | None], str] = lambda value, _: value or THERE


def read_inventory(objects: Mapping[str, tuple[str, ...]]) -> Inventory:
    """Understand an inventory. A line of no known shape is an object by that name."""
    items: dict[str, Item] = {}
    belongs: dict[str, tuple[str, ...]] = {}
    for kind, identities in objects.items():
        if kind.startswith(HINT):
            continue
        parse = _PARSERS.get(kind, _object)
        for identity in identities:
            item = parse(kind, identity)
            known = items.get(item.key)
            if known is not None and known.value != item.value:  # one grant by two grantors
                value = " and ".join(sorted({known.value or THERE, item.value or THERE}))
                item = replace(item, value=value)
            items[item.key] = item
    for identity in objects.get("table constraint", ()):
        if match := _CONSTRAINT.fullmatch(identity):  # an index of the same name stands behind it
            key = f"index {comparable(f'{match[2]}.{match[1]}')}"
            belongs[key] = (f"table constraint {comparable(identity)}",)
    for identity in objects.get(_BELONGS, ()):
        if match := _BELONGING.fullmatch(identity):
            key = f"{match[1]} {comparable(match[2])}"
            whole = comparable(match[3])
            above = tuple(f"{kind} {whole}" for kind in (*_RELATIONS, "index"))
            belongs[key] = belongs.get(key, ()) + above
    cycling = frozenset(map(comparable, objects.get(_CYCLES, ())))
    return Inventory(items, belongs, cycling)


def label(item: Item, known: Callable[[str], bool]) -> str:
    """Its name for people. ``known`` tells whether there is an object of that key anywhere."""
    subject = item.subject
    if item.kinds and item.names_kind:
        found = (kind for kind, key in zip(item.kinds, item.below, strict=True) if known(key))
        kind = next(found, item.kinds[0] if len(item.kinds) == 1 else "")
        subject = f"{kind} {subject}".lstrip()
    return one_line(f"{item.lead}{subject}{item.tail}")


def name_of(kind: str, identity: str, known: Callable[[str], bool]) -> str:
    """An object's name for people."""
    if kind == "column":
        return one_line(f"column {identity}")
    return label(_PARSERS.get(kind, _object)(kind, identity), known)


def told(kind: str, value: str | None, other: str | None) -> str:
    """What one side says, in words, beside the other's; None where it says nothing."""
    words = _WORDS.get(kind, _PLAIN)
    return one_line(words.absent if value is None else words.present(value, other))


def rank(kind: str) -> tuple[int, str]:
    """Where a kind stands among the differences: what others rest on comes first."""
    return (_ORDER.index(kind) if kind in _ORDER else len(_ORDER), kind)


def abbreviated(digest: str, other: str | None) -> str:
    """The first digits of a hash, as many as tell it from the other."""
    length = _DIGITS
    while other is not None and length < len(digest) and digest[:length] == other[:length]:
        length += 1
    return digest if length >= len(digest) else f"{digest[:length]}…"


def without_identity(item: Item) -> Item:
    """A column as a table alone brings it: its identity comes with the sequence."""
    return replace(item, value=item.value.removesuffix(" identity"))


# --- one parser a shape ---------------------------------------------------------------------------


def _object(kind: str, identity: str) -> Item:
    return Item(kind, f"{kind} {comparable(identity)}", f"{kind} {identity}")


def _part_of(pattern: re.Pattern[str], kinds: tuple[str, ...]) -> Callable[[str, str], Item]:
    """Something whose name ends with, or holds, that of what it belongs to."""

    def parse(kind: str, identity: str) -> Item:
        match = pattern.fullmatch(identity)
        if match is None:
            return _object(kind, identity)
        start, end = match.span(1)
        return Item(
            kind,
            f"{kind} {comparable(identity)}",
            f"{kind} {identity[:start]}",
            subject=identity[start:end],
            kinds=kinds,
            tail=identity[end:],
        )

    return parse


def _property(lead: str, kinds: tuple[str, ...]) -> Callable[[str, str], Item]:
    """A property that an object has or not: the identity is the object's, and maybe a word."""

    def parse(kind: str, identity: str) -> Item:
        subject, value = identity.removesuffix(" forced"), "on"
        if subject != identity:
            value = "on, forced"
        return Item(kind, f"{kind} {comparable(subject)}", lead, value, subject, kinds)

    return parse


def _column(kind: str, identity: str) -> Item:
    match = _COLUMN.fullmatch(identity)
    if match is None:
        return _object(kind, identity)
    table, name, value = match.groups()
    key = f"{kind} {comparable(f'{table}.{name}')}"
    return Item(kind, key, "column ", value, table, _RELATIONS, f".{name}", names_kind=False)


def _enum(kind: str, identity: str) -> Item:
    match = _ENUM.fullmatch(identity)
    if match is None:
        return _object(kind, identity)
    return Item(kind, f"{kind} {comparable(match[1])}", "values of ", match[2], match[1], ("type",))


def _body(kind: str, identity: str) -> Item:
    subject, value = identity[: -_MD5 - 1], identity[-_MD5:]
    return Item(kind, f"{kind} {comparable(subject)}", "body of ", value, subject, _ROUTINES)


def _comment(kind: str, identity: str) -> Item:
    about, value = identity[: -_MD5 - 1], identity[-_MD5:]
    match = _COMMENT.fullmatch(about)
    if match is None:
        return Item(kind, f"{kind} {comparable(about)}", f"comment on {about}", value)
    word = "column" if match[1].endswith(" column") else match[1]
    subject = match[2]
    return Item(kind, f"{kind} {comparable(about)}", "comment on ", value, subject, (word,))


def _mapping(kind: str, identity: str) -> Item:
    match = _MAPPING.fullmatch(identity)
    if match is None:
        return _object(kind, identity)
    key = f"{kind} {comparable(identity)}"
    return Item(kind, key, f"{kind} on ", "", match[1], ("server",), match[2])


def _owner(kind: str, identity: str) -> Item:
    match = _OWNER.fullmatch(identity)
    if match is None:
        return _object(kind, identity)
    word, subject, role = match.groups()
    key = f"{kind} {word} {comparable(subject)}"
    return Item(kind, key, "owner of ", role, subject, _SUBJECTS.get(word, (word,)))


def _grant(kind: str, identity: str) -> Item:
    match = _GRANT.fullmatch(identity)
    if match is None:
        return _object(kind, identity)
    word, subject, privilege, grantee, option = match.groups()
    column = _COLUMN_NAME.fullmatch(subject) if word == "column" else None
    return Item(
        kind,
        f"{kind} {privilege} {word} {comparable(subject)} {comparable(grantee)}",
        f"grant {privilege} on ",
        f"there,{option}" if option else "",
        subject,
        _SUBJECTS.get(word, (word,)),
        f" to {grantee}",
        grantee=comparable(grantee),
        privilege=privilege,
        owned=f"owner relation {comparable(column[1])}"
        if column
        else f"owner {word} {comparable(subject)}",
    )


def _enum_words(value: str, other: str | None) -> str:
    labels = _ENUM_LABEL.findall(value)
    others = _ENUM_LABEL.findall(other or "")
    if other is None:
        own = labels
    elif sorted(labels) == sorted(others):
        own = [one for one, at in zip(labels, others, strict=True) if one != at]
    else:
        own = [one for one in labels if one not in others]
    word = "in the order" if sorted(labels) == sorted(others) else "with"
    listed = ", ".join(own[:_LABELS]) + (", …" if len(own) > _LABELS else "")
    return f"{len(labels)} values" + (f", {word} {listed}" if own else "")


_PARSERS: dict[str, Callable[[str, str], Item]] = {
    "table constraint": _part_of(_ON_TABLE, _RELATIONS),
    "trigger": _part_of(_ON_TABLE, _RELATIONS),
    "policy": _part_of(_ON_TABLE, _RELATIONS),
    "rule": _part_of(_ON_TABLE, _RELATIONS),
    "domain constraint": _part_of(_ON_TABLE, ("type",)),
    "default value": _part_of(_FOR_COLUMN, ("column",)),
    "user mapping": _mapping,
    "column": _column,
    "enum values": _enum,
    "routine body": _body,
    "comment": _comment,
    "owner": _owner,
    "grant": _grant,
    "row security": _property("row security of ", _RELATIONS),
    "populated materialized view": _property("", ("materialized view",)),
    "disabled trigger": _property("", ("trigger",)),
}

_PLAIN = _Words()
_WORDS = {
    "populated materialized view": _Words("not populated", lambda *_: "populated"),
    "disabled trigger": _Words("enabled", lambda *_: "disabled"),
    "row security": _Words("off"),
    "routine body": _Words("no body", lambda one, other: f"body {abbreviated(one, other)}"),
    "comment": _Words(MISSING, lambda one, other: f"text {abbreviated(one, other)}"),
    "enum values": _Words("no values", _enum_words),
}

_ORDER = (
    *("table", "column", "default value", "table constraint", "index", "trigger"),
    *("disabled trigger", "rule", "policy", "row security", "view", "materialized view"),
    *("populated materialized view", "foreign table", "sequence", "type", "enum values"),
    *("domain constraint", "function", "procedure", "aggregate", "routine body", "extension"),
    *("schema", "owner", "grant", "default acl", "comment"),
)
