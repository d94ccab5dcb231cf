"""The first guardian.yaml: the text that ``guardian init`` writes."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import yaml

SERVER_NAME = "main"
_REFERENCE = re.compile(r"\$\{[A-Za-z_][A-Za-z0-9_]*\}")


@dataclass(frozen=True, slots=True)
class LocalFolder:
    """A store in a folder, named absolutely."""

    path: Path

    name = "local"


@dataclass(frozen=True, slots=True)
class Bucket:
    """A store in a bucket."""

    bucket: str
    prefix: str

    name = "offsite"


def parse_store(text: str) -> LocalFolder | Bucket:
    """Read ``PATH`` or ``s3://bucket/prefix``. A relative path is one of the working directory.

    Raises:
        ValueError: neither.
    """
    scheme, found, rest = text.partition("://")
    if not found:
        if not text.strip():
            raise ValueError("the store is empty: write a folder or s3://bucket/prefix")
        return LocalFolder(Path(text).expanduser().absolute())
    if scheme.lower() != "s3":
        raise ValueError(f"{scheme}:// is no store: write a folder or s3://bucket/prefix")
    bucket, _, prefix = rest.partition("/")
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{1,254}", bucket):
        raise ValueError(f"{bucket!r} is not a bucket's name: write s3://bucket/prefix")
    return Bucket(bucket, prefix.strip("/"))


def starter_text(dsn: str, store: LocalFolder | Bucket, passphrase_file: str) -> str:
    """The whole file. A DSN that is just ``${NAME}`` is written as it is; any other literally."""
    return _STARTER.format(
        dsn=dsn if _REFERENCE.fullmatch(dsn) else _literal(dsn),
        store=_store_lines(store),
        passphrase_file=_literal(passphrase_file),
        server=SERVER_NAME,
    )


def is_reference(dsn: str) -> bool:
    """Whether this names an environment variable, as the whole and nothing else."""
    return _REFERENCE.fullmatch(dsn) is not None


def _literal(text: str) -> str:
    """Quoted for YAML, and safe from being taken for a variable."""
    escaped = text.replace("${", "$${")
    return yaml.safe_dump(escaped, default_style='"', width=2**31).strip()


def _store_lines(store: LocalFolder | Bucket) -> str:
    if isinstance(store, LocalFolder):
        return _LOCAL.format(name=store.name, path=_literal(str(store.path)))
    return _S3.format(name=store.name, bucket=_literal(store.bucket), prefix=_literal(store.prefix))


_LOCAL = """\
  {name}:
    kind: local
    path: {path}
  # A second store, somewhere else, is what survives the loss of this host:
  # offsite: {{kind: s3, bucket: acme-backups, prefix: pg, region: eu-central-1}}"""

_S3 = """\
  {name}:
    kind: s3
    bucket: {bucket}
    prefix: {prefix}
    # region: eu-central-1
    # endpoint_url: https://…         # for MinIO, R2, B2; AWS needs none
    # access_key_id_file: …           # or the usual AWS sources: environment, profile, role
    # secret_access_key_file: …"""

_STARTER = """\
# yaml-language-server: $schema=guardian.schema.json
# Written by `guardian init`. `guardian config show` prints it with all defaults filled in;
# `guardian config schema > guardian.schema.json` lets your editor know and check all keys.
# ${{NAME}} takes an environment variable, a key ending in _file reads its value from a file.

encryption:
  # Without this passphrase no backup can be read. Keep a copy away from this host.
  passphrase_file: {passphrase_file}

stores:
{store}

servers:
  {server}:
    dsn: {dsn}
    # databases: "*"                  # default: the DSN's own; "*" = every one on the server
    backup:
      schedule: "0 2 * * *"           # daily at 02:00; or "every 6h"; null = only by hand
      timezone: UTC
    retention:                        # a backup stays when any rule keeps it
      keep_last: 3
      keep_daily: 7
      keep_weekly: 4
      keep_monthly: 12
    verify:
      schedule: after-backup          # restore each backup and compare; or cron, "every 7d", null
"""
