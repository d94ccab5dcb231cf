"""What all sections have in common: frozen, typed, and strict about keys."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import MISSING, asdict, fields
from datetime import timedelta
from typing import Any, get_type_hints

from pydantic import BaseModel, ConfigDict, Field, GetCoreSchemaHandler, create_model
from pydantic_core import CoreSchema, core_schema

from guardian.config.types import Duration, Whole


class Section(BaseModel):
    """A mapping in the configuration; a key that it does not know is an error."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", arbitrary_types_allowed=True, hide_input_in_errors=True
    )


class FromSection:
    """Lets a frozen dataclass of the core stand as a section, as strict as any other.

    So policies are defined once, in their pure module, and the core knows no pydantic. Used as
    ``Annotated[RetentionPolicy, FromSection(RetentionPolicy, {"keep_last": "the newest n", …})]``;
    every field needs its description and a default.
    """

    _TYPES: Mapping[Any, Any] = {int: Whole, timedelta: Duration}

    def __init__(self, cls: type[Any], descriptions: Mapping[str, str]) -> None:
        self._class = cls
        self.descriptions = descriptions
        hints = get_type_hints(cls)
        members: dict[str, Any] = {
            each.name: (
                self._TYPES.get(hints[each.name], hints[each.name]),
                Field(
                    ... if each.default is MISSING else each.default,
                    description=descriptions[each.name],
                ),
            )
            for each in fields(cls)
        }
        self._section: type[Section] = create_model(
            cls.__name__, __base__=Section, __module__=__name__, **members
        )
        self._section.__doc__ = cls.__doc__

    def __get_pydantic_core_schema__(
        self, source: Any, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        def make(value: Any, validate: Callable[[Any], Section]) -> Any:
            if isinstance(value, self._class):
                return value
            section = validate(value)
            return self._class(**{name: getattr(section, name) for name in self.descriptions})

        inner = handler.generate_schema(self._section)
        dump = core_schema.plain_serializer_function_ser_schema(asdict)
        return core_schema.no_info_wrap_validator_function(make, inner, serialization=dump)
