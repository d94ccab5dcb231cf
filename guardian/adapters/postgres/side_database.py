"""A database made for a while beside others on a server, and what crashed runs left of such.

Its maker holds an advisory lock, derived from its name, from before the database exists to its
end. The server lets go of the lock with the maker's session, so a database whose lock is free is a
stray. One that sessions are still connected to is never dropped by a sweep.
"""

from __future__ import annotations

import logging
import re
import secrets
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import psycopg
from psycopg import sql

from guardian.adapters.postgres.connection import APPLICATION_NAME, Connector
from guardian.errors import GuardianError, PermissionDeniedError, UnsuitableTargetError
from guardian.model import DatabaseFacts

_log = logging.getLogger(__name__)

_LOCK_SPACE = 0x67756172  # "guar"
_TOKEN_BYTES = 6


@contextmanager
def side_database_name(connection: psycopg.Connection, prefix: str) -> Iterator[str]:
    """A new name ``<prefix><token>``, locked for as long as the block and its connection last.

    All who use the prefix must be connected to the same database: advisory locks are kept in each.
    """
    name = prefix + secrets.token_hex(_TOKEN_BYTES)
    connection.execute("SELECT pg_catalog.pg_advisory_lock(%s, %s)", _lock_key(name))
    yield name
    # After an error the server may not answer: then the lock goes with the connection.
    connection.execute("SELECT pg_catalog.pg_advisory_unlock(%s, %s)", _lock_key(name))


def stray_side_databases(connection: psycopg.Connection, prefix: str) -> Iterator[str]:
    """The databases that dead runs left behind, each locked until the next is asked for.

    A run may hold its lock in another maintenance database than ours, so all of them count.
    """
    pattern = re.compile(re.escape(prefix) + f"[0-9a-f]{{{_TOKEN_BYTES * 2}}}")
    rows = connection.execute(
        "SELECT datname::text FROM pg_catalog.pg_database WHERE starts_with(datname::text, %s)",
        (prefix,),
    ).fetchall()
    for (name,) in rows:
        if pattern.fullmatch(name) is None:
            continue
        taken = connection.execute(
            "SELECT pg_catalog.pg_try_advisory_lock(%s, %s)", _lock_key(name)
        ).fetchone()
        if taken is None or not taken[0]:
            continue
        try:
            if not _locked_elsewhere(connection, name):
                yield name
        finally:
            connection.execute("SELECT pg_catalog.pg_advisory_unlock(%s, %s)", _lock_key(name))


def sweep_side_databases(connection: psycopg.Connection, prefix: str) -> tuple[str, ...]:
    """Drop the databases that dead runs left behind; return their names.

    What cannot be dropped (sessions, no permission) is logged, and left for the next time.
    """
    swept = []
    for name in stray_side_databases(connection, prefix):
        try:
            _end_orphans(connection, name)
            connection.execute(sql.SQL("DROP DATABASE IF EXISTS {}").format(sql.Identifier(name)))
            _log.info("dropped %s, left behind by a run that died", name)
            swept.append(name)
        except psycopg.Error as error:
            _log.warning("%s cannot be dropped: %s", name, error)
    return tuple(swept)


def _end_orphans(connection: psycopg.Connection, name: str) -> None:
    """End sessions that outlived their guardian: a server notices only when it next writes to them.

    Theirs is the name that guardian's sessions bear; anybody else's session keeps the database.
    """
    function = "pg_terminate_backend(pid, 5000)"
    if connection.info.server_version < 140000:
        function = "pg_terminate_backend(pid)"
    connection.execute(
        sql.SQL(
            f"SELECT pg_catalog.{function} FROM pg_catalog.pg_stat_activity "  # nosec B608 # noqa: S608 - one of two names
            "WHERE datname = {} AND application_name ~ {}"
        ).format(sql.Literal(name), sql.Literal(f"^{APPLICATION_NAME}( |$)"))
    )


def _locked_elsewhere(connection: psycopg.Connection, name: str) -> bool:
    space, key = _lock_key(name)
    row = connection.execute(
        "SELECT EXISTS (SELECT FROM pg_catalog.pg_locks WHERE locktype = 'advisory' "
        "AND classid = %s::int8::oid AND objid = %s::int8::oid AND objsubid = 2 "
        "AND pid <> pg_catalog.pg_backend_pid())",
        (space, key % (1 << 32)),
    ).fetchone()
    return row is not None and bool(row[0])


