"""Reading big tables in a process of its own, beside the one that compresses and encrypts.

Hashing rows keeps Python's interpreter lock for as long as rows come, and would starve the dump:
on 1.5 GB and two cores, fingerprint and dump took 8.9 s in one process and 7.3 s in two.

The process has its own connection in the same snapshot. It takes its table locks with NOWAIT:
should DDL have queued up behind the locks of our snapshot, waiting would never end, since the DDL
waits for us; then the caller reads on the connection that holds the locks.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from multiprocessing.connection import Connection, Pipe
from typing import Any

import psycopg
from psycopg import sql

from guardian.adapters.postgres.connection import Connector
from guardian.adapters.postgres.reader import TableReader
from guardian.adapters.postgres.session import lock_tables, settle_session
from guardian.adapters.postgres.tables import Table
from guardian.errors import ConnectionFailedError, GuardianError
from guardian.garbage import collect_less
from guardian.model import ProofLevel, TableFingerprint

WORTH_A_PROCESS = 64 << 20
"""From so many bytes of tables on they are read in a process of its own (its start takes 0.2 s)."""
_POLL_SECONDS = 0.1


@dataclass(frozen=True, slots=True)
class ReadingTask:
    """What the process is to read. Sent through a pipe, since the connector knows the password."""

    connector: Connector
    database: str
    encoding: str
    snapshot: str
    locked: Sequence[Table]
    tables: Sequence[Table]
    level: ProofLevel
    seed: int
    content_limit: timedelta | None


class ReadingProcess:
    """The near end: starts the process, hears of its progress, takes the result."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._near: Connection | None = None

    def start(self) -> None:
        """Start it, if that was not done; until it is given a task, it gets ready.

        Raises:
            ConnectionFailedError: no process can be had.
        """
        if self._process is not None:
            return
        try:
            self._near, far = Pipe()
        except OSError as error:
            raise ConnectionFailedError(
                f"no process can be started to read tables: {error.strerror}"
            ) from error
        with far:
            self._process = _start(far)

    def run(
        self, task: ReadingTask, advance: Callable[[int], None]
    ) -> tuple[list[TableFingerprint], bool] | None:
        """Read all: (tables, whether the content limit was reached); None when locked out.

        Raises:
            GuardianError: what went wrong over there.
        """
        self.start()
        assert self._near is not None
        try:
            self._near.send(task)
            return self._listen(self._near, advance)
        except (EOFError, OSError) as error:
            raise ConnectionFailedError(
                f"the process that reads tables of {task.database!r} died"
            ) from error
        finally:
            self.close()

    def close(self) -> None:
        """End it, if it still is there, and see that it is gone."""
        self._kill()
        if self._process is not None:
            self._process.wait()
        if self._near is not None:
            self._near.close()

    def cancel(self) -> None:
        """End it, from another thread. Its server session ends with its connection."""
        self._kill()

    def _kill(self) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.kill()

    def _listen(
        self, near: Connection, advance: Callable[[int], None]
    ) -> tuple[list[TableFingerprint], bool] | None:
        while True:
            kind, value = near.recv()
            if kind == "advance":
                advance(value)
            elif kind == "error":
                raise value
            else:
                return value  # type: ignore[no-any-return]


def _start(far: Connection) -> subprocess.Popen[bytes]:
    try:
        return subprocess.Popen(
            [sys.executable, "-m", __name__, str(far.fileno())],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            pass_fds=(far.fileno(),),
            start_new_session=True,
        )
    except OSError as error:
        raise ConnectionFailedError(
            f"no process can be started to read tables: {error.strerror}"
        ) from error


@contextmanager
def readers_begun(count: int) -> Iterator[list[ReadingProcess]]:
    """So many processes, or as many as this host can give, that get ready meanwhile."""
    begun: list[ReadingProcess] = []
    try:
        with suppress(ConnectionFailedError):
            for _ in range(count):
                begun.append(ReadingProcess())
                begun[-1].start()
        yield begun
    finally:
        close_all(begun)


def close_all(processes: Iterable[ReadingProcess]) -> None:
    """End those that still run."""
    for process in processes:
        process.close()


def share_by_size(tables: Sequence[Table], count: int) -> list[list[Table]]:
    """The tables in at most so many shares of about the same size; none is empty."""
    shares: list[list[Table]] = [[] for _ in range(max(1, min(count, len(tables))))]
    sizes = [0] * len(shares)
    for table in sorted(tables, key=lambda one: -one.bytes):
        smallest = sizes.index(min(sizes))
        shares[smallest].append(table)
        sizes[smallest] += table.bytes + 8192
    return shares


def run_together(
    work: Sequence[tuple[ReadingProcess, ReadingTask]], advance: Callable[[int], None]
) -> list[tuple[list[TableFingerprint], bool]] | None:
    """Run several at once: what each has read, None when any was locked out.

    Raises:
        GuardianError: what went wrong in the first that failed; the others are ended.
    """
    if len(work) == 1:
        alone = work[0][0].run(work[0][1], advance)
        return None if alone is None else [alone]
    with ThreadPoolExecutor(len(work)) as pool:
        futures = [pool.submit(process.run, task, advance) for process, task in work]
        try:
            while wait(futures, _POLL_SECONDS, FIRST_EXCEPTION).not_done:
                if any(future.done() and future.exception() for future in futures):
                    break
        finally:
            if not all(future.done() and not future.exception() for future in futures):
                for process, _ in work:
                    process.cancel()
        failed = [error for future in futures if (error := future.exception()) is not None]
        if failed:
            raise failed[0]
        found = [future.result() for future in futures]
    return None if any(one is None for one in found) else [one for one in found if one is not None]


def main() -> None:
    """The far end."""
    collect_less()
    # A terminal's Ctrl-C is the parent's to answer; its death closes the pipe, which ends us.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with Connection(int(sys.argv[1])) as far:
        try:
            task: ReadingTask = far.recv()
        except EOFError:  # nobody needs us after all
            return
        threading.Thread(target=_die_with_parent, args=(far,), daemon=True).start()
        try:
            far.send(("result", _read(task, lambda size: far.send(("advance", size)))))
        except psycopg.Error as error:
            far.send(("error", task.connector.translate(error, task.database)))
        except GuardianError as error:
            far.send(("error", error))


def _read(
    task: ReadingTask, advance: Callable[[int], None]
) -> tuple[list[TableFingerprint], bool] | None:
    with task.connector.connect(task.database, "fingerprint") as connection:
        settle_session(connection, task.encoding)
        connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
        connection.execute(
            sql.SQL("SET TRANSACTION SNAPSHOT {}").format(sql.Literal(task.snapshot))
        )
        try:
            lock_tables(connection, task.locked, nowait=True)
        except psycopg.errors.LockNotAvailable:
            return None
        reader = TableReader(connection, task.seed, task.content_limit)
        return reader.read(task.tables, task.level, advance), reader.late


def _die_with_parent(far: Any) -> None:
    """The parent never sends a second message: what comes is the end of the pipe."""
    try:
        far.poll(None)
    finally:
        os._exit(1)


if __name__ == "__main__":
    main()
