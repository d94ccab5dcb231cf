"""Canaries: secrets that each bear their own name, a configuration full of them, and the search.

Every secret field of the configuration's models has one; which those are is read from the models,
so that a new field without a canary fails the test.
"""

from __future__ import annotations

import base64
import gzip
import json
import os
import secrets
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel, SecretStr
from support.ports import free_port
from support.receivers import Answer, Request, WebReceiver
from support.site import descendants

from guardian.config.models import Config
from guardian.config.shape import keys_of, sections_in

SecretField = tuple[str, str]
"""A section's class and the key."""


class Canaries:
    """Makes secrets and finds them again: as they are, and as Base64 within anything."""

    def __init__(self) -> None:
        self.by_name: dict[str, str] = {}

    def __getitem__(self, name: str) -> str:
        """The secret of that name; lower-case letters and digits only, 32 of them."""
        if name not in self.by_name:
            self.by_name[name] = ("canary" + secrets.token_hex(13))[:32]
        return self.by_name[name]

    def found_in(self, data: bytes, allowed: Iterable[str] = ()) -> set[str]:
        """The names of those that are in there."""
        texts = [data, *_unpacked(data)]
        return {
            name
            for name, secret in self.by_name.items()
            if name not in set(allowed)
            and any(form in text for form in _forms(secret) for text in texts)
        }


@cache
def _forms(secret: str) -> list[bytes]:
    """As it is, and what Base64 makes of it at each of the three places it can begin at."""
    raw = secret.encode()
    forms = [raw]
    for shift in range(3):
        encoded = base64.b64encode(b"\0" * shift + raw)
        forms.append(encoded[4 if shift else 0 : -4])
    return forms


def _unpacked(data: bytes) -> list[bytes]:
    try:
        return [gzip.decompress(data)]
    except (OSError, EOFError):
        return []


# --- which secrets there are ---------------------------------------------------------------------


def secret_fields() -> set[SecretField]:
    """Every key of the configuration that holds a secret."""
    return {
        (section.__name__, name)
        for section in sections_in(Config)
        for name, key in keys_of(section).items()
        if _holds_secret(key.annotation)
    }


def _holds_secret(annotation: Any) -> bool:
    return annotation is SecretStr or any(_holds_secret(one) for one in get_args(annotation))


def planted_fields(value: Any, canaries: Canaries) -> Iterator[SecretField]:
    """Those that hold a canary in a configuration that was read."""
    if isinstance(value, BaseModel):
        for name, info in type(value).model_fields.items():
            here = getattr(value, name)
            if any(canaries.found_in(text.encode()) for text in _secrets(here)):
                yield type(value).__name__, info.alias or name
            yield from planted_fields(here, canaries)
    elif isinstance(value, dict):
        for one in value.values():
            yield from planted_fields(one, canaries)
    elif isinstance(value, list | tuple):
        for one in value:
            yield from planted_fields(one, canaries)


def _secrets(value: Any) -> list[str]:
    if isinstance(value, SecretStr):
        return [value.get_secret_value()]
    if isinstance(value, dict):
        return [one.get_secret_value() for one in value.values() if isinstance(one, SecretStr)]
    return []


# --- where they are planted ----------------------------------------------------------------------


@dataclass
class Services:
    """Everybody whom guardian speaks to over HTTP, as one receiver; each has a path of its own."""

    canaries: Canaries
    receiver: WebReceiver = field(init=False)
    owners: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """By the beginning of a path: the secrets that this one may hear, which are its own."""

    def __post_init__(self) -> None:
        self.receiver = WebReceiver(self._answer)

    def address(self, owner: str, *names: str, scheme: str = "http", login: str = "") -> str:
        """An address with these secrets in its path, that the receiver knows as ``owner``'s."""
        self.owners[owner] = names
        path = "/".join(self.canaries[name] for name in names)
        return f"{scheme}://{login}{self.receiver.host}/{owner}/{path}"

    def owner_of(self, request: Request) -> str:
        """Whose address was asked: Sentry's begin with ``/api``."""
        return request.path.lstrip("/").split("/")[0].split("?")[0]

    def heard(self) -> set[str]:
        """Who was spoken to."""
        return {self.owner_of(one) for one in self.receiver.requests}

    def leaks(self) -> set[str]:
        """``<who>: <whose secret>`` for what somebody heard and is not theirs."""
        found = set()
        for request in list(self.receiver.requests):
            owner = self.owner_of(request)
            head = f"{request.method} {request.path} {request.headers}".encode()
            told = self.canaries.found_in(request.body, self.owners.get(owner, ()))
            told |= self.canaries.found_in(head, self.owners.get(owner, ()))
            found |= {f"{owner}: {name}" for name in told}
        return found

    def _answer(self, request: Request) -> Answer:
        owner = self.owner_of(request)
        if owner == "discord":
            return Answer(200, json.dumps({"id": "1", "type": 0, "content": ""}).encode())
        if owner == "api":
            return Answer(200, json.dumps({"id": "0" * 32}).encode())
        return Answer(200, b"ok")


