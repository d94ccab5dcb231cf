"""From the configuration's section to the rules of escalation's core."""

from __future__ import annotations

from datetime import time, timedelta

import pytest

from guardian.config import load_config
from guardian.config.types import weekdays
from guardian.escalate.model import Severity
from guardian.escalate.rules import (
    BusinessHours,
    Digest,
    EscalationRules,
    Ladder,
    Rung,
    default_ladders,
)

P0, P1, P2, P3 = Severity
MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)

CHANNELS = """\
escalation:
  channels:
    pager: {kind: pagerduty, routing_key: x}
    mail: {kind: email, host: h, from: a@b.example, to: c@d.example}
"""

ALL = f"""\
{CHANNELS}\
  people: {{on-call: [pager, mail], lead: mail}}
  ladder:
    P0: {{15m: lead, 0m: [on-call, lead]}}
    P2: {{1h: [lead]}}
    P3: digest
  severity: {{"vital.*": P2, "backup.failed:dev/*": P3}}
  settle: {{"vital.*": 3m}}
  recovery: {{server.down: 0s}}
  reopen_within: 1h
  acknowledged_for: {{P1: 2h}}
  startup_settle: 5s
  remind_every: {{P1: 30m}}
  business_hours:
    {{for: [P2, P3], days: "sat-mon", from: "08:30", to: "17:15", timezone: Asia/Tokyo}}
  backup_failures: {{page_after: 4}}
  storm_limit: 9
  hand_over_after: 1m
  digest: "0 8 * * *"
  digest_to: lead
  timezone: Europe/Berlin
  query_text: false
  dashboard: https://guardian.example/at/
"""


def test_the_cores_rules_are_those_that_were_written(load):
    assert load(ALL).escalation.to_rules() == EscalationRules(
        people={"on-call": ("pager", "mail"), "lead": ("mail",)},
        ladders={
            P0: Ladder((Rung(0 * MINUTE, ("on-call", "lead")), Rung(15 * MINUTE, ("lead",)))),
            P2: Ladder((Rung(HOUR, ("lead",)),)),
            P3: Ladder(digest=True),
        },
        severities=(("vital.*", P2), ("backup.failed:dev/*", P3)),
        settle=(("vital.*", 3 * MINUTE),),
        recovery=(("server.down", 0 * MINUTE),),
        reopen_within=HOUR,
        acknowledged_for={P0: HOUR, P1: 2 * HOUR},
        startup_settle=timedelta(seconds=5),
        remind_every={P1: 30 * MINUTE},
        business_hours=BusinessHours(
            frozenset({P2, P3}), frozenset({5, 6, 0}), time(8, 30), time(17, 15), "Asia/Tokyo"
        ),
        page_after=4,
        storm_limit=9,
        hand_over_after=MINUTE,
        digest=Digest("0 8 * * *", "Europe/Berlin", ("lead",)),
        query_text=False,
        dashboard="https://guardian.example/at",
    )


def test_what_is_not_written_is_as_the_core_has_it(load):
    rules = load().escalation.to_rules()
    assert rules == EscalationRules(
        remind_every={P0: 15 * MINUTE, P1: HOUR}, digest=Digest(people=())
    )


def test_channels_without_people_are_told_all(load):
    rules = load(CHANNELS).escalation.to_rules()
    assert rules.people == {"on-call": ("pager", "mail")}
    assert rules.ladder_of(P1).rungs == (Rung(0 * MINUTE, ("on-call",)),)
    assert rules.digest == Digest(people=("on-call",))


def test_no_reminders_and_no_digest(load):
    rules = load("escalation: {remind_every: {}, digest: null}\n").escalation.to_rules()
    assert rules.remind_every == {}
    assert rules.digest is None


def test_a_severity_without_ladder_has_the_runbooks(load):
    rules = load(ALL).escalation.to_rules()
    assert rules.ladder_of(P1) == default_ladders(("on-call", "lead"))[P1]
    assert rules.ladder_of(P2).rungs == (Rung(HOUR, ("lead",)),)


@pytest.mark.parametrize(
    ("section", "words"),
    [
        ("ladder: {P0: {}}", "ladder.P0 has nobody to call: name people, or write digest"),
        ("ladder: {P1: {0m: lead, 5m: []}}", "ladder.P1 has nobody to call"),
        ("people: {lead: [mail], boss: []}", "people.boss has no channel: name one"),
    ],
)
def test_nobody_to_call_is_a_mistake(problems, section, words):
    people = "" if "people" in section else "  people: {lead: [mail]}\n"
    (problem,) = problems(f"{CHANNELS}{people}  {section}\n")
    assert words in problem


@pytest.mark.parametrize(
    ("text", "days"),
    [
        ("mon-fri", {0, 1, 2, 3, 4}),
        ("mon,wed,fri", {0, 2, 4}),
        ("sat-mon", {5, 6, 0}),
        ("sun", {6}),
        ("mon-tue,sat", {0, 1, 5}),
        ("tue-tue", {1}),
    ],
)
def test_days(text, days):
    assert weekdays(text) == days


def test_the_full_example_becomes_rules(credentials):
    from pathlib import Path

    file = Path(__file__).parents[3] / "config" / "guardian.full.yaml"
    rules = load_config(file, credentials).escalation.to_rules()
    assert rules.people["on-call"] == ("pager", "incidents")
    assert rules.ladders[P3].digest
