"""Create the zoo: one database of every kind of object and value that a backup can lose.

The SQL lies beside this file, by what a server must be able to do. Three roles belong to it; they
are made where they are missing and stay, since roles belong to the whole server.

A database with a subscription cannot be dropped, not even with FORCE, so use :func:`drop_database`
for zoos and for what was restored from them.
"""

from __future__ import annotations

import subprocess
from pathlib import Path
from textwrap import dedent

import psycopg
from psycopg import sql
from support.postgres import Database, PostgresServer

HERE = Path(__file__).parent

HOSTILE_NAME = "Zoo \"of\" 'all'\tkinds %s \\ $1 =x; -- ../&?#@:/🦒"
"""A database's name that breaks connection strings, URIs, SQL, formats and paths made by hand."""

OWNER = 'zoo "owner" 🦁'
KEEPERS = "ZOO Keepers"
READER = "zoo reader"

_SETTINGS = {
    "DateStyle": "German, DMY",
    "IntervalStyle": "sql_standard",
    "TimeZone": "Asia/Kathmandu",
    "extra_float_digits": "-15",
    "bytea_output": "escape",
    "xmloption": "document",
    "lc_monetary": "C",
    "client_encoding": "LATIN1",  # pg_dump fails on 🦒 unless it is told UTF8
    "quote_all_identifiers": "on",
    "search_path": '"select", zoo, nowhere',
    "lock_timeout": "200ms",
    "idle_in_transaction_session_timeout": "1s",
    "default_transaction_isolation": "serializable",
    "enable_seqscan": "off",
}
"""What changes how the same data reads, or makes long work fail, unless a session pins it."""


def create_zoo(
    server: PostgresServer,
    dbname: str = HOSTILE_NAME,
    *,
    settings: bool = True,
    config_extension: bool = False,
) -> Database:
    """Create the database and everything that this server's major and build can have in it.

    ``settings``: also hostile ALTER DATABASE … SET, a comment and grants on the database itself.
    ``config_extension``: also the extension of :func:`install_config_extension`.
    """
    _create_roles(server)
    with server.connect() as connection:
        connection.execute(
            sql.SQL("CREATE DATABASE {} TEMPLATE template0 ENCODING 'UTF8' OWNER {}").format(
                sql.Identifier(dbname), sql.Identifier(OWNER)
            )
        )
    for script in _scripts(server, config_extension=config_extension):
        run_script(server, dbname, script)
    if settings:
        _change_settings(server, dbname)
    return Database(server, dbname)


