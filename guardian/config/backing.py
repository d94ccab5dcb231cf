"""Sections of backing up: encryption, stores, and what a server says of backup and retention."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Literal, Self

from pydantic import Field, SecretStr, model_validator

from guardian.backup.retention import RetentionPolicy
from guardian.config.section import FromSection, Section
from guardian.config.types import (
    Count,
    DrillSchedule,
    Duration,
    FilePath,
    KeyFingerprint,
    KeyFingerprints,
    PositiveDuration,
    Rate,
    ScheduleText,
    Secret,
    Size,
    Strings,
    Text,
    Timezone,
    WebAddress,
)
from guardian.model import ProofLevel

Retention = Annotated[
    RetentionPolicy,
    FromSection(
        RetentionPolicy,
        {
            "keep_last": "the newest n",
            "keep_hourly": "the newest of each of the last n hours that have one",
            "keep_daily": "the newest of each of the last n days that have one",
            "keep_weekly": "the newest of each of the last n ISO weeks that have one",
            "keep_monthly": "the newest of each of the last n months that have one",
            "keep_yearly": "the newest of each of the last n years that have one",
            "keep_within": "everything at most so much older than the newest, such as 30d",
            "keep_proven": "the newest n that passed a drill",
        },
    ),
]


class EncryptionConfig(Section):
    """How backups are encrypted: by a passphrase, or for public keys."""

    passphrase_file: FilePath | None = Field(
        None,
        description="a file with the passphrase (one line, mode 0600): gpg --symmetric, AES256. "
        "Keep the passphrase elsewhere too: without it no backup can be read",
    )
    recipients: Strings | None = Field(
        None,
        description="key ids or fingerprints of public keys: this host can then write backups "
        "and not read them",
    )
    homedir: FilePath | None = Field(None, description="gpg's home folder (default: gpg's own)")
    sign_with: KeyFingerprint | None = Field(
        None,
        description="full fingerprint of a secret key on this host that signs what it writes into "
        "stores (default: signed by means of the passphrase, where there is one)",
    )
    signed_by: KeyFingerprints = Field(
        default_factory=list,
        description="full fingerprints of keys whose signatures count, beside sign_with; their "
        "public keys suffice here",
    )
    require_signed: bool | None = Field(
        None,
        description="refuse what lies in a store unsigned (default: true where this host can check "
        "signatures: with a passphrase, sign_with or signed_by)",
    )

    @property
    def is_signature_required(self) -> bool:
        """Whether what is not signed is refused."""
        if self.require_signed is not None:
            return self.require_signed
        return bool(self.passphrase_file or self.sign_with or self.signed_by)

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if (self.passphrase_file is None) == (not self.recipients):
            raise ValueError("give either passphrase_file or recipients")
        return self


class LocalStoreConfig(Section):
    """A folder."""

    kind: Literal["local"] = Field(description="a folder on this host")
    path: FilePath = Field(description="the folder; its parent must exist")
    min_free: Size = Field(0, description="room that must stay free, such as 5GiB")


class ObjectLockConfig(Section):
    """S3 object lock: nobody, not even we, can delete a backup before its time."""

    mode: Literal["GOVERNANCE", "COMPLIANCE"] = Field(
        description="GOVERNANCE: a privileged role may still delete; COMPLIANCE: nobody may"
    )
    for_: PositiveDuration = Field(alias="for", description="how long from the upload, such as 30d")


class ServerSideEncryptionConfig(Section):
    """Encryption by the store itself, beside ours."""

    mode: Literal["AES256", "aws:kms"] = Field(description="with S3's own key, or one of KMS")
    kms_key_id: Text | None = Field(None, description="key id or ARN, with aws:kms")


class S3StoreConfig(Section):
    """A bucket of anything that speaks S3."""

    kind: Literal["s3"] = Field(description="a bucket")
    bucket: Text = Field(description="the bucket's name; it must exist")
    prefix: str = Field("", description="folder within the bucket")
    region: Text | None = Field(None, description="such as eu-central-1 (default: AWS's sources)")
    endpoint_url: WebAddress | None = Field(
        None, description="for MinIO, R2, B2 …; null for AWS itself"
    )
    addressing: Literal["auto", "path", "virtual"] = Field(
        "auto", description="where the bucket's name goes: path for most that are not AWS"
    )
    storage_class: Text | None = Field(None, description="such as STANDARD_IA")
    server_side_encryption: ServerSideEncryptionConfig | None = Field(
        None, description="encryption by the store itself, beside ours"
    )
    object_lock: ObjectLockConfig | None = Field(
        None, description="nobody can delete a backup before its time; the bucket must allow it"
    )
    access_key_id: Secret | None = Field(
        None, description="default: the usual AWS sources (environment, ~/.aws, instance role)"
    )
    secret_access_key: Secret | None = Field(None, description="belongs to access_key_id")
    session_token: Secret | None = Field(None, description="for temporary credentials")
    part_size: Size = Field(
        8 << 20, ge=5 << 20, description="smallest part of an upload; grows with the backup"
    )
    max_rate: Rate | None = Field(
        None,
        description="bytes a second that one backup, drill or restore sends and fetches there at "
        "most, such as 20MB; null for as many as go",
    )

    @model_validator(mode="after")
    def _whole_credentials(self) -> Self:
        if (self.access_key_id is None) != (self.secret_access_key is None):
            raise ValueError("access_key_id and secret_access_key belong together; give both")
        return self


StoreConfig = Annotated[LocalStoreConfig | S3StoreConfig, Field(discriminator="kind")]


class CompressionConfig(Section):
    """zstd."""

    level: Count = Field(3, le=19, description="1 (fast) to 19 (small)")


class BackupConfig(Section):
    """When and how a server's databases are backed up."""

    schedule: ScheduleText | None = Field(
        None, description='5-field cron such as "0 2 * * *", or "every 6h"; null = only by hand'
    )
    timezone: Timezone = Field("UTC", description="of the schedule, and of retention's days")
    jitter: Duration = Field(
        timedelta(0), description="spreads the schedule's starts over so long, each its own delay"
    )
    at_once: Count = Field(1, le=64, description="databases of one server backed up at once")
    stores: Strings = Field(default_factory=list, description="names of stores (default: all)")
    proof: ProofLevel = Field(
        ProofLevel.CONTENT,
        description="what the fingerprint holds: content (hashes of all rows), counts, or none",
    )
    compression: CompressionConfig = Field(CompressionConfig(), description="zstd")
    exclude_table_data: Strings = Field(
        default_factory=list, description="pg_dump patterns of tables whose rows are not dumped"
    )
    timeout: PositiveDuration | None = Field(
        timedelta(hours=6), description="for one database; null = none"
    )
    attempts: Count = Field(3, le=20, description="tries before a backup counts as failed")
    lock_timeout: PositiveDuration = Field(
        timedelta(seconds=30), description="how long to wait for a table's lock"
    )
    snapshot_max_age: PositiveDuration | None = Field(
        timedelta(hours=2),
        description="how long contents may be read in the snapshot, which holds back vacuum; "
        "then rows are only counted",
    )
    jobs: Count = Field(
        1, le=64, description="dumps of one snapshot at once, which share the rows of big tables"
    )


class CheckConfig(Section):
    """A question to the restored database, whose answer must be true."""

    name: Text = Field(description="what it shows, for people")
    sql: Text = Field(description="a query whose one value must be true")


class VerifyConfig(Section):
    """When and where backups are restored and compared."""

    schedule: DrillSchedule | None = Field(
        "after-backup", description='after-backup, 5-field cron, "every 7d", or null = by hand'
    )
    timezone: Timezone = Field("UTC", description="of the schedule")
    scratch: Secret = Field(
        SecretStr("embedded"),
        description="embedded: a throw-away server on this host; or the DSN of one to create "
        "scratch databases on",
    )
    scratch_dir: FilePath | None = Field(
        None,
        description="where the throw-away server keeps its files, about 1.2 times the database "
        "(default: the system's folder for temporary files)",
    )
    checks: list[CheckConfig] = Field(
        default_factory=list, description="your own questions to the restored database"
    )
    jobs: Count = Field(2, le=64, description="parallel restore jobs")
    timeout: PositiveDuration | None = Field(
        timedelta(hours=6), description="for one drill; null = none"
    )
    allow_source_server: bool = Field(
        False, description="let scratch be the very server that the backup came from"
    )
    amcheck: bool = Field(False, description="also check the restored indexes with amcheck")
