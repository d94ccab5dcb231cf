"""The connection probe: does this server let us in and answer, and if not, why.

libpq's own timeout covers neither names that do not resolve nor a server that accepts and says
nothing. So the probe drives libpq itself, with one deadline over all.

libpq's errors carry no SQLSTATE before a connection stands, and a server's words may be in any
language. The SQLSTATE is in libpq's protocol trace: what a server said for the first time is asked
for once more with a trace, into a file in memory that is dropped at once, and then remembered.
(Not each time: psycopg never closes the stream of a trace, which leaks half a kilobyte or more.)
"""

from __future__ import annotations

import os
import re
import selectors
import time
from datetime import timedelta

import psycopg
from psycopg import conninfo, pq
from psycopg.pq.abc import PGconn

from guardian.adapters.deadline import SingleFlight
from guardian.adapters.postgres.connection import Connector
from guardian.adapters.postgres.refusals import cause_of, may_have_sqlstate, mend_of
from guardian.ports import Clock
from guardian.units import format_duration
from guardian.watch.outage import ProbeCause, ProbeResult

_SLACK_SECONDS = 0.25
"""Lets our own deadline speak first: it knows what was waited for."""
_ERROR = re.compile(r'^B\t\S+\tErrorResponse\t.*? C "([0-9A-Z]{5})"', re.MULTILINE)
_CANCELED = "57014"
_TRACE_BYTES = 1 << 20
_MESSAGES_KNOWN = 64
_CAN_TRACE = hasattr(os, "memfd_create")  # Linux, as psycopg's trace


class _FailedError(Exception):
    """A try failed, for this cause."""

    def __init__(self, cause: ProbeCause, message: str, sqlstate: str | None = None) -> None:
        super().__init__(message)
        self.cause = cause
        self.message = message
        self.sqlstate = sqlstate


