"""What an S3 store is configured with, and what follows from the limits of S3."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from typing import Literal

MIB = 1024 * 1024
MIN_PART_BYTES = 5 * MIB
"""Every part but the last has at least this size (Amazon S3, "Multipart upload limits")."""

MAX_PART_BYTES = 5 * 1024 * MIB
MAX_PARTS = 10_000
MAX_OBJECT_BYTES = 5 * 1024 * 1024 * MIB
"""5 TiB: the largest object on all servers that we know of; some take more."""

_HEADROOM = 2
"""How much larger than estimated an object may come out before its parts run out."""


@dataclass(frozen=True, slots=True)
class ObjectLock:
    """What is written can be neither deleted nor overwritten for a time, by anybody (COMPLIANCE).

    In mode GOVERNANCE somebody with a special right still can.
    """

    mode: Literal["COMPLIANCE", "GOVERNANCE"]
    duration: timedelta


@dataclass(frozen=True, slots=True, kw_only=True)
class S3Settings:
    """Where and how. Keys left None come from the usual AWS sources (environment, profile, role).

    ``endpoint_url`` is for anything that is not AWS; then ``region`` defaults to ``us-east-1`` and
    addressing to ``path``. Timeouts are seconds; ``attempts`` counts the first try of a request;
    all take a few seconds. One part of a large upload is tried for ``part_patience`` seconds: a
    minute without network must not cost hours of work. About ``(uploads + 1) * part_bytes`` of
    memory are used for each object being written.
    """

    bucket: str
    prefix: str = ""
    region: str | None = None
    endpoint_url: str | None = None
    addressing: Literal["auto", "path", "virtual"] = "auto"
    access_key_id: str | None = field(default=None, repr=False)
    secret_access_key: str | None = field(default=None, repr=False)
    session_token: str | None = field(default=None, repr=False)
    storage_class: str | None = None
    sse: Literal["AES256", "aws:kms"] | None = None
    kms_key_id: str | None = None
    object_lock: ObjectLock | None = None
    part_bytes: int = 8 * MIB
    uploads: int = 1
    attempts: int = 5
    connect_timeout: float = 10.0
    read_timeout: float = 60.0
    part_patience: float = 180.0

    def __post_init__(self) -> None:
        if not MIN_PART_BYTES <= self.part_bytes <= MAX_PART_BYTES:
            raise ValueError("part_bytes must lie between 5 MiB and 5 GiB")
        if self.uploads < 1 or self.attempts < 1:
            raise ValueError("uploads and attempts must be at least 1")

    @property
    def key_prefix(self) -> str:
        """What comes before every key of ours: empty, or ending in a slash."""
        stripped = self.prefix.strip("/")
        return f"{stripped}/" if stripped else ""


def part_bytes_for(expected_bytes: int | None, smallest: int) -> int:
    """A part size with which an object of ``expected_bytes`` and then some fits 10,000 parts.

    All parts but the last have this one size, as Cloudflare R2 demands. A whole number of MiB.
    """
    wanted = min((expected_bytes or 0) * _HEADROOM, MAX_OBJECT_BYTES)
    needed = max(smallest, MIN_PART_BYTES, -(-wanted // MAX_PARTS))
    return -(-needed // MIB) * MIB
