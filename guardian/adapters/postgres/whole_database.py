"""What belongs to a database as a whole, read from one that is there, so that another gets it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import psycopg
from psycopg import sql

from guardian.model import DatabaseFacts
from guardian.restore.database_items import DatabaseItem, DatabaseItems, ItemKind, setting_item
from guardian.restore.sql_text import literal, quoted

_ITSELF = """
SELECT pg_catalog.pg_get_userbyid(datdba)::text, datconnlimit,
       pg_catalog.shobj_description(oid, 'pg_database')
  FROM pg_catalog.pg_database WHERE datname = %s
"""
_SETTINGS = """
SELECT nullif(s.setrole, 0)::regrole IS NOT NULL,
       (SELECT r.rolname::text FROM pg_catalog.pg_roles r WHERE r.oid = s.setrole),
       pg_catalog.unnest(s.setconfig)::text
  FROM pg_catalog.pg_db_role_setting s
  JOIN pg_catalog.pg_database d ON d.oid = s.setdatabase
 WHERE d.datname = %s ORDER BY 1, 2, 3
"""
_LOCALE = """
SELECT pg_catalog.pg_encoding_to_char(encoding), to_jsonb(d) ->> 'datcollate',
       to_jsonb(d) ->> 'datctype',
       CASE to_jsonb(d) ->> 'datlocprovider'
           WHEN 'i' THEN 'icu' WHEN 'b' THEN 'builtin' ELSE 'libc' END,
       coalesce(to_jsonb(d) ->> 'datlocale', to_jsonb(d) ->> 'daticulocale')
  FROM pg_catalog.pg_database d WHERE d.datname = %s
"""
_TABLESPACE = """
SELECT t.spcname::text
  FROM pg_catalog.pg_database d
  JOIN pg_catalog.pg_tablespace t ON t.oid = d.dattablespace
 WHERE d.datname = %s
   AND t.oid <> (SELECT dattablespace FROM pg_catalog.pg_database WHERE datname = %s)
"""
_STAYS = """
SELECT 'replication slot', slot_name::text FROM pg_catalog.pg_replication_slots
 WHERE database = %(name)s
UNION ALL
SELECT 'subscription', s.subname::text
  FROM pg_catalog.pg_subscription s JOIN pg_catalog.pg_database d ON d.oid = s.subdbid
 WHERE d.datname = %(name)s AND s.subenabled
"""
_GRANTS = """
SELECT CASE a.grantee WHEN 0 THEN NULL ELSE pg_catalog.pg_get_userbyid(a.grantee)::text END,
       a.privilege_type, a.is_grantable
  FROM pg_catalog.pg_database d, pg_catalog.aclexplode(d.datacl) a
 WHERE d.datname = %s ORDER BY 1, 2
"""


def read_items(connection: psycopg.Connection, database: str) -> DatabaseItems:
    """Owner, connection limit, settings, grants and comment of one database of the server.

    Raises psycopg.Error. Grants come as if the owner had made all of them.
    """
    row = connection.execute(_ITSELF, (database,)).fetchone()
    if row is None:
        return DatabaseItems()
    owner, limit, comment = row
    items: list[DatabaseItem] = []
    if limit >= 0:
        items.append(_item(ItemKind.PROPERTY, "connection limit", f" CONNECTION LIMIT = {limit}"))
    for of_role, role, setting in connection.execute(_SETTINGS, (database,)).fetchall():
        if not of_role or role is not None:
            items.append(setting_item(setting, role))
    if comment is not None:
        items.append(
            DatabaseItem(
                ItemKind.COMMENT, "comment", "COMMENT ON DATABASE ", f" IS {literal(comment)}"
            )
        )
    items += _grants(connection, database)
    return DatabaseItems(owner, tuple(items))


def like_present(
    connection: psycopg.Connection, database: str, source: DatabaseFacts
) -> DatabaseFacts | None:
    """The source's facts with the locale of a database that is there.

    None where its encoding is another one: the source's text may not fit into it.
    """
    row = connection.execute(_LOCALE, (database,)).fetchone()
    if row is None or row[0] != source.encoding:
        return None
    _, collate, ctype, provider, locale = row
    return replace(source, collate=collate, ctype=ctype, locale_provider=provider, locale=locale)


def same_tablespace(connection: psycopg.Connection, name: str, like: str) -> str | None:
    """Move a database, still empty, to the tablespace of another one; why not, if it cannot be."""
    row = connection.execute(_TABLESPACE, (like, name)).fetchone()
    if row is None:
        return None
    try:
        connection.execute(
            sql.SQL("ALTER DATABASE {} SET TABLESPACE {}").format(
                sql.Identifier(name), sql.Identifier(row[0])
            )
        )
    except psycopg.errors.InsufficientPrivilege:
        return f"it does not lie in tablespace {row[0]}, as the database there does: we may not"
    return None


def what_stays(connection: psycopg.Connection, database: str) -> list[str]:
    """Sentences about what goes on in a database that is put aside, and costs something there."""
    return [
        f"{kind} {name} stays with the database that was there"
        for kind, name in connection.execute(_STAYS, {"name": database}).fetchall()
    ]


def _grants(connection: psycopg.Connection, database: str) -> Iterator[DatabaseItem]:
    rows = connection.execute(_GRANTS, (database,)).fetchall()
    if rows:
        yield _grant("REVOKE ALL", " FROM PUBLIC")
    for grantee, privilege, grantable in rows:
        who = "PUBLIC" if grantee is None else quoted(grantee)
        option = " WITH GRANT OPTION" if grantable else ""
        yield _grant(f"GRANT {privilege}", f" TO {who}{option}")


def _grant(head: str, tail: str) -> DatabaseItem:
    return DatabaseItem(ItemKind.GRANT, head, f"{head} ON DATABASE ", tail)


def _item(kind: ItemKind, label: str, tail: str) -> DatabaseItem:
    return DatabaseItem(kind, label, "ALTER DATABASE ", tail)
