"""Sections of escalation: channels, people, the ladder, heartbeats, and the service itself."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Literal, Self

from pydantic import BeforeValidator, Field, SecretStr, model_validator

from guardian.config.section import Section
from guardian.config.types import (
    Duration,
    PositiveDuration,
    ScheduleText,
    Strings,
    TimeOfDay,
    Timezone,
    one_or_more,
)

Severity = Literal["P0", "P1", "P2", "P3"]


class SlackConfig(Section):
    """Slack, by incoming webhook or bot token."""

    kind: Literal["slack"]
    webhook_url: SecretStr | None = None
    bot_token: SecretStr | None = None
    channel: str | None = None

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if (self.webhook_url is None) == (self.bot_token is None):
            raise ValueError("give either webhook_url or bot_token with channel")
        return self


class PagerDutyConfig(Section):
    """PagerDuty Events v2."""

    kind: Literal["pagerduty"]
    routing_key: SecretStr


class EmailConfig(Section):
    """Mail over SMTP."""

    kind: Literal["email"]
    host: str
    port: int = Field(587, ge=1, le=65535)
    starttls: bool = True
    tls: bool = False
    username: str | None = None
    password: SecretStr | None = None
    from_: str = Field(alias="from")
    to: Strings


class SentryConfig(Section):
    """Sentry events."""

    kind: Literal["sentry"]
    dsn: SecretStr


class WebhookConfig(Section):
    """JSON to an HTTP address, signed with HMAC-SHA256."""

    kind: Literal["webhook"]
    url: SecretStr
    headers: dict[str, SecretStr] = Field(default_factory=dict)
    secret: SecretStr | None = None


class AppriseConfig(Section):
    """Any service that apprise knows."""

    kind: Literal["apprise"]
    url: SecretStr


ChannelConfig = Annotated[
    SlackConfig | PagerDutyConfig | EmailConfig | SentryConfig | WebhookConfig | AppriseConfig,
    Field(discriminator="kind"),
]


class BusinessHoursConfig(Section):
    """When incidents of these severities may disturb people."""

    for_: Annotated[list[Severity], BeforeValidator(one_or_more)] = Field(["P2"], alias="for")
    days: str = Field(
        "mon-fri", pattern=r"^(mon|tue|wed|thu|fri|sat|sun)([-,](mon|tue|wed|thu|fri|sat|sun))*$"
    )
    from_: TimeOfDay = Field("09:00", alias="from")
    to: TimeOfDay = "18:00"
    timezone: Timezone = "UTC"


class BackupFailuresConfig(Section):
    """Consecutive failures before the next rung hears of it."""

    page_after: int = Field(2, ge=1)


Rungs = dict[str, list[str]]


class EscalationConfig(Section):
    """Who hears of an incident after how long, and how."""

    channels: dict[str, ChannelConfig] = Field(default_factory=dict)
    people: dict[str, Strings] = Field(default_factory=dict)
    ladder: dict[Severity, dict[str, Strings] | Literal["digest"]] = Field(default_factory=dict)
    remind_every: dict[Severity, PositiveDuration] = Field(default_factory=dict)
    business_hours: BusinessHoursConfig | None = None
    backup_failures: BackupFailuresConfig = BackupFailuresConfig()
    digest: ScheduleText | None = "0 9 * * mon"

    @model_validator(mode="after")
    def _known_names(self) -> Self:
        for person, channels in self.people.items():
            for channel in channels:
                if channel not in self.channels:
                    raise ValueError(
                        f"people.{person} names the channel {channel!r}: there is none"
                    )
        for severity, rungs in self.ladder.items():
            for delay, people in rungs.items() if isinstance(rungs, dict) else ():
                Delay(after=delay)
                for person in people:
                    if person not in self.people:
                        raise ValueError(f"ladder.{severity} names {person!r}: not among people")
        return self


class Delay(Section):
    """The key of a rung."""

    after: Duration


class PingConfig(Section):
    """A dead man's switch that wants to be called."""

    kind: Literal["ping"]
    url: SecretStr
    every: PositiveDuration = timedelta(seconds=60)


class SentryCronConfig(Section):
    """Sentry's cron monitors."""

    kind: Literal["sentry-cron"]
    dsn: SecretStr
    every: PositiveDuration = timedelta(seconds=60)


HeartbeatConfig = Annotated[PingConfig | SentryCronConfig, Field(discriminator="kind")]


class LogConfig(Section):
    """Logs go to stderr."""

    format: Literal["text", "json"] = "text"
    level: Literal["debug", "info", "warning", "error"] = "info"


class ServiceConfig(Section):
    """The daemon's own address and log."""

    listen: str = Field("127.0.0.1:8765", pattern=r"^.+:\d+$")
    token: SecretStr | None = Field(None, description="required beyond loopback")
    log: LogConfig = LogConfig()

    @model_validator(mode="after")
    def _token_beyond_loopback(self) -> Self:
        host = self.listen.rsplit(":", 1)[0].strip("[]")
        if self.token is None and host not in {"127.0.0.1", "::1", "localhost"}:
            raise ValueError(f"listening on {host} needs a token (token_file: …)")
        return self
