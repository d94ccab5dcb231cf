"""What an object of an archive needs before it can exist, and what hangs on it.

The archive's own dependencies say most of it. What they do not say, or say too strongly, is put
right here; each case names its reason. Dependencies inside of function bodies are text to
PostgreSQL and unknown to the archive, so unknown here, too.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator

from guardian.restore.archive import Toc, TocEntry

TABLE_KINDS = frozenset({"TABLE", "VIEW", "MATERIALIZED VIEW", "FOREIGN TABLE", "SEQUENCE"})
"""What holds rows or shows them, and what a table's values are drawn from."""

HANGING_KINDS = frozenset(
    {
        *("TABLE DATA", "TABLE ATTACH", "DEFAULT", "CONSTRAINT", "CHECK CONSTRAINT"),
        *("FK CONSTRAINT", "INDEX", "INDEX ATTACH", "TRIGGER", "RULE", "POLICY", "ROW SECURITY"),
        *("COMMENT", "ACL", "SECURITY LABEL", "SEQUENCE SET", "SEQUENCE OWNED BY"),
        *("STATISTICS", "STATISTICS DATA", "MATERIALIZED VIEW DATA", "USER MAPPING"),
    }
)
"""What is nothing of itself: it comes with the object that it hangs on."""

_TYPE_KINDS = frozenset({"TYPE", "DOMAIN", "SHELL TYPE", "EXTENSION"})
_WITH_TYPES = frozenset({"CAST", "OPERATOR CLASS"})