def run_script(server: PostgresServer, dbname: str, script: Path) -> None:
    """Run a file through the server's own psql; AssertionError with what it said on failure."""
    done = subprocess.run(
        [server.tool("psql"), "-X", "-q", "-d", server.dsn(dbname), "-f", script],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"{script.name}: {done.stderr}"


def drop_database(server: PostgresServer, dbname: str) -> None:
    """Drop it with its subscriptions; fine when it is gone."""
    with server.connect() as connection:
        if not connection.execute(
            "SELECT FROM pg_database WHERE datname = %s", [dbname]
        ).fetchall():
            return
    with server.connect(dbname, client_encoding="UTF8") as connection:
        names = connection.execute(
            "SELECT subname FROM pg_subscription s JOIN pg_database d ON d.oid = s.subdbid"
            " WHERE datname = current_database()"
        ).fetchall()
        for (name,) in names:  # none has a slot
            connection.execute(sql.SQL("DROP SUBSCRIPTION {}").format(sql.Identifier(name)))
    server.drop_database(dbname)


def install_config_extension(server: PostgresServer) -> None:
    """Give an 18 server an extension with configuration tables (``pg_extension_config_dump``).

    Three tables: one dumped where a condition holds, one dumped whole, one not dumped; and a
    sequence. Changes the server's ``extension_control_path``, so do it on a server of your own.
    """
    folder = server.embedded.path / "share" / "extension"
    folder.mkdir(parents=True)
    for path in (folder.parent, folder):
        path.chmod(0o755)
    control = "default_version = '1.0'\nrelocatable = false\ncomment = 'config tables'\n"
    script = """
        CREATE TABLE @extschema@.settings (name text PRIMARY KEY, value text, own boolean);
        INSERT INTO @extschema@.settings VALUES ('default', 'brought', false);
        CREATE TABLE @extschema@.everything (id int);
        CREATE TABLE @extschema@.scratch (t text);
        CREATE SEQUENCE @extschema@.counter;
        SELECT pg_catalog.pg_extension_config_dump('@extschema@.settings', 'WHERE own');
        SELECT pg_catalog.pg_extension_config_dump('@extschema@.everything', '');
        SELECT pg_catalog.pg_extension_config_dump('@extschema@.counter', '');
        """
    for name, text in (("guardian_zoo.control", control), ("guardian_zoo--1.0.sql", script)):
        (folder / name).write_text(dedent(text), encoding="utf-8")
        (folder / name).chmod(0o644)
    with server.connect() as connection:
        connection.execute(
            sql.SQL("ALTER SYSTEM SET extension_control_path = {}").format(
                sql.Literal(f"$system:{folder.parent}")
            )
        )
        connection.execute("SELECT pg_reload_conf()")


def _create_roles(server: PostgresServer) -> None:
    with server.connect() as connection:
        for name, attributes in ((OWNER, "LOGIN"), (KEEPERS, "NOLOGIN"), (READER, "LOGIN")):
            if not connection.execute("SELECT FROM pg_roles WHERE rolname = %s", [name]).fetchall():
                connection.execute(
                    sql.SQL("CREATE ROLE {} {}").format(sql.Identifier(name), sql.SQL(attributes))
                )


def _scripts(server: PostgresServer, *, config_extension: bool) -> list[Path]:
    with server.connect() as connection:
        extensions = {
            name for (name,) in connection.execute("SELECT name FROM pg_available_extensions")
        }
    wanted = {
        "zoo.sql": True,
        "zoo_pg16.sql": server.major >= 16,
        "zoo_pg18.sql": server.major >= 18,
        "zoo_full_build.sql": server.has_contrib,
        "zoo_vector.sql": "vector" in extensions,
        "zoo_config_extension.sql": config_extension,
    }
    return [HERE / name for name, needed in wanted.items() if needed]


def _change_settings(server: PostgresServer, dbname: str) -> None:
    database = sql.Identifier(dbname)
    settings = dict(_SETTINGS)
    if server.major >= 17:
        settings["transaction_timeout"] = "20s"
    with server.connect() as connection:
        _check_name_is_whole(connection, dbname)
        for name, value in settings.items():
            # A list of names is given as it is; everything else is one literal.
            wanted = sql.SQL(value) if name == "search_path" else sql.Literal(value)
            connection.execute(
                sql.SQL("ALTER DATABASE {} SET {} = {}").format(
                    database, sql.Identifier(name), wanted
                )
            )
        reader = sql.Identifier(READER)
        for statement in (
            "ALTER ROLE {reader} IN DATABASE {database} SET work_mem = '3MB'",
            'ALTER ROLE {reader} IN DATABASE {database} SET search_path = "it\'s", public',
            "REVOKE ALL ON DATABASE {database} FROM PUBLIC",
            "GRANT CONNECT ON DATABASE {database} TO {reader} WITH GRANT OPTION",
            "COMMENT ON DATABASE {database} IS 'it''s\n\\connect \"the\" zoo %s 🦒'",
        ):
            connection.execute(sql.SQL(statement).format(reader=reader, database=database))


def _check_name_is_whole(connection: psycopg.Connection, dbname: str) -> None:
    found = connection.execute(
        "SELECT count(*) FROM pg_database WHERE datname = %s", [dbname]
    ).fetchone()
    assert found == (1,), f"{dbname!r} was cut to 63 bytes"
