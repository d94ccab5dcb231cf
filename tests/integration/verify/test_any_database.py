"""Any database is proven; and with any one thing changed after the restore it is not, by name."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from psycopg import sql
from support.postgres import PostgresServer
from support.restoring import run_inside
from support.site import Site

from guardian.adapters.postgres.restored import PostgresDatabase
from guardian.verify.names import qualified, quoted

LONG = bool(os.environ.get("GUARDIAN_LONG"))
PHASES = tuple(Phase) if LONG else (Phase.explicit, Phase.reuse, Phase.generate)
"""To make a failing database small takes a backup and two drills a step: minutes."""

# --- databases ----------------------------------------------------------------------------------

TEXT = st.text(
    st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=30
) | st.sampled_from(["", "\\.", "\\N", "NULL", "\t\n\r\\", "🦒" * 7, " x ", "{}", '"'])
# Hypothesis also tries words that stand in our own code.
TAKEN = {
    *("id", "default_", "type_", "p1", "p2", "p3"),  # ours
    *("ctid", "oid", "xmin", "xmax", "cmin", "cmax", "tableoid"),
}
NAMES = st.text(
    st.characters(codec="utf-8", exclude_categories=["Cc", "Cs", "Zl", "Zp"]),
    min_size=1,
    max_size=12,
).filter(lambda name: len(name.encode()) < 50 and name not in TAKEN) | st.sampled_from(
    ["select", "Users", "a b", 'q"uote', "pg", "user", "table", "é", "x.y", "$1", "%s", "id;"]
)
VALUES: dict[str, st.SearchStrategy[str]] = {
    "integer": st.integers(-(2**31), 2**31 - 1).map(str),
    "bigint": st.integers(-(2**63), 2**63 - 1).map(str),
    # PostgreSQL knows one NaN, without a sign.
    "numeric": st.decimals(allow_nan=False, places=3).map(str) | st.just("NaN"),
    "double precision": st.floats().map(repr),
    "text": TEXT,
    "varchar(40)": TEXT,
    "bytea": st.binary(max_size=20).map(lambda value: "\\x" + value.hex()),
    "boolean": st.booleans().map(str),
    "date": st.dates().map(str),
    "timestamptz": st.datetimes().map(lambda value: f"{value} UTC"),
    "interval": st.timedeltas().map(lambda value: f"{value.days} days {value.seconds} seconds"),
    "jsonb": st.sampled_from(['{"a": [1, null]}', "[]", '"\\u00e9"', "1e400", "null"]),
    "json": st.sampled_from(['{"a":1,  "a":2}', " [ ] ", "null"]),
    "uuid": st.uuids().map(str),
    "integer[]": st.lists(st.integers(0, 9), max_size=3).map(
        lambda items: "{" + ",".join(map(str, items)) + "}"
    ),
    "inet": st.ip_addresses().map(str),
}


BOOLEANS: st.SearchStrategy[Any] = st.booleans()


@dataclass
class Table:
    name: str
    columns: dict[str, str]
    rows: list[list[str | None]]
    parent: str | None = None
    indexed: str | None = None
    identifier: sql.Identifier = field(init=False)

    def __post_init__(self) -> None:
        self.identifier = sql.Identifier("public", self.name)

    @property
    def shown(self) -> str:
        return qualified("public", self.name)


@st.composite
def databases(draw: st.DrawFn) -> list[Table]:
    """A few tables with values of many types, some with a foreign key to the one before."""
    names = draw(st.lists(NAMES, min_size=1, max_size=4, unique_by=str.casefold))
    tables: list[Table] = []
    for name in names:
        columns = draw(st.dictionaries(NAMES, st.sampled_from([*VALUES]), max_size=4))
        row = st.tuples(*(st.none() | VALUES[kind] for kind in columns.values())).map(list)
        rows = draw(st.lists(row, max_size=12))
        has_parent = bool(draw(BOOLEANS)) and bool(tables)
        parent = tables[-1].name if has_parent else None
        plain = [
            one for one, kind in columns.items() if kind not in {"json", "text", "varchar(40)"}
        ]
        indexed = draw(st.sampled_from(plain)) if plain else None
        tables.append(Table(name, columns, rows, parent, indexed))
    return tables


def create(connection: psycopg.Connection, tables: list[Table]) -> None:
    for number, table in enumerate(tables):
        columns: list[sql.Composable] = [
            sql.SQL("{} {}").format(sql.Identifier(name), sql.SQL(kind))
            for name, kind in table.columns.items()
        ]
        columns.insert(0, sql.SQL("id bigserial PRIMARY KEY"))
        columns.append(sql.SQL("default_ int DEFAULT 7, type_ int"))
        columns.append(sql.SQL("CONSTRAINT check_ CHECK (default_ < 100 AND id <> 0)"))
        if table.parent is not None:
            parent = sql.Identifier("public", table.parent)
            columns.append(
                sql.SQL("{} bigint REFERENCES {}").format(sql.Identifier(f"p{number}"), parent)
            )
        connection.execute(
            sql.SQL("CREATE TABLE {} ({})").format(table.identifier, sql.SQL(", ").join(columns))
        )
        for row in table.rows:
            if not row:
                statement = sql.SQL("INSERT INTO {} DEFAULT VALUES").format(table.identifier)
            else:
                values = [
                    sql.SQL("{}::{}").format(sql.Literal(value), sql.SQL(kind))
                    for value, kind in zip(row, table.columns.values(), strict=True)
                ]
                statement = sql.SQL("INSERT INTO {} ({}) VALUES ({})").format(
                    table.identifier,
                    sql.SQL(", ").join(map(sql.Identifier, table.columns)),
                    sql.SQL(", ").join(values),
                )
            connection.execute(statement)
        if table.indexed is not None:
            connection.execute(
                sql.SQL("CREATE INDEX {} ON {} ({})").format(
                    names(number, table)["bare_index"],
                    table.identifier,
                    sql.Identifier(table.indexed),
                )
            )
        connection.execute(sql.SQL(BESIDE).format(**names(number, table)))


BESIDE = """
    CREATE VIEW {view} AS SELECT id FROM {table} WHERE default_ IN (1, 7);
    CREATE FUNCTION {function}(int) RETURNS int LANGUAGE sql AS 'SELECT $1';
    CREATE SEQUENCE {sequence};
    GRANT INSERT ON {table} TO PUBLIC;
