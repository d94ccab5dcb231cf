"""Reading rows as COPY text and hashing them, at the speed of libpq.

psycopg's ``cursor.copy()`` builds a Python object and runs Python code for each row; taking the
rows from libpq's own binding and summing in C is 1.7 times as fast (7.5 million rows in 4.1 s
against 7.0 s, server on the same two cores).
"""

from __future__ import annotations

from functools import partial
from operator import itemgetter

import psycopg
from psycopg import pq, sql

from guardian.adapters.postgres.losing import error_of
from guardian.backup.fingerprint import sum_rows

_END = (-1, b"")


def copy_sum(connection: psycopg.Connection, statement: sql.Composed, seed: int) -> tuple[int, int]:
    """Run a ``COPY … TO STDOUT``; return (rows, sum of the rows' hashes).

    Blocks this thread until the end; another thread may cancel through the connection.

    Raises:
        psycopg.Error: as any statement.
    """
    binding = connection.pgconn
    with connection.lock:
        binding.send_query(statement.as_bytes(connection))
        _expect(connection, pq.ExecStatus.COPY_OUT)
        # get_copy_data(0) returns (length, row) and at the end (-1, b""); -2 raises.
        rows = map(itemgetter(1), iter(partial(binding.get_copy_data, 0), _END))
        total = sum_rows(rows, seed)
        count = _expect(connection, pq.ExecStatus.COMMAND_OK)
        while binding.get_result() is not None:
            pass
    return count, total


def _expect(connection: psycopg.Connection, status: pq.ExecStatus) -> int:
    """Take one result; raise the server's error unless it has this status."""
    binding = connection.pgconn
    result = binding.get_result()
    if result is None:
        raise psycopg.OperationalError("the server went away during COPY")
    if result.status != status:
        while binding.get_result() is not None:
            pass
        raise error_of(result)
    return result.command_tuples or 0
