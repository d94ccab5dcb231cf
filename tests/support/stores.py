"""What the conformance suite needs to know of a store that it is to judge, beyond the port."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from support.s3 import _S3Server

from guardian.adapters.stores.s3_settings import MIN_PART_BYTES, S3Settings
from guardian.ports import Store

PART = MIN_PART_BYTES


@dataclass(frozen=True)
class Subject:
    """A store, and ways to look behind it.

    ``abandon(key)`` leaves an unfinished write of a process that is dead. ``leftovers()`` counts
    unfinished writes and whatever else no reader should find. ``plant(keys)`` puts small objects
    there quickly, None where there is no quick way. ``refuses_race`` tells that of two exclusive
    writes at the same instant one is refused.
    """

    store: Store
    abandon: Callable[[str], None]
    leftovers: Callable[[], int]
    plant: Callable[[list[str]], None] | None = None
    refuses_race: bool = True


def s3_settings(server: _S3Server, bucket: str, **changes: object) -> S3Settings:
    """Settings for a test's server: few attempts, so that failures come soon."""
    known: dict[str, object] = {
        "bucket": bucket,
        "prefix": "some/prefix",
        "endpoint_url": server.endpoint_url,
        "access_key_id": server.access_key_id,
        "secret_access_key": server.secret_access_key,
        "part_bytes": PART,
        "attempts": 2,
        "part_patience": 0.0,
    }
    return S3Settings(**{**known, **changes})  # type: ignore[arg-type]


def abandon_upload(server: _S3Server, bucket: str, full_key: str) -> None:
    """Begin a multipart upload and never end it."""
    client = server.client()
    upload = client.create_multipart_upload(Bucket=bucket, Key=full_key)["UploadId"]
    client.upload_part(Bucket=bucket, Key=full_key, UploadId=upload, PartNumber=1, Body=b"half")


def uploads_in(server: _S3Server, bucket: str) -> int:
    """How many multipart uploads are open in a bucket."""
    client = server.client()
    try:
        return len(client.list_multipart_uploads(Bucket=bucket).get("Uploads", []))
    except client.exceptions.NoSuchUpload:  # what rclone says where there never was one
        return 0


_DIE_WRITING = """
import os, signal, sys
from guardian.adapters.stores.local import LocalStore
writer = LocalStore("dying", sys.argv[1]).open_writer(sys.argv[2])
writer.write(b"half")
os.kill(os.getpid(), signal.SIGKILL)
"""


def die_writing(root: Path, key: str) -> None:
    """Let another process begin to write an object to a folder, and kill it."""
    done = subprocess.run([sys.executable, "-c", _DIE_WRITING, str(root), key], check=False)
    assert done.returncode == -9


def foreign_files(root: Path) -> int:
    """How many files and folders a local store has that are neither objects nor lead to some."""
    if not root.exists():
        return 0
    hidden = [path for path in root.rglob("*") if path.is_file() and "tmp" in path.suffix]
    empty = [path for path in root.rglob("*") if path.is_dir() and not any(path.iterdir())]
    return len(hidden) + len(empty)
