"""What the models expect at each place of the file: which keys, and where text is meant.

The loader asks before pydantic sees the values, so that it can name unknown keys, read ``*_file``
keys, and take a number for text where text is meant.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import MISSING, dataclass, fields, is_dataclass
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from pydantic import BaseModel, SecretStr
from pydantic_core import PydanticUndefined


@dataclass(frozen=True, slots=True)
class Key:
    """One key of a section: its type, and its default (PydanticUndefined when it is required)."""

    annotation: Any
    default: Any

    @property
    def shape(self) -> Shape:
        """What is expected as its value."""
        return Shape.of(self.annotation)


@dataclass(frozen=True, slots=True)
class Shape:
    """What may stand at one place: the members of a type, less ``None``."""

    options: tuple[Any, ...]
    nullable: bool

    @classmethod
    def of(cls, annotation: Any) -> Shape:
        """The shape that a type annotation describes."""
        options = tuple(_members(annotation))
        return cls(tuple(o for o in options if o is not NoneType), NoneType in options)

    @property
    def is_text(self) -> bool:
        """Whether any text may stand here (and not a number, a list or a fixed word)."""
        return any(option in (str, SecretStr) for option in self.options)

    @property
    def is_list(self) -> bool:
        """Whether a list may stand here."""
        return any(get_origin(option) in (list, tuple) for option in self.options)

    @property
    def is_mapping(self) -> bool:
        """Whether a section or a mapping of free keys may stand here."""
        return any(get_origin(option) is dict or _is_section(option) for option in self.options)

    def section(self, values: Mapping[str, Any]) -> type[Any] | None:
        """The section that such a mapping is; ``kind`` tells those of one place apart."""
        sections: list[type[Any]] = [option for option in self.options if _is_section(option)]
        if len(sections) == 1:
            return sections[0]
        kind = values.get("kind")
        for section in sections:
            if kind in get_args(section.model_fields["kind"].annotation):
                return section
        return None

    def item(self) -> Shape | None:
        """What stands in the list, or under the free keys, that is expected here."""
        for option in self.options:
            arguments = get_args(option)
            if get_origin(option) in (list, tuple):
                return Shape.of(arguments[0])
            if get_origin(option) is dict:
                return Shape.of(arguments[1])
        return None


def keys_of(section: type[Any]) -> dict[str, Key]:
    """The keys of a section as people write them."""
    if is_dataclass(section):
        hints = get_type_hints(section, include_extras=True)
        return {
            field.name: Key(
                hints[field.name], PydanticUndefined if field.default is MISSING else field.default
            )
            for field in fields(section)
        }
    return {
        field.alias or name: Key(field.annotation, field.get_default(call_default_factory=True))
        for name, field in section.model_fields.items()
    }


def sections_in(section: type[Any]) -> Iterator[type[Any]]:
    """A section and all that may stand within it, each once."""
    seen: set[type[Any]] = set()
    waiting = [section]
    while waiting:
        current = waiting.pop()
        if current in seen:
            continue
        seen.add(current)
        yield current
        for key in keys_of(current).values():
            waiting += _sections(key.annotation)


def _sections(annotation: Any) -> Iterator[type[Any]]:
    for member in _members(annotation):
        if _is_section(member):
            yield member
        else:
            for argument in get_args(member):
                yield from _sections(argument)


def _members(annotation: Any) -> Iterator[Any]:
    origin = get_origin(annotation)
    if origin is Annotated:
        yield from _members(get_args(annotation)[0])
    elif origin in (Union, UnionType):
        for argument in get_args(annotation):
            yield from _members(argument)
    elif annotation is None:
        yield NoneType
    else:
        yield annotation


def _is_section(option: Any) -> bool:
    if get_origin(option) is not None or not isinstance(option, type) or option is Literal:
        return False
    return issubclass(option, BaseModel) or is_dataclass(option)
