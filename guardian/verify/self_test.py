"""The drill of the drill: damaged copies of a real backup, each of which a drill must catch.

A drill that never says no proves nothing. So one backup that is proven is damaged in every way that
we know of, on the fly or in copies, and drilled each time by the very code that drills backups.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import replace

from guardian.backup.fingerprint import decode_fingerprint
from guardian.backup.manifest import encode_manifest
from guardian.backup.recovery import read_manifest
from guardian.errors import GuardianError, InconclusiveError, InterruptedRunError
from guardian.model import (
    BackupId,
    DatabaseDamage,
    DatabaseRef,
    Fingerprint,
    Manifest,
    Part,
    PartKind,
    ProofLevel,
    ProofRecord,
    ProofResult,
)
from guardian.ports import Encryptor, Store
from guardian.restore.opening import DumpArchive
from guardian.units import format_duration
from guardian.verify.bench import Bench
from guardian.verify.damaged_store import DamagedStore, ReadOnlyStore, replaced
from guardian.verify.forging import Claim, ForgedSource
from guardian.verify.intruding import CHANGED, MOVED, PIN, RECORD, STRIPPED, Intruder
from guardian.verify.ports import Workshop
from guardian.verify.trial import (
    FOREIGN,
    SWAPPED,
    UNDAMAGED,
    WRONG_KEY,
    Finding,
    Outcome,
    SelfTestReport,
    StoredTrial,
    Trial,
    absent_parts,
    judge_trial,
    not_applicable,
    of_part,
    part_key,
    stored_trials,
    told,
    unclear,
)

_SMALL = 256 << 20
_COPY_COST = 2
"""A copy that is damaged, dumped, restored and compared, in restores with their comparison."""


class SelfTest:
    """Tries whether drills see anything, on real backups."""

    def __init__(self, bench: Bench) -> None:
        self._bench = bench

    def run(
        self,
        ref: DatabaseRef,
        backup: BackupId,
        *,
        known: Manifest | None = None,
        other: Manifest | None = None,
    ) -> SelfTestReport:
        """Try everything that one backup allows.

        ``known`` is the manifest as the catalog has it. ``other`` is another backup of the same
        database in the same store, whose parts are put in place of this one's; without it one is
        made.

        Raises:
            InterruptedRunError: a person or the system stopped us; nothing was left behind.
            NotFoundError: there is no such backup.
        """
        bench = self._bench
        store = ReadOnlyStore(bench.store)
        trial = Trial(UNDAMAGED, "", ProofResult.PROVEN)
        bench.progress.begin(f"{ref}: self-test, first {backup} as it is")
        record = bench.drill(ref, backup, store=store, encryptor=bench.encryptor, known=known)
        control = judge_trial(trial, record)
        bench.progress.end(f"{ref}: self-test, {backup} as it is: {told(control)}")
        report = SelfTestReport(ref, backup, store.name, control)
        if not report.is_proven:
            return report
        manifest = known or read_manifest(store, ref, backup)
        self._announce(manifest, record)
        try:
            return replace(report, findings=tuple(self._findings(manifest, other)))
        except InterruptedRunError:
            raise
        except GuardianError as error:
            raise InconclusiveError(
                f"{ref}: the self-test could not be done: {error.message}", mend=error.mend
            ) from error

    def _announce(self, manifest: Manifest, drilled: ProofRecord) -> None:
        """Say what will be done, and about how long it takes."""
        trials = stored_trials(manifest)
        dumps = {part_key(manifest, part) for part in manifest.parts_of(PartKind.DUMP)}
        drills = sum(one.key in dumps for one in trials) + 2
        copies = len(DatabaseDamage) + 1
        once = drilled.restore_seconds + drilled.compare_seconds
        seconds = drilled.seconds + (drills + _COPY_COST * copies) * once
        self._bench.progress.note(
            f"{manifest.ref}: {_count(self._bench, manifest)} trials: "
            f"{len(trials) + len(manifest.parts)} with damaged bytes, "
            f"{_forgeries(self._bench)} with forged documents, one with a wrong key, and {copies} "
            "with a damaged copy of the database, each of which is dumped and drilled; about "
            f"{format_duration(max(1, round(seconds)))}"
        )

    def _findings(self, manifest: Manifest, other: Manifest | None) -> Iterator[Finding]:
        bench = self._bench
        claim = _claim(bench, manifest)
        with bench.workshops.open(manifest, claim.fingerprint, bench.plan.jobs) as workshop:
            yield from _Series(bench, claim, other, workshop).run()


class _Series:
    """The trials of one backup, in order."""

    def __init__(
        self, bench: Bench, claim: Claim, other: Manifest | None, workshop: Workshop
    ) -> None:
        self._bench = bench
        self._claim = claim
        self._manifest = claim.manifest
        self._level = claim.fingerprint.level
        self._other = other
        self._workshop = workshop
        self._scratch = workshop.scratch
        self._number = 0
        self._seen: tuple[Fingerprint, tuple[str, ...]] | None = None
        self._made: Manifest | None = None

    def run(self) -> Iterator[Finding]:
        """Every trial's finding."""
        for one in stored_trials(self._manifest):
            yield self._try_bytes(one)
        yield from absent_parts(self._manifest)
        yield self._try_wrong_key()
        self._restore()
        for damage in DatabaseDamage:
            yield self._try_damage(damage)
        yield self._try_swapped()
        for part in self._manifest.parts:
            yield self._try_foreign(part)
        if self._bench.seals is not None:
            yield from self._try_forgeries(Intruder(self._bench.seals, self._manifest))

    def _restore(self) -> None:
        fingerprint = self._claim.fingerprint
        self._bench.progress.begin(f"{self._manifest.ref}: self-test, restoring what is damaged")
        counts = {(one.schema, one.name): one.rows for one in fingerprint.tables}
        archive = DumpArchive(self._bench.reader(self._manifest))
        self._workshop.original.restore(archive, counts, self._bench.progress.advance)

    # --- damaged bytes ------------------------------------------------------------------------

    def _try_bytes(self, one: StoredTrial) -> Finding:
        def work() -> Finding:
            store = DamagedStore(self._bench.store, one.key, one.opening)
            return self._judged(one.trial, lambda: self._drill(store, self._bench.encryptor))

        return self._tried(one.trial, work)

    def _try_wrong_key(self) -> Finding:
        trial = Trial(WRONG_KEY, "", ProofResult.INCONCLUSIVE)
        key = self._bench.own.wrong_keys[self._manifest.encryption.kind]
        store = ReadOnlyStore(self._bench.store)
        return self._tried(trial, lambda: self._judged(trial, lambda: self._drill(store, key)))

    def _try_foreign(self, part: Part) -> Finding:
        """A part of the user's other backup, or of one that was made here."""
        trial = of_part(part, FOREIGN)

        def work() -> Finding:
            store, other = self._bench.store, self._other
            if other is None:
                store, other = self._bench.own.store, self._own_backup()
            theirs = other.parts_of(part.kind)
            theirs = tuple(one for one in theirs if one.name == part.name) or theirs
            if not theirs:
                return not_applicable(trial, f"backup {other.id} has no such part")
            if theirs[0].sha256 == part.sha256:
                return not_applicable(trial, f"backup {other.id} has the very same part")
            opening = replaced(store, part_key(other, theirs[0]))
            damaged = DamagedStore(self._bench.store, part_key(self._manifest, part), opening)
            return self._judged(trial, lambda: self._drill(damaged, self._bench.encryptor))

        return self._tried(trial, work)

    # --- forged documents ---------------------------------------------------------------------

    def _try_forgeries(self, intruder: Intruder) -> Iterator[Finding]:
        def drilled(trial: Trial, store: Store | None) -> Finding:
            if store is None:
                return not_applicable(trial, "this host signs nothing")
            return self._judged(trial, lambda: self._drill(store, self._bench.encryptor))

        now = self._bench.clock.now()
        proven = ProofRecord(
            backup=self._manifest.id,
            store=self._bench.store.name,
            result=ProofResult.PROVEN,
            at=now,
        )
        digest = hashlib.sha256(encode_manifest(self._manifest)).hexdigest()
        tries: tuple[tuple[Trial, Callable[[], Finding]], ...] = (
            (CHANGED, lambda: drilled(CHANGED, intruder.changed(stripped=False))),
            (STRIPPED, lambda: drilled(STRIPPED, intruder.changed(stripped=True))),
            (MOVED, lambda: drilled(MOVED, intruder.moved())),
            (RECORD, lambda: intruder.record(proven, digest)),
            (PIN, lambda: intruder.pin(now)),
        )
        for trial, work in tries:
            yield self._tried(trial, work)

    # --- damaged databases --------------------------------------------------------------------

    def _try_damage(self, damage: DatabaseDamage) -> Finding:
        trial = Trial(damage.value, "", ProofResult.MISMATCH)

        def work() -> Finding:
            if damage is DatabaseDamage.ROW_CHANGED and self._level is not ProofLevel.CONTENT:
                return not_applicable(trial, "the backup has row counts alone")
            with self._workshop.damaged(damage, self._claim.fingerprint) as copy:
                if copy is None:
                    return not_applicable(trial, "the database has nothing to damage so")
                source = ForgedSource(copy, self._claim, look=self._seen is None)
                manifest = self._back_up(source)
            if source.seen is not None:
                self._seen = source.seen, copy.objects
            named = replace(trial, part=copy.objects[0], naming=copy.objects)
            try:
                return self._judged(named, lambda: self._bench.drill_own(manifest, self._scratch))
            finally:
                self._bench.discard(manifest)

        return self._tried(trial, work)

    def _try_swapped(self) -> Finding:
        """The undamaged database, with the fingerprint of a state that differs in one thing."""
        trial = Trial(SWAPPED, PartKind.FINGERPRINT.value, ProofResult.MISMATCH)

        def work() -> Finding:
            if self._seen is None:
                return not_applicable(trial, "the database has nothing that could differ")
            fingerprint, objects = self._seen
            claim = replace(self._claim, fingerprint=fingerprint)
            made = self._made = self._back_up(ForgedSource(self._workshop.untouched(), claim))
            named = replace(trial, naming=objects)
            return self._judged(named, lambda: self._bench.drill_own(made, self._scratch))

        return self._tried(trial, work)

    def _own_backup(self) -> Manifest:
        if self._made is None:
            source = ForgedSource(self._workshop.untouched(), self._claim)
            self._made = self._back_up(source)
        return self._made

    def _back_up(self, source: ForgedSource) -> Manifest:
        with_globals = self._claim.globals_sql is not None
        return self._bench.back_up(
            source, self._manifest.ref, self._level, with_globals=with_globals
        )

    # --- one trial ----------------------------------------------------------------------------

    def _drill(self, store: Store, encryptor: Encryptor) -> ProofRecord:
        return self._bench.drill(
            self._manifest.ref,
            self._manifest.id,
            store=store,
            encryptor=encryptor,
            known=self._manifest,
            scratch=self._scratch,
        )

    def _judged(self, trial: Trial, drill: Callable[[], ProofRecord]) -> Finding:
        """The finding. A drill that cannot tell is only blamed where the undamaged one can."""
        finding = judge_trial(trial, drill())
        if not _is_doubtful(finding):
            return finding
        finding = judge_trial(trial, drill())  # what hindered it may have been there by chance
        if not _is_doubtful(finding):
            return finding
        control = self._drill(ReadOnlyStore(self._bench.store), self._bench.encryptor)
        if control.result is ProofResult.PROVEN:
            return finding
        return replace(finding, outcome=Outcome.UNCLEAR)

    def _tried(self, trial: Trial, work: Callable[[], Finding]) -> Finding:
        self._number += 1
        label = (
            f"self-test {self._number} of {_count(self._bench, self._manifest)}: {_title(trial)}"
        )
        self._bench.progress.begin(label)
        began = self._bench.clock.monotonic()
        try:
            finding = work()
        except InterruptedRunError:
            raise
        except GuardianError as error:
            finding = unclear(trial, str(error))
        if finding.outcome is not Outcome.NOT_APPLICABLE:
            seconds = round(self._bench.clock.monotonic() - began, 3)
            finding = replace(finding, seconds=seconds)
        self._bench.progress.end(f"{label}: {told(finding)}")
        return finding