class DependencyGraph:
    """The entries of one table of contents, and how they need each other."""

    def __init__(self, toc: Toc) -> None:
        self.entries = {entry.dump_id: entry for entry in toc.entries}
        self.tables = frozenset(i for i, entry in self.entries.items() if _is_table(entry))
        self._needs = {
            i: {need for need in entry.dependencies if need in self.entries and need != i}
            for i, entry in self.entries.items()
        }
        self._comes_with: dict[int, list[int]] = defaultdict(list)
        self._partitions: dict[int, list[int]] = defaultdict(list)
        self._only_there: set[tuple[int, int]] = set()  # needs that rows are no part of
        self._loosen_sequences()
        self._find_partitions()
        self._find_rows_loaded_via_roots()
        self._find_parts_of_tables()
        self._find_user_mappings()
        self._find_grants_on_public()
        self._find_opclasses_of_exclusions()
        self._needed_by = self._reversed()

    def closure(self, roots: Iterable[int]) -> set[int]:
        """The roots and all that they cannot exist without, with the tables' own indispensables.

        A partitioned table comes with its partitions, unless it is only there as the parent of a
        partition that is wanted.
        """
        whole: dict[int, bool] = {}
        work = [(root, True) for root in roots]
        while work:
            one, complete = work.pop()
            before = whole.get(one)
            if before or before is complete:
                continue
            whole[one] = complete
            if complete:
                work += [(partition, True) for partition in self._partitions.get(one, ())]
            if before is None:
                work += [(need, (one, need) not in self._only_there) for need in self._needs[one]]
                work += [(part, True) for part in self._comes_with.get(one, ())]
        return set(whole)

    def with_hanging(self, closure: Collection[int]) -> set[int]:
        """A closure, and all that hangs on it without needing a table from outside of it."""
        blocked = self._dependents(self.tables.difference(closure))
        kept = set(closure)
        work = list(closure)
        while work:
            for one in self._needed_by.get(work.pop(), ()):
                if one not in kept and one not in blocked and self._hangs(one, kept):
                    new = self._ancestors(one).difference(kept)
                    kept |= new
                    work += new
        return kept

    def partitions(self, tables: Iterable[int]) -> set[int]:
        """The partitions of those tables, and theirs."""
        found: set[int] = set()
        work = list(tables)
        while work:
            new = set(self._partitions.get(work.pop(), ())) - found
            found |= new
            work += new
        return found

    def tables_missing(self, one: int, closure: Collection[int]) -> list[TocEntry]:
        """The tables outside of ``closure`` that an entry needs, in the archive's order."""
        missing = self.tables.intersection(self._ancestors(one)).difference(closure)
        return [entry for i, entry in self.entries.items() if i in missing]

    def owner(self, one: int) -> int | None:
        """The table that an index, a trigger, a foreign key … is a part of; None without one."""
        entry = self.entries[one]
        candidates = [need for need in entry.dependencies if need in self.tables]
        named = [i for i in candidates if _is_named_after(entry, self.entries[i])]
        if named:  # the longest, since "a b c" may be b c of a, or c of a b
            return max(named, key=lambda i: len(self.entries[i].tag))
        return candidates[0] if candidates else None

    def _hangs(self, one: int, kept: Collection[int]) -> bool:
        entry = self.entries[one]
        if entry.kind in _WITH_TYPES:
            # Expressions and keys use them without a dependency that pg_dump would know of.
            types = [i for i in self._needs[one] if self.entries[i].kind in _TYPE_KINDS]
            return bool(types) and all(i in kept for i in types)
        return entry.kind in HANGING_KINDS

    def _ancestors(self, one: int) -> set[int]:
        found = {one}
        work = [one]
        while work:
            new = self._needs[work.pop()] - found
            found |= new
            work += new
        return found

    def _dependents(self, seeds: Iterable[int]) -> set[int]:
        needed_by = self._needed_by
        found = set(seeds)
        work = list(found)
        while work:
            new = [i for i in needed_by.get(work.pop(), ()) if i not in found]
            found.update(new)
            work += new
        return found

    def _reversed(self) -> dict[int, list[int]]:
        needed_by: dict[int, list[int]] = defaultdict(list)
        for one, needs in self._needs.items():
            for need in needs:
                needed_by[need].append(one)
        return needed_by

    def _of_kind(self, *kinds: str) -> Iterator[TocEntry]:
        return (entry for entry in self.entries.values() if entry.kind in kinds)

    def _loosen_sequences(self) -> None:
        """A serial column's sequence can be without its table; only OWNED BY needs both.

        Else a table whose default draws from another table's sequence (LIKE … INCLUDING DEFAULTS)
        would bring that table along.
        """
        owners: dict[int, set[int]] = {}
        for entry in self._of_kind("SEQUENCE"):
            one = entry.dump_id
            owners[one] = {i for i in self._needs[one] if i in self.tables}
            for table in owners[one]:
                self._add_part(table, one)
            if not entry.definition.startswith("ALTER TABLE"):  # which is an identity column
                self._needs[one] -= owners[one]
        for entry in self._of_kind("SEQUENCE OWNED BY"):
            for sequence in [i for i in self._needs[entry.dump_id] if i in owners]:
                self._needs[entry.dump_id] |= owners[sequence]

    def _find_partitions(self) -> None:
        for entry in self._of_kind("TABLE ATTACH"):
            tables = [i for i in self._needs[entry.dump_id] if i in self.tables]
            for child in [i for i in tables if _same_name(self.entries[i], entry)]:
                for parent in [i for i in tables if i != child]:
                    self._add_partition(parent, child)
                    self._only_there.add((entry.dump_id, parent))
                self._add_part(child, entry.dump_id)
        for entry in self._of_kind("TABLE", "FOREIGN TABLE"):
            if "\nALTER TABLE ONLY " in entry.definition and " ATTACH PARTITION " in (
                entry.definition
            ):  # so did pg_dump before 14
                for parent in self._needs[entry.dump_id]:
                    if "\nPARTITION BY " in self.entries[parent].definition:
                        self._add_partition(parent, entry.dump_id)

    def _find_rows_loaded_via_roots(self) -> None:
        """Rows that pg_dump could not be sure of their partition can go into any of them."""
        parents: dict[int, list[int]] = defaultdict(list)
        for parent, children in self._partitions.items():
            for child in children:
                parents[child].append(parent)
        for entry in self._of_kind("TABLE DATA"):
            if entry.definition.startswith("-- load via partition root "):
                work = [i for i in self._needs[entry.dump_id] if i in parents]
                while work:
                    child = work.pop()
                    above = [i for i in parents[child] if (child, i) in self._only_there]
                    self._only_there.difference_update((child, parent) for parent in above)
                    work += above

    def _add_part(self, table: int, part: int) -> None:
        self._comes_with[table].append(part)
        self._only_there.add((part, table))

    def _add_partition(self, parent: int, child: int) -> None:
        self._partitions[parent].append(child)
        self._only_there.add((child, parent))

    def _find_parts_of_tables(self) -> None:
        """Defaults, and what a view selects where pg_dump had to break a circle."""
        for entry in self._of_kind("DEFAULT", "RULE"):
            if entry.kind == "RULE" and not entry.definition.startswith("CREATE OR REPLACE VIEW"):
                continue
            owner = self.owner(entry.dump_id)
            if owner is not None:
                self._add_part(owner, entry.dump_id)

    def _find_user_mappings(self) -> None:
        """They hang on their server, which the archive tells in their names only."""
        servers = {f" SERVER {entry.tag}": entry.dump_id for entry in self._of_kind("SERVER")}
        for entry in self._of_kind("USER MAPPING"):
            _, word, server = entry.tag.rpartition(" SERVER ")
            if found := servers.get(word + server):
                self._needs[entry.dump_id].add(found)

    def _find_grants_on_public(self) -> None:
        """Since 15 schema public is in the archive only when it was altered, its grants are."""
        inside = [entry for entry in self.entries.values() if entry.namespace == "public"]
        for entry in self._of_kind("ACL", "COMMENT", "SECURITY LABEL"):
            if entry.tag == "SCHEMA public":
                for member in inside:
                    if member.kind not in HANGING_KINDS:
                        self._add_part(member.dump_id, entry.dump_id)

    def _find_opclasses_of_exclusions(self) -> None:
        """The archive does not tell which operator classes, of which extension, such keys use."""
        exclusions = [
            entry.dump_id
            for entry in self._of_kind("CONSTRAINT")
            if " EXCLUDE USING " in entry.definition or " WITHOUT OVERLAPS" in entry.definition
        ]
        if not exclusions:
            return
        self._needed_by = self._reversed()
        tied = self._dependents(self.tables)
        free = {entry.dump_id for entry in self._of_kind("EXTENSION", "OPERATOR CLASS")} - tied
        for one in exclusions:
            self._needs[one] |= free


def _is_table(entry: TocEntry) -> bool:
    return entry.kind in TABLE_KINDS


def _same_name(one: TocEntry, other: TocEntry) -> bool:
    return (one.namespace, one.tag) == (other.namespace, other.tag)


def _is_named_after(part: TocEntry, table: TocEntry) -> bool:
    return part.namespace == table.namespace and (
        part.tag == table.tag or part.tag.startswith(f"{table.tag} ")
    )
