"""One signal with its entry in the audit, written down before and settled after."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from guardian.errors import CatalogError, GuardianError
from guardian.ports import Clock
from guardian.watch.audit import KillMode, KillRecord, evidence_of
from guardian.watch.locks import LockGraph
from guardian.watch.model import Action, Observation, Outcome, Session
from guardian.watch.ports import SignalResult, WatchCatalog, Watcher


@dataclass(frozen=True, slots=True)
class Strike:
    """What came of one signal.

    ``error``: the server went away, so whether it was signalled is not known (the entry then says
    ``signalled``, and that). ``unsettled``: the catalog did not take what came of it.
    """

    record: KillRecord
    error: GuardianError | None = None
    unsettled: CatalogError | None = None


class Striker:
    """Signals sessions of one server, never without a record of it."""

    def __init__(self, watcher: Watcher, catalog: WatchCatalog, clock: Clock) -> None:
        self._watcher = watcher
        self._catalog = catalog
        self._clock = clock

    def draft(
        self,
        session: Session,
        observation: Observation,
        action: Action,
        mode: KillMode,
        reason: str,
        *,
        policy: str | None = None,
        graph: LockGraph | None = None,
        evidence: dict[str, Any] | None = None,
    ) -> KillRecord:
        """The entry as it is before anything was done; in observe mode, as it stays."""
        return KillRecord(
            at=self._clock.now(),
            server=observation.server,
            policy=policy,
            pid=session.pid,
            backend_start=session.backend_start,
            user=session.user,
            database=session.database,
            application=session.application,
            query=session.query,
            action=action,
            mode=mode,
            outcome=Outcome.WOULD if mode is KillMode.OBSERVE else Outcome.SIGNALLED,
            reason=reason,
            evidence={
                **evidence_of(session, observation, graph),
                "confirmed": None,
                **(evidence or {}),
            },
        )

    def strike(
        self, session: Session, draft: KillRecord, *, whatever_it_does: bool = False
    ) -> Strike:
        """Write the draft down, signal, and settle the entry.

        Raises:
            CatalogError: it could not be written down; nobody was signalled.
        """
        number = self._catalog.record_kill(draft)
        failure = None
        try:
            result = self._watcher.signal(session, draft.action, whatever_it_does=whatever_it_does)
        except GuardianError as error:
            failure = error
            told = f"whether it was signalled is not known: {error.message}"
            result = SignalResult(Outcome.SIGNALLED, None, told)
        detail = f"; {result.detail}" if result.detail else ""
        record = replace(
            draft,
            outcome=result.outcome,
            reason=draft.reason + detail,
            evidence={**draft.evidence, "confirmed": result.confirmed},
        )
        try:
            self._catalog.settle_kill(number, record)
        except CatalogError as error:
            return Strike(record, failure, error)
        return Strike(record, failure)
