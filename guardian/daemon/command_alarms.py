"""Alarms for the length of one command: who has only cron hears of a second failed night as well.

The daemon does the same with jobs that never end (:mod:`guardian.daemon.alerting`).
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import replace
from datetime import timedelta
from types import TracebackType
from typing import TYPE_CHECKING, Self

from guardian.adapters.process import current_holder
from guardian.backup.run import BackupResult
from guardian.daemon.alarms import make_channels, make_escalator
from guardian.daemon.app import App
from guardian.daemon.quick_checks import QuickChecks
from guardian.daemon.sensors import Sensors, commands_here
from guardian.daemon.tenure import LEASE as DAEMON
from guardian.errors import AlreadyRunningError, CatalogError
from guardian.escalate.conditions.backups import backup_conditions
from guardian.escalate.conditions.history import History
from guardian.escalate.dispatch import Dispatcher
from guardian.escalate.engine import Escalator
from guardian.escalate.model import Change, ChannelHealth, Observation
from guardian.escalate.pacing import Pace
from guardian.escalate.ports import EscalationCatalog
from guardian.escalate.rules import EscalationRules
from guardian.model import BackupRecord, Lease, RunStatus

if TYPE_CHECKING:
    from guardian.adapters.catalog.memory import MemoryCatalog

DISPATCH = "dispatch"
"""The lease of a command that delivers."""
SECONDS = 25.0
"""So long at most a command delivers, beside its checks."""
PERSON_SECONDS = 5.0
"""The same where a person waits for it, who has just said something about an incident."""
SEND_TIMEOUT = 8.0
HAND_OVER_AFTER = timedelta(seconds=6)
"""A command has no five minutes to see whether a channel comes back."""

_TTL = timedelta(minutes=1)
_PAUSE = 0.5
_CLOSING = 3.0


class CommandAlarms:
    """Alarms for the length of one command. Leaving the ``with`` block closes the channels.

    Where no channel is configured, incidents are kept all the same; where a daemon lives, it
    delivers. ``problems`` are lines for whoever started the command.
    """

    def __init__(self, app: App) -> None:
        self._app = app
        self._opened = ExitStack()
        self._checks = QuickChecks(app)
        self._sensors = Sensors(app)
        self.problems: list[str] = []
        self._can_send = False
        rules = app.config.escalation.to_rules()
        self._catalog = self._usable_catalog()
        self._dispatcher = self._make_dispatcher(rules)
        self._escalator = make_escalator(app, self._dispatcher, catalog=self._catalog)

    def __enter__(self) -> Self:
        """Nothing is sent yet."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Let go of the channels."""
        self._opened.close()

    # --- what there is to tell ---

    def backed_up(self, results: Sequence[BackupResult]) -> None:
        """Backups were made, or failed, just now."""
        for server in dict.fromkeys(one.ref.server for one in results):
            of_server = [one for one in results if one.ref.server == server]
            self._observe(self._seen(server, of_server))
        with suppress(CatalogError):
            self._observe(self._sensors.stores())

    def drilled(self, servers: Iterable[str]) -> None:
        """Backups of these servers were drilled just now."""
        for server in dict.fromkeys(servers):
            if server in self._app.config.servers:
                self._observe(self._sensors.backups(server))

    def pruned(self, servers: Iterable[str]) -> None:
        """Retention was applied to these servers' backups just now."""
        self.drilled(servers)  # a bad copy that is gone alarms nobody any more
        self._observe(self._sensors.stores())

    @property
    def escalator(self) -> Escalator:
        """For what a person says."""
        return self._escalator

    def _scopes(self) -> frozenset[str]:
        """Every scope that commands observe."""
        config = self._app.config
        channels = {"channels"} if config.escalation.channels else set()
        return frozenset({"stores", *channels, *(f"backups:{name}" for name in config.servers)})

    def _seen(self, server: str, results: Sequence[BackupResult]) -> Observation:
        """By the catalog; what it could not be told is added, and in its place where it is away."""
        now = self._app.clock.now()
        lost = [one for one in results if isinstance(one.error, CatalogError)]
        try:
            seen = self._sensors.backups(server)
        except CatalogError:
            failed = [one for one in results if one.status is RunStatus.FAILED]
            seen, lost = Observation(f"backups:{server}", now, blind=("",)), failed
        unrecorded = {
            condition.key: condition
            for one in lost
            for condition in backup_conditions(_as_history(one), now)
        }
        kept = [one for one in seen.conditions if one.key not in unrecorded]
        return replace(seen, conditions=(*kept, *unrecorded.values()))

    def _observe(self, observation: Observation) -> Change:
        try:
            known = self._catalog.open_incidents()
        except CatalogError:
            known = ()
        return self._escalator.observe(self._checks.complete(observation, known))

    # --- telling it ---

    def deliver(self, *, to_a_person: bool = False) -> None:
        """Let time do its work on what is open, and send what is due; see the class.

        ``to_a_person``: somebody waits for the command at a terminal.
        """
        seconds = PERSON_SECONDS if to_a_person else SECONDS
        self._escalator.end_unwatched(self._scopes(), commands_here(self._app), only_own=True)
        self._escalator.tick()
        if self._dispatcher is None:
            return
        before = self._health()
        with ExitStack() as stack:
            try:
                if not self._may_dispatch(stack, seconds):
                    return
            except CatalogError as error:  # then nobody else can have it, and what is urgent goes
                self.problems.append(f"alerts cannot be written down: {error.message}")
            self._send(self._dispatcher, seconds)
        for name, health in self._health().items():
            known = before.get(name) or ChannelHealth(name)
            if health.failing_since is not None and health.failures > known.failures:
                self.problems.append(
                    f"channel {name} does not take messages: {health.last_error}; "
                    f"try guardian alerts test {name}"
                )

    def _send(self, dispatcher: Dispatcher, seconds: float) -> None:
        until = time.monotonic() + seconds
        while True:
            report = dispatcher.run_once(max(0.1, until - time.monotonic()))
            change = self._escalator.observe(report.observation)
            waits = bool(report.outstanding or report.unwritten or report.in_the_air)
            if not (waits or change.envelopes) or time.monotonic() >= until:
                break
            if not self._can_send:  # that there is no way is an incident by now; it waits for one
                break
            dispatcher.wait(_PAUSE)
        if waits:
            self.problems.append("not every alert has got through yet; the next command goes on")

    def _may_dispatch(self, stack: ExitStack, seconds: float) -> bool:
        """Whether it is for us to deliver. Another command is waited for: it may miss what is ours.

        Raises:
            CatalogError: nobody can tell.
        """
        until = time.monotonic() + seconds
        while not self._app.catalog.leases(DAEMON):
            try:
                lease = self._app.catalog.acquire(
                    DISPATCH, current_holder("guardian, delivering alerts"), _TTL
                )
            except AlreadyRunningError:
                if time.monotonic() >= until:
                    return False
                time.sleep(_PAUSE)
            else:
                stack.callback(self._release, lease)
                return True
        return False

    def _release(self, lease: Lease) -> None:
        with suppress(CatalogError):
            self._app.catalog.release(lease)

    def _health(self) -> dict[str, ChannelHealth]:
        with suppress(CatalogError):
            return {one.channel: one for one in self._catalog.channel_health()}
        return {}

    # --- making ---

    def _usable_catalog(self) -> EscalationCatalog:
        """The config's; where that cannot be opened, one in memory, so that alerts leave at all."""
        try:
            return self._app.catalog
        except CatalogError as error:
            if self._app.config.escalation.channels:
                self.problems.append(f"alerts cannot be written down: {error.message}")
            return _in_memory(self._app)

    def _make_dispatcher(self, rules: EscalationRules) -> Dispatcher | None:
        channels, unusable = make_channels(self._app)
        for name, error in unusable.items():
            self.problems.append(f"channel {name} cannot be used: {error}")
        self._can_send = bool(channels)
        if not channels and not unusable:
            return None
        patience = min(rules.hand_over_after, HAND_OVER_AFTER)
        dispatcher = Dispatcher(
            channels,
            self._catalog,
            self._app.clock,
            replace(rules, hand_over_after=patience),
            unusable={name: str(error) for name, error in unusable.items()},
            pace=Pace(send_timeout=SEND_TIMEOUT),
        )
        self._opened.callback(dispatcher.close, _CLOSING)
        return dispatcher


def _in_memory(app: App) -> MemoryCatalog:
    from guardian.adapters.catalog.memory import MemoryCatalog  # noqa: PLC0415 - hardly ever

    return MemoryCatalog(app.clock, lambda _: None)


def _as_history(result: BackupResult) -> History:
    """A failure that the catalog knows nothing of, as if it did."""
    error = result.error
    record = BackupRecord(
        result.id,
        result.ref,
        RunStatus.FAILED,
        result.started_at,
        result.finished_at,
        cause=None if error is None else error.cause,
        error=None if error is None else str(error),
        outcomes=result.outcomes,
    )
    return History(result.ref, tries=[record], failures=1)
