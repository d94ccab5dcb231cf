"""Choices on small tables of contents, made as pg_dump makes them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardian.errors import UsageError
from guardian.restore.archive import Section, Toc, TocEntry
from guardian.restore.dependencies import HANGING_KINDS, TABLE_KINDS, DependencyGraph
from guardian.restore.selection import Selection, select


def entry(
    dump_id: int,
    kind: str,
    name: str,
    *needs: int,
    definition: str = "",
    owner: str = "app",
) -> TocEntry:
    """``name`` is ``schema.tag``, or only a tag."""
    namespace, _, tag = name.rpartition(".")
    return TocEntry(
        dump_id=dump_id,
        tag=tag,
        kind=kind,
        section=Section.PRE_DATA,
        namespace=namespace,
        owner=owner,
        definition=definition,
        copy_statement="",
        dependencies=needs,
        has_data=kind == "TABLE DATA",
    )


def toc(*entries: TocEntry) -> Toc:
    return Toc((1, 16, 0), "mina", "18.4", "18.4", entries, head_bytes=1000)


ATTACH = "ALTER TABLE ONLY app.events ATTACH PARTITION app.{} FOR VALUES FROM (1) TO (2);"

SHOP = toc(
    entry(1, "ENCODING", "ENCODING"),
    entry(2, "STDSTRINGS", "STDSTRINGS"),
    entry(3, "SEARCHPATH", "SEARCHPATH"),
    entry(4, "DATABASE", "mina"),
    entry(5, "COMMENT", "DATABASE mina", 4),
    entry(10, "SCHEMA", "app"),
    entry(11, "ACL", "SCHEMA app", 10),
    entry(12, "ACL", "SCHEMA public", 9999),
    entry(13, "EXTENSION", "hstore"),
    entry(14, "COMMENT", "EXTENSION hstore", 13),
    entry(15, "EXTENSION", "postgis"),
    entry(16, "TYPE", "app.mood", 10),
    entry(17, "FUNCTION", "app.touch()", 10),
    entry(18, "FUNCTION", "app.spare()", 10),
    entry(19, "COMMENT", "app.FUNCTION touch()", 17),
    entry(20, "CAST", "CAST (app.mood AS integer)", 16, 21),
    entry(21, "FUNCTION", "app.mood_number(app.mood)", 10, 16),
    entry(30, "TABLE", "app.customers", 10, 16),
    entry(31, "SEQUENCE", "app.customers_id_seq", 10, 30, definition="CREATE SEQUENCE …"),
    entry(32, "SEQUENCE OWNED BY", "app.customers_id_seq", 31),
    entry(33, "TABLE", "app.orders", 10, 13),
    entry(34, "SEQUENCE", "app.orders_id_seq", 10, 33, definition="ALTER TABLE … ADD GENERATED"),
    entry(35, "TABLE", "public.copy", 31),
    entry(36, "VIEW", "public.report", 30),
    entry(37, "VIEW", "public.circle", definition="CREATE VIEW … AS SELECT NULL"),
    entry(38, "TABLE", "app.events", 10, definition="CREATE TABLE …\nPARTITION BY RANGE (at);"),
    entry(39, "TABLE", "app.events_1", 10, 38),
    entry(40, "TABLE", "app.events_2", 10, 38),
    entry(41, "TABLE ATTACH", "app.events_1", 39, 38, definition=ATTACH.format("events_1")),
    entry(42, "TABLE ATTACH", "app.events_2", 40, 38, definition=ATTACH.format("events_2")),
    entry(50, "DEFAULT", "app.customers id", 30, 31),
    entry(60, "TABLE DATA", "app.customers", 30),
    entry(61, "TABLE DATA", "app.orders", 33),
    entry(62, "TABLE DATA", "public.copy", 35),
    entry(63, "TABLE DATA", "app.events_1", 39),
    entry(64, "TABLE DATA", "app.events_2", 40),
    entry(65, "TABLE DATA", "public.spatial", 15),
    entry(66, "SEQUENCE SET", "app.customers_id_seq", 31),
    entry(67, "SEQUENCE SET", "app.orders_id_seq", 34),
    entry(68, "BLOB METADATA", "1..2"),
    entry(69, "BLOBS", "1..2", 68),
    entry(70, "ACL", "LARGE OBJECT 1", 68),
    entry(80, "CONSTRAINT", "app.customers customers_pkey", 30),
    entry(81, "CONSTRAINT", "app.orders orders_pkey", 33),
    entry(82, "INDEX", "app.events_at", 38),
    entry(83, "INDEX", "app.events_1_at", 39, 82),
    entry(84, "INDEX ATTACH", "app.events_1_at", 83, 82, 39, 38),
    entry(85, "FK CONSTRAINT", "app.orders orders_customer_fkey", 33, 30, 80),
    entry(86, "COMMENT", "app.CONSTRAINT orders_customer_fkey ON orders", 85),
    entry(87, "TRIGGER", "app.orders touch", 33, 17),
    entry(88, "RULE", "public.circle _RETURN", 37, 33, 81, definition="CREATE OR REPLACE VIEW …"),
    entry(89, "RULE", "app.orders also", 33, 30, definition="CREATE RULE also AS …"),
    entry(90, "MATERIALIZED VIEW", "public.summed", 38),
    entry(91, "MATERIALIZED VIEW DATA", "public.summed", 90),
    entry(92, "PUBLICATION", "pub"),
    entry(93, "PUBLICATION TABLE", "app.pub orders", 92, 33),
    entry(94, "DEFAULT ACL", "app.DEFAULT PRIVILEGES FOR TABLES", 10),
)
SETTINGS = {1, 2, 3}


def ids(*tables: str) -> set[int]:
    return set(select(SHOP, tables=tables).dump_ids) - SETTINGS


# --- what comes with a table --------------------------------------------------------------------


def test_without_patterns_all_is_chosen() -> None:
    chosen = select(SHOP)
    assert chosen.entries == SHOP.entries
    assert (chosen.left_out, chosen.brought_along) == ((), ())
    assert ("app", "events_2") in chosen.tables
    assert chosen.sequences == (("app", "customers_id_seq"), ("app", "orders_id_seq"))


def test_a_table_brings_what_it_needs_and_what_is_its_own() -> None:
    chosen = select(SHOP, tables=["customers"])
    assert chosen.dump_ids - SETTINGS == {
        *(10, 11),  # its schema, with its grants
        *(16, 20, 21),  # its type, the type's cast, and the cast's function
        *(30, 31, 32, 50, 60, 66, 80),
    }
    assert chosen.tables == chosen.loaded == (("app", "customers"),)
    assert chosen.sequences == (("app", "customers_id_seq"),)


def test_the_settings_always_stay() -> None:
    assert select(SHOP, tables=["orders"]).dump_ids >= SETTINGS
    assert select(SHOP, tables=["orders"], schema_only=True).dump_ids >= SETTINGS
    assert select(SHOP, tables=["orders"], data_only=True).dump_ids >= SETTINGS


def test_the_order_is_the_archives() -> None:
    chosen = select(SHOP, tables=["*"])
    assert [e.dump_id for e in chosen.entries] == sorted(chosen.dump_ids)


def test_an_identity_columns_sequence_needs_its_table() -> None:
    assert {33, 34, 67} <= ids("orders")
    assert {33, 34, 67} <= ids("orders_id_seq")


def test_a_serial_columns_sequence_can_be_chosen_alone() -> None:
    assert ids("customers_id_seq") == {10, 11, 31, 66}


def test_a_default_brings_a_foreign_sequence_without_its_table() -> None:
    chosen = select(SHOP, tables=["copy"])
    assert chosen.dump_ids - SETTINGS == {10, 11, 12, 31, 35, 62, 66}
    assert chosen.brought_along == ()


def test_grants_on_schema_public_come_although_the_schema_is_not_in_the_archive() -> None:
    assert 12 in ids("copy")
    assert 12 not in ids("orders")


def test_a_view_brings_its_tables_and_is_told() -> None:
    chosen = select(SHOP, tables=["report"])
    assert {30, 36, 60, 80} <= chosen.dump_ids
    assert chosen.brought_along == (("app", "customers"),)


def test_a_view_that_breaks_a_circle_brings_what_its_rule_needs() -> None:
    assert {33, 37, 61, 81, 88} <= ids("circle")


def test_extensions_come_when_needed_with_their_comments() -> None:
    assert {13, 14} <= ids("orders")
    assert not {13, 15} & ids("customers")


def test_rows_of_an_extensions_table_bring_the_extension() -> None:
    chosen = select(SHOP, tables=["spatial"])
    assert chosen.dump_ids - SETTINGS == {15, 65}
    assert chosen.loaded == (("public", "spatial"),)


def test_publications_and_the_database_are_left_alone() -> None:
    assert not {4, 5, 92, 93} & ids("*")


# --- what is left out ---------------------------------------------------------------------------


def test_a_key_to_a_table_that_is_not_chosen_is_left_out_and_told() -> None:
    chosen = select(SHOP, tables=["orders"])
    assert not {85, 86, 89} & chosen.dump_ids
    assert {81, 87, 17, 19} <= chosen.dump_ids
    lost = "of app.orders is left out: it needs app.customers, not selected"
    assert chosen.left_out == (
        f"foreign key orders_customer_fkey {lost}",
        f"rule also {lost}",
        "large objects are left out: they belong to no table",
    )


def test_keys_between_chosen_tables_stay_and_keys_from_others_are_not_told() -> None:
    both = select(SHOP, tables=["orders", "customers"])
    assert {85, 86, 89} <= both.dump_ids
    assert len(both.left_out) == 1
    assert len(select(SHOP, tables=["customers"]).left_out) == 1


def test_many_missing_tables_are_counted() -> None:
    tables = [entry(i, "TABLE", f"public.Table {i}") for i in range(1, 8)]
    policy = entry(9, "POLICY", "public.Table 1 see", *range(1, 8))
    chosen = select(toc(*tables, policy), tables=['"Table 1"'])
    (told,) = chosen.left_out
    assert told == (
        'policy see of public."Table 1" is left out: it needs public."Table 2", '
        'public."Table 3", public."Table 4" and 3 more, not selected'
    )


def test_the_owner_of_a_part_is_found_where_names_overlap() -> None:
    one, other = entry(1, "TABLE", "s.a"), entry(2, "TABLE", "s.a b")
    key = entry(3, "FK CONSTRAINT", "s.a b c", 1, 2)
    archive = toc(one, other, key)
    assert DependencyGraph(archive).owner(3) == 2
    assert select(archive, tables=["a"]).left_out == ()
    (told,) = select(archive, tables=['"a b"']).left_out
    assert told.startswith('foreign key c of s."a b" is left out')


# --- partitions ---------------------------------------------------------------------------------


def test_a_partitioned_table_comes_with_its_partitions() -> None:
    chosen = select(SHOP, tables=["events"])
    assert {38, 39, 40, 41, 42, 63, 64, 82, 83, 84} <= chosen.dump_ids
    assert chosen.brought_along == ()


def test_a_partition_comes_with_its_parent_only() -> None:
    chosen = select(SHOP, tables=["events_1"])
    assert {38, 39, 41, 63, 82, 83, 84} <= chosen.dump_ids
    assert not {40, 42, 64} & chosen.dump_ids
    assert chosen.brought_along == (("app", "events"),)


def test_what_shows_a_partitioned_table_needs_all_of_it() -> None:
    assert {40, 64, 91} <= ids("summed")
    assert {40, 64, 91} <= ids("events_1", "summed")


def test_rows_that_may_go_into_any_partition_need_them_all() -> None:
    archive = toc(
        *(e for e in SHOP.entries if e.dump_id != 63),
        entry(
            63,
            "TABLE DATA",
            "app.events_1",
            39,
            definition="-- load via partition root app.events",
        ),
    )
    assert {40, 42, 64} <= select(archive, tables=["events_1"]).dump_ids
    assert not {39, 41, 63} & select(archive, tables=["events_2"]).dump_ids


TREE = [[1], [2, 1], [3, 1], [4, 2]]
"""Tables by number, each with its parent."""


def test_a_parent_that_is_only_there_stays_so_with_its_own_sequence() -> None:
    identity = entry(100, "SEQUENCE", "app.events_id_seq", 38, definition="ALTER TABLE …")
    chosen = select(toc(*SHOP.entries, identity), tables=["events_1"])
    assert 100 in chosen.dump_ids
    assert 40 not in chosen.dump_ids


def test_rows_may_go_into_any_partition_of_the_root() -> None:
    archive = toc(
        *(entry(i, "TABLE", f"s.t{i}", *needs) for i, *needs in TREE),
        *(entry(10 + i, "TABLE ATTACH", f"s.t{i}", i, *needs) for i, *needs in TREE if needs),
        entry(20, "TABLE DATA", "s.t4", 4, definition="-- load via partition root s.t1"),
    )
    assert select(archive, tables=["t4"]).dump_ids == {1, 2, 3, 4, 12, 13, 14, 20}
    assert select(archive, tables=["t3"]).dump_ids == {1, 3, 13}


def test_partitions_as_pg_dump_wrote_them_before_14() -> None:
    child = "CREATE TABLE s.{0} (…);\nALTER TABLE ONLY s.p ATTACH PARTITION s.{0} FOR VALUES …;\n"
    archive = toc(
        entry(1, "TABLE", "s.p", definition="CREATE TABLE s.p (…)\nPARTITION BY LIST (x);\n"),
        entry(2, "TABLE", "s.p1", 1, definition=child.format("p1")),
        entry(3, "TABLE", "s.p2", 1, definition=child.format("p2")),
    )
    assert select(archive, tables=["p"]).dump_ids == {1, 2, 3}
    assert select(archive, tables=["p2"]).dump_ids == {1, 3}


# --- what the archive does not say --------------------------------------------------------------


def test_user_mappings_come_with_their_server() -> None:
    archive = toc(
        entry(1, "SERVER", "remote one"),
        entry(2, "USER MAPPING", "USER MAPPING joe SERVER remote one"),
        entry(3, "USER MAPPING", "USER MAPPING joe SERVER one"),
        entry(4, "FOREIGN TABLE", "s.f", 1),
    )
    assert select(archive, tables=["f"]).dump_ids == {1, 2, 4}


@pytest.mark.parametrize(
    "key", ["EXCLUDE USING gist (a WITH =)", "PRIMARY KEY (a WITHOUT OVERLAPS)"]
)
def test_exclusions_bring_the_extensions_that_they_may_need(key: str) -> None:
    archive = toc(
        entry(1, "EXTENSION", "btree_gist"),
        entry(2, "TABLE", "s.bookings"),
        entry(3, "TABLE", "s.rooms"),
        entry(4, "CONSTRAINT", "s.bookings once", 2, definition=f"… ADD CONSTRAINT once {key};"),
        entry(5, "CONSTRAINT", "s.rooms rooms_pkey", 3, definition="… PRIMARY KEY (id);"),
        entry(6, "OPERATOR CLASS", "s.of_rooms", 3),
    )
    assert select(archive, tables=["bookings"]).dump_ids == {1, 2, 4}
    assert select(archive, tables=["rooms"]).dump_ids == {3, 5}


def test_operator_classes_come_with_their_type() -> None:
    archive = toc(
        entry(1, "TYPE", "s.t"),
        entry(2, "FUNCTION", "s.compare(s.t, s.t)", 1),
        entry(3, "OPERATOR FAMILY", "s.t_ops"),
        entry(4, "OPERATOR CLASS", "s.t_ops", 1, 2, 3),
        entry(5, "OPERATOR CLASS", "s.int_ops", 7),
        entry(6, "TABLE", "s.has_t", 1, 7),
        entry(7, "SCHEMA", "s"),
    )
    assert select(archive, tables=["has_t"]).dump_ids == {1, 2, 3, 4, 6, 7}


# --- schemas ------------------------------------------------------------------------------------


def test_a_schema_brings_all_that_lies_in_it() -> None:
    chosen = select(SHOP, schemas=["app"])
    assert {10, 11, 16, 17, 18, 19, 30, 33, 39, 60, 85, 94} <= chosen.dump_ids
    assert not {12, 35, 36, 65, 69, 92, 93} & chosen.dump_ids
    assert chosen.brought_along == ()


def test_a_schema_brings_what_it_needs_from_elsewhere() -> None:
    chosen = select(SHOP, schemas=["public"])
    assert {30, 33, 60} <= chosen.dump_ids
    assert not {18, 94} & chosen.dump_ids
    assert chosen.brought_along == (
        ("app", "customers"),
        ("app", "events"),
        ("app", "events_1"),
        ("app", "events_2"),
        ("app", "orders"),
    )


def test_with_both_a_table_must_lie_in_such_a_schema() -> None:
    assert select(SHOP, tables=["*"], schemas=["app"]).brought_along == ()
    with pytest.raises(UsageError, match="no table in this backup matches 'copy'"):
        select(SHOP, tables=["copy"], schemas=["app"])


def test_system_schemas_are_not_meant() -> None:
    archive = toc(entry(1, "TABLE", "pg_catalog.x"), entry(2, "TABLE", "s.x"))
    assert select(archive, tables=["x"]).dump_ids == {2}
    assert select(archive, schemas=["*"]).dump_ids == {2}
    assert select(archive, tables=["pg_catalog.x"]).dump_ids == {1}


def test_an_empty_schema_can_be_chosen() -> None:
    assert select(toc(entry(1, "SCHEMA", "empty")), schemas=["empty"]).dump_ids == {1}


# --- patterns -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("pattern", "told"),
    [
        ("custmers", "no table in this backup matches 'custmers'; did you mean app.customers"),
        ("app.custmers", "'app.custmers'; did you mean app.customers"),
        ("Customers_", "did you mean app.customers"),
        ("nothing.like.it", "'nothing.like.it' is not a pattern of table names: it has 3 dotted"),
        ("zzzzzz", "'zzzzzz'; patterns are those of psql"),
        ("[", "'[' is not a pattern of table names: "),
    ],
)
def test_a_pattern_that_names_nothing_is_told_with_what_is_near(pattern: str, told: str) -> None:
    with pytest.raises(UsageError) as caught:
        select(SHOP, tables=["orders", pattern])
    assert told in str(caught.value)


def test_near_names_are_written_as_patterns() -> None:
    archive = toc(entry(1, "TABLE", 's.My "Table"'))
    suggested = 's."My ""Table"""'
    with pytest.raises(UsageError, match=f"did you mean {suggested}"):
        select(archive, tables=["my_table"])
    assert select(archive, tables=[suggested]).dump_ids == {1}


