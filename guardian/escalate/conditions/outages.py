"""Servers and other probed things that do not answer."""

from __future__ import annotations

from datetime import datetime, timedelta

from guardian.escalate.conditions.phrases import fact, instant, name, said, title
from guardian.escalate.model import Condition, Fact, Severity
from guardian.units import format_duration
from guardian.watch.outage import Availability, Outage, ProbeCause

DOWN = "server.down"
PROBE = "probe"

_WORDS = {
    ProbeCause.REFUSED: "nobody listens there",
    ProbeCause.TIMEOUT: "no answer in time",
    ProbeCause.UNREACHABLE: "no route to it",
    ProbeCause.CLOSED: "it hangs up",
    ProbeCause.DNS: "its name does not resolve",
    ProbeCause.TLS: "TLS fails",
    ProbeCause.AUTHENTICATION: "it refuses our login",
    ProbeCause.TOO_MANY_CONNECTIONS: "all connections are taken",
    ProbeCause.STARTING_UP: "it is starting up",
    ProbeCause.IN_RECOVERY: "it is in recovery",
    ProbeCause.SHUTTING_DOWN: "it is shutting down",
    ProbeCause.NO_DATABASE: "there is no such database",
    ProbeCause.WRONG_ANSWER: "a wrong answer",
    ProbeCause.UNKNOWN: "see the error",
}


def server_conditions(
    server: str, outage: Outage, now: datetime, page_after: timedelta
) -> tuple[Condition, ...]:
    """A server that is down: P1, and P0 once that has lasted for ``page_after``."""
    if outage.availability is not Availability.DOWN or outage.down_since is None:
        return ()
    long = outage.down_for(now) >= page_after
    return (
        Condition(
            key=f"{DOWN}:{server}",
            kind=DOWN,
            severity=Severity.P0 if long else Severity.P1,
            title=title(f"Server {name(server)} is down: {_cause(outage)}"),
            server=server,
            since=outage.down_since,
            occurrence=outage.down_since.isoformat(),
            impact=(
                "Whatever needs its databases fails, and they cannot be backed up."
                if not _answers(outage)
                else "It answers and lets nobody in, or not us: see the error."
            ),
            evidence=_evidence(outage),
            tried=(f"probed {outage.failures:,} times since, without success",),
            mend=_mend(outage, f"guardian diagnose {server}"),
        ),
    )


def probe_conditions(probe: str, outage: Outage) -> tuple[Condition, ...]:
    """Another thing that is probed, and is down."""
    if outage.availability is not Availability.DOWN or outage.down_since is None:
        return ()
    kind = f"{PROBE}.{probe}"
    return (
        Condition(
            key=kind,
            kind=kind,
            severity=Severity.P1,
            title=title(f"{name(probe)} fails its probe: {_cause(outage)}"),
            since=outage.down_since,
            occurrence=outage.down_since.isoformat(),
            impact=f"{name(probe)} does not serve as it should.",
            evidence=_evidence(outage),
            tried=(f"probed {outage.failures:,} times since, without success",),
            mend=_mend(outage, None),
        ),
    )


def is_blind(outage: Outage) -> bool:
    """Whether nothing is known of it yet, so that what is open stays as it is."""
    return outage.availability in {Availability.UNKNOWN, Availability.SUSPECT}


def _cause(outage: Outage) -> str:
    failure = outage.last_failure
    return _WORDS[failure.cause or ProbeCause.UNKNOWN] if failure is not None else "no answer"


def _answers(outage: Outage) -> bool:
    failure = outage.last_failure
    return failure is not None and failure.cause is not None and failure.cause.answers


def _evidence(outage: Outage) -> tuple[Fact, ...]:
    facts = []
    failure = outage.last_failure
    if failure is not None:
        facts.append(fact("last try", f"{instant(failure.at)}: {failure.text or _cause(outage)}"))
        if failure.sqlstate:
            facts.append(Fact("SQLSTATE", failure.sqlstate))
    if outage.down_since is not None:
        facts.append(Fact("first failure", instant(outage.down_since)))
    if len(outage.went_down) > 1:
        facts.append(Fact("went down lately", f"{len(outage.went_down)} times"))
    if outage.latency_seconds is not None:
        facts.append(Fact("last answer took", format_duration(outage.latency_seconds)))
    return tuple(facts)


def _mend(outage: Outage, command: str | None) -> tuple[str, ...]:
    failure = outage.last_failure
    own = (said(failure.mend),) if failure is not None and failure.mend else ()
    return (*own, *((command,) if command is not None else ()))
