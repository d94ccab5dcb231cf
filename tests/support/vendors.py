"""What the services document of their requests, as JSON Schemas, and how each one answers.

Unknown fields are refused, so that a misspelt one is not silently dropped. Sources: docs.slack.dev
(incoming webhooks, chat.postMessage, Block Kit reference), developer.pagerduty.com (Events API v2,
512 KB), discord.com/developers (Execute Webhook, Embed Limits), learn.microsoft.com (Adaptive Cards
1.4, workflows, 28 KB), core.telegram.org/bots/api, develop.sentry.dev (envelopes, check-ins).
"""

from __future__ import annotations

import html.parser
import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jsonschema
from support.receivers import Answer, Request

Document = dict[str, Any]

_CHECKER = jsonschema.FormatChecker()
_DOCS = Path(__file__).parents[2] / "docs"


def obj(required: Mapping[str, Any], **optional: Any) -> Document:
    """An object with these properties, and no others."""
    return {
        "type": "object",
        "properties": {**required, **optional},
        "required": list(required),
        "additionalProperties": False,
    }


def text(most: int, least: int = 1) -> Document:
    """A string of so many characters."""
    return {"type": "string", "minLength": least, "maxLength": most}


def of(item: Any, most: int, least: int = 1) -> Document:
    """A list of so many."""
    return {"type": "array", "items": item, "minItems": least, "maxItems": most}


ADDRESS = {"type": "string", "pattern": r"^https?://[^\s]+$", "maxLength": 3000}
INSTANT = {
    "type": "string",
    "pattern": r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:?\d\d)$",
}

# --- Slack --------------------------------------------------------------------------------------

_STYLE = obj({}, bold={"type": "boolean"}, italic={"type": "boolean"}, code={"type": "boolean"})
_SLACK_TEXT = obj({"type": {"const": "text"}, "text": text(3000)}, style=_STYLE)
_SLACK_LINK = obj({"type": {"const": "link"}, "url": ADDRESS}, text=text(3000), style=_STYLE)
_SLACK_BLOCK = {
    "oneOf": [
        obj(
            {
                "type": {"const": "header"},
                "text": obj(
                    {"type": {"const": "plain_text"}, "text": text(150)},
                    emoji={"type": "boolean"},
                ),
            }
        ),
        obj(
            {
                "type": {"const": "rich_text"},
                "elements": of(
                    {
                        "oneOf": [
                            obj(
                                {
                                    "type": {"const": "rich_text_section"},
                                    "elements": of({"oneOf": [_SLACK_TEXT, _SLACK_LINK]}, 2000),
                                }
                            ),
                            obj(
                                {
                                    "type": {"const": "rich_text_preformatted"},
                                    "elements": of(_SLACK_TEXT, 2000),
                                }
                            ),
                        ]
                    },
                    2000,
                ),
            }
        ),
    ]
}
_SLACK = {
    "text": {"type": "string", "minLength": 1, "maxLength": 4000, "pattern": r"^[^<>]*$"},
    "blocks": of(_SLACK_BLOCK, 50),
}
_SLACK_SWITCHES = {"unfurl_links": {"type": "boolean"}, "unfurl_media": {"type": "boolean"}}
SLACK_WEBHOOK = obj(_SLACK, **_SLACK_SWITCHES)
SLACK_POST = obj(
    {**_SLACK, "channel": text(100)},
    **_SLACK_SWITCHES,
    thread_ts={"type": "string", "pattern": r"^\d+\.\d+$"},
    reply_broadcast={"type": "boolean"},
)
SLACK_UPDATE = obj(
    {
        **_SLACK,
        "channel": {"type": "string", "pattern": "^[CDG][A-Z0-9]+$"},
        "ts": {"type": "string", "pattern": r"^\d+\.\d+$"},
    },
    **_SLACK_SWITCHES,
)

# --- the others ---------------------------------------------------------------------------------

