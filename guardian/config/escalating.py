"""Sections of escalation: people, the ladder, and the service itself."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Discriminator, Field, Tag, model_validator

from guardian.config.channels import ChannelConfig
from guardian.config.section import Section
from guardian.config.types import (
    Address,
    Count,
    Days,
    Duration,
    Name,
    PositiveDuration,
    ScheduleText,
    Secret,
    Strings,
    TimeOfDay,
    Timezone,
    one_or_more,
)

Severity = Literal["P0", "P1", "P2", "P3"]


class BusinessHoursConfig(Section):
    """When incidents of these severities may disturb people."""

    for_: Annotated[
        list[Severity],
        BeforeValidator(one_or_more, json_schema_input_type=Severity | list[Severity]),
    ] = Field(["P2"], alias="for", description="severities that wait for business hours")
    days: Days = Field("mon-fri", description="mon-fri, or mon,wed,fri")
    from_: TimeOfDay = Field("09:00", alias="from", description="first minute")
    to: TimeOfDay = Field("18:00", description="end")
    timezone: Timezone = Field("UTC", description="such as Europe/Berlin")


class BackupFailuresConfig(Section):
    """Consecutive failures before the next rung hears of it."""

    page_after: Count = Field(2, description="failures in a row")


def _rungs_or_digest(value: Any) -> str:
    return "digest" if isinstance(value, str) else "rungs"


Rungs = dict[Duration, Strings]
"""People by the time after which they hear of an incident."""

Ladder = Annotated[
    Annotated[Rungs, Tag("rungs")] | Annotated[Literal["digest"], Tag("digest")],
    Discriminator(_rungs_or_digest),
]


class EscalationConfig(Section):
    """Who hears of an incident after how long, and how."""

    channels: dict[Name, ChannelConfig] = Field(
        default_factory=dict, description="how people hear of incidents, by name"
    )
    people: dict[Name, Strings] = Field(
        default_factory=dict, description="a rung of the ladder: its channels, by name"
    )
    ladder: dict[Severity, Ladder] = Field(
        default_factory=dict,
        description="who hears of it after how long, by severity: {0m: [on-call], 30m: [lead]}, "
        "or digest",
    )
    remind_every: dict[Severity, PositiveDuration] = Field(
        default_factory=dict, description="reminders while it is open, by severity"
    )
    business_hours: BusinessHoursConfig | None = Field(
        None, description="severities that disturb nobody at night"
    )
    backup_failures: BackupFailuresConfig = Field(
        BackupFailuresConfig(), description="when failed backups reach the next rung"
    )
    digest: ScheduleText | None = Field(
        "0 9 * * mon", description="when the digest is sent (UTC); null = never"
    )


class LogConfig(Section):
    """Logs go to stderr."""

    format: Literal["text", "json"] = Field("text", description="for people, or for collectors")
    level: Literal["debug", "info", "warning", "error"] = Field("info", description="from here up")


class ServiceConfig(Section):
    """The daemon's own address and log."""

    listen: Address = Field(
        "127.0.0.1:8765", description="/health, /metrics and the dashboard: host:port"
    )
    token: Secret | None = Field(None, description="for the dashboard; required beyond loopback")
    log: LogConfig = Field(LogConfig(), description="logs go to stderr")

    @model_validator(mode="after")
    def _token_beyond_loopback(self) -> Self:
        host = self.listen.rsplit(":", 1)[0].strip("[]")
        if self.token is None and host not in {"127.0.0.1", "::1", "localhost"}:
            raise ValueError(f"listening on {host} needs a token; give token_file")
        return self
