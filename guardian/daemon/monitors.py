"""Monitors outside that notice when scheduled backups do not run, fail, or never end.

One hears when a server's backups begin and end, from a thread of its own: Sentry in trouble must
not hold up a backup.
"""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial

from guardian.backup.schedule import SHORTCUTS
from guardian.config import Config, ServerConfig
from guardian.daemon.channels import make_job_monitor
from guardian.errors import GuardianError
from guardian.escalate.model import JobTiming
from guardian.escalate.ports import JobMonitor
from guardian.ports import Clock

_log = logging.getLogger(__name__)
_GOODBYE_SECONDS = 5.0


class ScheduleMonitors:
    """Tells monitors of the backups of each server: one job from its first backup to its last.

    May be used from any thread; nothing is waited for.
    """

    def __init__(self, config: Config, clock: Clock) -> None:
        self._clock = clock
        self._servers = config.servers
        self._monitors = _monitors(config)
        self._lock = threading.Lock()
        self._running: dict[str, _Run] = {}
        self._work: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        if self._monitors:
            self._thread = threading.Thread(target=self._tell, name="monitors", daemon=True)
            self._thread.start()

    def began(self, server: str) -> None:
        """A backup of that server begins."""
        section = self._servers.get(server)
        if not self._monitors or section is None or section.backup.schedule is None:
            return
        with self._lock:
            run = self._running.get(server)
            if run is not None:
                run.under_way += 1
                return
            run = self._running[server] = _Run(self._clock.monotonic())
        job, timing = f"backup {server}", timing_of(section)
        for monitor in self._monitors:
            self._work.put(partial(run.begin, monitor, job, timing))

    def ended(self, server: str, *, ok: bool, more: bool) -> None:
        """One has ended; ``more``: others of that server wait for their turn."""
        with self._lock:
            run = self._running.get(server)
            if run is None:
                return
            run.under_way -= 1
            run.ok = run.ok and ok
            if run.under_way or more:
                return
            del self._running[server]
        seconds = self._clock.monotonic() - run.began
        for monitor in self._monitors:
            self._work.put(partial(run.end, monitor, f"backup {server}", seconds))

    def close(self) -> None:
        """Tell what is still to be told, in a few seconds."""
        if self._thread is not None:
            self._work.put(None)
            self._thread.join(_GOODBYE_SECONDS)

    def _tell(self) -> None:
        while (work := self._work.get()) is not None:
            try:
                work()
            except GuardianError as error:
                _log.warning("%s", error)
            except Exception:  # noqa: BLE001 - the next one may go well
                _log.exception("a monitor of schedules failed")
        for monitor in self._monitors:
            with suppress(GuardianError):
                monitor.close()


class _Run:
    """The backups of one server, from the first to the last."""

    def __init__(self, began: float) -> None:
        self.began = began
        self.under_way = 1
        self.ok = True
        self._handles: dict[int, str] = {}

    def begin(self, monitor: JobMonitor, job: str, timing: JobTiming) -> None:
        self._handles[id(monitor)] = monitor.begin(job, timing)

    def end(self, monitor: JobMonitor, job: str, seconds: float) -> None:
        begun = self._handles.get(id(monitor))
        if begun is not None:
            monitor.end(job, begun, ok=self.ok, seconds=seconds)


def timing_of(section: ServerConfig) -> JobTiming:
    """When a server's backups are to run, and how long they may take."""
    assert section.backup.schedule is not None
    written = " ".join(section.backup.schedule.split())
    timeout = section.backup.timeout
    longest = None if timeout is None else timeout * section.backup.attempts
    return JobTiming(SHORTCUTS.get(written.lower(), written), section.backup.timezone, longest)


def _monitors(config: Config) -> Sequence[JobMonitor]:
    made = []
    for number, section in enumerate(config.heartbeat, 1):
        try:
            monitor = make_job_monitor(f"heartbeat {number}", section)
        except GuardianError as error:
            _log.error("heartbeat %d: %s", number, error)
            continue
        if monitor is not None:
            made.append(monitor)
    return made
