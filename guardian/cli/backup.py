"""``guardian backup now | list | show | keep | unkeep | prune``."""

from __future__ import annotations

import secrets
from itertools import chain
from typing import TYPE_CHECKING, Any

import click

from guardian.cli.completion import complete_servers
from guardian.cli.console import (
    console,
    emit_json,
    emit_json_each,
    escape,
    json_option,
    person,
    print_table,
    time_text,
)
from guardian.cli.main import AppContext, say_error
from guardian.cli.telling import tell_people
from guardian.errors import (
    AlreadyRunningError,
    ExitCode,
    GuardianError,
    NotFoundError,
    UsageError,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from guardian.backup.inventory import Inventory
    from guardian.backup.prune_result import PruneResult
    from guardian.backup.run import BackupResult
    from guardian.backup.sizes import Comparison
    from guardian.daemon.app import App
    from guardian.model import BackupRecord


@click.group()
def backup() -> None:
    """Make, list, pin and prune backups."""


@backup.command()
@click.argument(
    "targets", nargs=-1, metavar="[SERVER[/DATABASE]]...", shell_complete=complete_servers
)
@json_option
@click.pass_obj
def now(context: AppContext, targets: tuple[str, ...], as_json: bool) -> None:
    """Back up now; everything when nothing is named."""
    from guardian.backup.batch import back_up_all, exit_code
    from guardian.cli.progress import make_progress
    from guardian.daemon.app import App
    from guardian.daemon.listing import list_databases

    results: list[BackupResult] = []
    with App(context.config, command="guardian backup now") as app:
        wanted = app.targets(targets)
        with make_progress(quiet=as_json) as progress:
            for result in back_up_all(
                wanted,
                databases=lambda server: list_databases(app, server),
                run=lambda ref: app.back_up(ref, progress),
                now=app.clock.now,
                token=lambda: secrets.token_hex(3),
            ):
                results.append(result)
                if not as_json:
                    _tell(result)
        if as_json:
            emit_json([_result_document(result) for result in results])
        tell_people(app, lambda alarms: alarms.backed_up(results))
    raise click.exceptions.Exit(exit_code(results))


@backup.command("list")
@click.argument(
    "target", required=False, metavar="[SERVER[/DATABASE]]", shell_complete=complete_servers
)
@click.option("--store", metavar="NAME", help="Read this store itself, not the catalog.")
@json_option
@click.pass_obj
def list_(context: AppContext, target: str | None, store: str | None, as_json: bool) -> None:
    """What backups there are, newest first."""
    from guardian.cli.backup_view import print_backups, record_document
    from guardian.daemon.app import App

    refused = False
    with App(context.config) as app:
        server, database = app.targets([target])[0] if target else (None, None)
        if store is not None:
            there = look_in(app, store, server, database)
            records, refused = iter(there.records), bool(there.refused)
        else:
            records = app.catalog.each_backup(server, database)
        if as_json:
            emit_json_each(map(record_document, records))
        elif (newest := next(records, None)) is not None:
            print_backups(chain([newest], records), app.clock.now())
        elif not refused:
            click.echo("no backups yet: guardian backup now makes one", err=True)
    if refused:
        raise click.exceptions.Exit(ExitCode.FAILED)


@backup.command()
@click.argument("backup_id", metavar="ID")
@json_option
@click.pass_obj
def show(context: AppContext, backup_id: str, as_json: bool) -> None:
    """One backup: where it lies, its parts, what it came from."""
    from guardian.cli.backup_view import Shown, print_backup, show_document
    from guardian.daemon.app import App
    from guardian.daemon.signing import signatures

    with App(context.config) as app:
        record = find_backup(app, backup_id)
        manifest, drills = app.catalog.manifest(record.id), app.catalog.proofs(record.id)
        signed = signatures(app, record)
        shown = Shown(record, manifest, drills, _comparison(app, record), signed)
        at = app.clock.now()
    if as_json:
        emit_json(show_document(shown))
        return
    print_backup(shown, at)


@backup.command()
@click.argument("backup_id", metavar="ID")
@click.option("--reason", help="Why, for those who come after.")
@json_option
@click.pass_obj
def keep(context: AppContext, backup_id: str, reason: str | None, as_json: bool) -> None:
    """Pin a backup: pruning never deletes it."""
    from guardian.daemon.app import App

    with App(context.config) as app:
        record = find_backup(app, backup_id)
        notes = app.keep(record, person(), reason)
    _tell_pin(record, notes, kept=True, as_json=as_json)


@backup.command()
@click.argument("backup_id", metavar="ID")
@json_option
@click.pass_obj
def unkeep(context: AppContext, backup_id: str, as_json: bool) -> None:
    """Let retention decide about a backup again."""
    from guardian.daemon.app import App

    with App(context.config) as app:
        record = find_backup(app, backup_id)
        notes = app.unkeep(record, person())
    _tell_pin(record, notes, kept=False, as_json=as_json)


@backup.command(short_help="Apply retention; each backup with its verdict and why.")
@click.argument(
    "targets", nargs=-1, metavar="[SERVER[/DATABASE]]...", shell_complete=complete_servers
)
@click.option("--dry-run", is_flag=True, help="Delete nothing; say what would be.")
@click.option("--trust-clock", is_flag=True, help="A long pause in the history was a real one.")
@json_option
@click.pass_obj
def prune(
    context: AppContext,
    targets: tuple[str, ...],
    dry_run: bool,
    trust_clock: bool,
    as_json: bool,
) -> None:
    """Apply retention; each backup with its verdict and the rule that keeps it."""
    from guardian.daemon.app import App

    results: list[PruneResult] = []
    errors: list[GuardianError] = []
    with App(context.config, command="guardian backup prune") as app:
        for ref in app.prunable(app.targets(targets)):
            try:
                results.append(app.prune(ref, dry_run=dry_run, trust_clock=trust_clock))
            except AlreadyRunningError as error:  # that one alone is in other hands
                errors.append(error)
            except GuardianError as error:  # what was deleted before it is told
                errors.append(error)
                break
        if as_json:
            emit_json([document for result in results for document in result.documents()])
        else:
            _tell_pruned(results)
        for problem in [problem for result in results for problem in result.problems]:
            say_error(problem)
        for one in errors:
            say_error(str(one))
        if not dry_run:
            tell_people(app, lambda alarms: alarms.pruned(one.ref.server for one in results))
    if any(result.failed for result in results):
        raise click.exceptions.Exit(ExitCode.FAILED)
    if errors:
        raise click.exceptions.Exit(errors[-1].exit_code)


def look_in(app: App, store: str, server: str | None, database: str | None) -> Inventory:
    """What lies in a store; what was refused there is told, a line each."""
    there = app.stored_backups(store, server, database)
    for error in there.refused.values():
        say_error(str(error))
    return there


def find_backup(app: App, text: str) -> BackupRecord:
    """The backup that an id, or the beginning of one, names.

    Raises:
        NotFoundError: there is none.
        UsageError: there are several.
    """
    found = list(app.catalog.find_backups(text))
    if not found:
        raise NotFoundError(f"there is no backup {text!r}", mend="guardian backup list shows all")
    if len(found) > 1:
        shown = ", ".join(record.id for record in found[:4])
        raise UsageError(f"{text!r} fits {len(found)} backups: {shown} …", mend="write more of it")
    return found[0]


def _comparison(app: App, record: BackupRecord) -> Comparison | None:
    """How big it is beside the last proven one of an earlier snapshot."""
    from guardian.backup.sizes import compare_sizes, figures_of
    from guardian.daemon.bounds import size_bounds

    instant = record.snapshot_at
    before = None if instant is None else app.catalog.proven_before(record.ref, instant)
    if before is None:
        return None
    return compare_sizes(figures_of(record), before, size_bounds(app.config, record.ref.server))


def _tell_pruned(results: Sequence[PruneResult]) -> None:
    verdicts = {True: "[green]keep[/]", False: "[yellow]delete[/]"}
    print_table(
        ["ID", "DATABASE", "VERDICT", "WHY"],
        [
            (
                backup.id,
                escape(str(backup.ref)),
                "[red]deleted[/]" if backup.deleted else verdicts[backup.keep],
                escape(", ".join(backup.reasons)),
            )
            for result in results
            for backup in result.backups
        ],
    )
    for result in results:
        for note in result.notes:
            click.echo(note, err=True)
        if result.swept:
            click.echo(f"{result.ref}: {result.swept} leftovers removed", err=True)


def _tell(result: BackupResult) -> None:
    """What a person reads of one result; progress has told the good part."""
    out = console(stderr=True)
    for warning in result.warnings:
        out.print(f"[yellow]warning[/] {escape(str(result.ref))}: {escape(warning)}")
    for outcome in result.outcomes:
        if outcome.error is not None and result.status == "succeeded":
            out.print(f"[red]store {escape(outcome.store)} failed[/] {escape(outcome.error)}")
    if result.status == "succeeded":
        stores = ", ".join(item.store for item in result.outcomes if item.error is None)
        click.echo(f"{result.id}  {result.ref}  in {stores}, proof: {result.proof.value}")
        for outcome in result.outcomes:
            if outcome.locked_until is not None:
                click.echo(f"  {outcome.store}: locked until {time_text(outcome.locked_until)}")
    elif result.error is not None:
        out.print(
            f"[red]{escape(str(result.ref))}: backup failed ({result.error.cause.value}):[/] "
            f"{escape(str(result.error))}"
        )


def _result_document(result: BackupResult) -> dict[str, Any]:
    from guardian.cli.backup_view import comparison_document

    error = result.error
    return {
        "id": result.id,
        "server": result.ref.server,
        "database": result.ref.database,
        "status": result.status.value,
        "started_at": time_text(result.started_at),
        "finished_at": time_text(result.finished_at),
        "seconds": round(result.seconds, 3),
        "stored_bytes": result.stored_bytes,
        "dumped_bytes": result.dumped_bytes,
        "tables": result.tables,
        "rows": result.rows,
        "stores": [
            {
                "name": outcome.store,
                "status": outcome.status.value,
                "error": outcome.error,
                "locked_until": time_text(outcome.locked_until),
            }
            for outcome in result.outcomes
        ],
        "proof": result.proof.value,
        "previous_proven": comparison_document(result.comparison),
        "warnings": list(result.warnings),
        "error": None
        if error is None
        else {"cause": error.cause.value, "message": error.message, "mend": error.mend},
    }


def _tell_pin(record: BackupRecord, notes: Sequence[str], *, kept: bool, as_json: bool) -> None:
    from guardian.cli.backup_view import record_document

    if as_json:
        emit_json(record_document(record) | {"kept": kept, "notes": list(notes)})
    else:
        click.echo(f"{record.id}  {record.ref}  {'kept' if kept else 'no longer kept'}")
    for note in notes:
        say_error(note)
