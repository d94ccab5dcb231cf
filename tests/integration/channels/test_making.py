"""From the configuration to channels: each kind is made, with the vendor's own address."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
from pydantic import TypeAdapter
from support.channels import PASSWORD

from guardian.adapters.channels.mail import Mail
from guardian.adapters.channels.pagerduty import PagerDuty
from guardian.adapters.channels.slack import SlackBot, SlackWebhook
from guardian.adapters.heartbeats.ping import Ping
from guardian.adapters.heartbeats.sentry_cron import SentryHeartbeat, SentryJobs
from guardian.config.channels import ChannelConfig, HeartbeatConfig
from guardian.daemon.channels import make_channel, make_heartbeat, make_job_monitor

CHANNELS: TypeAdapter[Any] = TypeAdapter(ChannelConfig)
HEARTBEATS: TypeAdapter[Any] = TypeAdapter(HeartbeatConfig)
SECTIONS: dict[str, dict[str, Any]] = {
    "slack-webhook": {"kind": "slack", "webhook_url": "https://hooks.slack.com/services/canary"},
    "slack-bot": {"kind": "slack", "bot_token": "xoxb-canary", "channel": "#incidents"},
    "pagerduty": {"kind": "pagerduty", "routing_key": "canary"},
    "pagerduty-eu": {"kind": "pagerduty", "routing_key": "canary", "region": "eu"},
    "email": {
        "kind": "email",
        "host": "smtp.example",
        "from": "guardian@mina.example",
        "to": ["lead@mina.example", "dba@mina.example", "lead@mina.example"],
        "username": "u",
        "password": PASSWORD,
    },
    "sentry": {"kind": "sentry", "dsn": "https://canary@sentry.example/1"},
    "webhook": {
        "kind": "webhook",
        "url": "https://hook.example/canary",
        "headers": {"Authorization": "Bearer canary"},
        "secret": "canary",
    },
    "discord": {"kind": "discord", "webhook_url": "https://discord.com/api/webhooks/1/canary"},
    "teams": {"kind": "teams", "webhook_url": "https://flow.example/x?sig=canary"},
    "telegram": {"kind": "telegram", "bot_token": "1:canary", "chat": "-100", "topic": 3},
    "apprise": {"kind": "apprise", "url": "ntfys://canary"},
}


@pytest.mark.parametrize("name", SECTIONS)
def test_each_kind_is_made(name: str) -> None:
    section = CHANNELS.validate_python(SECTIONS[name])
    channel = make_channel(name, section)
    assert channel.name == name
    assert repr(channel) == f"<channel {name} ({section.kind})>"
    channel.close()


def test_no_kind_is_left_out() -> None:
    kinds = {section["kind"] for section in SECTIONS.values()}
    known = CHANNELS.json_schema()["discriminator"]["mapping"]
    assert kinds == set(known)


def made(name: str) -> Any:
    return make_channel(name, CHANNELS.validate_python(SECTIONS[name]))


def test_the_vendors_own_addresses() -> None:
    webhook, bot = made("slack-webhook"), made("slack-bot")
    assert isinstance(webhook, SlackWebhook)
    assert isinstance(bot, SlackBot)
    assert bot._api == "https://slack.com/api/"
    pager, european = made("pagerduty"), made("pagerduty-eu")
    assert isinstance(pager, PagerDuty)
    assert pager._url == "https://events.pagerduty.com/v2/enqueue"
    assert european._url == "https://events.eu.pagerduty.com/v2/enqueue"
    assert made("telegram")._url == "https://api.telegram.org/bot1:canary/sendMessage"
    assert made("discord")._url == "https://discord.com/api/webhooks/1/canary?wait=true"


def test_mail_goes_to_everybody_once() -> None:
    mail = made("email")
    assert isinstance(mail, Mail)
    assert mail._settings.recipients == ("lead@mina.example", "dba@mina.example")
    assert mail._settings.starttls
    assert PASSWORD not in repr(mail._settings)


def test_heartbeats() -> None:
    url = "https://hc-ping.com/canary"
    for flavour, expected in (("auto", "healthchecks"), ("plain", "plain")):
        section = HEARTBEATS.validate_python({"kind": "ping", "url": url, "flavour": flavour})
        ping = make_heartbeat("heartbeat 1", section)
        assert isinstance(ping, Ping)
        assert (ping.name, ping.flavour) == ("heartbeat 1 (ping)", expected)
        assert make_job_monitor("heartbeat 1", section) is None


def test_sentrys_monitors() -> None:
    section = {"kind": "sentry-cron", "dsn": "https://canary@s.example/1", "every": "5m"}
    with_jobs = HEARTBEATS.validate_python(section)
    assert isinstance(make_heartbeat("heartbeat 2", with_jobs), SentryHeartbeat)
    assert isinstance(make_job_monitor("heartbeat 2", with_jobs), SentryJobs)
    without = HEARTBEATS.validate_python({**section, "jobs": False})
    assert make_job_monitor("heartbeat 2", without) is None


def test_no_sdk_is_loaded_for_who_has_no_use_for_it() -> None:
    code = (
        "import sys, guardian.daemon.channels\n"
        "loaded = {'sentry_sdk', 'apprise', 'httpx', 'smtplib'} & set(sys.modules)\n"
        "sys.exit(', '.join(loaded) or 0)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
