"""Sections of escalation: people, the ladder, and the service itself."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import time, timedelta
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Discriminator, Field, Tag, model_validator

from guardian.config.channels import ChannelConfig
from guardian.config.section import Section
from guardian.config.types import (
    Address,
    Count,
    Days,
    Duration,
    HostNames,
    Name,
    PositiveDuration,
    ScheduleText,
    Secret,
    Strings,
    Text,
    TimeOfDay,
    Timezone,
    WebAddress,
    one_or_more,
    weekdays,
)
from guardian.escalate import rules
from guardian.escalate.model import Severity as Class
from guardian.units import parse_duration

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

    def to_business_hours(self) -> rules.BusinessHours:
        """The hours as the core knows them."""
        return rules.BusinessHours(
            severities=frozenset(map(Class, self.for_)),
            days=weekdays(self.days),
            start=time.fromisoformat(self.from_),
            end=time.fromisoformat(self.to),
            timezone=self.timezone,
        )


class BackupFailuresConfig(Section):
    """Consecutive failures before the next rung hears of it."""

    page_after: Count = Field(2, description="failures in a row")


def _rungs_or_digest(value: Any) -> str:
    return "digest" if isinstance(value, str) else "rungs"


def _no_twins(value: Any) -> Any:
    """Refuse one time written twice: 60m and 1h, of which one would be lost."""
    written: dict[timedelta, str] = {}
    for text in value if isinstance(value, dict) else ():
        try:
            after = parse_duration(text)
        except ValueError:
            continue  # told where it stands
        if after in written:
            raise ValueError(
                f"{written[after]!r} and {text!r} are the same time; put their people in one list"
            )
        written[after] = text
    return value


Rungs = Annotated[dict[Duration, Strings], BeforeValidator(_no_twins)]
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
    severity: dict[Text, Severity] = Field(
        default_factory=dict,
        description="other severities by kind or key, as globs: {backup.shrunk: P3, "
        "'backup.failed:dev/*': P3}; the first that fits decides",
    )
    settle: dict[Text, Duration] = Field(
        default_factory=dict,
        description="how long it must hold before anybody is told, by kind as in severity "
        "(default: 1m for vitals and locks, else 0s)",
    )
    recovery: dict[Text, Duration] = Field(
        default_factory=dict,
        description="how long it must be gone before that is believed, by kind as in severity "
        "(default: 0s for backups and drills, else 2m); longer for what comes and goes",
    )
    reopen_within: Duration = Field(
        timedelta(minutes=30), description="what comes back so soon is the same incident"
    )
    acknowledged_for: dict[Severity, PositiveDuration] = Field(
        default_factory=dict,
        description="how long an acknowledgement holds, by severity (default: 1h for P0, else 4h)",
    )
    startup_settle: Duration = Field(
        timedelta(seconds=30),
        description="so long after a start, what is merely not known yet alarms nobody",
    )
    remind_every: dict[Severity, PositiveDuration] = Field(
        {"P0": timedelta(minutes=15), "P1": timedelta(hours=1)},
        description="reminders while nobody has acknowledged it, by severity; {} = never",
    )
    business_hours: BusinessHoursConfig | None = Field(
        None, description="severities that disturb nobody at night"
    )
    backup_failures: BackupFailuresConfig = Field(
        BackupFailuresConfig(), description="when failed backups reach the next rung"
    )
    storm_limit: Count = Field(
        5, description="single messages a minute and channel; what is beyond comes in one"
    )
    hand_over_after: PositiveDuration = Field(
        timedelta(minutes=5),
        description="a channel that fails for so long hands its messages over to the next",
    )
    digest: ScheduleText | None = Field(
        "0 9 * * mon", description="when the digest is sent; null = never"
    )
    digest_to: Strings = Field(
        default_factory=list, description="who gets it, among people (default: the first)"
    )
    self_test: ScheduleText | None = Field(
        None,
        description="when a test goes through each channel by itself, so that one that does not "
        "work is found before it is needed: cron, or every 7d; null = never",
    )
    timezone: Timezone = Field(
        "UTC", description="of the digest and the self-test, such as Europe/Berlin"
    )
    query_text: bool = Field(True, description="alerts show the text of queries, without secrets")
    dashboard: WebAddress | None = Field(
        None, description="where people reach the dashboard: links in alerts lead there"
    )

    @model_validator(mode="after")
    def _reaches_somebody(self) -> Self:
        """A person without channels, or a rung without people, would swallow incidents unseen."""
        for name, channels in self.people.items():
            if not channels:
                raise ValueError(f"people.{name} has no channel: name one, or leave {name} out")
        for severity, rungs in self.ladder.items():
            if not isinstance(rungs, str) and not all((rungs, *rungs.values())):
                raise ValueError(
                    f"ladder.{severity} has nobody to call: name people, or write digest"
                )
        return self

    def to_rules(self) -> rules.EscalationRules:
        """All of it as the core knows it. Without people, everything goes to every channel."""
        hours = self.business_hours
        people = {name: tuple(channels) for name, channels in self.people.items()}
        if not people and self.channels:
            people = {"on-call": tuple(self.channels)}
        return rules.EscalationRules(
            people=people,
            ladders={Class(one): _ladder(rungs) for one, rungs in self.ladder.items()},
            remind_every=_by_class(self.remind_every),
            business_hours=None if hours is None else hours.to_business_hours(),
            page_after=self.backup_failures.page_after,
            digest=self._digest(people),
            self_test=self._self_test(),
            severities=tuple((kind, Class(one)) for kind, one in self.severity.items()),
            settle=tuple(self.settle.items()),
            recovery=tuple(self.recovery.items()),
            acknowledged_for={Class.P0: timedelta(hours=1), **_by_class(self.acknowledged_for)},
            reopen_within=self.reopen_within,
            startup_settle=self.startup_settle,
            storm_limit=self.storm_limit,
            hand_over_after=self.hand_over_after,
            query_text=self.query_text,
            dashboard=None if self.dashboard is None else self.dashboard.rstrip("/"),
        )

    def _digest(self, people: Mapping[str, Any]) -> rules.Digest | None:
        if self.digest is None:
            return None
        return rules.Digest(self.digest, self.timezone, tuple(self.digest_to) or tuple(people)[:1])

    def _self_test(self) -> rules.SelfTest | None:
        if self.self_test is None or not self.channels:
            return None
        return rules.SelfTest(self.self_test, self.timezone, tuple(self.channels))


def _ladder(rungs: Mapping[timedelta, list[str]] | Literal["digest"]) -> rules.Ladder:
    if isinstance(rungs, str):
        return rules.Ladder(digest=True)
    return rules.Ladder(tuple(rules.Rung(after, tuple(who)) for after, who in rungs.items()))


def _by_class(table: Mapping[Severity, timedelta]) -> dict[Class, timedelta]:
    return {Class(one): duration for one, duration in table.items()}


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
    hosts: HostNames = Field(
        default_factory=list,
        description="names by which people ask for the dashboard, behind a proxy: no other name "
        "is answered (addresses and localhost are)",
    )
    heading: Text | None = Field(
        None, description="names this guardian among several in the dashboard, such as production"
    )
    log: LogConfig = Field(LogConfig(), description="logs go to stderr")
    tasks_at_once: Count = Field(
        2,
        le=64,
        description="backups, drills and prunes at once; drills leave a place for a backup",
    )
    stop_timeout: PositiveDuration = Field(
        timedelta(seconds=60), description="how long running backups may take to end at a stop"
    )

    @model_validator(mode="after")
    def _token_beyond_loopback(self) -> Self:
        host = self.listen.rsplit(":", 1)[0].strip("[]")
        if self.token is None and host not in {"127.0.0.1", "::1", "localhost"}:
            raise ValueError(f"listening on {host} needs a token; give token_file")
        return self
