"""Which documents in a store are signed, and where the signature lies.

Whoever can write to a store can write any manifest, any record of a drill, any pin. So each of
these is signed, in an object beside it. What is signed is the document's very bytes, and each
document says itself which backup it is about: a manifest its id, server and database, and the
SHA-256 of every part; a drill's record the id, the manifest's SHA-256 and the time; a pin the id,
server and database. So none of them is worth anything in another place, and ``gpg --verify`` needs
no more than the two files.
"""

from __future__ import annotations

from guardian.backup.kept_file import KEPT_NAME
from guardian.backup.manifest import MANIFEST_NAME
from guardian.backup.proof_file import is_proof_name
from guardian.errors import UncheckedSignatureError

SUFFIX = ".sig"
LARGEST = 16 * 1024
"""Bytes of a signature at most: eight of the largest keys' in use."""

OPENPGP = "openpgp:"
"""How a manifest begins to tell by which key it is signed; the key's full fingerprint follows."""
HMAC = "hmac-sha256"
"""How a manifest tells that it is signed by means of the passphrase."""

FORGED = "store.forged"
"""The kind of event that tells of a document in a store that nobody of ours has signed."""

_SUBJECTS = {MANIFEST_NAME: "manifest", KEPT_NAME: "pin"}


def signature_key(key: str) -> str:
    """Where the signature of the document at ``key`` lies."""
    return key + SUFFIX


def is_signed(key: str) -> bool:
    """Whether what lies at this key is a document that guardian signs."""
    name = key.rpartition("/")[2]
    return name in _SUBJECTS or is_proof_name(name)


def is_signature(name: str) -> bool:
    """Whether an object of this name in a backup's folder is a signature."""
    return name.endswith(SUFFIX) and is_signed(name.removesuffix(SUFFIX))


def subject(key: str) -> str:
    """A signed document in words: what it is, and of which backup."""
    folder, _, name = key.rpartition("/")
    what = _SUBJECTS.get(name, "record of a drill")
    return f"the {what} of {folder.rpartition('/')[2]}"


class Unsigned:
    """Implements the Signer port for a host that signs nothing and can check nothing."""

    def describe(self) -> str | None:
        """Nothing."""
        return None

    def check(self) -> None:
        """All is well."""

    def get_ready(self) -> None:
        """Nothing will be signed."""

    def sign(self, document: bytes) -> bytes | None:
        """No signature."""
        del document
        return None

    def verify(self, document: bytes, signature: bytes) -> None:
        """It cannot be told."""
        del document, signature
        raise UncheckedSignatureError(
            "is signed, which this host has no key to check",
            mend="set encryption.signed_by to the signing key's fingerprint",
        )
