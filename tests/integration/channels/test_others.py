"""Discord, Teams, Telegram, Sentry, apprise and webhooks: what each has beside the common."""

from __future__ import annotations

import hashlib
import hmac
import json
import re
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
import sentry_sdk
from support.channels import WEB, WebSubject, web_subject
from support.messages import HOSTILE, alert, bare, endless, hostile, later
from support.receivers import Answer
from support.vendors import OwnHook

from guardian.adapters.channels.apprise import Apprise
from guardian.adapters.channels.sentry import Sentry
from guardian.errors import ConfigError, DeliveryError
from guardian.escalate.model import MessageKind, Severity
from guardian.escalate.wording import in_one_line

pytestmark = pytest.mark.filterwarnings("ignore:'imghdr':DeprecationWarning")  # apprise
DOCS = Path(__file__).parents[3] / "docs"


def only(kind: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("subject", [kind], indirect=True)


def sent(subject: WebSubject, index: int = -1) -> Any:
    return json.loads(subject.receiver.requests[index].body)


# --- Discord ------------------------------------------------------------------------------------


@only("discord")
def test_discord_pings_nobody_and_colours_by_severity(subject: WebSubject) -> None:
    subject.channel.send(hostile())
    document = sent(subject)
    assert document["allowed_mentions"] == {"parse": []}
    assert r"\<\!channel\> \@everyone" in document["content"]
    subject.channel.send(alert(severity=Severity.P0))
    red = sent(subject)["embeds"][0]["color"]
    subject.channel.send(later(MessageKind.RESOLVED))
    assert sent(subject)["embeds"][0]["color"] != red


@only("discord")
def test_discord_keeps_what_its_address_asks_for(subject: WebSubject) -> None:
    subject.channel.send(bare(MessageKind.TEST))
    (request,) = subject.receiver.requests
    assert request.path.endswith("?thread_id=77&wait=true")
    assert "embeds" not in sent(subject)


@only("discord")
def test_discord_says_when_in_its_answer(subject: WebSubject) -> None:
    body = {"message": "You are being rate limited.", "retry_after": 64.57, "global": False}
    subject.receiver.decide = lambda _: Answer(429, json.dumps(body).encode())
    with pytest.raises(DeliveryError) as caught:
        subject.channel.send(alert())
    assert caught.value.retry_after == 64.57
    subject.receiver.decide = lambda _: subject.vendor.refuses(404)
    with pytest.raises(DeliveryError, match="code 10015; make a new webhook"):
        subject.channel.send(alert())


# --- Teams --------------------------------------------------------------------------------------


@only("teams")
def test_teams_reads_no_markdown_of_others(subject: WebSubject) -> None:
    subject.channel.send(hostile())
    card = sent(subject)["attachments"][0]["content"]
    kinds = {block["type"] for block in card["body"]}
    assert kinds == {"Container", "RichTextBlock"}  # a TextBlock would read Markdown
    assert in_one_line(HOSTILE) in json.dumps(card, ensure_ascii=False).replace('\\"', '"').replace(
        "\\\\", "\\"
    )
    assert [action["title"] for action in card["actions"]] == [in_one_line(HOSTILE)[:79] + "…"]


@only("teams")
def test_a_card_stays_below_28_kilobytes(subject: WebSubject) -> None:
    subject.channel.send(endless())
    assert 2000 < len(subject.receiver.requests[0].body) < 28 * 1024
    assert subject.problems == []


# --- Telegram -----------------------------------------------------------------------------------


@only("telegram")
def test_telegram_replies_to_the_first_message(subject: WebSubject) -> None:
    memo = subject.channel.send(alert()).memo
    assert memo == "101"
    assert subject.channel.send(later(MessageKind.RESOLVED), memo).memo == "101"
    document = sent(subject)
    assert document["reply_parameters"] == {
        "message_id": 101,
        "allow_sending_without_reply": True,
    }
    assert (document["chat_id"], document["message_thread_id"]) == ("-100200300", 7)
    assert "reply_parameters" not in sent(subject, 0)


@only("telegram")
def test_telegram_rings_for_what_is_urgent(subject: WebSubject) -> None:
    subject.channel.send(alert())
    subject.channel.send(later(MessageKind.ACKNOWLEDGED))
    assert [sent(subject, index)["disable_notification"] for index in (0, 1)] == [False, True]


@only("telegram")
@pytest.mark.parametrize(
    ("status", "more", "words"),
    [
        (400, {"parameters": {"migrate_to_chat_id": -1001}}, "give -1001 as its chat"),
        (400, {}, "write to the bot once"),
        (401, {}, "BotFather"),
        (403, {}, "let the bot into the chat again"),
    ],
)
def test_telegrams_refusals_have_their_mends(subject, status, more, words) -> None:
    body = {"ok": False, "error_code": status, "description": "Bad Request: so it is", **more}
    subject.receiver.decide = lambda _: Answer(status, json.dumps(body).encode())
    with pytest.raises(DeliveryError, match="Bad Request: so it is") as caught:
        subject.channel.send(alert())
    assert caught.value.permanent
    assert words in str(caught.value.mend)


@only("telegram")
def test_telegram_says_when_in_its_answer(subject: WebSubject) -> None:
    body = {"ok": False, "error_code": 429, "parameters": {"retry_after": 35}}
    subject.receiver.decide = lambda _: Answer(429, json.dumps(body).encode())
    with pytest.raises(DeliveryError) as caught:
        subject.channel.send(alert())
    assert caught.value.retry_after == 35


# --- webhook ------------------------------------------------------------------------------------

SECRET = b"canary-hook-secret-7d"


@only("webhook")
def test_a_webhook_is_signed_with_the_time_and_the_body(subject: WebSubject) -> None:
    subject.channel.send(alert())
    (request,) = subject.receiver.requests
    timestamp = request.headers["x-guardian-timestamp"]
    signed = timestamp.encode() + b"." + request.body
    proof = "sha256=" + hmac.new(SECRET, signed, hashlib.sha256).hexdigest()
    assert request.headers["x-guardian-signature"] == proof
    assert timestamp == "1795399200"  # the FakeClock's now
    assert request.headers["authorization"] == "Bearer canary-hook-header-7c"


@only("webhook")
def test_a_second_copy_of_a_delivery_has_its_id(subject: WebSubject) -> None:
    for message in (alert(), alert(), later(MessageKind.REMINDER), alert(dedup_key="other")):
        subject.channel.send(message)
    ids = [request.headers["x-guardian-delivery"] for request in subject.receiver.requests]
    assert ids[0] == ids[1]
    assert len(set(ids)) == 3
    assert re.fullmatch("[0-9a-f]{32}", ids[0])


@only("webhook")
def test_a_webhooks_document_has_all_of_it(subject: WebSubject) -> None:
    subject.channel.send(alert())
    document = sent(subject)
    assert document["title"] == "Backup of main/mina failed: disk full"
    assert document["state"] == "firing"
    assert document["since"] == "2026-11-23T02:00:03.000+00:00"
    assert document["ended_at"] is None
    assert document["checks"][1]["value"].count("\n") == 1
    assert document["links"] == [{"label": "dashboard", "url": alert().links[0][1]}]
    subject.channel.send(hostile())
    assert sent(subject)["impact"] == in_one_line(HOSTILE)


def test_the_receiver_in_the_documentation_works() -> None:
    """Runs what docs/webhook.md shows, on what is really sent."""
    text = (DOCS / "webhook.md").read_text()
    (code,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    room: dict[str, Any] = {}
    exec(code, room)
    with web_subject(WEB["webhook"]) as subject:
        subject.channel.send(alert())
        (request,) = subject.receiver.requests
    now = int(request.headers["x-guardian-timestamp"])
    headers = {"X-" + name[2:].title(): value for name, value in request.headers.items()}
    judge = room["is_from_guardian"]
    assert judge(SECRET, headers, request.body, now)
    assert judge(SECRET, headers, request.body, now + 200)
    assert not judge(SECRET, headers, request.body, now + 400)
    assert not judge(SECRET, headers, request.body + b" ", now)
    assert not judge(b"another", headers, request.body, now)
    assert not judge(SECRET, {}, request.body, now)


def test_every_field_of_the_document_is_documented() -> None:
    schema = OwnHook().schema(None)  # type: ignore[arg-type]
    text = (DOCS / "webhook.md").read_text()
    assert set(schema["required"]) == set(schema["properties"])
    assert [name for name in schema["properties"] if f"`{name}`" not in text] == []


# --- Sentry -------------------------------------------------------------------------------------


@only("sentry")
def test_an_incident_is_one_issue_in_sentry_and_its_end_does_not_open_it_again(subject) -> None:
    for message in (alert(), later(MessageKind.REMINDER), later(MessageKind.RESOLVED)):
        subject.channel.send(message)
    first, second, end = subject.vendor.documents
    assert first["fingerprint"] == ["backup.failed:main/mina#k3f9w2ap"] == second["fingerprint"]
    assert end["fingerprint"] == ["backup.failed:main/mina#k3f9w2ap", "resolved"]
    assert [each["level"] for each in (first, second, end)] == ["error", "error", "info"]
    assert first["tags"]["incident_kind"] == "backup.failed"
    assert first["environment"] == "test"
    assert "97% full" in first["extra"]["report"]


@only("sentry")
def test_a_second_copy_of_an_event_has_its_id(subject: WebSubject) -> None:
    subject.channel.send(alert())
    subject.channel.send(alert())
    first, second = subject.vendor.documents
    assert first["event_id"] == second["event_id"]


@only("sentry")
def test_percent_signs_are_no_placeholders(subject: WebSubject) -> None:
    subject.channel.send(alert(title="disk 97% full, %s %(x)s"))
    (event,) = subject.vendor.documents
    assert event["logentry"]["formatted"] == "[P1] disk 97% full, %s %(x)s"


@only("sentry")
def test_nothing_of_the_process_is_sent_or_changed(subject, monkeypatch) -> None:
    """Neither what an application told its own Sentry, nor hooks, threads or sessions."""
    monkeypatch.setenv("SENTRY_ENVIRONMENT", "somewhere else")
    monkeypatch.setenv("SENTRY_RELEASE", "canary-release")
    monkeypatch.setenv("SENTRY_SPOTLIGHT", "http://127.0.0.1:1/")
    monkeypatch.setenv("SENTRY_DEBUG", "1")
    hook, threads = sys.excepthook, threading.active_count()
    scope = sentry_sdk.get_global_scope()
    scope.set_tag("canary", "canary-of-the-application")
    scope.set_user({"email": "canary@user.example"})
    try:
        channel = subject.another()
        channel.send(alert())
    finally:
        scope.clear()
    assert "canary" not in json.dumps(subject.vendor.documents)
    assert subject.vendor.documents[0]["environment"] == "test"
    assert sys.excepthook is hook
    assert not sentry_sdk.is_initialized()
    assert threading.active_count() <= threads + 1  # the receiver's
    channel.close()


@pytest.mark.parametrize("dsn", ["https://nokey.example/1", "https://k@h.example/name", "x"])
def test_a_dsn_that_is_none(dsn: str) -> None:
    with pytest.raises(ConfigError, match="its DSN is none") as caught:
        Sentry("sentry", dsn)
    assert dsn not in str(caught.value)


# --- apprise ------------------------------------------------------------------------------------


def test_without_apprise_the_mend_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "apprise", None)
    with pytest.raises(DeliveryError, match="apprise is not installed") as caught:
        Apprise("x", "json://h/").send(alert())
    assert caught.value.permanent
    assert caught.value.mend == "pip install 'pg-guardian[apprise]'"


@pytest.mark.parametrize("url", ["nonsense://canary-x", "", "json://", "canary"])
def test_an_address_that_apprise_does_not_know(url: str) -> None:
    with pytest.raises(DeliveryError, match="none that apprise knows") as caught:
        Apprise("x", url).send(alert())
    assert caught.value.permanent
    assert "canary" not in str(caught.value)


def test_apprise_tries_once_whatever_its_address_asks_for() -> None:
    with web_subject(WEB["apprise"]) as subject:
        subject.receiver.decide = lambda _: subject.vendor.refuses(503)
        host = subject.receiver.host
        with pytest.raises(DeliveryError, match="status 503"):
            Apprise("x", f"json://{host}/?retry=3&wait=0.1").send(alert())
        assert subject.received == 1


@only("apprise")
@pytest.mark.parametrize(
    ("message", "word"),
    [
        (alert(), "failure"),
        (alert(severity=Severity.P2), "warning"),
        (later(MessageKind.RESOLVED), "success"),
        (bare(MessageKind.TEST), "info"),
    ],
)
def test_apprise_is_told_how_bad_it_is(subject, message, word) -> None:
    subject.channel.send(message)
    assert sent(subject)["type"] == word
