"""``guardian init``: the first configuration and its passphrase, both or neither."""

from __future__ import annotations

import os
import secrets
import stat
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from guardian.cli.console import emit_json, json_option
from guardian.cli.main import AppContext
from guardian.errors import UsageError

_OUTPUT = Path("guardian.yaml")
_PASSPHRASE = "guardian.passphrase"  # nosec B105 # noqa: S105 - a file's name
_WARNING = (
    "Keep a copy of {file} away from this host (a password manager, a safe): "
    "without this passphrase NO backup can ever be read again, by anybody."
)


@click.command()
@click.option("--dsn", metavar="DSN", help="The server: libpq URI, keyword string or '${NAME}'.")
@click.option("--store", metavar="PATH|s3://BUCKET/PREFIX", help="Where backups are to lie.")
@click.option(
    "--output", type=click.Path(path_type=Path), metavar="FILE", help="Default: ./guardian.yaml."
)
@click.option(
    "--passphrase-file",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Default: guardian.passphrase beside the configuration. One that exists is used as it is.",
)
@click.option("--yes", is_flag=True, help="Ask nothing.")
@json_option
@click.pass_obj
def init(
    context: AppContext,
    dsn: str | None,
    store: str | None,
    output: Path | None,
    passphrase_file: Path | None,
    yes: bool,
    as_json: bool,
) -> None:
    """Write a configuration and a passphrase file. Overwrites nothing."""
    from guardian.config.starter import parse_store, starter_text

    target = (output or context.config_path or _OUTPUT).expanduser().absolute()
    passphrase = (passphrase_file or target.parent / _PASSPHRASE).expanduser().absolute()
    reused = _refuse_overwriting(target, passphrase, named=passphrase_file is not None)
    asking = not yes and sys.stdin.isatty() and sys.stderr.isatty()
    dsn = _referred(_checked_dsn(dsn or _ask_dsn(asking)), os.environ)
    try:
        place = parse_store(store or _ask_store(asking))
    except ValueError as error:
        raise UsageError(f"--store: {error}") from None
    if asking and not click.confirm(f"Write {target} and {passphrase}?", default=True, err=True):
        raise click.Abort
    beside = passphrase.parent == target.parent
    text = starter_text(dsn, place, passphrase.name if beside else str(passphrase))
    _write(target, text, passphrase, reused=reused)
    _report(target, passphrase, place, reused=reused, as_json=as_json)


def _refuse_overwriting(target: Path, passphrase: Path, *, named: bool) -> bool:
    """Whether a passphrase is there already and is to be used. Raises UsageError."""
    if target == passphrase:
        raise UsageError(f"{target} cannot be both the configuration and the passphrase file")
    if os.path.lexists(target):
        raise UsageError(
            f"{target} exists already and is left as it is", mend="choose another --output"
        )
    for folder in {target.parent, passphrase.parent}:
        if not folder.is_dir():
            raise UsageError(f"there is no folder {folder}", mend=f"mkdir -p {folder}")
    if not os.path.lexists(passphrase):
        return False
    if not named:
        raise UsageError(
            f"{passphrase} exists already and is left as it is",
            mend=f"use it with --passphrase-file {passphrase}, or name another",
        )
    _check_passphrase(passphrase)
    return True


def _check_passphrase(path: Path) -> None:
    """What gpg's adapter would refuse at the first backup is refused here already."""
    try:
        mode = path.stat().st_mode
        if not stat.S_ISREG(mode):
            raise UsageError(f"passphrase file {path} is not a regular file")
        if mode & (stat.S_IRWXG | stat.S_IRWXO):
            raise UsageError(
                f"passphrase file {path} can be read by others (mode {stat.S_IMODE(mode):04o})",
                mend=f"chmod 600 {path}",
            )
        text = path.read_bytes().decode().removesuffix("\n")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise UsageError(f"passphrase file {path} cannot be read: {reason}") from None
    if not text.strip() or any(character in text for character in "\n\r\0"):
        raise UsageError(f"passphrase file {path} must hold one line, not empty, without CR")


def _ask_dsn(asking: bool) -> str:
    from guardian.config.show import mask_dsn

    if not asking:
        raise UsageError("the server is missing", mend="name it with --dsn DSN")
    known = os.environ.get("DATABASE_URL")
    if known and click.confirm(f"Use $DATABASE_URL ({mask_dsn(known)})?", default=True, err=True):
        return known
    given: str = click.prompt(
        "DSN of the server, such as postgresql://user:password@host/db (not shown)",
        hide_input=True,
        err=True,
    )
    click.echo(f"  {mask_dsn(given)}", err=True)
    return given


