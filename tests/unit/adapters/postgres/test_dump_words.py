"""What pg_dump 15 really printed, provoked by hand, and what we make of it."""

from __future__ import annotations

import pytest

from guardian.adapters.postgres.dump import tool_failure
from guardian.errors import (
    ConnectionFailedError,
    DumpError,
    GuardianError,
    LockedError,
    PermissionDeniedError,
    VersionMismatchError,
)

SOCKET = 'connection to server on socket "/run/.s.PGSQL.5432" failed: '
CASES: list[tuple[str, type[GuardianError], bool, str]] = [
    (
        (
            "error: query failed: ERROR:  permission denied for schema priv\n"
            "pg_dump: detail: Query was: LOCK TABLE priv.t IN ACCESS SHARE MODE\n"
        ),
        *(PermissionDeniedError, False, "GRANT USAGE ON SCHEMA priv to"),
    ),
    (
        (
            "error: query failed: ERROR:  permission denied for table t\n"
            "pg_dump: detail: Query was: LOCK TABLE public.t IN ACCESS SHARE MODE\n"
        ),
        *(PermissionDeniedError, False, "GRANT SELECT ON TABLE t to"),
    ),
    (
        (
            "error: query failed: ERROR:  permission denied for table My T\n"
            'pg_dump: detail: Query was: LOCK TABLE public."My T" IN ACCESS SHARE MODE\n'
        ),
        *(PermissionDeniedError, False, 'GRANT SELECT ON TABLE "My T" to'),
    ),
    (
        "error: query failed: ERROR:  permission denied for materialized view mv\n",
        *(PermissionDeniedError, False, "GRANT SELECT ON TABLE mv to"),
    ),
    (
        (
            "error: query failed: ERROR:  permission denied for sequence sq\n"
            "pg_dump: detail: Query was: SELECT last_value, is_called FROM public.sq\n"
        ),
        *(PermissionDeniedError, False, "GRANT SELECT ON SEQUENCE sq to"),
    ),
    (
        (
            "error: could not open large object 4711: "
            "ERROR:  permission denied for large object 4711\n"
        ),
        *(PermissionDeniedError, False, "GRANT SELECT ON LARGE OBJECT 4711 to the backup's role"),
    ),
    (
        (
            f'error: {SOCKET}FATAL:  permission denied for database "d"\n'
            "DETAIL:  User does not have CONNECT privilege.\n"
        ),
        *(PermissionDeniedError, False, "GRANT CONNECT ON DATABASE"),
    ),
    (
        (
            "error: query failed: ERROR:  query would be affected by row-level security policy "
            'for table "rls"\npg_dump: detail: Query was: COPY public.rls (a) TO stdout;\n'
        ),
        *(PermissionDeniedError, False, "rows of table rls from us; ALTER ROLE … BYPASSRLS"),
    ),
    (
        (
            "error: aborting because of server version mismatch\n"
            "pg_dump: detail: server version: 16.14; pg_dump version: 15.18 (Debian 15.18-0)\n"
        ),
        *(VersionMismatchError, False, "server version: 16.14; pg_dump version: 15.18"),
    ),
    (
        (
            "error: query failed: ERROR:  canceling statement due to statement timeout\n"
            "pg_dump: detail: Query was: LOCK TABLE public.t IN ACCESS SHARE MODE\n"
        ),
        *(LockedError, True, "lock"),
    ),
    (
        (
            "error: query failed: ERROR:  canceling statement due to statement timeout\n"
            "pg_dump: detail: Query was: COPY public.t (a) TO stdout;\n"
        ),
        *(DumpError, False, "statement timeout"),
    ),
    (
        f'error: {SOCKET}FATAL:  role "nolog" is not permitted to log in\n',
        *(ConnectionFailedError, False, "not permitted"),
    ),
    (
        (
            'error: connection to server at "127.0.0.1", port 5432 failed: '
            'FATAL:  password authentication failed for user "low"\n'
        ),
        *(ConnectionFailedError, False, "password authentication"),
    ),
    (
        f'error: {SOCKET}FATAL:  database "nix" does not exist\n',
        *(ConnectionFailedError, False, "nix"),
    ),
    (
        (
            f"error: {SOCKET}No such file or directory\n\tIs the server running locally and "
            "accepting connections on that socket?\n"
        ),
        *(ConnectionFailedError, True, "No such file"),
    ),
    (
        (
            'error: Dumping the contents of table "t" failed: PQgetResult() failed.\n'
            "pg_dump: detail: Error message from server: FATAL:  terminating connection due to "
            "administrator command\nserver closed the connection unexpectedly\n"
        ),
        *(ConnectionFailedError, True, "lost the server"),
    ),
    ("error: no matching tables were found\n", DumpError, False, "no matching tables"),
    (
        (
            'error: query failed: ERROR:  invalid snapshot identifier: "nix"\n'
            "pg_dump: detail: Query was: SET TRANSACTION SNAPSHOT 'nix'\n"
        ),
        *(DumpError, False, "invalid snapshot"),
    ),
    (
        (
            "error: query failed: ERROR:  out of shared memory\n"
            "HINT:  You might need to increase max_locks_per_transaction.\n"
        ),
        *(DumpError, False, "lock table is full"),
    ),
    ("error: query failed: ERROR:  cache lookup failed for relation 7\n", DumpError, True, "7"),
    ("", DumpError, False, "it said nothing"),
    ("\n \n", DumpError, False, "it said nothing"),
    ("killed by SIGKILL", DumpError, False, "SIGKILL"),
]


@pytest.mark.parametrize(("words", "kind", "transient", "told"), CASES)
def test_real_words(words: str, kind: type[GuardianError], transient: bool, told: str) -> None:
    error = tool_failure("pg_dump", f"pg_dump: {words}" if words.strip() else words)
    assert type(error) is kind
    assert error.cause is kind.cause
    assert error.transient is transient
    assert told in str(error)
    assert str(error).startswith("pg_dump")
    assert "\n" not in str(error)
    assert len(str(error)) < 600


def test_large_objects_are_not_covered_by_a_role_that_reads_all_data() -> None:
    error = tool_failure("pg_dump", "ERROR:  permission denied for large object 4711")
    assert "pg_read_all_data" not in str(error)


def test_the_first_error_is_told_and_not_a_warning_before_it() -> None:
    words = "pg_dump: warning: odd\npg_dump: error: query failed: ERROR:  disk on fire\nlater\n"
    assert (
        str(tool_failure("pg_dump", words)) == "pg_dump failed: query failed: ERROR: disk on fire"
    )


def test_endless_words_are_cut() -> None:
    assert len(str(tool_failure("pg_dump", "x" * 100_000))) < 600
