"""One suite over every channel, each beside a real receiver of what it speaks.

The receivers check what they get against what the services document, and can fail in every way. A
new channel joins with an entry in support/channels.py.
"""

from __future__ import annotations

import json
import logging
import traceback
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import replace

import pytest
from support.certificates import Certificate, make_certificate
from support.channels import WEB, Subject, WebSubject, mail_subject, web_subject
from support.messages import AT, alert, endless, every_kind, hostile, later, storm
from support.receivers import UNREACHABLE_MANNERS, Answer, Manner, Request, WebReceiver, closed_port

from guardian.errors import DeliveryError
from guardian.escalate.model import Message, MessageKind, Receipt
from guardian.escalate.ports import Channel

pytestmark = pytest.mark.filterwarnings("ignore:'imghdr':DeprecationWarning")  # apprise

KINDS = [*WEB, "mail-starttls", "mail-tls"]
MESSAGES = [*every_kind(), hostile(), endless()]
NAMES = [*(message.kind.value for message in every_kind()), "hostile", "endless"]


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    return make_certificate(tmp_path_factory.mktemp("tls"), "DNS:localhost")


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    """For another host."""
    return make_certificate(tmp_path_factory.mktemp("tls"), "DNS:elsewhere.example")


@pytest.fixture(params=KINDS)
def subject(request: pytest.FixtureRequest, certificate: Certificate) -> Iterator[Subject]:
    if request.param in WEB:
        with web_subject(WEB[request.param]) as web:
            yield web
    else:
        with mail_subject(certificate, tls=request.param == "mail-tls") as mail:
            yield mail


@pytest.fixture(params=WEB)
def web(request: pytest.FixtureRequest) -> Iterator[WebSubject]:
    with web_subject(WEB[request.param]) as subject:
        yield subject


@pytest.fixture(params=[name for name, kind in WEB.items() if kind.tells_status])
def frank(request: pytest.FixtureRequest) -> Iterator[WebSubject]:
    """All but apprise, which keeps to itself what it was told."""
    with web_subject(WEB[request.param]) as subject:
        yield subject


def failure(channel: Channel, message: Message | None = None) -> DeliveryError:
    with pytest.raises(DeliveryError) as caught:
        channel.send(message or alert())
    error = caught.value
    assert str(error).startswith("channel incidents (")
    assert "\n" not in str(error)
    assert error.transient is not error.permanent
    return error


# --- what is sent -------------------------------------------------------------------------------


def test_every_message_is_one_that_the_service_takes(subject: Subject) -> None:
    for name, message in zip(NAMES, MESSAGES, strict=True):
        before = subject.received
        receipt = subject.channel.send(message)
        assert isinstance(receipt, Receipt), name
        assert receipt.detail, name
        assert subject.received > before, name
    assert list(subject.problems) == []


def test_a_storm_of_a_hundred_is_taken_with_nobody_left_out(web: WebSubject) -> None:
    web.channel.send(storm(100))
    said = web.receiver.requests[0].body.decode()
    assert [index for index in range(100) if f"main/db{index}" not in said.replace("\\", "")] == []


def test_an_incidents_life_goes_by_with_the_memo_handed_on(subject: Subject) -> None:
    memo = None
    for message in list(every_kind())[:6]:
        memo = subject.channel.send(message, memo).memo or memo
    assert list(subject.problems) == []


@pytest.mark.parametrize("memo", ["", "x", "C1:x", "\x00", "C1:1.1:2", "9" * 100, "🙂"])
def test_a_memo_of_somebody_else_does_no_harm(subject: Subject, memo) -> None:
    subject.channel.send(later(MessageKind.REMINDER), memo)
    assert list(subject.problems) == []


def test_several_threads_send_at_once(subject: Subject) -> None:
    messages = [replace(alert(), number=number) for number in range(8)]
    with ThreadPoolExecutor(8) as pool:
        receipts = list(pool.map(subject.channel.send, messages))
    assert len(receipts) == 8
    assert subject.received >= 8
    assert list(subject.problems) == []


def test_a_channel_has_a_name_and_can_be_closed_twice(subject: Subject) -> None:
    channel: Channel = subject.channel
    assert channel.name == "incidents"
    assert isinstance(channel.groups, bool)
    channel.send(alert())
    channel.close()
    channel.close()


