"""A guarded database that attacks: what runs when it is restored harms nothing of this host.

The attacker is an ordinary role of the source, who owns a schema there and may neither read files
nor run programs. All that is restored in a drill is restored by a superuser of the throw-away
server; so PostgreSQL itself forbids it nothing, and the cage must.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import pytest
from support.drilling import verify_one
from support.postgres import Database, PostgresServer, Role
from support.site import Site

from guardian.daemon import scratch
from guardian.daemon.scratch import EmbeddedScratch

SECRET = "what-guardian-knows"


WAYS_IN = {
    "by_check": "CREATE TABLE {0}.t (x text CHECK ({0}.f(x)))",
    "by_domain": "CREATE DOMAIN {0}.d AS text CHECK ({0}.f(VALUE)); CREATE TABLE {0}.t (x {0}.d)",
    "by_index": "CREATE TABLE {0}.t (x text); CREATE INDEX ON {0}.t ({0}.f(x))",
    "by_predicate": "CREATE TABLE {0}.t (x text); CREATE INDEX ON {0}.t (x) WHERE {0}.f(x)",
    "by_generated": "CREATE TABLE {0}.t (x text, y boolean GENERATED ALWAYS AS ({0}.f(x)) STORED)",
    "by_view": "CREATE TABLE {0}.t (x text); "
    "CREATE MATERIALIZED VIEW {0}.v AS SELECT {0}.f('a') AS y",
    "by_partition": "CREATE TABLE {0}.t (x text) PARTITION BY LIST ((x || {0}.f('a')::text)); "
    "CREATE TABLE {0}.p PARTITION OF {0}.t DEFAULT",
}
"""What runs a function while it is restored: what an ordinary role may make, in its schema."""


@dataclass
class Attack:
    """A database in which an ordinary role may make schemas, and where it would leave its mark."""

    database: Database
    role: Role
    site: Site
    marks: Path
    secret: Path

    def as_role(self, *statements: str) -> None:
        with self.database.connect(role=self.role) as connection:
            for statement in statements:
                connection.execute(statement.encode())

    def plant(self, schema: str, body: str) -> None:
        """``<schema>.f(text)``: said to be IMMUTABLE, it attacks wherever it is a superuser.

        In two: what is not volatile itself may not write, what it calls may.
        """
        self.as_role(
            f"""
            CREATE SCHEMA {schema};
            CREATE FUNCTION {schema}.attack() RETURNS void LANGUAGE plpgsql AS $f$
            BEGIN
                IF (SELECT rolsuper FROM pg_catalog.pg_roles WHERE rolname = current_user) THEN
                    {body}
                END IF;
            END $f$;
            CREATE FUNCTION {schema}.f(text) RETURNS boolean LANGUAGE plpgsql IMMUTABLE AS
            $f$ BEGIN PERFORM {schema}.attack(); RETURN true; END $f$;
            {WAYS_IN[schema].format(schema)};
            INSERT INTO {schema}.t (x) VALUES ('one'), ('two')
            """
        )

    def ways_out(self, schema: str) -> list[str]:
        """What it would do as a superuser."""
        mark = f"{self.marks}-{schema}"
        return [
            f"COPY (SELECT 1) TO PROGRAM 'touch {mark}-program';",
            f"COPY (SELECT 1) TO '{mark}-file';",
            f"PERFORM pg_catalog.lo_export({OID}, '{mark}-object');",
            f"RAISE EXCEPTION '%', pg_catalog.pg_read_file('{self.secret}');",
            f"RAISE EXCEPTION '%', pg_catalog.pg_read_file('/proc/{os.getpid()}/environ');",
        ]

    def marked(self) -> list[str]:
        """What was left on this host, as ``<way in>-<way out>``."""
        found = self.marks.parent.glob(f"{self.marks.name}-*")
        return sorted(path.name.removeprefix(f"{self.marks.name}-") for path in found)


OID = 4711


@pytest.fixture
def attack(
    pg15: PostgresServer,
    fresh_database: Callable[..., Database],
    fresh_role: Callable[..., Role],
    tmp_path: Path,
) -> Iterator[Attack]:
    database, role = fresh_database(pg15), fresh_role(pg15)
    database.execute(
        f'GRANT CREATE ON DATABASE "{database.name}" TO "{role.name}"', f"SELECT lo_create({OID})"
    )
    secret = tmp_path / "secret"
    secret.write_text(SECRET)
    secret.chmod(0o644)
    marks = Path("/tmp") / f"guardian-pwned-{database.name}"  # where the server's user may write
    made = Attack(database, role, Site(tmp_path / "site", database.dsn()), marks, secret)
    yield made
    for name in made.marked():
        Path(f"{marks}-{name}").unlink()


def test_what_hides_its_failure_harms_nothing(
    attack: Attack, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every way in tries every way out, and tells nobody that it failed: the backup is proven."""
    for schema in WAYS_IN:
        tries = [
            f"BEGIN {body} EXCEPTION WHEN OTHERS THEN NULL; END;"
            for body in attack.ways_out(schema)
        ]
        attack.plant(schema, "".join(tries))
    assert attack.site.back_up().code == 0
    drill = verify_one(attack.site)
    assert (drill["result"], drill["rows"]) == ("proven", 2 * len(WAYS_IN))
    assert attack.marked() == []

    # Without the cage each of them is an attack that succeeds; else this would show nothing.
    monkeypatch.setattr(EmbeddedScratch, "caged", False)
    verify_one(attack.site)
    assert attack.marked() == sorted(
        f"{schema}-{way}" for schema in WAYS_IN for way in ("program", "file", "object")
    )


