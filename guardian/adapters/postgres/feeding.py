"""Loading rows faster than pg_restore can: its own script, fed to the server in big blocks.

``pg_restore --file=-`` gives the COPY text of the tables that a list names. Sending it in blocks of
a megabyte, instead of row by row, and in the transaction that emptied the table, so that a server
with ``wal_level = minimal`` writes no log, saves about a third of the time; and several streams
load several tables at once, which pg_restore can only do from a file.
"""

from __future__ import annotations

import os
import re
import select
from collections.abc import Callable, Container, Iterator, Sequence
from typing import IO, NoReturn

import psycopg
from psycopg import pq

from guardian.adapters.postgres.losing import error_of, words_of_loss
from guardian.adapters.postgres.pg_restore import server_failure
from guardian.errors import GuardianError, UnrestorableError
from guardian.restore.archive import TocEntry
from guardian.verify.names import qualified

_BLOCK = 1 << 20
_END = b"\n\\.\n"
_STATEMENT_END = b" FROM stdin;\n"
_LARGEST_STATEMENT = 4 << 20
_LINE = re.compile(r"\bline (\d+)")
_TABLE = re.compile(rb'COPY ((?:"(?:[^"]|"")*"|[^" ])+) ')
_RAISED = "P0001"
_ROOT_MARK = "-- load via partition root"


class ScriptEndedError(UnrestorableError):
    """pg_restore stopped printing before all rows came; it knows why."""


class Script:
    """The COPY blocks of a script as pg_restore prints it, in their order."""

    def __init__(self, output: IO[bytes]) -> None:
        self._descriptor = output.fileno()
        self._buffer = b"\n"

    def next_statement(self) -> bytes | None:
        """Go to the next COPY; its text, or None at the end of the script."""
        while (begin := self._buffer.find(b"\nCOPY ")) < 0:
            if not self._more(keep=len(b"\nCOPY ")):
                return None
        self._buffer = self._buffer[begin + 1 :]
        while (end := _statement_end(self._buffer)) < 0:
            if len(self._buffer) > _LARGEST_STATEMENT or not self._more(keep=len(self._buffer)):
                raise ScriptEndedError("pg_restore printed a COPY that does not end")
        # The newline before the rows stays, so that an end without any row is found like others.
        statement, self._buffer = self._buffer[:end], self._buffer[end - 1 :]
        return statement

    def rows(self) -> Iterator[bytes]:
        """The rows that follow, in blocks that end anywhere."""
        first = 1  # the newline of the statement is no row's
        keep = len(_END) - 1
        while (end := _find_end(self._buffer)) < 0:
            if len(self._buffer) > keep:
                if block := self._buffer[first:-keep]:
                    yield block
                first = 0
            if not self._more(keep=min(keep, len(self._buffer))):
                raise ScriptEndedError("the rows of a table end too early")
        if block := self._buffer[first : end + 1]:
            yield block
        self._buffer = self._buffer[end + keep :]

    def _more(self, keep: int) -> bool:
        block = os.read(self._descriptor, _BLOCK)
        self._buffer = (self._buffer[-keep:] if keep else b"") + block
        return bool(block)


def feed_tables(
    connection: psycopg.Connection,
    script: Script,
    entries: Sequence[TocEntry],
    loaded: Callable[[TocEntry], None],
    *,
    fresh: Container[tuple[str, str]] = (),
) -> None:
    """Load the tables that ``entries`` (TABLE DATA, in the order of the script) are the rows of.

    ``fresh`` are the tables (schema, name) that this restore made, and whose rows all come now:
    emptied in the transaction that fills them, they need no log. Others may hold rows already, such
    as those that an extension's own script put there.

    Raises:
        UnrestorableError, UnsuitableTargetError, DiskFullError, ConnectionFailedError.
    """
    for entry in entries:
        statement = script.next_statement()
        if statement is None:
            raise ScriptEndedError(f"the dump lacks the rows of {_name(entry)}")
        try:
            connection.execute(b"BEGIN")  # whatever fails ends the connection, and with it this
            is_fresh = (entry.namespace, entry.tag) in fresh
            if is_fresh and not entry.definition.startswith(_ROOT_MARK):
                connection.execute(b"TRUNCATE ONLY " + copied_table(statement))
                statement = frozen(statement)
            _copy(connection, statement, script.rows())
            connection.execute(b"COMMIT")
        except psycopg.Error as error:
            raise _failure(error, entry) from error
        loaded(entry)


