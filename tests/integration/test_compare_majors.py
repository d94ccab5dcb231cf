"""What was restored is the same by its fingerprint, also on another major; and any damage is named.

The zoo (every kind of object and value) is dumped from 15, 16 and 18 and restored into the same and
newer majors, then damaged one thing at a time.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import psycopg
import pytest
from psycopg import sql
from support.postgres import Database, PostgresServer
from support.zoo import KEEPERS, OWNER, READER, create_zoo, drop_database

from guardian.adapters.postgres.fingerprinter import Fingerprinter
from guardian.adapters.postgres.retelling import retell
from guardian.adapters.postgres.session import settle_session
from guardian.adapters.postgres.tables import list_tables
from guardian.model import Definition, Difference, Fingerprint, ProofLevel
from guardian.verify.compare import compare
from guardian.verify.definitions import compare_definitions
from guardian.verify.names import comparable, qualified, quoted

SEED = 4711

# Beside the zoo: what majors are known to treat differently, and plain objects to damage.
MORE = """
CREATE TABLE public.json_table (json_value int PRIMARY KEY, merge_action text);
CREATE VIEW public.catalog AS SELECT attname, attstattarget FROM pg_catalog.pg_attribute;
COMMENT ON COLUMN public.json_table.json_value IS 'a word since 17';
CREATE TABLE public.users (
    id serial PRIMARY KEY, email text NOT NULL DEFAULT '', age int, size int,
    CONSTRAINT grown CHECK (age > 0 AND email NOT IN ('a', 'b')));
CREATE TABLE public.plain (id int PRIMARY KEY, note text);
CREATE TYPE public.made_of AS (a int, b varchar(3));
INSERT INTO public.users (email) SELECT 'user' || i FROM generate_series(1, 20) i;
CREATE INDEX users_email_idx ON public.users (email);
CREATE STATISTICS public.users_stats ON id, email FROM public.users;
CREATE VIEW public.adults AS SELECT id FROM public.users WHERE age > 17;
CREATE MATERIALIZED VIEW public.sums AS SELECT count(*) AS n FROM public.users WHERE age > 1;
CREATE INDEX lower_email ON public.users (lower(email)) WHERE age > 1;
CREATE TABLE public.made (
    a varchar(9) DEFAULT 'a', b text GENERATED ALWAYS AS (a || 'b') STORED);
-- What PostgreSQL tells otherwise once it was read back from a dump, and means the same.
CREATE TABLE public."Picky USING (""x"")" (
    a varchar(9) DEFAULT (CASE WHEN 'x'::varchar IN ('x', 'y') THEN 'a' END),
    b boolean GENERATED ALWAYS AS (a IN ('x', 'y')) STORED,
    CONSTRAINT picky CHECK (a IN ('x', 'y')),
    CONSTRAINT apart EXCLUDE USING btree (a WITH =) WHERE (a IN ('x', 'y')));
CREATE INDEX "picky ON USING" ON public."Picky USING (""x"")" ((a IN ('x', 'y')))
    WHERE a IN ('x', 'y');
CREATE UNIQUE INDEX picky_too ON public."Picky USING (""x"")" (a) WHERE a NOT IN ('x', 'y');
CREATE POLICY picky ON public."Picky USING (""x"")" FOR UPDATE
    USING (EXISTS (SELECT FROM public.made m
                    WHERE m.a = "Picky USING (""x"")".a AND m.a IN ('x', 'y')))
    WITH CHECK (a IN ('x', 'y'));
