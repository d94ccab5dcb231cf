"""The privilege doctor on real servers: each mend, applied by whom it names, is a mend."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import psycopg
import pytest
from psycopg import sql
from support.postgres import Database, PostgresServer, Role

from guardian.adapters.postgres.connection import Connector
from guardian.adapters.postgres.privileges import Finding, inspect_access
from guardian.adapters.postgres.providers import Provider
from guardian.adapters.postgres.watch_privileges import WatchAccess, WatchNeeds, inspect_watch

FreshDatabase = Callable[..., Database]
FreshRole = Callable[..., Role]

NEEDS = WatchNeeds(judges=True, signals=True)


def watch(server: PostgresServer, role: Role, needs: WatchNeeds = NEEDS) -> WatchAccess:
    return inspect_watch(Connector("main", server.dsn(role=role)), needs)


def apply(server: PostgresServer, finding: Finding, role: Role | None = None) -> None:
    """Run the SQL of a mend as whom it names."""
    (statement,) = re.findall(r"^(?:GRANT|ALTER)[^;]*;", finding.mend)
    with server.connect(role=role) as connection:
        connection.execute(statement.encode())


def test_a_role_without_any_grant_and_its_mends(pg: PostgresServer, fresh_role: FreshRole) -> None:
    role = fresh_role(pg, "Odd Röle")
    with pg.connect():
        access = watch(pg, role)
    assert access.provider is Provider.SELF_MANAGED
    assert (access.role, access.sees_all, access.may_signal) == ('"Odd Röle"', False, False)
    assert access.hidden == access.sessions - 1 >= 1
    blind, tied = access.findings
    assert (blind.fatal, tied.fatal) == (True, True)
    assert f"sees NULLs for other roles' sessions ({access.hidden} of {access.sessions} now)" in (
        blind.text
    )
    assert blind.mend == 'GRANT pg_monitor TO "Odd Röle"; (as postgres)'
    assert tied.mend == 'GRANT pg_signal_backend TO "Odd Röle"; (as postgres)'
    apply(pg, blind)
    apply(pg, tied)
    after = watch(pg, role)
    assert (after.sees_all, after.may_signal, after.hidden) == (True, True, 0)
    assert after.findings == ()


def test_read_all_stats_is_enough(pg15: PostgresServer, fresh_role: FreshRole) -> None:
    role = fresh_role(pg15)
    with pg15.connect() as admin:
        admin.execute(f"GRANT pg_read_all_stats, pg_signal_backend TO {role.name}".encode())
    assert watch(pg15, role).findings == ()


def test_what_nobody_asked_for_is_a_warning(pg15: PostgresServer, fresh_role: FreshRole) -> None:
    blind, tied = watch(pg15, fresh_role(pg15), WatchNeeds()).findings
    assert (blind.fatal, tied.fatal) == (False, False)
    observing = watch(pg15, fresh_role(pg15), WatchNeeds(judges=True)).findings
    assert [one.fatal for one in observing] == [True, False]


def test_a_member_that_does_not_inherit(pg: PostgresServer, fresh_role: FreshRole) -> None:
    role = fresh_role(pg, attributes="NOINHERIT")
    with pg.connect() as admin:
        admin.execute(f"GRANT pg_monitor, pg_signal_backend TO {role.name}".encode())
    blind, tied = watch(pg, role).findings
    if pg.major >= 16:
        assert blind.mend == f"GRANT pg_monitor TO {role.name} WITH INHERIT TRUE;"
    else:
        assert blind.mend == f"ALTER ROLE {role.name} INHERIT;"
    apply(pg, blind)
    apply(pg, tied)
    assert watch(pg, role).findings == ()


def test_superusers_only_by_a_superuser(pg15: PostgresServer, fresh_role: FreshRole) -> None:
    role = fresh_role(pg15)
    needs = WatchNeeds(superusers=True)
    *_, third = watch(pg15, role, needs).findings
    assert not third.fatal
    assert "only a superuser can" in third.text
    apply(pg15, Finding(False, "", third.mend.partition("or ")[2]))
    assert watch(pg15, role, needs).findings == ()


# --- managed services, by their roles -----------------------------------------------------------


@contextmanager
def managed(server: PostgresServer, telltale: str, *statements: str) -> Iterator[None]:
    """A server with the roles of a service, and without them again."""
    with server.connect() as admin:
        before = {name for (name,) in admin.execute("SELECT rolname FROM pg_roles")}
        admin.execute(f"CREATE ROLE {telltale} SUPERUSER LOGIN".encode())
        try:
            for statement in statements:
                admin.execute(statement.encode())
            yield
        finally:
            after = {name for (name,) in admin.execute("SELECT rolname FROM pg_roles")}
            for name in sorted(after - before):
                quoted = sql.Identifier(name)
                admin.execute(sql.SQL("DROP OWNED BY {} CASCADE").format(quoted))
            for name in sorted(after - before):
                admin.execute(sql.SQL("DROP ROLE {}").format(sql.Identifier(name)))


def test_on_rds(pg: PostgresServer, fresh_role: FreshRole) -> None:
    role = fresh_role(pg)
    with managed(
        pg,
        "rdsadmin",
        "CREATE ROLE rds_superuser",
        "GRANT pg_monitor, pg_signal_backend, pg_read_all_data TO rds_superuser WITH ADMIN OPTION",
        "CREATE ROLE boss LOGIN",
        "GRANT rds_superuser TO boss",
    ):
        access = watch(pg, role)
        assert access.provider is Provider.RDS
        blind, tied = access.findings
        assert blind.mend == f"GRANT pg_monitor TO {role.name}; (as a member of rds_superuser)"
        boss = Role("boss", "")
        apply(pg, blind, boss)
        apply(pg, tied, boss)
        assert watch(pg, role).findings == ()
        with pg.connect() as admin:  # granted by boss, who goes now
            admin.execute(f"DROP OWNED BY {role.name}".encode())
            admin.execute("SET ROLE rds_superuser")
            admin.execute(f"REVOKE pg_monitor, pg_signal_backend FROM {role.name}".encode())


def test_on_cloud_sql(pg: PostgresServer, fresh_role: FreshRole) -> None:
    """Before 16 CREATEROLE is enough, from 16 on nothing but ADMIN OPTION."""
    role = fresh_role(pg)
    with managed(pg, "cloudsqladmin", "CREATE ROLE customer LOGIN CREATEROLE"):
        access = watch(pg, role)
        assert access.provider is Provider.CLOUD_SQL
        blind, _ = access.findings
        if pg.major >= 16:
            assert blind.mend == "Google Cloud SQL lets nobody grant pg_monitor: ask its support"
            with (
                pg.connect(role=Role("customer", "")) as customer,
                pytest.raises(psycopg.errors.InsufficientPrivilege),
            ):
                customer.execute(f"GRANT pg_monitor TO {role.name}".encode())
        else:
            assert blind.mend == f"GRANT pg_monitor TO {role.name}; (as customer)"
            apply(pg, blind, Role("customer", ""))
            assert watch(pg, role).sees_all


def test_on_neon_reading_all_data_cannot_be_granted(
    pg16: PostgresServer, fresh_role: FreshRole, fresh_database: FreshDatabase
) -> None:
    role, database = fresh_role(pg16), fresh_database(pg16)
    database.execute('CREATE SCHEMA "S"', 'CREATE TABLE "S".t (id serial)')
    connector = Connector("main", database.dsn(role=role))
    with managed(
        pg16,
        "cloud_admin",
        "CREATE ROLE neon_superuser BYPASSRLS CREATEROLE",
        "GRANT pg_monitor, pg_signal_backend TO neon_superuser WITH ADMIN OPTION",
        "GRANT pg_read_all_data TO neon_superuser",
    ):
        access = watch(pg16, role)
        assert access.provider is Provider.NEON
        assert access.findings[0].mend == (
            f"GRANT pg_monitor TO {role.name}; (as a member of neon_superuser)"
        )
        tables, sequences, *_ = inspect_access(connector, database.name).findings
        assert tables.mend.startswith("Neon lets nobody grant pg_read_all_data")
        for finding in (tables, sequences):
            for statement in re.findall(r"GRANT [^;]*;", finding.mend):
                database.execute(statement)
        fatal = [one for one in inspect_access(connector, database.name).findings if one.fatal]
        assert fatal == []


def test_on_supabase_row_security(
    pg: PostgresServer, fresh_role: FreshRole, fresh_database: FreshDatabase
) -> None:
    role, database = fresh_role(pg), fresh_database(pg)
    database.execute(
        "CREATE TABLE notes (id int)",
        "ALTER TABLE notes ENABLE ROW LEVEL SECURITY",
        f"GRANT SELECT ON notes TO {role.name}",
    )
    connector = Connector("main", database.dsn(role=role))
    with managed(pg, "supabase_admin", "CREATE ROLE dev LOGIN CREATEROLE BYPASSRLS"):
        rows, passwords = inspect_access(connector, database.name).findings
        assert "row-level security hides rows of public.notes" in rows.text
        if pg.major >= 16:
            assert rows.mend == f"ALTER ROLE {role.name} BYPASSRLS; (as dev)"
        else:
            assert rows.mend == (
                "Supabase lets nobody set BYPASSRLS here: back up as dev, which has it, or as the "
                "owner of these tables"
            )
        assert not passwords.fatal
        assert "Supabase shows them to nobody" in passwords.mend


def test_the_backups_mends_on_a_server_of_ones_own(
    pg: PostgresServer, fresh_role: FreshRole, fresh_database: FreshDatabase
) -> None:
    role, database = fresh_role(pg), fresh_database(pg)
    database.execute(
        "CREATE TABLE notes (id serial)", "ALTER TABLE notes ENABLE ROW LEVEL SECURITY"
    )
    connector = Connector("main", database.dsn(role=role))
    found = inspect_access(connector, database.name).findings
    assert [one.fatal for one in found] == [True, True, True, False]
    for finding in found:
        (statement,) = re.findall(r"^(?:GRANT|ALTER)[^;]*;", finding.mend)
        database.execute(statement)
    left = inspect_access(connector, database.name).findings
    assert left == ()
