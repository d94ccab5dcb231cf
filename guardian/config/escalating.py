"""Sections of escalation: channels, people, the ladder, heartbeats, and the service itself."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Discriminator, Field, SecretStr, Tag, model_validator

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
    SecretAddress,
    Strings,
    Text,
    TimeOfDay,
    Timezone,
    one_or_more,
)

Severity = Literal["P0", "P1", "P2", "P3"]


class SlackConfig(Section):
    """Slack, by incoming webhook or bot token."""

    kind: Literal["slack"] = Field(description="Slack, by incoming webhook or bot token")
    webhook_url: SecretAddress | None = Field(None, description="an incoming webhook; or")
    bot_token: Secret | None = Field(None, description="a bot's token, which can update messages")
    channel: Text | None = Field(None, description="where the bot writes, such as #incidents")

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if (self.webhook_url is None) == (self.bot_token is None):
            raise ValueError("give either webhook_url, or bot_token with channel")
        if self.bot_token is not None and self.channel is None:
            raise ValueError("channel is missing: bot_token needs one to write to")
        return self


class PagerDutyConfig(Section):
    """PagerDuty Events v2."""

    kind: Literal["pagerduty"] = Field(description="PagerDuty, Events API v2")
    routing_key: Secret = Field(description="the integration key of the service")


class EmailConfig(Section):
    """Mail over SMTP."""

    kind: Literal["email"] = Field(description="mail over SMTP")
    host: Text = Field(description="the SMTP server")
    port: Count = Field(587, le=65535, description="587 with starttls, 465 with tls")
    starttls: bool = Field(True, description="begin plain, then TLS, or refuse")
    tls: bool = Field(False, description="TLS from the first byte; switches starttls off")
    username: Text | None = Field(None, description="where the server wants a login")
    password: Secret | None = Field(None, description="belongs to username")
    from_: Text = Field(alias="from", description="the sender's address")
    to: Strings = Field(min_length=1, description="addresses")


class SentryConfig(Section):
    """Sentry events."""

    kind: Literal["sentry"] = Field(description="events in Sentry")
    dsn: SecretAddress = Field(description="the project's DSN")


class WebhookConfig(Section):
    """JSON to an HTTP address, signed with HMAC-SHA256."""

    kind: Literal["webhook"] = Field(description="JSON to a web address of your own")
    url: SecretAddress = Field(description="where to")
    headers: dict[str, SecretStr] = Field(default_factory=dict, description="sent along")
    secret: Secret | None = Field(None, description="signs the body with HMAC-SHA256")


class AppriseConfig(Section):
    """Any service that apprise knows."""

    kind: Literal["apprise"] = Field(description="any service of apprise (extra: apprise)")
    url: Secret = Field(description="an apprise URL")


ChannelConfig = Annotated[
    SlackConfig | PagerDutyConfig | EmailConfig | SentryConfig | WebhookConfig | AppriseConfig,
    Field(discriminator="kind"),
]


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


class PingConfig(Section):
    """A dead man's switch that wants to be called."""

    kind: Literal["ping"] = Field(description="Healthchecks, BetterStack, Uptime Kuma …")
    url: SecretAddress = Field(description="the address to call")
    every: PositiveDuration = Field(timedelta(seconds=60), description="while all is well")


class SentryCronConfig(Section):
    """Sentry's cron monitors."""

    kind: Literal["sentry-cron"] = Field(description="a cron monitor in Sentry")
    dsn: SecretAddress = Field(description="the project's DSN")
    every: PositiveDuration = Field(timedelta(seconds=60), description="while all is well")


HeartbeatConfig = Annotated[PingConfig | SentryCronConfig, Field(discriminator="kind")]


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
