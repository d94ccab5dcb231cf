"""``guardian run``: the life of the daemon's process, from its start to its exit.

One thread, the main one, decides: it takes signals and what the lease's job found out of one queue,
and between them looks at clock and watchdog. So a reload, a stop and a take-over never meet.

    start ── catalog, lease ──┬─ had: active ── SIGHUP: reload ── lease lost: standby ─┐
                              └─ another's: standby ── it lapsed: active ◄─────────────┘
    SIGTERM: nothing new begins, running tasks undo what they began, recordings are saved, the lease
    is given back: 0. A second SIGTERM does not wait for the tasks.
"""

from __future__ import annotations

import logging
import os
import queue
import secrets
import signal
from collections.abc import Callable, Iterable
from contextlib import ExitStack, suppress
from datetime import timedelta

from guardian import __version__
from guardian.adapters.process import current_holder
from guardian.adapters.systemd import Notifier
from guardian.config import Loaded
from guardian.daemon.alarms import make_escalator
from guardian.daemon.app import App
from guardian.daemon.crashes import CrashReporter
from guardian.daemon.dashboard import Dashboard
from guardian.daemon.duty import Duty
from guardian.daemon.health import Health, judge
from guardian.daemon.jobs import Jobs
from guardian.daemon.rhythm import Rhythm
from guardian.daemon.signals import Signalled, Signals
from guardian.daemon.state import ConfigNow, Memory, Role, Snapshot, State
from guardian.daemon.telling import Telling
from guardian.daemon.tenure import LOOK_EVERY, RENEW_EVERY, Standing, Tenure
from guardian.daemon.usable import refuse_unusable
from guardian.daemon.worker import LogSettings
from guardian.errors import CatalogError, ConfigError, ExitCode
from guardian.escalate.engine import Escalator
from guardian.logs import set_up_logging
from guardian.ports import Clock
from guardian.units import counted
from guardian.watch.audit import KillRecord

_log = logging.getLogger(__name__)

COMMAND = "guardian run"
_TICK_SECONDS = 1.0
_STATUS_EVERY = 3.0
_DASHBOARD_EVERY = timedelta(seconds=15)
_CLOSING_SECONDS = 10.0
_HURRY_SECONDS = 5.0
_LEVELS = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warning": logging.WARNING,
    "error": logging.ERROR,
}


Message = Signalled | Standing
"""What the main thread waits for: signals, and what became of the lease."""


