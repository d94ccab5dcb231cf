"""Every channel beside a real receiver: what the conformance suite judges."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

from support.certificates import Certificate
from support.mailserver import MailReceiver, running_mail_server
from support.receivers import Answer, Manner, Request, WebReceiver
from support.vendors import (
    AppriseJson,
    DiscordHooks,
    OwnHook,
    PagerDutyEvents,
    SentryRelay,
    SlackApi,
    SlackHooks,
    TeamsWorkflow,
    TelegramBots,
    Vendor,
)

from guardian.adapters.channels.apprise import Apprise
from guardian.adapters.channels.destination import Destination
from guardian.adapters.channels.discord import Discord
from guardian.adapters.channels.mail import Mail, MailSettings
from guardian.adapters.channels.pagerduty import PagerDuty
from guardian.adapters.channels.sentry import Sentry
from guardian.adapters.channels.slack import SlackBot, SlackWebhook
from guardian.adapters.channels.teams import Teams
from guardian.adapters.channels.telegram import Telegram
from guardian.adapters.channels.webhook import Webhook
from guardian.testing import FakeClock

NAME = "incidents"
PASSWORD = "canary-mail-password-9f2c"
MAIL = MailSettings(
    host="localhost",
    port=0,
    sender="guardian@mina.example",
    recipients=("lead@mina.example", "dba@mina.example"),
    username="guardian",
    password=PASSWORD,
)

Tls = ssl.SSLContext | None
MakeWeb = Callable[[str, Tls, float], Destination]
"""A channel that speaks to that address (scheme, host and port), with that trust and deadline."""


@dataclass(frozen=True)
class WebKind:
    """A channel over HTTP: how it is made, who it speaks to, and what it must never tell."""

    make: MakeWeb
    vendor: Callable[[], Vendor]
    secrets: tuple[str, ...]
    tells_status: bool = True
    """Whether an error's words and Retry-After come through (apprise keeps them to itself)."""
    needs_own_words: bool = True
    """Whether a 2xx alone does not convince it."""


def _slack_webhook(url: str, tls: Tls, seconds: float) -> Destination:
    address = f"{url}/services/T0CANARYTEAM/B0CANARYHOOK/canary-slack-hook-1a"
    return SlackWebhook(NAME, address, tls=tls, seconds=seconds)


def _slack_bot(url: str, tls: Tls, seconds: float) -> Destination:
    token = "xoxb-canary-slack-bot-2b"
    return SlackBot(NAME, token, "#incidents", api=f"{url}/api/", tls=tls, seconds=seconds)


def _pagerduty(url: str, tls: Tls, seconds: float) -> Destination:
    key = "canarypagerdutyrouting3c00000000"
    return PagerDuty(NAME, key, events_url=f"{url}/v2/enqueue", tls=tls, seconds=seconds)


def _discord(url: str, tls: Tls, seconds: float) -> Destination:
    address = f"{url}/api/webhooks/1234567890/canary-discord-hook-4d?thread_id=77"
    return Discord(NAME, address, tls=tls, seconds=seconds)


def _teams(url: str, tls: Tls, seconds: float) -> Destination:
    address = f"{url}/workflows/canaryflow5e/triggers/manual/paths/invoke?sig=canary-teams-sig-5e"
    return Teams(NAME, address, tls=tls, seconds=seconds)


def _telegram(url: str, tls: Tls, seconds: float) -> Destination:
    token = "987654321:canary-telegram-bot-6f"
    return Telegram(NAME, token, "-100200300", topic=7, api=url, tls=tls, seconds=seconds)


def _webhook(url: str, tls: Tls, seconds: float) -> Destination:
    return Webhook(
        NAME,
        url.replace("://", "://user:canary-hook-userinfo@")
        + "/hook/canary-hook-path-7a?key=canary-hook-query-7b",
        FakeClock(),
        headers={"Authorization": "Bearer canary-hook-header-7c"},
        secret="canary-hook-secret-7d",
        tls=tls,
        seconds=seconds,
    )


def _sentry(url: str, tls: Tls, seconds: float) -> Destination:
    dsn = url.replace("://", "://canarysentrykey8a@") + "/42"
    return Sentry(NAME, dsn, environment="test", tls=tls, seconds=seconds)


def _apprise(url: str, tls: Tls, seconds: float) -> Destination:
    del tls  # apprise trusts what it trusts
    scheme = "jsons" if url.startswith("https") else "json"
    host = url.partition("://")[2]
    return Apprise(
        NAME, f"{scheme}://user:canary-apprise-password@{host}/canary-apprise-9a", seconds=seconds
    )


