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

from pydantic import BaseModel, SecretStr

from guardian.config.loader import Loaded
from guardian.config.tree import KeyPath, Tree
from guardian.units import format_duration

MASK = "********"
_DSN_KEYS = {"dsn", "catalog", "scratch"}
_URI_PASSWORD = re.compile(r"(?P<head>[a-z0-9+]+://[^:/@\s]*):.+@(?P<tail>[^@]*)", re.IGNORECASE)
_SECRET_WORD = re.compile(
    r"((?:ssl)?password|oauth_client_secret)\s*=\s*('(?:[^'\\]|\\.)*'|[^\s&]+)", re.IGNORECASE
)


def shown(loaded: Loaded) -> dict[str, Any]:
    """The merged configuration as plain values."""
    found: dict[str, Any] = _plain(loaded.config, "")
    return found


def shown_lines(loaded: Loaded) -> Iterator[str]:
    """The merged configuration as YAML, each value with its origin behind it."""
    yield f"# {loaded.path}"
    yield from _lines(shown(loaded), (), loaded.tree, 0)


def mask_dsn(dsn: str) -> str:
    """A DSN with its password masked; host, user and database stay to be seen."""
    masked = _URI_PASSWORD.sub(rf"\g<head>:{MASK}@\g<tail>", dsn)
    return _SECRET_WORD.sub(rf"\1={MASK}", masked)


def _plain(value: Any, name: str) -> Any:
    if isinstance(value, SecretStr):
        return mask_dsn(value.get_secret_value()) if name in _DSN_KEYS else MASK
    if isinstance(value, BaseModel):
        return {
            field.alias or key: _plain(getattr(value, key), key)
            for key, field in type(value).model_fields.items()
            if key != "defaults"
        }
    if is_dataclass(value) and not isinstance(value, type):
        return {key: _plain(item, key) for key, item in asdict(value).items()}
    if isinstance(value, Mapping):
        return {str(key): _plain(item, str(key)) for key, item in value.items()}
    if isinstance(value, timedelta):
        return format_duration(value).replace(" ", "")
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_plain(item, name) for item in value]
    return value


def _lines(value: Any, path: KeyPath, tree: Tree, depth: int) -> Iterator[str]:
    indent = "  " * depth
    items = enumerate(value) if isinstance(value, list) else value.items()
    for key, item in items:
        here = (*path, key)
        head = f"{indent}-" if isinstance(key, int) else f"{indent}{key}:"
        if isinstance(item, dict | list) and item and not _flat(item):
            yield head
            yield from _lines(item, here, tree, depth + 1)
        else:
            yield f"{head} {json.dumps(item, ensure_ascii=False)}  # {_origin(here, tree)}"


def _flat(value: Any) -> bool:
    return isinstance(value, list) and not any(isinstance(item, dict | list) for item in value)


def _origin(path: KeyPath, tree: Tree) -> str:
    if path in tree.origins:
        return tree.origins[path]
    place = tree.places.get(path)
    return f"{Path(place.file).name}:{place.line}" if place else "default"
