"""What may be done at a target is decided before anything is begun."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardian.errors import ExitCode, GuardianError, PermissionDeniedError, UsageError
from guardian.model import DatabaseFacts, DatabaseRef
from guardian.restore.target import Situation, Way, Wish, dated_name, decide

REF = DatabaseRef("main", "mina")
FACTS = DatabaseFacts("15.18", 150018, "7", "UTF8", "C", "C", "libc")
EMPTY = Situation("mina", "db:5432", 150018, exists=True, system_identifier="8", may_create=True)
AT = datetime(2026, 11, 23, 2, 0, tzinfo=UTC)


def way(wish: Wish, situation: Situation) -> Way:
    return decide(wish, situation, REF, FACTS)


def test_a_new_database_needs_create() -> None:
    new = replace(EMPTY, exists=False)
    assert way(Wish(create=True), new) is Way.NEW
    for wish in (Wish(), Wish(replace=True)):
        with pytest.raises(UsageError, match="'mina' on db:5432 does not exist; --create makes it"):
            way(wish, new)
    with pytest.raises(PermissionDeniedError, match="CREATEDB"):
        way(Wish(create=True), replace(new, may_create=False))


def test_an_empty_database_is_swapped_or_restored_in_place() -> None:
    assert way(Wish(), EMPTY) is Way.EMPTY
    assert way(Wish(create=True), EMPTY) is Way.EMPTY
    assert way(Wish(), replace(EMPTY, may_create=False)) is Way.IN_PLACE
    assert way(Wish(), replace(EMPTY, owns=False)) is Way.IN_PLACE
    prepared = replace(EMPTY, extensions=("plpgsql", "postgis"))
    assert way(Wish(), prepared) is Way.IN_PLACE
    assert way(Wish(), replace(prepared, superuser=True)) is Way.EMPTY
    assert way(Wish(), replace(EMPTY, extensions=("plpgsql",))) is Way.EMPTY


def test_one_that_holds_something_needs_replace() -> None:
    full = replace(EMPTY, contents=("3 tables", "1 function"))
    with pytest.raises(UsageError, match="holds 3 tables, 1 function") as caught:
        way(Wish(create=True, force_disconnect=True), full)
    assert caught.value.exit_code is ExitCode.USAGE
    assert way(Wish(replace=True), full) is Way.REPLACE
    assert way(Wish(replace=True), EMPTY) is Way.REPLACE
    for unable in (replace(full, owns=False), replace(full, may_create=False)):
        with pytest.raises(PermissionDeniedError):
            way(Wish(replace=True), unable)


@pytest.mark.parametrize("contents", [(), ("1 table",)])
def test_the_source_itself_is_named(contents: tuple[str, ...]) -> None:
    source = replace(EMPTY, system_identifier="7", contents=contents)
    with pytest.raises(UsageError, match="is the source of this backup"):
        way(Wish(), source)
    assert way(Wish(replace=True), source) is Way.REPLACE
    other = replace(source, database="other", contents=())
    assert way(Wish(), other) is Way.EMPTY
    unknown = replace(source, system_identifier=None, contents=())
    facts = replace(FACTS, system_identifier=None)
    assert decide(Wish(), unknown, REF, facts) is Way.EMPTY


@pytest.mark.parametrize("wish", [Wish(), Wish(replace=True)])
def test_others_who_are_connected(wish: Wish) -> None:
    busy = replace(EMPTY, sessions=("2 of app",))
    with pytest.raises(UsageError, match=r"2 of app; .*--force-disconnect"):
        way(wish, busy)
    forced = replace(wish, force_disconnect=True)
    assert way(forced, busy) in {Way.EMPTY, Way.REPLACE}
    with pytest.raises(UsageError, match="prepared transactions: p1"):
        way(forced, replace(busy, prepared=("p1",)))
    assert way(Wish(), replace(busy, may_create=False)) is Way.IN_PLACE  # they do no harm


def test_rows_alone_go_where_tables_are() -> None:
    full = replace(EMPTY, contents=("3 tables",), sessions=("1 of app",))
    assert way(Wish(data_only=True), full) is Way.DATA
    with pytest.raises(UsageError, match="--schema-only --create"):
        way(Wish(data_only=True), replace(full, exists=False))


@pytest.mark.parametrize(
    "options",
    [
        {"data_only": True, "schema_only": True},
        {"data_only": True, "create": True},
        {"data_only": True, "replace": True},
    ],
)
def test_options_that_exclude_each_other(options: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="exclude each other"):
        Wish(**options)


@pytest.mark.parametrize("database", ["template0", "template1"])
def test_templates_are_left_alone(database: str) -> None:
    with pytest.raises(GuardianError, match="template"):
        way(Wish(create=True, replace=True), replace(EMPTY, database=database))


def test_dated_names() -> None:
    assert dated_name("mina", "before", AT) == "mina_before_20261123T020000Z"
    taken = {"mina_before_20261123T020000Z"}
    assert dated_name("mina", "before", AT, taken) == "mina_before_20261123T020000Z_2"


@given(st.text(min_size=1))
def test_dated_names_fit(name: str) -> None:
    name = name.encode(errors="ignore").decode()
    dated = dated_name(name, "restored", AT)
    assert len(dated.encode()) <= 63
    assert dated.endswith("_restored_20261123T020000Z")
    assert len(name.encode()) > 63 - 26 or dated.startswith(name)