_PAGERDUTY_EVENT = {
    "routing_key": {"type": "string", "minLength": 32, "maxLength": 32},
    "dedup_key": text(255),
}
PAGERDUTY = {
    "oneOf": [
        obj(
            {
                **_PAGERDUTY_EVENT,
                "event_action": {"const": "trigger"},
                "payload": obj(
                    {
                        "summary": text(1024),
                        "source": text(255),
                        "severity": {"enum": ["critical", "error", "warning", "info"]},
                    },
                    timestamp=INSTANT,
                    component=text(255),
                    group=text(255),
                    **{"class": text(255)},
                    custom_details={"type": "object"},
                ),
            },
            client=text(255),
            client_url=ADDRESS,
            links=of(obj({"href": ADDRESS}, text=text(255)), 100),
        ),
        obj({**_PAGERDUTY_EVENT, "event_action": {"enum": ["acknowledge", "resolve"]}}),
    ]
}

DISCORD = obj(
    {
        "content": text(2000),
        "allowed_mentions": obj({"parse": {"const": []}}),
    },
    embeds=of(
        obj(
            {"description": text(4096)},
            color={"type": "integer", "minimum": 0, "maximum": 0xFFFFFF},
            timestamp=INSTANT,
        ),
        10,
    ),
)

_RUN = obj(
    {"type": {"const": "TextRun"}, "text": text(20_000)},
    size={"enum": ["small", "default", "medium", "large", "extraLarge"]},
    weight={"enum": ["lighter", "default", "bolder"]},
    fontType={"enum": ["default", "monospace"]},
)
_RICH = obj(
    {"type": {"const": "RichTextBlock"}, "inlines": of(_RUN, 100)},
    separator={"type": "boolean"},
    spacing={"enum": ["default", "none", "small", "medium", "large"]},
)
_CONTAINER = obj(
    {"type": {"const": "Container"}, "items": of(_RICH, 10)},
    style={"enum": ["default", "emphasis", "good", "attention", "warning", "accent"]},
    bleed={"type": "boolean"},
)
TEAMS = obj(
    {
        "type": {"const": "message"},
        "attachments": of(
            obj(
                {
                    "contentType": {"const": "application/vnd.microsoft.card.adaptive"},
                    "contentUrl": {"type": "null"},
                    "content": obj(
                        {
                            "$schema": {
                                "const": "http://adaptivecards.io/schemas/adaptive-card.json"
                            },
                            "type": {"const": "AdaptiveCard"},
                            "version": {"const": "1.4"},
                            "body": of({"oneOf": [_RICH, _CONTAINER]}, 500),
                        },
                        fallbackText=text(1000),
                        msteams=obj({"width": {"const": "Full"}}),
                        actions=of(
                            obj(
                                {
                                    "type": {"const": "Action.OpenUrl"},
                                    "title": text(200),
                                    "url": ADDRESS,
                                }
                            ),
                            6,
                        ),
                    ),
                }
            ),
            1,
        ),
    }
)

TELEGRAM = obj(
    {
        "chat_id": {"type": "string", "pattern": r"^(-?\d+|@\w+)$"},
        "text": {"type": "string", "minLength": 1},  # 4,096 after its entities are parsed
        "parse_mode": {"const": "HTML"},
    },
    message_thread_id={"type": "integer"},
    disable_notification={"type": "boolean"},
    link_preview_options=obj({"is_disabled": {"type": "boolean"}}),
    reply_parameters=obj(
        {"message_id": {"type": "integer"}}, allow_sending_without_reply={"type": "boolean"}
    ),
)

