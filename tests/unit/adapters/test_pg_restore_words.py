"""What pg_restore's words mean: whose fault it is, and no word of anybody's rows."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardian.adapters.postgres import feeding
from guardian.adapters.postgres.pg_restore import restore_failure, server_failure, without_values
from guardian.errors import (
    ConnectionFailedError,
    DiskFullError,
    GuardianError,
    UnrestorableError,
    UnsuitableTargetError,
)
from guardian.restore.archive import Section, TocEntry

TABLE = (
    "pg_restore: while PROCESSING TOC:\npg_restore: from TOC entry 215; 1259 16385 TABLE t mina\n"
)


def entry(name: str = "users") -> TocEntry:
    return TocEntry(
        1, name, "TABLE DATA", Section.DATA, "public", "mina", "", "", (), has_data=True
    )


@pytest.mark.parametrize(
    ("words", "kind", "message"),
    [
        (
            TABLE + 'pg_restore: error: could not execute query: ERROR:  type "x" does not exist\n'
            "LINE 2:     a x\n            ^\nCommand was: CREATE TABLE public.t (a x);\n",
            UnrestorableError,
            'pg_restore reported an error: TABLE t: type "x" does not exist',
        ),
        (
            'pg_restore: error: could not execute query: ERROR:  role "zoo" does not exist\n',
            UnsuitableTargetError,
            'the server to restore to cannot take this backup: role "zoo" does not exist',
        ),
        (
            TABLE + "pg_restore: error: could not execute query: server closed the connection "
            "unexpectedly\n\tThis probably means the server terminated abnormally\n"
            "\tbefore or while processing the request.\nCommand was: CREATE TABLE t (a int);\n",
            ConnectionFailedError,
            (
                "the server to restore to went away: TABLE t: could not execute query: server "
                "closed the connection unexpectedly"
            ),
        ),
        (
            (
                'pg_restore: error: connection to server on socket "/s/.s.PGSQL.5432" failed: '
                "FATAL:  sorry, too many clients already\n"
            ),
            ConnectionFailedError,
            "the server to restore to went away: sorry, too many clients already",
        ),
        (
            TABLE + "pg_restore: error: could not execute query: FATAL:  terminating connection due"
            " to administrator command\nserver closed the connection unexpectedly\n",
            ConnectionFailedError,
            (
                "the server to restore to went away: TABLE t: terminating connection due to "
                "administrator command"
            ),
        ),
        (
            (
                "pg_restore: error: could not execute query: ERROR:  could not extend file "
                '"base/1/2": No space left on device\nHINT:  Check free disk space.\n'
            ),
            DiskFullError,
            (
                'the server to restore to has no room left: could not extend file "base/1/2": No '
                "space left on device"
            ),
        ),
        (
            "pg_restore: warning: something else\n" + TABLE + "pg_restore: error: could not execute"
            " query: ERROR:  out of shared memory\nHINT:  You might need to increase"
            " max_locks_per_transaction.\n",
            UnsuitableTargetError,
            "the server to restore to cannot take this backup: TABLE t: out of shared memory",
        ),
        (
            "pg_restore: error: could not read from input file: end of file\n",
            UnrestorableError,
            "pg_restore reported an error: could not read from input file: end of file",
        ),
        (
            "pg_restore: error: unsupported version (1.17) in file header\n",
            UnsuitableTargetError,
            (
                "the server to restore to cannot take this backup: unsupported version (1.17) in "
                "file header"
            ),
        ),
        (  # the first error counts, and what is named before it
            (
                f"pg_restore: warning: fatal error: no\npg_restore: error: one\n{TABLE}"
                "pg_restore: error: two\n"
            ),
            UnrestorableError,
            "pg_restore reported an error: one",
        ),
        (
            "pg_restore: error: a\x1b[2Jb\x00\n",
            UnrestorableError,
            r"pg_restore reported an error: a\x1b[2Jb\x00",
        ),
        ("", UnrestorableError, "pg_restore reported an error: it said nothing"),
        ("\n \n", UnrestorableError, "pg_restore reported an error: it said nothing"),
        (
            "Segmentation fault\n",
            UnrestorableError,
            "pg_restore reported an error: Segmentation fault",
        ),
    ],
)
def test_words_and_what_they_mean(words: str, kind: type[GuardianError], message: str) -> None:
    error = restore_failure(words)
    assert type(error) is kind
    assert error.message == message


@pytest.mark.parametrize(
    "said",
    [
        'extension "postgis" is not available',
        'could not open extension control file "/usr/share/x.control": No such file or directory',
        'could not access file "$libdir/postgis-3": No such file or directory',
        'could not load library "/usr/lib/x.so": undefined symbol: y',
        'collation "de-x-icu" for encoding "UTF8" does not exist',
        "ICU is not supported in this build",
        'could not create locale "de_DE.utf8": No such file or directory',
        'permission denied to create event trigger "x"',
        "must be owner of table t",
        'must be able to SET ROLE "other"',
        'unrecognized configuration parameter "transaction_timeout"',
        "out of memory",
        "deadlock detected",
        "canceling statement due to lock timeout",
        "canceling statement due to user request",
        'could not resize shared memory segment "/PostgreSQL.1" to 8 bytes: No space left',
    ],
)
def test_what_the_server_lacks_is_not_the_backups_fault(said: str) -> None:
    assert isinstance(server_failure(said, None), UnsuitableTargetError)


@pytest.mark.parametrize(
    "said",
    [
        "the database system is shutting down",
        "the database system is in recovery mode",
        "could not send data to server: Broken pipe",
        "SSL connection has been closed unexpectedly",
        "SSL SYSCALL error: EOF detected",
        "no connection to the server",
        "the connection is lost",
        "the connection is closed",
        "terminating connection because of crash of another server process",
    ],
)
def test_a_server_that_goes_away_is_not_the_backups_fault(said: str) -> None:
    assert isinstance(server_failure(said, None), ConnectionFailedError)


@pytest.mark.parametrize(
    "said",
    [
        'relation "t" does not exist',
        'could not create unique index "t_pkey"',
        'insert or update on table "a" violates foreign key constraint "b"',
        'schema "x" does not exist',
        "syntax error at or near",
        'new row for relation "t" violates check constraint "c"',
        "missing data for column",
    ],
)
def test_what_the_server_finds_wrong_is(said: str) -> None:
    assert isinstance(server_failure(said, None), UnrestorableError)


SECRET = "4111-1111-1111-1111"

QUOTING = [
    'invalid input syntax for type integer: "{}"',
    'invalid input value for enum color: "{}"',
    'date/time field value out of range: "{}"',
    'value "{}" is out of range for type integer',
    '"{}" is out of range for type double precision',
    'malformed array literal: "{}"',
    '"{}" is not a valid binary digit',
    'syntax error in tsvector: "{}"',
]


@pytest.mark.parametrize("said", QUOTING)
@pytest.mark.parametrize("value", [SECRET, f'a"{SECRET}', f"a\n{SECRET}", f'x": "{SECRET}'])
def test_no_value_of_a_row_is_told(said: str, value: str) -> None:
    text = said.format(value)
    assert SECRET not in server_failure(text, "rows of public.t").message
    words = f'{TABLE}pg_restore: error: COPY failed for table "t": ERROR:  {text}\n'
    words += f'CONTEXT:  COPY t, line 1, column a: "{SECRET}"\nDETAIL:  Failing row ({SECRET}).\n'
    words += f"Command was: INSERT INTO t VALUES ({SECRET})\n"
    assert SECRET not in str(restore_failure(words))


def test_no_bytes_of_a_row_are_told() -> None:
    for said in (
        'invalid byte sequence for encoding "UTF8": 0xe9 0x20 0x41',
        'character with byte sequence 0xe9 0x41 in encoding "LATIN1" has no equivalent',
    ):
        told = server_failure(said, "rows of public.t").message
        assert "0x" not in told
        assert "encoding" in told


def test_names_of_objects_are_told() -> None:
    for said in ('relation "public.users" does not exist', 'column "a" of relation "t" is missing'):
        assert without_values(said) == said
    assert without_values('invalid input syntax for type json: "x"').endswith("type json: …")


class _Said(psycopg.errors.DataError):
    """A server's error, without a server."""

    def __init__(self, state: str, primary: str, context: str = "") -> None:
        self.sqlstate = state
        self._fields = SimpleNamespace(message_primary=primary, context=context)
        super().__init__(primary)

    @property
    def diag(self) -> Any:
        return self._fields


