"""Objects of a few kilobytes, read and written whole: manifests, and what lies beside them."""

from __future__ import annotations

from guardian.errors import ManifestError
from guardian.ports import Store

_BLOCK = 1 << 20


def read_small(store: Store, key: str, largest: int) -> bytes:
    """All of an object.

    Raises:
        StoreNotFoundError: it is not there.
        StoreError: it could not be read.
        ManifestError: it has more than ``largest`` bytes; whoever writes to the store cannot make
            us read endlessly.
    """
    data = bytearray()
    with store.open_reader(key) as reader:
        while block := reader.read(_BLOCK):
            data += block
            if len(data) > largest:
                raise ManifestError(f"store {store.name}: {key} is too large to be ours")
    return bytes(data)


def write_small(store: Store, key: str, data: bytes) -> None:
    """Put an object there, over one of that name. Raises StoreError; then nothing was changed."""
    with store.open_writer(key, expected_bytes=len(data)) as writer:
        writer.write(data)
        writer.commit()
