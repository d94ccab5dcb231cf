"""The shapes of single values: durations, sizes, percentages, schedules, names."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import timedelta
from typing import Annotated, Any
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, WithJsonSchema

from guardian.backup.schedule import parse_schedule
from guardian.units import parse_duration, parse_size

_TIMEZONES_UNKNOWN = (KeyError, ValueError, OSError)


def _duration(value: Any) -> Any:
    if isinstance(value, str):
        return parse_duration(value)
    if isinstance(value, timedelta):
        return value
    raise ValueError(f"{value!r} is not a duration: write 30s, 5m, 2h, 7d or 1h30m")


def _size(value: Any) -> Any:
    if isinstance(value, str):
        return parse_size(value)
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return value
    raise ValueError(f"{value!r} is not a size: write 64MB, 5GiB or a number of bytes")


def _schedule(value: str) -> str:
    parse_schedule(value)
    return value


def _timezone(value: str) -> str:
    try:
        ZoneInfo(value)
    except _TIMEZONES_UNKNOWN as error:
        raise ValueError(f"{value!r} is not a timezone such as UTC or Europe/Berlin") from error
    return value


def _regex(value: str) -> str:
    try:
        re.compile(value)
    except re.error as error:
        raise ValueError(f"{value!r} is not a regular expression: {error}") from error
    return value


def _positive(value: timedelta) -> timedelta:
    if value <= timedelta(0):
        raise ValueError("a duration above zero is needed here")
    return value


def one_or_more(value: Any) -> Any:
    """Let a single value stand where a list is meant."""
    return [value] if isinstance(value, str) else value


_DURATION_SCHEMA = {
    "type": "string",
    "pattern": r"^\s*(\d+(\.\d+)?\s*(ms|s|m|h|d|w)\s*)+$|^\$\{",
    "examples": ["30s", "5m", "2h", "7d"],
}
_SIZE_SCHEMA = {
    "anyOf": [
        {"type": "integer", "minimum": 0},
        {"type": "string", "pattern": r"^\s*\d+(\.\d+)?\s*([kKMGTP]i?)?[bB]?\s*$|^\$\{"},
    ],
    "examples": ["64MB", "5GiB"],
}

Duration = Annotated[timedelta, BeforeValidator(_duration), WithJsonSchema(_DURATION_SCHEMA)]
PositiveDuration = Annotated[
    timedelta,
    BeforeValidator(_duration),
    AfterValidator(_positive),
    WithJsonSchema(_DURATION_SCHEMA),
]
Size = Annotated[int, BeforeValidator(_size), WithJsonSchema(_SIZE_SCHEMA)]
ScheduleText = Annotated[str, AfterValidator(_schedule)]
Timezone = Annotated[str, AfterValidator(_timezone)]
Regex = Annotated[str, AfterValidator(_regex)]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=100)]
TimeOfDay = Annotated[str, Field(pattern=r"^([01]\d|2[0-3]):[0-5]\d$")]
Strings = Annotated[list[str], BeforeValidator(one_or_more)]
Percentage = Annotated[str, Field(pattern=r"^\d{1,3}(\.\d+)?%$")]
Secret = SecretStr
Validator = Callable[[Any], Any]