def test_a_row_that_is_refused_is_told_by_its_number_alone() -> None:
    said = _Said(
        "22P02",
        f'invalid input syntax for type inet: "{SECRET}"',
        f'COPY users, line 7, column a: "{SECRET}"',
    )
    error = feeding._failure(said, entry())
    assert isinstance(error, UnrestorableError)
    assert error.message == (
        "pg_restore reported an error: rows of public.users (row 7): invalid input syntax for type "
        "inet: …"
    )


def test_what_the_databases_own_code_says_of_a_row_is_not_told() -> None:
    said = _Said("P0001", f"{SECRET} is no good card", "PL/pgSQL function f() line 3 at RAISE")
    error = feeding._failure(said, entry())
    assert SECRET not in error.message
    assert "own" in error.message


@pytest.mark.parametrize("text", ["whatever libpq says", "consuming input failed: it says so"])
def test_libpqs_own_words_tell_of_a_connection_that_is_lost(text: str) -> None:
    error = feeding._failure(psycopg.OperationalError(text), entry())
    assert isinstance(error, ConnectionFailedError)
    said = text.removeprefix("consuming input failed: ")
    assert error.message == f"the server to restore to went away: rows of public.users: {said}"


@given(words=st.text(), about=st.none() | st.text())
def test_any_words_make_one_line_that_can_be_written_down(words: str, about: str | None) -> None:
    for error in (restore_failure(words), server_failure(words, about)):
        assert str(error).isprintable() or "\u2028" not in str(error)
        assert "\n" not in str(error)
        str(error).encode()


def test_a_name_in_bytes_of_no_encoding_can_be_written_down() -> None:
    error = feeding._failure(
        _Said("22P02", "bad"), entry(b"caf\xe9".decode("utf-8", "surrogateescape"))
    )
    error.message.encode()
    assert r"caf\udce9" in error.message
