"""Slack: an incoming webhook, or a bot that keeps each incident in one thread.

What is said goes into ``rich_text`` blocks and ``plain_text`` headers. Neither knows any markup, so
no text from outside can mention a channel, become a link or end a code block. The one text with
markup (``text``, for lock screens) is escaped as Slack asks: ``&``, ``<`` and ``>``.

Sources: docs.slack.dev on chat.postMessage, chat.update, incoming webhooks and Block Kit. Slack
refuses blocks beyond some 13,000 characters (``msg_blocks_too_long``, measured by others; not
documented), and a ``text`` of more than 4,000 bytes in an update.
"""

from __future__ import annotations

import json
import re
import ssl
from collections.abc import Iterator, Mapping
from typing import Any

from guardian.adapters.channels.destination import Destination
from guardian.adapters.delivery import DEADLINE_SECONDS
from guardian.adapters.veil import secrets_of
from guardian.adapters.web import Answer
from guardian.errors import DeliveryError
from guardian.escalate.model import Fact, Message, MessageKind, Receipt
from guardian.escalate.wording import (
    Line,
    Link,
    Part,
    Tightness,
    cut,
    emblem,
    fitting,
    headline,
    parts,
    utf16_length,
)

API = "https://slack.com/api/"
_MOST_OF_BLOCKS = 12_000
"""Bytes, which are never fewer than characters."""
_HEADER_LIMIT = 150
_TITLE_LIMIT = 400
_TEXT_LIMIT = 3000
_UPDATE_SECONDS = 5.0
_CODE = re.compile(r"[a-z_]{1,60}", re.ASCII)
_MEMO = re.compile(r"([A-Z0-9]{2,30}):(\d{1,20}\.\d{1,10})", re.ASCII)
_LATER = frozenset(
    {
        *("ratelimited", "rate_limited", "message_limit_exceeded", "request_timeout"),
        *("internal_error", "fatal_error", "service_unavailable", "rollup_error"),
    }
)
_THREAD_IS_GONE = frozenset({"thread_not_found", "message_not_found", "cannot_reply_to_message"})
_NEW_TOKEN = "install the bot again and give its new token"  # nosec B105 # noqa: S105 - words, no token
_NEW_WEBHOOK = "make a new webhook"
_MENDS: Mapping[str, str] = {
    "invalid_auth": _NEW_TOKEN,
    "not_authed": _NEW_TOKEN,
    "token_revoked": _NEW_TOKEN,
    "token_expired": _NEW_TOKEN,
    "account_inactive": _NEW_TOKEN,
    "missing_scope": "give the bot the scope chat:write",
    "not_in_channel": "invite the bot to the channel",
    "channel_not_found": "check the channel's name, and invite the bot to it",
    "is_archived": "name another channel",
    "channel_is_archived": "name another channel",
    "restricted_action": "let the bot post there",
    "action_prohibited": "let the webhook post there",
    "no_service": _NEW_WEBHOOK,
    "no_active_hooks": _NEW_WEBHOOK,
    "invalid_token": _NEW_WEBHOOK,
    "no_team": _NEW_WEBHOOK,
}
_SEEN_BY_ALL = frozenset(
    {MessageKind.UPDATE, MessageKind.ESCALATION, MessageKind.REMINDER, MessageKind.RESOLVED}
)
"""A reply that would be missed if only the thread showed it."""


class SlackWebhook(Destination):
    """An incoming webhook: each message stands for itself."""

    kind = "slack"

    def __init__(
        self,
        name: str,
        url: str,
        *,
        tls: ssl.SSLContext | None = None,
        seconds: float = DEADLINE_SECONDS,
    ) -> None:
        super().__init__(name, secrets_of(url), seconds=seconds)
        self._url = url
        self._client = self._web(tls)

    def _deliver(self, message: Message, memo: str | None) -> Receipt:  # noqa: ARG002
        answer = self._client.post(self._url, _json(payload(message)), seconds=self._seconds)
        if answer.is_success and answer.text == "ok":
            return Receipt(answer.summary)
        if answer.is_success:
            raise self._client.odd(answer)
        code = _code(answer.text)
        error = self._client.refusal(answer, said=code, mend=_MENDS.get(code))
        raise _later(error) if code in _LATER else error


