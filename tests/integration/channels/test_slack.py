"""Slack: one thread an incident, its first message up to date, and nobody pinged by a title."""

from __future__ import annotations

import json
from typing import Any

import pytest
from support.channels import WebSubject
from support.messages import HOSTILE, alert, hostile, later
from support.receivers import Answer
from support.vendors import SlackApi

from guardian.errors import DeliveryError
from guardian.escalate.model import MessageKind
from guardian.escalate.wording import in_one_line

KIND = "slack-bot"


def api(subject: WebSubject) -> SlackApi:
    assert isinstance(subject.vendor, SlackApi)
    return subject.vendor


def header(blocks: list[dict[str, Any]]) -> str:
    text: str = blocks[0]["text"]["text"]
    return text


def test_an_incident_is_one_thread_and_its_first_message_tells_how_it_is(subject) -> None:
    memo = subject.channel.send(alert()).memo
    assert memo == "C024BE91L:1764000000.000000"
    kinds = [MessageKind.UPDATE, MessageKind.ESCALATION, MessageKind.REMINDER]
    kinds += [MessageKind.ACKNOWLEDGED, MessageKind.RESOLVED]
    for kind in kinds:
        receipt = subject.channel.send(later(kind), memo)
        assert receipt.memo == memo
        first = api(subject).posted["1764000000.000000"]
        if kind is MessageKind.REMINDER:
            assert receipt.detail == "replied in the thread"
            assert "reminder" not in header(first["updated"])
        else:
            assert receipt.detail == "replied in the thread, and the first message updated"
            word = "escalated" if kind is MessageKind.ESCALATION else kind.value
            assert f"[P1 {word}]" in header(first["updated"])
    replies = [each for each in api(subject).posted.values() if "thread_ts" in each]
    assert [each["channel"] for each in replies] == ["C024BE91L"] * 5
    assert [each["reply_broadcast"] for each in replies] == [True, True, True, False, True]


def test_a_thread_that_is_gone_begins_anew(subject) -> None:
    receipt = subject.channel.send(later(MessageKind.REMINDER), "C024BE91L:1.1")
    assert receipt.detail == "posted"
    assert receipt.memo == "C024BE91L:1764000000.000000"
    assert api(subject).posted["1764000000.000000"]["channel"] == "#incidents"


def test_that_the_first_message_cannot_be_updated_is_no_failure(subject) -> None:
    memo = subject.channel.send(alert()).memo
    api(subject).error["chat.update"] = "edit_window_closed"
    receipt = subject.channel.send(later(MessageKind.RESOLVED), memo)
    assert "the first message stays as it was" in receipt.detail
    assert "edit_window_closed" in receipt.detail
    assert receipt.memo == memo


@pytest.mark.parametrize(
    ("error", "permanent", "mend"),
    [
        ("invalid_auth", True, "new token"),
        ("not_in_channel", True, "invite the bot"),
        ("missing_scope", True, "chat:write"),
        ("some_error_of_tomorrow", True, None),
        ("ratelimited", False, None),
        ("internal_error", False, None),
    ],
)
def test_slack_refuses_with_status_200_too(subject, error, permanent, mend) -> None:
    api(subject).error["chat.postMessage"] = error
    with pytest.raises(DeliveryError, match=error) as caught:
        subject.channel.send(alert())
    assert caught.value.permanent is permanent
    assert (caught.value.mend is None) is (mend is None)
    assert mend is None or mend in (caught.value.mend or "")


def test_words_that_are_no_code_are_not_repeated(subject) -> None:
    api(subject).error["chat.postMessage"] = "Your message 'DROP TABLE' is odd"
    with pytest.raises(DeliveryError, match="refused: without a reason") as caught:
        subject.channel.send(alert())
    assert "DROP" not in str(caught.value)


@pytest.mark.parametrize("subject", ["slack-webhook", "slack-bot"], indirect=True)
def test_nobody_is_mentioned_and_nothing_formatted_by_what_comes_from_outside(subject) -> None:
    subject.channel.send(hostile())
    document = json.loads(subject.receiver.requests[0].body)
    assert "<" not in document["text"]
    assert "&lt;!channel&gt; @everyone" in document["text"]
    runs = [
        run
        for block in document["blocks"]
        if block["type"] == "rich_text"
        for element in block["elements"]
        for run in element["elements"]
    ]
    assert {run["type"] for run in runs} == {"text", "link"}
    assert any(in_one_line(HOSTILE) in run["text"] for run in runs)
    (link,) = [run for run in runs if run["type"] == "link"]
    assert link["url"].startswith("https://h.example/")


@pytest.mark.parametrize("subject", ["slack-webhook"], indirect=True)
@pytest.mark.parametrize(
    ("status", "code", "permanent", "mend"),
    [
        (404, "no_service", True, "make a new webhook"),
        (410, "channel_is_archived", True, "name another channel"),
        (403, "action_prohibited", True, "let the webhook post there"),
        (400, "invalid_payload", True, None),
        (500, "rollup_error", False, None),
        (429, "rate_limited", False, None),
    ],
)
def test_a_webhooks_own_words_are_told_with_the_mend(subject, status, code, permanent, mend):
    subject.receiver.decide = lambda _: Answer(status, code.encode())
    with pytest.raises(DeliveryError, match=code) as caught:
        subject.channel.send(alert())
    assert caught.value.permanent is permanent
    assert mend is None or caught.value.mend == mend
