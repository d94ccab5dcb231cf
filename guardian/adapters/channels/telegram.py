"""Telegram: a bot that writes to one chat. Later messages of an incident reply to its first one.

Sources: core.telegram.org/bots/api on sendMessage (4,096 characters after entities are parsed, HTML
with ``<``, ``>`` and ``&`` escaped), ReplyParameters, and ResponseParameters (``retry_after``,
``migrate_to_chat_id``). The bot's token is part of the address, which so is never told.
"""

from __future__ import annotations

import json
import re
import ssl
from collections.abc import Mapping
from typing import Any

from guardian.adapters.channels.destination import Destination
from guardian.adapters.delivery import DEADLINE_SECONDS
from guardian.adapters.web import Answer, wait_of
from guardian.errors import DeliveryError
from guardian.escalate.markup import TELEGRAM, body
from guardian.escalate.model import Message, MessageKind, Receipt
from guardian.escalate.wording import cut, emblem, headline, in_one_line, utf16_length

API = "https://api.telegram.org"
_LIMIT = 4096
_TITLE_LIMIT = 500
_SHOWN_REASON = 120
_MEMO = re.compile(r"\d{1,20}", re.ASCII)
_QUIET = frozenset({MessageKind.ACKNOWLEDGED, MessageKind.DIGEST})
_MENDS: Mapping[int, str] = {
    400: "check the chat's number, and write to the bot once so that it may answer",
    401: "give the bot's token as @BotFather shows it",
    403: "let the bot into the chat again",
    404: "give the bot's token as @BotFather shows it",
}


class Telegram(Destination):
    """One bot in one chat (and there in one topic). The memo is the first message's number."""

    kind = "telegram"

    def __init__(
        self,
        name: str,
        token: str,
        chat: str,
        *,
        topic: int | None = None,
        api: str = API,
        tls: ssl.SSLContext | None = None,
        seconds: float = DEADLINE_SECONDS,
    ) -> None:
        super().__init__(name, (token, *token.split(":")), seconds=seconds)
        self._url = f"{api}/bot{token}/sendMessage"
        self._chat = chat
        self._topic = topic
        self._client = self._web(tls)

    def _deliver(self, message: Message, memo: str | None) -> Receipt:
        said: dict[str, Any] = {"chat_id": self._chat, **payload(message)}
        if self._topic is not None:
            said["message_thread_id"] = self._topic
        first = memo if memo and _MEMO.fullmatch(memo) else None
        if first:
            said["reply_parameters"] = {
                "message_id": int(first),
                "allow_sending_without_reply": True,
            }
        body = json.dumps(said, ensure_ascii=False).encode()
        answer = self._client.post(self._url, body, seconds=self._seconds)
        result = self._accepted(answer).get("result")
        number = result.get("message_id") if isinstance(result, dict) else None
        return Receipt(answer.summary, first or (str(number) if number else None))

    def _accepted(self, answer: Answer) -> Mapping[str, Any]:
        document = answer.document
        if answer.is_success and document.get("ok") is True:
            return document
        if answer.is_success:
            raise self._client.odd(answer)
        raise self._refusal(answer)

    def _refusal(self, answer: Answer) -> DeliveryError:
        parameters = answer.document.get("parameters")
        more: Mapping[str, Any] = parameters if isinstance(parameters, dict) else {}
        mend = _MENDS.get(answer.status)
        if isinstance(moved := more.get("migrate_to_chat_id"), int):
            mend = f"the group has become a supergroup: give {moved} as its chat"
        description = answer.document.get("description")
        said = cut(in_one_line(description), _SHOWN_REASON) if isinstance(description, str) else ""
        error = self._client.refusal(answer, said=said, mend=mend)
        if error.retry_after is None:
            error.retry_after = wait_of(more.get("retry_after"))
        return error


def payload(message: Message) -> dict[str, Any]:
    """What is said, without where to."""
    title = cut(headline(message), _TITLE_LIMIT, lambda text: len(TELEGRAM.bold(text)))
    head = f"{emblem(message)} {TELEGRAM.bold(title)}"
    rest = body(message, TELEGRAM, _LIMIT - utf16_length(head) - 2, utf16_length)
    return {
        "text": f"{head}\n\n{rest}" if rest else head,
        "parse_mode": "HTML",
        "link_preview_options": {"is_disabled": True},
        "disable_notification": message.kind in _QUIET,
    }
