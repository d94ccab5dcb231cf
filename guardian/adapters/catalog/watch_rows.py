"""Between the watch's rows in the catalog and its records."""

from __future__ import annotations

import json
from typing import Any

from guardian.watch.audit import KillMode, KillRecord
from guardian.watch.memory import Memory
from guardian.watch.model import Action, Outcome


def kill(row: Any) -> KillRecord:
    """An entry of the audit from its row."""
    return KillRecord(
        at=row.at,
        server=row.server,
        policy=row.policy,
        pid=row.pid,
        backend_start=row.backend_start,
        user=row.username,
        database=row.database,
        application=row.application,
        query=row.query,
        action=Action(row.action),
        mode=KillMode(row.mode),
        outcome=Outcome(row.outcome),
        reason=row.reason,
        evidence=json.loads(row.evidence),
    )


def kill_values(done: KillRecord) -> dict[str, Any]:
    """The columns of an entry of the audit."""
    return {
        "at": done.at,
        "server": done.server,
        "policy": done.policy,
        "pid": done.pid,
        "backend_start": done.backend_start,
        "username": done.user,
        "database": done.database,
        "application": done.application,
        "query": done.query,
        "action": done.action.value,
        "mode": done.mode.value,
        "outcome": done.outcome.value,
        "reason": done.reason,
        "evidence": json.dumps(dict(done.evidence)),
    }


def memory_text(memory: Memory) -> str:
    """A memory as JSON."""
    return json.dumps(memory.to_document(), separators=(",", ":"))


def memory_of(text: str) -> Memory | None:
    """The memory in a JSON text, None when it is damaged: then the watch begins anew."""
    try:
        return Memory.from_document(json.loads(text))
    except ValueError:
        return None
