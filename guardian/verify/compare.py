"""Comparing the fingerprint of a source with that of what was restored from its backup."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass

from guardian.model import (
    Difference,
    Fingerprint,
    LargeObjects,
    ProofLevel,
    SequencePosition,
    TableFingerprint,
)
from guardian.verify.inventory import (
    MISSING,
    Inventory,
    Item,
    abbreviated,
    label,
    rank,
    read_inventory,
    told,
    without_identity,
)
from guardian.verify.names import comparable, one_line, qualified

_LEVELS = (ProofLevel.NONE, ProofLevel.COUNTS, ProofLevel.CONTENT)

_IN_EVERY_DATABASE = frozenset({"extension plpgsql", "comment schema public"})
"""What a new database has by itself, also where the source dropped it."""

_MAINTAIN_SINCE = 17
_DERIVED_COLUMNS = ("view", "materialized view")


def compare(
    expected: Fingerprint,
    found: Fingerprint,
    *,
    source_major: int,
    target_major: int,
    without_owners: bool = False,
    without_grants: bool = False,
    only_tables: Collection[tuple[str, str]] | None = None,
) -> tuple[Difference, ...]:
    """Every difference, in a stable order: tables, other objects by kind, sequences, large objects.

    A difference that another explains is left out: with an object that is missing also what is
    part of it is missing (a table's columns, indexes, constraints, triggers, owner, grants,
    comments), and is told only where the object itself is there; the same for an object too many.
    A grant to one who owns the object on the other side goes with the difference of the owners.
    Nothing else is folded: whatever differs is either named, or part of what is named.

    Contents are compared at level ``content``, rows are counted at ``counts``, and at ``none``
    there are at most objects to compare. Rows that the source left out of its dump are not
    compared, nor positions of sequences and the filling of materialized views left out with them.
    Roles alone are no difference: a missing one shows as another owner or a missing grant.

    Args:
        expected: of the source, in the snapshot of the dump.
        found: of the restored database, with the same seed.
        source_major: the source server's major version.
        target_major: that of the server with the restored database. Where they differ, what the
            newer server adds by itself is no difference.
        without_owners: the restore did not set owners.
        without_grants: the restore set no grants.
        only_tables: only these were restored (schema, name): their rows and columns are compared,
            and nothing else.

    Raises:
        ValueError: ``found`` is of a lower level, or its contents were hashed with another seed.
    """
    _check_comparable(expected, found)
    only = None if only_tables is None else {_key(*table) for table in only_tables}
    sides = _Sides(
        expected=read_inventory(expected.objects),
        found=read_inventory(found.objects),
        left_out=frozenset(map(comparable, expected.left_out)),
    )
    if expected.level is ProofLevel.NONE and not expected.objects:
        return ()
    keep = _filter(
        sides,
        majors=(source_major, target_major),
        without_owners=without_owners,
        without_grants=without_grants,
        only=only,
    )
    objects = _objects(
        sides, keep, majors_differ=source_major != target_major, alone=only is not None
    )
    rows = _tables(expected, found, sides, only) if expected.level is not ProofLevel.NONE else {}
    tables = {**objects.pop("table", {}), **rows}
    differences = [tables[key] for key in sorted(tables)]
    for kind in sorted(objects, key=rank):
        differences += [objects[kind][key] for key in sorted(objects[kind])]
    if only is None and expected.level is not ProofLevel.NONE:
        differences += _sequences(expected, found, sides)
        differences += _large_objects(expected, found)
    return tuple(differences)


@dataclass(frozen=True, slots=True)
class _Sides:
    """Both inventories, and what was left out of the dump (quoting as in ``comparable``)."""

    expected: Inventory
    found: Inventory
    left_out: frozenset[str]

    def known(self, key: str) -> bool:
        """Whether either side has such an object."""
        return key in self.expected.items or key in self.found.items

    def is_missing(self, key: str) -> bool:
        return key in self.expected.items and key not in self.found.items

    def is_extra(self, key: str) -> bool:
        return key in self.found.items and key not in self.expected.items


def _check_comparable(expected: Fingerprint, found: Fingerprint) -> None:
    if _LEVELS.index(found.level) < _LEVELS.index(expected.level):
        raise ValueError(
            f"a fingerprint of level {found.level} cannot show one of {expected.level}"
        )
    if expected.level is ProofLevel.CONTENT and expected.seed != found.seed:
        raise ValueError("the contents were hashed with different seeds")


def _key(schema: str, name: str) -> str:
    return comparable(qualified(schema, name))


# --- objects --------------------------------------------------------------------------------------


def _filter(
    sides: _Sides,
    *,
    majors: tuple[int, int],
    without_owners: bool,
    without_grants: bool,
    only: Collection[str] | None,
) -> Callable[[Item], bool]:
    """What is compared at all, given how it was restored."""
    skipped = set()
    if without_owners:
        skipped.add("owner")
    if without_grants:
        skipped |= {"grant", "default acl"}
    # GRANT ALL means one privilege more from 17 on.
    crossed = min(majors) < _MAINTAIN_SINCE <= max(majors)

    def keep(item: Item) -> bool:
        if only is not None:
            if item.kind == "column":
                return comparable(item.subject) in only
            return item.kind == "table" and item.key.removeprefix("table ") in only
        if item.kind in skipped or item.key in _IN_EVERY_DATABASE:
            return False
        if item.kind == "populated materialized view":
            return comparable(item.subject) not in sides.left_out
        if item.kind == "grant":
            return not (crossed and item.privilege == "MAINTAIN") and not _by_ownership(sides, item)
        return True

    return keep


def _by_ownership(sides: _Sides, item: Item) -> bool:
    """Whether a grant is on one side alone because its grantee owns the object on the other."""
    one, other = sides.expected.items, sides.found.items
    if sides.is_extra(item.key):
        one, other = other, one
    owners = one.get(item.owned), other.get(item.owned)
    if owners[0] is None or owners[1] is None or item.key in other:
        return False
    return not owners[0].agrees_with(owners[1]) and item.grantee == comparable(owners[1].value)


def _objects(
    sides: _Sides, keep: Callable[[Item], bool], *, majors_differ: bool, alone: bool
) -> dict[str, dict[str, Difference]]:
    """By kind and key, without what another difference explains."""
    result: dict[str, dict[str, Difference]] = {}
    for key in sides.expected.items.keys() | sides.found.items.keys():
        one, other = sides.expected.items.get(key), sides.found.items.get(key)
        item = one or other
        assert item is not None
        if not keep(item) or _explained(sides, item):
            continue
        if one is not None and other is not None:
            if majors_differ and _is_derived(sides, item):
                continue
            if alone:
                one, other = without_identity(one), without_identity(other)
            if one.agrees_with(other):
                continue
        difference = _difference(sides, item, one, other)
        result.setdefault(item.kind, {})[key] = difference
    return result


def _explained(sides: _Sides, item: Item) -> bool:
    """Whether it is on one side alone with something that is told, and that it is a part of.

    Followed up to what nothing else explains: no circle of hints may make things vanish.
    """
    if sides.is_missing(item.key):
        inventory, lacks = sides.expected, sides.is_missing
    elif sides.is_extra(item.key):
        inventory, lacks = sides.found, sides.is_extra
    else:
        return False
    waiting, seen = [item.key], {item.key}
    while waiting:
        key = waiting.pop()
        above = list(filter(lacks, inventory.above(inventory.items[key])))
        if not above and key != item.key:
            return True
        waiting += [one for one in above if one not in seen]
        seen.update(above)
    return False


def _is_derived(sides: _Sides, item: Item) -> bool:
    """Whether it is the type of a view's column, which each server works out by itself.

    They follow the catalogs' own columns, such as pg_attribute.attstattarget (int, from 16 on
    smallint).
    """
    return item.kind == "column" and any(
        sides.known(f"{kind} {comparable(item.subject)}") for kind in _DERIVED_COLUMNS
    )


def _difference(sides: _Sides, item: Item, one: Item | None, other: Item | None) -> Difference:
    expected = None if one is None else one.value
    found = None if other is None else other.value
    return Difference(
        label(item, sides.known),
        told(item.kind, expected, found),
        told(item.kind, found, expected),
    )


# --- rows -----------------------------------------------------------------------------------------


def _tables(
    expected: Fingerprint, found: Fingerprint, sides: _Sides, only: Collection[str] | None
) -> dict[str, Difference]:
    """Tables whose rows differ, or that are on one side only."""
    before, after = _by_key(expected.tables), _by_key(found.tables)
    result = {}
    for key in before.keys() | after.keys():
        if only is not None and key.removeprefix("table ") not in only:
            continue
        difference = _table(key, before.get(key), after.get(key), expected.level, sides)
        if difference is not None:
            result[key] = difference
    return result


def _by_key(tables: tuple[TableFingerprint, ...]) -> Mapping[str, TableFingerprint]:
    return {f"table {_key(table.schema, table.name)}": table for table in tables}


def _table(
    key: str,
    before: TableFingerprint | None,
    after: TableFingerprint | None,
    level: ProofLevel,
    sides: _Sides,
) -> Difference | None:
    table = before or after
    assert table is not None
    name = _name("table", table.schema, table.name)
    if before is None or after is None:
        if before is None and _is_left_out(key, sides):
            return None
        one, other = _count(before, key, sides.expected), _count(after, key, sides.found)
        return Difference(name, one, other)
    if before.rows != after.rows:
        return Difference(name, _rows(before.rows), _rows(after.rows))
    if level is ProofLevel.CONTENT and before.content != after.content:
        return Difference(name, *_contents(before.content, after.content))
    return None


def _is_left_out(key: str, sides: _Sides) -> bool:
    """Whether the source had the table but, deliberately, read no rows of it.

    With one partition of a hash left out, the partitioned table above it is not read either.
    """
    if key.removeprefix("table ") in sides.left_out:
        return True
    return bool(sides.left_out) and key in sides.expected.items


def _count(table: TableFingerprint | None, key: str, inventory: Inventory) -> str:
    if table is not None:
        return _rows(table.rows)
    return "no rows of its own" if key in inventory.items else MISSING


def _rows(count: int) -> str:
    return f"{count:,} row{'' if count == 1 else 's'}"


def _contents(one: str | None, other: str | None) -> tuple[str, str]:
    return _content(one, other), _content(other, one)


def _content(digest: str | None, other: str | None) -> str:
    return "content unknown" if digest is None else f"content {abbreviated(digest, other)}"


def _name(kind: str, schema: str, name: str) -> str:
    return one_line(f"{kind} {qualified(schema, name)}")


# --- sequences and large objects ------------------------------------------------------------------


def _sequences(expected: Fingerprint, found: Fingerprint, sides: _Sides) -> Iterator[Difference]:
    before = {_key(one.schema, one.name): one for one in expected.sequences}
    after = {_key(one.schema, one.name): one for one in found.sequences}
    for key in sorted(before.keys() | after.keys()):
        one, other = before.get(key), after.get(key)
        item = f"sequence {key}"
        if key in sides.left_out or sides.is_missing(item) or sides.is_extra(item):
            continue  # told by the objects, or not dumped
        cycles = key in sides.expected.cycling or key in sides.found.cycling
        if one is not None and other is not None and _is_within(other.before, one, cycles=cycles):
            if one.increment == other.increment:
                continue
            told_one, told_other = f"increment {one.increment}", f"increment {other.increment}"
        else:
            told_one = MISSING if one is None else _range(one)
            told_other = MISSING if other is None else f"position {other.before}"
        which = one or other
        assert which is not None
        yield Difference(_name("sequence", which.schema, which.name), told_one, told_other)


def _is_within(position: int, sequence: SequencePosition, *, cycles: bool) -> bool:
    """Whether the dump can have seen this position between the two readings.

    A sequence that stands behind where it was (it came round, or was set back) went on from the
    first reading for a while, then from an unknown place up to the second: anything but what lies
    strictly between the two. One that cycles may have come round several times, which two readings
    cannot show: it may have been anywhere, unless it stood still.
    """
    first, last = sequence.before, sequence.after
    if sequence.increment < 0:
        position, first, last = -position, -first, -last
    if first == last:
        return position == first
    if cycles:
        return True
    if first < last:
        return first <= position <= last
    return position >= first or position <= last


def _range(sequence: SequencePosition) -> str:
    first, last = sequence.before, sequence.after
    if first == last:
        return f"position {first}"
    if (last - first) * sequence.increment > 0:
        return f"position {first} to {last}"
    return f"position {first} onwards, or until {last}"


def _large_objects(expected: Fingerprint, found: Fingerprint) -> Iterator[Difference]:
    one, other = expected.large_objects, found.large_objects
    if one.count != other.count:
        yield Difference("large objects", _number(one), _number(other))
    elif expected.level is ProofLevel.CONTENT and one.content != other.content:
        yield Difference("large objects", *_contents(one.content, other.content))


def _number(objects: LargeObjects) -> str:
    return f"{objects.count:,} object{'' if objects.count == 1 else 's'}"
