"""Choose what to restore: tables or schemas by pattern, with all they need and all that is theirs.

The choice becomes a list file for ``pg_restore --use-list``. What a chosen table needs comes along
(its schema, types, sequences, parents, the tables beneath a view); what is part of it comes as far
as it needs no table that was not chosen; what is left out for that is told.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from guardian.backup.patterns import compile_pattern
from guardian.errors import UsageError
from guardian.restore.archive import Toc, TocEntry
from guardian.restore.dependencies import HANGING_KINDS, DependencyGraph

Name = tuple[str, str]
"""A schema's name and a table's."""

_SETTINGS = frozenset({"ENCODING", "STDSTRINGS", "SEARCHPATH"})
_BLOBS = frozenset({"BLOB", "BLOBS", "BLOB METADATA", "BLOB COMMENTS"})
_DATA = frozenset({"TABLE DATA", "SEQUENCE SET"}) | _BLOBS
_DERIVED = frozenset({"MATERIALIZED VIEW DATA", "STATISTICS DATA"})
_OF_OTHERS = frozenset({"PUBLICATION TABLE", "PUBLICATION TABLES IN SCHEMA"})
"""They have a schema, but belong to a publication, which belongs to the database."""

_TOLD = {
    "FK CONSTRAINT": "foreign key",
    **{kind: kind.lower() for kind in ("CONSTRAINT", "CHECK CONSTRAINT", "INDEX", "TRIGGER")},
    **{kind: kind.lower() for kind in ("RULE", "POLICY", "STATISTICS")},
}
_SYSTEM_SCHEMA = re.compile(r"information_schema|pg_.*", re.DOTALL)
_PLAIN_NAME = re.compile(r"[a-z_][a-z0-9_]*")
_SHOWN = 3


@dataclass(frozen=True, slots=True)
class Selection:
    """What to restore. ``entries`` are in the archive's order, in which they can be restored.

    ``tables`` are the chosen tables, partitioned tables, partitions, foreign tables, views and
    materialized views, ``sequences`` the chosen sequences, ``loaded`` those tables whose rows come.
    ``brought_along`` are tables that no pattern names and that a chosen one needs (partitions of a
    chosen table are not told here).
    ``left_out`` are sentences about what is not restored although it is part of a chosen table.
    """

    entries: tuple[TocEntry, ...]
    tables: tuple[Name, ...]
    sequences: tuple[Name, ...]
    loaded: tuple[Name, ...]
    brought_along: tuple[Name, ...] = ()
    left_out: tuple[str, ...] = ()

    @property
    def dump_ids(self) -> frozenset[int]:
        """The ids of the entries to restore."""
        return frozenset(entry.dump_id for entry in self.entries)

    def list_lines(self) -> list[str]:
        """The lines of a file for ``pg_restore --use-list``, without their ends.

        pg_restore reads the number; what stands behind it is for people.
        """
        return [f"{entry.dump_id}; {_described(entry)}" for entry in self.entries]


def select(
    toc: Toc,
    *,
    tables: Sequence[str] = (),
    schemas: Sequence[str] = (),
    schema_only: bool = False,
    data_only: bool = False,
) -> Selection:
    """Choose entries by patterns as in psql; without any, all of the archive.

    ``tables`` name tables, views, materialized views, foreign tables and sequences, in every schema
    unless they name one. ``schemas`` choose all that lies in a schema; with both, a table must be
    of such a schema, as for pg_restore. ``schema_only`` leaves out rows, positions of sequences,
    large objects, and the contents of materialized views; ``data_only`` everything but rows,
    positions and large objects. Large objects belong to no table: patterns leave them out.

    Raises:
        UsageError: a pattern is none, or matches nothing (names what is like it).
    """
    if schema_only and data_only:
        raise UsageError("schema only and data only exclude each other", mend="choose one")
    graph = DependencyGraph(toc)
    named = chosen = set(graph.entries)
    left_out: list[str] = []
    if tables or schemas:
        matched = _matched(graph, tables, schemas)
        named = matched | graph.partitions(matched)
        closure = graph.closure(matched)
        chosen = graph.with_hanging(closure)
        left_out += [] if data_only else _left_out(graph, closure, chosen)
        if not schema_only and any(entry.kind in _BLOBS for entry in toc.entries):
            left_out.append("large objects are left out: they belong to no table")
    whole = [e for e in toc.entries if e.dump_id in chosen or e.kind in _SETTINGS]
    kept = [e for e in whole if _wanted(e, schema_only=schema_only, data_only=data_only)]
    sequences = [e for e in whole if e.kind == "SEQUENCE"]
    relations = [e for e in whole if e.dump_id in graph.tables and e.kind != "SEQUENCE"]
    return Selection(
        entries=tuple(kept),
        tables=_names(relations),
        sequences=_names(sequences),
        loaded=_names(e for e in kept if e.kind == "TABLE DATA"),
        brought_along=_names(e for e in relations if e.dump_id not in named),
        left_out=tuple(left_out),
    )


def _wanted(entry: TocEntry, *, schema_only: bool, data_only: bool) -> bool:
    """Judge as pg_restore does, but for what schema-only restores would compute from no rows."""
    data = entry.kind in _DATA or (
        entry.kind in {"ACL", "COMMENT", "SECURITY LABEL"} and entry.tag.startswith("LARGE OBJECT")
    )
    if data_only:
        return data or entry.kind in _SETTINGS
    return not (schema_only and (data or entry.kind in _DERIVED))


# --- patterns -----------------------------------------------------------------------------------


def _matched(graph: DependencyGraph, tables: Sequence[str], schemas: Sequence[str]) -> set[int]:
    """The entries that the patterns name: tables, or all that stands for itself in a schema."""
    names = {e.namespace for e in graph.entries.values() if e.namespace}
    names |= {e.tag for e in graph.entries.values() if e.kind == "SCHEMA"}
    inside = _matched_schemas(sorted(names), schemas) if schemas else names
    if tables:
        found: set[int] = set()
        candidates = [e for e in _named_by_patterns(graph) if e.namespace in inside]
        for pattern in tables:
            found |= _matched_tables(candidates, pattern)
        return found
    return {
        e.dump_id
        for e in graph.entries.values()
        if (e.namespace in inside and e.kind not in HANGING_KINDS | _OF_OTHERS)
        or (e.kind == "SCHEMA" and e.tag in inside)
    }


def _named_by_patterns(graph: DependencyGraph) -> list[TocEntry]:
    """Tables; and rows, since those of an extension's table have no other entry."""
    return [e for i, e in graph.entries.items() if i in graph.tables or e.kind == "TABLE DATA"]


