"""PagerDuty, Events API v2: each incident of ours is an alert there, and ends when ours does.

Sources: developer.pagerduty.com, "Send an Alert Event" and "Events API v2 Overview": 202 accepts,
400 is never worth another try, 429 and 5xx are after some minutes; ``dedup_key`` has at most 255
characters, ``summary`` 1,024, the whole event 512 KB.
"""

from __future__ import annotations

import json
import socket
import ssl
from collections.abc import Iterable, Iterator, Mapping
from itertools import count
from typing import Any, Literal

from guardian.adapters.channels.destination import Destination
from guardian.adapters.delivery import DEADLINE_SECONDS
from guardian.adapters.web import Answer
from guardian.escalate.model import Fact, Message, MessageKind, Receipt, Severity
from guardian.escalate.wording import (
    Link,
    Tightness,
    cut,
    fitting,
    headline,
    in_one_line,
    parts,
    short_key,
    utf16_length,
)

EVENTS: Mapping[str, str] = {
    "us": "https://events.pagerduty.com/v2/enqueue",
    "eu": "https://events.eu.pagerduty.com/v2/enqueue",
}
_KEY_LIMIT = 255
_SUMMARY_LIMIT = 1024
_FIELD_LIMIT = 255
_MOST_BYTES = 400_000
"""Less than 512 KB, whichever way those are counted."""
_MOST_LINKS = 20
_BACK_OFF_SECONDS = 120.0
"""For 429 without a time: "preferably with a backoff of a few minutes"."""
_SHOWN_REASON = 200

_SEVERITIES: Mapping[Severity, str] = {
    Severity.P0: "critical",
    Severity.P1: "error",
    Severity.P2: "warning",
    Severity.P3: "info",
}
_ACTIONS: Mapping[MessageKind, str] = {
    MessageKind.ACKNOWLEDGED: "acknowledge",
    MessageKind.RESOLVED: "resolve",
}
_OVER_AT_ONCE = frozenset({MessageKind.TEST, MessageKind.DIGEST})
"""Nobody would ever resolve these: what they trigger is resolved in the same breath."""


class PagerDuty(Destination):
    """One service's integration."""

    kind = "pagerduty"

    def __init__(
        self,
        name: str,
        routing_key: str,
        *,
        region: Literal["us", "eu"] = "us",
        events_url: str | None = None,
        tls: ssl.SSLContext | None = None,
        seconds: float = DEADLINE_SECONDS,
    ) -> None:
        super().__init__(name, (routing_key,), seconds=seconds)
        self._routing_key = routing_key
        self._url = events_url or EVENTS[region]
        self._client = self._web(tls)

    def _deliver(self, message: Message, memo: str | None) -> Receipt:  # noqa: ARG002
        action = _ACTIONS.get(message.kind, "trigger")
        self._enqueue(message, action)
        if message.kind in _OVER_AT_ONCE:
            self._enqueue(message, "resolve")
            action = "trigger and resolve"
        return Receipt(f"202 Accepted: {action}")

    def _enqueue(self, message: Message, action: str) -> None:
        event = {"routing_key": self._routing_key, **event_of(message, action)}
        answer = self._client.post(self._url, _json(event), seconds=self._seconds)
        if answer.status == 202 and answer.document.get("status") == "success":
            return
        if answer.is_success:
            raise self._client.odd(answer)
        error = self._client.refusal(answer, said=_reason(answer), mend=_mend(answer))
        if answer.status == 429 and error.retry_after is None:
            error.retry_after = _BACK_OFF_SECONDS
        raise error


def event_of(message: Message, action: str) -> dict[str, Any]:
    """The event without its routing key."""
    event: dict[str, Any] = {
        "event_action": action,
        "dedup_key": short_key(message.dedup_key, _KEY_LIMIT),
    }
    if action != "trigger":
        return event
    return fitting(
        lambda tightness: {**event, **_triggered(message, tightness)},
        lambda made: len(_json(made)) <= _MOST_BYTES,
    )


def _triggered(message: Message, tightness: Tightness) -> dict[str, Any]:
    payload: dict[str, Any] = {
        "summary": cut(headline(message), _SUMMARY_LIMIT, utf16_length),
        "source": _field(message.server or socket.gethostname()),
        "severity": _SEVERITIES[message.severity],
        "timestamp": message.at.isoformat(timespec="milliseconds"),
        "custom_details": dict(_details(message, tightness)),
    }
    optional = {
        "component": message.database,
        "group": message.server,
        "class": message.incident_kind,
    }
    payload |= {key: _field(value) for key, value in optional.items() if value}
    return {"client": "guardian", "payload": payload, **_links(message, tightness)}


def _details(message: Message, tightness: Tightness) -> Iterator[tuple[str, Any]]:
    """Facts by their names, lists by their headings, in the order of the message."""
    for part in parts(message, tightness):
        facts = _table(line for line in part.lines if isinstance(line, Fact))
        texts = [line for line in part.lines if isinstance(line, str)]
        if part.heading and facts:
            yield part.heading, {**facts, **({"more": texts[0]} if texts else {})}
        elif facts:
            yield from facts.items()
        elif texts:
            yield part.heading or "All", texts if len(texts) > 1 or not part.heading else texts[0]


def _table(facts: Iterable[Fact]) -> dict[str, Any]:
    """Facts of one name do not hide each other: each next one is numbered."""
    table: dict[str, Any] = {}
    for fact in facts:
        names = (f"{fact.name} ({number})" for number in count(2))
        name = fact.name if fact.name not in table else next(n for n in names if n not in table)
        table[name] = fact.value
    return table


def _links(message: Message, tightness: Tightness) -> dict[str, Any]:
    """Links have a place of their own; the first one is where "view in guardian" leads."""
    links = [
        {"href": line.url, "text": line.label}
        for part in parts(message, tightness)
        for line in part.lines
        if isinstance(line, Link)
    ][:_MOST_LINKS]
    return {"links": links, "client_url": links[0]["href"]} if links else {}


def _field(text: str) -> str:
    return cut(in_one_line(text), _FIELD_LIMIT, utf16_length) or "unknown"


def _reason(answer: Answer) -> str:
    """PagerDuty's list of what is wrong with an event; secrets in it are covered later."""
    errors = answer.document.get("errors")
    said = [error for error in errors if isinstance(error, str)] if isinstance(errors, list) else []
    return cut(in_one_line("; ".join(said)), _SHOWN_REASON)


def _mend(answer: Answer) -> str | None:
    if answer.status == 400 and "routing_key" in answer.text:
        return "give the integration key of an Events API v2 integration"
    return None


def _json(document: Mapping[str, Any]) -> bytes:
    return json.dumps(document, ensure_ascii=False).encode()