CREATE VIEW public.picky AS SELECT a FROM public."Picky USING (""x"")" WHERE a IN ('x', 'y');
CREATE MATERIALIZED VIEW public.picky_sums AS SELECT a IN ('x', 'y') AS n FROM public.made;
CREATE DOMAIN public.picky_domain AS varchar(9) CONSTRAINT picky CHECK (VALUE IN ('x', 'y'));
GRANT SELECT ON public.users TO "zoo reader";
COMMENT ON TABLE public.users IS 'who';
CREATE POLICY own ON public.users USING (email = current_user);
ALTER TABLE public.users ENABLE ROW LEVEL SECURITY;
"""


def fingerprint(
    database: Database, level: ProofLevel = ProofLevel.CONTENT, left_out: tuple[str, ...] = ()
) -> Fingerprint:
    with psycopg.connect(database.dsn(), autocommit=True, client_encoding="UTF8") as connection:
        settle_session(connection, "UTF8")
        connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
        return read(connection, level, left_out)


def read(
    connection: psycopg.Connection,
    level: ProofLevel = ProofLevel.CONTENT,
    left_out: tuple[str, ...] = (),
) -> Fingerprint:
    reader = Fingerprinter(connection, list_tables(connection), seed=SEED, left_out=left_out)
    return reader.complete(reader.take(level, lambda _: None))


def dump(database: Database, file: Path, *options: str) -> Path:
    words: list[str | Path] = [database.server.tool("pg_dump"), "-Fc", "--encoding=UTF8"]
    subprocess.run([*words, "-f", file, "-d", database.dsn(), *options], check=True)
    return file


def restore(file: Path, target: Database, *options: str) -> None:
    """By the target's own pg_restore: a newer one may refuse it, an older one the dump."""
    words: list[str | Path] = [target.server.tool("pg_restore"), "--exit-on-error"]
    subprocess.run([*words, "-d", target.dsn(), *options, file], check=True)


def create_roles(server: PostgresServer) -> None:
    with server.connect() as connection:
        for name in (OWNER, KEEPERS, READER):
            if not connection.execute("SELECT FROM pg_roles WHERE rolname = %s", [name]).fetchall():
                connection.execute(sql.SQL("CREATE ROLE {}").format(sql.Identifier(name)))


def differences(
    expected: Fingerprint,
    found: Fingerprint,
    source: int,
    target: int,
    copy: Database | None = None,
) -> list[tuple[str, str, str]]:
    """With ``copy``, the restored database, also what it makes otherwise."""
    told = compare(expected, found, source_major=source, target_major=target)
    if copy is not None:
        told += redefined(expected, found, copy, same_major=source == target)
    return [(one.object, one.expected, one.found) for one in told]


def redefined(
    expected: Fingerprint, found: Fingerprint, copy: Database, *, same_major: bool
) -> tuple[Difference, ...]:
    def ask(definitions: Sequence[Definition]) -> Sequence[str | None]:
        with psycopg.connect(copy.dsn(), autocommit=True, client_encoding="UTF8") as connection:
            settle_session(connection, "UTF8")
            answers = retell(connection, definitions)
        for one, answer in zip(definitions, answers, strict=True):
            assert answer is not None, f"{one} could not be asked"
        return answers

    return compare_definitions(expected, found, same_major=same_major, retell=ask)