def _ask_store(asking: bool) -> str:
    default = "/var/backups/guardian" if os.geteuid() == 0 else "./backups"
    if not asking:
        return default
    given: str = click.prompt(
        "Where backups are to lie (a folder, or s3://bucket/prefix)", default=default, err=True
    )
    return given


def _checked_dsn(dsn: str) -> str:
    from psycopg import ProgrammingError
    from psycopg.conninfo import conninfo_to_dict

    from guardian.config.starter import is_reference

    if is_reference(dsn):
        if dsn[2:-1] not in os.environ:
            raise UsageError(f"--dsn: the environment variable {dsn[2:-1]} is not set")
        return dsn
    try:
        dsn.encode()
        if not dsn.strip() or not conninfo_to_dict(dsn):
            raise UsageError("--dsn is empty", mend="such as postgresql://user@host/database")
    except (ProgrammingError, UnicodeEncodeError):
        # libpq's message may quote a piece of the password.
        raise UsageError(
            "--dsn is neither a libpq URI nor a keyword string",
            mend="such as postgresql://user@host/database or 'host=… user=… dbname=…'",
        ) from None
    return dsn


def _referred(dsn: str, environ: Mapping[str, str]) -> str:
    """Rather the variable's name than its value, where they are the same."""
    return "${DATABASE_URL}" if dsn == environ.get("DATABASE_URL") else dsn


def _write(target: Path, text: str, passphrase: Path, *, reused: bool) -> None:
    """Publish both files or neither, overwriting none, after a look whether they load."""
    from guardian.config import load_config

    published: list[Path] = []
    try:
        with _draft(target.parent, text) as config_draft:
            load_config(config_draft)
            if not reused:
                with _draft(passphrase.parent, secrets.token_urlsafe(48) + "\n") as secret_draft:
                    os.link(secret_draft, passphrase)
                    published.append(passphrase)
            os.link(config_draft, target)
            published.append(target)
        for folder in {target.parent, passphrase.parent}:
            _sync(folder)
    except BaseException as error:
        for path in published:
            path.unlink(missing_ok=True)
        if isinstance(error, FileExistsError):
            raise UsageError(f"{error.filename2} exists already and is left as it is") from None
        if isinstance(error, OSError):
            name = error.filename2 or error.filename or target
            raise UsageError(f"{name} cannot be written: {error.strerror}") from None
        raise


@contextmanager
def _draft(folder: Path, text: str) -> Iterator[Path]:
    """A private, whole and synced file under a temporary name; gone afterwards."""
    descriptor, name = tempfile.mkstemp(prefix=".guardian-init-", dir=folder)  # mode 0600
    path = Path(name)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
        yield path
    finally:
        path.unlink(missing_ok=True)


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _report(target: Path, passphrase: Path, place: Any, *, reused: bool, as_json: bool) -> None:
    from guardian.config.loader import PLACES
    from guardian.config.starter import SERVER_NAME, LocalFolder

    option = "" if target in {one.absolute() for one in PLACES} else f" --config {target}"
    steps = [f"guardian{option} doctor", f"guardian{option} backup now"]
    folder = isinstance(place, LocalFolder)
    where = str(place.path) if folder else f"s3://{place.bucket}/{place.prefix}".rstrip("/")
    if folder and not place.path.parent.is_dir():
        steps.insert(0, f"mkdir -p {place.path.parent}")
    warning = _WARNING.format(file=passphrase)
    click.secho(f"WARNING: {warning}", err=True, bold=sys.stderr.isatty())
    if as_json:
        emit_json(
            {
                "config": str(target),
                "passphrase_file": str(passphrase),
                "passphrase_created": not reused,
                "server": SERVER_NAME,
                "store": {"name": place.name, "where": where},
                "warning": warning,
                "next": steps,
            }
        )
        return
    click.echo(f"wrote {target}")
    click.echo(f"{'uses' if reused else 'wrote'} {passphrase}")
    click.echo(f"backups of server {SERVER_NAME} will go to {where}")
    click.echo("next:")
    for step in steps:
        click.echo(f"  {step}")
