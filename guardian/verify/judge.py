"""The verdict on a backup, from what a drill saw.

Never wrong in either direction: nothing is proven unless it was compared, and nothing is called
damaged where this host, and not the backup, may be to blame.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from guardian.model import CheckOutcome, Difference, Fingerprint, ProofLevel, ProofResult
from guardian.verify.names import one_line

_NAMED = 3


@dataclass(frozen=True, slots=True)
class Evidence:
    """What a drill saw.

    ``stored_damage`` says that what lies in the store is not what was stored (a wrong SHA-256, a
    missing or short part): nothing here excuses it. ``damage`` is what a stage of the restore said
    when it failed (gpg, zstd, pg_restore). ``obstacle`` is what kept the drill from being done,
    with the mend: an extension that this host lacks, no private key. ``caveats`` are conditions
    under which a negative cannot be trusted ("locale de_DE.UTF-8 is not on this host").

    ``expected`` is the backup's fingerprint, ``found`` that of the restored database, and
    ``differences`` what :func:`guardian.verify.compare.compare` gave; None where it did not come to
    that. ``checks`` are the user's.
    """

    stored_damage: str | None = None
    damage: str | None = None
    obstacle: str | None = None
    caveats: tuple[str, ...] = ()
    expected: Fingerprint | None = None
    found: Fingerprint | None = None
    differences: tuple[Difference, ...] | None = None
    checks: tuple[CheckOutcome, ...] = ()


@dataclass(frozen=True, slots=True)
class Verdict:
    """A drill's result, and why: one line for every result but ``proven``."""

    result: ProofResult
    reason: str | None = None


def judge(evidence: Evidence) -> Verdict:
    """Judge what a drill saw. Total: whatever the evidence, there is a verdict.

    Damage of the stored bytes counts before all else. Then what went wrong, the worst first: a
    failed stage, differences, checks. Each is ``inconclusive`` where a caveat (or, for a failed
    stage, an obstacle) may be the cause; both are named then. An obstacle alone comes before
    checks, and after differences, which were found before it. Nothing wrong is ``proven`` only if
    there was a fingerprint and the restored database was really compared with it.
    """
    if evidence.stored_damage is not None:
        return _verdict(ProofResult.UNRESTORABLE, evidence.stored_damage)
    if evidence.damage is not None:
        doubts = (evidence.obstacle, *evidence.caveats)
        return _negative(ProofResult.UNRESTORABLE, evidence.damage, doubts)
    if evidence.differences:  # found before whatever kept the checks from being done
        named = _listed(map(_difference, evidence.differences))
        return _negative(ProofResult.MISMATCH, f"differs: {named}", evidence.caveats)
    if evidence.obstacle is not None:
        return _verdict(ProofResult.INCONCLUSIVE, evidence.obstacle)
    if failed := [check.name for check in evidence.checks if not check.passed]:
        word = "check" if len(failed) == 1 else "checks"
        named = _listed(f"{name!r}" for name in failed)
        return _negative(ProofResult.MISMATCH, f"{word} fell short: {named}", evidence.caveats)
    if (doubt := _not_compared(evidence)) is not None:
        return _verdict(ProofResult.INCONCLUSIVE, doubt)
    return Verdict(ProofResult.PROVEN)


def _not_compared(evidence: Evidence) -> str | None:
    """Why the absence of differences shows nothing; None where it does."""
    expected, found = evidence.expected, evidence.found
    if expected is None or expected.level is ProofLevel.NONE:
        return (
            "restored without error, but without a fingerprint (backup.proof: none, or it failed)"
        )
    if evidence.differences is None or found is None:
        return "restored without error, but it was not compared with its fingerprint"
    unread = [
        f"{one:,} {what}{'' if one == 1 else 's'}"
        for what, one, other in (
            ("table", len(expected.tables), len(found.tables)),
            ("object", _objects(expected), _objects(found)),
        )
        if one and not other
    ]
    if unread:
        return f"nothing was compared: {' and '.join(unread)} expected, none read after the restore"
    return None


def _objects(fingerprint: Fingerprint) -> int:
    return sum(map(len, fingerprint.objects.values()))


def _negative(result: ProofResult, what: str, doubts: Iterable[str | None]) -> Verdict:
    """A negative result, or none where something else may be the cause."""
    causes = [doubt for doubt in doubts if doubt is not None]
    if not causes:
        return _verdict(result, what)
    return _verdict(
        ProofResult.INCONCLUSIVE, f"{what}; but this may be the cause: {_listed(causes)}"
    )


def _verdict(result: ProofResult, reason: str) -> Verdict:
    return Verdict(result, one_line(" ".join(reason.split())) or "no reason was given")


def _difference(difference: Difference) -> str:
    return f"{difference.object} ({difference.expected} expected, {difference.found} found)"


def _listed(names: Iterable[str]) -> str:
    """The first few, and how many more there are."""
    everything = list(names)
    shown = everything[:_NAMED]
    if more := len(everything) - len(shown):
        shown.append(f"and {more:,} more")
    return "; ".join(shown)
