"""A streaming standby of a test server."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
from support.clients import until
from support.ports import free_port
from support.postgres import PostgresServer


@contextmanager
def standby_of(primary: PostgresServer) -> Iterator[str]:
    """A streaming standby; gives its connection string."""
    embedded = primary.embedded
    port = free_port()
    data = embedded.path / f"standby-{port}"
    data.mkdir(mode=0o700)
    embedded.runner.own(data)
    base: list[str | Path] = [primary.tool("pg_basebackup"), "-D", data, "-d", primary.dsn()]
    copied = embedded.runner.run([*base, "-R", "-X", "stream", "-c", "fast"], 120)
    assert copied.returncode == 0, copied.stderr
    log = data.with_suffix(".log").open("wb")
    process = embedded.runner.popen(
        [
            *(str(primary.tool("postgres")), "-D", str(data), "-p", str(port)),
            *("-c", "listen_addresses=", "-c", f"unix_socket_directories={embedded.socket_dir}"),
            *("-c", "cluster_name=second"),
        ],
        output=log,
    )
    dsn = primary.dsn(port=port)
    try:
        until(lambda: _answers(dsn))
        yield dsn
    finally:
        process.send_signal(signal.SIGINT)  # at once, whoever is still connected
        process.wait(60)
        log.close()


def _answers(dsn: str) -> bool:
    try:
        psycopg.connect(dsn).close()
    except psycopg.OperationalError:
        return False
    return True
