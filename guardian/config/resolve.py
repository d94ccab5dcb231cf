"""From the file's values to the meant ones: environment, ``*_file`` keys, servers' defaults."""

from __future__ import annotations

import copy
import difflib
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from guardian.config.shape import Key, Shape, keys_of
from guardian.config.tree import KeyPath, Tree, dotted

_VARIABLE = re.compile(
    r"\$\$\{|\$\{([A-Za-z_][A-Za-z0-9_]*)(?::-([^}]*))?\}|\$\{[^}]*\}?", re.ASCII
)
_KEYWORD = re.compile(r"(?:^|\s)password\s*=\s*(?!''|\s|$)")
_FILE = "_file"
_LARGEST_VALUE = 1 << 20


def resolve(tree: Tree, root: type[Any], environ: Mapping[str, str], folder: Path) -> None:
    """Resolve in place, by the shape of the section ``root``; problems are noted in the tree."""
    resolver = _Resolver(tree, environ, folder)
    tree.data = resolver.mapping(tree.data, (), Shape((root,), nullable=False))


class _Resolver:
    def __init__(self, tree: Tree, environ: Mapping[str, str], folder: Path) -> None:
        self._tree = tree
        self._environ = environ
        self._folder = folder
        self._contents: dict[Path, str] = {}

    def value(self, value: Any, path: KeyPath, shape: Shape | None) -> Any:
        if isinstance(value, str):
            text = self._substituted(value, path)
            # ${NAME:-} leaves an optional key unset.
            return None if value and not text and shape and shape.nullable else text
        if isinstance(value, dict):
            return self.mapping(value, path, shape)
        if isinstance(value, list):
            item = shape.item() if shape else None
            return [self.value(each, (*path, index), item) for index, each in enumerate(value)]
        if shape is None or value is None:
            return _empty(shape) if shape and not shape.nullable else value
        one = shape.item() if shape.is_list else shape  # one value may stand for a list
        if path in self._tree.raws and one and one.is_text:
            return self._tree.raws[path]  # a password such as 12345, a key id such as 12E4
        return value

    def mapping(self, value: dict[str, Any], path: KeyPath, shape: Shape | None) -> dict[str, Any]:
        section = shape.section(value) if shape else None
        if section is None:
            item = shape.item() if shape else None
            return {key: self.value(each, (*path, key), item) for key, each in value.items()}
        keys = keys_of(section)
        found: dict[str, Any] = {}
        for key, each in value.items():
            here = (*path, key)
            base = key.removesuffix(_FILE)
            if key in keys:
                found[key] = self.value(each, here, keys[key].shape)
            elif base != key and base in keys and keys[base].shape.is_text:
                if value.get(base) is not None:
                    self._tree.complain(here, f"{base} is given too; remove one of them")
                else:
                    found[base] = self._content(each, here, (*path, base))
            else:
                self._unknown(key, path, keys)
        return found

    def _substituted(self, text: str, path: KeyPath) -> str:
        names: list[str] = []

        def replace(match: re.Match[str]) -> str:
            name, default = match[1], match[2]
            if match[0] == "$${":
                return "${"
            if name is None:
                self._tree.complain(
                    path,
                    f"{match[0]!r} is not a variable; write ${{NAME}}, or $${{ for a plain ${{",
                )
                return ""
            value = self._environ.get(name)
            if default is not None and not value:
                value = default
            if value is None:
                self._tree.complain(
                    path,
                    f"the environment variable {name} is not set; set it, "
                    f"or give a default: ${{{name}:-…}}",
                )
                return ""
            names.append(name)
            return value

        found = _VARIABLE.sub(replace, text)
        if names:
            self._tree.origins[path] = f"env {', '.join(dict.fromkeys(names))}"
        return found

    def _content(self, name: Any, path: KeyPath, meant: KeyPath) -> str | None:
        """What the file holds that the key at ``path`` names."""
        self._tree.places[meant] = self._tree.places[path]
        name = self._substituted(name, path) if isinstance(name, str) else name
        if path in self._tree.bad:
            self._tree.bad.add(meant)
            return None
        if not isinstance(name, str) or not name:
            problem = "the path of a file is needed here"
        else:
            file = self._folder / name
            self._tree.origins[meant] = f"file {file}"
            try:
                return self._read(file)
            except OSError as error:
                problem = f"{file} cannot be read: {error.strerror}"
            except (RuntimeError, ValueError) as error:  # no such user's home; a NUL; not UTF-8
                problem = f"{file} cannot be used: {error}"
        self._tree.complain(path, problem)
        self._tree.bad.add(meant)
        return None

    def _read(self, file: Path) -> str:
        file = file.expanduser()
        if file not in self._contents:  # a pipe can be read but once
            with file.open("rb") as stream:
                data = stream.read(_LARGEST_VALUE + 1)
            if len(data) > _LARGEST_VALUE:
                raise ValueError("it is larger than 1 MiB")
            try:
                text = data.decode("utf-8").removesuffix("\n").removesuffix("\r")
            except UnicodeDecodeError:
                raise ValueError("it is not UTF-8 text") from None
            if not text.strip():
                raise ValueError("it is empty")
            self._contents[file] = text
        return self._contents[file]

    def _unknown(self, key: str, path: KeyPath, keys: Mapping[str, Key]) -> None:
        near = _nearest(key, keys)
        if near:
            hint = f"did you mean {near}?"
            self._tree.bad.add((*path, near.removesuffix(_FILE)))
        else:
            inner = [dotted((name, key)) for name in _sections_with(key, keys)]
            hint = f"did you mean {' or '.join(inner)}?" if inner else f"known: {', '.join(keys)}"
        self._tree.complain((*path, key), f"unknown key; {hint}")


