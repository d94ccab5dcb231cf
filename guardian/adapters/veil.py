"""Keeps secrets out of texts that others wrote: what a service answers may quote what we sent."""

from __future__ import annotations

import re
from collections.abc import Iterable
from urllib.parse import quote, unquote, urlsplit

MASK = "********"
_SHORTEST = 4
_WINDOW = 8
"""So many characters of a secret in a row are as secret as all of it."""


class Veil:
    """Covers secrets, and pieces of them, wherever they stand in a text."""

    def __init__(self, secrets: Iterable[str]) -> None:
        self._windows: set[str] = set()
        for secret in secrets:
            for form in {secret, quote(secret), quote(secret, safe=""), unquote(secret)}:
                self._windows |= set(_windows(form))

    def over(self, text: str) -> str:
        """The text with every piece of a secret covered."""
        hidden: set[int] = set()
        for window in self._windows:
            start = text.find(window)
            while start >= 0:
                hidden |= set(range(start, start + len(window)))
                start = text.find(window, start + 1)
        if not hidden:
            return text
        shown = ("\0" if index in hidden else character for index, character in enumerate(text))
        return re.sub("\0+", MASK, "".join(shown))


def secrets_of(url: str) -> tuple[str, ...]:
    """What of an address is to be hidden when the address is the secret: all but the host."""
    parts = urlsplit(url)
    found = [parts.username or "", parts.password or "", parts.fragment]
    found += re.split(r"[/;,:@]", parts.path) + re.split(r"[&=]", parts.query)
    return tuple(piece for piece in found if len(piece) >= _SHORTEST)


def _windows(secret: str) -> Iterable[str]:
    if len(secret) < _SHORTEST:
        return ()
    if len(secret) <= _WINDOW:
        return (secret,)
    return (secret[start : start + _WINDOW] for start in range(len(secret) - _WINDOW + 1))
