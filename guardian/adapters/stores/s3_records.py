"""What the rooms of the S3 store hand to each other. Knows no boto3."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import IO


@dataclass(frozen=True, slots=True)
class Head:
    """What a server says of one object. ``token`` and ``locked_until`` where it tells."""

    size: int
    modified_at: datetime
    etag: str | None
    token: str | None
    locked_until: datetime | None


@dataclass(frozen=True, slots=True)
class Listed:
    """One object in a listing."""

    key: str
    size: int
    modified_at: datetime


@dataclass(frozen=True, slots=True)
class Upload:
    """One multipart upload that was begun and not ended."""

    key: str
    id: str
    begun_at: datetime


@dataclass(frozen=True, slots=True)
class Piece:
    """What is sent in one request: a rewindable stream, its size and its MD5 in base64."""

    stream: IO[bytes]
    size: int
    md5: str


@dataclass(frozen=True, slots=True)
class WriteRequest:
    """How an object is to be written: under which key, by which write, locked until when."""

    key: str
    token: str
    exclusive: bool
    lock_until: datetime | None