"""


def names(number: int, table: Table) -> dict[str, sql.Composable]:
    """A table, and what was made beside it."""
    kinds = ("view", "function", "sequence", "index")
    return {
        "table": table.identifier,
        "serial": sql.Literal(f"public.{quoted(table.name)}"),
        **{kind: sql.Identifier("public", f"{kind} {number}") for kind in kinds},
        "bare_index": sql.Identifier(f"index {number}"),
    }


# --- changes ------------------------------------------------------------------------------------

Change = tuple[sql.Composed, str]
"""What changes one thing, and what a difference must name."""

OF_TABLE = {
    "insert a row": "INSERT INTO {table} DEFAULT VALUES",
    "lose a default": "ALTER TABLE {table} ALTER id DROP DEFAULT",
    "another default": "ALTER TABLE {table} ALTER default_ SET DEFAULT 8",
    "add a column": "ALTER TABLE {table} ADD COLUMN added int",
    "another type": "ALTER TABLE {table} ALTER type_ TYPE bigint",
    "add a check": "ALTER TABLE {table} ADD CHECK (id > -1)",
    "lose a check": "ALTER TABLE {table} DROP CONSTRAINT check_",
    "another check": "ALTER TABLE {table} DROP CONSTRAINT check_; "
    "ALTER TABLE {table} ADD CONSTRAINT check_ CHECK (default_ < 101 AND id <> 0)",
    "secure rows": "ALTER TABLE {table} ENABLE ROW LEVEL SECURITY",
    "grant": "GRANT SELECT ON {table} TO PUBLIC",
    "revoke": "REVOKE INSERT ON {table} FROM PUBLIC",
    "comment": "COMMENT ON TABLE {table} IS 'new'",
    "trigger": "CREATE TRIGGER added AFTER INSERT ON {table} "
    "EXECUTE FUNCTION suppress_redundant_updates_trigger()",
    "options": "ALTER TABLE {table} SET (fillfactor = 50)",
}
OF_ROWS = {
    "lose a row": "DELETE FROM {table} WHERE ctid = (SELECT max(ctid) FROM {table})",
    "change a row": "UPDATE {table} SET id = -1 WHERE id = (SELECT min(id) FROM {table})",
}
BESIDE_TABLE = {
    "view": (
        "DROP VIEW {view}",
        "CREATE OR REPLACE VIEW {view} AS SELECT id FROM {table} WHERE default_ IN (1, 8)",
    ),
    "function": (
        "DROP FUNCTION {function}",
        "CREATE OR REPLACE FUNCTION {function}(int) RETURNS int LANGUAGE sql AS 'SELECT 1 + $1'",
        "ALTER FUNCTION {function} STABLE",
    ),
    "sequence": (
        "DROP SEQUENCE {sequence}",
        "SELECT nextval(pg_get_serial_sequence({serial}, 'id'))",
        "ALTER SEQUENCE {sequence} MAXVALUE 7",
    ),
}
OF_INDEX = (
    "DROP INDEX {index}",
    "DROP INDEX {index}; CREATE INDEX {bare_index} ON {table} (id)",
    "DROP INDEX {index}; CREATE INDEX {bare_index} ON {table} (id) WHERE id > 3",
)


@st.composite
def changes(draw: st.DrawFn, tables: list[Table]) -> Change:
    number = draw(st.integers(0, len(tables) - 1))
    table = tables[number]
    found = [(one, table.shown) for one in (OF_TABLE | (OF_ROWS if table.rows else {})).values()]
    for kind, statements in BESIDE_TABLE.items():
        found += [(one, kind) for one in statements]
    if table.indexed is not None:
        found += [(one, f"index {number}") for one in OF_INDEX]
    statement, named = draw(st.sampled_from(found))
    return sql.SQL(statement).format(**names(number, table)), named


# --- the property -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def site(pg15: PostgresServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    made = Site(tmp_path_factory.mktemp("any") / "site", pg15.dsn("p_any"))
    # A server of its own for each drill would take most of the time.
    made.server = {"verify": {"scratch": pg15.dsn(), "allow_source_server": True}}
    yield made
    pg15.drop_database("p_any")


def drilled(site: Site, code: int) -> dict[str, Any]:
    outcome = run_inside(site, "verify", "--json")
    assert outcome.code == code, outcome.out + outcome.err
    (drill,) = outcome.json
    return dict(drill)


@pytest.mark.timeout(3000 if LONG else 300)
@settings(
    max_examples=100 if LONG else 10,
    derandomize=not LONG,
    phases=PHASES,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(data=st.data())
def test_any_database_is_proven_and_any_change_is_named(
    data: st.DataObject, site: Site, pg15: PostgresServer
) -> None:
    tables = data.draw(databases())
    statement, named = data.draw(changes(tables))
    pg15.drop_database("p_any")
    pg15.create_database("p_any", options="TEMPLATE template0 ENCODING 'UTF8'")
    with pg15.connect("p_any", client_encoding="UTF8") as connection:
        create(connection, tables)
    assert run_inside(site, "backup", "now", "--json").code == 0

    drill = drilled(site, 0)
    assert (drill["result"], drill["reason"]) == ("proven", None)
    assert drill["rows"] == sum(len(table.rows) for table in tables)

    with pytest.MonkeyPatch.context() as patch:
        _change_after_restore(patch, lambda connection: connection.execute(statement))
        drill = drilled(site, 1)
    assert drill["result"] == "mismatch", statement.as_string(None)
    names = [one["object"] for one in drill["differences"]]
    assert any(named in name for name in names), (named, names)


def _change_after_restore(
    patch: pytest.MonkeyPatch, change: Callable[[psycopg.Connection], object]
) -> None:
    original = PostgresDatabase.restore

    def restore(self: PostgresDatabase, *words: Any) -> None:
        original(self, *words)
        with self.connector.connect(self.name) as connection:
            change(connection)

    patch.setattr(PostgresDatabase, "restore", restore)
