"""Where long work has got to: a bar on a terminal, plain lines elsewhere, both on stderr."""

from __future__ import annotations

import sys
import threading
from types import TracebackType
from typing import TYPE_CHECKING, Self

import click

if TYPE_CHECKING:
    from rich.progress import Progress as RichProgress
    from rich.progress import TaskID


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
    """A bar with bytes, rate and the estimated rest."""

    def __init__(self) -> None:
        from rich.progress import (
            BarColumn,
            DownloadColumn,
            Progress,
            SpinnerColumn,
            TextColumn,
            TimeElapsedColumn,
            TimeRemainingColumn,
            TransferSpeedColumn,
        )

        from guardian.cli.console import console

        self._lock = threading.Lock()
        self._console = console(stderr=True)
        self._bars: RichProgress = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=24),
            DownloadColumn(binary_units=True),
            TransferSpeedColumn(),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=self._console,
            transient=True,
        )
        self._task: TaskID | None = None

    def begin(self, label: str, total_bytes: int | None = None) -> None:
        """A new bar in place of the last one."""
        with self._lock:
            self._drop()
            self._task = self._bars.add_task(label, total=total_bytes)

    def advance(self, done_bytes: int) -> None:
        """Move the bar; an estimate that was too low grows with it."""
        with self._lock:
            if self._task is None:
                return
            self._bars.advance(self._task, done_bytes)
            task = self._bars.tasks[-1]
            if task.total is not None and task.completed > task.total:
                self._bars.update(self._task, total=None)

    def note(self, text: str) -> None:
        """A line above the bar."""
        self._console.print(text, markup=False)

    def end(self, summary: str) -> None:
        """A line in place of the bar."""
        with self._lock:
            self._drop()
        self._console.print(summary, markup=False)

    def _drop(self) -> None:
        if self._task is not None:
            self._bars.remove_task(self._task)
            self._task = None

    def __enter__(self) -> Self:
        """Begin to draw."""
        self._bars.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Clear the bar away."""
        self._bars.stop()


def make_progress(*, quiet: bool = False) -> QuietProgress:
    """What fits: a bar where a person looks on, else lines, else notes alone."""
    if quiet:
        return QuietProgress()
    return BarProgress() if sys.stderr.isatty() else LineProgress()
