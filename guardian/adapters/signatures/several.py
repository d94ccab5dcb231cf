"""Signatures of several kinds: one to sign with, each to check its own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from guardian.backup.signature import HMAC, Unsigned
from guardian.errors import ForgedError, UncheckedSignatureError
from guardian.ports import Signer


class Kind(Signer, Protocol):
    """A Signer that knows its own signatures when it sees them."""

    def recognises(self, signature: bytes) -> bool:
        """Whether it is one of this kind."""


class SeveralSigners:
    """Implements the Signer port: ``writing`` signs, and each of ``checking`` checks its kind."""

    def __init__(self, writing: Signer | None, checking: Sequence[Kind]) -> None:
        self._writing = writing or Unsigned()
        self._checking = tuple(checking)

    def describe(self) -> str | None:
        """How it signs."""
        return self._writing.describe()

    def check(self) -> None:
        """Raise EncryptionError unless it could sign now, or signs nothing."""
        self._writing.check()

    def get_ready(self) -> None:
        """Let the one that signs begin."""
        self._writing.get_ready()

    def sign(self, document: bytes) -> bytes | None:
        """A signature by the one that signs."""
        return self._writing.sign(document)

    def verify(self, document: bytes, signature: bytes) -> None:
        """Let the one that knows it judge it."""
        for one in self._checking:
            if one.recognises(signature):
                one.verify(document, signature)
                return
        if signature.lstrip().startswith(b"-----BEGIN PGP SIGNATURE-----"):
            raise UncheckedSignatureError(
                "is signed by an OpenPGP key, and none is configured",
                mend="set encryption.signed_by to the fingerprint of the key that signs",
            )
        if HMAC.encode() in signature:
            raise UncheckedSignatureError(
                "is signed by means of a passphrase, which this host does not have",
                mend="set encryption.passphrase_file",
            )
        raise ForgedError("has a signature that is none of guardian's")