class Service:
    """The daemon's process. ``load`` reads the configuration, at the start and at each reload."""

    def __init__(
        self,
        load: Callable[[], Loaded],
        *,
        clock: Clock,
        notifier: Notifier,
        verbosity: int = 0,
    ) -> None:
        self._load = load
        self._clock = clock
        self._notifier = notifier
        self._verbosity = verbosity
        self._messages: queue.SimpleQueue[Message] = queue.SimpleQueue()
        self._run_id = secrets.token_hex(3)
        self._duty: Duty | None = None

    def run(self) -> ExitCode:
        """Live, until a signal ends it.

        Raises:
            ConfigError: the configuration cannot be used.
            CatalogError: the catalog cannot be used.
        """
        loaded = self._load()
        self._set_up(loaded)
        with ExitStack() as stack:
            stack.callback(self._tell.crashes.close)
            stack.enter_context(self._app)
            self._app.catalog  # noqa: B018 - opened and migrated here, or not at all
            self._refuse_unusable(loaded)  # a standby, too: not when it is needed
            stack.enter_context(Signals(self._messages.put))
            return self._live()

    # --- for those who show it (guardian.daemon.sources.Live) ---

    @property
    def app(self) -> App:
        """Configuration and catalog as of now."""
        return self._app

    def snapshot(self) -> Snapshot:
        """What is known at this moment; from any thread."""
        duty = self._duty
        return Snapshot(
            at=self._clock.now(),
            memory=self._state.memory,
            pulse_age=self._jobs.pulse_age,
            jobs=self._jobs.now(),
            tasks=() if duty is None else tuple(duty.tasks()),
        )

    def health(self) -> Health:
        """Whether the daemon itself is well; from any thread."""
        return judge(self.snapshot())

    def escalator(self) -> Escalator:
        """What keeps incidents; a standby has one for people's words alone."""
        duty = self._duty
        return make_escalator(self._app) if duty is None else duty.alerting.escalator

    def urge(self) -> None:
        """There are messages to deliver."""
        self._jobs.run_now("dispatch")

    def count_kill(self, kill: KillRecord) -> None:
        """A person has ended a session."""
        self._state.count_kill(kill.server, kill.policy, kill.action, kill.outcome)

    # --- start ---

    def _set_up(self, loaded: Loaded) -> None:
        self._log = self._log_settings(loaded)
        self._set_up_logging()
        now = self._clock.now()
        config = loaded.config
        self._app = App(config, command=COMMAND, clock=self._clock)
        self._state = State(
            Memory(Role.STARTING, self._run_id, __version__, now, ConfigNow(str(loaded.path), now))
        )
        self._tell = Telling(lambda: self._app, self._state, CrashReporter.of(config, self._run_id))
        self._jobs = Jobs(self._clock, self._tell.crash, self._state.went_well)
        self._dashboard = Dashboard(self, self._tell)

    def _log_settings(self, loaded: Loaded) -> LogSettings:
        section = loaded.config.service.log
        level = _LEVELS[section.level] - 10 * self._verbosity
        return LogSettings(
            max(level, logging.DEBUG),
            section.format,
            tracebacks=self._verbosity > 0,
            run_id=self._run_id,
        )

    def _set_up_logging(self) -> None:
        log = self._log
        set_up_logging(log.level, style=log.style, tracebacks=log.tracebacks, run_id=log.run_id)

    # --- life ---

    def _live(self) -> ExitCode:
        self._tenure = Tenure(self._app.catalog, current_holder(COMMAND))
        _log.info("guardian %s, configuration %s", __version__, self._state.memory.config.path)
        if self._tenure.claim():
            self._take_up()
        else:
            self._stand_by()
        self._jobs.every("dashboard", _DASHBOARD_EVERY, self._tend_dashboard)
        self._jobs.start()
        self._notifier.ready(self._status())
        rhythm = Rhythm(self._clock)
        try:
            while True:
                message = self._next_message()
                if isinstance(message, Signalled):
                    if message.ends:
                        return self._end(message.number)
                    self._reload()
                elif message is not None:
                    self._follow(message)
                self._tick(rhythm)
        except Exception as error:
            self._tell.crash("main thread", error)
            self._end(signal.SIGTERM)
            raise

    def _next_message(self) -> Message | None:
        with suppress(queue.Empty):
            return self._messages.get(timeout=_TICK_SECONDS)
        return None

    def _tick(self, rhythm: Rhythm) -> None:
        """Between messages: the clock, the watchdog, the line for ``systemctl status``."""
        if (jump := rhythm.jump()) is not None:
            _log.warning("the clock has jumped by %+.0f s; all jobs are planned anew", jump)
            self._jobs.realign()
        if rhythm.is_time("status", _STATUS_EVERY):
            self._notifier.status(self._status())
        every = self._notifier.watchdog_every
        if every is not None and rhythm.is_time("alive", every) and self._makes_progress():
            self._notifier.alive()

    def _makes_progress(self) -> bool:
        """Whether a restart would be of no use. A dead catalog or channel is not mended by one."""
        failed = {"scheduler", "jobs"}
        return not any(reason.split(":")[0] in failed for reason in self.health().reasons)

    def _tend_dashboard(self) -> None:
        self._dashboard.tend()
        self._state.change(dashboard_problem=self._dashboard.problem)

    def _status(self) -> str:
        snapshot = self.snapshot()
        memory = snapshot.memory
        if memory.role is not Role.ACTIVE:
            return f"{memory.role}: {memory.holder or 'another daemon'} is active"
        running = [str(one.task) for one in snapshot.tasks if one.started_at is not None]
        health = judge(snapshot)
        parts = [
            f"guards {counted(len(self._app.config.servers), 'server')}",
            f"at work: {', '.join(running)}" if running else "",
            f"{len(memory.incidents)} open incidents" if memory.incidents else "",
            "; ".join(health.reasons),
        ]
        return ", ".join(part for part in parts if part)

    # --- the lease ---

    def _look_after_lease(self) -> None:
        """A job: renew the lease, or as standby try to take it."""
        now = self._clock.now()
        if self._state.memory.role is Role.STANDBY:
            if self._tenure.claim():
                self._messages.put(Standing.HELD)
            self._state.change(holder=self._tenure.rival)
            self._state.catalog_written(now)
            return
        standing = self._tenure.renew()
        if standing is Standing.UNSURE:
            self._state.catalog_failed(now, self._tenure.error)
        else:
            self._state.catalog_written(now)
        if standing is Standing.LOST:
            self._messages.put(standing)

    def _follow(self, standing: Standing) -> None:
        if standing is Standing.LOST and self._duty is not None:
            _log.error("another daemon has taken over; this one stands by")
            self._lay_down(_HURRY_SECONDS)
            self._stand_by()
        elif standing is Standing.HELD and self._duty is None:
            self._tell.event("daemon.took_over", f"{current_holder(COMMAND)} is active now")
            self._take_up()

    def _take_up(self) -> None:
        """Become the active one; where the catalog forbids that, a standby again."""
        self._state.change(role=Role.ACTIVE, holder=None)
        duty = Duty(self._app, self._jobs, self._state, self._tell, self._log, self.snapshot)
        try:
            duty.begin()
        except CatalogError as error:
            _log.error("cannot begin: %s", error)
            duty.close()
            self._tenure.give_up()
            self._stand_by()
            return
        self._duty = duty
        self._jobs.every("lease", RENEW_EVERY, self._look_after_lease, first_in=RENEW_EVERY)
        servers = ", ".join(self._app.config.servers)
        self._tell.event("daemon.started", f"guardian {__version__} guards {servers}")
        _log.info("active; guards %s", servers)

    def _stand_by(self) -> None:
        self._state.change(role=Role.STANDBY, holder=self._tenure.rival)
        self._jobs.every("lease", LOOK_EVERY, self._look_after_lease, first_in=LOOK_EVERY)
        _log.info("standing by; active is %s", self._tenure.rival or "not known")

    def _lay_down(self, seconds: float) -> None:
        """End all work, in so long at most."""
        duty, self._duty = self._duty, None
        if duty is None:
            return
        duty.stop()
        if not duty.wait(seconds):
            _log.warning("tasks do not end and are killed; their traces are removed later")
            duty.kill()
            duty.wait(_HURRY_SECONDS)
        duty.close()

    # --- reload ---

    def _reload(self) -> None:
        """Read the configuration again; one that cannot be used changes nothing."""
        self._notifier.reloading()
        memory = self._state.memory
        try:
            loaded = self._load()
            self._refuse_change(loaded)
            self._refuse_unusable(loaded)
            self._app.catalog.tries(limit=1)  # jobs are planned from it
        except (ConfigError, CatalogError) as error:
            _log.error("the configuration stays as it was: %s", error)
            self._state.change(
                config=ConfigNow(memory.config.path, memory.config.loaded_at, str(error))
            )
            self._tell.event("config.refused", str(error))
        else:
            self._adopt(loaded)
        self._notifier.ready(self._status())

    def _refuse_change(self, loaded: Loaded) -> None:
        old, new = self._app.config, loaded.config
        for name, before, after in (
            ("state_dir", old.state_dir, new.state_dir),
            ("catalog", old.catalog_url, new.catalog_url),
        ):
            if before != after:
                raise ConfigError(
                    f"{loaded.path}: {name} cannot change while guardian runs",
                    mend="systemctl restart guardian, or set it back",
                )

    def _refuse_unusable(self, loaded: Loaded) -> None:
        """What the file's shape does not show, and what would end a duty as it begins."""
        refuse_unusable(
            App(loaded.config, command=COMMAND, clock=self._clock, catalog=self._app.catalog)
        )

    def _adopt(self, loaded: Loaded) -> None:
        self._log = self._log_settings(loaded)
        self._set_up_logging()
        self._app = App(
            loaded.config, command=COMMAND, clock=self._clock, catalog=self._app.catalog
        )
        crashes, self._tell.crashes = (
            self._tell.crashes,
            CrashReporter.of(loaded.config, self._run_id),
        )
        crashes.close()
        if self._duty is not None:
            try:
                self._duty.reload(self._app, self._log)
            except CatalogError as error:  # it went away just now, and half is planned anew
                _log.error("cannot go on: %s", error)
                self._lay_down(_HURRY_SECONDS)
                self._tenure.give_up()
                self._stand_by()
        self._state.change(config=ConfigNow(str(loaded.path), self._clock.now()))
        self._jobs.run_now("dashboard")
        self._tell.event("config.reloaded", str(loaded.path))
        _log.info("the configuration was read again")

    # --- end ---

    def _end(self, number: int) -> ExitCode:
        """Nothing new begins; what runs undoes what it began; then let go of everything."""
        name = signal.Signals(number).name
        _log.info("stopping on %s", name)
        self._notifier.stopping(f"stopping on {name}")
        self._state.change(role=Role.STOPPING)
        self._jobs.stop()
        duty = self._duty
        if duty is not None:
            duty.stop()
            self._wait_for(duty)
            self._tell.event("daemon.stopped", f"on {name}")
        stuck = self._jobs.wait(_CLOSING_SECONDS)
        if duty is not None:
            duty.close()
        self._tenure.give_up()
        self._dashboard.stop()
        code = ExitCode.INTERRUPTED if number == signal.SIGINT else ExitCode.DONE
        if stuck:
            self._leave_behind(stuck, code)
        _log.info("stopped")
        return code

    def _wait_for(self, duty: Duty) -> None:
        """The workers' end; a second signal, or the time being up, does not wait any more."""
        timeout = self._app.config.service.stop_timeout.total_seconds()
        deadline = self._clock.monotonic() + timeout
        while not duty.wait(0.1):
            if self._hurried():
                _log.warning("a second signal: tasks are killed")
            elif self._clock.monotonic() > deadline:
                _log.warning("tasks still run after service.stop_timeout and are killed")
            else:
                continue
            duty.kill()
            duty.wait(_HURRY_SECONDS)
            return

    def _hurried(self) -> bool:
        with suppress(queue.Empty):
            while True:
                message = self._messages.get_nowait()
                if isinstance(message, Signalled) and message.ends:
                    return True
        return False

    def _leave_behind(self, stuck: Iterable[str], code: ExitCode) -> None:
        """Threads that hang would keep the interpreter from ending."""
        _log.warning("left behind, for they do not end: %s", ", ".join(stuck))
        logging.shutdown()
        os._exit(code)
