"""People who are reached over real HTTP, and what they have heard."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

from support.receivers import Answer, Request, WebReceiver

Rungs = dict[str, list[str]]


@dataclass
class Crowd:
    """A receiver for each channel. ``statuses`` are what they answer instead of 200."""

    receivers: dict[str, WebReceiver]
    statuses: dict[str, int] = field(default_factory=dict)

    def section(self, people: Rungs, **more: Any) -> dict[str, Any]:
        """The config's section: each channel a web hook, and who has which."""
        channels = {
            name: {"kind": "webhook", "url": f"{one.url}/{name}"}
            for name, one in self.receivers.items()
        }
        return {"channels": channels, "people": people, **more}

    def heard(self, channel: str) -> list[dict[str, Any]]:
        """What a channel was sent and took, in order."""
        return [
            json.loads(one.body)
            for one in self.receivers[channel].requests
            if self.statuses.get(channel, 200) == 200
        ]

    def kinds(self, channel: str) -> list[str]:
        """Of those messages: alert, escalation, resolved …"""
        return [one["kind"] for one in self.heard(channel)]


@contextmanager
def crowd(*channels: str) -> Iterator[Crowd]:
    """Receivers on loopback for these channels."""
    with ExitStack() as stack:
        made = Crowd({})
        for name in channels:

            def decide(request: Request, name: str = name) -> Answer:
                del request
                return Answer(made.statuses.get(name, 200), b"ok")

            made.receivers[name] = stack.enter_context(WebReceiver(decide))
        yield made
