"""Where long work has got to: a bar on a terminal, plain lines elsewhere, both on stderr."""

from __future__ import annotations

import sys
import threading
from types import TracebackType
from typing import TYPE_CHECKING, Self

import click

if TYPE_CHECKING:
    from rich.progress import Progress as RichProgress


class QuietProgress:
    """Implements the Progress port and says only what must be known: notes."""

    def begin(self, label: str, total_bytes: int | None = None) -> None:
        """Nothing."""

    def advance(self, done_bytes: int) -> None:
        """Nothing."""

    def note(self, text: str) -> None:
        """A line on stderr."""
        click.echo(f"guardian: {text}", err=True)

    def end(self, summary: str) -> None:
        """Nothing."""

    def __enter__(self) -> Self:
        """For a ``with`` block."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Nothing to clear away."""


class LineProgress(QuietProgress):
    """Plain lines, for logs and pipes."""

    def begin(self, label: str, total_bytes: int | None = None) -> None:
        """Say what begins."""
        from guardian.units import format_size

        size = f" (about {format_size(total_bytes)})" if total_bytes else ""
        click.echo(f"{label}{size} ...", err=True)

    def end(self, summary: str) -> None:
        """Say how it ended."""
        click.echo(summary, err=True)


class BarProgress(QuietProgress):
    """A bar with bytes, rate and the estimated rest.

    A piece of work has a bar of its own, which is off the screen before the line about its end:
    what a command then writes to stdout never meets a bar that is drawn at the same time.
    """

    def __init__(self) -> None:
        from guardian.cli.console import console

        self._lock = threading.Lock()
        self._console = console(stderr=True)
        self._bar: RichProgress | None = None

    def begin(self, label: str, total_bytes: int | None = None) -> None:
        """A new bar in place of the last one."""
        from guardian.cli.bar import make_bar

        with self._lock:
            self._drop()
            self._bar = make_bar(self._console)
            self._bar.add_task(label, total=total_bytes or None)
            self._bar.start()

    def advance(self, done_bytes: int) -> None:
        """Move the bar; an estimate that was too low is told no longer."""
        with self._lock:
            if self._bar is None:
                return
            task = self._bar.tasks[0]
            self._bar.advance(task.id, done_bytes)
            if task.total is not None and task.completed > task.total:
                task.total = None  # which update() takes for "as it is"

    def note(self, text: str) -> None:
        """A line above the bar."""
        self._console.print(text, markup=False)

    def end(self, summary: str) -> None:
        """A line in place of the bar."""
        with self._lock:
            self._drop()
        self._console.print(summary, markup=False)

    def _drop(self) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Clear the bar away."""
        with self._lock:
            self._drop()


def make_progress(*, quiet: bool = False) -> QuietProgress:
    """What fits: a bar where a person looks on, else lines, else notes alone."""
    if quiet:
        return QuietProgress()
    return BarProgress() if sys.stderr.isatty() else LineProgress()
