"""PagerDuty: an alert there lives as long as the incident here, under one key."""

from __future__ import annotations

import json

import pytest
from support.channels import WebSubject
from support.messages import HOSTILE, alert, bare, endless, hostile, later
from support.vendors import PagerDutyEvents

from guardian.adapters.channels.pagerduty import EVENTS
from guardian.errors import DeliveryError
from guardian.escalate.model import Fact, Message, MessageKind, Severity
from guardian.escalate.wording import in_one_line

KIND = "pagerduty"
KEY = "backup.failed:main/mina#k3f9w2ap"


def events(subject: WebSubject) -> PagerDutyEvents:
    assert isinstance(subject.vendor, PagerDutyEvents)
    return subject.vendor


def test_an_incidents_life(subject) -> None:
    states = []
    for message in (
        alert(),
        later(MessageKind.REMINDER),
        later(MessageKind.ACKNOWLEDGED),
        later(MessageKind.ESCALATION),
        later(MessageKind.RESOLVED),
    ):
        subject.channel.send(message)
        states.append(events(subject).alerts[KEY])
    assert states == ["triggered", "triggered", "acknowledged", "acknowledged", "resolved"]
    assert len(events(subject).alerts) == 1


@pytest.mark.parametrize("kind", [MessageKind.TEST, MessageKind.DIGEST])
def test_what_nobody_would_resolve_is_resolved_at_once(subject, kind) -> None:
    receipt = subject.channel.send(bare(kind))
    assert receipt.detail == "202 Accepted: trigger and resolve"
    assert events(subject).alerts == {f"{kind.value}:1": "resolved"}


def test_severities(subject) -> None:
    for severity in Severity:
        subject.channel.send(alert(severity=severity))
    found = [event["payload"]["severity"] for event in events(subject).documents]
    assert found == ["critical", "error", "warning", "info"]


def test_all_that_is_known_is_in_the_details(subject) -> None:
    subject.channel.send(alert())
    (event,) = events(subject).documents
    payload = event["payload"]
    assert payload["summary"] == "[P1] Backup of main/mina failed: disk full"
    assert (payload["source"], payload["component"]) == ("main", "mina")
    assert payload["class"] == "backup.failed"
    assert payload["timestamp"] == "2026-11-23T02:12:03.000+00:00"
    details = payload["custom_details"]
    assert details["Where"] == "main/mina"
    assert details["Evidence"] == {"cause": "disk_full", "store local": "No space left on device"}
    assert details["Checked"]["last log lines"].startswith("pg_dump: dumping table users\n")
    assert details["What to do"] == ["guardian backup prune", "guardian backup now main/mina"]
    address = alert().links[0][1]
    assert event["links"] == [{"href": address, "text": "dashboard"}]
    assert event["client_url"] == address


def test_facts_of_one_name_do_not_hide_each_other(subject) -> None:
    subject.channel.send(alert(evidence=(Fact("disk", "a"), Fact("disk", "b"), Fact("disk", "c"))))
    details = events(subject).documents[0]["payload"]["custom_details"]
    assert details["Evidence"] == {"disk": "a", "disk (2)": "b", "disk (3)": "c"}


@pytest.mark.parametrize("make", [endless, hostile])
def test_a_key_too_long_or_odd_is_the_same_each_time(subject, make) -> None:
    message: Message = make()
    subject.channel.send(message)
    subject.channel.send(later(MessageKind.RESOLVED, dedup_key=message.dedup_key))
    other = message.dedup_key + "x"
    subject.channel.send(alert(dedup_key=other))
    ((key, state), (second, _)) = events(subject).alerts.items()
    assert state == "resolved"
    assert key != second
    assert max(len(key), len(second)) <= 255


def test_a_hostile_text_is_only_a_text(subject) -> None:
    subject.channel.send(hostile())
    payload = json.loads(subject.receiver.requests[0].body)["payload"]
    assert payload["custom_details"]["What it means"] == in_one_line(HOSTILE)


def test_a_wrong_key_is_told_with_the_mend(subject) -> None:
    subject.receiver.decide = lambda _: subject.vendor.refuses(400)
    with pytest.raises(DeliveryError, match="Length of 'routing_key' is incorrect") as caught:
        subject.channel.send(alert())
    assert "Events API v2" in (caught.value.mend or "")


def test_too_many_events_are_tried_again_after_minutes(subject) -> None:
    subject.receiver.decide = lambda _: subject.vendor.refuses(429)
    with pytest.raises(DeliveryError) as caught:
        subject.channel.send(alert())
    assert caught.value.retry_after == 120


def test_where_events_go() -> None:
    assert EVENTS == {
        "us": "https://events.pagerduty.com/v2/enqueue",
        "eu": "https://events.eu.pagerduty.com/v2/enqueue",
    }
