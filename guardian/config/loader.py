"""Find, read and check the configuration; every error names its line."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from guardian.config.models import Config
from guardian.config.resolve import merge_defaults, resolve
from guardian.config.section import UNKNOWN_KEYS
from guardian.config.tree import KeyPath, Problem, Tree, read_tree
from guardian.errors import ConfigError

ENVIRONMENT = "GUARDIAN_CONFIG"
PLACES = (Path("guardian.yaml"), Path("/etc/guardian/guardian.yaml"))


class InvalidConfigError(ConfigError):
    """The file has one or more problems; ``problems`` has a line for each."""

    def __init__(self, problems: Sequence[str]) -> None:
        more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
        super().__init__(problems[0] + more, mend="guardian config check lists all")
        self.problems = tuple(problems)


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
    asked = path or (Path(environ[ENVIRONMENT]) if environ.get(ENVIRONMENT) else None)
    if asked is not None:
        if not asked.exists():
            raise ConfigError(
                f"there is no configuration at {asked}", mend="make one with guardian init"
            )
        return asked
    for place in PLACES:
        if place.exists():
            return place
    raise ConfigError(
        f"no configuration found at {' or '.join(map(str, PLACES))}",
        mend="make one with guardian init, or name one with --config",
    )


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
    try:
        tree = read_tree(file)
    except Problem as problem:
        raise InvalidConfigError([str(problem)]) from None
    problems = [str(problem) for problem in resolve(tree, environ, file.absolute().parent)]
    merge_defaults(tree)
    _fill(tree, environ)
    try:
        config = Config.model_validate(tree.data)
    except ValidationError as error:
        problems += [text for detail in error.errors() for text in _problem_texts(tree, detail)]
        raise InvalidConfigError(list(dict.fromkeys(problems))) from None
    except RecursionError:
        raise InvalidConfigError([f"{file}: it is nested too deeply"]) from None
    if problems:
        raise InvalidConfigError(problems)
    return Loaded(file, _anchored(config, file), tree)


def _fill(tree: Tree, environ: Mapping[str, str]) -> None:
    """Defaults that depend on other values."""
    data = tree.data
    if data.get("state_dir") is None:
        state = environ.get("STATE_DIRECTORY", "").split(":")[0]
        home = environ.get("XDG_STATE_HOME") or str(Path("~/.local/state").expanduser())
        data["state_dir"] = state or str(Path(home) / "guardian")
        tree.origins[("state_dir",)] = "env STATE_DIRECTORY" if state else "default"
    for name in ("defaults", "escalation", "service"):
        if name in data and data[name] is None:
            del data[name]  # an empty section is as good as none
    stores, servers = data.get("stores"), data.get("servers")
    if not isinstance(stores, dict) or not isinstance(servers, dict):
        return
    for server in servers.values():
        if isinstance(server, dict):
            section = server.setdefault("backup", {})
            if isinstance(section, dict) and section.get("stores") is None:
                section["stores"] = list(stores)


def _anchored(config: Config, file: Path) -> Config:
    """Relative paths in the file are relative to its folder."""
    folder = file.absolute().parent
    encryption = config.encryption.model_copy(
        update={
            name: folder / path.expanduser()
            for name in ("passphrase_file", "homedir")
            if (path := getattr(config.encryption, name)) is not None
        }
    )
    stores = {
        name: store.model_copy(update={"path": folder / store.path.expanduser()})
        if store.kind == "local"
        else store
        for name, store in config.stores.items()
    }
    state = folder / config.state_dir.expanduser()
    return config.model_copy(
        update={"encryption": encryption, "stores": stores, "state_dir": state}
    )


def _problem_texts(tree: Tree, detail: ErrorDetails) -> list[str]:
    path, rest = _follow(tree.data, detail["loc"])
    if detail["type"] == UNKNOWN_KEYS:
        texts = []
        for key, near in detail["ctx"]["keys"].items():
            hint = f"; did you mean {near}?" if near else ""
            texts.append(_told(tree, (*path, key), f"unknown key{hint}"))
        return texts
    if detail["type"] == "missing":
        return [_told(tree, path, f"{'.'.join(map(str, rest)) or 'a value'} is missing")]
    message = detail["msg"].removeprefix("Value error, ")
    return [_told(tree, path, message[:1].lower() + message[1:])]


def _told(tree: Tree, path: KeyPath, text: str) -> str:
    dotted = ".".join(str(piece) for piece in path)
    return f"{tree.place(path) or tree.places[()]}: {dotted + ': ' if dotted else ''}{text}"


def _follow(data: Any, location: tuple[int | str, ...]) -> tuple[KeyPath, KeyPath]:
    """A pydantic location as a path in the file: it also names union tags and missing fields."""
    path: KeyPath = ()
    for index, piece in enumerate(location):
        if _holds(data, piece):
            data = data[piece]
            path = (*path, piece)
        elif index == len(location) - 1:
            return path, (piece,)
    return path, ()


def _holds(data: Any, piece: int | str) -> bool:
    if isinstance(data, list):
        return isinstance(piece, int) and piece < len(data)
    return isinstance(data, dict) and piece in data
