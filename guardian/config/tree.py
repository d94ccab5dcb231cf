"""YAML as a tree of plain values that remembers where each of them stands.

Scalars follow YAML 1.2's core schema: ``on``, ``off``, ``yes``, ``no`` and ``12:30`` are text.
Keys are text, and none may stand twice.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

KeyPath = tuple[str | int, ...]

_LARGEST_BYTES = 4 * 1024 * 1024
_MOST_VALUES = 100_000
_DEEPEST = 40
_NULL = re.compile(r"null|Null|NULL|~|", re.ASCII)
_TRUE = re.compile(r"true|True|TRUE", re.ASCII)
_FALSE = re.compile(r"false|False|FALSE", re.ASCII)
_INTEGER = re.compile(r"[-+]?(0|[1-9][0-9]*)", re.ASCII)
_FLOAT = re.compile(
    r"[-+]?([0-9]+\.[0-9]*|\.[0-9]+)([eE][-+]?[0-9]+)?|[-+]?\d+[eE][-+]?\d+", re.ASCII
)
_STRING_TAG = "tag:yaml.org,2002:str"


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
        super().__init__(f"{place}: {text}" if place else text)


@dataclass(slots=True)
class Tree:
    """The values, and the place of each key path."""

    data: dict[str, Any]
    places: dict[KeyPath, Place]
    origins: dict[KeyPath, str] = field(default_factory=dict)

    def place(self, path: KeyPath) -> Place | None:
        """The place of this value, or of the nearest one above it."""
        while path and path not in self.places:
            path = path[:-1]
        return self.places.get(path)


def read_tree(path: Path) -> Tree:
    """Read a YAML file whose top is a mapping.

    Raises:
        Problem: unreadable, not YAML, a key twice, too large or too deep.
    """
    file = str(path)
    try:
        data = path.read_bytes()
    except IsADirectoryError as error:
        raise Problem(None, f"{file} is a folder") from error
    except OSError as error:
        raise Problem(None, f"{file} cannot be read: {error.strerror}") from error
    if len(data) > _LARGEST_BYTES:
        raise Problem(None, f"{file} is too large for a configuration ({len(data)} bytes)")
    try:
        root = yaml.compose(data.decode("utf-8"), Loader=_LOADER)
    except UnicodeDecodeError as error:
        raise Problem(None, f"{file} is not UTF-8 text") from error
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = Place(file, mark.line + 1, mark.column + 1) if mark else None
        raise Problem(
            place, f"not YAML: {_one_line(error.problem or error.context or '')}"
        ) from error
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise Problem(None, f"{file} is not YAML: {_one_line(str(error))}") from error
    if root is None:
        raise Problem(None, f"{file} is empty")
    if not isinstance(root, MappingNode):
        raise Problem(Place(file, 1, 1), "a mapping of sections is needed at the top")
    builder = _Builder(file)
    value = builder.build(root, ())
    return Tree(value, builder.places)


_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class _Builder:
    def __init__(self, file: str) -> None:
        self.places: dict[KeyPath, Place] = {}
        self._file = file
        self._count = 0

    def build(self, node: Node, path: KeyPath) -> Any:
        self._count += 1
        if self._count > _MOST_VALUES or len(path) > _DEEPEST:
            raise Problem(self._place(node), "too many or too deeply nested values")
        self.places.setdefault(path, self._place(node))
        if isinstance(node, MappingNode):
            return self._mapping(node, path)
        if isinstance(node, SequenceNode):
            return [self.build(item, (*path, index)) for index, item in enumerate(node.value)]
        assert isinstance(node, ScalarNode)
        return _scalar(node)

    def _mapping(self, node: MappingNode, path: KeyPath) -> dict[str, Any]:
        found: dict[str, Any] = {}
        merged: list[Mapping[str, Any]] = []
        for key_node, value_node in node.value:
            place = self._place(key_node)
            if not isinstance(key_node, ScalarNode):
                raise Problem(place, "a key must be a plain word")
            key = str(key_node.value)
            if key == "<<" and key_node.style is None:
                merged += self._merged(value_node, path)
                continue
            if key in found:
                raise Problem(place, f"{_dotted((*path, key))} stands here for the second time")
            self.places[(*path, key)] = place
            found[key] = self.build(value_node, (*path, key))
        for mapping in merged:
            for key, value in mapping.items():
                found.setdefault(key, value)
        return found

    def _merged(self, node: Node, path: KeyPath) -> list[Mapping[str, Any]]:
        nodes = node.value if isinstance(node, SequenceNode) else [node]
        if not all(isinstance(item, MappingNode) for item in nodes):
            raise Problem(self._place(node), "<< merges mappings only")
        return [self.build(item, path) for item in nodes]

    def _place(self, node: Node) -> Place:
        return Place(self._file, node.start_mark.line + 1, node.start_mark.column + 1)


def _scalar(node: ScalarNode) -> Any:
    text = node.value
    if node.style is not None or (node.tag == _STRING_TAG and _quoted(node)):
        return text
    if _NULL.fullmatch(text):
        return None
    if _TRUE.fullmatch(text):
        return True
    if _FALSE.fullmatch(text):
        return False
    if _INTEGER.fullmatch(text) and len(text) < 40:
        return int(text)
    if _FLOAT.fullmatch(text):
        return float(text)
    return text


def _quoted(node: ScalarNode) -> bool:
    return node.style in {"'", '"', "|", ">"}


def _dotted(path: KeyPath) -> str:
    return ".".join(str(piece) for piece in path)


def _one_line(text: str) -> str:
    return " ".join(text.split())
