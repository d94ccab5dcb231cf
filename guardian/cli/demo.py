"""``guardian demo``: guardian's main job on a PostgreSQL of its own, nothing to configure."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

import click

from guardian.cli.console import console, escape

if TYPE_CHECKING:
    from rich.console import Console

    from guardian.demo.phones import Ring
    from guardian.demo.stage import Stage


@click.command()
@click.option("--once", is_flag=True, help="Do the tour and exit.")
@click.option(
    "--scale",
    type=click.FloatRange(0.01, 100),
    default=1.0,
    show_default=True,
    help="Size of the sample database (1 = some hundred thousand rows).",
)
def demo(once: bool, scale: float) -> None:
    """Back up, prove, restore; then a night with the daemon: sessions, locks, an outage."""
    from guardian.demo import night
    from guardian.demo.stage import stage

    out = console(stderr=True)
    presenter = Presenter(out)
    with stage(presenter.say, presenter.ring, scale) as place:
        presenter.place = place
        _backups(presenter)
        presenter.say("Now the daemon is awake: guardian run. Everything below it does by itself")
        with night.daemon(place):
            _night(presenter)
            presenter.say(f"The dashboard: {place.dashboard}")
            if not once:
                out.print(f"All of it stays until Ctrl-C; the configuration is {place.config}")
                signal.pause()


class Presenter:
    """Tells what happens, and runs guardian's commands as a person would type them."""

    def __init__(self, out: Console) -> None:
        self._out = out
        self._place: Stage | None = None

    @property
    def place(self) -> Stage:
        """What the tour plays on."""
        assert self._place is not None
        return self._place

    @place.setter
    def place(self, place: Stage) -> None:
        self._place = place

    def say(self, text: str) -> None:
        """A heading."""
        self._out.print(f"\n[bold cyan]==>[/] [bold]{escape(text)}[/]")

    def tell(self, text: str) -> None:
        """A line below it."""
        self._out.print(f"    {escape(text)}", soft_wrap=True)

    def good(self, text: str) -> None:
        """What has come of it."""
        self._out.print(f"[green]{escape(text)}[/]", soft_wrap=True)

    def prompt(self, text: str, sign: str = "$") -> None:
        """A line of a shell."""
        self._out.print(f"[bold green]{sign}[/] {escape(text)}", soft_wrap=True)

    def ring(self, ring: Ring) -> None:
        """Somebody's phone rings; from any thread."""
        self._out.print(
            f"    [yellow]{escape(ring.person)}'s phone:[/] {escape(ring.text)}", soft_wrap=True
        )

    def guardian(self, *words: str) -> None:
        """One of guardian's commands."""
        self._out.print()
        self.prompt(f"guardian {' '.join(words)}")
        self.place.run_guardian(*words)


def _backups(presenter: Presenter) -> None:
    from guardian.demo import tour

    place, guardian = presenter.place, presenter.guardian
    presenter.say("Encrypted backups, streamed to a folder and an S3 bucket at once")
    for _ in range(3):
        guardian("backup", "now")
    presenter.say("Proof: the latest is restored into a scratch server and compared, row by row")
    guardian("verify")
    guardian("backup", "list")
    presenter.say("Retention keeps two here: the first is gone; the others, each with its rule")
    guardian("backup", "prune", "--dry-run")
    folder, line = tour.stock_restore_line(place)
    presenter.say("A restore without guardian: RESTORE.txt's own lines, run as they stand")
    for number, text in enumerate(line.splitlines()):
        presenter.prompt(text, " " if number else "$")
    tour.run_shell(place, folder, line)
    tables, rows = tour.compare(place, folder)
    presenter.good(
        "The restored database equals the source at the instant of its dump: "
        f"{tables} tables, {rows:,} rows, every row compared."
    )


def _night(presenter: Presenter) -> None:
    from guardian.demo import night

    place, guardian = presenter.place, presenter.guardian
    presenter.say("An application begins a transaction and forgets it")
    heard = night.forgotten_transaction(place)
    presenter.tell(f"its client, when it comes back: {heard}")
    presenter.say("A report locks a row that two web requests want")

    through, heard = night.lock_storm(place, lambda: guardian("locks"))
    presenter.tell(f"the report: {heard}")
    presenter.good(f"{through} of 2 web requests got their turn, and nobody else was touched.")
    guardian("audit")
    presenter.say("Somebody pulls the plug of the database server")
    night.outage(place, presenter.say)
    guardian("status")
