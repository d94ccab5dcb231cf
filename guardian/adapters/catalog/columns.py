"""Column types that hold the same on every database."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, cast

from sqlalchemy import DateTime, Dialect, String, Text
from sqlalchemy.types import TypeDecorator, TypeEngine

from guardian.adapters.catalog.rules import printable, utc

Key = String(255).with_variant(Text(), "sqlite", "postgresql")
"""Text that is indexed. Only databases that cannot index endless text have a bound."""

ShortKey = String(64).with_variant(Text(), "sqlite", "postgresql")
"""One of our own words, in an index of several columns."""


class UtcDateTime(TypeDecorator[datetime]):
    """An instant. Takes aware datetimes only, gives UTC ones.

    ``timestamptz`` on PostgreSQL; elsewhere ISO 8601 text of fixed width, which sorts as time does
    and keeps microseconds.
    """

    impl = String(27)
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """``timestamptz`` where there is one."""
        if dialect.name == "postgresql":
            return dialect.type_descriptor(DateTime(timezone=True))
        return dialect.type_descriptor(String(27))

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> Any:
        """From Python to the database."""
        if value is None:
            return None
        instant = utc(value)
        if dialect.name == "postgresql":
            return instant
        return instant.replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"

    def process_result_value(self, value: Any, dialect: Dialect) -> datetime | None:
        """From the database to Python."""
        del dialect
        if value is None:
            return None
        if isinstance(value, datetime):
            return value.astimezone(UTC)
        return datetime.fromisoformat(cast("str", value))


class Prose(TypeDecorator[str]):
    """Text for people, also such as programs print: NUL and broken UTF-8 become escapes.

    A database would refuse them, and with them the record of a failure that they describe.
    """

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:
        """From Python to the database."""
        del dialect
        return None if value is None else printable(value)
