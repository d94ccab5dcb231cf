"""What the drill of the drill tries, and what it makes of a drill's answer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from guardian.backup.manifest import (
    MANIFEST_NAME,
    STEMS,
    backup_prefix,
    encode_manifest,
    manifest_key,
)
from guardian.model import (
    BackupId,
    DatabaseRef,
    Manifest,
    Part,
    PartKind,
    ProofRecord,
    ProofResult,
)
from guardian.units import format_duration
from guardian.verify.damaged_store import Opening, cut_short, flipped, missing, rewritten
from guardian.verify.names import comparable

_Effect = Callable[[str, int], Opening]

UNDAMAGED = "none"
WRONG_KEY = "wrong key"
SWAPPED = "a swapped fingerprint"
FOREIGN = "a part from another backup"
MANIFEST = "manifest"
_FLIP = "a flipped byte"
_KEY_PACKET = 12
"""An offset within OpenPGP's first packet, which says how the key is found: damage there looks like
a wrong key to gpg."""
_TRAILER = 5
"""So far before its end a message holds the hash that gpg checks last."""


class Outcome(StrEnum):
    """What became of one trial."""

    CAUGHT = "caught"
    MISSED = "missed"
    UNCLEAR = "unclear"
    """It could not be tried, or something else kept the drill from telling."""
    NOT_APPLICABLE = "not applicable"


@dataclass(frozen=True, slots=True)
class Trial:
    """One damage, and what a drill must make of it; None for a document that must be refused.

    ``part`` is the damaged part of the backup, or the object of the database. ``naming`` are the
    names, any of which the drill must tell: in its reason, or for a mismatch among the differences.
    """

    damage: str
    part: str
    expected: ProofResult | None
    naming: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class StoredTrial:
    """A trial whose damage is in the stored bytes: ``key`` is given as ``opening`` says."""

    trial: Trial
    key: str
    opening: Opening


@dataclass(frozen=True, slots=True)
class Finding:
    """What came of one trial. ``result`` is None where there was no drill."""

    trial: Trial
    outcome: Outcome
    result: ProofResult | None = None
    seconds: float = 0.0
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class SelfTestReport:
    """What came of one self-test.

    ``control`` is the drill of the backup as it is: only if it is proven, anything was tried.
    """

    ref: DatabaseRef
    backup: BackupId
    store: str
    control: Finding
    findings: tuple[Finding, ...] = ()

    @property
    def is_proven(self) -> bool:
        """Whether the undamaged backup was proven."""
        return self.control.outcome is Outcome.CAUGHT

    def count(self, outcome: Outcome) -> int:
        """How many trials ended so."""
        return sum(finding.outcome is outcome for finding in self.findings)


def stored_trials(manifest: Manifest) -> list[StoredTrial]:
    """Every damage of the stored bytes that needs nothing but the backup itself."""
    trials = []
    for part in manifest.parts:
        for where, offset in _places(part):
            trials.append(_stored(manifest, part, f"{_FLIP}{where}", flipped, offset))
        if part.kind is PartKind.DUMP:
            trials.append(_stored(manifest, part, "cut short", cut_short, part.stored_bytes // 2))
        opening = missing(part_key(manifest, part))
        trials.append(
            StoredTrial(of_part(part, "a part missing"), part_key(manifest, part), opening)
        )
    return [*trials, *_manifest_trials(manifest)]


def absent_parts(manifest: Manifest) -> list[Finding]:
    """A line for each part that a backup may have, and this one has not."""
    there = {part.kind for part in manifest.parts}
    return [
        not_applicable(
            Trial(_FLIP, kind.value, ProofResult.UNRESTORABLE), "the backup has no such part"
        )
        for kind in PartKind
        if kind not in there
    ]


def not_applicable(trial: Trial, why: str) -> Finding:
    """There is nothing to damage so."""
    return Finding(trial, Outcome.NOT_APPLICABLE, reason=why)


def unclear(trial: Trial, why: str, seconds: float = 0.0) -> Finding:
    """It could not be tried."""
    return Finding(trial, Outcome.UNCLEAR, seconds=seconds, reason=f"could not be tried: {why}")


def judge_trial(trial: Trial, record: ProofRecord) -> Finding:
    """What a drill's answer says about the drill. ``inconclusive`` is for the caller to look into.

    A mismatch that is told under a caveat (the scratch server lacks the source's locale) was seen,
    but the drill cannot be sure here.
    """
    finding = Finding(trial, Outcome.MISSED, record.result, record.seconds, record.reason)
    named = _names(trial, record)
    if record.result is trial.expected:
        return replace(finding, outcome=Outcome.CAUGHT if named else Outcome.MISSED)
    seen = trial.expected is ProofResult.MISMATCH and bool(record.differences) and named
    if record.result is ProofResult.INCONCLUSIVE and seen:
        return replace(finding, outcome=Outcome.UNCLEAR)
    return finding


def _names(trial: Trial, record: ProofRecord) -> bool:
    """Whether the drill told what is damaged."""
    if not trial.naming:
        return True
    if trial.expected is ProofResult.MISMATCH:
        told = {comparable(difference.object) for difference in record.differences}
        return any(comparable(name) in told for name in trial.naming)
    return any(name in (record.reason or "") for name in trial.naming)


def _places(part: Part) -> Sequence[tuple[str, int]]:
    """Where a byte is flipped: words for it, and the offset. None in an empty part."""
    size = part.stored_bytes
    if size == 0:
        return ()
    if part.kind is not PartKind.DUMP:
        return (("", size // 2),)
    return (
        (" near the beginning", min(_KEY_PACKET, size - 1)),
        (" in the middle", size // 2),
        (" near the end", max(0, size - _TRAILER)),
    )


def _manifest_trials(manifest: Manifest) -> list[StoredTrial]:
    key = manifest_key(manifest.ref, manifest.id)
    first, *rest = manifest.parts
    digit = "1" if first.sha256.startswith("0") else "0"
    forged = replace(first, sha256=digit + first.sha256[1:])
    changed = encode_manifest(replace(manifest, parts=(forged, *rest)))
    return [
        StoredTrial(_of_manifest("a changed manifest"), key, rewritten(changed)),
        StoredTrial(_of_manifest("a part missing"), key, missing(key)),
    ]


def _stored(
    manifest: Manifest, part: Part, damage: str, effect: _Effect, number: int
) -> StoredTrial:
    key = part_key(manifest, part)
    return StoredTrial(of_part(part, damage), key, effect(key, number))


def of_part(part: Part, damage: str) -> Trial:
    """A damage of one part's bytes."""
    return Trial(damage, _label(part), ProofResult.UNRESTORABLE, (part.name,))


def _label(part: Part) -> str:
    """What it holds, and of a dump's further parts which."""
    is_first = part.kind not in STEMS or part.name.startswith(STEMS[part.kind])
    return part.kind.value if is_first else f"{part.kind.value} {part.name.split('.')[0]}"


def _of_manifest(damage: str) -> Trial:
    naming = (MANIFEST, MANIFEST_NAME)
    return Trial(damage, MANIFEST, ProofResult.UNRESTORABLE, naming)


def part_key(manifest: Manifest, part: Part) -> str:
    """Where a part lies in a store."""
    return backup_prefix(manifest.ref, manifest.id) + part.name


def told(finding: Finding) -> str:
    """A finding in a few words."""
    if finding.result is None:
        return f"{finding.outcome.value}: {finding.reason}"
    seconds = format_duration(round(finding.seconds, 1))
    if finding.trial.damage == UNDAMAGED:
        return f"{finding.result.value} after {seconds}"
    return f"{finding.outcome.value}, {finding.result.value} after {seconds}"
