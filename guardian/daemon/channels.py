"""Channels and heartbeats as the configuration describes them.

What one kind needs is loaded when one of that kind is made: no SDK for who has no use for it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from guardian.adapters.clock import SystemClock
from guardian.config.channels import (
    AppriseConfig,
    ChannelConfig,
    DiscordConfig,
    EmailConfig,
    HeartbeatConfig,
    PagerDutyConfig,
    SentryConfig,
    SentryCronConfig,
    SlackConfig,
    TeamsConfig,
    TelegramConfig,
    WebhookConfig,
)
from guardian.errors import ConfigError

if TYPE_CHECKING:
    from pydantic import SecretStr

    from guardian.escalate.ports import Channel, Heartbeat, JobMonitor


def make_channel(name: str, section: ChannelConfig) -> Channel:
    """One channel. Nothing is sent yet, nor any name looked up.

    Raises:
        ConfigError: it cannot be made of that, or not here.
    """
    return _MAKERS[type(section)](name, section)


def make_heartbeat(name: str, section: HeartbeatConfig) -> Heartbeat:
    """One heartbeat; nothing is sent yet. ``name`` is how errors call it: ``heartbeat 1``."""
    if isinstance(section, SentryCronConfig):
        from guardian.adapters.heartbeats.sentry_cron import SentryHeartbeat

        return SentryHeartbeat(
            f"{name} ({section.kind})",
            section.dsn.get_secret_value(),
            section.every,
            monitor=section.monitor,
            environment=section.environment,
        )
    from guardian.adapters.heartbeats.ping import Flavour, Ping

    return Ping(
        f"{name} ({section.kind})",
        section.url.get_secret_value(),
        section.every,
        flavour=None if section.flavour == "auto" else Flavour(section.flavour),
    )


def make_job_monitor(name: str, section: HeartbeatConfig) -> JobMonitor | None:
    """Who watches from outside that scheduled jobs run; None where that heartbeat does not."""
    if not isinstance(section, SentryCronConfig) or not section.jobs:
        return None
    from guardian.adapters.heartbeats.sentry_cron import SentryJobs

    return SentryJobs(
        f"{name} ({section.kind}, jobs)",
        section.dsn.get_secret_value(),
        section.monitor,
        environment=section.environment,
    )


def _slack(name: str, section: SlackConfig) -> Channel:
    from guardian.adapters.channels.slack import SlackBot, SlackWebhook

    if section.webhook_url is not None:
        return SlackWebhook(name, section.webhook_url.get_secret_value())
    assert section.bot_token is not None  # the section is checked
    assert section.channel is not None
    return SlackBot(name, section.bot_token.get_secret_value(), section.channel)


def _pagerduty(name: str, section: PagerDutyConfig) -> Channel:
    from guardian.adapters.channels.pagerduty import PagerDuty

    return PagerDuty(name, section.routing_key.get_secret_value(), region=section.region)


def _email(name: str, section: EmailConfig) -> Channel:
    from guardian.adapters.channels.mail import Mail, MailSettings

    settings = MailSettings(
        host=section.host,
        port=section.port,
        sender=section.from_,
        recipients=tuple(dict.fromkeys(section.to)),
        starttls=section.starttls,
        tls=section.tls,
        username=section.username,
        password=_revealed(section.password),
    )
    return Mail(name, settings)


def _sentry(name: str, section: SentryConfig) -> Channel:
    from guardian.adapters.channels.sentry import Sentry

    return Sentry(name, section.dsn.get_secret_value(), environment=section.environment)


def _webhook(name: str, section: WebhookConfig) -> Channel:
    from guardian.adapters.channels.webhook import Webhook

    headers = {key: value.get_secret_value() for key, value in section.headers.items()}
    url, secret = section.url.get_secret_value(), _revealed(section.secret)
    return Webhook(name, url, SystemClock(), headers=headers, secret=secret)


def _discord(name: str, section: DiscordConfig) -> Channel:
    from guardian.adapters.channels.discord import Discord

    return Discord(name, section.webhook_url.get_secret_value())


def _teams(name: str, section: TeamsConfig) -> Channel:
    from guardian.adapters.channels.teams import Teams

    return Teams(name, section.webhook_url.get_secret_value())


def _telegram(name: str, section: TelegramConfig) -> Channel:
    from guardian.adapters.channels.telegram import Telegram

    token = section.bot_token.get_secret_value()
    return Telegram(name, token, section.chat, topic=section.topic)


def _apprise(name: str, section: AppriseConfig) -> Channel:
    from guardian.adapters.channels.apprise import INSTALL, Apprise

    if find_spec("apprise") is None:  # better known now than with the first alert
        raise ConfigError(f"channel {name}: apprise is not installed here", mend=INSTALL)
    return Apprise(name, section.url.get_secret_value())


def _revealed(secret: SecretStr | None) -> str | None:
    return None if secret is None else secret.get_secret_value()


_MAKERS: Mapping[type, Callable[[str, Any], Channel]] = {
    SlackConfig: _slack,
    PagerDutyConfig: _pagerduty,
    EmailConfig: _email,
    SentryConfig: _sentry,
    WebhookConfig: _webhook,
    DiscordConfig: _discord,
    TeamsConfig: _teams,
    TelegramConfig: _telegram,
    AppriseConfig: _apprise,
}
