"""The shapes of single values: durations, sizes, percentages, schedules, names, addresses."""

from __future__ import annotations

import ipaddress
import re
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, BeforeValidator, Field, PlainValidator, SecretStr
from pydantic import WithJsonSchema as Schema

from guardian.backup.schedule import AFTER_BACKUP, parse_schedule
from guardian.units import parse_duration, parse_size
from guardian.watch.expressions import expression

_TIMEZONES_UNKNOWN = (KeyError, ValueError, OSError)
_DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", re.ASCII)
_FINGERPRINT = re.compile(r"[0-9A-Fa-f]{40}(?:[0-9A-Fa-f]{24})?", re.ASCII)
_TIME = re.compile(r"([01]\d|2[0-3]):[0-5]\d", re.ASCII)
_VARIABLE = r"\$\{"
"""Ends a pattern's alternatives: what comes from the environment is judged when it is read."""


class Percent(float):
    """A share in percent, 0 to 100, written ``80%``."""

    def __str__(self) -> str:
        return f"{float(self):g}%"

    __repr__ = __str__


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


def _percent(value: Any) -> Percent:
    if isinstance(value, Percent):
        return value
    match = re.fullmatch(r"(\d{1,3}(?:\.\d{1,6})?)\s*%", value) if isinstance(value, str) else None
    if match is None or float(match[1]) > 100:
        raise ValueError(f"{value!r} is not a percentage: write 80%")
    return Percent(match[1])


def _path(value: Any) -> Any:
    if isinstance(value, str) and (not value.strip() or "\0" in value):
        raise ValueError("the path of a file or folder is needed here")
    try:
        return Path(value).expanduser() if isinstance(value, str) else value
    except RuntimeError as error:
        raise ValueError(f"{value!r} names a user without a home folder") from error


def _not_a_switch(value: Any) -> Any:
    if isinstance(value, bool):
        raise ValueError(f"a number is needed here, not {str(value).lower()}")  # noqa: TRY004
    return value


def _not_blank(value: str) -> str:
    if not value.strip():
        raise ValueError("it is empty")
    return value


def _secret(value: SecretStr) -> SecretStr:
    _not_blank(value.get_secret_value())
    return value


def _schedule(value: str) -> str:
    parse_schedule(value)
    return value


def _drill_schedule(value: str) -> str:
    if value == AFTER_BACKUP:
        return value
    try:
        return _schedule(value)
    except ValueError as error:
        raise ValueError(f"{error}; or {AFTER_BACKUP}") from error


def _timezone(value: str) -> str:
    try:
        ZoneInfo(value)
    except _TIMEZONES_UNKNOWN as error:
        raise ValueError(f"{value!r} is not a timezone such as UTC or Europe/Berlin") from error
    return value


def _regex(value: str) -> str:
    expression(value)
    return value


def _network(value: str) -> str:
    try:
        ipaddress.ip_network(value, strict=False)
    except ValueError as error:
        raise ValueError(f"{value!r} is not a network such as 10.0.0.0/8 or ::1") from error
    return value


def _name(value: str) -> str:
    if not _NAME.fullmatch(value):
        raise ValueError(
            f"{value!r} is not a name: write letters, digits, dot, dash and underscore, "
            "a letter or digit first, at most 100"
        )
    return value


def _fingerprint(value: str) -> str:
    plain = value.replace(" ", "").removeprefix("0x")
    if not _FINGERPRINT.fullmatch(plain):
        raise ValueError(
            f"{value!r} is not a key's full fingerprint: write the 40 hex digits of "
            "gpg --list-keys --fingerprint"
        )
    return plain.upper()


def _time(value: str) -> str:
    if not _TIME.fullmatch(value):
        raise ValueError(f"{value!r} is not a time of day such as 09:00")
    return value


def _days(value: str) -> str:
    for piece in value.split(","):
        if not all(day in _DAYS for day in piece.split("-", 1)):
            raise ValueError(f"{value!r} does not name days: write mon-fri, or mon,wed,fri")
    return value


def weekdays(text: str) -> frozenset[int]:
    """The days that ``mon-fri`` or ``mon,wed,fri`` names; Monday is 0, ``sat-mon`` goes round."""
    found: set[int] = set()
    for piece in text.split(","):
        first, _, last = piece.partition("-")
        begin = _DAYS.index(first)
        end = _DAYS.index(last or first)
        found.update((begin + step) % 7 for step in range((end - begin) % 7 + 1))
    return frozenset(found)


def _address(value: str) -> str:
    host, _, port = value.rpartition(":")
    bare = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    if not bare or not port.isdecimal() or int(port) > 65535 or (":" in host and bare == host):
        raise ValueError(f"{value!r} is not an address: write host:port, or [::1]:port")
    return value


_HOST_NAME = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9._-]{0,251}[A-Za-z0-9_])?", re.ASCII)


def _host_name(value: str) -> str:
    if _HOST_NAME.fullmatch(value) is None:
        raise ValueError(
            f"{value!r} is not a host's name: write it without scheme, port or path, such as "
            "guardian.example.com"
        )
    return value.lower()


def web_address(value: str) -> str:
    """Accept an http or https URL. The text is not in the error: it may hold a token."""
    try:
        parts = urlsplit(value)
        fit = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        fit = False
    if not fit:
        raise ValueError("a web address is needed here: https://host/path")
    return value


