"""What a key may look like, the same in every store.

A key that one store takes and another refuses, or that means two things on a file system, would
make a backup depend on where it lies. So the rule is the strictest one of all stores.
"""

from __future__ import annotations

import re
import secrets

from guardian.errors import StoreError

MAX_KEY = 1000
"""Characters. S3 allows 1,024 bytes, of which the configured prefix takes some."""

MAX_SEGMENT = 200
"""Characters between slashes. File systems allow 255 bytes; a temporary name needs the rest."""

_PRINTABLE = re.compile(r"[\x20-\x7e]+", re.ASCII)
_TEMPORARY = re.compile(r"\..+\.[0-9a-f]{12}\.guardian-tmp", re.ASCII)


def is_valid_key(key: str) -> bool:
    """Whether ``key`` is relative, ``/``-separated, printable ASCII and of bearable length."""
    if not key or len(key) > MAX_KEY or _PRINTABLE.fullmatch(key) is None:
        return False
    return all(
        segment not in {"", ".", ".."}
        and len(segment) <= MAX_SEGMENT
        and not is_temporary_name(segment)
        for segment in key.split("/")
    )


def checked_key(store: str, key: str) -> str:
    """Return ``key``, or raise StoreError when no store could hold it."""
    if not is_valid_key(key):
        raise StoreError(f"store {store}: {key!r} is not a possible name of an object")
    return key


def temporary_name(name: str) -> str:
    """A name beside ``name`` for its unfinished content, that nothing else will have."""
    return f".{name}.{secrets.token_hex(6)}.guardian-tmp"


def is_temporary_name(name: str) -> bool:
    """Whether a file's name was made by :func:`temporary_name`."""
    return _TEMPORARY.fullmatch(name) is not None
