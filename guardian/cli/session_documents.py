"""Sessions, lock trees, audit entries and replays as JSON's types, in the contract's shapes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from guardian.cli.console import time_text

if TYPE_CHECKING:
    from guardian.watch.audit import KillRecord
    from guardian.watch.locks import LockGraph, LockNode, LockRoot
    from guardian.watch.model import Observation, PreparedTransaction, Session, SessionKey
    from guardian.watch.policy import Decisions, Spared, Verdict
    from guardian.watch.replay import Hit, Replay


def verdicts_of(decisions: Decisions) -> Mapping[SessionKey, Verdict]:
    """What the policies say of each session that one of them matches."""
    return {one.session.key: one for one in decisions.verdicts}


def session_document(
    observation: Observation,
    session: Session,
    verdict: Verdict | None = None,
    spared: Spared | None = None,
) -> dict[str, Any]:
    """One session as ``guardian sessions --json`` gives it.

    ``spared``: no verdict, although that policy matches, for it is immune.
    """
    at = observation.at
    return {
        "server": observation.server,
        "pid": session.pid,
        "backend_start": time_text(session.backend_start),
        "user": session.user,
        "database": session.database,
        "application": session.application,
        "client": session.client,
        "backend_type": session.backend_type,
        "state": session.state,
        "state_seconds": session.state_seconds(at),
        "transaction_seconds": session.transaction_seconds(at),
        "query_seconds": session.query_seconds(at),
        "wait_event_type": session.wait_event_type,
        "wait_event": session.wait_event,
        "wait_seconds": session.wait_seconds(at),
        "blocked_by": sorted(set(observation.blockers.get(session.pid, ()))),
        "query": session.query,
        "visible": session.visible,
        "own": session.is_own,
        "verdict": None if verdict is None else verdict_document(verdict),
        "spared": None if spared is None else {"policy": spared.policy, "reason": spared.why},
    }


def verdict_document(verdict: Verdict) -> dict[str, Any]:
    """What a policy says of a session. ``hold`` is why nothing is done about it just now."""
    return {
        "policy": verdict.policy,
        "action": verdict.action.value,
        "reason": verdict.reason,
        "hold": None if verdict.hold is None else verdict.hold.value,
    }


def root_document(
    observation: Observation,
    graph: LockGraph,
    root: LockRoot,
    verdicts: Mapping[SessionKey, Verdict],
) -> dict[str, Any]:
    """One root as ``guardian locks --json`` gives it, with all that waits behind it."""
    document = _node_document(observation, graph, graph.draw(root), verdicts)
    # The members of a deadlock wait for each other; their sum is the root's.
    document["victims"] = root.victims
    document["longest_wait_seconds"] = root.longest_wait_seconds
    document["deadlock"] = root.deadlock
    return document


def _node_document(
    observation: Observation,
    graph: LockGraph,
    node: LockNode,
    verdicts: Mapping[SessionKey, Verdict],
) -> dict[str, Any]:
    from guardian.watch.model import Session

    session = node.session or Session(node.pid, None, backend_type=None, visible=False)
    return {
        **session_document(observation, session, verdicts.get(session.key)),
        "wait_seconds": node.wait_seconds,
        "victims": graph.victims(node.pid) if node.pid else 0,
        "longest_wait_seconds": graph.longest_wait(node.pid) if node.pid else 0.0,
        "prepared": [_prepared_document(one) for one in node.prepared],
        "repeated": node.repeated,
        "blocks": [_node_document(observation, graph, one, verdicts) for one in node.blocks],
    }


def _prepared_document(one: PreparedTransaction) -> dict[str, Any]:
    return {
        "gid": one.gid,
        "prepared_at": time_text(one.prepared_at),
        "owner": one.owner,
        "database": one.database,
    }


def kill_document(kill: KillRecord) -> dict[str, Any]:
    """One entry of the audit as ``guardian audit --json`` gives it."""
    return {
        "at": time_text(kill.at),
        "server": kill.server,
        "policy": kill.policy,
        "pid": kill.pid,
        "backend_start": time_text(kill.backend_start),
        "user": kill.user,
        "database": kill.database,
        "application": kill.application,
        "query": kill.query,
        "action": kill.action.value,
        "mode": kill.mode.value,
        "outcome": kill.outcome.value,
        "reason": kill.reason,
        "evidence": dict(kill.evidence),
    }


def replay_document(server: str, result: Replay) -> dict[str, Any]:
    """What the policies of one server would have done in its recording."""
    return {
        "server": server,
        "first": time_text(result.first),
        "last": time_text(result.last),
        "looks": result.looks,
        "policies": [
            {
                "policy": one.policy,
                "hits": [_hit_document(hit) for hit in one.hits],
                "reports": [_hit_document(hit) for hit in one.reports],
                "limited": one.limited,
            }
            for one in result.policies
        ],
        "stops": [{"server": name, "at": time_text(at)} for name, at in result.stops],
    }


def _hit_document(hit: Hit) -> dict[str, Any]:
    session = hit.verdict.session
    return {
        "at": time_text(hit.at),
        "pid": session.pid,
        "backend_start": time_text(session.backend_start),
        "user": session.user,
        "database": session.database,
        "application": session.application,
        "query": session.query,
        "action": hit.verdict.action.value,
        "reason": hit.verdict.reason,
    }