SENTRY_EVENT = {
    "type": "object",
    "properties": {
        "event_id": {"type": "string", "pattern": "^[0-9a-f]{32}$"},
        "level": {"enum": ["fatal", "error", "warning", "info", "debug"]},
        "logger": {"const": "guardian"},
        "logentry": obj({"message": text(8192), "formatted": text(8192)}),
        "fingerprint": of(text(1024), 5),
        "environment": text(64),
        "release": {"type": "string", "pattern": r"^guardian@\S+$"},
        "tags": {
            "type": "object",
            "propertyNames": {"pattern": "^[a-zA-Z0-9_.:-]{1,32}$"},
            "additionalProperties": {"type": "string", "pattern": r"^[^\n]{1,200}$"},
        },
        "breadcrumbs": {"properties": {"values": {"maxItems": 0}}},
        "exception": False,
        "user": False,
        "request": False,
        "modules": False,
    },
    "required": ["event_id", "timestamp", "level", "logentry", "fingerprint", "platform"],
}

_MINUTES = {"type": "integer", "minimum": 1, "maximum": 40_320}
CHECK_IN = {
    "type": "object",
    "properties": {
        "check_in_id": {"type": "string", "pattern": "^[0-9a-f]{32}$"},
        "monitor_slug": {"type": "string", "pattern": "^[a-z0-9_-]{1,50}$"},
        "status": {"enum": ["ok", "error", "in_progress"]},
        "environment": text(64),
        "duration": {"type": "number", "minimum": 0},
        "monitor_config": obj(
            {
                "schedule": {
                    "oneOf": [
                        obj({"type": {"const": "crontab"}, "value": text(100)}),
                        obj(
                            {
                                "type": {"const": "interval"},
                                "value": _MINUTES,
                                "unit": {"enum": ["minute", "hour", "day", "week", "month"]},
                            }
                        ),
                    ]
                }
            },
            checkin_margin=_MINUTES,
            max_runtime=_MINUTES,
            timezone=text(100),
            failure_issue_threshold={"type": "integer", "minimum": 1},
            recovery_threshold={"type": "integer", "minimum": 1},
        ),
    },
    "required": ["check_in_id", "monitor_slug", "status"],
}

APPRISE = obj(
    {
        "version": {"const": "1.0"},
        "title": text(250, 0),
        "message": text(32_768),
        "type": {"enum": ["info", "success", "warning", "failure"]},
        "attachments": {"const": []},
    }
)


def judged(document: Any, schema: Document) -> list[str]:
    """What is wrong with a document."""
    validator = jsonschema.Draft202012Validator(schema, format_checker=_CHECKER)
    return [
        f"{error.json_path}: {error.message[:300]}" for error in validator.iter_errors(document)
    ]


def telegram_length(markup: str) -> int:
    """Characters after the entities are parsed, as JavaScript counts them."""
    reader = _Reader(convert_charrefs=True)
    reader.feed(markup)
    reader.close()
    return len(reader.text.encode("utf-16-le")) // 2


class _Reader(html.parser.HTMLParser):
    text = ""

    def handle_data(self, data: str) -> None:
        self.text += data


def envelope_of(body: bytes) -> tuple[Document, list[tuple[Document, Document]]]:
    """A Sentry envelope's header, and its items with theirs."""
    head, _, rest = body.partition(b"\n")
    items = []
    while rest.strip():
        line, _, rest = rest.partition(b"\n")
        header = json.loads(line)
        payload, rest = rest[: header["length"]], rest[header["length"] :].lstrip(b"\n")
        items.append((header, json.loads(payload)))
    return json.loads(head), items


class Vendor:
    """A service: judges what it gets, keeps what it found wrong, and answers as it documents."""

    largest = 1 << 20

    def __init__(self) -> None:
        self.problems: list[str] = []
        self.documents: list[Document] = []

    def __call__(self, request: Request) -> Answer:
        """The answer to a request that is well-formed; 400 to any other."""
        found = self.judge(request)
        if len(request.body) > self.largest:
            found.append(f"{len(request.body)} bytes are too many")
        self.problems += found
        return self.refuses(400) if found else self.accepts(request)

    def judge(self, request: Request) -> list[str]:
        """What is wrong with it."""
        if request.method != "POST":
            return [f"{request.method} instead of POST"]
        if not request.headers.get("content-type", "").startswith("application/json"):
            return [f"content type {request.headers.get('content-type')}"]
        document = json.loads(request.body)
        self.documents.append(document)
        return judged(document, self.schema(request))

    def schema(self, request: Request) -> Document:
        """What the document must be like."""
        raise NotImplementedError

    def accepts(self, request: Request) -> Answer:
        """The answer to a good one."""
        raise NotImplementedError

    def refuses(self, status: int, **headers: str) -> Answer:
        """An answer with this status, as the service words it."""
        return Answer(status, b'{"error": "so it is"}', headers)