@pytest.mark.parametrize(
    ("pattern", "told"),
    [("ap", "no schema in this backup matches 'ap'; did you mean app"), ("a.b", "2 dotted parts")],
)
def test_schemas_are_told_too(pattern: str, told: str) -> None:
    with pytest.raises(UsageError, match=told):
        select(SHOP, schemas=[pattern])


def test_names_may_be_quoted_qualified_and_wild() -> None:
    archive = toc(entry(1, "TABLE", "s.Users"), entry(2, "TABLE", "t.users"))
    assert select(archive, tables=["Users"]).dump_ids == {2}
    assert select(archive, tables=['"Users"']).dump_ids == {1}
    assert select(archive, tables=["s.*", "?.users"]).dump_ids == {1, 2}


# --- schema and data ----------------------------------------------------------------------------


def test_schema_only_leaves_out_all_that_is_data() -> None:
    chosen = select(SHOP, schema_only=True)
    dropped = set(range(60, 71)) | {91}
    assert chosen.dump_ids == {e.dump_id for e in SHOP.entries} - dropped
    assert chosen.loaded == ()
    assert not any(
        "large" in line for line in select(SHOP, tables=["*"], schema_only=True).left_out
    )


def test_data_only_keeps_rows_positions_and_large_objects() -> None:
    chosen = select(SHOP, data_only=True)
    assert chosen.dump_ids == SETTINGS | set(range(60, 71))
    some = select(SHOP, tables=["orders"], data_only=True)
    assert some.dump_ids == SETTINGS | {61, 67}
    assert some.left_out == ("large objects are left out: they belong to no table",)


