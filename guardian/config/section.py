"""What all sections have in common: frozen, typed, and strict about keys."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import fields
from datetime import timedelta
from typing import Any

from pydantic import BaseModel, ConfigDict, model_validator
from pydantic_core import PydanticCustomError

from guardian.units import parse_duration

UNKNOWN_KEYS = "unknown_keys"


class Section(BaseModel):
    """A mapping in the configuration; a key that it does not know is an error."""

    model_config = ConfigDict(frozen=True, arbitrary_types_allowed=True, validate_default=True)

    @model_validator(mode="before")
    @classmethod
    def _keys(cls, value: Any) -> Any:
        if isinstance(value, Mapping):
            known = [field.alias or name for name, field in cls.model_fields.items()]
            refuse_unknown_keys(value, known)
        return value


def refuse_unknown_keys(value: Mapping[Any, Any], known: Iterable[str]) -> None:
    """Raise pydantic's error for all keys that are not known, each with the nearest that is."""
    names = list(known)
    unknown = {str(key): _nearest(str(key), names) for key in value if key not in names}
    if unknown:
        raise PydanticCustomError(UNKNOWN_KEYS, "unknown keys", {"keys": unknown})


def _nearest(key: str, known: list[str]) -> str:
    close = difflib.get_close_matches(key, known, n=1, cutoff=0.6)
    return close[0] if close else ""


def dataclass_section(cls: type[Any]) -> Callable[[Any], Any]:
    """A validator that makes a frozen dataclass of the core from a mapping, as strict as Section.

    So policies are defined once, in their pure module, and the core knows no pydantic.
    """
    names = {field.name: field for field in fields(cls)}

    def validate(value: Any) -> Any:
        if isinstance(value, cls):
            return value
        if not isinstance(value, Mapping):
            raise ValueError(f"a mapping of {', '.join(names)} is needed here")  # noqa: TRY004
        refuse_unknown_keys(value, names)
        return cls(**{key: _typed(names[key].default, item) for key, item in value.items()})

    return validate


def _typed(default: object, value: Any) -> Any:
    """The value in the type of the field's default."""
    if isinstance(default, timedelta):
        return value if isinstance(value, timedelta) else parse_duration(str(value))
    if isinstance(value, bool):
        raise ValueError(f"{value!r} is not a whole number")  # noqa: TRY004
    try:
        return int(value)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{value!r} is not a whole number") from error