class ConnectionProbe:
    """Connects, asks ``SELECT 1`` and hangs up. For one thread at a time."""

    def __init__(
        self,
        connector: Connector,
        clock: Clock,
        *,
        timeout: timedelta = timedelta(seconds=5),
        database: str | None = None,
    ) -> None:
        self._connector = connector
        self._clock = clock
        self._timeout = timeout
        self._database = database
        self._flight = SingleFlight(f"probe {connector.server}")
        self._stage = ""
        self._sqlstates: dict[str, str | None] = {}

    def probe(self) -> ProbeResult:
        """One try; takes at most the timeout (and a quarter of a second). Never raises."""
        at, began = self._clock.now(), self._clock.monotonic()
        seconds = self._timeout.total_seconds()
        deadline = time.monotonic() + seconds
        failure: _FailedError | None = None
        try:
            self._flight.run(lambda: self._try(deadline), seconds + _SLACK_SECONDS)
        except TimeoutError:
            failure = self._timed_out()
        except _FailedError as error:
            failure = error
        except (psycopg.Error, OSError) as error:  # no such name; out of file descriptors
            message = str(error)
            failure = _FailedError(cause_of(None, message), message)
        latency = self._clock.monotonic() - began
        if failure is None:
            return ProbeResult(at, latency)
        return ProbeResult(
            at,
            latency,
            failure.cause,
            self._told(failure),
            mend_of(failure.cause),
            failure.sqlstate,
        )

    def _told(self, failure: _FailedError) -> str:
        # Without TLS libpq tries again and says the same a second time.
        lines = dict.fromkeys(self._connector.scrub(failure.message).splitlines())
        said = " ".join(" ".join(lines).split())
        return f"server {self._connector.server} ({self._connector.where}): {said}"

    def _timed_out(self) -> _FailedError:
        within = f"within {format_duration(self._timeout)}"
        if self._stage == _RESOLVING:
            return _FailedError(ProbeCause.DNS, f"its host name was not resolved {within}")
        return _FailedError(ProbeCause.TIMEOUT, f"{self._stage or 'no answer'} {within}")

    def _try(self, deadline: float) -> None:
        self._stage = _RESOLVING
        parameters = self._connector.parameters(self._database, "probe")
        attempts = conninfo.conninfo_attempts(parameters)
        failures: list[_FailedError] = []
        for index, attempt in enumerate(attempts):
            # A dead address must not eat the time of those behind it.
            left = max(0.0, deadline - time.monotonic())
            until = time.monotonic() + left / (len(attempts) - index)
            try:
                self._ask(conninfo.make_conninfo("", **attempt), until)
            except TimeoutError:
                failures.append(self._timed_out())
            except _FailedError as error:
                failures.append(error)
            else:
                return
        # One that answered, if only to say no, tells more than one that did not.
        raise next((each for each in failures if each.cause.answers), failures[-1])

    def _ask(self, target: str, deadline: float) -> None:
        try:
            self._converse(target, deadline)
        except _FailedError as error:
            message = error.message
            if error.sqlstate is not None or not may_have_sqlstate(message):
                raise
            if message in self._sqlstates:
                raise self._refused(message, self._sqlstates[message]) from None
            if not _CAN_TRACE or len(self._sqlstates) >= _MESSAGES_KNOWN:
                raise
        else:
            return
        self._converse(target, deadline, trace=True)  # should it let us in now, all is well

    def _converse(self, target: str, deadline: float, *, trace: bool = False) -> None:
        self._stage = "no connection"
        connection = pq.PGconn.connect_start(target.encode())
        try:
            if trace:
                self._connect_traced(connection, deadline)
            else:
                self._connect(connection, deadline)
            self._stage = "it let us in, and did not answer SELECT 1"
            self._select(connection, deadline)
        finally:
            connection.finish()

    def _connect_traced(self, connection: PGconn, deadline: float) -> None:
        descriptor = os.memfd_create("guardian probe")
        try:
            connection.trace(descriptor)
            connection.set_trace_flags(pq.Trace.SUPPRESS_TIMESTAMPS)
            try:
                self._connect(connection, deadline)
            finally:
                connection.untrace()  # flushes: nothing may go to a descriptor that is used again
        except _FailedError as error:
            said = os.pread(descriptor, _TRACE_BYTES, 0).decode("ascii", "replace")
            sqlstate = (_ERROR.findall(said) or [None])[-1]
            self._sqlstates[error.message] = sqlstate
            raise self._refused(error.message, sqlstate) from None
        finally:
            os.close(descriptor)

    def _connect(self, connection: PGconn, deadline: float) -> None:
        writing = True  # as libpq's manual has it, before the first poll
        while connection.status != pq.ConnStatus.BAD:
            _wait(connection.socket, deadline, write=writing)
            status = connection.connect_poll()
            if status == pq.PollingStatus.OK:
                return
            writing = status == pq.PollingStatus.WRITING
            if connection.status != pq.ConnStatus.STARTED:
                self._stage = "it accepted the connection, and did not answer"
        raise self._refused(connection.get_error_message("utf-8"), None)

    def _refused(self, message: str, sqlstate: str | None) -> _FailedError:
        mode = self._connector.parameters().get("sslmode") or os.environ.get("PGSSLMODE")
        cause = cause_of(sqlstate, message, tls_disabled=mode == "disable")
        return _FailedError(cause, message, sqlstate)

    @staticmethod
    def _select(connection: PGconn, deadline: float) -> None:
        connection.send_query(b"SELECT 1")
        while connection.is_busy():
            _wait(connection.socket, deadline, write=False)
            try:
                connection.consume_input()
            except psycopg.OperationalError as error:
                message = str(error)
                raise _FailedError(cause_of(None, message), message) from error
        result = connection.get_result()
        if result is not None and result.status == pq.ExecStatus.TUPLES_OK:
            return
        if result is None:
            raise _FailedError(ProbeCause.UNKNOWN, "SELECT 1 gave nothing")
        field = result.error_field(pq.DiagnosticField.SQLSTATE)
        sqlstate = field.decode("ascii", "replace") if field else None
        if sqlstate == _CANCELED:  # by a time limit that is none for a server: it answers
            return
        message = result.get_error_message("utf-8")
        raise _FailedError(cause_of(sqlstate, message), message, sqlstate)


_RESOLVING = "resolving its name"


def _wait(descriptor: int, deadline: float, *, write: bool) -> None:
    """Until the socket is ready. Raises TimeoutError."""
    with selectors.DefaultSelector() as selector:
        selector.register(descriptor, selectors.EVENT_WRITE if write else selectors.EVENT_READ)
        if not selector.select(max(0.0, deadline - time.monotonic())):
            raise TimeoutError
