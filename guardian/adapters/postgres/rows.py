"""Reading rows as COPY text and hashing them, at the speed of libpq.

psycopg's ``cursor.copy()`` builds a Python object and runs Python code for each row; taking the
rows from libpq's own binding and summing in C is 1.7 times as fast (7.5 million rows in 4.1 s
against 7.0 s, server on the same two cores).

The binding's calls hold the interpreter's lock, so none of them may wait for the network: a server
that says nothing would stop every thread, those that renew leases and watch deadlines, too. Waiting
is done on the socket, between the calls.
"""

from __future__ import annotations

import select
from functools import partial
from itertools import takewhile
from operator import itemgetter

import psycopg
from psycopg import pq, sql

from guardian.adapters.postgres.losing import error_of
from guardian.backup.fingerprint import sum_rows

_DATA = itemgetter(1)


def copy_sum(connection: psycopg.Connection, statement: sql.Composed, seed: int) -> tuple[int, int]:
    """Run a ``COPY … TO STDOUT``; return (rows, sum of the rows' hashes).

    Blocks this thread, and no other, until the end; another one may cancel through the connection.

    Raises:
        psycopg.Error: as any statement.
    """
    binding = connection.pgconn
    with connection.lock:
        binding.send_query(statement.as_bytes(connection))
        while binding.flush():
            _wait(binding, select.POLLOUT)
        _require(binding, _next_result(binding), pq.ExecStatus.COPY_OUT)
        total, result = _sum(binding, seed)
        _require(binding, result, pq.ExecStatus.COMMAND_OK)
        _see_the_end(binding)
    assert result is not None
    return result.command_tuples or 0, total


def _sum(binding: pq.abc.PGconn, seed: int) -> tuple[int, pq.abc.PGresult | None]:
    """The sum over all rows, and the result behind them."""
    total = 0
    while True:
        # (length, row); no row is empty. (0, b"") when none is at hand, (-1, b"") at the end.
        at_hand = iter(partial(binding.get_copy_data, 1), None)
        total += sum_rows(takewhile(bool, map(_DATA, at_hand)), seed)
        # During COPY libpq gives a result that says so again, without waiting.
        result = _next_result(binding)
        if result is None or result.status != pq.ExecStatus.COPY_OUT:
            return total, result
        _wait(binding, select.POLLIN)
        binding.consume_input()


def _next_result(binding: pq.abc.PGconn) -> pq.abc.PGresult | None:
    """The next result, None when there is none any more."""
    while binding.is_busy():
        _wait(binding, select.POLLIN)
        binding.consume_input()
    return binding.get_result()


def _see_the_end(binding: pq.abc.PGconn) -> None:
    while _next_result(binding) is not None:
        pass


def _require(binding: pq.abc.PGconn, result: pq.abc.PGresult | None, status: pq.ExecStatus) -> None:
    """Raise the server's error unless the result has this status."""
    if result is None:
        raise psycopg.OperationalError("the server went away during COPY")
    if result.status != status:
        _see_the_end(binding)
        raise error_of(result)


def _wait(binding: pq.abc.PGconn, events: int) -> None:
    """Wait until the socket is ready, with the interpreter's lock let go."""
    waiting = select.poll()
    waiting.register(binding.socket, events)
    waiting.poll()
