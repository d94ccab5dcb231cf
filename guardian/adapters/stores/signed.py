"""Another store, whose manifests, pins and records of drills are signed, and checked when read.

Everything that reads or writes a document goes through a store, so nothing can forget to check.
The signature is written before its document: a document that is there has one, whatever dies in
between. What is not a signed document passes through untouched.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from io import BytesIO

from guardian.adapters.stores.passing import PassingStore, PassingWriter
from guardian.backup.manifest import LARGEST, MANIFEST_NAME
from guardian.backup.signature import LARGEST as LARGEST_SIGNATURE
from guardian.backup.signature import is_signed, signature_key, subject
from guardian.errors import (
    ForgedError,
    ManifestError,
    SignatureError,
    StoreNotFoundError,
    UncheckedSignatureError,
    UnsignedError,
)
from guardian.model import StoredObject
from guardian.ports import Readable, Signer, Store, StoreWriter

_BLOCK = 1 << 20
_SUSPECT = "treat the store as broken into: look at who can write there, restore from another one"
_OLDER = (
    "if it is older than signing and nobody else writes there, set encryption.require_signed: "
    "false while you need it"
)


class Standing(StrEnum):
    """What the signature beside a document is worth."""

    SIGNED = "yes"
    UNSIGNED = "no"
    FORGED = "invalid"
    UNCHECKED = "unchecked"
    """This host lacks the key, or the passphrase, to tell."""


@dataclass(frozen=True, slots=True)
class Demands:
    """What a document must show to be read.

    ``required``: one without a signature that can be judged here is refused. ``vouched`` is asked
    of a document at its key: true where we know by ourselves that these are its very contents, so
    that no signature is needed.
    """

    required: bool
    vouched: Callable[[str, bytes], bool] = lambda _key, _document: False


class SignedStore(PassingStore):
    """Implements the Store port over another one; reading a document may raise SignatureError."""

    def __init__(self, inner: Store, signer: Signer, demands: Demands) -> None:
        super().__init__(inner)
        self._signer = signer
        self._demands = demands

    def open_writer(
        self, key: str, *, expected_bytes: int | None = None, exclusive: bool = False
    ) -> StoreWriter:
        """Begin an object; a document's signature is written with the commit."""
        writer = self._inner.open_writer(key, expected_bytes=expected_bytes, exclusive=exclusive)
        if not is_signed(key):
            return writer
        return _SigningWriter(writer, lambda document: self._sign(key, document, exclusive))

    @contextmanager
    def open_reader(self, key: str) -> Iterator[Readable]:
        """Read an object; a document is judged before a byte of it is handed out.

        Raises UnsignedError, ForgedError, UncheckedSignatureError beside what the inner store does.
        """
        with self._inner.open_reader(key) as reader:
            if not is_signed(key):
                yield reader
                return
            document = self._document(key, reader)
        if not self._demands.vouched(key, document):
            self._judge(key, document)
        yield BytesIO(document)

    def standing(self, key: str) -> Standing:
        """What the signature of the document at ``key`` is worth, whoever vouches for it.

        Raises StoreError, StoreNotFoundError when there is no such document.
        """
        with self._inner.open_reader(key) as reader:
            document = self._document(key, reader)
        try:
            self._signer.verify(document, self._signature(key))
        except UnsignedError:
            return Standing.UNSIGNED
        except UncheckedSignatureError:
            return Standing.UNCHECKED
        except SignatureError:
            return Standing.FORGED
        return Standing.SIGNED

    def delete(self, key: str) -> None:
        """As the inner store. A pin and a drill's record take their signatures with them.

        A manifest goes with its whole folder, in which the signature is one object of many.
        """
        self._inner.delete(key)
        if is_signed(key) and key.rpartition("/")[2] != MANIFEST_NAME:
            self._inner.delete(signature_key(key))

    def _sign(self, key: str, document: bytes, exclusive: bool) -> None:  # noqa: FBT001 - the port's
        signature = self._signer.sign(document)
        if signature is None:
            return
        beside, size = signature_key(key), len(signature)
        with self._inner.open_writer(beside, expected_bytes=size, exclusive=exclusive) as writer:
            writer.write(signature)
            writer.commit()

    def _document(self, key: str, reader: Readable) -> bytes:
        document = _all_of(reader, LARGEST)
        if document is None:
            raise ManifestError(f"store {self.name}: {key} is too large to be ours")
        return document

    def _signature(self, key: str) -> bytes:
        try:
            with self._inner.open_reader(signature_key(key)) as reader:
                signature = _all_of(reader, LARGEST_SIGNATURE)
        except StoreNotFoundError as error:
            raise UnsignedError("is not signed", mend=_OLDER) from error
        if signature is None:
            raise ForgedError("has a signature that is too large to be one")
        return signature

    def _judge(self, key: str, document: bytes) -> None:
        try:
            self._signer.verify(document, self._signature(key))
        except (UnsignedError, UncheckedSignatureError) as error:
            if self._demands.required:
                raise self._told(key, error) from error
        except SignatureError as error:
            raise self._told(key, error) from error

    def _told(self, key: str, error: SignatureError) -> SignatureError:
        mend = error.mend or (_SUSPECT if isinstance(error, ForgedError) else None)
        return type(error)(f"store {self.name}: {subject(key)} {error.message}", mend=mend)


class _SigningWriter(PassingWriter):
    """Keeps the document, signs it, and only then commits it."""

    def __init__(self, inner: StoreWriter, sign: Callable[[bytes], None]) -> None:
        super().__init__(inner)
        self._sign = sign
        self._document = bytearray()

    def write(self, data: bytes) -> None:
        """Append."""
        self._document += data
        self._inner.write(data)

    def commit(self) -> StoredObject:
        """Write the signature, then let the document appear."""
        self._sign(bytes(self._document))
        return self._inner.commit()


def _all_of(reader: Readable, largest: int) -> bytes | None:
    """All that is left to read; None when it is more than that, and would fill our memory."""
    data = bytearray()
    while block := reader.read(_BLOCK):
        data += block
        if len(data) > largest:
            return None
    return bytes(data)
