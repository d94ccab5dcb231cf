"""Sections of watching: policies over sessions, vitals, outages, and other things probed."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, SecretStr, model_validator

from guardian.config.section import Section
from guardian.config.types import (
    Address,
    Count,
    DurationBounds,
    Networks,
    NumberBounds,
    Percent,
    PercentBounds,
    PositiveDuration,
    Regex,
    Size,
    SizeBounds,
    Strings,
    Text,
    WebAddress,
    Whole,
    one_or_more,
)
from guardian.watch.model import Action as WatchAction
from guardian.watch.rules import Limits, Match, Policy, Victims

SessionState = Literal[
    "active",
    "idle",
    "idle in transaction",
    "idle in transaction (aborted)",
    "fastpath function call",
    "disabled",
]
Action = Literal["cancel", "terminate", "report"]
_BILLION = 1_000_000_000
_GIB = 1 << 30


class MatchConfig(Section):
    """Which sessions: all keys must hold, a list when any entry does."""

    state: (
        Annotated[
            list[SessionState],
            BeforeValidator(one_or_more, json_schema_input_type=SessionState | list[SessionState]),
        ]
        | None
    ) = Field(None, description="as in pg_stat_activity")
    for_: PositiveDuration | None = Field(
        None, alias="for", description="time in that state; for active the query's age"
    )
    transaction_for: PositiveDuration | None = Field(None, description="age of the transaction")
    users: Strings | None = Field(None, description="globs; case is kept")
    databases: Strings | None = Field(None, description="globs; case is kept")
    applications: Strings | None = Field(None, description="globs; case is kept")
    clients: Networks | None = Field(None, description="networks such as 10.0.0.0/8")
    query: Regex | None = Field(
        None, description="a regular expression in RE2's syntax, found anywhere"
    )
    wait_event_types: Strings | None = Field(None, description="such as Lock or IO")
    blocking: Count | None = Field(
        None,
        description="holds up at least so many sessions, through the chain; unless waiting_for is "
        "asked too, only who waits for none itself",
    )
    blocking_for: PositiveDuration | None = Field(
        None, description="for how long it has held others up"
    )
    waiting_for: PositiveDuration | None = Field(None, description="its own wait for a lock")
    blocking_backup: bool | None = Field(None, description="holds up a backup of ours")

    @model_validator(mode="after")
    def _has_no_empty_list(self) -> Self:
        """Made of an empty variable, say: it would ask for nothing, where nobody was meant."""
        for name in type(self).model_fields:
            if getattr(self, name) == []:
                raise ValueError(f"{name} is an empty list: name somebody, or leave it out")
        return self

    @property
    def is_empty(self) -> bool:
        """Whether hardly anybody is told apart: no key is set, or only who blocks no backup."""
        names = set(type(self).model_fields) - {"blocking_backup"}
        return not self.blocking_backup and all(getattr(self, name) is None for name in names)

    def to_match(self) -> Match:
        """The conditions as the core knows them, under the same names."""
        values: dict[str, Any] = {}
        for name in type(self).model_fields:
            value = getattr(self, name)
            if value is not None:
                values[name] = tuple(value) if isinstance(value, list) else value
        return Match(**values)


class PolicyConfig(Section):
    """Which sessions are victims, and what becomes of them."""

    name: Text = Field(description="for the audit and for people")
    match: MatchConfig = Field(description="all keys must hold")
    except_: MatchConfig | None = Field(
        None, alias="except", description="any key that holds spares the session"
    )
    victims: Literal["all", "oldest", "all-but-oldest"] = Field(
        "all", description="which of those that match"
    )
    action: Annotated[
        list[Action],
        Field(min_length=1),
        BeforeValidator(one_or_more, json_schema_input_type=Action | list[Action]),
    ] = Field(description="cancel, terminate, report; or a ladder: [cancel, terminate]")
    grace: PositiveDuration = Field(
        timedelta(seconds=30), description="between the rungs of the ladder"
    )
    superusers: bool = Field(False, description="let superusers be victims too")

    @model_validator(mode="after")
    def _has_condition(self) -> Self:
        if self.match.is_empty:
            raise ValueError("match is empty: every session would be a victim; name a state")
        return self

    @model_validator(mode="after")
    def _has_effect(self) -> Self:
        if len(self.action) > 1 and self.action != ["cancel", "terminate"]:
            raise ValueError("a ladder is [cancel, terminate]; write one action, or that")
        states = self.match.state or []
        if self.action == ["cancel"] and any(state.startswith("idle") for state in states):
            raise ValueError("cancel does nothing to an idle session; write terminate")
        return self

    def to_policy(self) -> Policy:
        """The policy as the core knows it."""
        return Policy(
            name=self.name,
            match=self.match.to_match(),
            action=tuple(WatchAction(one) for one in self.action),
            except_=Match() if self.except_ is None else self.except_.to_match(),
            victims=Victims(self.victims),
            grace=self.grace,
            superusers=self.superusers,
        )


class LimitsConfig(Section):
    """How many sessions may be hit."""

    per_cycle: Whole = Field(5, description="victims in one look")
    per_hour: Whole = Field(60, description="victims in an hour; then it stops and reports")

    def to_limits(self) -> Limits:
        """The limits as the core knows them."""
        return Limits(per_cycle=self.per_cycle, per_hour=self.per_hour)


class RecordingConfig(Section):
    """Sessions kept for replay."""

    enabled: bool = Field(True, description="record changes, for guardian replay")
    keep: PositiveDuration = Field(timedelta(days=7), description="how long, at most")
    max_size: Size = Field(
        64 << 20,
        ge=1 << 20,
        description="of one server's, in the catalog; the oldest goes. A server of 500 sessions "
        "takes 8 MB a day when few change, 40 when a fifth does at each look",
    )
    query_text: bool = Field(True, description="with the queries' text")


class WatchConfig(Section):
    """Looking at sessions and locks."""

    interval: PositiveDuration = Field(timedelta(seconds=5), description="between two looks")
    mode: Literal["observe", "enforce"] = Field(
        "observe", description="observe only records what enforce would have done"
    )
    limits: LimitsConfig = Field(LimitsConfig(), description="how many sessions may be hit")
    policies: list[PolicyConfig] = Field(
        default_factory=list, description="the first that matches decides"
    )
    recording: RecordingConfig = Field(RecordingConfig(), description="sessions kept for replay")

    def to_policies(self) -> tuple[Policy, ...]:
        """The policies as the core knows them, in the order in which they decide."""
        return tuple(one.to_policy() for one in self.policies)


class VitalsConfig(Section):
    """Bounds of the server's vital signs: [warning, critical], null for none."""

    connections: PercentBounds | None = Field(
        (Percent(80), Percent(95)), description="of max_connections less the reserved ones"
    )
    idle_in_transaction: DurationBounds | None = Field(
        (timedelta(minutes=5), timedelta(minutes=30)), description="the longest"
    )
    query_age: DurationBounds | None = Field(
        (timedelta(minutes=15), timedelta(minutes=60)), description="the longest running query"
    )
    lock_wait: DurationBounds | None = Field(
        (timedelta(minutes=1), timedelta(minutes=5)), description="the longest wait for a lock"
    )
    transaction_id_age: NumberBounds | None = Field(
        (_BILLION, 1.4 * _BILLION), description="age of the oldest transaction id"
    )
    multixact_age: NumberBounds | None = Field(
        (_BILLION, 1.4 * _BILLION), description="age of the oldest multixact id"
    )
    prepared_transactions: DurationBounds | None = Field(
        (timedelta(minutes=1), timedelta(minutes=10)), description="age of the oldest"
    )
    slot_retained_wal: SizeBounds | None = Field(
        (_GIB, 5 * _GIB), description="WAL held back by one replication slot"
    )
    replica_lag: DurationBounds | None = Field(
        (timedelta(minutes=5), timedelta(minutes=30)), description="of the slowest replica"
    )
    disk: PercentBounds | None = Field(
        (Percent(85), Percent(95)), description="full, of the file systems that are ours"
    )
    backup_age: NumberBounds | None = Field(
        (1.5, 3.0), description="of the last good backup, in intervals of its schedule"
    )
    size_drop: PercentBounds | None = Field(
        (Percent(30), Percent(60)), description="a backup smaller than the last proven one"
    )
    sequences: PercentBounds | None = Field(
        (Percent(80), Percent(95)), description="used of the fullest sequence"
    )
    invalid_indexes: NumberBounds | None = Field((1, None), description="how many")
    checksum_failures: NumberBounds | None = Field((None, 1), description="how many")
    archiver: DurationBounds | None = Field(
        (timedelta(minutes=5), timedelta(minutes=30)), description="how long archiving has failed"
    )


