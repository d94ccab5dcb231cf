"""Are two databases the same? An answer that shares nothing with guardian's own fingerprint.

The definition of every object comes from ``pg_dump --schema-only`` (the same program for both), the
rows from COPY, everything else from the catalogs. What no dump keeps is not compared: where rows
of a hash partition lie, the contents of materialized views, column order, invalid indexes.
"""

from __future__ import annotations

import difflib
import os
import re
import subprocess
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql

_SHOWN = 3
_WIDTH = 300

_PINNED = {
    "client_encoding": "UTF8",
    "TimeZone": "UTC",
    "DateStyle": "ISO, MDY",
    "IntervalStyle": "postgres",
    "extra_float_digits": "3",
    "bytea_output": "hex",
    "xmlbinary": "base64",
    "lc_monetary": "C",
    "search_path": "",
    "row_security": "off",  # an error rather than half of the rows
    "quote_all_identifiers": "off",
    "default_transaction_isolation": "repeatable read",
    "lock_timeout": "0",
    "statement_timeout": "0",
    "idle_in_transaction_session_timeout": "0",
}

_DEFINITIONS_DEPEND_ON = ("TimeZone", "lc_monetary", "xmlbinary", "quote_all_identifiers")
"""What pg_dump leaves to the database's own settings, although defaults are written with it."""

_HEADER = re.compile(r"^-- (?:Data for )?Name: (.*); Type: (.*); Schema: (.*); Owner: .*$")
_NOISE = re.compile(r"\\(un)?restrict |-- Dumped (from|by) |-- *$|-- PostgreSQL database dump")


def assert_same_database(
    dsn_a: str, dsn_b: str, bindir: Path, *, database_settings: bool = False
) -> None:
    """Raise AssertionError that names every difference between two databases.

    ``bindir`` is where pg_dump lies. ``database_settings``: compare also what belongs to the
    database itself, which pg_restore brings only with ``--create``.
    """
    found = differences(dsn_a, dsn_b, bindir, database_settings=database_settings)
    assert not found, f"{len(found)} differences:\n" + "\n".join(found)


def differences(
    dsn_a: str, dsn_b: str, bindir: Path, *, database_settings: bool = False
) -> list[str]:
    """Every difference, each with the object's name; empty when the databases are the same."""
    found = list(_schema_differences(schema_of(dsn_a, bindir), schema_of(dsn_b, bindir)))
    with _session(dsn_a) as a, _session(dsn_b) as b:
        found += _row_differences(a, b)
        found += _mapping_differences("sequence", _sequences(a), _sequences(b))
        found += _large_object_differences(a, b)
        found += _mapping_differences(
            "materialized view", _populated(a), _populated(b), "populated"
        )
        if database_settings:
            found += _mapping_differences("database", _database(a), _database(b))
    return found


def roles_of(dsn: str) -> dict[str, dict[str, Any]]:
    """Every role of a server but the built-in ones: attributes, hash, memberships, settings.

    Needs a superuser. Settings of a role in one database belong to that database, so are left out.
    """
    with _session(dsn) as connection:
        rows = connection.execute(
            """
            SELECT a.rolname, to_jsonb(a) - 'oid' - 'rolname' || jsonb_build_object(
                'comment', shobj_description(a.oid, 'pg_authid'),
                'settings', (SELECT s.setconfig FROM pg_db_role_setting s
                             WHERE s.setrole = a.oid AND s.setdatabase = 0),
                'member_of', (SELECT jsonb_agg(to_jsonb(m) - 'oid' - 'roleid' - 'member' - 'grantor'
                                               || jsonb_build_object(
                                                      'role', m.roleid::regrole::text,
                                                      'grantor', m.grantor::regrole::text)
                                               ORDER BY m.roleid::regrole::text,
                                                        m.grantor::regrole::text)
                              FROM pg_auth_members m WHERE m.member = a.oid))
            FROM pg_authid a WHERE a.rolname !~ '^pg_' ORDER BY 1
            """
        ).fetchall()
    return dict(rows)


