"""``guardian restore``: a backup into a database, for a person at 3 a.m."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from guardian.cli.backup import find_backup, look_in
from guardian.cli.completion import complete_servers
from guardian.cli.console import console, emit_json, escape, json_option
from guardian.cli.main import AppContext
from guardian.cli.parameters import Number
from guardian.errors import NotFoundError, UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from guardian.daemon.app import App
    from guardian.model import BackupRecord
    from guardian.restore.result import RestoreResult

_SHOWN = 20
_MOST_JOBS = 4
_VARIABLE = re.compile(r"\$\{(\w+)\}")


@click.command()
@click.argument(
    "backup",
    nargs=-1,
    required=True,
    metavar="ID | latest [SERVER[/DATABASE]]",
    shell_complete=complete_servers,
)
@click.option("--to", metavar="DSN", help="Where to: a libpq URI or keyword string with dbname.")
@click.option(
    "--to-file",
    metavar="FILE",
    type=click.Path(path_type=Path, dir_okay=False),
    help="A file that holds it, so that its password is on no command line.",
)
@click.option("--store", metavar="NAME", help="From this store; else a local one goes first.")
@click.option("--create", is_flag=True, help="Make the database if it does not exist.")
@click.option(
    "--replace", is_flag=True, help="Take the place of a database, which stays under a dated name."
)
@click.option(
    "--force-disconnect", is_flag=True, help="End the sessions of the database that is replaced."
)
@click.option(
    "--jobs",
    type=Number(1, 64),
    metavar="N",
    help="Streams of rows, and indexes built at once. Default: the processors, at most 4.",
)
@click.option(
    "--table", "tables", multiple=True, metavar="PATTERN", help="Only such tables, as in psql."
)
@click.option("--schema", "schemas", multiple=True, metavar="PATTERN", help="Only such schemas.")
@click.option("--schema-only", is_flag=True, help="Definitions without rows.")
@click.option(
    "--data-only", is_flag=True, help="Rows without definitions, into tables that are there, empty."
)
@click.option("--no-owner", is_flag=True, help="All belongs to the role that connects.")
@click.option("--no-privileges", is_flag=True, help="No grants.")
@click.option("--no-tablespaces", is_flag=True, help="Everything in the default tablespace.")
@click.option(
    "--globals",
    "with_globals",
    is_flag=True,
    help="First make the backup's roles that are missing.",
)
@click.option("--no-compare", is_flag=True, help="Do not compare with the backup's fingerprint.")
@click.option("--no-analyze", is_flag=True, help="Do not run ANALYZE.")
@json_option
@click.pass_obj
def restore(
    context: AppContext,
    /,
    backup: tuple[str, ...],
    *,
    to: str | None,
    to_file: Path | None,
    store: str | None,
    jobs: int | None,
    as_json: bool,
    no_owner: bool,
    no_privileges: bool,
    no_tablespaces: bool,
    no_compare: bool,
    no_analyze: bool,
    **options: Any,
) -> None:
    """Restore a backup into a new or empty database, compared before it takes its name.

    The beginning of an ID is enough; "latest main/mina" is the newest backup of that database.
    """
    from guardian.cli.progress import make_progress
    from guardian.daemon.app import App
    from guardian.restore.target import Wish

    dsn = _dsn(to, to_file)
    wish = Wish(
        jobs=jobs or min(_MOST_JOBS, os.cpu_count() or 1),
        owner=not no_owner,
        privileges=not no_privileges,
        tablespaces=not no_tablespaces,
        compare=not no_compare,
        analyze=not no_analyze,
        **options,
    )
    with App(context.config, command="guardian restore") as app:
        if store is not None:
            app.store(store)  # an unknown name is told before anything is done
        record = _chosen(app, backup, store)
        with make_progress(quiet=as_json) as progress:
            if record.proven is False:
                progress.note(f"backup {record.id} fell short in its last drill")
            result = app.restore(record, dsn, wish, progress, store=store)
    if as_json:
        emit_json(_document(result))
    else:
        _tell(result)
    raise click.exceptions.Exit(result.exit_code)


def _dsn(to: str | None, to_file: Path | None) -> str:
    """The DSN; ``${NAME}`` alone takes a variable, so that no password is on a command line."""
    if (to is None) == (to_file is None):
        raise UsageError(
            "restore needs the database to restore to",
            mend="write --to DSN, or --to-file FILE",
        )
    if to_file is not None:
        try:
            return to_file.read_text("utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            said = error.strerror if isinstance(error, OSError) else "it is no text"
            raise UsageError(f"--to-file {to_file} cannot be read: {said}") from error
    assert to is not None
    if variable := _VARIABLE.fullmatch(to):
        if (value := os.environ.get(variable[1])) is None:
            raise UsageError(f"--to: the variable {variable[1]} is not set")
        return value
    return to


def _chosen(app: App, words: Sequence[str], store: str | None) -> BackupRecord:
    """The backup that the words name: an id, ``latest``, or the latest of a database.

    Raises:
        NotFoundError: there is none.
        UsageError: they name several.
    """
    if len(words) == 1 and words[0] != "latest" and "/" not in words[0]:
        return _by_id(app, words[0], store)
    names = [word for word in words if word != "latest"]
    if len(names) > 1 or len(words) - len(names) > 1:
        raise UsageError("one backup is restored at a time", mend="write its ID alone")
    server, database = app.targets(names)[0] if names else (None, None)
    records = (
        look_in(app, store, server, database).records
        if store is not None
        else app.catalog.backups(server, database)
    )
    if not records:
        raise _nothing(f"of {names[0]}" if names else "at all")
    refs = sorted({str(record.ref) for record in records})
    if len(refs) > 1:
        raise UsageError(
            f"there are backups of {len(refs)} databases: {', '.join(refs[:_SHOWN])}",
            mend=f"write: latest {refs[0]}",
        )
    return records[0]


def _by_id(app: App, word: str, store: str | None) -> BackupRecord:
    """By the catalog; what it does not know, by the store that was named."""
    try:
        return find_backup(app, word)
    except NotFoundError as error:
        found: list[BackupRecord] = []
        if store is not None:
            there = app.stored_backups(store)
            there.require(word)
            found = [record for record in there.records if record.id.startswith(word)]
        if len(found) > 1:
            raise UsageError(
                f"{word!r} fits {len(found)} backups", mend="write more of it"
            ) from error
        if found:
            return found[0]
        raise _nothing(f"{word!r}") from error


def _nothing(what: str) -> NotFoundError:
    return NotFoundError(
        f"there is no backup {what}",
        mend="guardian backup list shows what there is; on a new host, guardian catalog rebuild "
        "finds what the stores hold",
    )


def _document(result: RestoreResult) -> dict[str, Any]:
    finished = result.finished
    return {
        "id": result.id,
        "server": result.ref.server,
        "database": result.ref.database,
        "store": result.store,
        "target": f"{result.where}/{result.database}",
        "status": result.status.value,
        "seconds": result.seconds,
        "restore_seconds": result.restore_seconds,
        "compare_seconds": result.compare_seconds,
        "compared": result.compared.value,
        "tables": result.tables,
        "rows": result.rows,
        "differences": [
            {"object": one.object, "expected": one.expected, "found": one.found}
            for one in result.differences
        ],
        "warnings": list(result.warnings),
        "kept_old": finished.kept_old,
        "kept_as": finished.kept_as,
        "reason": finished.reason or result.uncompared,
        "statements": list(finished.statements),
    }


def _tell(result: RestoreResult) -> None:
    """What a person reads: what was compared, what differs, what is left to do."""
    from guardian.restore.result import Compared, RestoreStatus
    from guardian.units import counted, format_duration

    out, err = console(), console(stderr=True)
    for warning in result.warnings:
        err.print(f"[yellow]warning[/] {escape(warning)}")
    colour = "green" if result.status is RestoreStatus.RESTORED else "red"
    took = format_duration(round(result.seconds, 1))
    where = escape(f"{result.finished.kept_as or result.database} on {result.where}")
    status = result.status.value.replace("_", " ")
    out.print(f"{result.id}  {escape(str(result.ref))}  [{colour}]{status}[/]  {where}, in {took}")
    if result.compared is not Compared.NONE and not result.differences:
        what = "definitions" if result.compared is Compared.OBJECTS else f"{result.rows:,} rows"
        how = " (counted)" if result.compared is Compared.COUNTS else ""
        out.print(f"  compared: {counted(result.tables, 'table')}, {what}{how} as they were")
    elif result.uncompared is not None:
        out.print(f"  [yellow]not compared:[/] {escape(result.uncompared)}")
    for one in result.differences[:_SHOWN]:
        out.print(
            f"  {escape(one.object)}: expected {escape(one.expected)}, found {escape(one.found)}"
        )
    if len(result.differences) > _SHOWN:
        out.print(f"  … and {len(result.differences) - _SHOWN} more; --json lists them all")
    if result.finished.kept_old is not None:
        out.print(f"  the database that was there is kept as {escape(result.finished.kept_old)}")
    if result.finished.reason is not None and result.finished.statements:
        out.print(f"  {escape(result.finished.reason)}; to take the name all the same:")
        for statement in result.finished.statements:
            click.echo(f"    {statement}")
