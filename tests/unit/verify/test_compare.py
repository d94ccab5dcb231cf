"""Comparing two fingerprints: what is named, what is folded, and what is no difference."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from guardian.model import (
    Difference,
    Fingerprint,
    LargeObjects,
    ProofLevel,
    SequencePosition,
    TableFingerprint,
)
from guardian.verify.compare import compare
from guardian.verify.names import one_line, qualified, quoted

MD5 = "0123456789abcdef0123456789abcdef"
OTHER_MD5 = "0123ffffffffffffffffffffffffffff"

USERS: dict[str, tuple[str, ...]] = {
    "table": ("public.users",),
    "column": ("public.users.email text not null", "public.users.id integer not null identity"),
    "table constraint": ("users_pkey on public.users",),
    "index": ("public.users_email_idx", "public.users_pkey"),
    "trigger": ("audit on public.users",),
    "disabled trigger": ("audit on public.users",),
    "policy": ("own on public.users",),
    "row security": ("public.users forced",),
    "default value": ("for public.users.email",),
    "sequence": ("public.users_id_seq",),
    "owner": ("relation public.users: alice", "sequence public.users_id_seq: alice"),
    "grant": (
        "column public.users.email: UPDATE bob",
        "relation public.users: SELECT bob with grant option",
    ),
    "comment": (
        f"index public.users_pkey {MD5}",
        f"table column public.users.email {MD5}",
        f"table public.users {MD5}",
    ),
    "hint: belongs": (
        "index public.users_email_idx of public.users",
        "index public.users_pkey of public.users",
        "sequence public.users_id_seq of public.users",
    ),
}
REST: dict[str, tuple[str, ...]] = {
    "extension": ("hstore", "plpgsql"),
    "type": ("public.mood",),
    "enum values": ("public.mood: 'sad', 'it''s \"ok\"', 'happy'",),
    "function": ("public.f(pg_catalog.text)",),
    "routine body": (f"public.f(text) {MD5}",),
    "grant": ("routine public.f(text): EXECUTE PUBLIC",),
    "owner": ("routine public.f(text): alice", "relation public.totals: alice"),
    "materialized view": ("public.totals",),
    "populated materialized view": ("public.totals",),
    "server": ('"my server"',),
    "user mapping": ('"my server" for bob',),
}


def merged(*parts: Mapping[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
    kinds = sorted({kind for part in parts for kind in part})
    return {
        kind: tuple(sorted({line for part in parts for line in part.get(kind, ())}))
        for kind in kinds
    }


def table(name: str = "users", rows: int = 1204, content: str = "3f2a" + "0" * 28) -> Any:
    return TableFingerprint("public", name, rows, content)


FULL = Fingerprint(
    level=ProofLevel.CONTENT,
    seed=7,
    tables=(table(),),
    objects=merged(USERS, REST),
    sequences=(SequencePosition("public", "users_id_seq", 17, 20),),
    large_objects=LargeObjects(5, "a" * 32),
)
FOUND = replace(FULL, sequences=(SequencePosition("public", "users_id_seq", 18, 18),))


def with_objects(fingerprint: Fingerprint, **kinds: tuple[str, ...] | None) -> Fingerprint:
    """``None`` removes a kind; underscores are spaces."""
    objects = dict(fingerprint.objects)
    for name, identities in kinds.items():
        kind = name.replace("_", " ")
        if identities is None:
            del objects[kind]
        else:
            objects[kind] = identities
    return replace(fingerprint, objects=objects)


def without(fingerprint: Fingerprint, kind: str, identity: str) -> Fingerprint:
    rest = tuple(one for one in fingerprint.objects[kind] if one != identity)
    assert len(rest) == len(fingerprint.objects[kind]) - 1
    return replace(fingerprint, objects={**fingerprint.objects, kind: rest})


def differences(
    expected: Fingerprint, found: Fingerprint, source: int = 15, target: int = 15, **options: Any
) -> list[tuple[str, str, str]]:
    told = compare(expected, found, source_major=source, target_major=target, **options)
    return [(one.object, one.expected, one.found) for one in told]


def test_the_same_has_no_difference() -> None:
    assert compare(FULL, FOUND, source_major=15, target_major=18) == ()


# --- rows -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rows", "told"),
    [
        ((table(rows=1203),), ("table public.users", "1,204 rows", "1,203 rows")),
        ((table(rows=1),), ("table public.users", "1,204 rows", "1 row")),
        (
            (table(content="91bc" + "0" * 28),),
            ("table public.users", "content 3f2a…", "content 91bc…"),
        ),
        (
            (table(content="3f2a0" + "1" * 27),),
            ("table public.users", "content 3f2a00…", "content 3f2a01…"),
        ),
        ((), ("table public.users", "1,204 rows", "no rows of its own")),
        ((table(), table("more", 3)), ("table public.more", "missing", "3 rows")),
    ],
)
def test_rows(rows: tuple[TableFingerprint, ...], told: tuple[str, str, str]) -> None:
    assert differences(FULL, replace(FOUND, tables=rows)) == [told]


def test_at_level_counts_only_rows_are_counted() -> None:
    expected = replace(FULL, level=ProofLevel.COUNTS)
    found = replace(FOUND, tables=(table(content="f" * 32),), large_objects=LargeObjects(5))
    assert differences(expected, found) == []
    assert differences(expected, replace(found, seed=9)) == []
    found = replace(found, tables=(table(rows=1),), large_objects=LargeObjects(4))
    assert [one[0] for one in differences(expected, found)] == [
        "table public.users",
        "large objects",
    ]


def test_at_level_none_there_are_only_objects() -> None:
    expected = replace(FULL, level=ProofLevel.NONE, tables=(), sequences=())
    assert differences(expected, FOUND) == []
    assert differences(replace(expected, objects={}), FOUND) == []
    assert differences(expected, without(FOUND, "extension", "hstore")) == [
        ("extension hstore", "there", "missing")
    ]


def test_what_cannot_be_compared_is_a_mistake() -> None:
    with pytest.raises(ValueError, match="level counts"):
        differences(FULL, replace(FOUND, level=ProofLevel.COUNTS))
    with pytest.raises(ValueError, match="seeds"):
        differences(FULL, replace(FOUND, seed=8))


def test_rows_left_out_of_the_dump_are_not_compared() -> None:
    """Only that the table is there. Names are quoted as any major does."""
    name = ("select", "Order")
    expected = with_objects(FULL, table=("public.users", '"select"."Order"'))
    found = replace(
        expected, sequences=FOUND.sequences, tables=(table(), TableFingerprint(*name, 0))
    )
    for display in ('"select"."Order"', 'select."Order"'):
        assert differences(replace(expected, left_out=(display,)), found) == []
    missing = with_objects(replace(found, tables=(table(),)), table=("public.users",))
    assert differences(replace(expected, left_out=('select."Order"',)), missing) == [
        ('table "select"."Order"', "there", "missing")
    ]
    assert differences(expected, found) == [
        ('table "select"."Order"', "no rows of its own", "0 rows")
    ]


def test_no_rows_are_expected_where_the_source_read_none() -> None:
    expected = with_objects(FULL, table=("public.by_hash", "public.leaf", "public.users"))
    found = replace(expected, sequences=FOUND.sequences, tables=(table(), table("by_hash", 3)))
    # With a partition of a hash left out, the partitioned table is not read.
    assert differences(replace(expected, left_out=("public.leaf",)), found) == []
    # An extension's own tables are no objects of the inventory.
    found = replace(FOUND, tables=(table(), table("settings", 3)))
    assert differences(replace(FULL, left_out=("public.settings",)), found) == []
    assert differences(replace(FULL, left_out=("public.leaf",)), found) == [
        ("table public.settings", "missing", "3 rows")
    ]


def test_sequences_and_views_left_out_of_the_dump_are_not_compared() -> None:
    expected = replace(FULL, left_out=("public.users_id_seq", "public.totals"))
    found = replace(
        with_objects(FOUND, populated_materialized_view=None),
        sequences=(SequencePosition("public", "users_id_seq", 0, 0),),
    )
    assert differences(expected, found) == []
    assert len(differences(FULL, found)) == 2


# --- objects --------------------------------------------------------------------------------------

ONE_THING = [
    ("column", "public.users.email text not null", "column public.users.email", "text not null"),
    (
        "table constraint",
        "users_pkey on public.users",
        "table constraint users_pkey on table public.users",
        "there",
    ),
    ("index", "public.users_email_idx", "index public.users_email_idx", "there"),
    ("trigger", "audit on public.users", "trigger audit on table public.users", "there"),
    ("policy", "own on public.users", "policy own on table public.users", "there"),
    ("row security", "public.users forced", "row security of table public.users", "on, forced"),
    (
        "default value",
        "for public.users.email",
        "default value for column public.users.email",
        "there",
    ),
    ("owner", "relation public.users: alice", "owner of table public.users", "alice"),
    ("owner", "relation public.totals: alice", "owner of materialized view public.totals", "alice"),
    ("owner", "routine public.f(text): alice", "owner of function public.f(text)", "alice"),
    (
        "grant",
        "column public.users.email: UPDATE bob",
        "grant UPDATE on column public.users.email to bob",
        "there",
    ),
    (
        "grant",
        "relation public.users: SELECT bob with grant option",
        "grant SELECT on table public.users to bob",
        "there, with grant option",
    ),
    (
        "grant",
        "routine public.f(text): EXECUTE PUBLIC",
        "grant EXECUTE on function public.f(text) to PUBLIC",
        "there",
    ),
    ("comment", f"table public.users {MD5}", "comment on table public.users", "text 0123…"),
    (
        "comment",
        f"table column public.users.email {MD5}",
        "comment on column public.users.email",
        "text 0123…",
    ),
    ("extension", "hstore", "extension hstore", "there"),
    ("type", "public.mood", "type public.mood", "there"),
    ("function", "public.f(pg_catalog.text)", "function public.f(pg_catalog.text)", "there"),
    ("routine body", f"public.f(text) {MD5}", "body of function public.f(text)", "body 0123…"),
    ("materialized view", "public.totals", "materialized view public.totals", "there"),
    ("server", '"my server"', 'server "my server"', "there"),
    ("user mapping", '"my server" for bob', 'user mapping on server "my server" for bob', "there"),
]


@pytest.mark.parametrize(("kind", "identity", "name", "words"), ONE_THING)
def test_one_thing_missing_or_too_many(kind: str, identity: str, name: str, words: str) -> None:
    absent = {"row security": "off", "routine body": "no body"}.get(kind, "missing")
    less = without(FOUND, kind, identity)
    # What the trigger, the function and so on explain is still said by the rest: fold it.
    assert differences(FULL, less)[0] == (name, words, absent)
    more = replace(FULL, objects=less.objects)
    assert differences(more, FOUND)[0] == (name, absent, words)
    assert len(differences(FULL, less)) == len(differences(more, FOUND)) == 1


def test_what_is_there_but_says_something_else() -> None:
    found = with_objects(
        FOUND,
        column=("public.users.email text", "public.users.id bigint not null identity"),
        owner=(
            "relation public.users: carol",
            "relation public.totals: alice",
            "routine public.f(text): alice",
            "sequence public.users_id_seq: alice",
        ),
        row_security=("public.users",),
        disabled_trigger=None,
        populated_materialized_view=None,
        routine_body=(f"public.f(text) {OTHER_MD5}",),
        enum_values=("public.mood: 'sad', 'it''s \"ok\"', 'happy', 'new, one'",),
    )
    assert differences(FULL, found) == [
        ("column public.users.email", "text not null", "text"),
        ("column public.users.id", "integer not null identity", "bigint not null identity"),
        ("trigger audit on public.users", "disabled", "enabled"),
        ("row security of table public.users", "on, forced", "on"),
        ("materialized view public.totals", "populated", "not populated"),
        ("values of type public.mood", "3 values", "4 values, with 'new, one'"),
        ("body of function public.f(text)", "body 01234…", "body 0123f…"),
        ("owner of table public.users", "alice", "carol"),
    ]


def test_the_order_and_the_spelling_of_enum_values_count() -> None:
    found = with_objects(FOUND, enum_values=("public.mood: 'happy', 'it''s \"ok\"', 'sad'",))
    assert differences(FULL, found) == [
        (
            "values of type public.mood",
            "3 values, in the order 'sad', 'happy'",
            "3 values, in the order 'happy', 'sad'",
        )
    ]
    found = with_objects(FOUND, enum_values=("public.mood: 'sad', 'it''s ok', 'happy'",))
    assert differences(FULL, found) == [
        (
            "values of type public.mood",
            "3 values, with 'it''s \"ok\"'",
            "3 values, with 'it''s ok'",
        )
    ]


def test_a_missing_table_explains_what_was_part_of_it() -> None:
    found = replace(FOUND, tables=(), sequences=(), objects=merged(REST))
    assert differences(FULL, found) == [("table public.users", "1,204 rows", "missing")]
    expected = replace(FULL, tables=(), sequences=(), objects=merged(REST))
    assert differences(expected, FOUND) == [("table public.users", "missing", "1,204 rows")]


def test_without_hints_from_an_older_guardian_more_is_named() -> None:
    expected = with_objects(FULL, **{"hint: belongs": None})
    found = replace(FOUND, tables=(), sequences=(), objects=merged(REST))
    assert differences(expected, FOUND) == []
    assert [one[0] for one in differences(expected, found)] == [
        "table public.users",
        "index public.users_email_idx",  # the other one is behind a constraint
        "sequence public.users_id_seq",
    ]


def test_no_circle_of_hints_makes_anything_vanish() -> None:
    indexes = ("public.a", "public.b", "public.c")
    hints = [(0, 0), (1, 2), (2, 1)]
    belongs = tuple(f"index {indexes[one]} of {indexes[other]}" for one, other in hints)
    expected = with_objects(FULL, index=indexes, **{"hint: belongs": belongs})
    assert [one[0] for one in differences(expected, with_objects(FOUND, index=()))] == [
        f"index {index}" for index in indexes
    ]


def test_a_missing_constraint_explains_its_index() -> None:
    found = without(FOUND, "table constraint", "users_pkey on public.users")
    found = without(found, "index", "public.users_pkey")
    found = without(found, "comment", f"index public.users_pkey {MD5}")
    assert differences(FULL, found) == [
        ("table constraint users_pkey on table public.users", "there", "missing")
    ]


def test_what_every_database_has_is_no_difference() -> None:
    expected = with_objects(FULL, extension=("hstore",), comment=(f"schema public {MD5}",))
    found = with_objects(FOUND, comment=())
    assert differences(expected, found) == []


def test_a_table_in_place_of_a_view() -> None:
    expected = with_objects(FULL, view=("public.v",))
    found = with_objects(FOUND, table=("public.users", "public.v"))
    found = replace(found, tables=(table(), table("v", 0)))
    assert differences(expected, found) == [
        ("table public.v", "missing", "0 rows"),
        ("view public.v", "there", "missing"),
    ]


@pytest.mark.parametrize(
    "kind",
    [
        *("column", "owner", "grant", "comment", "enum values", "user mapping", "trigger"),
        *("default value", "table constraint", "hologram"),
    ],
)
def test_a_line_of_no_known_shape_is_compared_all_the_same(kind: str) -> None:
    """From a newer guardian, say; only hints may be new without being a difference."""
    line = "??" if kind != "comment" else f"?? {MD5}"
    expected = replace(FULL, objects={**FULL.objects, kind: (*FULL.objects.get(kind, ()), line)})
    (told,) = differences(expected, FOUND)
    assert told[0].startswith(kind)
    assert "??" in told[0]
    hints = replace(FULL, objects={**FULL.objects, "hint: belongs": ("??",), "hint: new": ("?",)})
    assert differences(hints, FOUND) == []


def test_one_grant_by_two_grantors() -> None:
    line = "relation public.users: DELETE bob"
    one = with_objects(FULL, grant=(*FULL.objects["grant"], line, line))
    both = with_objects(FOUND, grant=(*FULL.objects["grant"], line, f"{line} with grant option"))
    assert differences(one, with_objects(FOUND, grant=(*FULL.objects["grant"], line))) == []
    assert differences(one, both) == [
        (
            "grant DELETE on table public.users to bob",
            "there",
            "there and there, with grant option",
        )
    ]


def test_names_with_line_breaks_stay_on_one_line() -> None:
    expected = with_objects(FULL, table=("public.users", 'public."a\nb"'))
    found = replace(expected, sequences=FOUND.sequences, objects=FOUND.objects)
    assert differences(expected, found) == [('table public."a\\nb"', "there", "missing")]


# --- how it was restored --------------------------------------------------------------------------


def test_majors_quote_other_words() -> None:
    expected = with_objects(
        FULL,
        table=("public.json_table", "public.users"),
        column=(*FULL.objects["column"], "public.json_table.system_user public.json_value"),
        owner=(*FULL.objects["owner"], "relation public.json_table: system_user"),
        grant=(*FULL.objects["grant"], "relation public.json_table: SELECT merge_action"),
        comment=(*FULL.objects["comment"], f"table public.json_table {MD5}"),
    )
    found = with_objects(
        FOUND,
        table=('public."json_table"', "public.users"),
        column=(*FULL.objects["column"], 'public."json_table"."system_user" public."json_value"'),
        owner=(*FULL.objects["owner"], 'relation public."json_table": "system_user"'),
        grant=(*FULL.objects["grant"], 'relation public."json_table": SELECT "merge_action"'),
        comment=(*FULL.objects["comment"], f'table public."json_table" {MD5}'),
    )
    assert differences(expected, found, 15, 18) == []


def test_maintain_is_granted_with_all_from_17_on() -> None:
    grants = (*FULL.objects["grant"], "relation public.users: MAINTAIN bob")
    found = with_objects(FOUND, grant=grants)
    assert differences(FULL, found, 16, 17) == []
    extra = [("grant MAINTAIN on table public.users to bob", "missing", "there")]
    assert differences(FULL, found, 17, 18) == extra
    assert differences(FULL, found, 15, 16) == extra


def test_types_of_a_view_are_the_servers_own_business() -> None:
    columns = FULL.objects["column"]
    expected = with_objects(FULL, column=(*columns, "public.totals.n integer"))
    found = with_objects(FOUND, column=(*columns, "public.totals.n smallint"))
    assert differences(expected, found, 15, 18) == []
    assert differences(expected, FOUND, 15, 18) == [
        ("column public.totals.n", "integer", "missing")
    ]
    assert differences(expected, found, 18, 18) == [
        ("column public.totals.n", "integer", "smallint")
    ]


def test_without_owners_and_grants() -> None:
    found = with_objects(FOUND, owner=("relation public.users: carol",), grant=())
    assert differences(FULL, found, without_owners=True, without_grants=True) == []
    defaults = with_objects(FULL, default_acl=("for role alice on tables",))
    assert differences(defaults, FOUND, without_grants=True) == []
    assert differences(defaults, FOUND) == [
        ("default acl for role alice on tables", "there", "missing")
    ]
    assert {one[0].split()[0] for one in differences(FULL, found, without_owners=True)} == {"grant"}
    assert {one[0].split()[0] for one in differences(FULL, found, without_grants=True)} == {"owner"}


def test_an_owner_needs_no_grant() -> None:
    """Grants are listed for others than the owner, so with another owner other ones are."""
    expected = with_objects(FULL, owner=("relation public.users: alice",))
    found = with_objects(
        FOUND,
        owner=("relation public.users: bob",),
        grant=("relation public.users: SELECT alice", "routine public.f(text): EXECUTE PUBLIC"),
    )
    assert differences(expected, found, without_owners=True) == []
    assert differences(expected, found) == [("owner of table public.users", "alice", "bob")]


def test_only_some_tables() -> None:
    found = Fingerprint(
        ProofLevel.CONTENT,
        7,
        (table(), table("other", 3)),
        {
            "table": ("public.other", "public.users"),
            "column": ("public.users.email text not null", "public.users.id integer not null"),
        },
        (),
        LargeObjects(0, "0" * 32),
    )
    only = [("public", "users")]
    assert differences(FULL, found, only_tables=only) == []
    less = replace(found, tables=(table(rows=0),))
    assert differences(FULL, less, only_tables=only) == [
        ("table public.users", "1,204 rows", "0 rows")
    ]
    less = replace(found, tables=(), objects={})
    assert differences(FULL, less, only_tables=only) == [
        ("table public.users", "1,204 rows", "missing")
    ]
    less = with_objects(found, column=("public.users.id integer",))
    assert [one[0] for one in differences(FULL, less, only_tables=only)] == [
        "column public.users.email",
        "column public.users.id",
    ]
    assert len(differences(FULL, found)) > 2


# --- sequences and large objects ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("before", "after", "increment", "good", "bad"),
    [
        (17, 20, 1, (17, 18, 20), (16, 21)),
        (17, 17, 1, (17,), (16, 18)),
        (-5, -20, -3, (-5, -8, -20), (-4, -21)),
        (8, 2, 1, (8, 9, 1, 2), (3, 7)),  # came round, or was set back
        (-8, -2, -1, (-8, -9, -1, -2), (-3, -7)),
    ],
)
def test_a_sequence_lies_between_its_two_readings(
    before: int, after: int, increment: int, good: tuple[int, ...], bad: tuple[int, ...]
) -> None:
    def at(first: int, last: int) -> tuple[SequencePosition, ...]:
        return (SequencePosition("public", "users_id_seq", first, last, increment),)

    expected = replace(FULL, sequences=at(before, after))
    for position in good:
        assert differences(expected, replace(FULL, sequences=at(position, position))) == []
    for position in bad:
        (told,) = differences(expected, replace(FULL, sequences=at(position, position)))
        assert told[0] == "sequence public.users_id_seq"
        assert told[2] == f"position {position}"


def test_positions_in_words() -> None:
    def told(before: int, after: int, increment: int = 1) -> str:
        position = SequencePosition("public", "users_id_seq", before, after, increment)
        found = SequencePosition("public", "users_id_seq", 5, 5, increment)
        expected = replace(FULL, sequences=(position,))
        ((_, words, _),) = differences(expected, replace(FULL, sequences=(found,)))
        return words

    assert told(3, 3) == "position 3"
    assert told(6, 9) == "position 6 to 9"
    assert told(-6, -9, -1) == "position -6 to -9"
    assert told(8, 2) == "position 8 onwards, or until 2"


def test_a_cycling_sequence_that_moved_may_be_anywhere() -> None:
    cycling = {"hint: cycles": ("public.users_id_seq",)}
    expected = replace(FULL, sequences=(SequencePosition("public", "users_id_seq", 2, 3),))
    found = replace(FULL, sequences=(SequencePosition("public", "users_id_seq", 5, 5),))
    assert len(differences(expected, found)) == 1
    assert differences(expected, with_objects(found, **cycling)) == []
    still = replace(FULL, sequences=(SequencePosition("public", "users_id_seq", 3, 3),))
    assert len(differences(still, with_objects(found, **cycling))) == 1


def test_another_increment() -> None:
    found = replace(FULL, sequences=(SequencePosition("public", "users_id_seq", 18, 18, 2),))
    assert differences(FULL, found) == [
        ("sequence public.users_id_seq", "increment 1", "increment 2")
    ]


def test_a_sequence_on_one_side() -> None:
    """Told once: by the objects, and by its position where there are none."""
    gone = replace(without(FOUND, "sequence", "public.users_id_seq"), sequences=())
    assert differences(FULL, gone) == [("sequence public.users_id_seq", "there", "missing")]
    unread = replace(FOUND, sequences=())
    assert differences(FULL, unread) == [
        ("sequence public.users_id_seq", "position 17 to 20", "missing")
    ]
    assert differences(replace(FULL, sequences=()), FOUND) == [
        ("sequence public.users_id_seq", "missing", "position 18")
    ]


def test_large_objects() -> None:
    found = replace(FOUND, large_objects=LargeObjects(1, "b" * 32))
    assert differences(FULL, found) == [("large objects", "5 objects", "1 object")]
    found = replace(FOUND, large_objects=LargeObjects(5, "b" * 32))
    assert differences(FULL, found) == [("large objects", "content aaaa…", "content bbbb…")]


# --- properties -----------------------------------------------------------------------------------

names = st.text("ab1_A.\" :'\n🦒", min_size=1, max_size=4) | st.sampled_from(["select", "PUBLIC"])
hashes = st.integers(0, (1 << 128) - 1).map("{:032x}".format)


some = st.lists(names, max_size=2, unique=True)
roles = st.sampled_from(["alice", '"b: o"', '"x with grant option"'])

Relation = tuple[str, str]
Inventory = dict[str, tuple[str, ...]]


@st.composite
def inventories(draw: st.DrawFn, relation: Relation) -> Inventory:
    """One table, with some of everything that can be said of it."""
    own = qualified(*relation)
    lines: dict[str, list[str]] = {"table": [own], "owner": [f"relation {own}: {draw(roles)}"]}
    columns = draw(some)
    lines["column"] = [f"{own}.{quoted(name)} integer not null" for name in columns]
    lines["default value"] = [f"for {own}.{quoted(name)}" for name in columns[1:]]
    for kind in ("table constraint", "trigger", "policy", "rule"):
        lines[kind] = [f"{quoted(name)} on {own}" for name in draw(some)]
    lines["index"] = [qualified(relation[0], name) for name in draw(some)]
    lines["hint: belongs"] = [f"index {index} of {own}" for index in lines["index"]]
    lines["grant"] = [
        f"relation {own}: SELECT {grantee}{draw(st.sampled_from(['', ' with grant option']))}"
        for grantee in draw(st.lists(roles | st.just("PUBLIC"), max_size=2, unique=True))
    ]
    lines["comment"] = [f"table {own} {digest}" for digest in draw(st.lists(hashes, max_size=1))]
    forced = st.sampled_from(["", " forced"])
    lines["row security"] = [f"{own}{word}" for word in draw(st.lists(forced, max_size=1))]
    return {kind: tuple(own_lines) for kind, own_lines in lines.items()}


@st.composite
def fingerprints(draw: st.DrawFn) -> Fingerprint:
    relations = draw(st.lists(st.tuples(names, names), max_size=3, unique=True))
    sequences = draw(st.lists(st.tuples(names, names), max_size=3, unique=True))
    positions = [draw(st.integers(-100, 100)) for _ in sequences]
    return Fingerprint(
        level=ProofLevel.CONTENT,
        seed=7,
        tables=tuple(
            TableFingerprint(*one, draw(st.integers(0, 9)), draw(hashes)) for one in relations
        ),
        objects=merged(*(draw(inventories(one)) for one in relations)),
        sequences=tuple(
            SequencePosition(*one, at, at) for one, at in zip(sequences, positions, strict=True)
        ),
        large_objects=LargeObjects(draw(st.integers(0, 3)), draw(hashes)),
    )


def compared(a: Fingerprint, b: Fingerprint) -> tuple[Difference, ...]:
    return compare(a, b, source_major=18, target_major=18)


@given(fingerprints())
def test_a_fingerprint_is_like_itself(one: Fingerprint) -> None:
    assert compared(one, one) == ()


@given(fingerprints(), fingerprints())
def test_two_that_are_alike_are_the_same_and_the_other_way_round(
    one: Fingerprint, other: Fingerprint
) -> None:
    there, back = compared(one, other), compared(other, one)
    assert {(d.object, d.expected, d.found) for d in there} == {
        (d.object, d.found, d.expected) for d in back
    }
    if not there:
        same = [
            (set(f.tables), set(f.sequences), f.large_objects, _objects(f)) for f in (one, other)
        ]
        assert same[0] == same[1]


def _objects(fingerprint: Fingerprint) -> set[tuple[str, str]]:
    return {
        (kind, identity)
        for kind, lines in fingerprint.objects.items()
        if not kind.startswith("hint")
        for identity in lines
    }


@given(fingerprints(), st.data())
def test_any_single_line_lost_is_the_one_difference(one: Fingerprint, data: st.DataObject) -> None:
    lines = sorted(_objects(one))
    assume(lines)
    kind, identity = data.draw(st.sampled_from(lines))
    (told,) = compared(one, without(one, kind, identity))
    assert told.expected != told.found
    (back,) = compared(without(one, kind, identity), one)
    assert (back.object, back.expected, back.found) == (told.object, told.found, told.expected)
    whole = {"table", "index", "trigger", "policy", "rule", "table constraint"}
    if kind in whole:
        assert told.object.startswith(kind)
        assert one_line(identity.partition(" on ")[0]) in told.object


@given(fingerprints(), st.data())
def test_any_change_of_rows_or_positions_is_the_one_difference(
    one: Fingerprint, data: st.DataObject
) -> None:
    assume(one.tables or one.sequences)
    things: list[TableFingerprint | SequencePosition] = [*one.tables, *one.sequences]
    thing = data.draw(st.sampled_from(things))
    changed: Any
    if isinstance(thing, TableFingerprint):
        changed = data.draw(
            st.sampled_from([replace(thing, rows=thing.rows + 1), replace(thing, content="f" * 32)])
        )
    else:
        changed = replace(thing, before=thing.before - 1, after=thing.after - 1)
    assume(changed != thing)
    other = replace(
        one,
        tables=tuple(changed if each is thing else each for each in one.tables),
        sequences=tuple(changed if each is thing else each for each in one.sequences),
    )
    (told,) = compared(one, other)
    assert told.object.endswith(one_line(qualified(thing.schema, thing.name)))


@given(fingerprints(), st.data())
def test_a_table_lost_with_all_of_it_is_the_one_difference(
    rest: Fingerprint, data: st.DataObject
) -> None:
    lost = data.draw(st.tuples(names, names))
    assume(lost not in {(one.schema, one.name) for one in rest.tables})
    more = data.draw(inventories(lost))
    whole = replace(
        rest,
        tables=(*rest.tables, TableFingerprint(*lost, 3, "a" * 32)),
        objects=merged(rest.objects, more),
    )
    name = one_line(f"table {qualified(*lost)}")
    assert compared(whole, rest) == (Difference(name, "3 rows", "missing"),)
    assert compared(rest, whole) == (Difference(name, "missing", "3 rows"),)
