"""JSON from a store, read by name and shape: whoever can write there may have written anything."""

from __future__ import annotations

import json
import math
from datetime import UTC, datetime
from typing import Any

DAMAGE = (ValueError, TypeError, KeyError, OverflowError, RecursionError)
"""All that parsing a document of any shape can raise. :func:`reason` puts it into words."""

_MOST = (1 << 63) - 1
"""What a database's bigint, and so the catalog, can hold."""
_LONGEST_REASON = 300


class Fields:
    """A JSON object whose fields are read by name and shape; a wrong shape is a ValueError."""

    def __init__(self, document: Any) -> None:
        if not isinstance(document, dict):
            raise TypeError(f"a {type(document).__name__} stands where an object should")
        self._document: dict[str, Any] = document

    def names(self) -> list[str]:
        """The fields' names, in their order."""
        return list(self._document)

    def text(self, name: str) -> str:
        """A text."""
        value = self._document[name]
        if not isinstance(value, str):
            raise TypeError(f"{name!r} is not a text")
        return value

    def optional_text(self, name: str) -> str | None:
        """A text, None where it is null or missing."""
        return None if self._document.get(name) is None else self.text(name)

    def integer(self, name: str) -> int:
        """A whole number, of a size that PostgreSQL and the catalog may meet."""
        value = self._document[name]
        if not isinstance(value, int) or isinstance(value, bool):
            raise TypeError(f"{name!r} is not a whole number")
        if abs(value) > 2 * _MOST:  # a sequence may stand one step outside bigint
            raise ValueError(f"{name!r} is too large a number")
        return value

    def count(self, name: str) -> int:
        """A whole number that is not negative and fits a bigint."""
        value = self.integer(name)
        if value < 0:
            raise ValueError(f"{name!r} is negative")
        if value > _MOST:
            raise ValueError(f"{name!r} is too large a number")
        return value

    def optional_count(self, name: str) -> int | None:
        """A count, None where it is null or missing."""
        return None if self._document.get(name) is None else self.count(name)

    def seconds(self, name: str) -> float:
        """A length of time in seconds: a number that is finite and not negative."""
        value = self._document[name]
        if not isinstance(value, int | float) or isinstance(value, bool):
            raise TypeError(f"{name!r} is not a number")
        if not (math.isfinite(value) and 0 <= value <= _MOST):
            raise ValueError(f"{name!r} is no length of time")
        return float(value)

    def truth(self, name: str) -> bool:
        """True or false."""
        value = self._document[name]
        if not isinstance(value, bool):
            raise TypeError(f"{name!r} is neither true nor false")
        return value

    def texts(self, name: str) -> tuple[str, ...]:
        """A list of texts."""
        values = self.items(name)
        if not all(isinstance(value, str) for value in values):
            raise TypeError(f"{name!r} holds something that is not a text")
        return tuple(values)

    def items(self, name: str) -> list[Any]:
        """A list of anything."""
        value = self._document[name]
        if not isinstance(value, list):
            raise TypeError(f"{name!r} is not a list")
        return value

    def section(self, name: str) -> Fields:
        """An object within."""
        return Fields(self._document[name])

    def time(self, name: str) -> datetime:
        """An instant, as UTC."""
        value = datetime.fromisoformat(self.text(name))
        if value.tzinfo is None:
            raise ValueError(f"{name!r} has no timezone")
        return value.astimezone(UTC)


def reason(error: BaseException) -> str:
    """One of :data:`DAMAGE` in words, never long whatever the document holds."""
    if isinstance(error, KeyError):
        return f"{error.args[0]!r} is missing"
    if isinstance(error, json.JSONDecodeError | UnicodeDecodeError):
        return "it is not JSON"
    if isinstance(error, RecursionError):
        return "it is nested too deeply"
    return str(error)[:_LONGEST_REASON]
