"""Fingerprints: hashing rows, and the document that keeps the result beside a backup.

The content of a table is the sum, modulo 2**128, of the XXH3-128 of each row's COPY text under a
secret seed. A sum does not depend on the order of rows, unlike a chained hash, and it sees pairs,
unlike XOR; the seed keeps anyone who can write rows from planning a collision.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import asdict
from itertools import repeat
from typing import Any

import xxhash

from guardian.backup.fields import DAMAGE, Fields, reason
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
_CONTENT = re.compile(r"[0-9a-f]{32}", re.ASCII)


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
        fields = Fields(json.loads(data))
        if (found := fields.count("format")) > FORMAT:
            raise ManifestError(
                f"the fingerprint has format {found}, this guardian reads up to {FORMAT}",
                mend="upgrade guardian on this host",
            )
        return _fingerprint(fields)
    except DAMAGE as error:
        raise ManifestError(f"the fingerprint is damaged: {reason(error)}") from error


def _fingerprint(fields: Fields) -> Fingerprint:
    large_objects = fields.section("large_objects")
    objects = fields.section("objects")
    return Fingerprint(
        level=ProofLevel(fields.text("level")),
        seed=_seed(fields.text("seed")),
        tables=tuple(_table(Fields(item)) for item in fields.items("tables")),
        objects={kind: objects.texts(kind) for kind in objects.names()},
        sequences=tuple(_sequence(Fields(item)) for item in fields.items("sequences")),
        large_objects=LargeObjects(large_objects.count("count"), _content(large_objects)),
        roles=fields.texts("roles"),
        left_out=fields.texts("left_out"),
        settings=fields.texts("settings"),
    )


def _seed(text: str) -> int:
    seed = int(text)
    if not 0 <= seed < 1 << 64:
        raise ValueError("the seed is out of range")
    return seed


def _table(fields: Fields) -> TableFingerprint:
    return TableFingerprint(
        fields.text("schema"), fields.text("name"), fields.count("rows"), _content(fields)
    )


def _content(fields: Fields) -> str | None:
    content = fields.optional_text("content")
    if content is not None and not _CONTENT.fullmatch(content):
        raise ValueError(f"{content!r} is not a content hash")
    return content


def _sequence(fields: Fields) -> SequencePosition:
    return SequencePosition(
        schema=fields.text("schema"),
        name=fields.text("name"),
        before=fields.integer("before"),
        after=fields.integer("after"),
        increment=fields.integer("increment"),
    )
