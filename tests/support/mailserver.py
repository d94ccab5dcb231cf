"""A real SMTP server on loopback: aiosmtpd with STARTTLS or TLS, logins, refusals, and silence."""

from __future__ import annotations

import asyncio
import email
import email.policy
import logging
import socket
import ssl
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.message import EmailMessage
from typing import Any

from aiosmtpd.smtp import SMTP, AuthResult, LoginPassword
from support.receivers import Manner

logging.getLogger("mail.log").setLevel(logging.WARNING)  # the server's own, in full


@dataclass(frozen=True)
class Mail:
    """One message that was taken."""

    sender: str
    recipients: tuple[str, ...]
    data: bytes
    encrypted: bool
    user: str | None

    @property
    def message(self) -> EmailMessage:
        found = email.message_from_bytes(self.data, policy=email.policy.default)
        assert isinstance(found, EmailMessage)
        return found


@dataclass
class MailReceiver:
    """Keeps the mail that it took; also the way in which it behaves, which tests may change."""

    port: int = 0
    manner: Manner = Manner.WELL
    users: dict[str, str] = field(default_factory=dict)
    mails: list[Mail] = field(default_factory=list)
    refused: dict[str, str] = field(default_factory=dict)
    """By recipient: the answer to RCPT, such as ``550 no such user``."""
    data_answer: str = "250 OK: taken"
    mail_answer: str = "250 OK"
    quit_answer: str = "221 Bye"

    async def handle_MAIL(  # noqa: N802 - aiosmtpd's names
        self, server: Any, session: Any, envelope: Any, address: str, options: list[str]
    ) -> str:
        if self.mail_answer.startswith("250"):
            envelope.mail_from = address
            envelope.mail_options.extend(options)
        return self.mail_answer

    async def handle_RCPT(  # noqa: N802
        self, server: Any, session: Any, envelope: Any, address: str, options: list[str]
    ) -> str:
        answer = self.refused.get(address, "250 OK")
        if answer.startswith("250"):
            envelope.rcpt_tos.append(address)
        return answer

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:  # noqa: N802
        if self.data_answer.startswith("250"):
            self.mails.append(
                Mail(
                    envelope.mail_from,
                    tuple(envelope.rcpt_tos),
                    envelope.content,
                    session.ssl is not None,
                    session.auth_data.login.decode() if session.auth_data else None,
                )
            )
        return self.data_answer

    async def handle_QUIT(self, server: Any, session: Any, envelope: Any) -> str:  # noqa: N802
        return self.quit_answer

    def authenticated(self, _server: Any, _session: Any, _envelope: Any, _how: str, given: Any):
        assert isinstance(given, LoginPassword)
        right = self.users.get(given.login.decode()) == given.password.decode()
        return AuthResult(success=right, handled=right, auth_data=given if right else None)


@contextmanager
def running_mail_server(
    context: ssl.SSLContext | None,
    *,
    tls: bool = False,
    starttls: bool = True,
    plain_login: bool = False,
) -> Iterator[MailReceiver]:
    """A server with that certificate: TLS from the first byte, or STARTTLS, or neither.

    Its logins (``users``) are only taken over TLS, or with ``plain_login``.
    """
    receiver = MailReceiver()
    left: list[asyncio.Transport] = []
    loop = asyncio.new_event_loop()

    def protocol() -> asyncio.BaseProtocol:
        if receiver.manner is not Manner.WELL:
            return Misbehaving(receiver.manner, left)
        return SMTP(
            receiver,
            loop=loop,
            hostname="mx.example",
            ident="guardian test",
            tls_context=context if starttls and not tls else None,
            require_starttls=starttls and not tls,
            auth_require_tls=not (tls or plain_login),
            authenticator=receiver.authenticated,
            enable_SMTPUTF8=False,
            timeout=20,
        )

    async def serve() -> asyncio.Server:
        return await loop.create_server(protocol, "127.0.0.1", 0, ssl=context if tls else None)

    server = loop.run_until_complete(serve())
    receiver.port = server.sockets[0].getsockname()[1]
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        yield receiver
    finally:
        asyncio.run_coroutine_threadsafe(_ended(server, left), loop).result(20)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(20)
        loop.close()


async def _ended(server: asyncio.Server, left: list[asyncio.Transport]) -> None:
    server.close()
    for transport in left:
        transport.abort()
    rest = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
    for task in rest:
        task.cancel()
    await asyncio.gather(*rest, return_exceptions=True)


class Misbehaving(asyncio.Protocol):
    """Treats each connection in one manner; those it leaves open are kept to be ended."""

    def __init__(self, manner: Manner, left: list[asyncio.Transport]) -> None:
        self._manner = manner
        self._left = left

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._left.append(transport)
        if self._manner is Manner.RESET:
            # With nothing left to linger for, closing sends a reset.
            connection = transport.get_extra_info("socket")
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            transport.abort()
        elif self._manner is Manner.HANG_UP:
            transport.close()
        elif self._manner is Manner.GARBAGE:
            transport.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
            transport.close()
        elif self._manner is Manner.DRIP:
            transport.write(b"220-still here\r\n")
            self._drip()

    def _drip(self) -> None:
        if not self._transport.is_closing():
            self._transport.write(b"220-still here\r\n")
            asyncio.get_running_loop().call_later(0.05, self._drip)