class SlackBot(Destination):
    """A bot: the first message of an incident opens a thread, which the later ones go on with.

    The first message is kept up to date. The memo is ``channel:timestamp`` of it.
    """

    kind = "slack"

    def __init__(
        self,
        name: str,
        token: str,
        channel: str,
        *,
        api: str = API,
        tls: ssl.SSLContext | None = None,
        seconds: float = DEADLINE_SECONDS,
    ) -> None:
        super().__init__(name, (token,), seconds=seconds)
        self._headers = {"Authorization": f"Bearer {token}"}
        self._channel = channel
        self._api = api
        self._client = self._web(tls)

    def _deliver(self, message: Message, memo: str | None) -> Receipt:
        said = payload(message)
        first = _MEMO.fullmatch(memo or "")
        if first is None:
            return self._open(said)
        channel, thread = first[1], first[2]
        reply = {
            **said,
            "channel": channel,
            "thread_ts": thread,
            "reply_broadcast": message.kind in _SEEN_BY_ALL,
        }
        answer = self._call("chat.postMessage", reply)
        if answer.document.get("error") in _THREAD_IS_GONE:
            return self._open(said)
        self._accepted(answer)
        if message.kind is MessageKind.REMINDER:
            return Receipt("replied in the thread", memo)
        update = self._update({**said, "channel": channel, "ts": thread})
        return Receipt(f"replied in the thread{update}", memo)

    def _open(self, said: Mapping[str, Any]) -> Receipt:
        answer = self._call("chat.postMessage", {**said, "channel": self._channel})
        document = self._accepted(answer)
        memo = f"{document.get('channel')}:{document.get('ts')}"
        return Receipt("posted", memo if _MEMO.fullmatch(memo) else None)

    def _update(self, now: Mapping[str, Any]) -> str:
        """Bring the first message up to date; that it cannot be is no failure to deliver."""
        try:
            self._accepted(self._call("chat.update", now, _UPDATE_SECONDS))
        except DeliveryError as error:
            return f"; the first message stays as it was: {error.message}"
        return ", and the first message updated"

    def _call(self, method: str, document: Mapping[str, Any], seconds: float = 0.0) -> Answer:
        return self._client.post(
            self._api + method,
            _json(document),
            headers=self._headers,
            content_type="application/json; charset=utf-8",
            seconds=seconds or self._seconds,
        )

    def _accepted(self, answer: Answer) -> Mapping[str, Any]:
        """The answer's document, when it says ``ok``. Slack refuses with status 200, too."""
        document = answer.document
        if answer.is_success and document.get("ok") is True:
            return document
        code = _code(document.get("error"))
        if not answer.is_success:
            error = self._client.refusal(answer, said=code, mend=_MENDS.get(code))
            raise _later(error) if code in _LATER else error
        if document.get("ok") is not False:
            raise self._client.odd(answer)
        raise DeliveryError(
            f"{self._thing} refused: {code or 'without a reason'}",
            mend=_MENDS.get(code),
            permanent=code not in _LATER,
            retry_after=answer.retry_after,
        )


def payload(message: Message) -> dict[str, Any]:
    """What is posted, without where to."""
    title = f"{emblem(message)} {headline(message)}"
    return {
        "text": _escaped(cut(title, _TITLE_LIMIT)),
        "blocks": fitting(
            lambda tightness: _blocks(message, title, tightness),
            lambda blocks: len(_json(blocks)) <= _MOST_OF_BLOCKS,
        ),
        "unfurl_links": False,
        "unfurl_media": False,
    }


def _blocks(message: Message, title: str, tightness: Tightness) -> list[dict[str, Any]]:
    text = cut(title, _HEADER_LIMIT, utf16_length)
    header = {"type": "header", "text": {"type": "plain_text", "text": text, "emoji": False}}
    return [
        header,
        *(
            {"type": "rich_text", "elements": list(_elements(part))}
            for part in parts(message, tightness)
        ),
    ]


def _elements(part: Part) -> Iterator[dict[str, Any]]:
    """Sections of running text, and preformatted ones for what has several lines."""
    running: list[dict[str, Any]] = []
    if part.heading:
        running += [_text(part.heading, bold=True), _text("\n")]
    bullet = [_text("• ")] if part.heading and len(part.lines) > 1 else []
    for line in part.lines:
        if isinstance(line, Fact) and "\n" in line.value:
            yield _section([*running, _text(f"{line.name}:", bold=True)])
            yield {"type": "rich_text_preformatted", "elements": [_text(line.value)]}
            running = []
        else:
            running += [*([] if isinstance(line, Fact) else bullet), *_line(line), _text("\n")]
    if running:
        yield _section(running[:-1])


def _line(line: Line) -> list[dict[str, Any]]:
    if isinstance(line, Fact):
        return [_text(f"{line.name}: ", bold=True), _text(line.value)]
    if isinstance(line, Link):
        return [{"type": "link", "url": line.url, "text": line.label}]
    return [_text(line)]


def _section(elements: list[dict[str, Any]]) -> dict[str, Any]:
    """Neighbours that look the same are one: a list of a hundred lines is short, so."""
    joined: list[dict[str, Any]] = []
    for element in elements:
        last = joined[-1] if joined else {"text": ""}
        text = last["text"] + element["text"]
        alike = "url" not in element and {**last, "text": text} == {**element, "text": text}
        if alike and len(text) <= _TEXT_LIMIT:
            joined[-1] = {**last, "text": text}
        else:
            joined.append(element)
    return {"type": "rich_text_section", "elements": joined}


def _text(text: str, *, bold: bool = False) -> dict[str, Any]:
    return {"type": "text", "text": text, **({"style": {"bold": True}} if bold else {})}


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _code(text: Any) -> str:
    """Slack's word for a refusal; anything else may quote what we sent, and is not repeated."""
    return text if isinstance(text, str) and _CODE.fullmatch(text) else ""


def _later(error: DeliveryError) -> DeliveryError:
    return DeliveryError(error.message, mend=error.mend, retry_after=error.retry_after)


def _json(document: Any) -> bytes:
    return json.dumps(document, ensure_ascii=False).encode()
