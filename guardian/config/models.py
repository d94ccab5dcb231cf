"""The whole configuration."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Self

from pydantic import Field, SecretStr, model_validator

from guardian.backup.retention import RetentionPolicy
from guardian.config.backing import (
    BackupConfig,
    EncryptionConfig,
    Retention,
    StoreConfig,
    VerifyConfig,
)
from guardian.config.escalating import EscalationConfig, HeartbeatConfig, ServiceConfig
from guardian.config.section import Section
from guardian.config.types import Name, Strings
from guardian.config.watching import Bounds, OutageConfig, ProbeConfig, VitalName, WatchConfig


class ServerConfig(Section):
    """One PostgreSQL server."""

    dsn: SecretStr = Field(description="libpq URI or keyword string")
    password: SecretStr | None = Field(None, description="beside a DSN without one")
    databases: Strings | None = Field(
        None, description='default: the DSN\'s own; "*" = every connectable one'
    )
    exclude_databases: Strings = Field(default_factory=list, description='globs, with "*"')
    globals: bool = Field(True, description="roles and tablespaces beside each backup")
    backup: BackupConfig = BackupConfig()
    retention: Retention = RetentionPolicy()
    verify: VerifyConfig = VerifyConfig()
    watch: WatchConfig = WatchConfig()
    vitals: dict[VitalName, Bounds] = Field(default_factory=dict)
    outage: OutageConfig = OutageConfig()


class DefaultsConfig(Section):
    """Any section of a server, merged beneath each of them."""

    password: SecretStr | None = None
    databases: Strings | None = None
    exclude_databases: Strings = Field(default_factory=list)
    globals: bool = True
    backup: BackupConfig = BackupConfig()
    retention: Retention = RetentionPolicy()
    verify: VerifyConfig = VerifyConfig()
    watch: WatchConfig = WatchConfig()
    vitals: dict[VitalName, Bounds] = Field(default_factory=dict)
    outage: OutageConfig = OutageConfig()


class Config(Section):
    """guardian.yaml, read and checked."""

    state_dir: Path = Field(description="default: $STATE_DIRECTORY, else ~/.local/state/guardian")
    catalog: SecretStr | None = Field(
        None, description="any SQLAlchemy URL; default: catalog.db in state_dir"
    )
    encryption: EncryptionConfig
    stores: Annotated[dict[Name, StoreConfig], Field(min_length=1)]
    defaults: DefaultsConfig = DefaultsConfig()
    servers: Annotated[dict[Name, ServerConfig], Field(min_length=1)]
    probes: list[ProbeConfig] = Field(default_factory=list)
    escalation: EscalationConfig = EscalationConfig()
    heartbeat: list[HeartbeatConfig] = Field(default_factory=list)
    service: ServiceConfig = ServiceConfig()

    @property
    def catalog_url(self) -> str:
        """The catalog's SQLAlchemy URL. It may hold a password."""
        if self.catalog is not None:
            return self.catalog.get_secret_value()
        return f"sqlite:///{self.state_dir / 'catalog.db'}"

    @model_validator(mode="after")
    def _known_stores(self) -> Self:
        for name, server in self.servers.items():
            for store in server.backup.stores:
                if store not in self.stores:
                    raise ValueError(
                        f"servers.{name}.backup.stores names {store!r}, "
                        f"but the stores are {', '.join(self.stores)}"
                    )
        return self
