"""How often Python looks for cycles of objects that nobody needs any more."""

from __future__ import annotations

import atexit
import gc

_THRESHOLD = 10_000


def collect_less() -> None:
    """Seldom look for cycles in this process, which has just begun.

    What is imported stays. To look at all of it again and again took a fifth of a short command's
    time, half of that at its end, when nothing need be freed any more.
    """
    gc.set_threshold(_THRESHOLD)
    atexit.register(gc.freeze)  # registered first, so it is the last to run
