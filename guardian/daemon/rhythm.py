"""How time passes for the main thread: jumps of the wall clock, and what is to be done so often."""

from __future__ import annotations

from guardian.ports import Clock

_JUMP_SECONDS = 2.0
"""So much the wall clock may drift between two looks before it counts as a jump."""
_SLACK_SECONDS = 1.0


class Rhythm:
    """What is remembered from one look to the next. For one thread."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._offset = self._measured()
        self._last: dict[str, float] = {}

    def jump(self) -> float | None:
        """By how many seconds the wall clock has jumped since the last look, if it has."""
        measured = self._measured()
        jump, self._offset = measured - self._offset, measured
        return jump if abs(jump) > _JUMP_SECONDS else None

    def is_time(self, what: str, every: float) -> bool:
        """Whether that long has passed since this was last true of ``what``."""
        now = self._clock.monotonic()
        if now - self._last.get(what, 0.0) < every - _SLACK_SECONDS:
            return False
        self._last[what] = now
        return True

    def _measured(self) -> float:
        return self._clock.now().timestamp() - self._clock.monotonic()
