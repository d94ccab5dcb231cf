"""YAML as a tree of plain values that remembers where each of them stands.

Scalars follow YAML 1.2's core schema, less what bites in a configuration: ``on``, ``off``, ``yes``,
``no``, ``12:30`` and ``0123`` are text. Keys are text, and none may stand twice. PyYAML's own
composer is used, not libyaml's: that one overflows the C stack on a megabyte of ``[``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from yaml.composer import Composer
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode
from yaml.parser import Parser
from yaml.reader import Reader, ReaderError
from yaml.resolver import BaseResolver
from yaml.scanner import Scanner

KeyPath = tuple[str | int, ...]

_LARGEST_BYTES = 1 << 20
_MOST_VALUES = 50_000
_DEEPEST = 40
_PLAIN = "plain"
_TAG = "tag:yaml.org,2002:"
_SURROGATE = re.compile("[\ud800-\udfff]")
_FLOAT = re.compile(
    r"[-+]?([0-9]+\.[0-9]*|\.[0-9]+)([eE][-+]?[0-9]+)?|[-+]?[0-9]+[eE][-+]?[0-9]+", re.ASCII
)
_CORE: dict[str, tuple[re.Pattern[str], Callable[[str], Any]]] = {
    "null": (re.compile(r"null|Null|NULL|~|", re.ASCII), lambda _: None),
    "bool": (
        re.compile(r"true|True|TRUE|false|False|FALSE", re.ASCII),
        lambda text: text[0] in "tT",
    ),
    "int": (re.compile(r"[-+]?(0|[1-9][0-9]{0,17})", re.ASCII), int),
    "float": (_FLOAT, float),
}
_MENDS = (
    ("'\\t'", "indent with spaces, not tabs"),
    ("while scanning an alias", 'put text that begins with * in quotes: "*"'),
    ("while scanning an anchor", "put text that begins with & in quotes"),
    ("undefined alias", "put text that begins with * in quotes"),
    ("cannot start any token", "put the text in quotes"),
    ("mapping values are not allowed", "put text that holds ': ' in quotes, or check the indent"),
    ("could not find expected ':'", "write each setting as key: value"),
    ("<block end>", "check the indent: keys of one section stand in one column"),
    ("single document", "keep one document a file, without --- in between"),
    ("flow", "close every bracket, and put ${NAME} in quotes within [] and {}"),
)


@dataclass(frozen=True, slots=True)
class Place:
    """Where something stands: 1-based line and column."""

    file: str
    line: int
    column: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}"


class Problem(Exception):
    """One thing that is wrong with the file, with its place."""

    def __init__(self, place: Place | None, text: str) -> None:
        super().__init__(" ".join(f"{place}: {text}".split()) if place else text)
        self.line = place.line if place else 0
        self.column = place.column if place else 0


@dataclass(slots=True)
class Tree:
    """The values, and what is known of each by its key path.

    ``raws`` holds numbers as they were written; ``origins`` where a value came from when not from
    the file; ``sources`` the path in ``defaults`` of what was merged from there; ``bad`` the paths
    about which a problem was told already.
    """

    data: dict[str, Any]
    places: dict[KeyPath, Place]
    raws: dict[KeyPath, str] = field(default_factory=dict)
    origins: dict[KeyPath, str] = field(default_factory=dict)
    sources: dict[KeyPath, KeyPath] = field(default_factory=dict)
    bad: set[KeyPath] = field(default_factory=set)
    problems: list[Problem] = field(default_factory=list)

    def place(self, path: KeyPath) -> Place | None:
        """The place of this value, or of the nearest one above it."""
        while path and path not in self.places:
            path = path[:-1]
        return self.places.get(path)

    def problem(self, path: KeyPath, text: str) -> Problem:
        """A problem with the value at ``path``, under the path at which the file has it."""
        written = self.sources.get(path)
        if written is None and path and path[:-1] in self.sources:
            written = (*self.sources[path[:-1]], path[-1])
        named = dotted(path if written is None else written)
        return Problem(self.place(path), f"{named}: {text}" if named else text)

    def complain(self, path: KeyPath, text: str) -> None:
        """Note a problem, and that nothing more need be said of this value."""
        self.bad.add(path)
        self.problems.append(self.problem(path, text))


def dotted(path: KeyPath) -> str:
    """A key path for people: ``probes[0].url``."""
    text = ""
    for piece in path:
        if isinstance(piece, int):
            text += f"[{piece}]"
        else:
            text += ("." if text else "") + (piece if piece.isprintable() else repr(piece))
    return text


def read_tree(path: Path) -> Tree:
    """Read a YAML file whose top is a mapping. Keys that stand twice are among ``problems``.

    Raises:
        Problem: unreadable, not YAML, too large or too deep.
    """
    return parse_tree(_read(path), str(path))


def _read(path: Path) -> str:
    file = str(path)
    try:
        with path.open("rb") as stream:
            data = stream.read(_LARGEST_BYTES + 1)
    except IsADirectoryError as error:
        raise Problem(None, f"{file} is a folder; name the file in it") from error
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise Problem(None, f"{file} cannot be read: {reason}") from error
    if len(data) > _LARGEST_BYTES:
        raise Problem(None, f"{file} is larger than 1 MiB, too large for a configuration")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        place = Place(file, data.count(b"\n", 0, error.start) + 1, 1)
        raise Problem(place, "not UTF-8 text; save the file as UTF-8") from error


def parse_tree(text: str, file: str) -> Tree:
    """Parse YAML text; as :func:`read_tree`."""
    composer = None
    try:
        composer = _Composer(text)
        root = composer.get_single_node()
    except ReaderError as error:
        before = text[: error.position]
        reached = Place(file, before.count("\n") + 1, len(before) - before.rfind("\n"))
        raise Problem(
            reached, f"a character that YAML does not allow: {error.character!a}"
        ) from error
    except yaml.MarkedYAMLError as error:
        raise _syntax_problem(error, file) from error
    except (ValueError, OverflowError) as error:  # chr() of an escape beyond Unicode, in PyYAML
        mark = composer.get_mark() if composer else None
        place = Place(file, mark.line + 1, mark.column + 1) if mark else None
        raise Problem(place, "not YAML: an escape that stands for no character") from error
    if root is None:
        raise Problem(None, f"{file} is empty; write one with guardian init")
    builder = _Builder(file)
    if not isinstance(root, MappingNode):
        raise Problem(builder.place(root), "a mapping is needed at the top: sections as key: value")
    data = builder.build(root, ())
    if not isinstance(data, dict):
        raise builder.tree.problems[0]
    builder.tree.data = data
    return builder.tree


def _syntax_problem(error: yaml.MarkedYAMLError, file: str) -> Problem:
    mark = error.problem_mark or error.context_mark
    place = Place(file, mark.line + 1, mark.column + 1) if mark else None
    said = f"{error.context or ''} {error.problem or ''}".strip()
    mend = next((f"; {mend}" for word, mend in _MENDS if word in said), "")
    return Problem(place, f"not YAML: {error.problem or said}{mend}")


class _Composer(Reader, Scanner, Parser, Composer, BaseResolver):
    """PyYAML's composer; plain scalars stay apart from quoted ones, and depth is bounded."""

    def __init__(self, text: str) -> None:
        Reader.__init__(self, text)
        Scanner.__init__(self)
        Parser.__init__(self)
        Composer.__init__(self)
        BaseResolver.__init__(self)
        self._depth = 0

    def compose_node(self, parent: Node | None, index: Any) -> Node | None:
        """As PyYAML's, which recurses without a bound."""
        self._depth += 1
        if self._depth > _DEEPEST:
            raise yaml.MarkedYAMLError(problem="nested too deeply", problem_mark=self.get_mark())
        node: Node | None = super().compose_node(parent, index)
        self._depth -= 1
        return node

    def resolve(self, kind: type[Node], _value: Any, implicit: Any) -> str:
        """A mark for plain scalars; their types are :func:`_core`'s business."""
        if kind is ScalarNode and implicit[0]:
            return _PLAIN
        return {ScalarNode: f"{_TAG}str", SequenceNode: f"{_TAG}seq"}.get(kind, f"{_TAG}map")


