"""Microsoft Teams: a workflow ("when a Teams webhook request is received") that posts a card.

What comes from outside stands in text runs of a RichTextBlock, which know no Markdown (a TextBlock
does). Sources: learn.microsoft.com on the workflows that follow the retired connectors, which take
Adaptive Cards alone; on the schema of Adaptive Cards 1.4; and on the limit of 28 KB a message.
"""

from __future__ import annotations

import json
import ssl
from collections.abc import Iterator
from typing import Any

from guardian.adapters.channels.destination import Destination
from guardian.adapters.delivery import DEADLINE_SECONDS
from guardian.adapters.veil import secrets_of
from guardian.adapters.web import Answer
from guardian.escalate.model import Fact, Message, MessageKind, Receipt, Severity
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
)

_MOST_BYTES = 24_000
"""Of 28 KB, with room for what the workflow adds."""
_TITLE_LIMIT = 300
_MOST_ACTIONS = 5
_TONES = {Severity.P0: "attention", Severity.P1: "attention", Severity.P2: "warning"}


class Teams(Destination):
    """One workflow's address."""

    kind = "teams"

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
        if answer.is_success:
            return Receipt(answer.summary)
        raise self._client.refusal(answer, mend=_mend(answer))


def payload(message: Message) -> dict[str, Any]:
    """The message with its card, as the workflow's trigger takes it."""
    return fitting(
        lambda tightness: _wrapped(_card(message, tightness)),
        lambda made: len(_json(made)) <= _MOST_BYTES,
    )


def _wrapped(card: dict[str, Any]) -> dict[str, Any]:
    attachment = {
        "contentType": "application/vnd.microsoft.card.adaptive",
        "contentUrl": None,
        "content": card,
    }
    return {"type": "message", "attachments": [attachment]}


def _card(message: Message, tightness: Tightness) -> dict[str, Any]:
    title = cut(f"{emblem(message)} {headline(message)}", _TITLE_LIMIT)
    said = parts(message, tightness)
    links = [line for part in said for line in part.lines if isinstance(line, Link)]
    top = {
        "type": "Container",
        "style": _tone(message),
        "bleed": True,
        "items": [_block([_run(title, size="large", weight="bolder")])],
    }
    blocks = [block for part in said for block in _blocks(part)]
    card: dict[str, Any] = {
        "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
        "type": "AdaptiveCard",
        "version": "1.4",
        "fallbackText": title,
        "msteams": {"width": "Full"},
        "body": [top, *blocks],
    }
    if links:
        card["actions"] = [
            {"type": "Action.OpenUrl", "title": link.label, "url": link.url}
            for link in links[:_MOST_ACTIONS]
        ]
    return card


def _blocks(part: Part) -> Iterator[dict[str, Any]]:
    """One block a line; links become buttons instead."""
    lines = [line for line in part.lines if not isinstance(line, Link)]
    if part.heading and lines:
        yield {**_block([_run(part.heading, weight="bolder")]), "separator": True}
    bullet = "• " if part.heading and len(lines) > 1 else ""
    for line in lines:
        yield {**_block(list(_runs(line, bullet))), "spacing": "small"}


def _runs(line: Line, bullet: str) -> Iterator[dict[str, Any]]:
    if not isinstance(line, Fact):
        yield _run(f"{bullet}{line}")
    elif "\n" in line.value:
        yield _run(f"{line.name}:\n", weight="bolder")
        yield _run(line.value, fontType="monospace")
    else:
        yield _run(f"{line.name}: ", weight="bolder")
        yield _run(line.value)


def _block(runs: list[dict[str, Any]]) -> dict[str, Any]:
    return {"type": "RichTextBlock", "inlines": runs}


def _run(text: str, **look: str) -> dict[str, Any]:
    return {"type": "TextRun", "text": text, **look}


def _tone(message: Message) -> str:
    if message.kind is MessageKind.RESOLVED:
        return "good"
    if message.kind in {MessageKind.ACKNOWLEDGED, MessageKind.TEST, MessageKind.DIGEST}:
        return "emphasis"
    return _TONES.get(message.severity, "accent")


def _mend(answer: Answer) -> str | None:
    """A workflow that was switched off, or whose owner has left, answers so."""
    if answer.status in {400, 401, 403, 404, 410}:
        return "check in Teams that the workflow is on and has an owner, or make a new one"
    return None


def _json(document: dict[str, Any]) -> bytes:
    return json.dumps(document, ensure_ascii=False).encode()
