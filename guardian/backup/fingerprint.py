"""Fingerprints: hashing rows, and the document that keeps the result beside a backup.

The content of a table is the sum, modulo 2**128, of the XXH3-128 of each row's COPY text under a
secret seed. A sum does not depend on the order of rows, unlike a chained hash, and it sees pairs,
unlike XOR; the seed keeps anyone who can write rows from planning a collision.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict
from itertools import repeat
from typing import Any

import xxhash

from guardian.errors import ManifestError
from guardian.model import (
    Fingerprint,
    LargeObjects,
    ProofLevel,
    SequencePosition,
    TableFingerprint,
)

FORMAT = 1
_MODULUS = 1 << 128


def sum_rows(rows: Iterable[bytes | memoryview], seed: int) -> int:
    """The sum of the rows' hashes. The loop stays in C: a row costs about 0.3 µs."""
    return sum(map(xxhash.xxh3_128_intdigest, rows, repeat(seed)))


def content_text(total: int) -> str:
    """A sum of row hashes as it is written: 32 hex digits."""
    return f"{total % _MODULUS:032x}"


def encode_fingerprint(fingerprint: Fingerprint) -> bytes:
    """The fingerprint as JSON, a table a line, for people too."""
    document: dict[str, Any] = {
        "format": FORMAT,
        "level": fingerprint.level.value,
        "hash": "sum mod 2**128 of XXH3-128(row as COPY text with newline, columns by name; seed)",
        "seed": str(fingerprint.seed),
        "tables": [asdict(table) for table in fingerprint.tables],
        "sequences": [asdict(sequence) for sequence in fingerprint.sequences],
        "large_objects": asdict(fingerprint.large_objects),
        "roles": list(fingerprint.roles),
        "left_out": list(fingerprint.left_out),
        "settings": list(fingerprint.settings),
        "objects": {kind: list(names) for kind, names in sorted(fingerprint.objects.items())},
    }
    return (json.dumps(document, indent=1) + "\n").encode()


def decode_fingerprint(data: bytes) -> Fingerprint:
    """Read a fingerprint.

    Raises:
        ManifestError: when it is not one, or one of a newer guardian.
    """
    try:
        document = json.loads(data)
        if (found := int(document["format"])) > FORMAT:
            raise ManifestError(
                f"the fingerprint has format {found}, this guardian reads up to {FORMAT}",
                mend="upgrade guardian on this host",
            )
        return Fingerprint(
            level=ProofLevel(document["level"]),
            seed=int(document["seed"]),
            tables=tuple(TableFingerprint(**table) for table in document["tables"]),
            objects={str(kind): tuple(names) for kind, names in document["objects"].items()},
            sequences=tuple(SequencePosition(**item) for item in document["sequences"]),
            large_objects=LargeObjects(**document["large_objects"]),
            roles=tuple(document["roles"]),
            left_out=tuple(document["left_out"]),
            settings=tuple(document["settings"]),
        )
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise ManifestError(f"the fingerprint is damaged: {error}") from error