@pytest.mark.parametrize(
    ("source", "target"),
    [
        *(("pg15", "pg15"), ("pg15", "pg16"), ("pg15", "pg18")),
        *(("pg16", "pg16"), ("pg16", "pg18"), ("pg18", "pg18")),
    ],
)
def test_a_restored_zoo_is_the_same(
    source: str, target: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    one: PostgresServer = request.getfixturevalue(source)
    other: PostgresServer = request.getfixturevalue(target)
    # The newer servers here have no contrib: what needs it stays at home.
    zoo = create_zoo(replace(one, has_contrib=one.has_contrib and other.has_contrib))
    create_roles(other)
    copy = other.create_database(options="TEMPLATE template0 ENCODING 'UTF8'")
    try:
        with zoo.connect(client_encoding="UTF8") as connection:
            connection.execute(MORE.encode())
        restore(dump(zoo, tmp_path / "zoo.dump"), copy)
        expected, found = fingerprint(zoo), fingerprint(copy)
        assert differences(expected, found, one.major, other.major, copy) == []
        assert len(found.tables) > 50
        assert len(found.objects["hint: definition"]) > 200
        texts = [set(side.objects["hint: definition"]) for side in (expected, found)]
        assert sum("icky" in line for line in texts[0] - texts[1]) >= 9, "nothing was asked"
        # Not for lack of looking: the servers do write some of it differently.
        if one.major < 17 <= other.major:
            assert expected.objects != found.objects
        counts = fingerprint(zoo, ProofLevel.COUNTS)
        assert differences(counts, found, one.major, other.major) == []
    finally:
        drop_database(other, copy.name)
        drop_database(one, zoo.name)


@pytest.mark.parametrize(
    "options", [("--no-owner",), ("--no-acl",), ("--no-owner", "--no-acl")], ids=" ".join
)
def test_a_restore_without_owners_or_grants(
    pg18: PostgresServer, tmp_path: Path, options: tuple[str, ...]
) -> None:
    create_roles(pg18)
    source = pg18.create_database()
    copy = pg18.create_database(options="TEMPLATE template0")
    try:
        source.execute(
            MORE,
            'GRANT DELETE ON public.users TO "ZOO Keepers"',
            'GRANT USAGE ON SCHEMA public TO "ZOO Keepers"',
            "ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO PUBLIC",
            'ALTER TABLE public.users OWNER TO "ZOO Keepers"',
            'REVOKE DELETE ON public.users FROM "ZOO Keepers"',
            "CREATE FUNCTION public.f() RETURNS int LANGUAGE sql AS 'SELECT 1'",
            "REVOKE EXECUTE ON FUNCTION public.f() FROM PUBLIC",
            'GRANT EXECUTE ON FUNCTION public.f() TO "ZOO Keepers"',
            'ALTER FUNCTION public.f() OWNER TO "zoo ""owner"" 🦁"',
        )
        restore(dump(source, tmp_path / "dump"), copy, *options)
        expected, found = fingerprint(source), fingerprint(copy)
        told = compare(
            expected,
            found,
            source_major=18,
            target_major=18,
            without_owners="--no-owner" in options,
            without_grants="--no-acl" in options,
        )
        assert told == ()
        assert differences(expected, found, 18, 18) != []
    finally:
        pg18.drop_database(copy.name)
        pg18.drop_database(source.name)


def test_one_table_restored_alone(pg18: PostgresServer, tmp_path: Path) -> None:
    """pg_restore brings a named table without its indexes, keys, identity and grants."""
    zoo = create_zoo(pg18)
    copy = pg18.create_database(options="TEMPLATE template0")
    try:
        options = ("--schema=zoo", "--table=unlogged", "--table=tuned")
        with copy.connect() as connection:
            connection.execute("CREATE SCHEMA zoo; CREATE TABLE zoo.mine (id int)")
        restore(dump(zoo, tmp_path / "zoo.dump"), copy, *options)
        only = [("zoo", "unlogged"), ("zoo", "tuned")]
        expected = fingerprint(zoo)
        told = compare(
            expected, fingerprint(copy), source_major=18, target_major=18, only_tables=only
        )
        assert told == ()
        copy.execute("DELETE FROM zoo.tuned WHERE id = 3")
        told = compare(
            expected, fingerprint(copy), source_major=18, target_major=18, only_tables=only
        )
        assert [one.object for one in told] == ["table zoo.tuned"]
    finally:
        drop_database(pg18, copy.name)
        drop_database(pg18, zoo.name)


def test_data_left_out_of_the_dump(pg: PostgresServer, tmp_path: Path) -> None:
    """pg_dump's patterns also match sequences and materialized views."""
    create_roles(pg)
    source = pg.create_database()
    copy = pg.create_database(options="TEMPLATE template0")
    try:
        source.execute(
            MORE,
            "CREATE SCHEMA log",
            'CREATE TABLE log."select" (id serial, at timestamptz DEFAULT now())',
            'INSERT INTO log."select" DEFAULT VALUES',
            "CREATE MATERIALIZED VIEW log.daily AS SELECT 1 AS one",
            "CREATE TABLE log.by_id (id int) PARTITION BY HASH (id)",
            "CREATE TABLE log.one PARTITION OF log.by_id FOR VALUES WITH (MODULUS 1, REMAINDER 0)",
            "INSERT INTO log.by_id VALUES (1)",
        )
        file = dump(source, tmp_path / "dump", "--exclude-table-data=log.*")
        expected = fingerprint(source, left_out=("log.*",))
        restore(file, copy)
        assert differences(expected, fingerprint(copy), pg.major, pg.major) == []
        copy.execute('DROP TABLE log."select"')
        assert differences(expected, fingerprint(copy), pg.major, pg.major) == [
            ('table log."select"', "there", "missing")
        ]
    finally:
        pg.drop_database(copy.name)
        pg.drop_database(source.name)


def test_a_source_without_what_every_database_has(pg18: PostgresServer, tmp_path: Path) -> None:
    source = pg18.create_database()
    copy = pg18.create_database(options="TEMPLATE template0")
    try:
        source.execute(
            "DROP EXTENSION plpgsql",
            "DROP SCHEMA public",
            "CREATE SCHEMA public",
            "COMMENT ON SCHEMA public IS 'our own'",
            "CREATE TABLE public.t (id int)",
        )
        restore(dump(source, tmp_path / "dump"), copy)
        assert differences(fingerprint(source), fingerprint(copy), 18, 18) == []
    finally:
        pg18.drop_database(copy.name)
        pg18.drop_database(source.name)


def test_names_are_quoted_as_by_the_newest_server(pg: PostgresServer) -> None:
    with pg.connect() as connection:
        words = [word for (word,) in connection.execute("SELECT word FROM pg_get_keywords()")]
        words += ["users", "Users", "a b", 'a"b', "1a", "_", "a$", "ä", "a1_"]
        rows = connection.execute(
            "SELECT w, quote_ident(w), format('%%I.%%I', w, w) FROM unnest(%s::text[]) w", [words]
        ).fetchall()
    for word, alone, twice in rows:
        assert comparable(alone) == comparable(quoted(word))
        assert comparable(twice) == comparable(qualified(word, word))
        if pg.major == 18:
            assert (alone, twice) == (quoted(word), qualified(word, word))


# --- damage ---------------------------------------------------------------------------------------

DAMAGES: dict[str, list[tuple[str, str, str]]] = {
    "DELETE FROM public.users WHERE id = 3": [("table public.users", "20 rows", "19 rows")],
    "INSERT INTO public.users VALUES (99, 'x')": [("table public.users", "20 rows", "21 rows")],
    "UPDATE public.users SET email = 'y' WHERE id = 3": [("table public.users", "…", "…")],
    "UPDATE zoo.twins SET a = 1 - a WHERE a IN (0, 1) AND ctid = '(0,1)'": [
        ("table zoo.twins", "…", "…")
    ],
    "DELETE FROM zoo.by_mood WHERE m = 'meh' AND n = 1": [
        ("table zoo.by_mood", "30 rows", "29 rows")
    ],
    "DROP TABLE public.users CASCADE": [
        ("table public.users", "20 rows", "missing"),
        ("view public.adults", "there", "missing"),
        ("materialized view public.sums", "there", "missing"),
    ],
    "DROP TABLE public.plain": [("table public.plain", "0 rows", "missing")],
    "DROP TABLE zoo.by_expression_1": [("table zoo.by_expression_1", "1 row", "missing")],
    "CREATE TABLE public.extra (id serial PRIMARY KEY)": [
        ("table public.extra", "missing", "0 rows")
    ],
    "DROP INDEX public.users_email_idx": [("index public.users_email_idx", "there", "missing")],
    "DROP INDEX zoo.visits_visitor": [("index zoo.visits_visitor", "there", "missing")],
    "ALTER TABLE zoo.tree DROP CONSTRAINT tree_parent_fkey": [
        ("table constraint tree_parent_fkey on table zoo.tree", "there", "missing")
    ],
    "ALTER TABLE public.plain DROP CONSTRAINT plain_pkey": [
        ("table constraint plain_pkey on table public.plain", "there", "missing")
    ],
    "ALTER DOMAIN zoo.tiny DROP CONSTRAINT tiny_check": [
        ("domain constraint tiny_check on type zoo.tiny", "there", "missing")
    ],
    "DROP VIEW public.adults": [("view public.adults", "there", "missing")],
    "CREATE OR REPLACE FUNCTION zoo.overloaded(text) RETURNS int LANGUAGE sql AS 'SELECT 3'": [
        ("body of function zoo.overloaded(text)", "…", "…")
    ],
    "DROP FUNCTION zoo.overloaded(text)": [
        ("function zoo.overloaded(pg_catalog.text)", "there", "missing")
    ],
    "ALTER TABLE zoo.watched DISABLE TRIGGER a_row": [
        ("trigger a_row on zoo.watched", "enabled", "disabled")
    ],
    "ALTER TABLE zoo.watched ENABLE TRIGGER b_disabled": [
        ("trigger b_disabled on zoo.watched", "disabled", "enabled")
    ],
    "DROP TRIGGER a_row ON zoo.watched": [
        ("trigger a_row on table zoo.watched", "there", "missing")
    ],
    "DROP POLICY own ON public.users": [("policy own on table public.users", "there", "missing")],
    'REVOKE SELECT ON public.users FROM "zoo reader"': [
        ('grant SELECT on table public.users to "zoo reader"', "there", "missing")
    ],
    "GRANT DELETE ON public.users TO PUBLIC": [
        ("grant DELETE on table public.users to PUBLIC", "missing", "there")
    ],
    'REVOKE GRANT OPTION FOR SELECT ON zoo.private FROM "ZOO Keepers"': [
        (
            'grant SELECT on table zoo.private to "ZOO Keepers"',
            "there, with grant option",
            "there",
        )
    ],
    'REVOKE UPDATE (secret) ON zoo.private FROM "ZOO Keepers"': [
        (
            'grant UPDATE on column zoo.private.secret to "ZOO Keepers"',
            "there, with grant option",
            "missing",
        )
    ],
    'ALTER VIEW public.adults OWNER TO "ZOO Keepers"': [
        ("owner of view public.adults", "postgres", '"ZOO Keepers"')
    ],
    'ALTER TABLE public.plain OWNER TO "zoo reader"': [
        ("owner of table public.plain", "postgres", '"zoo reader"')
    ],
    "ALTER TYPE zoo.mood ADD VALUE 'late'": [
        ("values of type zoo.mood", "6 values", "7 values, with 'late'")
    ],
    "ALTER TABLE public.users ALTER size TYPE bigint": [
        ("column public.users.size", "integer", "bigint")
    ],
    "ALTER TABLE public.users ALTER email DROP NOT NULL": [
        ("column public.users.email", "text not null", "text")
    ],
    "ALTER TABLE public.users ALTER email DROP DEFAULT": [
        ("default value for column public.users.email", "there", "missing")
    ],
    "SELECT setval('public.users_id_seq', 7)": [
        ("sequence public.users_id_seq", "position 20", "position 7")
    ],
    "SELECT nextval('public.users_id_seq')": [
        ("sequence public.users_id_seq", "position 20", "position 21")
    ],
    "SELECT setval('zoo.round_and_round', 2)": [
        ("sequence zoo.round_and_round", "position 3", "position 2")
    ],
    "ALTER SEQUENCE public.users_id_seq INCREMENT 2": [
        ("sequence public.users_id_seq", "increment 1", "increment 2")
    ],
    "DROP SEQUENCE zoo.never_called": [("sequence zoo.never_called", "there", "missing")],
    "SELECT lo_put(424205, 2000000, '\\x00')": [("large objects", "…", "…")],
    "SELECT lo_unlink(424202)": [("large objects", "5 objects", "4 objects")],
    "COMMENT ON TABLE public.users IS 'what'": [("comment on table public.users", "…", "…")],
    "COMMENT ON COLUMN zoo.private.secret IS NULL": [
        ("comment on column zoo.private.secret", "…", "missing")
    ],
    "ALTER TABLE public.users DISABLE ROW LEVEL SECURITY": [
        ("row security of table public.users", "on", "off")
    ],
    "ALTER TABLE zoo.private NO FORCE ROW LEVEL SECURITY": [
        ("row security of table zoo.private", "on, forced", "on")
    ],
    "REFRESH MATERIALIZED VIEW zoo.fresh WITH NO DATA": [
        ("materialized view zoo.fresh", "populated", "not populated")
    ],
    "DROP STATISTICS public.users_stats": [
        ("statistics object public.users_stats", "there", "missing")
    ],
    "DROP RULE never ON zoo.log": [("rule never on table zoo.log", "there", "missing")],
    'DROP PUBLICATION "pub \'x\'"': [("publication \"pub 'x'\"", "there", "missing")],
    'DROP SCHEMA "empty"': [("schema empty", "there", "missing")],
    'DROP USER MAPPING FOR PUBLIC SERVER "ser""ver \'x\'"': [
        ('user mapping on server "ser""ver \'x\'" for public', "there", "missing")
    ],
    "DROP EVENT TRIGGER zoo_drop": [("event trigger zoo_drop", "there", "missing")],
    "DROP EXTENSION {extension}": [("extension {extension}", "there", "missing")],
    # --- another one of the same name ---
    "CREATE OR REPLACE VIEW public.adults AS SELECT id FROM public.users WHERE age > 18": [
        ("view public.adults", "…", "…")
    ],
    "ALTER VIEW public.adults SET (security_barrier = true)": [
        ("view public.adults", "no options", "…")
    ],
    "DROP MATERIALIZED VIEW public.sums; "
    "CREATE MATERIALIZED VIEW public.sums AS SELECT count(*) AS n FROM public.users WHERE id > 2": [
        ("materialized view public.sums", "…", "…")
    ],
    "ALTER TABLE public.users ALTER email SET DEFAULT 'x'": [
        ("default value for column public.users.email", "…", "…")
    ],
    "ALTER TABLE public.made ALTER a SET DEFAULT 'b'": [
        ("default value for column public.made.a", "…", "…")
    ],
    "ALTER TABLE public.made DROP COLUMN b; "
    "ALTER TABLE public.made ADD COLUMN b text GENERATED ALWAYS AS (a || 'c') STORED": [
        ("default value for column public.made.b", "…", "…")
    ],
    "ALTER TABLE public.users DROP CONSTRAINT grown; ALTER TABLE public.users "
    "ADD CONSTRAINT grown CHECK (age > 0 AND email NOT IN ('a', 'c'))": [
        ("table constraint grown on table public.users", "…", "…")
    ],
    "ALTER TABLE public.users DROP CONSTRAINT grown; ALTER TABLE public.users "
    "ADD CONSTRAINT grown CHECK (age > 0 AND email NOT IN ('a', 'b')) NOT VALID": [
        ("table constraint grown on table public.users", "…", "…")
    ],
    "ALTER TABLE public.plain DROP CONSTRAINT plain_pkey; "
    "ALTER TABLE public.plain ADD CONSTRAINT plain_pkey PRIMARY KEY (id) DEFERRABLE": [
        ("table constraint plain_pkey on table public.plain", "…", "…")
    ],
    "ALTER TABLE zoo.tree DROP CONSTRAINT tree_parent_fkey; ALTER TABLE zoo.tree "
    "ADD CONSTRAINT tree_parent_fkey FOREIGN KEY (parent) REFERENCES zoo.tree ON UPDATE CASCADE": [
        ("table constraint tree_parent_fkey on table zoo.tree", "…", "…")
    ],
    "DROP INDEX public.users_email_idx; CREATE INDEX users_email_idx ON public.users (size)": [
        ("index public.users_email_idx", "…", "…")
    ],
    "DROP INDEX public.users_email_idx; "
    "CREATE UNIQUE INDEX users_email_idx ON public.users (email)": [
        ("index public.users_email_idx", "…", "…")
    ],
    "DROP INDEX public.users_email_idx; "
    "CREATE INDEX users_email_idx ON public.users (email) WHERE age > 1": [
        ("index public.users_email_idx", "…", "…")
    ],
    "DROP INDEX public.lower_email; "
    "CREATE INDEX lower_email ON public.users (upper(email)) WHERE age > 1": [
        ("index public.lower_email", "…", "…")
    ],
    "DROP INDEX public.lower_email; "
    "CREATE INDEX lower_email ON public.users (lower(email)) WHERE age > 2": [
        ("index public.lower_email", "…", "…")
    ],
    "ALTER POLICY own ON public.users USING (email = 'x')": [
        ("policy own on table public.users", "…", "…")
    ],
    'ALTER POLICY own ON public.users TO "zoo reader"': [
        ("policy own on table public.users", "…", "…")
    ],
    "ALTER FUNCTION zoo.overloaded(text) SECURITY DEFINER": [
        ("function zoo.overloaded(pg_catalog.text)", "…", "…")
    ],
    "ALTER SEQUENCE public.users_id_seq MAXVALUE 1000000": [
        ("sequence public.users_id_seq", "…", "…")
    ],
    "ALTER TABLE zoo.watched ENABLE ALWAYS TRIGGER a_row": [
        ("trigger a_row on table zoo.watched", "…", "…")
    ],
    "ALTER TABLE zoo.log ENABLE ALWAYS RULE never": [
        ("rule never on table zoo.log", "…", "…")
    ],
    "ALTER DOMAIN zoo.tiny DROP CONSTRAINT tiny_check; "
    "ALTER DOMAIN zoo.tiny ADD CONSTRAINT tiny_check CHECK (VALUE < 1001)": [
        ("domain constraint tiny_check on type zoo.tiny", "…", "…")
    ],
    "ALTER TYPE public.made_of ALTER ATTRIBUTE b TYPE varchar(4)": [
        ("type public.made_of", "…", "…")
    ],
    "ALTER TABLE public.users SET (fillfactor = 50)": [
        ("table public.users", "no options", "…")
    ],
    'ALTER TABLE public.plain ALTER note TYPE text COLLATE "POSIX"': [
        ("column public.plain.note", "no details", "…")
    ],
    "ALTER TABLE public.plain CLUSTER ON plain_pkey": [
        ("index public.plain_pkey", "no role", "…")
    ],
    'DROP TABLE zoo."new\nline\r\n\\. table"': [
        ('table zoo."new\\nline\\r\\n\\. table"', "2 rows", "missing")
    ],
}  # fmt: skip


POSITIONS = """
    SELECT 'public.users_id_seq', last_value, is_called FROM public.users_id_seq UNION ALL
    SELECT 'zoo.round_and_round', last_value, is_called FROM zoo.round_and_round
"""


@pytest.fixture(scope="module", params=["pg15", "pg18"])
def restored(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Fingerprint, Database]]:
    """The zoo's fingerprint, and what was restored of it."""
    pg: PostgresServer = request.getfixturevalue(request.param)
    zoo = create_zoo(pg)
    copy = pg.create_database(options="TEMPLATE template0")
    try:
        with zoo.connect(client_encoding="UTF8") as connection:
            connection.execute(MORE.encode())
            if not pg.has_contrib:
                connection.execute("DROP EXTENSION vector CASCADE; CREATE EXTENSION vector")
        restore(dump(zoo, tmp_path_factory.mktemp("zoo") / "zoo.dump"), copy)
        yield fingerprint(zoo), copy
    finally:
        drop_database(pg, copy.name)
        drop_database(pg, zoo.name)


