"""Making the roles of a backup on a server that lacks them. Roles that are there stay as they are.

No statement is ever shown or logged: they carry password hashes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress

import psycopg

from guardian.errors import GuardianError, PermissionDeniedError, UnsuitableTargetError
from guardian.restore.globals_script import GlobalsScript, Membership, without_attributes
from guardian.restore.target import RolesMade

_PRIVILEGED = frozenset({"SUPERUSER", "REPLICATION", "BYPASSRLS"})
"""Attributes that only a superuser may give, and before 16 even take away."""

_QUIET = {
    "log_min_error_statement": "panic",
    "log_statement": "none",
    "log_min_duration_statement": "-1",
}


def existing_roles(connection: psycopg.Connection) -> set[str]:
    """All roles of the server."""
    rows = connection.execute("SELECT rolname::text FROM pg_catalog.pg_roles").fetchall()
    return {name for (name,) in rows}


def make_roles(connection: psycopg.Connection, script: GlobalsScript) -> RolesMade:
    """Make what is missing: all roles in one transaction, then tablespaces one by one.

    ``connection`` is an autocommit one.

    Raises:
        GuardianError: a role could not be made, then none was.
        psycopg.OperationalError: the connection broke.
    """
    there = existing_roles(connection)
    created = script.missing(there)
    warnings: list[str] = [f"globals: not run: {words} …" for words in script.unknown]
    for setting in script.settings:
        connection.execute(_bytes(setting))
    with connection.transaction():
        for role in created:
            _make(connection, role, script.roles[role], warnings)
        _grant(connection, script, set(created), there, warnings)
    _make_tablespaces(connection, script, warnings)
    left = [role for role in script.roles if role in there]
    return RolesMade(tuple(created), tuple(left), tuple(warnings))


def _make(
    connection: psycopg.Connection, role: str, statements: Iterable[str], warnings: list[str]
) -> None:
    for number, statement in enumerate(statements):
        try:
            with connection.transaction():
                connection.execute(_bytes(statement))
            continue
        except psycopg.OperationalError:
            raise
        except psycopg.Error as error:
            failure = error
        if number == 0:
            raise _unmade(role, failure)
        rest, granted = without_attributes(statement, _PRIVILEGED)
        if isinstance(failure, psycopg.errors.InsufficientPrivilege) and rest != statement:
            try:
                with connection.transaction():
                    connection.execute(_bytes(rest))
            except psycopg.errors.InsufficientPrivilege as error:
                raise _unmade(role, error) from error
            if granted:
                warnings.append(f"role {role} was made without {', '.join(granted)}")
        else:
            warnings.append(f"role {role} is not quite as it was: {_said(failure)}")


def _unmade(role: str, error: psycopg.Error) -> GuardianError:
    if isinstance(error, psycopg.errors.InsufficientPrivilege):
        return PermissionDeniedError(
            f"role {role} cannot be made: {_said(error)}",
            mend="connect as a superuser, or let an administrator make the roles",
        )
    return UnsuitableTargetError(f"role {role} cannot be made: {_said(error)}")


def _grant(
    connection: psycopg.Connection,
    script: GlobalsScript,
    created: set[str],
    there: set[str],
    warnings: list[str],
) -> None:
    for one in script.memberships:
        if one.member in created:
            _grant_membership(connection, one, warnings)
        elif one.member in there and one.role in created:
            warnings.append(
                f"role {one.member} was there and is left as it is; in the backup it is a member "
                f"of {one.role}"
            )
    for grant in script.parameters:
        if grant.member in created:
            try:
                with connection.transaction():
                    connection.execute(_bytes(grant.statement))
            except psycopg.OperationalError:
                raise
            except psycopg.Error as error:
                warnings.append(f"role {grant.member}: a parameter is not granted: {_said(error)}")


def _grant_membership(connection: psycopg.Connection, one: Membership, warnings: list[str]) -> None:
    """As it was granted; where that grantor may not (here), as ours."""
    failure: psycopg.Error | None = None
    for statement in dict.fromkeys((one.statement, one.without_grantor)):
        try:
            with connection.transaction():
                connection.execute(_bytes(statement))
        except psycopg.OperationalError:
            raise
        except psycopg.Error as error:
            failure = error
        else:
            return
    assert failure is not None
    warnings.append(f"role {one.member} is no member of {one.role}: {_said(failure)}")


def _make_tablespaces(
    connection: psycopg.Connection, script: GlobalsScript, warnings: list[str]
) -> None:
    rows = connection.execute("SELECT spcname::text FROM pg_catalog.pg_tablespace").fetchall()
    there = {name for (name,) in rows}
    for name, statements in script.tablespaces.items():
        if name in there:
            continue
        for statement in statements:
            try:
                connection.execute(_bytes(statement))  # not in a transaction: the server insists
            except psycopg.OperationalError as error:
                if connection.closed:
                    raise
                warnings.append(f"tablespace {name}: {_said(error)}")
                break
            except psycopg.Error as error:
                warnings.append(f"tablespace {name}: {_said(error)}")
                break


@contextmanager
def quiet(connection: psycopg.Connection) -> Iterator[None]:
    """Keep the statements of the block, which carry passwords, out of the server's log if we may.

    A failed statement is logged as a whole by default.
    """
    for setting, value in _QUIET.items():
        with suppress(psycopg.errors.InsufficientPrivilege):
            connection.execute(f"SET {setting} = {value}".encode())
    try:
        yield
    finally:
        for setting in _QUIET:
            with suppress(psycopg.Error):
                connection.execute(f"RESET {setting}".encode())


def _said(error: psycopg.Error) -> str:
    return error.diag.message_primary or type(error).__name__


def _bytes(statement: str) -> bytes:
    return statement.encode("utf-8", "surrogateescape")


def listed(names: Sequence[str], shown: int = 5) -> str:
    """The first few names."""
    more = f" and {len(names) - shown} more" if len(names) > shown else ""
    return ", ".join(names[:shown]) + more
