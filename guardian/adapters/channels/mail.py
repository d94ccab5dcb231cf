"""Mail over SMTP: text and HTML, one thread an incident, TLS or not at all.

A message goes to all recipients at once. Servers may take it for some and refuse others: those for
whom it was taken do not get it again when it is tried for the rest, and an address that is refused
for good is told, but does not keep the message from being delivered.

A thread hangs together by ``References`` to an id that is made of the incident, so that it holds
over restarts; the id of each message is made of it, too, so that a second copy is seen as one.
"""

from __future__ import annotations

import hashlib
import logging
import smtplib
import ssl
import threading
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime

from guardian.adapters.channels.destination import Destination
from guardian.adapters.delivery import DEADLINE_SECONDS
from guardian.adapters.network import describe, trust
from guardian.errors import DeliveryError
from guardian.escalate.markup import PLAIN, body, letter
from guardian.escalate.model import Message, Receipt, Severity
from guardian.escalate.wording import cut, delivery_id, fitting, headline, in_one_line

log = logging.getLogger(__name__)

_SUBJECT_LIMIT = 200
_PLAIN_LIMIT = 200_000
_HTML_LIMIT = 400_000
_SHOWN_REASON = 200
_REMEMBERED = 200
_GOODBYE_SECONDS = 2.0

Refusals = Mapping[str, tuple[int, bytes]]


@dataclass(frozen=True, slots=True)
class MailSettings:
    """Where and how. ``tls``: from the first byte; else ``starttls``: begin plain, then TLS."""

    host: str
    port: int
    sender: str
    recipients: tuple[str, ...]
    starttls: bool = True
    tls: bool = False
    username: str | None = None
    password: str | None = field(default=None, repr=False)


class Mail(Destination):
    """A mail server, and the people to write to."""

    kind = "email"

    def __init__(
        self,
        name: str,
        settings: MailSettings,
        *,
        tls: ssl.SSLContext | None = None,
        seconds: float = DEADLINE_SECONDS,
    ) -> None:
        super().__init__(name, [settings.password] if settings.password else [], seconds=seconds)
        self._settings = settings
        self._tls = tls
        self._lock = threading.Lock()
        self._taken: OrderedDict[str, frozenset[str]] = OrderedDict()

    def _deliver(self, message: Message, memo: str | None) -> Receipt:  # noqa: ARG002
        mail = letter_of(message, self._settings)
        name = str(mail["Message-ID"])
        rest = [each for each in self._settings.recipients if each not in self._got(name)]
        if not rest:
            return Receipt("accepted for all before")
        try:
            refused = self._sent(mail, rest)
        except (smtplib.SMTPException, OSError, UnicodeError) as error:
            raise self._failure(error) from None
        return self._judged(name, rest, refused)

    def _sent(self, mail: EmailMessage, recipients: Sequence[str]) -> Refusals:
        server = self._connected()
        try:
            return server.send_message(mail, self._settings.sender, recipients)
        except smtplib.SMTPRecipientsRefused as error:
            return error.recipients
        finally:
            _part(server)

    def _judged(self, name: str, tried: Sequence[str], refused: Refusals) -> Receipt:
        self._remember(name, frozenset(tried) - set(refused))
        reasons = [f"{each} refused: {_said(*refused[each])}" for each in tried if each in refused]
        later = [each for each in refused if 400 <= refused[each][0] < 500]
        taken = self._got(name)
        if later or not taken:
            raise DeliveryError(
                f"{self._thing}: {'; '.join(reasons)}",
                mend="the rest is tried again" if later else "check the addresses",
                permanent=not later,
            )
        if reasons:
            told = self._delivery.veiled("; ".join(reasons))
            log.warning("%s: %s; check the address", self._thing, told)
        everybody = len(self._settings.recipients)
        return Receipt("; ".join([f"accepted for {len(taken)} of {everybody}", *reasons]))

    def _got(self, name: str) -> frozenset[str]:
        with self._lock:
            return self._taken.get(name, frozenset())

    def _remember(self, name: str, taken: frozenset[str]) -> None:
        with self._lock:
            self._taken[name] = self._taken.pop(name, frozenset()) | taken
            while len(self._taken) > _REMEMBERED:
                self._taken.popitem(last=False)

    def _connected(self) -> smtplib.SMTP:
        """A conversation that is encrypted and logged in, as far as the settings ask for it."""
        settings, context = self._settings, self._tls or trust()
        host = settings.host.removeprefix("[").removesuffix("]")
        if settings.tls:
            server: smtplib.SMTP = smtplib.SMTP_SSL(
                host, settings.port, timeout=self._seconds, context=context
            )
        else:
            server = smtplib.SMTP(host, settings.port, timeout=self._seconds)
        try:
            if settings.starttls and not settings.tls:
                server.starttls(context=context)
            self._log_in(server)
        except BaseException:
            with suppress(OSError):
                server.close()
            raise
        return server

    def _log_in(self, server: smtplib.SMTP) -> None:
        username, password = self._settings.username, self._settings.password
        if username is None or password is None:
            return
        if not (username.isascii() and password.isascii()):
            raise DeliveryError(
                f"{self._thing}: username or password has letters that SMTP logins cannot carry",
                mend="choose one of ASCII characters",
                permanent=True,
            )
        server.login(username, password)

    def _failure(self, error: Exception) -> DeliveryError:
        if isinstance(error, smtplib.SMTPNotSupportedError):
            return self._unsupported(error)
        if isinstance(error, smtplib.SMTPResponseException) and error.smtp_code >= 400:
            login = isinstance(error, smtplib.SMTPAuthenticationError)
            return DeliveryError(
                f"{self._thing} refused: {_said(error.smtp_code, error.smtp_error)}",
                mend="check username and password" if login else None,
                permanent=error.smtp_code >= 500,
            )
        words, mend = describe(error)
        return DeliveryError(f"{self._thing} cannot be reached: {words}", mend=mend)

    def _unsupported(self, error: smtplib.SMTPNotSupportedError) -> DeliveryError:
        if "STARTTLS" in str(error):
            words, mend = "offers no STARTTLS", "use port 465 with tls: true, or another server"
        elif "AUTH" in str(error):
            words, mend = "takes no login", "leave username and password out"
        else:
            words, mend = "cannot write to one of the addresses", "write the address in ASCII"
        return DeliveryError(f"{self._thing} {words}", mend=mend, permanent=True)


