"""Eyes and hands on one server: looks at its sessions and locks, signals one session at a time.

Two connections are kept. They take turns, so that the one in reserve is known to live: when all
slots of the server are taken, or one cannot be had again, the other serves alone, for looking and
for signalling.

The end of a session is awaited by asking for (pid, backend_start) again, on every version:
``pg_terminate_backend(pid, timeout)`` waits for a pid, which may belong to another one by then.
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Collection
from dataclasses import replace
from datetime import timedelta
from typing import Any, TypeVar

import psycopg

from guardian.adapters.deadline import SingleFlight
from guardian.adapters.postgres.connection import APPLICATION_NAME, Connector
from guardian.adapters.postgres.session_rows import QueryTexts, observation_of
from guardian.adapters.postgres.watch_link import Link, str_of
from guardian.errors import AlreadyRunningError, GuardianError, TimedOutError
from guardian.units import format_duration
from guardian.watch.model import Action, Observation, Outcome, Session
from guardian.watch.ports import SignalResult, WatchFacts

T = TypeVar("T")

_OWN = re.compile(rf"{APPLICATION_NAME}( |$)")
_BACKUP = re.compile(rf"{APPLICATION_NAME} (backup|dump|fingerprint|globals)$")
_LOOKS_BETWEEN_FACTS = 60
_FIRST_PAUSE_SECONDS = 0.005
_LONGEST_PAUSE_SECONDS = 0.25


class PostgresWatcher:
    """A :class:`~guardian.watch.ports.Watcher`; its connections are opened at first use.

    ``timeout`` bounds one look; with connecting anew it may take twice that. ``patience`` is how
    long a session's end is awaited. ``own_roles`` are roles beside the DSN's whose sessions are
    ours when they carry our application name.
    """

    def __init__(
        self,
        connector: Connector,
        *,
        timeout: timedelta = timedelta(seconds=5),
        patience: timedelta = timedelta(seconds=5),
        own_roles: Collection[str] = (),
    ) -> None:
        self._connector = connector
        self._timeout = timeout.total_seconds()
        self._patience = patience.total_seconds()
        self._own_roles = frozenset(own_roles)
        self._busy = threading.Lock()
        self._flight = SingleFlight(f"watch {connector.server}")
        self._links = [Link(connector, timeout), Link(connector, timeout)]
        self._facts: WatchFacts | None = None
        self._looks = 0
        self._texts = QueryTexts()

    @property
    def server(self) -> str:
        """Its name in the config."""
        return self._connector.server

    @property
    def facts(self) -> WatchFacts | None:
        """As found when it last connected; None before that."""
        return self._facts

    def observe(self) -> Observation:
        """Look once; see the port."""
        return self._alone(self._observe, 2 * self._timeout)

    def signal(
        self, session: Session, action: Action, *, whatever_it_does: bool = False
    ) -> SignalResult:
        """Cancel or terminate, if it still does what was observed; see the port."""
        if action is Action.REPORT:
            raise ValueError("a report signals nobody")
        if session.backend_start is None or session.pid in self._own_pids():
            return SignalResult(Outcome.REFUSED, detail="it is guardian's own, or hidden from us")
        deadline = time.monotonic() + 2 * self._timeout
        return self._alone(
            lambda: self._signal(session, action, deadline, whatever_it_does=whatever_it_does),
            2 * self._timeout + self._patience,
        )

    def close(self) -> None:
        """Hang up. A later call connects again."""
        for link in self._links:
            link.close()

    # --- one at a time, with a deadline ---

    def _alone(self, work: Callable[[], T], seconds: float) -> T:
        if not self._busy.acquire(blocking=False):
            raise AlreadyRunningError(
                f"server {self.server} is being looked at this moment",
                mend="wait for that to end",
            )
        try:
            return self._flight.run(work, seconds)
        except TimeoutError:
            for link in self._links:
                link.abort()  # whoever hangs there comes back, and with an error
            raise TimedOutError(
                f"server {self.server} ({self._connector.where}) did not answer within "
                f"{format_duration(seconds)}",
                mend="see whether it, or the network to it, hangs",
                transient=True,
            ) from None
        finally:
            self._busy.release()

    # --- looking ---

    def _observe(self) -> Observation:
        self._links.reverse()
        rows = self._ask_any("sessions")
        link, reserve = self._links
        self._keep_facts(link)
        self._keep_reserve(reserve)
        return observation_of(
            self.server,
            rows,
            is_own=lambda user, application: self._is_own(user, application, link.login),
            is_backup=lambda application: bool(_BACKUP.match(application or "")),
            own_pids=self._own_pids(),
            texts=self._texts,
        )

    def _ask_any(self, name: str) -> list[Any]:
        """The answer over the first link that gives one; that one is the first from now on."""
        first, second = self._links
        try:
            return self._ask(first, name)
        except (GuardianError, psycopg.Error) as error:
            if first.is_open:  # it was understood and refused; the other one would hear the same
                raise self._told(first, error) from error
            failure = error
        try:
            # A connection that was lost, by a restart say: the other one's end may have gone
            # unnoticed too, so at most it is opened anew.
            rows = self._ask(second, name, again=True)
        except (GuardianError, psycopg.Error) as error:
            raise self._told(second, error) from failure
        self._links.reverse()
        return rows

    def _ask(self, link: Link, name: str, *, again: bool = False) -> list[Any]:
        was_open = link.is_open
        link.open()
        try:
            rows = link.ask(name)
        except psycopg.OperationalError:
            if link.is_open or not (was_open and again):
                raise
            link.open()
            rows = link.ask(name)
        return rows

    def _keep_facts(self, link: Link) -> None:
        """What our role may do can change while we are connected, by a GRANT say."""
        self._looks += 1
        facts = link.facts
        assert facts is not None
        if facts.shortcomings or self._looks % _LOOKS_BETWEEN_FACTS == 0:
            link.look_around()
        self._facts = link.facts

    def _keep_reserve(self, reserve: Link) -> None:
        """The look succeeded, so what goes wrong here is no failure, but is told."""
        try:
            reserve.open()
        except GuardianError as error:
            assert self._facts is not None
            why = f"there is no second connection in reserve: {error.message}"
            shortcomings = (*self._facts.shortcomings, why)
            self._facts = replace(self._facts, shortcomings=shortcomings)

    @staticmethod
    def _told(link: Link, error: GuardianError | psycopg.Error) -> GuardianError:
        return link.explain(error) if isinstance(error, psycopg.Error) else error

    def _own_pids(self) -> frozenset[int]:
        return frozenset(pid for link in self._links if (pid := link.pid) is not None)

    def _is_own(self, user: str | None, application: str | None, login: str) -> bool:
        is_ours = user == login or user in self._own_roles
        return is_ours and bool(_OWN.match(application or ""))

    # --- signalling ---

    def _signal(
        self, session: Session, action: Action, deadline: float, *, whatever_it_does: bool
    ) -> SignalResult:
        link = self._ready_link()
        if time.monotonic() > deadline:  # nobody waits for us any more, so nobody is to be hit
            raise TimeoutError
        question = {
            "pid": session.pid,
            "backend_start": session.backend_start,
            "state": session.state,
            "state_change": session.state_change,
            "xact_start": session.xact_start,
            "query_start": session.query_start,
            "terminate": action is Action.TERMINATE,
            "whatever_it_does": whatever_it_does,
        }
        try:
            rows = link.ask("session_signal", question)
        except psycopg.errors.InsufficientPrivilege as error:
            said = ": ".join(filter(None, [error.diag.message_primary, error.diag.message_detail]))
            return SignalResult(Outcome.REFUSED, detail=" ".join(said.split()))
        except psycopg.Error as error:
            raise link.explain(error) from error
        same, sent = rows[0] if rows else (False, None)
        if not same or sent is False:
            return SignalResult(Outcome.GONE)
        if sent is None:
            return SignalResult(Outcome.CHANGED)
        return self._await_end(link, session, action)

    def _ready_link(self) -> Link:
        """The one that answered last; it, or the other one, opened anew when it is not there."""
        first, second = self._links
        for link in (first, second):
            if link.is_open:
                return link
        first.open()
        return first

    def _await_end(self, link: Link, session: Session, action: Action) -> SignalResult:
        deadline = time.monotonic() + self._patience
        pause = _FIRST_PAUSE_SECONDS
        question = {"pid": session.pid, "backend_start": session.backend_start}
        while True:
            try:
                rows = link.ask("session_now", question)
            except psycopg.Error as error:
                told = link.explain(error).message
                return SignalResult(Outcome.SIGNALLED, None, f"its end was not seen: {told}")
            if not rows or (action is Action.CANCEL and _has_moved_on(session, *rows[0])):
                return SignalResult(Outcome.SIGNALLED, confirmed=True)
            if time.monotonic() >= deadline:
                after = f"after {format_duration(self._patience)}"
                what = "it is still there" if action is Action.TERMINATE else "its query still runs"
                return SignalResult(Outcome.SIGNALLED, confirmed=False, detail=f"{what} {after}")
            time.sleep(pause)
            pause = min(pause * 1.6, _LONGEST_PAUSE_SECONDS)


def _has_moved_on(session: Session, state: bytes | None, query_start: Any, change: Any) -> bool:
    now = replace(session, state=str_of(state), query_start=query_start, state_change=change)
    return not now.is_running or now.spell != session.spell