class OutageConfig(Section):
    """When a server counts as down."""

    interval: PositiveDuration = Field(timedelta(seconds=5), description="between two tries")
    timeout: PositiveDuration = Field(timedelta(seconds=5), description="of one try")
    failures: Count = Field(3, description="in a row, before it is down")
    successes: Count = Field(2, description="in a row, before it is up again")
    page_after: PositiveDuration = Field(
        timedelta(minutes=5), description="down for so long is a P0"
    )


class _Probe(Section):
    """What all probes have."""

    name: Text = Field(description="for people")
    interval: PositiveDuration = Field(timedelta(seconds=30), description="between two probes")
    timeout: PositiveDuration = Field(timedelta(seconds=10), description="of one probe")
    failures: Count = Field(3, description="in a row, before it counts")


class HttpProbeConfig(_Probe):
    """An HTTP address that must answer."""

    kind: Literal["http"] = Field(description="a web address that must answer")
    url: WebAddress = Field(description="such as https://mina.example/health")
    expect_status: Count = Field(200, le=599, description="the status that is right")
    expect_json: dict[str, Any] | None = Field(
        None, description="keys and values that the answer's JSON must have"
    )
    headers: dict[str, SecretStr] = Field(default_factory=dict, description="sent along")


class TcpProbeConfig(_Probe):
    """A TCP address that must accept connections."""

    kind: Literal["tcp"] = Field(description="an address that must accept connections")
    address: Address = Field(description="host:port")


ProbeConfig = Annotated[HttpProbeConfig | TcpProbeConfig, Field(discriminator="kind")]
