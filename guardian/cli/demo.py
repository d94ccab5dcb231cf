"""``guardian demo``: guardian's main job on a PostgreSQL of its own, nothing to configure."""

from __future__ import annotations

import signal

import click

from guardian.cli.console import console, escape


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
    """Seed a sample database, back it up, drill, prune, restore it with stock tools, compare."""
    from guardian.demo import tour

    out = console(stderr=True)

    def say(text: str) -> None:
        out.print(f"\n[bold cyan]==>[/] [bold]{escape(text)}[/]")

    def guardian(*words: str) -> None:
        out.print(f"\n[bold green]$[/] guardian {escape(' '.join(words))}")
        tour.run_guardian(place, *words)

    with tour.stage(say, scale) as place:
        say("Encrypted backups, streamed to a folder and an S3 bucket at once")
        for _ in range(3):
            guardian("backup", "now")
        say("Proof: the latest is restored into a scratch server and compared, row by row")
        guardian("verify")
        guardian("backup", "list")
        say("Retention keeps two here: the first is gone; the others, each with its rule")
        guardian("backup", "prune", "--dry-run")
        guardian("status")
        folder, line = tour.stock_restore_line(place)
        say("A restore without guardian: RESTORE.txt's own lines, run as they stand")
        for number, text in enumerate(line.splitlines()):
            out.print(f"[bold green]{' ' if number else '$'}[/] {escape(text)}", soft_wrap=True)
        tour.run_shell(place, folder, line)
        tables, rows = tour.compare(place, folder)
        out.print(
            f"[green]The restored database equals the source at the instant of its dump: "
            f"{tables} tables, {rows:,} rows, every row compared.[/]"
        )
        if not once:
            say(f"All of it stays until Ctrl-C; the configuration is {place.config}")
            signal.pause()
