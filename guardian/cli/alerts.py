"""``guardian alerts test``: does each channel really reach somebody?"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

from guardian.cli.console import console, emit_json, json_option, person
from guardian.cli.main import AppContext
from guardian.errors import (
    CatalogError,
    DeliveryError,
    ExitCode,
    NotFoundError,
    UsageError,
)

if TYPE_CHECKING:
    from rich.text import Text

    from guardian.daemon.app import App
    from guardian.escalate.model import Message
    from guardian.escalate.ports import Channel

_SECONDS = 30.0
"""For all together; each has its own, shorter time."""


@dataclass(slots=True)
class Answer:
    """What came back from one channel."""

    channel: str
    kind: str
    ok: bool = False
    detail: str = ""
    error: str | None = None
    seconds: float = 0.0


@click.group()
def alerts() -> None:
    """The ways in which guardian reaches people."""


@alerts.command(short_help="Send a test through each channel; say what came back.")
@click.argument("names", nargs=-1, metavar="[CHANNEL]...")
@json_option
@click.pass_obj
def test(context: AppContext, names: tuple[str, ...], as_json: bool) -> None:
    """Send a test through each channel, and say what came back (exit 1 when one fails)."""
    from guardian.daemon.app import App
    from guardian.escalate.compose import test_message

    with App(context.config, command="guardian alerts test") as app:
        wanted = _wanted(app, names)
        message = test_message(app.clock.now(), person())
        answers = _ask_all(app, wanted, message)
        _remember(app, answers)
    if as_json:
        emit_json([_document(one) for one in answers])
    else:
        from guardian.cli.screen import show

        out = console()
        for one in answers:
            show(out, _lines(out, one))
    if not all(one.ok for one in answers):
        raise click.exceptions.Exit(ExitCode.FAILED)


def _wanted(app: App, names: tuple[str, ...]) -> list[str]:
    configured = app.config.escalation.channels
    if not configured:
        raise UsageError("there are no channels", mend="write them under escalation.channels")
    for name in names:
        if name not in configured:
            raise NotFoundError(
                f"there is no channel {name!r}", mend=f"configured: {', '.join(configured)}"
            )
    return list(dict.fromkeys(names or configured))


def _ask_all(app: App, names: list[str], message: Message) -> list[Answer]:
    """All at once; one that hangs keeps no other."""
    from guardian.daemon.alarms import make_channels

    sections = app.config.escalation.channels
    answers = {name: Answer(name, sections[name].kind, error="no answer") for name in names}
    channels, unusable = make_channels(app, names)
    for name, error in unusable.items():
        answers[name].error = str(error)
    threads = [
        threading.Thread(target=_ask, args=(one, message, answers), daemon=True)
        for one in channels.values()
    ]
    until = time.monotonic() + _SECONDS
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(max(0.0, until - time.monotonic()))
    for thread, channel in zip(threads, channels.values(), strict=True):
        if not thread.is_alive():
            channel.close()
    return list(answers.values())


def _ask(channel: Channel, message: Message, answers: Mapping[str, Answer]) -> None:
    answer = answers[channel.name]
    began = time.monotonic()
    try:
        receipt = channel.send(message)
    except DeliveryError as error:
        answer.error = str(error)
    except Exception as error:  # noqa: BLE001 - its text is not ours, and may hold a secret
        answer.error = f"channel {channel.name} broke ({type(error).__name__})"
    else:
        answer.ok, answer.error = True, None
        answer.detail = receipt.detail or "accepted"
    answer.seconds = time.monotonic() - began


def _remember(app: App, answers: list[Answer]) -> None:
    """A channel that works again is not taken for a failing one any more."""
    from guardian.escalate.model import ChannelHealth

    with suppress(CatalogError):
        for one in answers:
            if one.ok:
                now = app.clock.now()
                app.catalog.save_channel_health(ChannelHealth(one.channel, None, 0, now))


def _document(one: Answer) -> dict[str, Any]:
    return {
        "channel": one.channel,
        "kind": one.kind,
        "ok": one.ok,
        "detail": one.detail,
        "error": one.error,
        "seconds": round(one.seconds, 3),
    }


def _lines(out: Any, one: Answer) -> list[Text]:
    from rich.text import Text

    from guardian.cli.screen import hanging, harmless
    from guardian.units import format_duration

    mark, style = ("ok    ", "green") if one.ok else ("FAILED", "red")
    lead = Text(mark, style).append(f"  {harmless(one.channel)} ({one.kind})  ", "not bold default")
    took = f" in {format_duration(round(one.seconds, 1))}" if one.seconds else ""
    said = f"{one.detail}{took}" if one.ok else (one.error or "")
    return hanging(out, said, out.width, first=lead)
