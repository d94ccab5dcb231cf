"""What objects are made of: definitions of a source beside those of what was restored. Pure.

A name alone does not tell a view from another of the same name. The text of a definition does, but
PostgreSQL does not keep it stable: ``x IN ('a', 'b')`` comes back from a dump in other words. What
it makes of the source's text, however, is certain: pg_dump wrote that very text, and the restored
object was read from it. So a text that differs is put to the server that was restored to, and only
where it tells the source's text otherwise than what it holds is there a difference.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from guardian.model import Definition, Difference, Fingerprint
from guardian.verify.inventory import abbreviated, name_of, read_inventory
from guardian.verify.names import comparable

KIND = "hint: definition"
"""Where they stand in an inventory: an older guardian takes hints for no objects."""

Retell = Callable[[Sequence[Definition]], Sequence[str | None]]
"""What the server that was restored to makes of each; None where it cannot be asked."""

_Key = tuple[str, str, str]


@dataclass(frozen=True, slots=True)
class _Change:
    """A definition that is told in other words."""

    name: str
    expected: Definition
    found: Definition


def compare_definitions(
    expected: Fingerprint, found: Fingerprint, *, same_major: bool, retell: Retell
) -> tuple[Difference, ...]:
    """Every object that both have, and that is made otherwise. An aspect without a line is empty.

    Texts without an expression are compared within a major only. Backups of an older guardian have
    no definitions: there is nothing to compare then.
    """
    before, after = _by_key(expected.objects), _by_key(found.objects)
    if not before or not after or before == after:
        return ()
    sides = read_inventory(expected.objects).items, read_inventory(found.objects).items

    def known(key: str) -> bool:
        return any(key in side for side in sides)

    changes = []
    for key in sorted(before.keys() | after.keys()):
        one, other = before.get(key), after.get(key)
        if one is None or other is None:
            kind, identity, aspect = key
            if not aspect or not all(f"{kind} {identity}" in side for side in sides):
                continue  # the inventory tells what is on one side alone
            one = one or replace(after[key], text="")
            other = other or replace(before[key], text="")
        if one.text != other.text:
            changes.append(_Change(name_of(one.kind, one.identity, known), one, other))
    return tuple(map(_difference, _real(changes, same_major=same_major, retell=retell)))


def _by_key(objects: Mapping[str, tuple[str, ...]]) -> dict[_Key, Definition]:
    found = {}
    for line in objects.get(KIND, ()):
        definition = _read(line)
        if definition is not None:
            key = definition.kind, comparable(definition.identity), definition.aspect
            found[key] = definition
    return found


def _read(line: str) -> Definition | None:
    """None for what a later guardian may have written otherwise."""
    try:
        kind, identity, aspect, text, how = json.loads(line)
    except ValueError:
        return None
    words = how or ()
    if not all(isinstance(one, str) for one in (kind, identity, aspect, text, *words)):
        return None
    return Definition(kind, identity, aspect, text, tuple(words))


def _real(changes: Sequence[_Change], *, same_major: bool, retell: Retell) -> list[_Change]:
    """Those that are no other words for the same."""
    asked = [one for one in changes if one.expected.how]
    answers = retell([one.expected for one in asked]) if asked else ()
    otherwise = {
        one.expected
        for one, answer in zip(asked, answers, strict=True)
        if answer is not None and answer != one.found.text
    }
    return [
        one for one in changes if (one.expected in otherwise if one.expected.how else same_major)
    ]


def _difference(change: _Change) -> Difference:
    """No text: its constants may be nobody's business."""
    word = change.expected.aspect or "definition"
    one, other = change.expected.text, change.found.text
    return Difference(change.name, _told(word, one, other), _told(word, other, one))


def _told(word: str, text: str, other: str) -> str:
    return f"{word} {abbreviated(_digest(text), _digest(other))}" if text else f"no {word}"


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
