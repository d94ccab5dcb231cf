"""From the file's values to the meant ones: environment, ``*_file`` keys, servers' defaults."""

from __future__ import annotations

import copy
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from guardian.config.tree import KeyPath, Problem, Tree

_VARIABLE = re.compile(r"\$\$\{|\$\{([A-Za-z_][A-Za-z0-9_]*)(?::-([^}]*))?\}|\$\{[^}]*\}?")
_PATH_KEYS = {"passphrase_file", "ca_file"}
"""Keys that end in ``_file`` and mean the path itself."""

_FREE_MAPS = {"headers", "expect_json"}
_LARGEST_VALUE = 1 << 20


def resolve(tree: Tree, environ: Mapping[str, str], folder: Path) -> list[Problem]:
    """Resolve in place; every problem is returned, not only the first."""
    problems: list[Problem] = []
    tree.data = _Resolver(tree, environ, folder, problems).walk(tree.data, ())
    return problems


class _Resolver:
    def __init__(
        self, tree: Tree, environ: Mapping[str, str], folder: Path, problems: list[Problem]
    ) -> None:
        self._tree = tree
        self._environ = environ
        self._folder = folder
        self._problems = problems

    def walk(self, value: Any, path: KeyPath) -> Any:
        if isinstance(value, str):
            return self._substituted(value, path)
        if isinstance(value, list):
            return [self.walk(item, (*path, index)) for index, item in enumerate(value)]
        if not isinstance(value, dict):
            return value
        found = {key: self.walk(item, (*path, key)) for key, item in value.items()}
        if path and path[-1] in _FREE_MAPS:
            return found
        for key in [key for key, item in found.items() if _reads_file(key, item)]:
            self._read_file(found, key, path)
        return found

    def _substituted(self, text: str, path: KeyPath) -> str:
        def replace(match: re.Match[str]) -> str:
            if match[0] == "$${":
                return "${"
            if match[1] is None:
                self._complain(path, f"{match[0]!r} is not a variable: write ${{NAME}}")
                return ""
            value = self._environ.get(match[1])
            if value is None and match[2] is None:
                self._complain(path, f"the environment variable {match[1]} is not set")
                return ""
            self._tree.origins[path] = f"env {match[1]}"
            return value if value is not None else match[2]

        return _VARIABLE.sub(replace, text)

    def _read_file(self, mapping: dict[str, Any], key: str, path: KeyPath) -> None:
        name = key.removesuffix("_file")
        here = (*path, key)
        if name in mapping:
            self._complain(here, f"{name} and {key} exclude each other")
        file = self._folder / Path(mapping.pop(key)).expanduser()
        self._tree.places[(*path, name)] = self._tree.places.get(here) or self._tree.places[()]
        try:
            with file.open("rb") as stream:
                data = stream.read(_LARGEST_VALUE)
            value = data.decode("utf-8").removesuffix("\n").removesuffix("\r")
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
            self._complain(here, f"{file} cannot be read: {reason}")
            mapping[name] = "unreadable"
            return
        if not value.strip():
            self._complain(here, f"{file} is empty")
        mapping[name] = value
        self._tree.origins[(*path, name)] = f"file {file}"

    def _complain(self, path: KeyPath, text: str) -> None:
        dotted = ".".join(str(piece) for piece in path)
        self._problems.append(Problem(self._tree.place(path), f"{dotted}: {text}"))


def _reads_file(key: str, value: Any) -> bool:
    return key.endswith("_file") and key not in _PATH_KEYS and isinstance(value, str)


def merge_defaults(tree: Tree) -> None:
    """Put ``defaults`` beneath every server: mappings are merged, everything else is replaced."""
    defaults = tree.data.get("defaults")
    servers = tree.data.get("servers")
    if not isinstance(defaults, dict) or not isinstance(servers, dict):
        return
    for name, server in servers.items():
        if isinstance(server, dict):
            _merge(tree, server, defaults, ("servers", name), ("defaults",))


def _merge(
    tree: Tree, target: dict[str, Any], beneath: Mapping[str, Any], at: KeyPath, source: KeyPath
) -> None:
    for key, value in beneath.items():
        if key not in target:
            target[key] = copy.deepcopy(value)
            _copy_places(tree, (*at, key), (*source, key))
        elif isinstance(target[key], dict) and isinstance(value, dict):
            _merge(tree, target[key], value, (*at, key), (*source, key))


def _copy_places(tree: Tree, at: KeyPath, source: KeyPath) -> None:
    depth = len(source)
    for table in (tree.places, tree.origins):
        copied: dict[KeyPath, Any] = {
            (*at, *path[depth:]): value for path, value in table.items() if path[:depth] == source
        }
        table.update(copied)
