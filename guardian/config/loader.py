"""Find, read and check the configuration; every error names its line."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from guardian.config.models import Config
from guardian.config.references import dangling
from guardian.config.resolve import merge_defaults, resolve
from guardian.config.tree import KeyPath, Problem, Tree, read_tree
from guardian.config.wording import sentence
from guardian.errors import ConfigError, InvalidConfigError

ENVIRONMENT = "GUARDIAN_CONFIG"
PLACES = (Path("guardian.yaml"), Path("/etc/guardian/guardian.yaml"))
_MEND = "make one with guardian init"


class Loaded:
    """The configuration, and where each of its values came from."""

    def __init__(self, path: Path, config: Config, tree: Tree) -> None:
        self.path = path
        self.config = config
        self.tree = tree


def find_config(path: Path | None, environ: Mapping[str, str]) -> Path:
    """The file to read: the given one, ``$GUARDIAN_CONFIG``, ./guardian.yaml, the one in /etc.

    Raises:
        ConfigError: it does not exist, or there is none.
    """
    if path is not None:
        if not _exists(path):
            raise ConfigError(f"there is no configuration at {path}", mend=_MEND)
        return path
    if environ.get(ENVIRONMENT):
        named = Path(environ[ENVIRONMENT])
        if not _exists(named):
            raise ConfigError(
                f"there is no configuration at {named}, which ${ENVIRONMENT} names",
                mend=f"{_MEND}, or unset the variable",
            )
        return named
    for place in PLACES:
        if _exists(place):
            return place
    raise ConfigError(
        f"no configuration found at {' or '.join(map(str, PLACES))}",
        mend=f"{_MEND}, or name one with --config",
    )


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:
        return True  # it cannot be told; reading it will say why


def load_config(path: Path | None = None, environ: Mapping[str, str] | None = None) -> Config:
    """Read the configuration.

    Raises:
        ConfigError: none found; InvalidConfigError: it has problems, each with its line.
    """
    return load(path, environ).config


def load(path: Path | None = None, environ: Mapping[str, str] | None = None) -> Loaded:
    """As :func:`load_config`, with the origin of each value."""
    environ = os.environ if environ is None else environ
    file = find_config(path, environ)
    folder = Path(os.path.abspath(file)).parent  # noqa: PTH100 - Path.absolute keeps ".."
    try:
        tree = read_tree(file)
        resolve(tree, Config, environ, folder)
    except Problem as problem:
        raise InvalidConfigError([str(problem)]) from None
    merge_defaults(tree)
    _fill(tree, environ)
    try:
        config = Config.model_validate(tree.data)
    except ValidationError as error:
        _note(tree, error.errors(include_url=False))
        raise _invalid(file, tree.problems) from None
    for at, text, name in dangling(tree.data):
        tree.problems.append(tree.problem(at, _without_secret(tree, at, text, name)))
    if tree.problems:
        raise _invalid(file, tree.problems)
    return Loaded(file, _anchored(config, folder), tree)


def _invalid(file: Path, problems: Iterable[Problem]) -> InvalidConfigError:
    """All problems, each once, in the file's order."""
    told = {str(problem): problem for problem in problems}
    ordered = sorted(told.values(), key=lambda each: (each.line, each.column))
    return InvalidConfigError([str(each) if each.line else f"{file}: {each}" for each in ordered])


def _fill(tree: Tree, environ: Mapping[str, str]) -> None:
    """Defaults that depend on other values."""
    data = tree.data
    if data.get("state_dir") is None:
        state = environ.get("STATE_DIRECTORY", "").split(":")[0]
        data["state_dir"] = state or "~/.local/state/guardian"
        tree.origins[("state_dir",)] = "env STATE_DIRECTORY" if state else "default"
    stores, servers = data.get("stores"), data.get("servers")
    if not isinstance(stores, dict) or not isinstance(servers, dict):
        return
    for name, server in servers.items():
        section = server.setdefault("backup", {}) if isinstance(server, dict) else None
        if isinstance(section, dict) and section.get("stores") in (None, []):
            section["stores"] = list(stores)
            tree.origins[("servers", name, "backup", "stores")] = "default"


def _anchored(config: Config, folder: Path) -> Config:
    """Relative paths in the file are relative to its folder."""

    def anchored(path: Path) -> Path:
        return folder / path

    encryption = config.encryption.model_copy(
        update={
            name: anchored(path)
            for name in ("passphrase_file", "homedir")
            if (path := getattr(config.encryption, name)) is not None
        }
    )
    stores = {
        name: store.model_copy(update={"path": anchored(store.path)})
        if store.kind == "local"
        else store
        for name, store in config.stores.items()
    }
    state = anchored(config.state_dir)
    return config.model_copy(
        update={"encryption": encryption, "stores": stores, "state_dir": state}
    )


def _note(tree: Tree, details: Iterable[ErrorDetails]) -> None:
    """Add what pydantic found, less what was told of the same value already."""
    told = set(tree.bad)
    for detail in details:
        path, value = _follow(tree.data, detail["loc"], missing=detail["type"] == "missing")
        if detail["type"] == "union_tag_invalid" and isinstance(value, dict):
            path, value = (*path, "kind"), value["kind"]
        if any(path == bad[: len(path)] or bad == path[: len(bad)] for bad in told):
            continue
        text = _without_secret(tree, path, sentence(detail, value), value)
        tree.problems.append(tree.problem(path, text))


def _without_secret(tree: Tree, path: KeyPath, text: str, value: Any) -> str:
    """The sentence without a value from elsewhere: it may be a secret in the wrong place."""
    origin = tree.origins.get(path, "")
    if not origin.startswith(("env ", "file ")) or not isinstance(value, str):
        return text
    for secret in sorted({repr(value), value, *value.split()}, key=len, reverse=True):
        text = text.replace(secret, "…") if len(secret) > 1 else text
    return f"{text} (the value is from {origin})"


def _follow(data: Any, location: tuple[int | str, ...], *, missing: bool) -> tuple[KeyPath, Any]:
    """A pydantic location as a path in the file, and the value there.

    The location also names union tags, which are passed over, and ``[key]`` where a key is meant;
    its last piece is not in the file when that is what is ``missing``.
    """
    path: KeyPath = ()
    for index, piece in enumerate(location):
        if _holds(data, piece):
            data = data[piece]
            path = (*path, piece)
        elif piece == "[key]":
            return path, path[-1]
        elif missing and index == len(location) - 1:
            return (*path, piece), None
    return path, data


def _holds(data: Any, piece: int | str) -> bool:
    if isinstance(data, list):
        return isinstance(piece, int) and piece < len(data)
    return isinstance(data, dict) and piece in data
