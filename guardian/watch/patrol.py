"""One round of the watch: look, decide, re-check and signal, remember, write it all down.

The order is what makes it safe. What is going to be done is in the catalog *before* it is done:
no signal without a record of it, and a guardian that dies between the two neither forgets the
hour's limit nor the kill.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from guardian.ports import Clock
from guardian.watch.audit import KillRecord
from guardian.watch.model import Action, Mode, Observation
from guardian.watch.policy import Decisions, Verdict
from guardian.watch.ports import SignalResult, WatchCatalog, Watcher, WatchFacts
from guardian.watch.rules import Limits, Policy


@dataclass(frozen=True, slots=True)
class WatchPlan:
    """What one server's section of the config asks for."""

    policies: Sequence[Policy] = ()
    limits: Limits = field(default_factory=Limits)
    mode: Mode = Mode.OBSERVE
    record: bool = True
    record_query_text: bool = True
    keep_recording: timedelta = timedelta(days=7)
    recording_bytes: int = 64 << 20


@dataclass(frozen=True, slots=True)
class CycleReport:
    """What one round saw and did.

    ``observation`` and ``decisions`` are those of its first look (a round looks again after each
    lock root). ``kills`` are its audit entries. ``reports`` are sessions that a policy with
    ``action: report`` names now. ``notice``: the hour's limit stops us, said once. ``problems``
    are lines for people: what could not be written, what our role may not see.
    """

    server: str
    at: datetime
    observation: Observation
    decisions: Decisions
    kills: tuple[KillRecord, ...] = ()
    reports: tuple[Verdict, ...] = ()
    looks: int = 1
    notice: str | None = None
    problems: tuple[str, ...] = ()


class Patrol:
    """The watch over one server. For one thread at a time."""

    def __init__(
        self, watcher: Watcher, catalog: WatchCatalog, clock: Clock, plan: WatchPlan
    ) -> None:
        raise NotImplementedError

    @property
    def facts(self) -> WatchFacts | None:
        """What our role may see and do, None before the first look."""
        raise NotImplementedError

    def look(self) -> tuple[Observation, Decisions]:
        """See and judge, as a round would now, and do nothing: for ``guardian sessions``.

        Raises what Watcher.observe raises, and CatalogError.
        """
        raise NotImplementedError

    def cycle(self) -> CycleReport:
        """One round. Raises what Watcher.observe raises, and CatalogError: then nobody is hit."""
        raise NotImplementedError

    def kill(self, pid: int, action: Action, *, by: str, superusers: bool = False) -> KillRecord:
        """One kill by hand, audited with mode ``manual``.

        What no configuration lifts holds here too (own work, replication, workers …).

        Raises:
            NotFoundError: no session has that pid.
            UsageError: it may not be hit; or a cancel for a session that runs no query.
        """
        raise NotImplementedError

    def close(self) -> None:
        """Write the recording to its end, hang up."""
        raise NotImplementedError


__all__ = ["CycleReport", "Patrol", "SignalResult", "WatchPlan"]