def _matched_schemas(names: Sequence[str], patterns: Sequence[str]) -> set[str]:
    names = [name for name in names if not _SYSTEM_SCHEMA.fullmatch(name)]
    found: set[str] = set()
    for pattern in patterns:
        pieces = _compiled(pattern, "schema", at_most=1)
        matched = [name for name in names if pieces[0].fullmatch(name)]
        if not matched:
            raise _nothing("schema", pattern, {name: _quoted(name) for name in names})
        found.update(matched)
    return found


def _matched_tables(candidates: Sequence[TocEntry], pattern: str) -> set[int]:
    pieces = _compiled(pattern, "table", at_most=2)
    in_schema: Callable[[str], object] = (
        pieces[0].fullmatch
        if len(pieces) > 1
        else lambda schema: not _SYSTEM_SCHEMA.fullmatch(schema)
    )
    found = {
        e.dump_id for e in candidates if pieces[-1].fullmatch(e.tag) and in_schema(e.namespace)
    }
    if not found:
        near = {f"{e.namespace}.{e.tag}": _full_name(e) for e in candidates}
        if len(pieces) == 1:
            near |= {e.tag: _full_name(e) for e in candidates}
        raise _nothing("table", pattern, near)
    return found


def _compiled(pattern: str, what: str, *, at_most: int) -> tuple[re.Pattern[str], ...]:
    try:
        pieces = compile_pattern(pattern)
    except ValueError as error:
        raise UsageError(
            f"{pattern!r} is not a pattern of {what} names: {error}",
            mend="put a name with special characters into double quotes",
        ) from error
    if len(pieces) > at_most:
        raise UsageError(
            f"{pattern!r} is not a pattern of {what} names: it has {len(pieces)} dotted parts",
            mend="put a name that holds a dot into double quotes",
        )
    return pieces


def _nothing(what: str, pattern: str, near: dict[str, str]) -> UsageError:
    folded = {word.lower(): name for word, name in near.items()}
    words = difflib.get_close_matches(pattern.replace('"', "").lower(), folded, n=_SHOWN + 1)
    names = list(dict.fromkeys(folded[word] for word in words))[:_SHOWN]
    return UsageError(
        f"no {what} in this backup matches {pattern!r}",
        mend=f"did you mean {' or '.join(names)}?"
        if names
        else "patterns are those of psql: * is any text, capitals need double quotes",
    )


# --- words --------------------------------------------------------------------------------------


def _left_out(graph: DependencyGraph, closure: set[int], chosen: set[int]) -> list[str]:
    """A sentence about each part of a chosen table that needs a table which was not chosen."""
    sentences = []
    for one, entry in graph.entries.items():
        if entry.kind not in _TOLD or one in chosen:
            continue
        owner = graph.owner(one)
        if owner is None or owner not in closure:
            continue
        table = graph.entries[owner]
        missing = [_full_name(other) for other in graph.tables_missing(one, closure)]
        more = f" and {len(missing) - _SHOWN} more" if len(missing) > _SHOWN else ""
        name = entry.tag.removeprefix(f"{table.tag} ")
        sentences.append(
            f"{_TOLD[entry.kind]} {_quoted(name)} of {_full_name(table)} is left out: it needs "
            f"{', '.join(missing[:_SHOWN])}{more}, not selected"
        )
    return sentences


def _name(entry: TocEntry) -> Name:
    return entry.namespace, entry.tag


def _names(entries: Iterable[TocEntry]) -> tuple[Name, ...]:
    return tuple(sorted({_name(entry) for entry in entries}))


def _full_name(entry: TocEntry) -> str:
    return f"{_quoted(entry.namespace)}.{_quoted(entry.tag)}"


def _quoted(name: str) -> str:
    """A name as one can type it in a pattern."""
    return name if _PLAIN_NAME.fullmatch(name) else '"' + name.replace('"', '""') + '"'


def _described(entry: TocEntry) -> str:
    words = f"{entry.kind} {entry.namespace or '-'} {entry.tag} {entry.owner}"
    line = " ".join(words.split())
    return line.encode(errors="replace").decode()
