"""A web address of the user's own: JSON of a documented schema, signed with HMAC-SHA256.

docs/webhook.md describes it, docs/webhook.schema.json is the schema. Fields may be added; none is
ever renamed. Texts are whole (up to a generous bound) and not escaped: they are data.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import ssl
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from guardian.adapters.channels.destination import Destination
from guardian.adapters.delivery import DEADLINE_SECONDS
from guardian.adapters.veil import secrets_of
from guardian.escalate.model import Fact, Message, Receipt
from guardian.escalate.wording import clean, cut, delivery_id, headline, in_one_line, short_key
from guardian.ports import Clock

VERSION = 1
_KEY_LIMIT = 500
_MOST_BYTES = 256_000
_BOUNDS = ((10_000, 500), (1000, 300), (300, 200), (100, 100), (50, 20))
"""Characters of a text and entries of a list: the first that keep the body within its size."""


class Webhook(Destination):
    """POSTs each message; any 2xx accepts it.

    ``headers`` are sent along; their values are secrets. With ``secret`` the request is signed:
    ``X-Guardian-Signature: sha256=`` and the hex HMAC-SHA256 of timestamp, a dot, and the body.
    """

    kind = "webhook"
    groups = False

    def __init__(
        self,
        name: str,
        url: str,
        clock: Clock,
        *,
        headers: Mapping[str, str] | None = None,
        secret: str | None = None,
        tls: ssl.SSLContext | None = None,
        seconds: float = DEADLINE_SECONDS,
    ) -> None:
        given = dict(headers or {})
        secrets = (*secrets_of(url), *_pieces(given), *([secret] if secret else []))
        super().__init__(name, secrets, seconds=seconds)
        self._url = url
        self._clock = clock
        self._headers = given
        self._secret = secret
        self._client = self._web(tls)

    def _deliver(self, message: Message, memo: str | None) -> Receipt:  # noqa: ARG002
        body = body_of(message)
        timestamp = str(int(self._clock.now().timestamp()))
        headers = {**self._headers, "X-Guardian-Timestamp": timestamp}
        headers["X-Guardian-Delivery"] = delivery_id(message)
        if self._secret is not None:
            headers["X-Guardian-Signature"] = signature(self._secret, timestamp, body)
        answer = self._client.post(self._url, body, headers=headers, seconds=self._seconds)
        if answer.is_success:
            return Receipt(answer.summary)
        raise self._client.refusal(answer)


def signature(secret: str, timestamp: str, body: bytes) -> str:
    """What proves that the body is ours, and from when it is."""
    signed = timestamp.encode() + b"." + body
    return "sha256=" + hmac.new(secret.encode(), signed, hashlib.sha256).hexdigest()


def body_of(message: Message) -> bytes:
    """The document as it is sent and signed."""
    made = b""
    for characters, entries in _BOUNDS:
        document = document_of(message, characters, entries)
        made = json.dumps(document, ensure_ascii=False).encode()
        if len(made) <= _MOST_BYTES:
            break
    return made


def document_of(message: Message, characters: int, entries: int) -> dict[str, Any]:
    """The message as JSON, after docs/webhook.schema.json."""
    most = 4 * characters

    def line(text: str) -> str:
        return cut(in_one_line(text[:most]), characters)

    def lines(texts: Sequence[str]) -> list[str]:
        return [line(text) for text in texts[:entries]]

    def facts(facts: Sequence[Fact]) -> list[dict[str, str]]:
        return [
            {"name": line(fact.name), "value": cut(clean(fact.value[:most]), characters)}
            for fact in facts[:entries]
        ]

    return {
        "version": VERSION,
        "kind": message.kind.value,
        "severity": message.severity.value,
        "headline": cut(headline(message), characters),
        "title": line(message.title),
        "at": _time(message.at),
        "dedup_key": short_key(message.dedup_key, _KEY_LIMIT),
        "number": message.number,
        "incident": message.incident,
        "incident_kind": message.incident_kind and line(message.incident_kind),
        "state": message.state.value if message.state else None,
        "server": message.server and line(message.server),
        "database": message.database and line(message.database),
        "since": _time(message.since),
        "ended_at": _time(message.ended_at),
        "occurrences": message.occurrences,
        "why": line(message.why),
        "impact": line(message.impact),
        "evidence": facts(message.evidence),
        "tried": lines(message.tried),
        "checks": facts(message.checks),
        "mend": lines(message.mend),
        "links": [
            {"label": line(label), "url": in_one_line(url)}
            for label, url in message.links[:entries]
        ],
        "items": lines(message.items),
        "told": lines(message.told),
    }


def _time(at: datetime | None) -> str | None:
    return None if at is None else at.astimezone(UTC).isoformat(timespec="milliseconds")


def _pieces(headers: Mapping[str, str]) -> list[str]:
    """Of ``Bearer x`` also the ``x`` alone."""
    return [piece for value in headers.values() for piece in (value, *value.split())]