def schema_of(dsn: str, bindir: Path) -> dict[str, str]:
    """Each object's definition by its kind and name, as pg_dump writes it."""
    options = " ".join(f"-c {name}={_PINNED[name]}" for name in _DEFINITIONS_DEPEND_ON)
    done = subprocess.run(
        [bindir / "pg_dump", "--schema-only", "--encoding=UTF8", "-d", dsn],
        env=os.environ | {"PGOPTIONS": options},
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr.decode(errors="replace")
    parts: dict[str, list[str]] = {}
    name = "(preamble)"
    body: list[str] = []
    for line in done.stdout.decode().split("\n"):
        if header := _HEADER.match(line):
            parts.setdefault(name, []).append("\n".join(body).strip())
            name, body = f"{header[2]} {header[3]}.{header[1]}", []
        if not _NOISE.match(line):
            body.append(line)
    parts.setdefault(name, []).append("\n".join(body).strip())
    return {name: "\n".join(sorted(bodies)) for name, bodies in parts.items()}


def _schema_differences(a: Mapping[str, str], b: Mapping[str, str]) -> Iterator[str]:
    for name in sorted(a.keys() | b.keys()):
        if name not in b:
            yield f"{name}: is missing in the second"
        elif name not in a:
            yield f"{name}: is only in the second"
        elif a[name] != b[name]:
            lines = difflib.unified_diff(a[name].split("\n"), b[name].split("\n"), lineterm="", n=1)
            yield f"{name}: defined differently\n    " + "\n    ".join(list(lines)[2:40])


# --- rows -----------------------------------------------------------------------------------------


def _row_differences(a: psycopg.Connection, b: psycopg.Connection) -> Iterator[str]:
    tables_a, tables_b = _tables(a), _tables(b)
    for name in sorted(tables_a.keys() | tables_b.keys()):
        if name not in tables_a or name not in tables_b:
            yield f"rows of {name}: only the {'first' if name in tables_a else 'second'} has it"
            continue
        rows_a, rows_b = _rows(a, tables_a[name]), _rows(b, tables_b[name])
        if rows_a != rows_b:
            yield (
                f"rows of {name}: {rows_a.total()} and {rows_b.total()}\n"
                f"    only in the first: {_shown(rows_a - rows_b)}\n"
                f"    only in the second: {_shown(rows_b - rows_a)}"
            )


def _tables(connection: psycopg.Connection) -> dict[str, bytes]:
    """What to read for each table whose rows a dump keeps.

    A leaf on its own, but a hash-partitioned table as one: the hash of an enum or a text may put a
    row elsewhere after a restore. Members of an extension only where and as far as it says so.
    """
    rows = connection.execute(
        """
        SELECT DISTINCT t.oid::regclass::text, t.relkind = 'p', conf.cond,
               ARRAY(SELECT a.attname::text FROM pg_attribute a
                     WHERE a.attrelid = t.oid AND a.attnum > 0 AND NOT a.attisdropped
                     ORDER BY a.attname::text COLLATE "C")
        FROM pg_class c
        CROSS JOIN LATERAL (
            SELECT coalesce(
                (SELECT p.partrelid
                 FROM pg_partition_ancestors(c.oid) WITH ORDINALITY AS up (relid, height)
                 JOIN pg_partitioned_table p ON p.partrelid = up.relid AND p.partstrat = 'h'
                 ORDER BY height DESC LIMIT 1), c.oid) AS oid
        ) top
        JOIN pg_class t ON t.oid = top.oid
        LEFT JOIN (
            SELECT table_oid, cond FROM pg_extension e,
                   unnest(e.extconfig, e.extcondition) AS u (table_oid, cond)
        ) conf ON conf.table_oid = c.oid
        WHERE c.relkind = 'r' AND c.relpersistence <> 't'
          AND c.relnamespace::regnamespace::text !~ '^(pg_catalog|information_schema|pg_toast.*)$'
          AND (conf.table_oid IS NOT NULL OR NOT EXISTS (
                SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid
                                          AND d.deptype = 'e'))
        """
    ).fetchall()
    return {
        name: sql.SQL("SELECT {columns} FROM {only} {table} {condition}")
        .format(
            columns=sql.SQL(", ").join(map(sql.Identifier, columns)),
            only=sql.SQL("" if whole else "ONLY"),
            table=sql.SQL(name),
            condition=sql.SQL(condition or ""),
        )
        .as_bytes(connection)
        for name, whole, condition, columns in rows
    }


def _rows(connection: psycopg.Connection, query: bytes) -> Counter[bytes]:
    """All rows as COPY writes them, each with how often it is there."""
    with connection.cursor() as cursor:
        with cursor.copy(b"COPY (" + query + b") TO STDOUT") as copy:
            text = b"".join(copy)
        rows = Counter(text.split(b"\n")[:-1])
        assert rows.total() == cursor.rowcount, f"a row is not a line in {query.decode()}"
    return rows


def _shown(rows: Counter[bytes]) -> str:
    some = [row[:_WIDTH].decode(errors="replace") for row, _ in rows.most_common(_SHOWN)]
    return f"{rows.total()} {some}"


# --- the rest -------------------------------------------------------------------------------------


def _sequences(connection: psycopg.Connection) -> dict[str, str]:
    names = connection.execute(
        "SELECT oid::regclass::text FROM pg_class WHERE relkind = 'S' AND relpersistence <> 't'"
    ).fetchall()
    return {
        name: str(
            connection.execute(
                sql.SQL("SELECT last_value, is_called FROM {}").format(sql.SQL(name))
            ).fetchone()
        )
        for (name,) in names
    }


def _large_object_differences(a: psycopg.Connection, b: psycopg.Connection) -> Iterator[str]:
    known_a, known_b = _large_objects(a), _large_objects(b)
    yield from _mapping_differences("large object", known_a, known_b)
    for number in sorted(known_a.keys() & known_b.keys(), key=int):
        bytes_a, bytes_b = _large_object(a, number), _large_object(b, number)
        if bytes_a != bytes_b:
            pairs = zip(bytes_a, bytes_b, strict=False)
            first = next(
                (i for i, (x, y) in enumerate(pairs) if x != y), min(len(bytes_a), len(bytes_b))
            )
            yield (
                f"large object {number}: {len(bytes_a)} and {len(bytes_b)} bytes,"
                f" which differ from byte {first}"
            )


def _large_objects(connection: psycopg.Connection) -> dict[str, str]:
    """Owner, grants and comment by number."""
    return dict(
        connection.execute(
            """
            SELECT oid::text, concat_ws(' | ', lomowner::regrole,
                   (SELECT string_agg(i::text, ',' ORDER BY i::text COLLATE "C")
                    FROM unnest(lomacl) i), obj_description(oid, 'pg_largeobject'))
            FROM pg_largeobject_metadata
            """
        ).fetchall()
    )


def _large_object(connection: psycopg.Connection, number: str) -> bytes:
    row = connection.execute("SELECT lo_get(%s::oid)", [number], binary=True).fetchone()
    assert row is not None
    return bytes(row[0])


def _populated(connection: psycopg.Connection) -> dict[str, str]:
    return dict(
        connection.execute(
            "SELECT oid::regclass::text, relispopulated::text FROM pg_class WHERE relkind = 'm'"
        ).fetchall()
    )


def _database(connection: psycopg.Connection) -> dict[str, str]:
    """What belongs to the database as a whole, but not its name."""
    settings = connection.execute(
        """
        SELECT coalesce(nullif(s.setrole, 0)::regrole::text || ' ', '') || split_part(c, '=', 1), c
        FROM pg_db_role_setting s JOIN pg_database d ON d.oid = s.setdatabase, unnest(s.setconfig) c
        WHERE d.datname = current_database()
        """
    ).fetchall()
    facts = connection.execute(
        """
        SELECT datdba::regrole::text, pg_encoding_to_char(encoding)::text, datcollate, datctype,
               datconnlimit::text, shobj_description(oid, 'pg_database'),
               (SELECT string_agg(i::text, ',' ORDER BY i::text COLLATE "C") FROM unnest(datacl) i)
        FROM pg_database WHERE datname = current_database()
        """
    ).fetchone()
    return dict(settings) | {"itself": str(facts)}


def _mapping_differences(
    kind: str, a: Mapping[str, str], b: Mapping[str, str], what: str = ""
) -> Iterable[str]:
    for name in sorted(a.keys() | b.keys()):
        if a.get(name) != b.get(name):
            values = f"{a.get(name, 'missing')} and {b.get(name, 'missing')}"
            yield f"{kind} {name}: {what} {values}".replace(":  ", ": ")


@contextmanager
def _session(dsn: str) -> Iterator[psycopg.Connection]:
    """One snapshot, in which settings are ours, whatever the database or the role says."""
    with psycopg.connect(dsn, client_encoding="UTF8", autocommit=True) as connection:
        for name, value in _PINNED.items():
            connection.execute("SELECT set_config(%s, %s, false)", [name, value])
        if connection.info.server_version >= 170000:
            connection.execute("SET transaction_timeout = 0")
        with connection.transaction():
            yield connection
