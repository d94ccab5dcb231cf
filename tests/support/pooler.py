"""PgBouncer before a test server, as people have it before theirs."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
from support.clients import until
from support.ports import free_port
from support.postgres import PostgresServer, Role


@contextmanager
def running_pooler(
    server: PostgresServer, role: Role, *, mode: str = "transaction", ignore: str = ""
) -> Iterator[int]:
    """Yields its port. ``ignore`` names startup parameters that it swallows, others it refuses."""
    port = free_port()
    folder = server.embedded.path / f"pooler-{port}"
    folder.mkdir()
    users, config = folder / "users.txt", folder / "pgbouncer.ini"
    users.write_text(f'"{role.name}" "{role.password}"\n')
    config.write_text(
        f"[databases]\n* = host={server.socket_dir} port={server.port}\n"
        f"[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\n"
        f"auth_type = plain\nauth_file = {users}\npool_mode = {mode}\n"
        f"default_pool_size = 6\nignore_startup_parameters = {ignore}\n"
    )
    for path in (folder, users, config):
        server.embedded.runner.own(path)
    program = shutil.which("pgbouncer")
    assert program is not None
    with (folder / "pgbouncer.log").open("wb") as log:
        process = subprocess.Popen(
            [program, config], stdout=log, stderr=log, env=dict(os.environ),
            **server.embedded.runner.identity,
        )  # fmt: skip
    try:
        dsn = server.dsn(role=role, tcp=True, port=port)
        until(lambda: _answers(dsn))
        yield port
    finally:
        process.terminate()
        process.wait()


def _answers(dsn: str) -> bool:
    try:
        psycopg.connect(dsn).close()
    except psycopg.OperationalError:
        return False
    return True
