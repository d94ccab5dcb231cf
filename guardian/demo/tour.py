"""The tour: guardian's real commands on a PostgreSQL, a folder and an S3 server of its own."""

from __future__ import annotations

import os
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg

from guardian.adapters.postgres.connection import Connector
from guardian.adapters.postgres.fingerprinter import Fingerprinter
from guardian.adapters.postgres.session import settle_session
from guardian.adapters.postgres.tables import list_tables
from guardian.adapters.postgres.tools import choose_server
from guardian.adapters.scratch.cluster import PLAIN_SETTINGS
from guardian.adapters.scratch.embedded import EmbeddedServer
from guardian.adapters.scratch.folder import sweep_strays
from guardian.backup.fingerprint import decode_fingerprint
from guardian.demo.seed import seed
from guardian.errors import GuardianError
from guardian.model import ProofLevel

DATABASE = "mina"
_RESTORED = "mina_restored"
_ACCESS_KEY = "guardiandemoaccesskey"  # rclone wants at least 16 characters
_CONFIG = """\
# The configuration of guardian's demo. Try it:  guardian --config {path} backup list
state_dir: {root}/state
encryption:
  passphrase_file: {root}/passphrase
stores:
  local: {{kind: local, path: {root}/backups}}
{offsite}servers:
  main:
    dsn: "{dsn}"
    backup: {{schedule: "0 2 * * *"}}
    retention: {{keep_last: 2, keep_within: 0s, keep_daily: 0, keep_weekly: 0, keep_monthly: 0}}
"""
_OFFSITE = """\
  offsite: {{kind: s3, bucket: demo, prefix: pg, endpoint_url: "{url}",
            access_key_id: {key}, secret_access_key_file: {root}/s3-secret}}
"""

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Stage:
    """What the tour plays on."""

    root: Path
    config: Path
    server: EmbeddedServer
    environ: Mapping[str, str]


@contextmanager
def stage(say: Say, scale: float) -> Iterator[Stage]:
    """Set everything up; take it away when the block is left.

    Raises:
        GuardianError: a program is missing, or a server does not start.
    """
    for program, package in (("gpg", "gnupg"), ("zstd", "zstd")):
        if shutil.which(program) is None:
            raise GuardianError(f"{program} is not on this host", mend=f"apt-get install {package}")
    sweep_strays()
    with ExitStack() as stack:
        root = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="guardian-demo-")))
        installation = choose_server(15)
        say(f"Starting PostgreSQL {installation.version} and an S3 server, all of it throw-away")
        server = stack.enter_context(EmbeddedServer(installation.bindir, settings=PLAIN_SETTINGS))
        with psycopg.connect(server.dsn("postgres"), autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {DATABASE} TEMPLATE template0")
        summary = seed(server.dsn(DATABASE), scale=scale)
        say(
            f"Seeded {DATABASE}: {len(summary.rows_by_table)} tables, "
            f"{sum(summary.rows_by_table.values()):,} rows in {summary.seconds:.1f}s"
        )
        url = stack.enter_context(_s3_server(root))
        config = _write_config(root, server.dsn(DATABASE), url)
        environ = {**os.environ, "PATH": f"{server.bindir}{os.pathsep}{os.environ['PATH']}"}
        environ |= {
            "PGHOST": str(server.socket_dir),
            "PGPORT": str(server.port),
            "PGUSER": server.superuser,
            "PASSPHRASE_FILE": str(root / "passphrase"),
        }
        yield Stage(root, config, server, environ)


def run_guardian(place: Stage, *words: str) -> None:
    """Run guardian's own command line, as a person would.

    Raises:
        GuardianError: its exit code was not 0.
    """
    command = [sys.executable, "-m", "guardian", "--config", str(place.config), *words]
    status = subprocess.run(command, env={**place.environ}, check=False).returncode
    if status != 0:
        raise GuardianError(f"guardian {' '.join(words)} ended with exit code {status}")


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


def _write_config(root: Path, dsn: str, url: str | None) -> Path:
    offsite = _OFFSITE.format(url=url, key=_ACCESS_KEY, root=root) if url else ""
    path = root / "guardian.yaml"
    passphrase = root / "passphrase"
    passphrase.touch(0o600)
    passphrase.write_text(secrets.token_urlsafe(32) + "\n", encoding="utf-8")
    path.write_text(
        _CONFIG.format(path=path, root=root, dsn=dsn, offsite=offsite), encoding="utf-8"
    )
    return path


@contextmanager
def _s3_server(root: Path) -> Iterator[str | None]:
    """Rclone as an S3 server on loopback, where its wheel is installed."""
    program = shutil.which("rclone", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    if program is None:
        yield None
        return
    secret = secrets.token_hex(16)
    (root / "s3-secret").touch(0o600)
    (root / "s3-secret").write_text(secret, encoding="utf-8")
    (root / "bucket" / "demo").mkdir(parents=True)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    # The key goes through the environment, where other users cannot read it; it is read as CSV.
    environ = {**os.environ, "RCLONE_AUTH_KEY": f'"{_ACCESS_KEY},{secret}"'}
    process = subprocess.Popen(
        [program, "serve", "s3", "--addr", f"127.0.0.1:{port}", str(root / "bucket")],
        env={**environ, "RCLONE_CONFIG": "/dev/null"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        _await_port(port, process)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(10)


def _await_port(port: int, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline and process.poll() is None:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise GuardianError("the demo's S3 server did not start")