def _is_doubtful(finding: Finding) -> bool:
    """Whether a drill failed to tell, maybe because something hindered it."""
    doubtful = finding.result is ProofResult.INCONCLUSIVE
    return doubtful and finding.outcome is Outcome.MISSED


def _claim(bench: Bench, manifest: Manifest) -> Claim:
    """What the backup says of itself. It was proven a moment ago, so there is a fingerprint."""
    reader = bench.reader(manifest)
    fingerprints = [reader.data(part, _SMALL) for part in manifest.parts_of(PartKind.FINGERPRINT)]
    globals_sql = [reader.data(part, _SMALL) for part in manifest.parts_of(PartKind.GLOBALS)]
    fingerprint = decode_fingerprint(fingerprints[0])
    return Claim(manifest, fingerprint, globals_sql[0] if globals_sql else None)


def _count(bench: Bench, manifest: Manifest) -> int:
    """How many trials: bytes, a wrong key, databases, a swap, another backup's parts, forgeries."""
    damages = len(stored_trials(manifest)) + 1 + len(DatabaseDamage) + 1 + len(manifest.parts)
    return damages + _forgeries(bench)


def _forgeries(bench: Bench) -> int:
    return 0 if bench.seals is None else 5


def _title(trial: Trial) -> str:
    return f"{trial.damage} ({trial.part})" if trial.part else trial.damage
