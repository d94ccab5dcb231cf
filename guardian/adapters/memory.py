"""Keeping a process of many threads small.

glibc gives each thread an arena of its own to allocate from, and what was freed in one serves no
other. A daemon whose threads take turns at Python's interpreter lock has nothing of that but the
memory that it costs: two megabytes at the start, more with every week.
"""

from __future__ import annotations

import ctypes
from contextlib import suppress

_M_ARENA_MAX = -8


def share_one_arena() -> None:
    """Let all threads of this process allocate from one arena; nothing happens without glibc."""
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).mallopt(_M_ARENA_MAX, 1)