def _empty(shape: Shape) -> Any:
    """What a key without a value means: an empty section, mapping or list."""
    if shape.is_mapping:
        return {}
    return [] if shape.is_list else None


def _nearest(key: str, keys: Mapping[str, Key]) -> str:
    known: list[str] = [*keys]
    if key.endswith(_FILE):
        known += [f"{name}{_FILE}" for name, each in keys.items() if each.shape.is_text]
    plain = key.lower().replace("-", "_")
    close = difflib.get_close_matches(plain, known, n=1, cutoff=0.6)
    return close[0] if close else ""


def _sections_with(key: str, keys: Mapping[str, Key]) -> Iterator[str]:
    """The sections one floor below that know the key: it may only be indented wrongly."""
    for name, each in keys.items():
        section = each.shape.section({}) if each.shape.is_mapping else None
        if section is not None and key in keys_of(section):
            yield name


def merge_defaults(tree: Tree) -> None:
    """Put ``defaults`` beneath every server: mappings are merged, everything else is replaced.

    A server whose DSN has a password keeps that: it is the more specific of the two.
    """
    defaults = tree.data.get("defaults")
    servers = tree.data.get("servers")
    if not isinstance(defaults, dict) or not isinstance(servers, dict):
        return
    for name, server in servers.items():
        if isinstance(server, dict):
            own = _has_password(server.get("dsn"))
            beneath = {key: defaults[key] for key in defaults if not (own and key == "password")}
            _merge(tree, server, beneath, ("servers", name), ("defaults",))


def _has_password(dsn: object) -> bool:
    """Whether a libpq URI or keyword string names one."""
    if not isinstance(dsn, str):
        return False
    if "://" not in dsn:
        return _KEYWORD.search(dsn) is not None
    try:
        parts = urlsplit(dsn)
        return bool(parts.password or dict(parse_qsl(parts.query)).get("password"))
    except ValueError:
        return False


def _merge(
    tree: Tree, target: dict[str, Any], beneath: Mapping[str, Any], at: KeyPath, source: KeyPath
) -> None:
    for key, value in beneath.items():
        if key not in target:
            target[key] = copy.deepcopy(value)
            _copy(tree, (*at, key), (*source, key))
        elif isinstance(target[key], dict) and isinstance(value, dict):
            _merge(tree, target[key], value, (*at, key), (*source, key))


def _copy(tree: Tree, at: KeyPath, source: KeyPath) -> None:
    """What is known of a merged value is what is known of its source."""
    paths = list(_below(source, tree.places))
    for path in paths:
        here = (*at, *path[len(source) :])
        tree.places[here] = tree.places[path]
        tree.sources[here] = path
        if path in tree.origins:
            tree.origins[here] = tree.origins[path]
        if path in tree.bad:
            tree.bad.add(here)
    tree.bad |= {(*at, *path[len(source) :]) for path in _below(source, list(tree.bad))}


def _below(source: KeyPath, paths: Iterable[KeyPath]) -> Iterator[KeyPath]:
    return (path for path in paths if path[: len(source)] == source)