def test_not_both() -> None:
    with pytest.raises(UsageError, match="exclude each other"):
        select(SHOP, schema_only=True, data_only=True)


# --- list files ---------------------------------------------------------------------------------


def test_lines_begin_with_the_id_and_are_one_line_each() -> None:
    wild = entry(7, "TABLE", "s.new\nline; 5 \udce9", owner="me\r")
    assert select(toc(wild)).list_lines() == ["7; TABLE s new line; 5 ? me"]
    assert select(toc(entry(8, "SCHEMA", "s"))).list_lines() == ["8; SCHEMA - s app"]


# --- any graph ----------------------------------------------------------------------------------

KINDS = sorted(TABLE_KINDS | HANGING_KINDS | {"SCHEMA", "TYPE", "FUNCTION", "CAST", "EXTENSION"})


@st.composite
def graphs(draw: st.DrawFn) -> Toc:
    """Circles, entries that need themselves or what is not there: all that an archive may hold."""
    count = draw(st.integers(1, 25))
    return toc(
        *(
            entry(
                one,
                draw(st.sampled_from(KINDS)),
                f"s.t{draw(st.integers(1, count))}",
                *draw(st.lists(st.integers(1, count + 2), max_size=4)),
                definition=draw(st.sampled_from(["", "ALTER TABLE", "CREATE OR REPLACE VIEW"])),
            )
            for one in range(1, count + 1)
        )
    )