def letter_of(message: Message, settings: MailSettings) -> EmailMessage:
    """The mail, as it goes over the wire but for its recipients' order."""
    domain = settings.sender.rpartition("@")[2]
    thread = _digest(message.incident or message.dedup_key)
    mail = EmailMessage(policy=SMTP)
    mail["Subject"] = cut(headline(message), _SUBJECT_LIMIT)
    mail["From"] = Address("guardian", addr_spec=settings.sender)
    mail["To"] = [Address(addr_spec=each) for each in settings.recipients]
    mail["Date"] = format_datetime(message.at)
    mail["Message-ID"] = f"<guardian.{thread}.{delivery_id(message)}@{domain}>"
    mail["In-Reply-To"] = f"<guardian.{thread}@{domain}>"
    mail["References"] = f"<guardian.{thread}@{domain}>"
    mail["Auto-Submitted"] = "auto-generated"
    mail["X-Auto-Response-Suppress"] = "All"
    mail["X-Guardian-Kind"] = message.kind.value
    mail["X-Guardian-Severity"] = message.severity.value
    if message.incident:
        mail["X-Guardian-Incident"] = in_one_line(message.incident)
    if message.severity in {Severity.P0, Severity.P1}:
        mail["Importance"] = "high"
    title = cut(headline(message), _PLAIN_LIMIT)
    said = body(message, PLAIN, _PLAIN_LIMIT)
    mail.set_content(f"{title}\n\n{said}\n" if said else f"{title}\n", cte="quoted-printable")
    page = fitting(
        lambda tightness: letter(message, tightness), lambda made: len(made) <= _HTML_LIMIT
    )
    mail.add_alternative(page, subtype="html", cte="quoted-printable")
    return mail


def _part(server: smtplib.SMTP) -> None:
    """Say goodbye. The message has been taken, or not: how they part changes nothing."""
    with suppress(smtplib.SMTPException, OSError):
        if server.sock is not None:
            server.sock.settimeout(_GOODBYE_SECONDS)
        server.quit()
    server.close()


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:24]


def _said(code: int, words: bytes | str) -> str:
    text = words.decode("utf-8", "replace") if isinstance(words, bytes) else str(words)
    return f"{code} {cut(in_one_line(text), _SHOWN_REASON)}"
