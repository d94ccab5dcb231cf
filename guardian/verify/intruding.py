"""What an intruder writes into a store, seen by a drill: all of it must be refused.

He can write any manifest, any record of a drill and any pin; what he cannot do is sign them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime

from guardian.backup.kept_file import KeptNote, encode_kept, kept_key
from guardian.backup.manifest import LARGEST, encode_manifest, manifest_key
from guardian.backup.proof_file import encode_proof, proof_key
from guardian.backup.signature import signature_key
from guardian.backup.small_objects import read_small
from guardian.errors import SignatureError
from guardian.model import BackupId, Manifest, ProofRecord, ProofResult
from guardian.ports import Store
from guardian.verify.damaged_store import DamagedStore, missing, replaced, rewritten
from guardian.verify.trial import MANIFEST, Finding, Outcome, Trial

CHANGED = Trial(
    "a forged manifest", MANIFEST, ProofResult.UNRESTORABLE, naming=("signature", "signed")
)
STRIPPED = Trial(
    "a manifest without its signature", MANIFEST, ProofResult.UNRESTORABLE, ("signed",)
)
MOVED = Trial("another backup's signed manifest", MANIFEST, ProofResult.UNRESTORABLE, (MANIFEST,))
RECORD = Trial("a forged record of a drill", "proof", None)
PIN = Trial("a forged pin", "pin", None)


@dataclass(frozen=True, slots=True)
class Seals:
    """Signatures as this host demands them.

    ``store`` is where the backup lies, without the checking; ``checked`` puts it over any store,
    and nothing passes it for being known. ``sign`` is what only we can do; it gives None on a host
    that checks and does not sign.
    """

    store: Store
    checked: Callable[[Store], Store]
    sign: Callable[[bytes], bytes | None]


@dataclass(frozen=True, slots=True)
class Intruder:
    """Writes, as far as the drill can see, beside and over one backup."""

    seals: Seals
    manifest: Manifest

    def changed(self, *, stripped: bool) -> Store:
        """The manifest has another hash; its signature is the old one, or gone."""
        first, *rest = self.manifest.parts
        forged = replace(first, sha256=first.sha256[::-1])
        data = encode_manifest(replace(self.manifest, parts=(forged, *rest)))
        return self._with(data, b"" if stripped else None)

    def moved(self) -> Store | None:
        """In its place lies that of another backup, signed by us; None where we sign nothing."""
        data = encode_manifest(replace(self.manifest, id=_another(self.manifest.id)))
        signature = self.seals.sign(data)
        return None if signature is None else self._with(data, signature)

    def record(self, proven: ProofRecord, manifest_sha256: str) -> Finding:
        """A record that says "proven", with the signature of the manifest."""
        data = encode_proof(
            proven, manifest_sha256=manifest_sha256, guardian_version="0", host="nowhere"
        )
        key = proof_key(self.manifest.ref, self.manifest.id, proven.at)
        return self._read(RECORD, key, data, keep_signature=True)

    def pin(self, now: datetime) -> Finding:
        """A note that takes back every pin, without a signature."""
        ref, backup = self.manifest.ref, self.manifest.id
        data = encode_kept(KeptNote(backup, kept=False, at=now, by="somebody", ref=ref))
        return self._read(PIN, kept_key(ref, backup), data, keep_signature=False)

    def _with(self, document: bytes, signature: bytes | None) -> Store:
        key = manifest_key(self.manifest.ref, self.manifest.id)
        store: Store = DamagedStore(self.seals.store, key, rewritten(document))
        beside = signature_key(key)
        if signature is not None:
            opening = rewritten(signature) if signature else missing(beside)
            store = DamagedStore(store, beside, opening)
        return self.seals.checked(store)

    def _read(self, trial: Trial, key: str, document: bytes, *, keep_signature: bool) -> Finding:
        store: Store = DamagedStore(self.seals.store, key, rewritten(document))
        theirs = signature_key(manifest_key(self.manifest.ref, self.manifest.id))
        opening = replaced(self.seals.store, theirs) if keep_signature else missing(theirs)
        store = DamagedStore(store, signature_key(key), opening)
        try:
            read_small(self.seals.checked(store), key, LARGEST)
        except SignatureError as error:
            return Finding(trial, Outcome.CAUGHT, reason=str(error))
        return Finding(trial, Outcome.MISSED, reason="it was believed")


def _another(backup: BackupId) -> BackupId:
    """An id that is none of ours, of the same instant."""
    return BackupId(backup[:-6] + ("000001" if backup.endswith("000000") else "000000"))
