"""Sections of watching: policies over sessions, vitals, outages, and other things probed."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from guardian.config.section import Section
from guardian.config.types import PositiveDuration, Regex, Strings, one_or_more

SessionState = Literal[
    "active",
    "idle",
    "idle in transaction",
    "idle in transaction (aborted)",
    "fastpath function call",
    "disabled",
]
Action = Literal["cancel", "terminate", "report"]


class MatchConfig(Section):
    """Which sessions: all keys must hold, a list when any entry does."""

    state: Annotated[list[SessionState], BeforeValidator(one_or_more)] | None = None
    for_: PositiveDuration | None = Field(
        None, alias="for", description="time in that state; for active the query's age"
    )
    transaction_for: PositiveDuration | None = None
    users: Strings | None = None
    databases: Strings | None = None
    applications: Strings | None = None
    clients: Strings | None = Field(None, description="CIDRs")
    query: Regex | None = None
    wait_event_types: Strings | None = None
    blocking: int | None = Field(None, ge=1, description="holds up at least so many sessions")
    blocking_for: PositiveDuration | None = None
    waiting_for: PositiveDuration | None = None
    blocking_backup: bool | None = Field(None, description="holds up a backup of ours")


class PolicyConfig(Section):
    """Which sessions are victims, and what becomes of them."""

    name: str
    match: MatchConfig
    except_: MatchConfig | None = Field(None, alias="except")
    victims: Literal["all", "oldest", "all-but-oldest"] = "all"
    action: Action | list[Literal["cancel", "terminate"]]
    grace: PositiveDuration = timedelta(seconds=30)
    superusers: bool = False

    @model_validator(mode="after")
    def _some_condition(self) -> Self:
        if not self.match.model_fields_set:
            raise ValueError("match is empty: every session would be a victim")
        return self


class LimitsConfig(Section):
    """How many sessions may be hit."""

    per_cycle: int = Field(5, ge=0)
    per_hour: int = Field(60, ge=0)


class RecordingConfig(Section):
    """Sessions kept for replay."""

    enabled: bool = True
    keep: PositiveDuration = timedelta(days=7)
    query_text: bool = True


class WatchConfig(Section):
    """Looking at sessions and locks."""

    interval: PositiveDuration = timedelta(seconds=5)
    mode: Literal["observe", "enforce"] = "observe"
    limits: LimitsConfig = LimitsConfig()
    policies: list[PolicyConfig] = Field(default_factory=list)
    recording: RecordingConfig = RecordingConfig()


class OutageConfig(Section):
    """When a server counts as down."""

    interval: PositiveDuration = timedelta(seconds=5)
    timeout: PositiveDuration = timedelta(seconds=5)
    failures: int = Field(3, ge=1)
    successes: int = Field(2, ge=1)
    page_after: PositiveDuration = timedelta(minutes=5)


class HttpProbeConfig(Section):
    """An HTTP address that must answer."""

    name: str
    kind: Literal["http"]
    url: str
    expect_status: int = 200
    expect_json: dict[str, Any] | None = None
    headers: dict[str, str] = Field(default_factory=dict)
    interval: PositiveDuration = timedelta(seconds=30)
    timeout: PositiveDuration = timedelta(seconds=10)
    failures: int = Field(3, ge=1)


class TcpProbeConfig(Section):
    """A TCP address that must accept connections."""

    name: str
    kind: Literal["tcp"]
    address: str = Field(pattern=r"^.+:\d+$", description="host:port")
    interval: PositiveDuration = timedelta(seconds=30)
    timeout: PositiveDuration = timedelta(seconds=10)
    failures: int = Field(3, ge=1)


ProbeConfig = Annotated[HttpProbeConfig | TcpProbeConfig, Field(discriminator="kind")]

VitalName = Literal[
    "connections",
    "idle_in_transaction",
    "query_age",
    "lock_wait",
    "transaction_id_age",
    "multixact_age",
    "prepared_transactions",
    "slot_retained_wal",
    "replica_lag",
    "disk",
    "backup_age",
    "size_drop",
    "sequences",
    "invalid_indexes",
    "checksum_failures",
    "archiver",
]
Bounds = Annotated[list[str | int | float], Field(min_length=2, max_length=2)]
