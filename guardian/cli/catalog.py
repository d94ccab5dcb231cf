"""``guardian catalog rebuild``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from guardian.cli.console import emit_json, json_option
from guardian.cli.main import AppContext, say_error
from guardian.errors import ExitCode

if TYPE_CHECKING:
    from guardian.backup.rebuild import RebuildResult, RebuiltStore


@click.group()
def catalog() -> None:
    """Guardian's own memory of what there is."""


@catalog.command()
@json_option
@click.pass_obj
def rebuild(context: AppContext, as_json: bool) -> None:
    """Make the catalog anew from the stores alone.

    Takes in every backup, drill and pin that lies there, and forgets copies that are gone. What the
    catalog alone knows stays; a file that is damaged is put aside first.
    """
    from guardian.cli.progress import make_progress
    from guardian.daemon.app import App

    with (
        App(context.config, command="guardian catalog rebuild") as app,
        make_progress(quiet=as_json) as progress,
    ):
        aside = app.set_aside_damaged_catalog()
        if aside is not None:
            progress.note(f"the catalog was damaged and is kept as {aside}; a new one begins")
        result = app.rebuild_catalog(progress)
    if as_json:
        emit_json({**result.document(), "set_aside": aside and str(aside)})
    else:
        _tell(result)
    for problem in result.problems:
        say_error(problem)
    if result.failed:
        raise click.exceptions.Exit(ExitCode.FAILED)


def _tell(result: RebuildResult) -> None:
    for store in result.stores:
        click.echo(f"{store.name}: {_counts(store)}")
    for note in result.notes:
        click.echo(note, err=True)
    click.echo(
        f"the catalog knows {_number(result.backups, 'backup')} of these stores, with "
        f"{_number(result.proofs, 'proof')} and {_number(result.pins, 'pin')}"
    )


def _counts(store: RebuiltStore) -> str:
    counts = [
        f"{_number(store.backups, 'backup')} ({store.added} new)",
        _number(store.proofs, "proof"),
        _number(store.pins, "pin"),
        f"{store.forgotten} forgotten",
        _number(store.unfinished, "unfinished folder"),
        f"{store.damaged} damaged",
    ]
    return ", ".join(["NOT READ IN FULL", *counts] if store.error else counts)


def _number(count: int, word: str) -> str:
    return f"{count} {word}{'' if count == 1 else 's'}"
