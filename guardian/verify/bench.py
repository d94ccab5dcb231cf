"""What the drill of the drill works with: the code that backs up and drills, and its own store.

Nothing goes into the store of the backup, nor into guardian's catalog: what is drilled is seen
through a store that refuses to be changed, and written down in a catalog that nobody else sees.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from guardian.backup.recovery import take_back
from guardian.backup.run import BackupPlan, BackupRunner
from guardian.errors import GuardianError
from guardian.model import (
    BackupId,
    DatabaseRef,
    EncryptionKind,
    Holder,
    Manifest,
    ProofLevel,
    ProofRecord,
)
from guardian.ports import Catalog, Clock, Compressor, Encryptor, Progress, Source, Store
from guardian.restore.opening import BackupReader
from guardian.verify.drill import Drill, DrillPlan
from guardian.verify.intruding import Seals
from guardian.verify.ports import ScratchServers, Workshops


@dataclass(frozen=True, slots=True)
class OwnThings:
    """What a self-test has of its own, thrown away after it.

    ``wrong_keys`` cannot decrypt a backup of their kind. ``new_catalog`` makes an empty catalog,
    ``token`` six random hex digits.
    """

    store: Store
    encryptor: Encryptor
    wrong_keys: Mapping[EncryptionKind, Encryptor]
    new_catalog: Callable[[], Catalog]
    token: Callable[[], str]


@dataclass(frozen=True, slots=True)
class Bench:
    """Drills and backups for one self-test. ``store`` is where the user's backup lies.

    ``seals`` is None where nothing need be signed.
    """

    store: Store
    scratch: ScratchServers
    workshops: Workshops
    encryptor: Encryptor
    compressor: Compressor
    own: OwnThings
    clock: Clock
    progress: Progress
    holder: Holder
    plan: DrillPlan
    version: str
    seals: Seals | None = None
    quiet: Progress = field(init=False)

    def __post_init__(self) -> None:
        """The user's own checks judge the database and not the drill: they are left out."""
        object.__setattr__(self, "plan", replace(self.plan, checks=(), amcheck=False))
        object.__setattr__(self, "quiet", _Within(self.progress))

    def drill(
        self,
        ref: DatabaseRef,
        backup: BackupId,
        *,
        store: Store,
        encryptor: Encryptor,
        known: Manifest | None,
        scratch: ScratchServers | None = None,
    ) -> ProofRecord:
        """Drill as always. ``known`` is the manifest as it was written.

        Raises:
            InterruptedRunError, NotFoundError: as Drill.run.
        """
        catalog = self.own.new_catalog()
        if known is not None:
            catalog.import_manifest(known, store.name)
        drill = Drill(
            store=store,
            scratch=scratch or self.scratch,
            encryptor=encryptor,
            compressor=self.compressor,
            catalog=catalog,
            clock=self.clock,
            progress=self.quiet,
            holder=self.holder,
            plan=self.plan,
            version=self.version,
        )
        return drill.run(ref, backup).record

    def back_up(
        self, source: Source, ref: DatabaseRef, level: ProofLevel, *, with_globals: bool
    ) -> Manifest:
        """Make a backup in our own store.

        Raises:
            GuardianError: it could not be made; nothing is left of it.
        """
        catalog = self.own.new_catalog()
        runner = BackupRunner(
            source=source,
            stores=[self.own.store],
            compressor=self.compressor,
            encryptor=self.own.encryptor,
            catalog=catalog,
            clock=self.clock,
            progress=self.quiet,
            holder=self.holder,
            plan=BackupPlan(
                proof=level, with_globals=with_globals, timeout=self.plan.timeout, attempts=1
            ),
            version=self.version,
            token=self.own.token,
        )
        result = runner.run(ref)
        manifest = catalog.manifest(result.id)
        if manifest is None:
            raise result.error or GuardianError(f"{ref}: no backup was made")
        return manifest

    def drill_own(self, manifest: Manifest, scratch: ScratchServers) -> ProofRecord:
        """Drill a backup of our own store. Raises as :meth:`drill`."""
        return self.drill(
            manifest.ref,
            manifest.id,
            store=self.own.store,
            encryptor=self.own.encryptor,
            known=manifest,
            scratch=scratch,
        )

    def discard(self, manifest: Manifest) -> None:
        """Remove a backup from our own store."""
        take_back(self.own.store, manifest.ref, manifest.id)

    def reader(self, manifest: Manifest) -> BackupReader:
        """The user's backup, to read."""
        return BackupReader(self.store, manifest, self.encryptor, self.compressor)


class _Within:
    """Progress of one trial: what moves is shown, the words are those of the trial."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress

    def begin(self, label: str, total_bytes: int | None = None) -> None:
        """Nothing: the trial has begun."""

    def advance(self, done_bytes: int) -> None:
        """As within."""
        self._progress.advance(done_bytes)

    def note(self, text: str) -> None:
        """Nothing: it belongs to a damaged copy."""

    def end(self, summary: str) -> None:
        """Nothing: the trial goes on."""
