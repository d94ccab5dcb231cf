"""Sentry: an incident's messages are events of one issue there, by their fingerprint.

Sentry knows no word for "it is over": an event would open the issue again. So what tells of an end,
or of somebody who has it, goes into an issue of its own beside it.
"""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from typing import Any

from guardian.adapters.channels.destination import Destination
from guardian.adapters.delivery import DEADLINE_SECONDS
from guardian.adapters.sentry_client import SentryClient
from guardian.adapters.veil import secrets_of
from guardian.escalate.markup import PLAIN, body
from guardian.escalate.model import Message, MessageKind, Receipt, Severity
from guardian.escalate.wording import cut, delivery_id, headline, in_one_line, short_key

_TITLE_LIMIT = 1000
_BODY_LIMIT = 8000
_TAG_LIMIT = 200
_KEY_LIMIT = 255
_LEVELS: Mapping[Severity, str] = {
    Severity.P0: "fatal",
    Severity.P1: "error",
    Severity.P2: "warning",
    Severity.P3: "info",
}
_QUIET = frozenset(
    {MessageKind.ACKNOWLEDGED, MessageKind.RESOLVED, MessageKind.DIGEST, MessageKind.TEST}
)


class Sentry(Destination):
    """One project."""

    kind = "sentry"
    groups = False

    def __init__(
        self,
        name: str,
        dsn: str,
        *,
        environment: str = "production",
        tls: ssl.SSLContext | None = None,
        seconds: float = DEADLINE_SECONDS,
    ) -> None:
        super().__init__(name, secrets_of(dsn), seconds=seconds)
        self._client = SentryClient(
            self._thing, dsn, environment=environment, tls=tls, seconds=seconds
        )

    def close(self) -> None:
        """Let the SDK's client go. Nothing is queued in it."""
        self._client.close()

    def _deliver(self, message: Message, memo: str | None) -> Receipt:  # noqa: ARG002
        return Receipt(self._client.send(event_of(message)).summary)


def event_of(message: Message) -> dict[str, Any]:
    """The event. Its id is the same for each try, so that Sentry keeps one of them."""
    quiet = message.kind in _QUIET
    tags = {
        "severity": message.severity.value,
        "message_kind": message.kind.value,
        "incident_kind": message.incident_kind,
        "incident": message.incident,
        "state": message.state.value if message.state else None,
        "database_server": message.server,
        "database": message.database,
    }
    title = cut(headline(message), _TITLE_LIMIT)
    fingerprint = [short_key(message.dedup_key, _KEY_LIMIT)]
    return {
        "event_id": delivery_id(message),
        "timestamp": message.at,
        "level": "info" if quiet else _LEVELS[message.severity],
        "logger": "guardian",
        "logentry": {"message": title, "formatted": title},
        "fingerprint": [*fingerprint, message.kind.value] if quiet else fingerprint,
        "tags": {key: _tag(value) for key, value in tags.items() if value},
        "extra": {"report": body(message, PLAIN, _BODY_LIMIT)},
    }


def _tag(text: str) -> str:
    return cut(in_one_line(text), _TAG_LIMIT) or "-"