WEB: dict[str, WebKind] = {
    "slack-webhook": WebKind(
        _slack_webhook, SlackHooks, ("T0CANARYTEAM", "B0CANARYHOOK", "canary-slack-hook-1a")
    ),
    "slack-bot": WebKind(_slack_bot, SlackApi, ("xoxb-canary-slack-bot-2b",)),
    "pagerduty": WebKind(_pagerduty, PagerDutyEvents, ("canarypagerdutyrouting3c00000000",)),
    "discord": WebKind(_discord, DiscordHooks, ("canary-discord-hook-4d", "1234567890")),
    "teams": WebKind(
        _teams, TeamsWorkflow, ("canary-teams-sig-5e", "canaryflow5e"), needs_own_words=False
    ),
    "telegram": WebKind(_telegram, TelegramBots, ("canary-telegram-bot-6f", "987654321")),
    "webhook": WebKind(
        _webhook,
        OwnHook,
        (
            *("canary-hook-userinfo", "canary-hook-path-7a", "canary-hook-query-7b"),
            *("canary-hook-header-7c", "canary-hook-secret-7d"),
        ),
        needs_own_words=False,
    ),
    "sentry": WebKind(_sentry, SentryRelay, ("canarysentrykey8a",), needs_own_words=False),
    "apprise": WebKind(
        _apprise,
        AppriseJson,
        ("canary-apprise-password", "canary-apprise-9a"),
        tells_status=False,
        needs_own_words=False,
    ),
}


@dataclass
class WebSubject:
    """A channel and its receiver over HTTP."""

    kind: WebKind
    receiver: WebReceiver
    vendor: Vendor
    trust: Tls
    seconds: float = 10.0
    channel: Destination = field(init=False)

    def __post_init__(self) -> None:
        self.channel = self.another()

    @property
    def secrets(self) -> tuple[str, ...]:
        return self.kind.secrets

    @property
    def received(self) -> int:
        return len(self.receiver.requests)

    @property
    def problems(self) -> list[str]:
        return self.vendor.problems

    def another(self, *, seconds: float | None = None, trust: Tls = None) -> Destination:
        """One more channel to the same receiver."""
        return self.kind.make(self.receiver.url, trust or self.trust, seconds or self.seconds)

    def nowhere(self, port: int) -> Destination:
        """One to a port at which nobody listens."""
        return self.kind.make(f"http://127.0.0.1:{port}", None, self.seconds)

    def behave(self, manner: Manner) -> None:
        self.receiver.manner = manner

    def refuse(self) -> None:
        """For good."""
        self.receiver.decide = lambda _: self.vendor.refuses(403)

    def put_off(self) -> None:
        """For now."""
        self.receiver.decide = lambda _: self.vendor.refuses(503)

    def take(self) -> None:
        """As it should."""
        self.receiver.manner = Manner.WELL
        self.receiver.decide = self.vendor

    def echo(self, status: int) -> None:
        """Answer with all that was asked."""

        def decide(request: Request) -> Answer:
            return Answer(status, request.everything, {"X-Echo": "yes"})

        self.receiver.decide = decide


@dataclass
class MailSubject:
    """Mail and its receiver over SMTP."""

    receiver: MailReceiver
    trust: Tls
    settings: MailSettings
    seconds: float = 10.0
    channel: Destination = field(init=False)

    secrets = (PASSWORD,)
    problems: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        self.channel = self.another()

    @property
    def received(self) -> int:
        return len(self.receiver.mails)

    def another(self, *, seconds: float | None = None, trust: Tls = None) -> Destination:
        return Mail(NAME, self.settings, tls=trust or self.trust, seconds=seconds or self.seconds)

    def nowhere(self, port: int) -> Destination:
        return Mail(NAME, replace(self.settings, port=port), tls=self.trust)

    def behave(self, manner: Manner) -> None:
        self.receiver.manner = manner

    def refuse(self) -> None:
        self.receiver.data_answer = "554 5.7.1 spam"

    def put_off(self) -> None:
        self.receiver.mail_answer = "451 4.7.1 greylisted"

    def take(self) -> None:
        self.receiver.manner = Manner.WELL
        self.receiver.data_answer, self.receiver.mail_answer = "250 OK", "250 OK"

    def echo(self, status: int) -> None:
        self.receiver.mail_answer = f"{500 + status % 100} no, {self.settings.password}"


Subject = WebSubject | MailSubject


@contextmanager
def web_subject(
    kind: WebKind, *, tls: Certificate | None = None, trust: Tls = None
) -> Iterator[WebSubject]:
    """A channel of that kind beside its receiver, which shows that certificate if any."""
    vendor = kind.vendor()
    with WebReceiver(vendor, tls=tls.serving() if tls else None) as receiver:
        subject = WebSubject(kind, receiver, vendor, trust)
        yield subject
        subject.channel.close()


@contextmanager
def mail_subject(
    certificate: Certificate, *, tls: bool = False, trust: Tls = None
) -> Iterator[MailSubject]:
    """Mail by STARTTLS or TLS beside its receiver."""
    with running_mail_server(certificate.serving(), tls=tls) as receiver:
        receiver.users["guardian"] = PASSWORD
        settings = replace(MAIL, port=receiver.port, tls=tls)
        yield MailSubject(receiver, trust or certificate.trusted(), settings)
