"""From what lies in the stores to a verdict over each backup and each of its copies. No I/O.

A copy goes only when two judgements agree: retention over all backups of the database, and
retention over those in its very store. So a store that has taken no backup for a month keeps its
own newest good ones, and each store can stand alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, field
from datetime import datetime, timedelta, tzinfo

from guardian.backup.retention import Candidate, ClockDoubt, Decision, RetentionPolicy, decide
from guardian.backup.survey import Copy, Survey
from guardian.model import BackupId, BackupRecord, RunStatus

TIME_DOUBT = timedelta(hours=24)
"""A backup that claims to be so much younger than the store's own time for it has a wrong date."""


@dataclass(frozen=True, slots=True)
class View:
    """What is known about one database at one instant.

    ``surveys`` are of those stores alone that could be looked at in full. ``records`` are all tries
    that the catalog remembers; ``reading`` the backups that someone reads right now. With a
    ``doubt`` about the clock everything stays.
    """

    now: datetime
    surveys: Sequence[Survey] = ()
    records: Mapping[BackupId, BackupRecord] = field(default_factory=dict)
    reading: Set[BackupId] = frozenset()
    doubt: ClockDoubt | None = None

    def is_running(self, backup: BackupId) -> bool:
        """Whether its try is under way, or died and was not settled yet: hands off."""
        record = self.records.get(backup)
        return record is not None and record.status is RunStatus.RUNNING


@dataclass(frozen=True, slots=True)
class CopyVerdict:
    """What is to become of one backup in one store."""

    survey: Survey
    copy: Copy
    keep: bool


@dataclass(frozen=True, slots=True)
class Verdict:
    """What is to become of one backup. It is kept as long as one of its copies is."""

    id: BackupId
    reasons: tuple[str, ...]
    copies: tuple[CopyVerdict, ...]

    @property
    def keep(self) -> bool:
        """Whether any copy stays."""
        return any(one.keep for one in self.copies)


def judge(view: View, policy: RetentionPolicy, timezone: tzinfo) -> list[Verdict]:
    """The verdict over each backup that is there, newest first; running ones are left out."""
    by_store = {
        one.store.name: _decisions(
            [_candidate(view, [copy]) for copy in _finished(view, one)], policy, view.now, timezone
        )
        for one in view.surveys
    }
    copies: dict[BackupId, list[Copy]] = {}
    for found in view.surveys:
        for copy in _finished(view, found):
            copies.setdefault(copy.manifest.id, []).append(copy)
    everywhere = [_candidate(view, found) for found in copies.values()]
    return [
        _verdict(view, decision, by_store)
        for decision in decide(everywhere, policy, view.now, timezone)
    ]


def _finished(view: View, found: Survey) -> list[Copy]:
    return [copy for backup, copy in found.copies.items() if not view.is_running(backup)]


def _candidate(view: View, copies: Sequence[Copy]) -> Candidate:
    manifest = copies[0].manifest
    record = view.records.get(manifest.id)
    whole = any(copy.damage is None for copy in copies)
    return Candidate(
        id=manifest.id,
        at=manifest.snapshot_at,
        proven=(record.proven if record else None) if whole else False,
        pinned=record is not None and record.kept,
        in_use=manifest.id in view.reading,
        known=record is not None,
        doubtful_time=any(copy.written_at + TIME_DOUBT < manifest.snapshot_at for copy in copies),
        backdated=manifest.snapshot_at + TIME_DOUBT < manifest.started_at,
    )


def _decisions(
    candidates: Sequence[Candidate], policy: RetentionPolicy, now: datetime, timezone: tzinfo
) -> dict[BackupId, Decision]:
    return {decision.id: decision for decision in decide(candidates, policy, now, timezone)}


def _verdict(
    view: View,
    decision: Decision,
    by_store: Mapping[str, Mapping[BackupId, Decision]],
) -> Verdict:
    backup = decision.id
    always = [] if view.doubt is None else ["the clock may have jumped"]
    reasons = [*(decision.reasons if decision.keep else ()), *always]
    copies = []
    for found in view.surveys:
        if (copy := found.copies.get(backup)) is None:
            continue
        here = by_store[found.store.name][backup]
        copies.append(CopyVerdict(found, copy, keep=bool(reasons) or here.keep))
        if here.keep and not decision.keep:
            always += [f"{reason}, in {found.store.name}" for reason in here.reasons]
    if not decision.keep:
        reasons = always or list(decision.reasons)
    return Verdict(backup, tuple(reasons), tuple(copies))