def test_nothing_is_sent_before_there_is_something_to_say(subject: Subject) -> None:
    subject.another().close()
    assert subject.received == 0


# --- what goes wrong ----------------------------------------------------------------------------


@pytest.mark.parametrize("manner", UNREACHABLE_MANNERS)
def test_what_cannot_be_reached_is_tried_again_later(subject: Subject, manner: Manner) -> None:
    subject.behave(manner)
    impatient = subject.another(seconds=0.5)
    error = failure(impatient)
    assert not error.permanent
    subject.take()
    subject.channel.send(alert())
    assert list(subject.problems) == []


def test_where_nobody_listens(subject: Subject) -> None:
    error = failure(subject.nowhere(closed_port()))
    assert not error.permanent
    if not isinstance(subject, WebSubject) or subject.kind.tells_status:
        assert "nobody listens there" in error.message
        assert error.mend


def test_a_refusal_is_for_good(subject: Subject) -> None:
    subject.refuse()
    assert failure(subject.channel).permanent
    subject.take()
    subject.channel.send(alert())


def test_who_puts_us_off_is_asked_again(subject: Subject) -> None:
    subject.put_off()
    assert not failure(subject.channel).permanent
    subject.take()
    subject.channel.send(alert())


@pytest.mark.parametrize("status", [400, 401, 403, 404, 410, 413])
def test_statuses_that_no_patience_mends(web: WebSubject, status: int) -> None:
    web.receiver.decide = lambda _: web.vendor.refuses(status)
    error = failure(web.channel)
    assert error.permanent
    assert str(status) in error.message


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504, 599])
def test_statuses_that_patience_may_mend(web: WebSubject, status: int) -> None:
    web.receiver.decide = lambda _: web.vendor.refuses(status)
    error = failure(web.channel)
    assert not error.permanent
    assert str(status) in error.message


@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"Retry-After": "7"}, 7),
        ({"Retry-After": "0.5"}, 0.5),
        (
            {
                "Date": "Mon, 23 Nov 2026 02:12:00 GMT",
                "Retry-After": "Mon, 23 Nov 2026 02:13:30 GMT",
            },
            90,
        ),
        ({"Retry-After": "999999999"}, 24 * 3600),
        ({"Retry-After": "-5"}, 0),
    ],
)
def test_who_says_when_is_believed(frank: WebSubject, status: int, headers, seconds) -> None:
    frank.receiver.decide = lambda _: frank.vendor.refuses(status, **headers)
    assert failure(frank.channel).retry_after == seconds


@pytest.mark.parametrize("words", ["soon", "", "nan", "inf", "\xff"])
def test_who_says_nothing_sensible_is_not(web: WebSubject, words: str) -> None:
    web.receiver.decide = lambda _: web.vendor.refuses(503, **{"Retry-After": words})
    assert failure(web.channel).retry_after is None


PAGE = b"<!DOCTYPE html><html><body>Please sign in to the hotel's network</body></html>"


@pytest.mark.parametrize("status", [200, 202])
def test_a_page_in_the_services_place_is_no_delivery(frank: WebSubject, status: int) -> None:
    frank.receiver.decide = lambda _: Answer(status, PAGE, {"Content-Type": "text/html"})
    assert not failure(frank.channel).permanent


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"ok?",
        b"\x00\xff",
        b"{",
        b"[]",
        b"null",
        b'{"ok": 1}',
        b'{"ok": "true"}',
        b"9" * 10_000,
    ],
)
def test_a_success_in_other_words_is_none(web: WebSubject, body: bytes) -> None:
    web.receiver.decide = lambda _: Answer(200, body)
    if not web.kind.needs_own_words:
        web.channel.send(alert())
        return
    assert not failure(web.channel).permanent


# --- where it is sent to ------------------------------------------------------------------------


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_nothing_is_sent_on_to_another_host(web: WebSubject, status: int) -> None:
    with WebReceiver(web.vendor) as other:
        there = f"http://127.0.0.1:{other.port}/x"
        web.receiver.decide = lambda _: Answer(status, headers={"Location": there})
        error = failure(web.channel)
        assert other.requests == []
    if web.kind.tells_status:
        assert error.permanent