def chosen_from(archive: Toc, patterns: list[str]) -> Selection | None:
    try:
        return select(archive, tables=patterns)
    except UsageError:
        return None


@given(graphs(), st.lists(st.integers(1, 25).map("t{}".format), min_size=1, max_size=3))
def test_what_is_chosen_lacks_nothing_that_it_needs(archive: Toc, patterns: list[str]) -> None:
    chosen = chosen_from(archive, patterns)
    if chosen is None:
        return
    by_id = {e.dump_id: e for e in archive.entries}
    for one in chosen.entries:
        for need in one.dependencies:
            loose = one.kind == "SEQUENCE" and by_id.get(need, one).kind in TABLE_KINDS
            assert need not in by_id or loose or need in chosen.dump_ids
    named = {e.dump_id for e in archive.entries if e.tag in patterns and e.kind in TABLE_KINDS}
    assert named <= chosen.dump_ids


@given(graphs(), st.lists(st.integers(1, 25).map("t{}".format), min_size=1, max_size=3))
def test_every_part_of_a_chosen_table_comes_or_is_told(archive: Toc, patterns: list[str]) -> None:
    chosen = chosen_from(archive, patterns)
    if chosen is None:
        return
    told = {"FK CONSTRAINT", "CONSTRAINT", "CHECK CONSTRAINT", "INDEX", "TRIGGER", "POLICY"}
    for one in archive.entries:
        graph = DependencyGraph(archive)
        if one.kind in told and one.dump_id not in chosen.dump_ids:
            owner = graph.owner(one.dump_id)
            if owner in chosen.dump_ids:
                assert any(f" {one.tag} of " in line for line in chosen.left_out)