def create_database(
    connection: psycopg.Connection, name: str, facts: DatabaseFacts, *, exact: bool
) -> str | None:
    """Create a database like the source's: encoding, locale, provider.

    Where the server lacks the locale, and ``exact`` is not asked for, it is made with locale C;
    then a sentence says so.

    Raises:
        UnsuitableTargetError: the server cannot make it.
        PermissionDeniedError: the role may not.
    """
    version = connection.info.server_version
    try:
        connection.execute(_create(name, facts, _locale(facts, version)))
    except psycopg.errors.InsufficientPrivilege as error:
        raise PermissionDeniedError(
            f"database {name} cannot be created: {error.diag.message_primary}",
            mend="ALTER ROLE … CREATEDB for the role that connects",
        ) from error
    except (
        psycopg.errors.InvalidParameterValue,
        psycopg.errors.FeatureNotSupported,
        psycopg.errors.WrongObjectType,
        psycopg.errors.ObjectNotInPrerequisiteState,
        psycopg.errors.InvalidObjectDefinition,
    ) as error:
        said = error.diag.message_primary or str(error)
        if exact:
            raise _unsuitable(facts, said) from error
    else:
        return None
    try:
        connection.execute(_create(name, facts, _locale_c(version)))
    except psycopg.Error as error:
        raise _unsuitable(facts, error.diag.message_primary or str(error)) from error
    return f"the source's locale {_described(facts)} is not to be had here ({said}), C is used"


def drop_database(connector: Connector, maintenance: str, name: str, *, purpose: str) -> None:
    """Drop it, over a connection of its own, disconnecting whoever is left.

    Raises:
        GuardianError: it could not be dropped.
    """
    with connector.connect(maintenance, purpose) as connection:
        force = " WITH (FORCE)" if connection.info.server_version >= 130000 else ""
        try:
            connection.execute(
                sql.SQL("DROP DATABASE IF EXISTS {}").format(sql.Identifier(name)) + sql.SQL(force)
            )
        except psycopg.Error as error:
            raise connector.translate(error, name) from error


def require_extensions(connection: psycopg.Connection, facts: DatabaseFacts) -> None:
    """Raise UnsuitableTargetError unless the server offers every extension of the source."""
    rows = connection.execute("SELECT name::text FROM pg_catalog.pg_available_extensions")
    offered = {name for (name,) in rows.fetchall()}
    missing = [one.name for one in facts.extensions if one.name not in offered]
    if missing:
        raise UnsuitableTargetError(
            f"the server to restore to does not offer the extensions {', '.join(missing)}",
            mend="install their packages there (many come with postgresql-contrib)",
        )


def missing_roles(connection: psycopg.Connection, roles: Sequence[str]) -> list[str]:
    """Those of ``roles`` that the server does not have."""
    rows = connection.execute("SELECT rolname::text FROM pg_catalog.pg_roles").fetchall()
    there = {name for (name,) in rows}
    return [role for role in roles if role not in there]


def system_identifier(connection: psycopg.Connection) -> str | None:
    """The cluster's identity; None where the role may not read it."""
    try:
        row = connection.execute(
            "SELECT system_identifier::text FROM pg_catalog.pg_control_system()"
        ).fetchone()
    except psycopg.errors.InsufficientPrivilege:
        return None
    return None if row is None else str(row[0])


def _lock_key(name: str) -> tuple[int, int]:
    hashed = zlib.crc32(name.encode())
    return _LOCK_SPACE, hashed - (1 << 32) if hashed >= 1 << 31 else hashed


def _create(name: str, facts: DatabaseFacts, options: Sequence[sql.Composable]) -> sql.Composed:
    return sql.SQL("CREATE DATABASE {} TEMPLATE template0 ENCODING {} ").format(
        sql.Identifier(name), sql.Literal(facts.encoding)
    ) + sql.SQL(" ").join(options)


def _locale(facts: DatabaseFacts, version: int) -> list[sql.Composable]:
    options: list[sql.Composable] = [
        sql.SQL("LC_COLLATE {}").format(sql.Literal(facts.collate)),
        sql.SQL("LC_CTYPE {}").format(sql.Literal(facts.ctype)),
    ]
    if version < 150000:
        return options
    options.append(sql.SQL("LOCALE_PROVIDER {}").format(sql.SQL(_provider(facts))))
    if facts.locale is not None and facts.locale_provider == "icu":
        options.append(sql.SQL("ICU_LOCALE {}").format(sql.Literal(facts.locale)))
    if facts.locale is not None and facts.locale_provider == "builtin":
        options.append(sql.SQL("BUILTIN_LOCALE {}").format(sql.Literal(facts.locale)))
    return options


def _locale_c(version: int) -> list[sql.Composable]:
    provider = [sql.SQL("LOCALE_PROVIDER libc")] if version >= 150000 else []
    return [sql.SQL("LC_COLLATE 'C'"), sql.SQL("LC_CTYPE 'C'"), *provider]


def _provider(facts: DatabaseFacts) -> str:
    return facts.locale_provider if facts.locale_provider in {"icu", "builtin"} else "libc"


def _described(facts: DatabaseFacts) -> str:
    names = dict.fromkeys((facts.collate, facts.ctype, facts.locale))
    return f"{facts.locale_provider} {'/'.join(name for name in names if name)}"


def _unsuitable(facts: DatabaseFacts, said: str) -> GuardianError:
    return UnsuitableTargetError(
        f"no database with encoding {facts.encoding} and locale {_described(facts)} can be made "
        f"there: {said}",
        mend="install that locale on the server's host, then restart PostgreSQL",
    )