@pytest.mark.parametrize("damage", DAMAGES)
def test_damage_is_named_and_nothing_else(
    restored: tuple[Fingerprint, Database], damage: str
) -> None:
    expected, copy = restored
    extension = "tablefunc" if copy.server.has_contrib else "vector"
    with copy.connect(client_encoding="UTF8") as connection:
        positions = connection.execute(POSITIONS).fetchall()
        settle_session(connection, "UTF8")
        connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
        connection.execute("SET LOCAL search_path = public")
        connection.execute(damage.replace("{extension}", extension).encode())
        connection.execute("SET LOCAL search_path = ''")
        found = read(connection)
        connection.execute("ROLLBACK")
        for position in positions:  # no transaction takes a sequence back
            connection.execute("SELECT setval(%s, %s, %s)", position)
    major = copy.server.major
    told = differences(expected, found, major, major, copy)
    wanted = [tuple(word.replace("{extension}", extension) for word in d) for d in DAMAGES[damage]]
    assert [one[0] for one in told] == [one[0] for one in wanted]
    for seen, words in zip(told, wanted, strict=True):
        assert seen[1] != seen[2]
        for word, exact in zip(seen, words, strict=True):
            assert word == exact or (exact == "…" and "…" in word)


def test_nothing_is_left_of_the_damage(restored: tuple[Fingerprint, Database]) -> None:
    expected, copy = restored
    found = fingerprint(copy)
    assert differences(expected, found, copy.server.major, copy.server.major, copy) == []
