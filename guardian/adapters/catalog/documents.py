"""Records of escalation as JSON texts, and back.

A text may be older than the record's class, or newer: what it lacks has its default, what is not
known any more is left out.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import fields, is_dataclass, replace
from datetime import UTC, datetime
from functools import cache
from typing import Any, TypeVar, cast

from pydantic import TypeAdapter, ValidationError

from guardian.adapters.catalog.rules import printable, utc

Record = TypeVar("Record")


def text_of(record: object) -> str:
    """The record, a frozen dataclass of such and of JSON's types, as JSON.

    NUL and broken UTF-8 become escapes, as everywhere in the catalog.

    Raises:
        ValueError: it holds a naive datetime.
    """
    return json.dumps(_plain(record), separators=(",", ":"))


def record_of(kind: type[Record], text: str) -> Record | None:
    """The record in such a text, its times in UTC; None when the text is damaged."""
    try:
        return cast("Record", _in_utc(_reader(cast("Any", kind)).validate_json(text)))
    except ValidationError:
        return None


@cache
def _reader(kind: Any) -> TypeAdapter[Any]:
    return TypeAdapter(kind)


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return utc(value).isoformat()
    if isinstance(value, str):
        return printable(value)
    if isinstance(value, Mapping):
        return {printable(name): _plain(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    if is_dataclass(value):
        return {one.name: _plain(getattr(value, one.name)) for one in fields(value)}
    return value


def _in_utc(value: Any) -> Any:
    """With datetime's own UTC in place of pydantic's, which is equal but another object."""
    if isinstance(value, datetime):
        return value.astimezone(UTC)
    if isinstance(value, tuple):
        return tuple(_in_utc(one) for one in value)
    if is_dataclass(value) and not isinstance(value, type):
        return replace(value, **{f.name: _in_utc(getattr(value, f.name)) for f in fields(value)})
    return value