def json_answer(status: int, /, **document: Any) -> Answer:
    return Answer(status, json.dumps(document).encode(), {"Content-Type": "application/json"})


class SlackHooks(Vendor):
    def schema(self, request: Request) -> Document:
        return SLACK_WEBHOOK

    def accepts(self, request: Request) -> Answer:
        return Answer(200, b"ok", {"Content-Type": "text/html"})

    def refuses(self, status: int, **headers: str) -> Answer:
        words = {403: b"action_prohibited", 404: b"no_service", 429: b"rate_limited"}
        usual = b"rollup_error" if status >= 500 else b"invalid_payload"
        return Answer(status, words.get(status, usual), headers)


class SlackApi(Vendor):
    """Keeps its messages: ``posted`` by timestamp, threads, and what was updated."""

    def __init__(self) -> None:
        super().__init__()
        self.posted: dict[str, Document] = {}
        self.error: dict[str, str] = {}
        """By method: what it refuses with, status 200."""

    def schema(self, request: Request) -> Document:
        return SLACK_UPDATE if request.path.endswith("/chat.update") else SLACK_POST

    def judge(self, request: Request) -> list[str]:
        found = super().judge(request)
        if not re.fullmatch(r"Bearer \S+", request.headers.get("authorization", "")):
            found.append("no bearer token")
        if len(json.dumps(self.documents[-1]["blocks"], ensure_ascii=False).encode()) > 13_000:
            found.append("msg_blocks_too_long")
        if request.path.endswith("update") and len(self.documents[-1]["text"].encode()) > 4000:
            found.append("msg_too_long")
        return found

    def accepts(self, request: Request) -> Answer:
        method = request.path.rpartition("/")[2]
        if method in self.error:
            return json_answer(200, ok=False, error=self.error[method])
        document = self.documents[-1]
        if method == "chat.update":
            if document["ts"] not in self.posted:
                return json_answer(200, ok=False, error="message_not_found")
            self.posted[document["ts"]] |= {"updated": document["blocks"]}
            return json_answer(200, ok=True, channel=document["channel"], ts=document["ts"])
        if (thread := document.get("thread_ts")) and thread not in self.posted:
            return json_answer(200, ok=False, error="thread_not_found")
        stamp = f"1764000000.{len(self.posted):06d}"
        self.posted[stamp] = dict(document)
        return json_answer(200, ok=True, channel="C024BE91L", ts=stamp, message={})

    def refuses(self, status: int, **headers: str) -> Answer:
        usual = "internal_error" if status >= 500 else "invalid_auth"
        error = "ratelimited" if status == 429 else usual
        return Answer(status, json.dumps({"ok": False, "error": error}).encode(), headers)


class PagerDutyEvents(Vendor):
    """Keeps each alert's state by its key, as PagerDuty does."""

    largest = 512 * 1024

    def __init__(self) -> None:
        super().__init__()
        self.alerts: dict[str, str] = {}

    def schema(self, request: Request) -> Document:
        return PAGERDUTY

    def accepts(self, request: Request) -> Answer:
        event = self.documents[-1]
        key, action = event["dedup_key"], event["event_action"]
        if action == "trigger":
            if self.alerts.get(key) != "acknowledged":
                self.alerts[key] = "triggered"
        elif key in self.alerts:
            self.alerts[key] = f"{action}d".replace("ee", "e")
        return json_answer(202, status="success", message="Event processed", dedup_key=key)

    def refuses(self, status: int, **headers: str) -> Answer:
        errors = ["Length of 'routing_key' is incorrect (should be 32 characters)"]
        body = {"status": "invalid event", "message": "Event object is invalid", "errors": errors}
        return Answer(status, json.dumps(body).encode() if status == 400 else b"", headers)


