"""Parts of a backup, other owners, and databases that are restored into in place."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

import psycopg
import pytest
from support.compare import differences
from support.postgres import Database, PostgresServer, Role
from support.restoring import Restoring, run_inside

from guardian.adapters.postgres.connection import Connector
from guardian.adapters.postgres.in_place import InPlace
from guardian.adapters.postgres.loading import LoadOptions
from guardian.adapters.postgres.restored import PostgresDatabase
from guardian.adapters.postgres.role_making import make_roles
from guardian.errors import DamagedPartError, PermissionDeniedError
from guardian.model import DatabaseFacts
from guardian.ports import Readable
from guardian.restore.archive import TocReader
from guardian.restore.globals_script import read_globals
from guardian.restore.selection import select
from guardian.restore.target import Needs, RestoreOrder, Way


def tables_of(database: Database) -> set[str]:
    rows = database.rows(
        "SELECT oid::regclass::text FROM pg_class WHERE relkind IN ('r', 'v', 'm') AND "
        "relnamespace::regnamespace::text IN ('public', 'billing')"
    )
    return {name.removeprefix("billing.") for (name,) in rows}


def test_a_table_with_what_it_needs(shop: Restoring) -> None:
    name = shop.new_name()
    document = shop.restored(name, "--create", "--table", "notes", "--table", "inv*")
    database = Database(shop.server, name)
    assert tables_of(database) == {"notes", "invoices"}
    assert database.rows("SELECT count(*) FROM notes") == [(2000,)]
    assert database.rows("SELECT sum(cents) FROM billing.invoices") == [(35350,)]
    assert (document["tables"], document["rows"]) == (2, 2100)
    told = document["warnings"]
    assert any("foreign key notes_user_id_fkey" in one and "public.users" in one for one in told)
    assert any("large objects are left out" in one for one in told)
    assert "only the 2 selected tables were compared" in told
    assert database.rows("SHOW search_path") == [('"$user", public',)]


def test_a_schema_alone(shop: Restoring) -> None:
    name = shop.new_name()
    document = shop.restored(name, "--create", "--schema", "billing", "--schema-only")
    database = Database(shop.server, name)
    assert tables_of(database) == {"invoices"}
    assert database.rows("SELECT count(*) FROM billing.invoices") == [(0,)]
    assert document["compared"] == "objects"


def test_definitions_then_rows(shop: Restoring) -> None:
    name = shop.new_name()
    document = shop.restored(name, "--create", "--schema-only")
    assert document["compared"] == "objects"
    left = differences(shop.source.dsn(), shop.server.dsn(name), shop.server.bindir)
    assert all(one.startswith(("rows of ", "large object", "sequence ", "mat")) for one in left)
    assert len(left) == 6, left
    database = Database(shop.server, name)

    document = shop.restored(name, "--data-only")
    assert (document["compared"], document["rows"]) == ("content", 2600)
    with database.connect() as connection:
        connection.execute("SET default_transaction_read_only = off")
        connection.execute("REFRESH MATERIALIZED VIEW public.totals")
    shop.assert_restored(name, database_settings=True)

    said = shop.refused(name, "--data-only")
    assert "hold rows already" in said
    with database.connect() as connection:
        connection.execute("SET default_transaction_read_only = off")
        connection.execute("TRUNCATE public.notes")
        connection.execute("DROP TABLE billing.invoices CASCADE")
    shop.restored(name, "--data-only", "--table", "notes")
    said = shop.refused(name, "--data-only", "--table", "invoices")
    assert "lacks table" in said
    assert '"billing"."invoices"' in said


def test_rows_alone_are_all_or_nothing(shop: Restoring) -> None:
    """A row that its table no longer takes: nothing of the other tables stays, either."""
    name = shop.new_name()
    shop.restored(name, "--create", "--schema-only", "--no-compare")
    database = Database(shop.server, name)
    with database.connect() as connection:
        connection.execute("SET default_transaction_read_only = off")
        connection.execute("ALTER TABLE public.users ADD CHECK (id < 400)")
    outcome = shop.run(name, "--data-only")
    assert outcome.code == 1
    assert "violates check constraint" in outcome.err
    for table in ("public.users", "public.notes", "billing.invoices"):
        assert database.rows(f"SELECT count(*) FROM {table}") == [(0,)]


def test_a_plain_role_owns_all_of_it(shop: Restoring, fresh_role: Callable[..., Role]) -> None:
    role = fresh_role(shop.server, attributes="CREATEDB")
    name = shop.new_name()
    dsn = shop.server.dsn(name, role=role)
    words = ("restore", shop.backup, "--to", dsn, "--create", "--json")
    outcome = run_inside(shop.site, *words)
    assert outcome.code == 1
    assert "must be member of role" in outcome.err
    assert "--no-owner --no-privileges" in outcome.err
    outcome = run_inside(shop.site, *words, "--no-owner", "--no-privileges")
    assert outcome.code == 0, outcome.err
    document = outcome.json
    assert (document["compared"], document["differences"]) == ("content", [])
    database = Database(shop.server, name)
    owners = database.rows(
        "SELECT DISTINCT pg_get_userbyid(relowner) FROM pg_class WHERE oid >= 16384 UNION "
        f"SELECT pg_get_userbyid(datdba) FROM pg_database WHERE datname = '{name}'"
    )
    assert owners == [(role.name,)]
    shop.clean()


@pytest.fixture
def in_place(shop: Restoring, fresh_role: Callable[..., Role]) -> tuple[Database, list[str]]:
    """An empty database whose owner may not create any, and the words to restore into it."""
    role = fresh_role(shop.server)
    empty = shop.existing()
    with shop.server.connect() as connection:
        connection.execute(f"ALTER DATABASE {empty.name} OWNER TO {role.name}".encode())
        connection.execute(
            f"ALTER ROLE {role.name} SET default_transaction_read_only = on".encode()
        )
    words = ["restore", shop.backup, "--to", empty.dsn(role=role), "--json", "--no-owner"]
    return empty, [*words, "--no-privileges"]


def test_in_place_for_those_who_may_not_create_databases(
    shop: Restoring, in_place: tuple[Database, list[str]]
) -> None:
    empty, words = in_place
    number = shop.databases()[empty.name]
    outcome = run_inside(shop.site, *words)
    assert outcome.code == 0, outcome.err
    assert (outcome.json["compared"], outcome.json["differences"]) == ("content", [])
    assert shop.databases()[empty.name] == number
    assert empty.rows("SELECT count(*) FROM public.notes") == [(2000,)]
    shop.clean()


def test_in_place_a_damaged_backup_leaves_nothing(
    shop: Restoring, in_place: tuple[Database, list[str]]
) -> None:
    empty, words = in_place
    (part,) = shop.site.store.rglob(f"{shop.backup}/database.dump*")
    good = part.read_bytes()
    part.write_bytes(good[:-1] + bytes([good[-1] ^ 1]))
    try:
        outcome = run_inside(shop.site, *words)
        assert outcome.code == 1, outcome.out
        assert "database.dump.zst.gpg in store local is damaged" in outcome.err
        assert tables_of(empty) == set()
    finally:
        part.write_bytes(good)
        shop.clean()


ROLES = """
SET standard_conforming_strings = on;
CREATE ROLE {0}_a;
ALTER ROLE {0}_a WITH SUPERUSER INHERIT LOGIN PASSWORD 'SCRAM-SHA-256$4096:x$y:z';
CREATE ROLE {0}_b;
ALTER ROLE {0}_b WITH NOSUPERUSER INHERIT NOCREATEROLE NOLOGIN NOREPLICATION;
ALTER ROLE {0}_b SET work_mem TO '3MB';
CREATE ROLE {0};
ALTER ROLE {0} WITH SUPERUSER;
GRANT {0}_a TO {0}_b GRANTED BY nobody_here;
GRANT {0}_a TO {0};
CREATE TABLESPACE {0}_t OWNER {0}_a LOCATION '/nowhere/at/all';
"""


def test_roles_as_far_as_our_role_may(
    pg15: PostgresServer, fresh_role: Callable[..., Role]
) -> None:
    maker = fresh_role(pg15, attributes="CREATEROLE")
    script = read_globals(ROLES.format(maker.name).encode())
    try:
        with psycopg.connect(pg15.dsn(role=maker), autocommit=True) as connection:
            made = make_roles(connection, script)
        assert made.created == (f"{maker.name}_a", f"{maker.name}_b")
        assert made.existing == (maker.name,)
        told = "\n".join(made.warnings)
        assert f"role {maker.name}_a was made without SUPERUSER" in told
        assert f"is left as it is; in the backup it is a member of {maker.name}_a" in told
        assert f"tablespace {maker.name}_t: " in told
        assert "SCRAM" not in told
        with pg15.connect() as connection:
            rows = connection.execute(
                "SELECT rolname, rolsuper, rolcanlogin, rolconfig FROM pg_roles"
                " WHERE rolname LIKE %s ORDER BY 1",
                (f"{maker.name}%",),
            ).fetchall()
            members = connection.execute(
                "SELECT member::regrole::text FROM pg_auth_members WHERE roleid = %s::regrole",
                (f"{maker.name}_a",),
            ).fetchall()
        assert rows == [
            (maker.name, False, True, None),
            (f"{maker.name}_a", False, True, None),
            (f"{maker.name}_b", False, False, ["work_mem=3MB"]),
        ]
        assert members == [(f"{maker.name}_b",)]
    finally:
        with pg15.connect() as connection:
            for name in ("a", "b"):
                connection.execute(f"DROP ROLE IF EXISTS {maker.name}_{name}".encode())


def test_roles_are_all_made_or_none(pg15: PostgresServer, fresh_role: Callable[..., Role]) -> None:
    plain = fresh_role(pg15)
    script = read_globals(b"CREATE ROLE gr_first;\nCREATE ROLE gr_second;")
    with (
        psycopg.connect(pg15.dsn(role=plain), autocommit=True) as connection,
        pytest.raises(PermissionDeniedError, match="role gr_first cannot be made"),
    ):
        make_roles(connection, script)
    with pg15.connect() as connection:
        found = connection.execute("SELECT FROM pg_roles WHERE rolname ~ '^gr_'").fetchall()
    assert found == []


class LateDamage:
    """An archive whose end tells of damage, long after its last byte was given."""

    parts = ()

    def __init__(self, dump: bytes) -> None:
        self.plain_bytes = len(dump)
        self._dump = dump

    @contextmanager
    def open(self) -> Iterator[Readable]:
        yield LateEnd(self._dump)


class LateEnd:
    def __init__(self, data: bytes) -> None:
        self._data = data

    def read(self, size: int = -1, /) -> bytes:
        given, self._data = self._data[:4096], self._data[4096:]
        if not given:
            time.sleep(1.5)  # pg_restore would have committed by now
            raise DamagedPartError("the last byte is wrong")
        return given


@pytest.mark.parametrize("selected", [False, True])
def test_in_place_nothing_is_committed_before_the_end_was_seen(
    shop: Restoring, *, selected: bool
) -> None:
    server, empty = shop.server, shop.existing()
    command = [str(server.tool("pg_dump")), "-Fc", "-Z0", "-d", shop.source.dsn()]
    dump = subprocess.run(command, check=True, capture_output=True).stdout
    toc = TocReader().feed(dump)
    assert toc is not None
    chosen = select(toc, tables=["invoices"]).entries if selected else ()
    facts = DatabaseFacts("15", 150000, None, "UTF8", "C", "C", "libc")
    order = RestoreOrder(
        way=Way.IN_PLACE,
        needs=Needs(facts, "15"),
        at=datetime(2026, 11, 23, tzinfo=UTC),
        chosen=tuple(entry.dump_id for entry in chosen) or None,
    )
    connector, program = Connector("test", empty.dsn()), server.tool("pg_restore")
    database = PostgresDatabase(
        connector, empty.name, program, major=15, encoding="UTF8", options=LoadOptions()
    )
    work = InPlace(
        connector, database, program, order, superuser=True, extensions=(), purpose="test"
    )
    with pytest.raises(DamagedPartError, match="the last byte"):
        work.restore(LateDamage(dump), {}, lambda _: None)
    assert tables_of(empty) == set()
