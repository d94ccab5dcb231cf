"""The tour's first half: a restore by stock tools from the backup's own lines, and the proof."""

from __future__ import annotations

import subprocess
from pathlib import Path

from guardian.adapters.postgres.connection import Connector
from guardian.adapters.postgres.fingerprinter import Fingerprinter
from guardian.adapters.postgres.session import settle_session
from guardian.adapters.postgres.tables import list_tables
from guardian.backup.fingerprint import decode_fingerprint
from guardian.demo.stage import DATABASE, Stage
from guardian.errors import GuardianError
from guardian.model import ProofLevel

_RESTORED = "mina_restored"


def stock_restore_line(place: Stage) -> tuple[Path, str]:
    """The folder of the newest backup, and RESTORE.txt's line for a database of another name."""
    folder = max((place.root / "backups" / "main" / DATABASE).iterdir())
    notes = (folder / "RESTORE.txt").read_text(encoding="utf-8").splitlines()
    lines = [line.replace(" restored", f" {_RESTORED}") for line in notes]
    create = next(line for line in lines if line.startswith("createdb "))
    restore = next(
        line for line in lines if line.endswith(f"pg_restore --exit-on-error -d {_RESTORED}")
    )
    return folder, f"{create} &&\n  {restore}"


def run_shell(place: Stage, folder: Path, line: str) -> None:
    """Run a line of RESTORE.txt with stock tools.

    Raises:
        GuardianError: its exit code was not 0.
    """
    command = ["bash", "-o", "pipefail", "-c", line]
    status = subprocess.run(command, cwd=folder, env={**place.environ}, check=False).returncode
    if status != 0:
        raise GuardianError(f"the stock tools ended with exit code {status}")


def compare(place: Stage, folder: Path) -> tuple[int, int]:
    """Compare the restored database with the backup's fingerprint: (tables, rows).

    Raises:
        GuardianError: they differ; the message names the first table that does.
    """
    line = (
        "gpg --batch --quiet --decrypt --pinentry-mode loopback "
        '--passphrase-file "$PASSPHRASE_FILE" fingerprint.json.zst.gpg | zstd -dc'
    )
    document = subprocess.run(
        ["bash", "-o", "pipefail", "-c", line],
        cwd=folder,
        env={**place.environ},
        check=True,
        stdout=subprocess.PIPE,
    ).stdout
    expected = decode_fingerprint(document)
    connector = Connector("demo", place.server.dsn(_RESTORED))
    with connector.connect(_RESTORED, "demo") as connection:
        settle_session(connection, "UTF8")
        connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
        fingerprinter = Fingerprinter(connection, list_tables(connection), seed=expected.seed)
        found = fingerprinter.take(ProofLevel.CONTENT, lambda _: None)
    for one, other in zip(expected.tables, found.tables, strict=True):
        if one != other:
            raise GuardianError(f"table {one.schema}.{one.name} differs after the restore")
    if expected.objects != found.objects:
        raise GuardianError("the restored database has other objects")
    return len(found.tables), found.rows
