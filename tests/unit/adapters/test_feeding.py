"""COPY blocks are found in pg_restore's script wherever the blocks of the pipe end."""

from __future__ import annotations

import itertools
import os
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from io import FileIO

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guardian.adapters.postgres import feeding
from guardian.adapters.postgres.feeding import Script, ScriptEndedError, copied_table, frozen

Table = tuple[bytes, list[bytes]]

HEAD = b"--\n-- PostgreSQL database dump\n--\n\nSET statement_timeout = 0;\n\n"
HEADER = b"--\n-- Data for Name: t; Type: TABLE DATA; Schema: s; Owner: o\n--\n\n"
TAIL = b"--\n-- PostgreSQL database dump complete\n--\n\n"


def script_of(tables: Sequence[Table]) -> bytes:
    """As pg_restore prints it: a header, the COPY, its rows, the end, two empty lines."""
    blocks = [
        HEADER + statement + b"".join(row + b"\n" for row in rows) + b"\\.\n\n\n"
        for statement, rows in tables
    ]
    return HEAD + b"".join(blocks) + TAIL


@contextmanager
def piped(pieces: Iterable[bytes]) -> Iterator[FileIO]:
    """A pipe through which these pieces come, each in a write of its own."""
    reading, writing = os.pipe()

    def write() -> None:
        with FileIO(writing, "w") as end:
            try:
                for piece in pieces:
                    end.write(piece)
            except BrokenPipeError:
                pass

    thread = threading.Thread(target=write)
    thread.start()
    try:
        with FileIO(reading) as end:
            yield end
    finally:
        thread.join()


def read(output: FileIO) -> list[tuple[bytes, bytes]]:
    script = Script(output)
    found = []
    while (statement := script.next_statement()) is not None:
        blocks = list(script.rows())
        assert all(blocks), "an empty block would end a COPY too early"
        found.append((statement, b"".join(blocks)))
    return found


def expected(tables: Sequence[Table]) -> list[tuple[bytes, bytes]]:
    return [(statement, b"".join(row + b"\n" for row in rows)) for statement, rows in tables]


PLAIN = b"COPY public.t (a, b) FROM stdin;\n"

TRICKY: dict[str, Table] = {
    "rows": (PLAIN, [b"1\tx", b"2\ty"]),
    "no rows": (PLAIN, []),
    "one empty row": (PLAIN, [b""]),
    "empty rows": (PLAIN, [b"", b"", b""]),
    "a table without columns": (b"COPY public.t  FROM stdin;\n", [b"", b""]),
    "what looks like the end": (PLAIN, [b"\\\\.", b".", b"\\N", b"x\\\\.", b"\\\\.\\n"]),
    "what looks like a COPY": (PLAIN, [b"COPY public.u (a) FROM stdin;", b"COPY ", b"-- COPY"]),
    "a long row": (PLAIN, [b"x" * 300_000, b"y"]),
    "bytes of no encoding": (PLAIN, [b"\xff\xfe\x80", b"\xe4"]),
    "a name that ends a statement": (
        b'COPY "a "" FROM stdin;\nb"."t FROM stdin;\n" ("c FROM stdin;\n") FROM stdin;\n',
        [b"1"],
    ),
}


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 7, 64, 1 << 20])
@pytest.mark.parametrize("name", TRICKY)
def test_rows_come_whole_at_any_size_of_blocks(
    name: str, size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = TRICKY[name]
    if len(table[1]) and len(table[1][0]) > 1000 and size < 64:
        size *= 1000
    tables = [TRICKY["rows"], table, TRICKY["no rows"], table]
    monkeypatch.setattr(feeding, "_BLOCK", size)
    with piped([script_of(tables)]) as output:
        assert read(output) == expected(tables)


ROW = st.lists(
    st.sampled_from(
        [b"\\\\.", b"\\n", b"\\N", b"\t", b".", b"COPY ", b" FROM stdin;", b"x", b"--"]
    ),
    max_size=6,
).map(b"".join)
NAME = st.lists(
    st.sampled_from([b"a", b" ", b'""', b"\n", b" FROM stdin;\n", b"COPY ", b"."]), max_size=4
).map(lambda parts: b'"' + b"".join(parts) + b'"')
TABLE = st.tuples(
    st.builds(
        lambda schema, name, columns: (
            b"COPY %s.%s %s FROM stdin;\n"
            % (schema, name, b"(" + b", ".join(columns) + b")" if columns else b"")
        ),
        NAME,
        NAME,
        st.lists(NAME, max_size=3),
    ),
    st.lists(ROW, max_size=8),
)


@given(tables=st.lists(TABLE, max_size=4), cuts=st.lists(st.integers(0, 2000), max_size=20))
def test_whatever_the_names_the_rows_and_the_cuts(tables: list[Table], cuts: list[int]) -> None:
    whole = script_of(tables)
    places = sorted({0, *(cut % (len(whole) + 1) for cut in cuts), len(whole)})
    pieces = [whole[begin:end] for begin, end in itertools.pairwise(places)]
    with piped(pieces) as output:
        assert read(output) == expected(tables)


@given(table=TABLE)
@settings(max_examples=30)
def test_a_script_that_is_cut_short_is_never_taken_for_whole(table: Table) -> None:
    whole = script_of([table])
    begin = whole.index(b"\nCOPY ") + len(b"\nCOPY ")
    end = whole.rindex(b"\n\\.\n") + len(b"\n\\.\n") - 1
    for cut in {*range(begin, end, max(1, (end - begin) // 15)), end - 1}:
        with piped([whole[:cut]]) as output, pytest.raises(ScriptEndedError):
            read(output)


def test_a_script_without_tables_has_none() -> None:
    for text in (b"", HEAD + TAIL, b"COPY"):
        with piped([text]) as output:
            assert read(output) == []


def test_a_statement_without_end_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feeding, "_LARGEST_STATEMENT", 1000)
    left = iter([b"COPY t (", *[b"a, " * 10_000] * 50])
    with piped(left) as output, pytest.raises(ScriptEndedError):
        read(output)
    assert next(left, None) is not None, "it read to the end all the same"


@pytest.mark.parametrize(
    ("statement", "table"),
    [
        (b"COPY public.t (a) FROM stdin;\n", b"public.t"),
        (b"COPY public.t  FROM stdin;\n", b"public.t"),
        (b'COPY "a ""b"" c"."x (y)" (a) FROM stdin;\n', b'"a ""b"" c"."x (y)"'),
        (b'COPY s."\xe4\n" (a) FROM stdin;\n', b's."\xe4\n"'),
    ],
)
def test_the_table_of_a_copy_as_it_stands_there(statement: bytes, table: bytes) -> None:
    assert copied_table(statement) == table


def test_a_frozen_copy() -> None:
    assert frozen(PLAIN) == b"COPY public.t (a, b) FROM stdin WITH (FREEZE);\n"


def test_a_copy_of_something_else_is_refused() -> None:
    with pytest.raises(ScriptEndedError):
        copied_table(b"COPY")
