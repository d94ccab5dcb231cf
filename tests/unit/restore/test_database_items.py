"""Statements about a whole database, found in an archive and said of another name."""

from __future__ import annotations

import pytest

from guardian.restore.archive import Section, TocEntry
from guardian.restore.database_items import (
    DatabaseItems,
    ItemKind,
    database_items,
    owner_item,
    setting_item,
)


def entry(kind: str, tag: str, definition: str, owner: str = "boss") -> TocEntry:
    return TocEntry(
        dump_id=1,
        tag=tag,
        kind=kind,
        section=Section.PRE_DATA,
        namespace="",
        owner=owner,
        definition=definition,
        copy_statement="",
        dependencies=(),
        has_data=False,
    )


def said(found: DatabaseItems, name: str = "new") -> list[str]:
    return [item.on(name) for item in found.items]


def test_a_role_and_a_database_called_database() -> None:
    definition = (
        "ALTER DATABASE database CONNECTION LIMIT = 7;\nALTER DATABASE database IS_TEMPLATE = true;"
        "\nALTER DATABASE database SET search_path TO 'x y', 'database';\n"
        "ALTER ROLE database IN DATABASE database SET work_mem TO '1MB';\n"
    )
    found = database_items(
        [
            entry("DATABASE", "database", "CREATE DATABASE database;", "database"),
            entry("DATABASE PROPERTIES", "database", definition),
        ]
    )
    assert found.owner == "database"
    assert said(found, 'n"w') == [
        'ALTER DATABASE "n""w" CONNECTION LIMIT = 7',
        'ALTER DATABASE "n""w" IS_TEMPLATE = true',
        "ALTER DATABASE \"n\"\"w\" SET search_path TO 'x y', 'database'",
        'ALTER ROLE database IN DATABASE "n""w" SET work_mem TO \'1MB\'',
    ]
    assert [item.label for item in found.items] == [
        "connection limit",
        "is_template",
        "setting search_path",
        "setting work_mem of role database",
    ]


def test_grants_comment_and_label_under_a_hostile_name() -> None:
    name = '"a ""ON DATABASE"" b; --"'
    found = database_items(
        [
            entry("COMMENT", "DATABASE x", f"COMMENT ON DATABASE {name} IS 'it''s\n;DATABASE x';"),
            entry(
                "ACL",
                "DATABASE x",
                f"REVOKE CONNECT,TEMPORARY ON DATABASE {name} FROM PUBLIC;\n"
                "SET SESSION AUTHORIZATION b;\n"
                f"GRANT CREATE ON DATABASE {name} TO x WITH GRANT OPTION;\n"
                "RESET SESSION AUTHORIZATION;\n",
            ),
            entry(
                "SECURITY LABEL", "DATABASE x", f"SECURITY LABEL FOR p ON DATABASE {name} IS 's'"
            ),
            entry("ACL", "TABLE database", "GRANT SELECT ON TABLE public.database TO x;"),
        ]
    )
    assert said(found) == [
        "COMMENT ON DATABASE \"new\" IS 'it''s\n;DATABASE x'",
        'REVOKE CONNECT,TEMPORARY ON DATABASE "new" FROM PUBLIC',
        "SET SESSION AUTHORIZATION b",
        'GRANT CREATE ON DATABASE "new" TO x WITH GRANT OPTION',
        "RESET SESSION AUTHORIZATION",
        "SECURITY LABEL FOR p ON DATABASE \"new\" IS 's'",
    ]
    assert [item.kind for item in found.without(grants=True).items] == [
        ItemKind.COMMENT,
        ItemKind.LABEL,
    ]


@pytest.mark.parametrize(
    "definition", ["DROP DATABASE x;", "ALTER DATABASE 'x' SET y TO z;", "GRANT a TO b;", "A 'x"]
)
def test_what_is_not_understood_is_not_run(definition: str) -> None:
    found = database_items([entry("DATABASE PROPERTIES", "x", definition)])
    assert found.items == ()
    assert found.unknown == ("database properties",)


@pytest.mark.parametrize(
    ("setting", "expected"),
    [
        ("work_mem=1MB", "SET \"work_mem\" TO '1MB'"),
        ("app.key=it's = \\ x", "SET \"app.key\" TO E'it''s = \\\\ x'"),
        (
            'search_path="select", zoo, "A ""b"""',
            "SET \"search_path\" TO 'select', 'zoo', 'A \"b\"'",
        ),
        ('search_path=""', "SET \"search_path\" TO ''"),
        ("search_path=", "SET \"search_path\" TO ''"),
        ('search_path="$user", public', "SET \"search_path\" TO '$user', 'public'"),
        ("DateStyle=German, DMY", "SET \"DateStyle\" TO 'German, DMY'"),
    ],
)
def test_settings_as_the_catalog_keeps_them(setting: str, expected: str) -> None:
    assert setting_item(setting).on("d") == f'ALTER DATABASE "d" {expected}'
    assert setting_item(setting, "R").on("d") == f'ALTER ROLE "R" IN DATABASE "d" {expected}'
    assert "MB" not in setting_item(setting).label


def test_what_the_backup_lacks_comes_from_the_database_before() -> None:
    backup = DatabaseItems(None, (setting_item("a=1"),))
    before = DatabaseItems("old", (setting_item("b=2"), owner_item("x")))
    merged = backup.over(before)
    assert merged.owner == "old"
    assert said(merged) == [
        'ALTER DATABASE "new" SET "a" TO \'1\'',
        'ALTER DATABASE "new" OWNER TO "x"',
    ]
    assert DatabaseItems("mine").over(before).owner == "mine"
    assert DatabaseItems("mine").without(owner=True).owner is None
