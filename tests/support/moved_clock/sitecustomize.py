"""Python loads this as the daemon, or one of its workers, starts: it moves their wall clock.

By so many seconds as stand in the file that ``MOVED_CLOCK`` names, at each moment. The monotonic
clock goes on as it does. See tests/e2e/test_clock.py.
"""

from __future__ import annotations

import os
import sys
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

_FILE = Path(os.environ["MOVED_CLOCK"])


class Moved(datetime):
    """The time as it would be."""

    @classmethod
    def now(cls, tz: Any = None) -> Any:
        return datetime.now(tz) + timedelta(seconds=float(_FILE.read_text()))


def _move() -> None:
    import guardian.adapters.clock as ours

    vars(ours)["datetime"] = Moved
    if "run" in sys.orig_argv:
        import apscheduler.schedulers.base as theirs

        vars(theirs)["datetime"] = Moved


_move()
