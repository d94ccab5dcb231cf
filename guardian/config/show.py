"""The configuration for people: merged, secrets masked, with the origin of each value."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, is_dataclass
from datetime import timedelta
from enum import Enum
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from pydantic import BaseModel, SecretStr

from guardian.config.backing import VerifyConfig
from guardian.config.loader import Loaded
from guardian.config.models import Config, ServerConfig
from guardian.config.tree import KeyPath, Tree, dotted
from guardian.config.types import Percent, duration_text

MASK = "********"
_DSNS = {(ServerConfig, "dsn"), (Config, "catalog"), (VerifyConfig, "scratch")}
"""Secrets of which only the password is one. (Sentry's ``dsn`` is a key as a whole.)"""

_ADDRESS_KEYS = {"url", "endpoint_url"}
_SECRET_WORDS = ("password", "sslpassword", "oauth_client_secret", "token", "secret", "key")
_KEYWORD = re.compile(r"(\w+)(\s*=\s*)('(?:[^'\\]|\\.)*(?:'|$)|(?:\\.|[^\s\\])*)", re.DOTALL)
_BARE_KEY = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*", re.ASCII)


def shown(loaded: Loaded) -> dict[str, Any]:
    """The merged configuration as plain values."""
    found: dict[str, Any] = plain(loaded.config)
    return found


def origins(loaded: Loaded) -> dict[str, str]:
    """Where each value came from, by its dotted path."""
    return dict(_origins(shown(loaded), (), loaded.tree))


def shown_lines(loaded: Loaded) -> Iterator[str]:
    """The merged configuration as YAML, each value with its origin behind it."""
    yield f"# {loaded.path}"
    yield from _lines(shown(loaded), (), loaded.tree, 0)


def mask_dsn(dsn: str) -> str:
    """A DSN with its secrets masked; host, user and database stay to be seen.

    Rather too much is masked than too little, where a DSN is not quite one.
    """
    scheme, found, rest = dsn.partition("://")
    if not found or not re.fullmatch(r"[A-Za-z][A-Za-z0-9+.-]*", scheme):
        return _KEYWORD.sub(
            lambda match: match[1] + match[2] + MASK if _is_secret(match[1]) else match[0], dsn
        )
    userinfo, at, where = rest.rpartition("@")
    user, colon, _ = userinfo.partition(":")
    if at and scheme.lower() in {"http", "https"}:  # there a name alone is a key (Sentry) or token
        head = f"{MASK}@"
    else:
        head = f"{user}:{MASK}@" if colon else f"{userinfo}{at}"
    where, question, query = where.partition("?")
    parameters = [
        f"{name}={MASK}" if equals and _is_secret(unquote(name)) else f"{name}{equals}{value}"
        for name, equals, value in (each.partition("=") for each in query.split("&"))
    ]
    return f"{scheme}://{head}{where}{question}{'&'.join(parameters)}"


def _is_secret(name: str) -> bool:
    return name.strip().lower() in _SECRET_WORDS


def plain(value: Any, name: str = "") -> Any:
    """A value of the configuration as JSON has it, secrets masked; ``name`` is its key."""
    if isinstance(value, SecretStr):
        return MASK
    if isinstance(value, BaseModel):
        return _section(value)
    if is_dataclass(value) and not isinstance(value, type):
        return {key: plain(item, key) for key, item in asdict(value).items()}
    if isinstance(value, Mapping):
        return {str(plain(key)): plain(item, str(key)) for key, item in value.items()}
    if isinstance(value, timedelta):
        return duration_text(value)
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, Path | Percent):
        return str(value)
    if isinstance(value, str):
        return mask_dsn(value) if name in _ADDRESS_KEYS else value
    if isinstance(value, Sequence):
        return [plain(item, name) for item in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _section(section: BaseModel) -> dict[str, Any]:
    found = {}
    for key, field in type(section).model_fields.items():
        value = getattr(section, key)
        if (type(section), key) in _DSNS and isinstance(value, SecretStr):
            found[key] = mask_dsn(value.get_secret_value())
        elif key != "defaults":
            found[field.alias or key] = plain(value, key)
    return found


def _lines(value: Any, path: KeyPath, tree: Tree, depth: int) -> Iterator[str]:
    indent = "  " * depth
    items = enumerate(value) if isinstance(value, list) else value.items()
    for key, item in items:
        here = (*path, key)
        head = f"{indent}-" if isinstance(key, int) else f"{indent}{_key(key)}:"
        if isinstance(item, dict | list) and item and not _flat(item):
            yield head
            yield from _lines(item, here, tree, depth + 1)
        else:
            yield f"{head} {json.dumps(item, ensure_ascii=False)}  # {_origin(here, tree)}"


def _flat(value: Any) -> bool:
    return isinstance(value, list) and not any(isinstance(item, dict | list) for item in value)


def _key(key: str) -> str:
    return key if _BARE_KEY.fullmatch(key) else json.dumps(key, ensure_ascii=False)


def _origins(value: Any, path: KeyPath, tree: Tree) -> Iterator[tuple[str, str]]:
    if isinstance(value, dict | list) and value and not _flat(value):
        for key, item in enumerate(value) if isinstance(value, list) else value.items():
            yield from _origins(item, (*path, key), tree)
    else:
        yield dotted(path), _origin(path, tree)


def _origin(path: KeyPath, tree: Tree) -> str:
    if path in tree.origins:
        return tree.origins[path]
    place = tree.places.get(path)
    return f"{Path(place.file).name}:{place.line}" if place else "default"
