"""Vitals, disks, outages, probes, channels, rights, and guardian's own troubles."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from guardian.escalate.conditions.outages import is_blind, probe_conditions, server_conditions
from guardian.escalate.conditions.own import (
    Trouble,
    channel_conditions,
    degraded_conditions,
    privilege_conditions,
)
from guardian.escalate.conditions.vitals import (
    ELSEWHERE,
    blind_vitals,
    disk_conditions,
    vital_conditions,
)
from guardian.escalate.model import TITLE_LIMIT, ChannelHealth, Severity
from guardian.watch.outage import (
    Availability,
    Outage,
    OutageRules,
    ProbeCause,
    ProbeResult,
    observe,
)
from guardian.watch.readings import VITALS, Unit
from guardian.watch.vitals import Finding
from guardian.watch.vitals import Severity as Grade

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
PAGE_AFTER = timedelta(minutes=5)


def finding(vital: str, grade: Grade, *, subject: str | None = None, value: float = 96) -> Finding:
    text = f"{vital} is {value}"
    return Finding(vital, grade, text, subject, value, Unit.PERCENT, 95.0, f"mend {vital}")


# --- vitals ---


def test_a_warning_is_p2_and_a_critical_one_p1() -> None:
    found = vital_conditions(
        "main",
        [
            finding("connections", Grade.CRITICAL),
            finding("query_age", Grade.WARNING),
            finding("replica_lag", Grade.OK),
            finding("sequences", Grade.UNKNOWN),
        ],
    )
    assert [(one.key, one.kind, one.severity) for one in found] == [
        ("vital.connections:main", "vital.connections", Severity.P1),
        ("vital.query_age:main", "vital.query_age", Severity.P2),
    ]
    assert found[0].title == "main: nearly all connections are in use"
    assert [one.value for one in found[0].evidence] == ["connections is 96"]
    assert found[0].mend == ("mend connections",)


def test_damaged_data_is_p0() -> None:
    (found,) = vital_conditions("main", [finding("checksum_failures", Grade.CRITICAL)])
    assert found.severity is Severity.P0


def test_many_subjects_of_a_vital_are_one_condition_named_after_the_worst() -> None:
    group = [
        finding("sequences", Grade.WARNING, subject=f"public.s{n}", value=80 + n) for n in range(9)
    ]
    group.append(finding("sequences", Grade.CRITICAL, subject="public.worst", value=95))
    (found,) = vital_conditions("main", group)
    assert found.title == "main: a sequence is nearly used up: public.worst"
    assert found.severity is Severity.P1
    assert [one.name for one in found.evidence] == ["critical", *["warning"] * 4, "more"]
    assert found.evidence[1].value == "sequences is 88"


def test_a_session_is_not_in_the_title_for_tomorrow_it_is_another_one() -> None:
    (found,) = vital_conditions(
        "main", [finding("idle_in_transaction", Grade.WARNING, subject="pid 7 (web)")]
    )
    assert "pid" not in found.title


@pytest.mark.parametrize("vital", sorted(set(VITALS) - ELSEWHERE))
def test_every_vital_has_a_title_and_an_impact(vital: str) -> None:
    (found,) = vital_conditions("main", [finding(vital, Grade.WARNING, subject="x" * 300)])
    assert not found.title.startswith(f"main: {vital.replace('_', ' ')}")
    assert found.impact
    assert len(found.title) <= TITLE_LIMIT


def test_what_has_a_condition_of_its_own_is_none_here() -> None:
    every = [finding(one, Grade.CRITICAL, subject="s") for one in ELSEWHERE]
    assert vital_conditions("main", every) == ()
    unknown = [finding(one, Grade.UNKNOWN) for one in ("connections", "disk", "sequences")]
    assert blind_vitals("main", unknown) == ("vital.connections:main", "vital.sequences:main")


def test_a_disk_that_several_servers_use_is_one_condition_with_the_worst_of_them() -> None:
    subject = "/var/backups (store local, scratch)"
    found = disk_conditions(
        [
            finding("disk", Grade.WARNING, subject=subject),
            finding("disk", Grade.CRITICAL, subject="/var/backups (scratch)", value=99),
            finding("disk", Grade.OK, subject="/var/lib (state_dir)"),
            finding("disk", Grade.UNKNOWN, subject="/mnt (store nas)"),
        ]
    )
    assert [(one.key, one.severity) for one in found] == [("disk.low:/var/backups", Severity.P1)]
    assert found[0].title == "guardian's disk /var/backups is nearly full"
    assert found[0].evidence[0].value == "disk is 99"


def test_the_worst_of_a_disk_counts_whichever_server_came_first() -> None:
    first = finding("disk", Grade.CRITICAL, subject="/var (store local)", value=99)
    then = finding("disk", Grade.WARNING, subject="/var (state_dir)", value=90)
    for given in ([first, then], [then, first]):
        (found,) = disk_conditions(given)
        assert (found.severity, found.evidence[0].value) == (Severity.P1, "disk is 99")
        assert found.mend == ("mend disk",)
    (bare,) = disk_conditions([replace(then, mend=None)])
    assert bare.mend == ()


def test_as_many_subjects_as_are_listed_are_all() -> None:
    group = [finding("sequences", Grade.WARNING, subject=f"s{n}") for n in range(5)]
    (found,) = vital_conditions("main", group)
    assert [one.name for one in found.evidence] == ["warning"] * 5


# --- outages ---


def outage(*causes: ProbeCause | None, rules: OutageRules | None = None) -> Outage:
    state, at = Outage(), NOW
    for cause in causes:
        result = ProbeResult(at, 0.01, cause, "server main: said no", "start it")
        state, _ = observe(state, result, rules or OutageRules())
        at += timedelta(seconds=5)
    return state


DOWN = (None, ProbeCause.REFUSED, ProbeCause.REFUSED, ProbeCause.REFUSED)


def test_down_is_p1_and_p0_once_it_lasts() -> None:
    down = outage(*DOWN)
    since = NOW + timedelta(seconds=5)
    (first,) = server_conditions("main", down, since + timedelta(minutes=4), PAGE_AFTER)
    assert (first.key, first.severity) == ("server.down:main", Severity.P1)
    assert first.title == "Server main is down: nobody listens there"
    assert (first.since, first.occurrence) == (since, since.isoformat())
    assert first.mend == ("start it", "guardian diagnose main")
    (then,) = server_conditions("main", down, since + PAGE_AFTER, PAGE_AFTER)
    assert then.severity is Severity.P0
    assert then.occurrence == first.occurrence


@pytest.mark.parametrize(
    ("causes", "blind"),
    [
        ((), True),
        ((None,), False),
        ((ProbeCause.REFUSED,), True),
        ((None, ProbeCause.REFUSED, ProbeCause.REFUSED), True),
        (DOWN, False),
        ((*DOWN, None), False),
        ((*DOWN, None, None), False),
    ],
)
def test_what_is_not_known_yet_is_neither_up_nor_down(causes, blind: bool) -> None:
    state = outage(*causes)
    assert is_blind(state) is blind
    is_down = state.availability is Availability.DOWN
    assert bool(server_conditions("main", state, NOW, PAGE_AFTER)) is is_down
    assert bool(probe_conditions("web", state)) is is_down


@pytest.mark.parametrize("cause", list(ProbeCause))
def test_every_cause_of_an_outage_has_words(cause: ProbeCause) -> None:
    (found,) = probe_conditions("web", outage(cause, cause, cause))
    assert found.key == found.kind == "probe.web"
    assert found.title.startswith("web fails its probe: ")
    assert len(found.title) > len("web fails its probe: ")


def test_the_evidence_of_an_outage() -> None:
    down = outage(*DOWN)
    (found,) = probe_conditions("web", down)
    assert {one.name: one.value for one in found.evidence} == {
        "last try": "2026-11-23 12:00 UTC: server main: said no",
        "first failure": "2026-11-23 12:00 UTC",
        "last answer took": "0.0s",
    }
    assert found.tried == ("probed 3 times since, without success",)
    assert found.mend == ("start it",)
    flapping = replace(
        down,
        went_down=(NOW, NOW),
        last_failure=ProbeResult(NOW, 0.1, ProbeCause.TOO_MANY_CONNECTIONS, sqlstate="53300"),
    )
    (again,) = probe_conditions("web", flapping)
    told = {one.name: one.value for one in again.evidence}
    assert (told["SQLSTATE"], told["went down lately"]) == ("53300", "2 times")
    assert told["last try"].endswith("UTC: all connections are taken")


def test_a_server_that_answers_is_not_said_to_be_dead() -> None:
    full = outage(*[ProbeCause.TOO_MANY_CONNECTIONS] * 3)
    (found,) = server_conditions("main", full, NOW, PAGE_AFTER)
    assert found.title == "Server main is down: all connections are taken"
    assert found.impact.startswith("It answers")


# --- channels, rights, guardian itself ---


def health(minutes: float, failures: int, name: str = "pager") -> ChannelHealth:
    return ChannelHealth(name, NOW - timedelta(minutes=minutes), failures, None, "503 try later")


@pytest.mark.parametrize(
    ("channel", "told"),
    [
        (health(4, 2), False),
        (health(5, 1), True),
        (health(0, 3), True),
        (ChannelHealth("pager", None, 0, NOW), False),
        (health(99, 99, "gone"), False),
    ],
)
def test_a_channel_fails_after_a_while_or_often(channel: ChannelHealth, told: bool) -> None:
    found = channel_conditions([channel], NOW, ["pager", "mail"])
    assert bool(found) is told
    for one in found:
        assert one.key == "channel.failing:pager"
        assert one.severity is Severity.P1
        assert one.mend == ("guardian alerts test pager",)


def test_the_only_channel_is_worse() -> None:
    (alone,) = channel_conditions([health(9, 9)], NOW, ["pager"])
    assert "nobody hears" in alone.impact


def test_lacking_rights() -> None:
    assert privilege_conditions("main", ()) == ()
    (found,) = privilege_conditions("main", ("cannot see; GRANT pg_monitor TO g;",))
    assert (found.key, found.severity) == ("guardian.privileges:main", Severity.P2)
    assert found.evidence[0].value == "cannot see; GRANT pg_monitor TO g;"


def test_guardians_own_troubles() -> None:
    troubles = [
        Trouble("watch main", "server main: timed out", NOW, "look", "main"),
        Trouble("heartbeat", "x" * 300, severity=Severity.P2),
    ]
    first, second = degraded_conditions(troubles)
    assert (first.key, first.severity) == ("guardian.degraded:watch main", Severity.P1)
    assert first.title == "guardian: watch main: server main: timed out"
    assert (first.server, first.since, first.mend) == ("main", NOW, ("look",))
    assert len(second.title) == TITLE_LIMIT
    assert second.mend == ("guardian doctor",)
