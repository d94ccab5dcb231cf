"""``guardian verify``: drills, and the drill of the drill."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from guardian.cli.backup import find_backup, look_in
from guardian.cli.completion import complete_servers
from guardian.cli.console import console, emit_json, escape, json_option, time_text
from guardian.cli.main import AppContext, say_error
from guardian.cli.telling import tell_people
from guardian.errors import (
    AlreadyRunningError,
    ExitCode,
    GuardianError,
    InterruptedRunError,
    NotFoundError,
)
from guardian.model import ProofResult

if TYPE_CHECKING:
    from collections.abc import Sequence

    from guardian.daemon.app import App
    from guardian.model import BackupRecord
    from guardian.verify.drill import DrillResult

_SHOWN = 20
_COLOURS = {
    ProofResult.PROVEN: "green",
    ProofResult.MISMATCH: "red",
    ProofResult.UNRESTORABLE: "red",
    ProofResult.INCONCLUSIVE: "yellow",
}


@click.command()
@click.argument(
    "targets",
    nargs=-1,
    metavar="[ID | latest | all | SERVER[/DATABASE]]...",
    shell_complete=complete_servers,
)
@click.option("--store", metavar="NAME", help="From this store; else a local one goes first.")
@click.option("--self-test", is_flag=True, help="Damage copies of a backup; each must be caught.")
@json_option
@click.pass_obj
def verify(
    context: AppContext, targets: tuple[str, ...], store: str | None, self_test: bool, as_json: bool
) -> None:
    """Restore backups into a scratch server and compare them with what was there.

    With no argument the latest backup of every database. "all" takes every backup.
    """
    from guardian.cli.progress import make_progress
    from guardian.daemon.app import App

    results: list[DrillResult] = []
    errors: list[GuardianError] = []
    with App(context.config, command="guardian verify") as app:
        if store is not None:
            app.store(store)  # an unknown name is told before anything is done
        chosen = _chosen(app, targets, store)
        if self_test:
            from guardian.cli.self_test import run_self_test

            places = [(record, _store_of(app, record, store)) for record in chosen]
            run_self_test(app, places, as_json=as_json)
        with make_progress(quiet=as_json) as progress:
            for record in chosen:
                try:
                    place = _store_of(app, record, store)
                    result = app.drill(record.ref, record.id, place, progress)
                except (AlreadyRunningError, NotFoundError) as error:
                    errors.append(error)
                    continue
                except InterruptedRunError as error:  # what was drilled before it counts
                    errors.append(error)
                    break
                results.append(result)
                for note in result.notes:
                    progress.note(note)
                if not as_json:
                    _tell(result)
        if as_json:
            emit_json([drill_document(result) for result in results])
        tell_people(app, lambda alarms: alarms.drilled(one.ref.server for one in results))
    for one in errors:
        say_error(str(one))
    raise click.exceptions.Exit(_exit_code(results, errors))


def _chosen(app: App, targets: Sequence[str], store: str | None) -> list[BackupRecord]:
    """The backups that the words name, each once.

    Raises:
        NotFoundError: a word names no backup.
    """
    found: dict[str, BackupRecord] = {}
    for word in targets or ("latest",):
        for record in _named(app, word, store):
            found[record.id] = record
    return list(found.values())


def _named(app: App, word: str, store: str | None) -> list[BackupRecord]:
    from guardian.backup.manifest import is_backup_id

    server = database = None
    if word not in {"latest", "all"}:
        if is_backup_id(word) or (word[:8].isdigit() and "/" not in word):
            return [_with_id(app, word, store)]
        server, database = app.targets([word])[0]
    records = [
        record
        for record in app.catalog.backups(server, database)
        if store is None or store in record.stores
    ]
    if not records and store is not None:  # a new host, whose catalog knows nothing yet
        records = look_in(app, store, server, database).records
    if not records:
        where = f" in store {store}" if store else ""
        thing = f" of {word}" if server else ""
        raise NotFoundError(
            f"there is no backup{thing}{where} to verify",
            mend="guardian backup now makes one; on a new host, guardian catalog rebuild finds "
            "those that the stores hold",
        )
    if word == "all":
        return records
    newest: dict[Any, BackupRecord] = {}
    for record in records:
        newest.setdefault(record.ref, record)
    return list(newest.values())


def _with_id(app: App, word: str, store: str | None) -> BackupRecord:
    """As the catalog knows it; where it does not, as the store itself does."""
    try:
        return find_backup(app, word)
    except NotFoundError:
        if store is None:
            raise
        there = app.stored_backups(store)
        there.require(word)
        found = [one for one in there.records if one.id.startswith(word)]
        if len(found) != 1:
            raise
        return found[0]


def _store_of(app: App, record: BackupRecord, store: str | None) -> str:
    """Where to read it: the store that was asked for, else a local one, else the first.

    Raises:
        UsageError: it lies in no store that is configured.
    """
    if store is not None:
        return store
    configured = [name for name in record.stores if name in app.stores]
    if not configured:
        raise NotFoundError(
            f"backup {record.id} lies in {', '.join(record.stores) or 'no store'}, none of which "
            "is configured"
        )
    return min(configured, key=lambda name: app.config.stores[name].kind != "local")


def _exit_code(results: Sequence[DrillResult], errors: Sequence[GuardianError]) -> ExitCode:
    if any(isinstance(error, InterruptedRunError) for error in errors):
        return ExitCode.INTERRUPTED
    found = {result.record.result for result in results}
    if found & {ProofResult.MISMATCH, ProofResult.UNRESTORABLE}:
        return ExitCode.FAILED
    if ProofResult.INCONCLUSIVE in found:
        return ExitCode.UNPROVEN
    return errors[0].exit_code if errors else ExitCode.DONE


def drill_document(result: DrillResult) -> dict[str, Any]:
    """A drill for JSON; the names are fixed by the contract."""
    from guardian.cli.backup_view import comparison_document

    record = result.record
    return {
        "id": record.backup,
        "server": result.ref.server,
        "database": result.ref.database,
        "store": record.store,
        "result": record.result.value,
        "at": time_text(record.at),
        "tables": record.tables,
        "rows": record.rows,
        "seconds": record.seconds,
        "fetch_seconds": record.fetch_seconds,
        "restore_seconds": record.restore_seconds,
        "compare_seconds": record.compare_seconds,
        "differences": [
            {"object": one.object, "expected": one.expected, "found": one.found}
            for one in record.differences
        ],
        "checks": [
            {"name": one.name, "passed": one.passed, "found": one.found} for one in record.checks
        ],
        "reason": record.reason,
        "previous_proven": comparison_document(result.comparison),
        "notes": list(result.notes),
    }


def _tell(result: DrillResult) -> None:
    """What a person reads of one drill."""
    from guardian.units import counted, format_duration

    record = result.record
    out = console()
    colour = _COLOURS[record.result]
    head = f"{record.backup}  {escape(str(result.ref))}  [{colour}]{record.result.value}[/]"
    if record.result is ProofResult.PROVEN:
        out.print(
            f"{head}  {counted(record.tables, 'table')}, {counted(record.rows, 'row')}, from "
            f"{escape(record.store)} in {format_duration(round(record.seconds, 1))} (restore "
            f"{format_duration(round(record.restore_seconds, 1))}, compare "
            f"{format_duration(round(record.compare_seconds, 1))})",
            soft_wrap=True,
        )
    else:
        out.print(f"{head}  from {escape(record.store)}: {escape(record.reason or '')}")
    for one in record.differences[:_SHOWN]:
        out.print(
            f"  {escape(one.object)}: expected {escape(one.expected)}, found {escape(one.found)}",
            soft_wrap=True,
        )
    if len(record.differences) > _SHOWN:
        out.print(f"  … and {len(record.differences) - _SHOWN} more; --json lists them all")
    for check in record.checks:
        mark = "[green]passed[/]" if check.passed else "[red]fell short[/]"
        out.print(f"  check {escape(check.name)}: {mark} ({escape(check.found)})")
