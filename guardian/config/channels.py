"""Sections of the ways out: channels, by which people hear of incidents, and heartbeats."""

from __future__ import annotations

import ipaddress
import re
from datetime import timedelta
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, model_validator

from guardian.config.section import Section
from guardian.config.types import (
    Count,
    PositiveDuration,
    Secret,
    SecretAddress,
    Text,
    one_or_more,
)

_HEADER_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+", re.ASCII)
_ATOM = r"[^\s@<>()\[\],;:\\\".]+"
_MAILBOX = re.compile(rf"{_ATOM}(?:\.{_ATOM})*@{_ATOM}(?:\.{_ATOM})*")
_SLUG = re.compile(r"[a-z0-9][a-z0-9_-]{0,49}", re.ASCII)
_CHAT = re.compile(r"-?\d{1,20}|@[A-Za-z]\w{3,}", re.ASCII)


def _header_name(value: str) -> str:
    if not _HEADER_NAME.fullmatch(value):
        raise ValueError(f"{value!r} is not the name of an HTTP header")
    return value


def _header_value(value: SecretStr) -> SecretStr:
    """Judge without quoting: it may be a token."""
    text = value.get_secret_value()
    if not text.isascii() or not text.isprintable():
        raise ValueError("a header's value is one line of ASCII characters")
    return value


def _mailbox(value: str) -> str:
    if not _MAILBOX.fullmatch(value) or not (value.isascii() and value.isprintable()):
        raise ValueError(f"{value!r} is not a mail address: write name@host, in ASCII")
    return value


def _project(value: SecretStr) -> SecretStr:
    """Accept what the project's settings show: https://key@host/number."""
    parts = urlsplit(value.get_secret_value())
    if not parts.username or not parts.path.rpartition("/")[2].isdecimal():
        raise ValueError("a project's DSN is needed here: https://key@host/number")
    return value


def _slug(value: str) -> str:
    if not _SLUG.fullmatch(value):
        raise ValueError(
            f"{value!r} is not a monitor's slug: write lower-case letters, digits, dash and "
            "underscore, at most 50"
        )
    return value


def _chat(value: str) -> str:
    if not _CHAT.fullmatch(value):
        raise ValueError(f"{value!r} is not a chat: write its number, or @name of a channel")
    return value


HeaderName = Annotated[str, AfterValidator(_header_name)]
HeaderValue = Annotated[SecretStr, AfterValidator(_header_value)]
MailAddress = Annotated[Text, AfterValidator(_mailbox)]
MailAddresses = Annotated[
    list[MailAddress], BeforeValidator(one_or_more, json_schema_input_type=str | list[str])
]
SentryDsn = Annotated[SecretAddress, AfterValidator(_project)]
MonitorSlug = Annotated[str, AfterValidator(_slug)]
Chat = Annotated[str, AfterValidator(_chat)]


class SlackConfig(Section):
    """Slack, by incoming webhook or bot token."""

    kind: Literal["slack"] = Field(description="Slack, by incoming webhook or bot token")
    webhook_url: SecretAddress | None = Field(None, description="an incoming webhook; or")
    bot_token: Secret | None = Field(
        None, description="a bot's token, which keeps an incident in one thread"
    )
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
    region: Literal["us", "eu"] = Field("us", description="where the account lives")


class EmailConfig(Section):
    """Mail over SMTP."""

    kind: Literal["email"] = Field(description="mail over SMTP")
    host: Text = Field(description="the SMTP server")
    port: Count = Field(587, le=65535, description="587 with starttls, 465 with tls")
    starttls: bool = Field(True, description="begin plain, then TLS, or refuse")
    tls: bool = Field(False, description="TLS from the first byte; switches starttls off")
    username: Text | None = Field(None, description="where the server wants a login")
    password: Secret | None = Field(None, description="belongs to username")
    from_: MailAddress = Field(alias="from", description="the sender's address")
    to: MailAddresses = Field(min_length=1, description="addresses")

    @model_validator(mode="after")
    def _safe_login(self) -> Self:
        if (self.username is None) != (self.password is None):
            raise ValueError("username and password belong together; give both, or none")
        if self.password and not (self.tls or self.starttls or _is_loopback(self.host)):
            raise ValueError("a password would go in clear text; switch starttls or tls on")
        return self


class SentryConfig(Section):
    """Sentry events."""

    kind: Literal["sentry"] = Field(description="events in Sentry")
    dsn: SentryDsn = Field(description="the project's DSN")
    environment: Text = Field("production", description="under which the events are filed")


class WebhookConfig(Section):
    """JSON to an HTTP address, signed with HMAC-SHA256."""

    kind: Literal["webhook"] = Field(description="JSON to a web address of your own")
    url: SecretAddress = Field(description="where to")
    headers: dict[HeaderName, HeaderValue] = Field(default_factory=dict, description="sent along")
    secret: Secret | None = Field(None, description="signs the body with HMAC-SHA256")


class DiscordConfig(Section):
    """A Discord channel's webhook."""

    kind: Literal["discord"] = Field(description="a Discord channel, by webhook")
    webhook_url: SecretAddress = Field(description="the channel's webhook")


class TeamsConfig(Section):
    """A Microsoft Teams workflow that posts cards."""

    kind: Literal["teams"] = Field(description="Microsoft Teams, by a workflow's webhook")
    webhook_url: SecretAddress = Field(description="the workflow's address")


class TelegramConfig(Section):
    """A Telegram bot."""

    kind: Literal["telegram"] = Field(description="Telegram, by a bot of yours")
    bot_token: Secret = Field(description="as @BotFather gave it")
    chat: Chat = Field(description="the chat's number (of groups it is negative), or @channel")
    topic: Count | None = Field(None, description="the number of a topic within a forum group")


class AppriseConfig(Section):
    """Any service that apprise knows."""

    kind: Literal["apprise"] = Field(description="any service of apprise (extra: apprise)")
    url: Secret = Field(description="an apprise URL")


ChannelConfig = Annotated[
    SlackConfig
    | PagerDutyConfig
    | EmailConfig
    | SentryConfig
    | WebhookConfig
    | DiscordConfig
    | TeamsConfig
    | TelegramConfig
    | AppriseConfig,
    Field(discriminator="kind"),
]


class PingConfig(Section):
    """A dead man's switch that wants to be called."""

    kind: Literal["ping"] = Field(description="Healthchecks, BetterStack, Uptime Kuma …")
    url: SecretAddress = Field(description="the address to call")
    every: PositiveDuration = Field(timedelta(seconds=60), description="while all is well")
    flavour: Literal["auto", "plain", "healthchecks", "betterstack", "uptime-kuma"] = Field(
        "auto",
        description="how a failure is told; auto: by the address; plain: by silence alone",
    )


class SentryCronConfig(Section):
    """Sentry's cron monitors."""

    kind: Literal["sentry-cron"] = Field(description="a cron monitor in Sentry")
    dsn: SentryDsn = Field(description="the project's DSN")
    every: PositiveDuration = Field(
        timedelta(seconds=60), ge=timedelta(seconds=60), description="while all is well"
    )
    monitor: MonitorSlug = Field("guardian", description="the monitor's slug; made if need be")
    jobs: bool = Field(
        True, description="also a monitor for each schedule of backups: <monitor>-<job>"
    )
    environment: Text = Field("production", description="under which the check-ins are filed")


HeartbeatConfig = Annotated[PingConfig | SentryCronConfig, Field(discriminator="kind")]


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"