def test_what_fails_loudly_is_told_without_what_it_looked_for(attack: Attack) -> None:
    attack.plant("by_check", "".join(reversed(attack.ways_out("by_check")[3:])))
    assert attack.site.back_up().code == 0
    drill = verify_one(attack.site, code=1)
    assert drill["result"] == "unrestorable"
    assert "could not open file" in drill["reason"]
    assert attack.marked() == []


def test_what_asks_for_a_password_gets_none_of_ours(
    attack: Attack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each connection after it meets a server that wants one: what libpq finds is not for it."""
    attack.plant(  # while rows are loaded
        "by_check", f"EXECUTE format('ALTER ROLE %I PASSWORD %L', current_user, '{SECRET}');"
    )
    attack.plant(  # and they are there
        "by_index",
        """
        EXECUTE format('COPY (SELECT %L) TO %L', 'local all all password',
            current_setting('data_directory') || '/pg_hba.conf');
        PERFORM pg_reload_conf(), pg_sleep(1);
        """,
    )
    assert attack.site.back_up().code == 0
    file = tmp_path / "pgpass"
    file.write_text(f"*:*:*:*:{SECRET}\n")
    file.chmod(0o600)
    for name, value in (("PGPASSFILE", str(file)), ("PGPASSWORD", SECRET)):
        with monkeypatch.context() as patched:
            patched.setenv(name, value)
            drill = verify_one(attack.site, code=None)
        assert drill["result"] != "proven", name
        assert "password" in drill["reason"], name

    # It does ask, and whoever has the password gets in; else this would show nothing.
    monkeypatch.setattr(scratch, "secrets", SimpleNamespace(token_hex=lambda _: SECRET))
    assert verify_one(attack.site)["result"] == "proven"


def test_what_a_hostile_superuser_of_the_source_plants(attack: Attack) -> None:
    """Event triggers, and names that shadow PostgreSQL's own: in a drill they change nothing."""
    attack.database.execute(
        f"""
        CREATE FUNCTION public.fires() RETURNS event_trigger LANGUAGE plpgsql AS $f$
        BEGIN COPY (SELECT 1) TO PROGRAM 'touch {attack.marks}-trigger';
        EXCEPTION WHEN OTHERS THEN NULL; END $f$
        """,
        "CREATE TABLE public.t AS SELECT g FROM generate_series(1, 10) g",
        "CREATE FUNCTION public.count(integer) RETURNS bigint LANGUAGE sql AS 'SELECT 0::bigint'",
        "CREATE EVENT TRIGGER fires ON ddl_command_end EXECUTE FUNCTION fires()",
        f'ALTER DATABASE "{attack.database.name}" SET search_path = public, pg_catalog',
    )
    assert attack.site.back_up().code == 0
    assert attack.marked() == []
    drill = verify_one(attack.site)
    assert (drill["result"], drill["rows"]) == ("proven", 10)
    assert attack.marked() == []
