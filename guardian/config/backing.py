"""Sections of backing up: encryption, stores, and what a server says of backup and retention."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BeforeValidator, Field, SecretStr, WithJsonSchema, model_validator

from guardian.backup.retention import RetentionPolicy
from guardian.config.section import Section, dataclass_section
from guardian.config.types import (
    PositiveDuration,
    ScheduleText,
    Size,
    Strings,
    Timezone,
)
from guardian.model import ProofLevel

_COUNT = {"type": "integer", "minimum": 0}
_RETENTION_SCHEMA = {
    "type": "object",
    "description": "A backup stays when any rule keeps it.",
    "additionalProperties": False,
    "properties": {
        "keep_last": {**_COUNT, "description": "the newest n"},
        "keep_hourly": {**_COUNT, "description": "the newest of each of n hours"},
        "keep_daily": {**_COUNT, "description": "the newest of each of n days"},
        "keep_weekly": {**_COUNT, "description": "the newest of each of n weeks"},
        "keep_monthly": {**_COUNT, "description": "the newest of each of n months"},
        "keep_yearly": {**_COUNT, "description": "the newest of each of n years"},
        "keep_within": {"type": "string", "description": "all younger than this, such as 30d"},
        "keep_proven": {**_COUNT, "description": "the newest n that passed a drill"},
    },
}

Retention = Annotated[
    RetentionPolicy,
    BeforeValidator(dataclass_section(RetentionPolicy)),
    WithJsonSchema(_RETENTION_SCHEMA),
]


class EncryptionConfig(Section):
    """How backups are encrypted: by a passphrase, or for public keys."""

    passphrase_file: Path | None = Field(
        None, description="a file with the passphrase (one line, mode 0600): gpg --symmetric AES256"
    )
    recipients: Strings | None = Field(
        None, description="public keys: this host can then write backups and not read them"
    )
    homedir: Path | None = Field(None, description="gpg's home folder (default: gpg's own)")

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if (self.passphrase_file is None) == (not self.recipients):
            raise ValueError("give either passphrase_file or recipients")
        return self


class LocalStoreConfig(Section):
    """A folder."""

    kind: Literal["local"]
    path: Path = Field(description="the folder; its parent must exist")
    min_free: Size = Field(0, description="room that must stay free, such as 5GiB")


class ObjectLockConfig(Section):
    """S3 object lock: nobody, not even we, can delete a backup before its time."""

    mode: Literal["GOVERNANCE", "COMPLIANCE"]
    for_: PositiveDuration = Field(alias="for", description="how long from the upload")


class ServerSideEncryptionConfig(Section):
    """Encryption by the store itself, beside ours."""

    mode: Literal["AES256", "aws:kms"]
    kms_key_id: str | None = None


class S3StoreConfig(Section):
    """A bucket of anything that speaks S3."""

    kind: Literal["s3"]
    bucket: str
    prefix: str = Field("", description="folder within the bucket")
    region: str | None = None
    endpoint_url: str | None = Field(None, description="for MinIO, R2, B2 …; null for AWS")
    addressing: Literal["auto", "path", "virtual"] = "auto"
    storage_class: str | None = None
    server_side_encryption: ServerSideEncryptionConfig | None = None
    object_lock: ObjectLockConfig | None = None
    access_key_id: SecretStr | None = Field(None, description="or the usual AWS sources")
    secret_access_key: SecretStr | None = None
    session_token: SecretStr | None = None
    profile: str | None = Field(None, description="a profile of ~/.aws/config")
    ca_file: Path | None = Field(None, description="certificates to trust for endpoint_url")
    part_size: Size | None = Field(None, description="of a multipart upload; default: fitting")

    @model_validator(mode="after")
    def _whole_credentials(self) -> Self:
        if (self.access_key_id is None) != (self.secret_access_key is None):
            raise ValueError("access_key_id and secret_access_key belong together")
        return self


StoreConfig = Annotated[LocalStoreConfig | S3StoreConfig, Field(discriminator="kind")]


class CompressionConfig(Section):
    """zstd."""

    level: int = Field(3, ge=1, le=19)


class BackupConfig(Section):
    """When and how a server's databases are backed up."""

    schedule: ScheduleText | None = Field(
        None, description='5-field cron, or "every 6h"; null = only by hand'
    )
    timezone: Timezone = "UTC"
    stores: Strings = Field(default_factory=list, description="names of stores; default: all")
    proof: ProofLevel = Field(
        ProofLevel.CONTENT, description="what the fingerprint holds: content, counts or none"
    )
    compression: CompressionConfig = CompressionConfig()
    exclude_table_data: Strings = Field(
        default_factory=list, description="pg_dump patterns of tables whose rows are not dumped"
    )
    timeout: PositiveDuration | None = timedelta(hours=6)
    attempts: int = Field(3, ge=1, le=20)
    lock_timeout: PositiveDuration = Field(
        timedelta(seconds=30), description="how long to wait for a table's lock"
    )
    snapshot_max_age: PositiveDuration | None = Field(
        timedelta(hours=2),
        description="how long contents may be read in the snapshot, which holds back vacuum; "
        "then rows are only counted",
    )
    jobs: int = Field(1, ge=1, le=64, description="parallel streams")


class CheckConfig(Section):
    """A question to the restored database, whose answer must be true."""

    name: str
    sql: str


class VerifyConfig(Section):
    """When and where backups are restored and compared."""

    schedule: Literal["after-backup"] | ScheduleText | None = "after-backup"
    timezone: Timezone = "UTC"
    scratch: SecretStr = Field(
        SecretStr("embedded"),
        description="embedded: a throw-away server on this host, or the DSN of one",
    )
    checks: list[CheckConfig] = Field(default_factory=list)
    jobs: int = Field(2, ge=1, le=64)
    timeout: PositiveDuration | None = timedelta(hours=6)
    allow_source_server: bool = False
    amcheck: bool = False
