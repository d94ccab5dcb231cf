"""The audit: every signal that was sent or would have been, with what it was decided on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

from guardian.watch.locks import LockGraph
from guardian.watch.model import Action, Observation, Outcome, Session


class KillMode(StrEnum):
    """Who decided. The values are fixed by the contract (``audit``'s ``mode``)."""

    OBSERVE = "observe"
    ENFORCE = "enforce"
    MANUAL = "manual"


@dataclass(frozen=True, slots=True)
class KillRecord:
    """One decision. ``at`` is guardian's time, ``policy`` None for a kill by hand.

    ``reason`` is why it was decided, and what the server said when it refused. ``evidence`` holds
    JSON's types alone: the session as it was seen, whom it held up, who asked for it (``by``),
    and whether its end was seen (``confirmed``: null while that is not known, so also after
    guardian died between the signal and the answer).
    """

    at: datetime
    server: str
    policy: str | None
    pid: int
    backend_start: datetime | None
    user: str | None
    database: str | None
    application: str | None
    query: str | None
    action: Action
    mode: KillMode
    outcome: Outcome
    reason: str
    evidence: Mapping[str, Any] = field(default_factory=dict)


def evidence_of(
    session: Session, observation: Observation, graph: LockGraph | None = None
) -> dict[str, Any]:
    """What was seen of a session, in JSON's types."""
    at = observation.at
    graph = graph or LockGraph(observation)
    found: dict[str, Any] = {
        "observed_at": at.isoformat(),
        "client": session.client,
        "state": session.state,
        "state_seconds": session.state_seconds(at),
        "transaction_seconds": session.transaction_seconds(at),
        "query_seconds": session.query_seconds(at),
        "wait_event_type": session.wait_event_type,
        "wait_event": session.wait_event,
        "wait_seconds": session.wait_seconds(at),
        "blocked_by": sorted(set(observation.blockers.get(session.pid, ()))),
        "victims": graph.victims(session.pid),
        "longest_wait_seconds": graph.longest_wait(session.pid),
        "xid_age": session.xid_age,
        "xmin_age": session.xmin_age,
    }
    for name in ("backend_start", "xact_start", "query_start", "state_change"):
        instant: datetime | None = getattr(session, name)
        found[name] = None if instant is None else instant.isoformat()
    return found
