"""From what was seen to people who hear of it: sensors, escalator and dispatcher under the daemon.

Guards must not wait for any of it. So an observation that changes nothing ends here, on the thread
that made it; any other goes to a thread of its scope, which makes the quick checks, lets the
escalator decide and the dispatcher send. Within a scope the order stays.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable, Iterable

from guardian.daemon.alarms import make_channels
from guardian.daemon.app import App
from guardian.daemon.briefing import protections
from guardian.daemon.quick_checks import QuickChecks
from guardian.daemon.sensors import Sensors
from guardian.daemon.state import ChannelNow, State
from guardian.errors import CatalogError, GuardianError
from guardian.escalate.dispatch import Dispatcher
from guardian.escalate.engine import Escalator
from guardian.escalate.model import Change, Observation
from guardian.escalate.ports import Channel

_log = logging.getLogger(__name__)

_BACKLOG = 100
"""Observations that may wait in one scope; more would be older than anybody wants to know."""

Crashed = Callable[[str, BaseException], object]


class Alerting:
    """The way of all alarms. May be used from any thread."""

    def __init__(
        self, app: App, state: State, crashed: Crashed, urge: Callable[[], object]
    ) -> None:
        self._app = app
        self._state = state
        self._crashed = crashed
        self._urge = urge
        self._lock = threading.Lock()
        self._waiting: dict[str, deque[Observation]] = {}
        self._seen: set[str] = set()
        self.sensors = Sensors(app)
        self._checks = QuickChecks(app)
        rules = app.config.escalation.to_rules()
        channels, unusable = self._channels()
        self.dispatcher = Dispatcher(channels, app.catalog, app.clock, rules, unusable=unusable)
        self.escalator = Escalator(
            app.catalog,
            app.clock,
            rules,
            courier=self.dispatcher,
            protections=lambda since: protections(self._app, since),
        )

    def reconfigure(self, app: App) -> None:
        """Go by another configuration."""
        self._app = app
        self.sensors, self._checks = Sensors(app), QuickChecks(app)
        rules = app.config.escalation.to_rules()
        channels, unusable = self._channels()
        self.dispatcher.reconfigure(channels, rules, unusable)
        self.escalator.reconfigure(rules)

    def end_unwatched(self, scopes: Iterable[str]) -> None:
        """End incidents of what nobody looks at any more."""
        self._told(self.escalator.end_unwatched(frozenset(scopes)))

    def observed(self, observation: Observation) -> None:
        """Something was looked at. Returns at once, where the host has a thread for it."""
        scope = observation.scope
        with self._lock:
            busy = scope in self._waiting
            if not busy and scope in self._seen and self._says_nothing(observation):
                return
            self._seen.add(scope)
            self._waiting.setdefault(scope, deque(maxlen=_BACKLOG)).append(observation)
            if busy:
                return
        name = f"alarm {scope}"
        thread = threading.Thread(target=self._work, args=(scope, name), name=name, daemon=True)
        try:
            thread.start()
        except RuntimeError:  # the host has none to give: whoever looked waits, the alarm does not
            self._work(scope, name)

    def tick(self) -> None:
        """Let time pass: climb, remind, resolve. A job calls it every few seconds."""
        self._told(self.escalator.tick())

    def deliver(self) -> None:
        """Send what is due, and hear how channels do. A job calls it every few seconds."""
        report = self.dispatcher.run_once()
        self.observed(report.observation)
        if report.outstanding is not None:
            self._state.change(outstanding=report.outstanding)

    def close(self) -> None:
        """Wait a little for what is in the air, and let go of the channels."""
        self.dispatcher.close()

    def refresh(self) -> None:
        """Bring what is open, and how channels do, into the daemon's state. Raises CatalogError."""
        catalog, configured = self._app.catalog, self._app.config.escalation.channels
        health = {one.channel: one for one in catalog.channel_health()}
        channels = []
        for name in configured:
            one = health.get(name)
            since, error = (None, None) if one is None else (one.failing_since, one.last_error)
            if name in self._state.memory.unusable:
                since, error = since or self._app.clock.now(), self._state.memory.unusable[name]
            channels.append(ChannelNow(name, since, error))
        self._state.change(
            incidents=tuple(catalog.open_incidents()),
            channels=tuple(channels),
        )

    def _channels(self) -> tuple[dict[str, Channel], dict[str, str]]:
        """Those that can be made here, and why the others cannot."""
        channels, errors = make_channels(self._app)
        unusable = {name: str(error) for name, error in errors.items()}
        for name, why in unusable.items():
            _log.error("channel %s cannot be used: %s", name, why)
        self._state.change(unusable=unusable)
        return channels, unusable

    def _says_nothing(self, observation: Observation) -> bool:
        """Whether nothing is wrong, and nothing was that this would end."""
        if observation.conditions or self.escalator.trouble is not None:
            return False
        return not any(one.scope == observation.scope for one in self._state.memory.incidents)

    def _work(self, scope: str, name: str) -> None:
        while True:
            with self._lock:
                if not self._waiting[scope]:
                    del self._waiting[scope]
                    return
                observation = self._waiting[scope].popleft()
            try:
                self._escalate(observation)
            except GuardianError as error:
                _log.warning("%s: %s", name, error)
            except Exception as error:  # noqa: BLE001 - the next one may go well
                self._crashed(name, error)
            else:
                self._state.went_well(name)

    def _escalate(self, observation: Observation) -> None:
        known = self._state.memory.incidents
        self._told(self.escalator.observe(self._checks.complete(observation, known)))

    def _told(self, change: Change) -> None:
        if change.envelopes:
            self._urge()
        if change.incidents:
            try:
                self.refresh()
            except CatalogError as error:
                self._state.catalog_failed(self._app.clock.now(), str(error))
