"""What the tour plays on: a PostgreSQL, a folder and an S3 server of its own, a configuration."""

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

from guardian.adapters.postgres.tools import choose_server
from guardian.adapters.scratch.cluster import PLAIN_SETTINGS
from guardian.adapters.scratch.embedded import EmbeddedServer
from guardian.adapters.scratch.folder import sweep_strays
from guardian.demo.phones import Phones, Ring
from guardian.demo.seed import seed
from guardian.errors import GuardianError

DATABASE = "mina"
APPLICATION_ROLE = "mina_web"
PEOPLE = ("on-call", "lead", "cto")
_ACCESS_KEY = "guardiandemoaccesskey"  # rclone wants at least 16 characters
_CONFIG = """\
# The configuration of guardian's demo, everything in seconds where one would write minutes.
# Try it:  guardian --config {path} backup list
state_dir: {root}/state
encryption:
  passphrase_file: {root}/passphrase
stores:
  local: {{kind: local, path: {root}/backups}}
{offsite}servers:
  main:
    dsn: "{dsn}"
    backup: {{schedule: "0 2 * * *"}}
    verify: {{schedule: null}}
    retention: {{keep_last: 2, keep_within: 0s, keep_daily: 0, keep_weekly: 0, keep_monthly: 0}}
    watch:
      interval: 1s
      mode: enforce
      policies:
        - name: lock roots
          match: {{blocking: 2, blocking_for: 3s}}
          action: terminate
        - name: forgotten transactions
          match: {{state: idle in transaction, for: 4s}}
          action: terminate
    outage: {{interval: 1s, timeout: 2s, failures: 2, successes: 2, page_after: 1h}}
escalation:
  channels:
{channels}
  people:
{people}
  ladder:
    P0: {{0s: [on-call], 4s: [lead], 8s: [cto]}}
    P1: {{0s: [on-call], 4s: [lead], 8s: [cto]}}
    P2: digest
    P3: digest
  startup_settle: 1s
  recovery: {{server.down: 0s}}
service:
  listen: 127.0.0.1:{port}
  log: {{level: warning}}
"""
_OFFSITE = """\
  offsite: {{kind: s3, bucket: demo, prefix: pg, endpoint_url: "{url}",
            access_key_id: {key}, secret_access_key_file: {root}/s3-secret}}
"""

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Stage:
    """What the tour plays on. ``port`` is the dashboard's; ``phones`` are the people's."""

    root: Path
    config: Path
    server: EmbeddedServer
    environ: Mapping[str, str]
    port: int
    phones: Phones

    @property
    def dashboard(self) -> str:
        """Where the dashboard is, while the daemon runs."""
        return f"http://127.0.0.1:{self.port}"

    def command(self, *words: str) -> list[str]:
        """One of guardian's commands as its own process."""
        return [sys.executable, "-m", "guardian", "--config", str(self.config), *words]

    def run_guardian(self, *words: str) -> None:
        """Run guardian's own command line, as a person would.

        Raises:
            GuardianError: its exit code was not 0.
        """
        status = subprocess.run(self.command(*words), env={**self.environ}, check=False).returncode
        if status != 0:
            raise GuardianError(f"guardian {' '.join(words)} ended with exit code {status}")


@contextmanager
def stage(say: Say, on_ring: Callable[[Ring], None], scale: float) -> Iterator[Stage]:
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
        _seed(server, say, scale)
        url = stack.enter_context(_s3_server(root))
        phones = stack.enter_context(Phones(PEOPLE, on_ring))
        port = _free_port()
        config = _write_config(root, server.dsn(DATABASE), url, phones, port)
        environ = {**os.environ, "PATH": f"{server.bindir}{os.pathsep}{os.environ['PATH']}"}
        environ |= {
            "PGHOST": str(server.socket_dir),
            "PGPORT": str(server.port),
            "PGUSER": server.superuser,
            "PASSPHRASE_FILE": str(root / "passphrase"),
        }
        yield Stage(root, config, server, environ, port, phones)


def _seed(server: EmbeddedServer, say: Say, scale: float) -> None:
    with psycopg.connect(server.dsn("postgres"), autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {DATABASE} TEMPLATE template0")
    summary = seed(server.dsn(DATABASE), scale=scale)
    with psycopg.connect(server.dsn(DATABASE), autocommit=True) as connection:
        connection.execute(f"CREATE ROLE {APPLICATION_ROLE} LOGIN")
        connection.execute(f"GRANT mina_app TO {APPLICATION_ROLE}")
    say(
        f"Seeded {DATABASE}: {len(summary.rows_by_table)} tables, "
        f"{sum(summary.rows_by_table.values()):,} rows in {summary.seconds:.1f}s"
    )


def _write_config(root: Path, dsn: str, url: str | None, phones: Phones, port: int) -> Path:
    offsite = _OFFSITE.format(url=url, key=_ACCESS_KEY, root=root) if url else ""
    path = root / "guardian.yaml"
    passphrase = root / "passphrase"
    passphrase.touch(0o600)
    passphrase.write_text(secrets.token_urlsafe(32) + "\n", encoding="utf-8")
    channels = [
        f'    {name}-phone: {{kind: webhook, url: "{phones.address(name)}"}}' for name in PEOPLE
    ]
    text = _CONFIG.format(
        path=path,
        root=root,
        dsn=dsn,
        offsite=offsite,
        channels="\n".join(channels),
        people="\n".join(f"    {name}: [{name}-phone]" for name in PEOPLE),
        port=port,
    )
    path.write_text(text, encoding="utf-8")
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
    port = _free_port()
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


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _await_port(port: int, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline and process.poll() is None:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise GuardianError("the demo's S3 server did not start")
