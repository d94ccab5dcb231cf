"""Mail: encrypted or not at all, one thread an incident, and no header that we did not write."""

from __future__ import annotations

import logging
from dataclasses import replace

import pytest
from support.certificates import Certificate
from support.channels import MAIL, MailSubject
from support.mailserver import running_mail_server
from support.messages import HOSTILE, alert, bare, every_kind, hostile, later

from guardian.adapters.channels.mail import Mail
from guardian.errors import DeliveryError
from guardian.escalate.model import MessageKind, Severity
from guardian.escalate.wording import in_one_line

HEADERS = {
    *("subject", "from", "to", "date", "message-id", "in-reply-to", "references"),
    *("auto-submitted", "x-auto-response-suppress", "importance", "mime-version", "content-type"),
    *("x-guardian-kind", "x-guardian-severity", "x-guardian-incident"),
}


def test_a_mail_is_encrypted_logged_in_and_has_text_and_html(mail: MailSubject) -> None:
    receipt = mail.channel.send(alert())
    assert receipt.detail == "accepted for 2 of 2"
    (taken,) = mail.receiver.mails
    assert taken.encrypted
    assert taken.user == "guardian"
    assert taken.recipients == ("lead@mina.example", "dba@mina.example")
    assert taken.sender == "guardian@mina.example"
    message = taken.message
    assert message["Subject"] == "[P1] Backup of main/mina failed: disk full"
    assert message["To"] == "lead@mina.example, dba@mina.example"
    assert message["Auto-Submitted"] == "auto-generated"
    assert message["Importance"] == "high"
    text, page = message.iter_parts()
    assert text.get_content_type() == "text/plain"
    assert "disk of /var/backups: 97% full" in text.get_content()
    assert page.get_content_type() == "text/html"
    assert "<b>disk of /var/backups:</b> 97% full" in page.get_content()


def test_an_incident_is_one_thread(mail: MailSubject) -> None:
    for message in list(every_kind())[:6]:
        mail.channel.send(message)
    mail.channel.send(alert(incident="another1"))
    messages = [taken.message for taken in mail.receiver.mails]
    threads = [message["References"] for message in messages]
    assert len(set(threads[:6])) == 1
    assert threads[6] != threads[0]
    assert [message["In-Reply-To"] for message in messages] == threads
    assert len({message["Message-ID"] for message in messages}) == 7
    assert all(message["Message-ID"].endswith("@mina.example>") for message in messages)


def test_a_second_copy_is_known_as_one(mail: MailSubject) -> None:
    """After a restart, where nobody remembers that it was taken."""
    mail.channel.send(alert())
    mail.another().send(alert())
    first, second = (taken.message for taken in mail.receiver.mails)
    assert first["Message-ID"] == second["Message-ID"]


def test_no_text_writes_a_header(mail: MailSubject) -> None:
    mail.channel.send(hostile())
    mail.channel.send(alert(title="x\r\nBcc: evil@evil.example\r\n\r\nbody", incident="a\r\nX: y"))
    for taken in mail.receiver.mails:
        names = {name.lower() for name in taken.message}
        assert names <= HEADERS
        assert taken.recipients == ("lead@mina.example", "dba@mina.example")
        assert taken.message.get_content_type() == "multipart/alternative"
        assert len(list(taken.message.iter_parts())) == 2
    subject = mail.receiver.mails[0].message["Subject"]
    assert subject.startswith(f"[P1] {in_one_line(HOSTILE)}"[:100])


def test_lines_are_as_long_as_mail_allows(mail: MailSubject) -> None:
    mail.channel.send(alert(impact="x" * 1999, mend=("🙂" * 500,)))
    (taken,) = mail.receiver.mails
    assert max(map(len, taken.data.split(b"\r\n"))) <= 998
    assert "x" * 1999 in next(taken.message.iter_parts()).get_content()


def test_what_can_wait_is_not_marked_as_urgent(mail: MailSubject) -> None:
    mail.channel.send(alert(severity=Severity.P2))
    mail.channel.send(bare(MessageKind.DIGEST, items=("one", "two")))
    assert [taken.message["Importance"] for taken in mail.receiver.mails] == [None, None]


def test_a_server_without_starttls_gets_nothing(certificate: Certificate) -> None:
    with running_mail_server(None, starttls=False) as receiver:
        settings = replace(MAIL, port=receiver.port)
        channel = Mail("lead", settings, tls=certificate.trusted(), seconds=5)
        with pytest.raises(DeliveryError, match="offers no STARTTLS") as caught:
            channel.send(alert())
        assert caught.value.permanent
        assert receiver.mails == []


