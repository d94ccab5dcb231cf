"""The whole configuration."""

from __future__ import annotations

from pydantic import Field

from guardian.backup.retention import RetentionPolicy
from guardian.config.backing import (
    BackupConfig,
    EncryptionConfig,
    Retention,
    StoreConfig,
    VerifyConfig,
)
from guardian.config.channels import HeartbeatConfig
from guardian.config.escalating import EscalationConfig, ServiceConfig
from guardian.config.section import Section
from guardian.config.types import FilePath, Name, Secret, Strings
from guardian.config.watching import OutageConfig, ProbeConfig, VitalsConfig, WatchConfig


class DefaultsConfig(Section):
    """Any section of a server, merged beneath each of them."""

    password: Secret | None = Field(None, description="beside a DSN without one")
    databases: Strings | None = Field(
        None, description='default: the DSN\'s own; "*" = every connectable one'
    )
    exclude_databases: Strings = Field(
        default_factory=list, description='globs of databases that "*" leaves out'
    )
    globals: bool = Field(True, description="roles and tablespaces beside each backup")
    backup: BackupConfig = Field(BackupConfig(), description="when and how it is backed up")
    retention: Retention = Field(
        RetentionPolicy(), description="a backup stays when any rule keeps it"
    )
    verify: VerifyConfig = Field(
        VerifyConfig(), description="when and where backups are restored and compared"
    )
    watch: WatchConfig = Field(WatchConfig(), description="looking at sessions and locks")
    vitals: VitalsConfig = Field(
        VitalsConfig(), description="bounds: [warning, critical]; null = not watched"
    )
    outage: OutageConfig = Field(OutageConfig(), description="when the server counts as down")


class ServerConfig(DefaultsConfig):
    """One PostgreSQL server."""

    dsn: Secret = Field(description="libpq URI or keyword string")


class Config(Section):
    """guardian.yaml, read and checked."""

    state_dir: FilePath = Field(
        description="default: $STATE_DIRECTORY, else ~/.local/state/guardian"
    )
    catalog: Secret | None = Field(
        None, description="any SQLAlchemy URL (default: catalog.db in state_dir)"
    )
    encryption: EncryptionConfig = Field(
        description="how backups are encrypted: by a passphrase, or for public keys"
    )
    stores: dict[Name, StoreConfig] = Field(min_length=1, description="where backups lie, by name")
    defaults: DefaultsConfig = Field(
        DefaultsConfig(), description="any section of a server, merged beneath each of them"
    )
    servers: dict[Name, ServerConfig] = Field(
        min_length=1, description="the PostgreSQL servers to guard, by name"
    )
    probes: list[ProbeConfig] = Field(default_factory=list, description="other things to watch")
    escalation: EscalationConfig = Field(
        EscalationConfig(), description="who hears of an incident after how long, and how"
    )
    heartbeat: list[HeartbeatConfig] = Field(
        default_factory=list, description="somebody else notices when we are gone"
    )
    service: ServiceConfig = Field(ServiceConfig(), description="the daemon's address and log")

    @property
    def catalog_url(self) -> str:
        """The catalog's SQLAlchemy URL. It may hold a password."""
        if self.catalog is not None:
            return self.catalog.get_secret_value()
        return f"sqlite:///{self.state_dir / 'catalog.db'}"