def test_a_redirect_on_the_same_host_is_followed_with_all_that_was_sent(frank: WebSubject) -> None:
    first = frank.receiver.url

    def decide(request: Request) -> Answer:
        if request.path.startswith("/moved"):
            return frank.vendor(replace(request, path=request.path.removeprefix("/moved")))
        return Answer(308, headers={"Location": f"{first}/moved{request.path}"})

    frank.receiver.decide = decide
    frank.channel.send(alert())
    assert frank.problems == []
    bodies = [request.body for request in frank.receiver.requests]
    assert bodies[0] == bodies[1]


def test_a_redirect_that_would_drop_the_message_is_an_error(web: WebSubject) -> None:
    web.receiver.decide = lambda request: Answer(302, headers={"Location": request.path + "x"})
    failure(web.channel)
    assert web.received == 1


def test_circles_end(web: WebSubject) -> None:
    web.receiver.decide = lambda request: Answer(307, headers={"Location": request.path})
    failure(web.channel)
    assert web.received < 6


# --- TLS ----------------------------------------------------------------------------------------


def test_over_tls_where_it_is_trusted(frank: WebSubject, certificate: Certificate) -> None:
    with web_subject(frank.kind, tls=certificate, trust=certificate.trusted()) as secure:
        secure.channel.send(alert())
        assert secure.problems == []


@pytest.mark.parametrize("kind", KINDS)
def test_who_cannot_show_that_he_is_who_he_is_gets_nothing(kind, certificate, elsewhere) -> None:
    """A certificate that nobody vouches for, and a good one for another host."""
    for shown, trust, words in (
        (certificate, elsewhere.trusted(), "self-signed certificate"),
        (elsewhere, elsewhere.trusted(), "certificate is not valid for 'localhost'"),
    ):
        made: AbstractContextManager[Subject] = (
            web_subject(WEB[kind], tls=shown, trust=trust)
            if kind in WEB
            else mail_subject(shown, tls=kind == "mail-tls", trust=trust)
        )
        with made as subject:
            error = failure(subject.channel)
            assert subject.received == 0
        assert not error.permanent
        if kind != "apprise":
            assert words in error.message
            assert "SSL_CERT_FILE" in (error.mend or "")


def test_a_port_without_tls_is_told_so(frank: WebSubject) -> None:
    plain = frank.kind.make(frank.receiver.url.replace("http:", "https:"), None, 5.0)
    assert "TLS fails" in failure(plain).message
    assert frank.received == 0


# --- secrets ------------------------------------------------------------------------------------


def pieces(secrets: tuple[str, ...]) -> list[str]:
    """Also what is left of a secret when a service cuts it."""
    return [piece for secret in secrets for piece in (secret, secret[:12], secret[-12:])]


def test_no_secret_is_in_any_error_log_or_repr(
    subject: Subject, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG)
    told: list[str] = [repr(subject.channel), str(subject.channel), subject.channel.name]

    def fail(channel: Channel) -> None:
        error = failure(channel, hostile())
        told.extend([repr(error), *traceback.format_exception(error)])

    for status in (200, 302, 400, 401, 404, 429, 500):
        subject.echo(status)
        try:
            told.append(repr(subject.channel.send(alert())))
        except DeliveryError as error:
            told.extend([repr(error), *traceback.format_exception(error)])
    subject.take()
    told.append(repr(subject.channel.send(alert())))
    fail(subject.nowhere(closed_port()))
    for manner in UNREACHABLE_MANNERS:
        subject.behave(manner)
        fail(subject.another(seconds=0.5))
    told += [record.getMessage() for record in caplog.records]
    told += [str(record.__dict__) for record in caplog.records]
    told += list(capfd.readouterr())
    for piece in pieces(subject.secrets):
        assert [text for text in told if piece in text] == [], piece


def test_what_a_service_quotes_is_veiled(web: WebSubject) -> None:
    """In the fields of its answer that are repeated, too."""
    quoted = " ".join(web.secrets)
    words = {"errors": [quoted], "description": quoted, "error": quoted, "message": quoted}

    def decide(_request: Request) -> Answer:
        return Answer(400, json.dumps({"ok": False, **words}).encode())

    web.receiver.decide = decide
    error = failure(web.channel)
    for piece in pieces(web.secrets):
        assert piece not in str(error)


def test_a_messages_time_is_its_own(web: WebSubject) -> None:
    """Not that of its delivery, which may be an hour later."""
    web.channel.send(alert())
    said = web.receiver.requests[0].body.decode()
    assert f"{AT:%Y-%m-%d}" in said
