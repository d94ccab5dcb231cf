"""Discord: a channel's webhook. The headline is the message, the rest an embed below it.

Sources: the Discord developer documentation, "Execute Webhook" and "Embed Limits": content 2,000,
description 4,096, 6,000 characters in all; ``wait=true`` so that what is not saved is an error;
``allowed_mentions`` without any, since texts come from outside.
"""

from __future__ import annotations

import json
import re
import ssl
from typing import Any
from urllib.parse import urlencode, urlsplit, urlunsplit

from guardian.adapters.channels.destination import Destination
from guardian.adapters.delivery import DEADLINE_SECONDS
from guardian.adapters.veil import secrets_of
from guardian.adapters.web import Answer, wait_of
from guardian.escalate.markup import DISCORD, body
from guardian.escalate.model import Message, Receipt
from guardian.escalate.wording import colour, cut, emblem, headline, utf16_length

_CONTENT_LIMIT = 500
_DESCRIPTION_LIMIT = 4096
_ID = re.compile(r"\d{1,20}", re.ASCII)


class Discord(Destination):
    """One channel's webhook."""

    kind = "discord"

    def __init__(
        self,
        name: str,
        url: str,
        *,
        tls: ssl.SSLContext | None = None,
        seconds: float = DEADLINE_SECONDS,
    ) -> None:
        super().__init__(name, secrets_of(url), seconds=seconds)
        self._url = _waiting(url)
        self._client = self._web(tls)

    def _deliver(self, message: Message, memo: str | None) -> Receipt:  # noqa: ARG002
        said = json.dumps(payload(message), ensure_ascii=False).encode()
        answer = self._client.post(self._url, said, seconds=self._seconds)
        if answer.is_success:
            if not _ID.fullmatch(str(answer.document.get("id"))):
                raise self._client.odd(answer)
            return Receipt(answer.summary)
        error = self._client.refusal(answer, said=_code(answer), mend=_mend(answer))
        if answer.status == 429 and error.retry_after is None:
            error.retry_after = wait_of(answer.document.get("retry_after"))
        raise error


def payload(message: Message) -> dict[str, Any]:
    """What is posted."""
    title = cut(headline(message), _CONTENT_LIMIT, lambda text: utf16_length(DISCORD.bold(text)))
    said: dict[str, Any] = {
        "content": f"{emblem(message)} {DISCORD.bold(title)}",
        "allowed_mentions": {"parse": []},
    }
    if description := body(message, DISCORD, _DESCRIPTION_LIMIT, utf16_length):
        embed = {
            "description": description,
            "color": colour(message),
            "timestamp": message.at.isoformat(timespec="milliseconds"),
        }
        said["embeds"] = [embed]
    return said


def _waiting(url: str) -> str:
    """The address with ``wait=true``; what else it asks for (a thread) stays."""
    parts = urlsplit(url)
    query = "&".join(each for each in (parts.query, urlencode({"wait": "true"})) if each)
    return urlunsplit(parts._replace(query=query))


def _code(answer: Answer) -> str:
    """Discord's number for a refusal. Its words may quote what we sent."""
    code = answer.document.get("code")
    return f"code {code}" if isinstance(code, int) else ""


def _mend(answer: Answer) -> str | None:
    return "make a new webhook" if answer.status in {401, 403, 404} else None