def channels(services: Services, smtp_port: int) -> dict[str, dict[str, Any]]:
    """One channel of each kind, all in escalation.channels."""
    canaries = services.canaries
    services.owners["api"] = ("sentry", "cron")
    host = services.receiver.host
    return {
        "slack": {"kind": "slack", "webhook_url": services.address("slack", "slack")},
        "bot": {"kind": "slack", "bot_token": f"xoxb-{canaries['bot']}", "channel": "#x"},
        "pager": {"kind": "pagerduty", "routing_key": canaries["pagerduty"]},
        "mail": {
            "kind": "email",
            "host": "127.0.0.1",
            "port": smtp_port,
            "starttls": False,
            "username": "u",
            "password": canaries["mail"],
            "from": "a@b.example",
            "to": ["c@d.example"],
        },
        "sentry": {"kind": "sentry", "dsn": f"http://{canaries['sentry']}@{host}/7"},
        "hook": {
            "kind": "webhook",
            "url": services.address("hook", "hook", "header", "signing"),
            "headers": {"Authorization": f"Bearer {canaries['header']}"},
            "secret": canaries["signing"] * 2,
        },
        "discord": {"kind": "discord", "webhook_url": services.address("discord", "discord")},
        "teams": {"kind": "teams", "webhook_url": services.address("teams", "teams")},
        "telegram": {"kind": "telegram", "bot_token": f"1:{canaries['telegram']}", "chat": -100},
        "apprise": {
            "kind": "apprise",
            "url": services.address("apprise", "apprise", scheme="json"),
        },
    }


def heartbeats(services: Services) -> list[dict[str, Any]]:
    """One of each kind."""
    host = services.receiver.host
    return [
        {"kind": "ping", "url": services.address("ping", "ping")},
        {"kind": "sentry-cron", "dsn": f"http://{services.canaries['cron']}@{host}/8"},
    ]


def without_internet() -> dict[str, str]:
    """Services whose address is fixed are asked through a proxy that is not there."""
    nobody = f"http://127.0.0.1:{free_port()}"
    return {
        **dict.fromkeys(("HTTPS_PROXY", "https_proxy"), nobody),
        **dict.fromkeys(("NO_PROXY", "no_proxy"), "localhost,127.0.0.1"),
    }


# --- processes -----------------------------------------------------------------------------------


class Processes:
    """Looks at the command lines and environments of all that is started, for as long as it lasts.

    As anybody on the host can read the one, and the same user the other.
    """

    def __init__(self, canaries: Canaries) -> None:
        self._canaries = canaries
        self.leaks: set[str] = set()
        self.seen: set[str] = set()
        self._read: set[tuple[bytes, bytes]] = set()

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Look all the time, on a thread."""
        over = threading.Event()
        thread = threading.Thread(target=self._watch, args=(over,))
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()

    def _watch(self, over: threading.Event) -> None:
        while not over.wait(0.05):
            for pid in descendants(os.getpid()):
                self._look(pid)

    def _look(self, pid: int) -> None:
        try:
            command = Path(f"/proc/{pid}/cmdline").read_bytes()
            program = Path(f"/proc/{pid}/comm").read_text().strip()
            environ = Path(f"/proc/{pid}/environ").read_bytes()
        except OSError:
            return
        self.seen.add(program)
        if (command, environ) in self._read:
            return
        self._read.add((command, environ))
        for name in self._canaries.found_in(command):
            self.leaks.add(f"{program}'s command line: {name}")
        # What guardian was given itself it has; what it starts has no need of it.
        if b"guardian" not in command:
            for name in self._canaries.found_in(environ):
                self.leaks.add(f"{program}'s environment: {name}")
