from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardian.backup.patterns import compile_pattern, exact_pattern, matches_any
from guardian.errors import ConfigError


@pytest.mark.parametrize(
    ("pattern", "schema", "name", "matches"),
    [
        ("logs", "public", "logs", True),
        ("LOGS", "public", "logs", True),
        ("logs", "public", "Logs", False),
        ('"Logs"', "public", "Logs", True),
        ('"Lo"gs', "public", "Logs", True),
        ("logs", "public", "logs2", False),
        ("logs", "public", "my logs", False),
        ("log*", "public", "logs2", True),
        ("log?", "public", "logs", True),
        ("log?", "public", "log", False),
        ("*", "public", "new\nline", True),
        ('"*"', "public", "logs", False),
        ('"q""q"', "public", 'q"q', True),
        ("app.logs", "app", "logs", True),
        ("app.logs", "public", "logs", False),
        ("app.*", "app", "anything", True),
        ("db.app.logs", "app", "logs", True),
        ('"a.b"', "public", "a.b", True),
        ("a.b", "public", "a.b", False),
        ("x$y", "public", "x$y", True),
        ("a|b", "public", "b", True),
        ('"a|b"', "public", "b", False),
        ("[ab]", "public", "b", True),
        ("int[]", "public", "int[]", True),
        ("É", "public", "É", True),
        ("É", "public", "é", False),
        ("", "public", "logs", False),
        ("app.", "app", "logs", False),
        (".logs", "app", "logs", False),
    ],
)
def test_patterns(pattern: str, schema: str, name: str, matches: bool) -> None:
    assert matches_any([pattern], schema, name) is matches


def test_any_of_several_is_enough_and_none_names_nothing() -> None:
    assert matches_any(["a", "b"], "public", "b")
    assert not matches_any([], "public", "b")


def test_without_a_schema_only_visible_tables_are_meant() -> None:
    assert not matches_any(["logs"], "app", "logs", visible=False)
    assert matches_any(["app.logs"], "app", "logs", visible=False)


@given(st.text(min_size=1), st.text(min_size=1))
def test_a_quoted_name_means_itself_alone(schema: str, name: str) -> None:
    pattern = exact_pattern(schema, name)
    assert matches_any([pattern], schema, name)
    assert not matches_any([pattern], schema, name + "x")


@pytest.mark.filterwarnings("ignore::FutureWarning")
@given(st.text())
def test_no_pattern_raises_anything_else(pattern: str) -> None:
    try:
        matches_any([pattern], "public", "logs")
    except ConfigError as error:
        assert "exclude_table_data" in str(error)  # noqa: PT017 - most patterns are fine


@pytest.mark.parametrize("pattern", ["a[", "(a", "a)", "+", "[z-a]"])
def test_what_pg_dump_refuses_we_refuse(pattern: str) -> None:
    with pytest.raises(ConfigError, match="is not a pattern"):
        matches_any([pattern], "public", "logs")


def test_a_pattern_can_be_compiled_once_for_many_names() -> None:
    schema, name = compile_pattern('app."Log.s"*')
    assert schema.fullmatch("app")
    assert name.fullmatch("Log.s\n2")
    assert not name.fullmatch("logs")
    with pytest.raises(ValueError, match="unterminated"):
        compile_pattern("ok.[")