class DiscordHooks(Vendor):
    def schema(self, request: Request) -> Document:
        return DISCORD

    def judge(self, request: Request) -> list[str]:
        found = super().judge(request)
        embeds = self.documents[-1].get("embeds", [])
        if sum(len(embed["description"]) for embed in embeds) > 6000:
            found.append("more than 6000 characters in all")
        if "wait=true" not in request.path:
            found.append("does not wait")
        return found

    def accepts(self, request: Request) -> Answer:
        return json_answer(200, id="1234567890123456789", type=0, content="")

    def refuses(self, status: int, **headers: str) -> Answer:
        body = {"message": "Unknown Webhook", "code": 10015}
        return Answer(status, json.dumps(body).encode(), headers)


class TeamsWorkflow(Vendor):
    largest = 28 * 1024

    def schema(self, request: Request) -> Document:
        return TEAMS

    def accepts(self, request: Request) -> Answer:
        return Answer(202)

    def refuses(self, status: int, **headers: str) -> Answer:
        body = {"error": {"code": "TriggerInputSchemaMismatch", "message": "so it is"}}
        return Answer(status, json.dumps(body).encode(), headers)


class TelegramBots(Vendor):
    def schema(self, request: Request) -> Document:
        return TELEGRAM

    def judge(self, request: Request) -> list[str]:
        found = super().judge(request)
        if telegram_length(self.documents[-1]["text"]) > 4096:
            found.append("message is too long")
        if not re.fullmatch(r"/bot\d+:[\w-]+/sendMessage", request.path):
            found.append(f"path {request.path}")
        return found

    def accepts(self, request: Request) -> Answer:
        number = 100 + len(self.documents)
        return json_answer(200, ok=True, result={"message_id": number, "date": 1})

    def refuses(self, status: int, **headers: str) -> Answer:
        body = {"ok": False, "error_code": status, "description": "Bad Request: chat not found"}
        return Answer(status, json.dumps(body).encode(), headers)


class OwnHook(Vendor):
    """A user's own receiver, after docs/webhook.schema.json."""

    def schema(self, request: Request) -> Document:
        document: Document = json.loads((_DOCS / "webhook.schema.json").read_text())
        return document

    def accepts(self, request: Request) -> Answer:
        return Answer(204)


class SentryRelay(Vendor):
    """The envelope endpoint."""

    def judge(self, request: Request) -> list[str]:
        if not re.fullmatch(r"/api/\d+/envelope/", request.path):
            return [f"path {request.path}"]
        auth = request.headers.get("x-sentry-auth", "")
        if not re.match(r"Sentry sentry_key=\w+, sentry_version=7, sentry_client=\S+$", auth):
            return [f"auth {auth}"]
        header, items = envelope_of(request.body)
        ((about, document),) = items
        self.documents.append(document)
        if about["type"] == "check_in":
            return judged(document, CHECK_IN)
        found = judged(document, SENTRY_EVENT)
        if about["type"] != "event" or header["event_id"] != document["event_id"]:
            found.append("no event, or of another id")
        return found

    def accepts(self, request: Request) -> Answer:
        return json_answer(200, id="0" * 32)

    def refuses(self, status: int, **headers: str) -> Answer:
        return Answer(status, b'{"detail": "so it is"}', headers)


class AppriseJson(Vendor):
    """What apprise's own JSON plug-in posts."""

    def schema(self, request: Request) -> Document:
        return APPRISE

    def accepts(self, request: Request) -> Answer:
        return Answer(200)


MakeVendor = Callable[[], Vendor]