def _secret_address(value: SecretStr) -> SecretStr:
    web_address(value.get_secret_value())
    return value


def _positive(value: timedelta) -> timedelta:
    if value <= timedelta(0):
        raise ValueError("a duration above zero is needed here")
    return value


def one_or_more(value: Any) -> Any:
    """Let a single value stand where a list is meant."""
    return value if isinstance(value, list | tuple) or value is None else [value]


def _bounds(value: Any) -> Any:
    if not isinstance(value, list | tuple) or len(value) != 2:
        raise ValueError("two bounds are needed here: [warning, critical], null for none")
    return value


def _rising(value: tuple[Any, Any]) -> tuple[Any, Any]:
    warning, critical = value
    if warning is not None and critical is not None and warning > critical:
        raise ValueError("the first bound (warning) must not be above the second (critical)")
    return value


def duration_text(value: timedelta) -> str:
    """Write a duration exactly, as :func:`guardian.units.parse_duration` reads it."""
    rest = round(value / timedelta(milliseconds=1))
    words = []
    for unit, size in (("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)):
        count, rest = divmod(rest, size)
        if count:
            words.append(f"{count}{unit}")
    return "".join(words) or "0s"


_DURATION_SCHEMA = {
    "type": "string",
    "pattern": rf"^\s*(\d+(\.\d+)?\s*(ms|s|m|h|d|w)\s*)+$|{_VARIABLE}",
    "examples": ["30s", "5m", "2h", "7d"],
}
_SIZE_SCHEMA = {
    "anyOf": [
        {"type": "integer", "minimum": 0},
        {"type": "string", "pattern": rf"^\s*\d+(\.\d+)?\s*([kKMGTP]i?)?[bB]?\s*$|{_VARIABLE}"},
    ],
    "examples": ["64MB", "5GiB"],
}
_PERCENT_SCHEMA = {
    "type": "string",
    "pattern": rf"^\d{{1,3}}(\.\d+)?\s*%$|{_VARIABLE}",
    "examples": ["80%"],
}
_NAME_SCHEMA = {"type": "string", "pattern": r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$"}

FilePath = Annotated[Path, BeforeValidator(_path)]
Text = Annotated[str, AfterValidator(_not_blank)]
Secret = Annotated[SecretStr, AfterValidator(_secret)]
SecretAddress = Annotated[SecretStr, AfterValidator(_secret_address)]
WebAddress = Annotated[str, AfterValidator(web_address)]
Address = Annotated[str, AfterValidator(_address)]
Whole = Annotated[int, Field(ge=0), BeforeValidator(_not_a_switch)]
Count = Annotated[int, Field(ge=1), BeforeValidator(_not_a_switch)]
Number = Annotated[float, Field(ge=0, allow_inf_nan=False), BeforeValidator(_not_a_switch)]
Duration = Annotated[timedelta, BeforeValidator(_duration), Schema(_DURATION_SCHEMA)]
PositiveDuration = Annotated[
    timedelta, BeforeValidator(_duration), AfterValidator(_positive), Schema(_DURATION_SCHEMA)
]
Size = Annotated[int, BeforeValidator(_size), Schema(_SIZE_SCHEMA)]
Rate = Annotated[int, Field(ge=100_000), BeforeValidator(_size), Schema(_SIZE_SCHEMA)]
"""Bytes a second. With fewer, a block of ours would take so long that the store seems to hang."""
PercentText = Annotated[Percent, PlainValidator(_percent), Schema(_PERCENT_SCHEMA)]
ScheduleText = Annotated[str, AfterValidator(_schedule)]
DrillSchedule = Annotated[str, AfterValidator(_drill_schedule)]
Timezone = Annotated[str, AfterValidator(_timezone)]
Regex = Annotated[str, AfterValidator(_regex)]
Network = Annotated[str, AfterValidator(_network)]
Name = Annotated[str, AfterValidator(_name), Schema(_NAME_SCHEMA)]
TimeOfDay = Annotated[str, AfterValidator(_time)]
Days = Annotated[str, AfterValidator(_days)]
Strings = Annotated[
    list[Text], BeforeValidator(one_or_more, json_schema_input_type=str | list[str])
]
HostNames = Annotated[
    list[Annotated[str, AfterValidator(_host_name)]],
    BeforeValidator(one_or_more, json_schema_input_type=str | list[str]),
]
KeyFingerprint = Annotated[str, AfterValidator(_fingerprint)]
KeyFingerprints = Annotated[
    list[KeyFingerprint], BeforeValidator(one_or_more, json_schema_input_type=str | list[str])
]
Networks = Annotated[
    list[Network], BeforeValidator(one_or_more, json_schema_input_type=str | list[str])
]

_PAIR = BeforeValidator(_bounds)
_RISING = AfterValidator(_rising)
PercentBounds = Annotated[tuple[PercentText | None, PercentText | None], _PAIR, _RISING]
DurationBounds = Annotated[tuple[Duration | None, Duration | None], _PAIR, _RISING]
SizeBounds = Annotated[tuple[Size | None, Size | None], _PAIR, _RISING]
NumberBounds = Annotated[tuple[Number | None, Number | None], _PAIR, _RISING]
