"""Looking at servers once, or again and again on a screen that does not flicker.

A watch ends with Ctrl-C, and with 0: that is how one leaves it, as with top or watch. A server that
goes away is told of on the screen and tried again.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

import click

from guardian.cli.console import console, emit_json
from guardian.cli.main import AppContext, say_error
from guardian.cli.screen import cut, hanging, harmless, show
from guardian.errors import ExitCode, GuardianError, UsageError

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

    from guardian.watch.model import Observation, SessionKey
    from guardian.watch.patrol import Patrol
    from guardian.watch.policy import Spared, Verdict

Command = TypeVar("Command", bound=Callable[..., Any])

DEFAULT_SECONDS = 2.0
_LEAST_SECONDS = 0.2
_MOST_SECONDS = 86400.0


@dataclass(frozen=True, slots=True)
class Seen:
    """One look at one server, judged.

    ``spared`` are those without a verdict whom a policy would mean, were they not immune.
    ``shortcomings`` say what our role cannot see or do.
    """

    observation: Observation
    verdicts: Mapping[SessionKey, Verdict]
    spared: Mapping[SessionKey, Spared]
    shortcomings: Sequence[str] = ()


Documents = Callable[[Seen], Sequence[Any]]
"""What ``--json`` gives of one server."""
Lines = Callable[["Console", Seen], Iterable["Text"]]
"""What people see of one server."""


def watch_option(command: Command) -> Command:
    """Add ``--watch [SECONDS]``, which arrives as ``watch``, a text."""
    return click.option(
        "--watch",
        is_flag=False,
        flag_value=str(DEFAULT_SECONDS),
        metavar="[SECONDS]",
        help=f"Look again every {DEFAULT_SECONDS:g} seconds, or so many; Ctrl-C ends it.",
    )(command)


def look(
    context: AppContext,
    server: str | None,
    watch: str | None,
    *,
    as_json: bool,
    documents: Documents,
    lines: Lines,
) -> None:
    """Look at one server, or all, once or again and again."""
    from guardian.daemon.app import App

    seconds, server = _read_watch(watch, server)
    if seconds is not None and as_json:
        raise UsageError("--json is one document, and --watch never ends; leave one of them out")
    with ExitStack() as stack:
        app = stack.enter_context(App(context.config, command="guardian look"))
        names = list(app.config.servers) if server is None else [server]
        patrols = {name: app.patrol(name) for name in names}
        for patrol in patrols.values():
            stack.callback(patrol.close)
        if seconds is None:
            _once(patrols, documents if as_json else None, lines)
        else:
            _again_and_again(patrols, lines, seconds)


def _read_watch(watch: str | None, server: str | None) -> tuple[float | None, str | None]:
    """``--watch main`` names a server, ``--watch 5`` seconds: click cannot tell them apart."""
    if watch is None:
        return None, server
    try:
        seconds = float(watch)
        if seconds <= _MOST_SECONDS:  # nan is not
            return max(seconds, _LEAST_SECONDS), server
    except ValueError:
        if server is None:
            return DEFAULT_SECONDS, watch
    raise UsageError(f"--watch {watch}: write a number of seconds, a day at most")


def _see(patrol: Patrol) -> Seen:
    observation, decisions = patrol.look()
    facts = patrol.facts
    verdicts = {one.session.key: one for one in decisions.verdicts}
    return Seen(
        observation,
        verdicts,
        {one.session.key: one for one in decisions.spared if one.session.key not in verdicts},
        () if facts is None else facts.shortcomings,
    )


def _once(patrols: Mapping[str, Patrol], documents: Documents | None, lines: Lines) -> None:
    found: list[Any] = []
    failed = False
    for patrol in patrols.values():
        try:
            seen = _see(patrol)
        except GuardianError as error:
            say_error(str(error))
            failed = True
            continue
        if documents is not None:
            found += documents(seen)
        else:
            show(out := console(), lines(out, seen))
        for text in seen.shortcomings:
            say_error(text)
    if documents is not None:
        emit_json(found)
    if failed:
        raise click.exceptions.Exit(ExitCode.FAILED)


# --- again and again ---


def _again_and_again(patrols: Mapping[str, Patrol], lines: Lines, seconds: float) -> None:
    from rich.live import Live

    out = console()
    draw = partial(_page, out, patrols, lines, seconds)
    try:
        if not out.is_terminal or out.is_dumb_terminal:
            while True:
                show(out, draw())
                sys.stdout.flush()
                time.sleep(seconds)
        with Live(console=out, screen=True, auto_refresh=False) as live:
            while True:
                page = _fitted(out, draw())
                live.update(page, refresh=True)
                time.sleep(seconds)
    except KeyboardInterrupt:
        return


def _page(
    out: Console, patrols: Mapping[str, Patrol], lines: Lines, seconds: float
) -> Iterable[Text]:
    """A frame. It is made whole before any of it is shown."""
    from rich.text import Text

    page = [Text(f"{time.strftime('%H:%M:%S')}  every {seconds:g}s, Ctrl-C ends", "dim")]
    for patrol in patrols.values():
        try:
            seen = _see(patrol)
        except GuardianError as error:
            page += hanging(out, str(error), out.width, style="red")
            continue
        page += lines(out, seen)
        for text in seen.shortcomings:
            page.append(Text(cut(harmless(f"note: {text}"), out.width), "yellow"))
    return page


def _fitted(out: Console, page: Iterable[Text]) -> Text:
    """As many lines as the terminal has; the last one says how many more there are."""
    from rich.text import Text

    lines = list(page)
    if len(lines) > out.height:
        rest = len(lines) - out.height + 1
        lines = [*lines[: out.height - 1], Text(f"… and {rest} more lines", "dim")]
    whole = Text("\n", no_wrap=True, overflow="crop").join(lines)
    whole.no_wrap, whole.overflow = True, "crop"
    return whole
