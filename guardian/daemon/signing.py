"""Who signs what lies in stores, whose signatures count, and what needs none."""

from __future__ import annotations

from typing import TYPE_CHECKING

from guardian.adapters.deadline import SingleFlight
from guardian.adapters.signatures.openpgp import KeySigner
from guardian.adapters.signatures.passphrase import PassphraseSigner
from guardian.adapters.signatures.several import SeveralSigners
from guardian.adapters.stores.signed import Demands, SignedStore
from guardian.backup.manifest import MANIFEST_NAME, decode_manifest, manifest_key, parse_key
from guardian.daemon.stores import make_store
from guardian.errors import GuardianError

if TYPE_CHECKING:
    from guardian.adapters.signatures.several import Kind
    from guardian.daemon.app import App
    from guardian.model import BackupRecord
    from guardian.ports import Signer, Store

UNKNOWN = "unknown"
_PATIENCE = 3.0
SALT_FILE = "signature-salt"


def make_signer(app: App) -> Signer:
    """The key of ``sign_with``, else the passphrase; whichever are configured can check."""
    section = app.config.encryption
    checking: list[Kind] = []
    if section.sign_with or section.signed_by:
        checking.append(
            KeySigner(
                sign_with=section.sign_with, signed_by=section.signed_by, homedir=section.homedir
            )
        )
    if section.passphrase_file is not None:
        salt_file = app.config.state_dir / SALT_FILE
        checking.append(PassphraseSigner(app.encryptor.passphrase, salt_file))
    writing = next((one for one in checking if one.describe() is not None), None)
    return SeveralSigners(writing, checking)


def signed_store(app: App, name: str) -> SignedStore:
    """One configured store. What the catalog remembers itself needs no signature."""
    store: Store = make_store(name, app.config.stores[name])
    required = app.config.encryption.is_signature_required
    demands = Demands(required, lambda key, document: _remembers(app, key, document))
    return SignedStore(store, app.signer, demands)


def _remembers(app: App, key: str, document: bytes) -> bool:
    """Whether this is the manifest that the catalog has of that very backup."""
    parsed = parse_key(key)
    if parsed is None or parsed.part != MANIFEST_NAME:
        return False
    try:
        known = app.catalog.manifest(parsed.id)
        return known is not None and known.ref == parsed.ref and known == decode_manifest(document)
    except GuardianError:
        return False


def signatures(app: App, record: BackupRecord) -> dict[str, str]:
    """What a manifest's signature is worth in each store: a Standing, or ``unknown``."""
    key = manifest_key(record.ref, record.id)
    return {name: _signature_in(app, name, key) for name in record.stores}


def _signature_in(app: App, store: str, key: str) -> str:
    if store not in app.stores:
        return UNKNOWN
    place = app.stores[store]
    try:
        # A store that is away is asked for minutes, and a person waits.
        standing = SingleFlight(f"signature in {store}").run(lambda: place.standing(key), _PATIENCE)
    except (GuardianError, TimeoutError):
        return UNKNOWN
    return standing.value
