"""Signs of life for dead man's switches, as rounds of a job.

A job, so that a scheduler that hangs sends none; and each round looks at the daemon's health first,
so that one whose jobs are stuck does not pass for well.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

from guardian.daemon.health import judge
from guardian.daemon.state import Snapshot, State
from guardian.errors import DeliveryError
from guardian.escalate.ports import Heartbeat

_log = logging.getLogger(__name__)


class Pulse:
    """One heartbeat. For one thread at a time."""

    def __init__(
        self, heartbeat: Heartbeat, state: State, snapshot: Callable[[], Snapshot]
    ) -> None:
        self._heartbeat = heartbeat
        self._state = state
        self._snapshot = snapshot
        self._begun = False
        self._failing = False

    def round(self) -> None:
        """Say how we are. That nobody hears it is logged once, and no error of the job."""
        snapshot = self._snapshot()
        reasons = judge(snapshot).reasons
        text = "; ".join(reasons) or f"guardian {snapshot.memory.version} is well"
        try:
            if not self._begun:
                self._heartbeat.start(f"guardian {snapshot.memory.version} begins")
                self._begun = True
            self._heartbeat.beat(ok=not reasons, text=text)
        except DeliveryError as error:
            if not self._failing:
                _log.warning("%s", error)
            self._failing = True
            return
        if self._failing:
            _log.info("%s hears us again", self._heartbeat.name)
        self._failing = False
        self._state.heard(self._heartbeat.name, snapshot.at)

    def close(self) -> None:
        """Let go of what it holds."""
        self._heartbeat.close()
