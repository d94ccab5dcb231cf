"""What a server makes of a definition: it reads the text, and tells again what it understood.

The text is the source's, in the words that pg_dump wrote into the dump. It is put to an object of
the same shape in a transaction that is rolled back: a view that is a temporary one, or a temporary,
empty table of the same columns and the same name (an expression with a subquery may call it by
that). Nothing is run but the reading of definitions, and nothing stays.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Mapping, Sequence
from typing import LiteralString

import psycopg
from psycopg import sql

from guardian.adapters.postgres.losing import is_lost
from guardian.model import Definition

_log = logging.getLogger(__name__)

_NAME = "guardian_retold"
_UNIQUE = "UNIQUE "
_NOT_VALID = " NOT VALID"
_DEFAULT = """
SELECT pg_catalog.pg_get_expr(adbin, adrelid) FROM pg_catalog.pg_attrdef
 WHERE adrelid = %s::regclass
"""
_Ask = Callable[[psycopg.Connection, Definition], str | None]


def retell(connection: psycopg.Connection, definitions: Sequence[Definition]) -> list[str | None]:
    """Each in the server's words, None where it cannot be asked.

    The session is pinned (see settle_session) and in no transaction.

    Raises:
        psycopg.Error: the connection broke.
    """
    try:  # event triggers of the restored database are none of our business
        connection.execute("SET session_replication_role = replica")
    except psycopg.errors.InsufficientPrivilege as error:
        _log.debug("%s", error)
    return [_retold(connection, one) for one in definitions]


def _retold(connection: psycopg.Connection, definition: Definition) -> str | None:
    ask = _ASKS.get(definition.how[0])
    if ask is None:
        return None
    connection.execute("BEGIN READ WRITE")
    try:
        return ask(connection, definition)
    except psycopg.Error as error:
        if is_lost(error):
            raise
        _log.info("%s %s is compared by name: %s", definition.kind, definition.identity, error)
        return None
    finally:
        if not connection.closed:
            connection.execute("ROLLBACK")


def _view(connection: psycopg.Connection, definition: Definition) -> str | None:
    name = sql.Identifier("pg_temp", _NAME)
    _run(connection, "CREATE VIEW ", name, " AS ", definition.text)
    return _told(connection, "SELECT pg_catalog.pg_get_viewdef(%s::regclass)", name)


def _default(connection: psycopg.Connection, definition: Definition) -> str | None:
    table = _table_alike(connection, definition)
    column = sql.Identifier(definition.how[3])
    _run(connection, "ALTER TABLE ", table, " ALTER ", column, " SET DEFAULT ", definition.text)
    return _told(connection, _DEFAULT, table)


def _generated(connection: psycopg.Connection, definition: Definition) -> str | None:
    table = _table_alike(connection, definition)
    column = sql.Identifier(definition.how[3])
    kind = connection.execute(
        "SELECT pg_catalog.format_type(atttypid, atttypmod) FROM pg_catalog.pg_attribute "
        "WHERE attrelid = %s::regclass AND attname = %s",
        [table.as_string(connection), definition.how[3]],
    ).fetchall()[0][0]
    _run(connection, "ALTER TABLE ", table, " DROP COLUMN ", column)
    generated = [kind, " GENERATED ALWAYS AS (", definition.text, ") STORED"]
    _run(connection, "ALTER TABLE ", table, " ADD COLUMN ", column, " ", *generated)
    return _told(connection, _DEFAULT, table)


def _constraint(connection: psycopg.Connection, definition: Definition) -> str | None:
    table = _table_alike(connection, definition)
    _run(connection, "ALTER TABLE ", table, " ADD ", definition.text)
    return _told(
        connection,
        "SELECT pg_catalog.pg_get_constraintdef(oid) FROM pg_catalog.pg_constraint "
        "WHERE conrelid = %s::regclass AND contype IN ('c', 'x')",
        table,
    )


def _domain(connection: psycopg.Connection, definition: Definition) -> str | None:
    name = sql.Identifier("pg_temp", _NAME)
    text = definition.text.removesuffix(_NOT_VALID)  # a new domain has none
    _run(connection, "CREATE DOMAIN ", name, f" AS {definition.how[1]} ", text)
    told = _told(
        connection,
        "SELECT pg_catalog.pg_get_constraintdef(oid) FROM pg_catalog.pg_constraint "
        "WHERE contypid = %s::regtype AND contype = 'c'",
        name,
    )
    return told if told is None else told + definition.text[len(text) :]


def _index(connection: psycopg.Connection, definition: Definition) -> str | None:
    table = _table_alike(connection, definition)
    text = definition.text.removeprefix(_UNIQUE)
    unique = _UNIQUE if text != definition.text else ""
    _run(connection, f"CREATE {unique}INDEX {_NAME} ON ", table, " ", text)
    told = _told(
        connection,
        "SELECT pg_catalog.pg_get_indexdef(indexrelid) FROM pg_catalog.pg_index "
        "WHERE indrelid = %s::regclass",
        table,
    )
    head = re.match(rf"CREATE {unique}INDEX {_NAME} ON pg_temp\w*\.", told or "")
    if told is None or head is None:
        return None
    name = definition.how[2]
    for spelling in (sql.Identifier(name).as_string(connection), name):
        rest = told[head.end() :].removeprefix(spelling)
        if rest.startswith(" USING "):
            return unique + rest[1:]
    return None


def _policy(connection: psycopg.Connection, definition: Definition) -> str | None:
    table = _table_alike(connection, definition)
    command = f" FOR {definition.how[3]} "
    _run(connection, f"CREATE POLICY {_NAME} ON ", table, command, definition.text)
    return _told(
        connection,
        "SELECT concat('USING (' || pg_catalog.pg_get_expr(polqual, polrelid) || ')', "
        "' WITH CHECK (' || pg_catalog.pg_get_expr(polwithcheck, polrelid) || ')') "
        "FROM pg_catalog.pg_policy WHERE polrelid = %s::regclass",
        table,
    )


_ASKS: Mapping[str, _Ask] = {
    "view": _view,
    "default": _default,
    "generated": _generated,
    "constraint": _constraint,
    "domain": _domain,
    "index": _index,
    "policy": _policy,
}


def _table_alike(connection: psycopg.Connection, definition: Definition) -> sql.Identifier:
    """An empty table with the columns and the name of the one that the definition is of."""
    schema, name = definition.how[1:3]
    table = sql.Identifier("pg_temp", name)
    connection.execute(
        sql.SQL("CREATE TABLE {} (LIKE {})").format(table, sql.Identifier(schema, name))
    )
    return table


def _run(connection: psycopg.Connection, *pieces: str | sql.Identifier) -> None:
    """One statement. Its texts are SQL of the source's, that pg_dump writes into dumps as well."""
    made = [sql.SQL(one) if isinstance(one, str) else one for one in pieces]
    connection.execute(sql.Composed(made), binary=True)  # a protocol that takes one statement alone


def _told(
    connection: psycopg.Connection, question: LiteralString, name: sql.Identifier
) -> str | None:
    row = connection.execute(question, [name.as_string(connection)]).fetchone()
    return None if row is None else row[0]