def test_plain_only_where_it_was_asked_for() -> None:
    with running_mail_server(None, starttls=False) as receiver:
        settings = replace(MAIL, port=receiver.port, starttls=False, username=None, password=None)
        Mail("local", settings, seconds=5).send(alert())
        (taken,) = receiver.mails
        assert not taken.encrypted
        assert taken.user is None


def test_a_wrong_password_is_told_with_the_mend(mail: MailSubject) -> None:
    mail.receiver.users["guardian"] = "another one"
    with pytest.raises(DeliveryError, match="535") as caught:
        mail.channel.send(alert())
    assert caught.value.permanent
    assert caught.value.mend == "check username and password"


@pytest.mark.parametrize("password", ["pässword", "пароль"])
def test_a_password_that_no_login_can_carry(mail: MailSubject, password: str) -> None:
    mail.settings = replace(mail.settings, password=password)
    with pytest.raises(DeliveryError, match="letters that SMTP logins cannot carry") as caught:
        mail.another().send(alert())
    assert caught.value.permanent
    assert password not in str(caught.value)


def test_some_are_refused_for_good(mail: MailSubject, caplog: pytest.LogCaptureFixture) -> None:
    mail.receiver.refused["dba@mina.example"] = "550 5.1.1 no such user"
    receipt = mail.channel.send(alert())
    assert receipt.detail == (
        "accepted for 1 of 2; dba@mina.example refused: 550 5.1.1 no such user"
    )
    assert mail.receiver.mails[0].recipients == ("lead@mina.example",)
    ours = [record for record in caplog.records if record.name.startswith("guardian")]
    assert [record.levelno for record in ours] == [logging.WARNING]
    assert "dba@mina.example refused" in caplog.text


def test_who_was_put_off_is_tried_again_alone(mail: MailSubject) -> None:
    mail.receiver.refused["dba@mina.example"] = "451 4.7.1 greylisted"
    for _ in range(2):
        with pytest.raises(DeliveryError, match=r"dba@mina\.example refused: 451") as caught:
            mail.channel.send(alert())
        assert not caught.value.permanent
    mail.receiver.refused.clear()
    assert mail.channel.send(alert()).detail == "accepted for 2 of 2"
    assert [taken.recipients for taken in mail.receiver.mails] == [
        ("lead@mina.example",),
        ("dba@mina.example",),
    ]
    mail.channel.send(later(MessageKind.RESOLVED))
    assert len(mail.receiver.mails[-1].recipients) == 2


def test_all_are_refused(mail: MailSubject) -> None:
    for address in MAIL.recipients:
        mail.receiver.refused[address] = "550 5.7.1 relaying denied"
    with pytest.raises(DeliveryError, match=r"lead@.*; dba@.*relaying denied") as caught:
        mail.channel.send(alert())
    assert caught.value.permanent
    mail.receiver.refused["lead@mina.example"] = "450 try again"
    with pytest.raises(DeliveryError) as caught:
        mail.channel.send(alert())
    assert not caught.value.permanent
    assert mail.receiver.mails == []


@pytest.mark.parametrize(
    ("answer", "permanent"),
    [("552 5.3.4 too large", True), ("554 5.7.1 spam", True), ("452 4.2.2 disk full", False)],
)
def test_what_the_server_says_of_the_message(mail: MailSubject, answer, permanent) -> None:
    mail.receiver.data_answer = answer
    with pytest.raises(DeliveryError, match=answer[:3]) as caught:
        mail.channel.send(alert())
    assert caught.value.permanent is permanent


def test_a_port_for_tls_from_the_first_byte_is_no_port_for_starttls(
    certificate: Certificate,
) -> None:
    with running_mail_server(certificate.serving(), tls=True) as receiver:
        settings = replace(MAIL, port=receiver.port)
        channel = Mail("lead", settings, tls=certificate.trusted(), seconds=0.5)
        with pytest.raises(DeliveryError) as caught:
            channel.send(alert())
        assert not caught.value.permanent
    with running_mail_server(certificate.serving()) as receiver:
        settings = replace(MAIL, port=receiver.port, tls=True)
        channel = Mail("lead", settings, tls=certificate.trusted(), seconds=5)
        with pytest.raises(DeliveryError, match="TLS fails: wrong version number"):
            channel.send(alert())


def test_how_they_part_changes_nothing(mail: MailSubject) -> None:
    """A server that has taken the mail and breaks at QUIT must not be sent a second copy."""
    mail.receiver.quit_answer = "421 4.3.2 shutting down"
    assert mail.channel.send(alert()).detail == "accepted for 2 of 2"
    assert len(mail.receiver.mails) == 1
