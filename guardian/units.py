"""Durations and sizes, as people write and read them.

Durations are ``30s 5m 2h 7d 1w`` and sums such as ``1h30m``; sizes are ``64MB`` (powers of 1000)
and ``5GiB`` (powers of 1024). In the code a duration is a :class:`datetime.timedelta` and a size
an ``int`` of bytes.
"""

from __future__ import annotations

import re
from datetime import timedelta
from decimal import Decimal

_SECONDS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|s|m|h|d|w)", re.ASCII)
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([kKMGTP]?)(i?)([bB]?)", re.ASCII)
_POWERS = {"": 0, "K": 1, "M": 2, "G": 3, "T": 4, "P": 5}


def parse_duration(text: str) -> timedelta:
    """Read a duration such as ``90s`` or ``1h30m``.

    Raises:
        ValueError: when the text is not a duration; the message says how one is written.
    """
    compact = text.strip()
    position = 0
    seconds = 0.0
    for match in _DURATION.finditer(compact):
        if compact[position : match.start()].strip():
            break
        seconds += float(match[1]) * _SECONDS[match[2]]
        position = match.end()
    if not compact or compact[position:].strip() or position == 0:
        raise ValueError(f"{text!r} is not a duration: write 30s, 5m, 2h, 7d or 1h30m")
    try:
        return timedelta(seconds=seconds)
    except OverflowError as error:
        raise ValueError(f"{text!r} is too long a duration") from error


def format_duration(duration: timedelta | float) -> str:
    """Write a duration (or seconds) with its two largest units: ``12m 3s``, ``2d 4h``, ``0.4s``."""
    seconds = duration.total_seconds() if isinstance(duration, timedelta) else float(duration)
    if seconds < 0:
        return "-" + format_duration(-seconds)
    if seconds < 10 and seconds != int(seconds):
        return f"{seconds:.1f}s"
    rest = round(seconds)
    words = []
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60), ("s", 1)):
        count, rest = divmod(rest, size)
        if count:
            words.append(f"{count}{unit}")
    return " ".join(words[:2]) or "0s"


def parse_size(text: str) -> int:
    """Read a size in bytes, such as ``64MB``, ``5GiB`` or ``1024``.

    Raises:
        ValueError: when the text is not a size; the message says how one is written.
    """
    match = _SIZE.fullmatch(text.strip())
    if match is None or (match[3] and not match[2]):
        raise ValueError(f"{text!r} is not a size: write 64MB, 5GiB or a number of bytes")
    base = 1024 if match[3] else 1000
    size = int(Decimal(match[1]) * base ** _POWERS[match[2].upper()])
    if size >= 1 << 63:
        raise ValueError(f"{text!r} is too large a size")
    return size


def format_size(size: float) -> str:
    """Write a number of bytes with three significant digits and a binary unit: ``1.52 GiB``."""
    if size < 0:
        return "-" + format_size(-size)
    value = float(size)
    for unit in ("B", "KiB", "MiB", "GiB", "TiB"):
        if value < 999.5:
            if unit == "B":
                return f"{int(value)} B"
            digits = 2 if value < 9.995 else 1 if value < 99.95 else 0
            return f"{value:.{digits}f} {unit}"
        value /= 1024
    return f"{value:.2f} PiB"


def counted(number: int, word: str) -> str:
    """``1 table``, ``2,000 tables``."""
    return f"{number:,} {word}{'' if number == 1 else 's'}"