class _Builder:
    """Turns nodes into plain values, and notes their places."""

    def __init__(self, file: str, *, merging: int = 0) -> None:
        self.tree = Tree({}, {})
        self._file = file
        self._merging = merging
        self._count = 0

    def place(self, node: Node) -> Place:
        return Place(self._file, node.start_mark.line + 1, node.start_mark.column + 1)

    def build(self, node: Node, path: KeyPath) -> Any:
        self._count += 1
        if self._count > _MOST_VALUES or len(path) + self._merging > _DEEPEST:
            # Also the end of an alias that holds itself, and of one that multiplies.
            raise Problem(self.place(node), "too many or too deeply nested values")
        self.tree.places.setdefault(path, self.place(node))
        if isinstance(node, ScalarNode):
            return self._scalar(node, path)
        if node.tag not in {f"{_TAG}map", f"{_TAG}seq"}:
            return self._refuse_tag(node, path)
        if isinstance(node, MappingNode):
            return self._mapping(node, path)
        return [self.build(item, (*path, index)) for index, item in enumerate(node.value)]

    def _mapping(self, node: MappingNode, path: KeyPath) -> dict[str, Any]:
        found: dict[str, Any] = {}
        merges: list[Node] = []
        for key_node, value_node in node.value:
            place = self.place(key_node)
            if not _is_word(key_node):
                self.tree.problems.append(Problem(place, "a key must be a plain word"))
                continue
            key = str(key_node.value)
            here = (*path, key)
            if key == "<<" and key_node.tag == _PLAIN:
                merges.append(value_node)
            elif key in found:
                first = self.tree.places[here].line
                text = f"{dotted(here)}: the key stands here again, first in line {first}"
                self.tree.problems.append(Problem(place, f"{text}; remove one of them"))
            else:
                self.tree.places[here] = place
                found[key] = self.build(value_node, here)
        for merge in merges:
            self._merge(merge, path, found)
        return found

    def _merge(self, node: Node, path: KeyPath, found: dict[str, Any]) -> None:
        """Add what ``<<`` names, where the mapping itself (or an earlier one) does not have it."""
        for item in node.value if isinstance(node, SequenceNode) else [node]:
            if not isinstance(item, MappingNode):
                self.tree.problems.append(Problem(self.place(item), "<< merges mappings only"))
                continue
            # What is merged stands no deeper: a mapping that merges itself ends by this count.
            apart = _Builder(self._file, merging=self._merging + 1)
            apart._count = self._count
            merged = apart.build(item, path)
            self._count = apart._count
            self.tree.problems += apart.tree.problems
            for key, value in merged.items() if isinstance(merged, dict) else ():
                if key in found:
                    continue
                found[key] = value
                depth = len(path) + 1
                for table, other in (
                    (self.tree.places, apart.tree.places),
                    (self.tree.raws, apart.tree.raws),
                ):
                    _take(table, other, (*path, key), depth)

    def _scalar(self, node: ScalarNode, path: KeyPath) -> Any:
        text = str(node.value)
        if _SURROGATE.search(text):
            self.tree.complain(path, "half of a surrogate pair is no character")
            return ""
        if node.tag == f"{_TAG}str":
            return text
        if node.tag == _PLAIN:
            for name, (pattern, convert) in _CORE.items():
                if pattern.fullmatch(text):
                    if name in {"int", "float"}:
                        self.tree.raws[path] = text
                    return convert(text)
            return text
        known = _CORE.get(node.tag.removeprefix(_TAG))
        if known is None or not known[0].fullmatch(text):
            return self._refuse_tag(node, path)
        return known[1](text)

    def _refuse_tag(self, node: Node, path: KeyPath) -> None:
        tag = node.tag.replace(_TAG, "!!")
        self.tree.complain(path, f"the tag {tag!r} has no place here; remove it")


def _is_word(node: Node) -> bool:
    return isinstance(node, ScalarNode) and bool(node.value) and not _SURROGATE.search(node.value)


def _take(
    table: dict[KeyPath, Any], other: Mapping[KeyPath, Any], under: KeyPath, depth: int
) -> None:
    table.update({path: value for path, value in other.items() if path[:depth] == under})