def copied_table(statement: bytes) -> bytes:
    """The table that a COPY of pg_restore's fills, quoted and qualified as it stands there.

    Taken from its text, since a name may hold bytes that belong to no encoding we know.
    """
    table = _TABLE.match(statement)
    if table is None:
        raise ScriptEndedError("pg_restore printed a COPY of no table")
    return table[1]


def frozen(statement: bytes) -> bytes:
    """The COPY of a table that was emptied just now, its rows frozen from the start.

    Else whoever reads them first, be it a comparison, marks each as committed, and all pages are
    written once more.
    """
    return statement.removesuffix(b";\n") + b" WITH (FREEZE);\n"


def _statement_end(text: bytes) -> int:
    """Where a COPY and its line end, -1 when they do not yet; quoted names may hold anything."""
    end = -1
    while (end := text.find(_STATEMENT_END, end + 1)) >= 0:
        if text.count(b'"', 0, end) % 2 == 0:
            return end + len(_STATEMENT_END)
    return -1


def _find_end(rows: bytes) -> int:
    """Where a table's rows end, -1 when they do not yet.

    A single byte is looked for ten times as fast as several, and many tables have no backslash.
    """
    backslash = rows.find(b"\\")
    return -1 if backslash < 0 else rows.find(_END, max(0, backslash - 1))


def _copy(connection: psycopg.Connection, statement: bytes, rows: Iterator[bytes]) -> None:
    """Send one table.

    libpq is used directly: psycopg's own COPY lets the buffer grow without bound when the server is
    slower than we are. And it never blocks in libpq, whose binding keeps the interpreter's lock.
    """
    binding = connection.pgconn
    with connection.lock:
        binding.send_query(statement)
        result = _result(binding)
        if result is None or result.status != pq.ExecStatus.COPY_IN:
            _raise(binding, result)
        try:
            for block in rows:
                binding.put_copy_data(block)
                _flush(binding)
            binding.put_copy_end()
        except psycopg.Error:
            raise
        except BaseException:  # the rows broke off: the server must not take them for all
            binding.put_copy_end(b"the rows ended too early")
            _drain(binding)
            raise
        result = _result(binding)
        if result is None or result.status != pq.ExecStatus.COMMAND_OK:
            _raise(binding, result)
        _drain(binding)


def _flush(binding: pq.abc.PGconn) -> None:
    """Send all that is buffered. libpq does not tell of a refusal before all rows are sent."""
    socket = binding.socket
    while binding.flush():
        readable, _, _ = select.select([socket], [socket], [])
        if readable:
            binding.consume_input()


def _result(binding: pq.abc.PGconn) -> pq.abc.PGresult | None:
    """The next result, waited for with the interpreter's lock released."""
    _flush(binding)
    while binding.is_busy():
        select.select([binding.socket], [], [])
        binding.consume_input()
    return binding.get_result()


def _raise(binding: pq.abc.PGconn, result: pq.abc.PGresult | None) -> NoReturn:
    if result is None:
        raise psycopg.OperationalError("it closed the connection during COPY")
    error = error_of(result)
    _drain(binding)
    raise error


def _drain(binding: pq.abc.PGconn) -> None:
    while binding.status == pq.ConnStatus.OK and _result(binding) is not None:
        pass


def _failure(error: psycopg.Error, entry: TocEntry) -> GuardianError:
    """No DETAIL and no CONTEXT but the line: they quote rows."""
    said = error.diag.message_primary or str(error)
    line = _LINE.search(error.diag.context or "")
    about = f"rows of {_name(entry)}" + (f" (row {line[1]})" if line else "")
    state = error.sqlstate
    if state is None:  # libpq's own words, not the server's
        return server_failure(words_of_loss(said), about, whole=f"connection lost: {said}")
    if state == _RAISED:  # by the database's own code, with whatever it quotes
        return server_failure("a function of the database's own refused them", about)
    return server_failure(said, about)


def _name(entry: TocEntry) -> str:
    return qualified(entry.namespace, entry.tag)
