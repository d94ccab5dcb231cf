"""How a bar looks: what is being done, how far it is, how fast, and how long it will take yet."""

from __future__ import annotations

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, SpinnerColumn, Task
from rich.text import Text

from guardian.cli.screen import cut, harmless
from guardian.units import format_duration, format_size

_WIDEST = 24
_BESIDE = 4
"""The spinner, and a space between each two columns."""


def make_bar(console: Console) -> Progress:
    """One bar on one line, however narrow the terminal is: what is being done gives way first."""
    width = min(_WIDEST, console.width // 8)
    return Progress(
        SpinnerColumn(),
        _Label(console.width - width - _BESIDE),
        BarColumn(bar_width=width),
        _Figures(),
        console=console,
        transient=True,
    )


class _Label(ProgressColumn):
    """What is being done, in the room that the figures leave."""

    def __init__(self, room: int) -> None:
        super().__init__()
        self._room = room

    def render(self, task: Task) -> Text:
        """As much of it as has room."""
        return Text(cut(harmless(task.description), self._room - len(_figures(task))))


class _Figures(ProgressColumn):
    """``3.17 MiB of 16.3 MiB  113 MiB/s  2s left``, as much of it as is known yet."""

    def render(self, task: Task) -> Text:
        """The words behind the bar."""
        return Text(_figures(task))


def _figures(task: Task) -> str:
    if not task.completed:
        return f"for {format_duration(int(task.elapsed or 0))}"
    done = format_size(task.completed)
    told = [done if task.total is None else f"{done} of {format_size(task.total)}"]
    if task.speed:
        told.append(f"{format_size(task.speed)}/s")
    if task.total is not None and task.time_remaining is not None:
        told.append(f"{format_duration(int(task.time_remaining))} left")
    return "  ".join(told)
