"""Restoring in several streams gives what pg_restore alone gives, and no more than was asked for.

Tables count as big, and archives as worth several streams, from a few rows on: what is shown does
not depend on size. One drill of really big tables is among them.
"""

from __future__ import annotations

import struct
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from support.compare import assert_same_database
from support.drilling import verify_one
from support.postgres import Database, PostgresServer
from support.site import Site

from guardian.adapters.postgres import feeding, loading
from guardian.adapters.postgres.connection import Connector
from guardian.adapters.postgres.loading import Loader, LoadOptions
from guardian.errors import UnrestorableError
from guardian.ports import Readable
from guardian.restore import sharing
from guardian.restore.archive import TocEntry

SHAPES = r"""
CREATE TYPE mood AS ENUM ('glad', 'so-so', 'sad');
CREATE TABLE parents (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, name text NOT NULL);
INSERT INTO parents (name) SELECT 'parent ' || g FROM generate_series(1, 4000) g;
CREATE UNIQUE INDEX parents_name ON parents (lower(name));
COMMENT ON INDEX parents_name IS 'of a big table, built ahead of time';
ALTER TABLE parents REPLICA IDENTITY USING INDEX parents_pkey;
CREATE TABLE children (
    id bigserial PRIMARY KEY, parent bigint NOT NULL REFERENCES parents, n int CHECK (n >= 0),
    EXCLUDE USING btree (n WITH =) DEFERRABLE INITIALLY DEFERRED);
INSERT INTO children (parent, n) SELECT 1 + g % 4000, g FROM generate_series(1, 5000) g;
CREATE INDEX children_parent ON children (parent) INCLUDE (n);
ALTER TABLE children CLUSTER ON children_parent;
CREATE STATISTICS children_stats ON parent, n FROM children;
CREATE TABLE moods (m mood NOT NULL, id int NOT NULL, t text) PARTITION BY HASH (m);
CREATE TABLE moods_0 PARTITION OF moods FOR VALUES WITH (MODULUS 3, REMAINDER 0);
CREATE TABLE moods_1 PARTITION OF moods FOR VALUES WITH (MODULUS 3, REMAINDER 1);
CREATE TABLE moods_2 PARTITION OF moods FOR VALUES WITH (MODULUS 3, REMAINDER 2);
ALTER TABLE moods ADD PRIMARY KEY (m, id);
INSERT INTO moods SELECT (enum_range(NULL::mood))[1 + g % 3], g, md5(g::text)
  FROM generate_series(1, 3000) g;
CREATE TABLE days (day date NOT NULL, n int) PARTITION BY RANGE (day);
CREATE TABLE days_a PARTITION OF days FOR VALUES FROM ('2026-01-01') TO ('2026-07-01');
CREATE TABLE days_b PARTITION OF days FOR VALUES FROM ('2026-07-01') TO ('2027-01-01');
CREATE INDEX days_day ON days (day);
ALTER TABLE days ADD CONSTRAINT days_key UNIQUE (day, n);
INSERT INTO days SELECT date '2026-01-01' + g % 365, g FROM generate_series(1, 4000) g;
CREATE TABLE heirs (extra text) INHERITS (parents);
INSERT INTO heirs SELECT g, 'heir ' || g, E'\\.\n' FROM generate_series(1, 2000) g;
CREATE UNLOGGED TABLE fleeting AS SELECT g FROM generate_series(1, 2500) g;
CREATE TABLE empty (id int PRIMARY KEY);
CREATE TABLE "no columns" ();
INSERT INTO "no columns" DEFAULT VALUES; INSERT INTO "no columns" DEFAULT VALUES;
CREATE TABLE " FROM stdin;
" ("COPY x
" int, " FROM stdin;
\." text);
INSERT INTO " FROM stdin;
" SELECT g, E'\\.' FROM generate_series(1, 2000) g;
CREATE TABLE "Ünïcode ""x"" y" AS SELECT g AS "ä" FROM generate_series(1, 2000) g;
CREATE MATERIALIZED VIEW sums AS SELECT parent, sum(n) FROM children GROUP BY 1;
CREATE UNIQUE INDEX sums_parent ON sums (parent);
CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'no'; END $$;
CREATE TRIGGER refused BEFORE INSERT OR TRUNCATE ON parents EXECUTE FUNCTION refuse();
ALTER TABLE parents ENABLE ALWAYS TRIGGER refused;
CREATE RULE quiet AS ON INSERT TO children DO INSTEAD NOTHING;
REVOKE ALL ON parents FROM CURRENT_USER;
SELECT lo_from_bytea(0, decode(md5(g::text), 'hex')) FROM generate_series(1, 1500) g;
SELECT lo_put(lo_create(424242), 3000000, 'far');
COMMENT ON LARGE OBJECT 424242 IS 'a large one with a hole';
"""


class File:
    """An archive in a file; notes how often it was read to its end."""

    parts = ()

    def __init__(self, path: Path) -> None:
        self._path = path
        self.opened = 0
        self.ended = 0

    @property
    def plain_bytes(self) -> int:
        return self._path.stat().st_size

    @contextmanager
    def open(self) -> Iterator[Readable]:
        self.opened += 1
        with self._path.open("rb") as stream:
            yield _Ended(stream, self)


class _Ended:
    def __init__(self, stream: Any, archive: File) -> None:
        self._stream = stream
        self._archive = archive

    def read(self, size: int = -1, /) -> bytes:
        block: bytes = self._stream.read(size)
        self._archive.ended += not block
        return block


@pytest.fixture(scope="module")
def shapes(pg: PostgresServer) -> Iterator[Database]:
    database = pg.create_database()
    subprocess.run(
        [pg.tool("psql"), "-X", "-q", "-v", "ON_ERROR_STOP=1", "-d", database.dsn()],
        input=SHAPES,
        text=True,
        check=True,
    )
    yield database
    pg.drop_database(database.name)


@pytest.fixture(scope="module")
def archive(shapes: Database, tmp_path_factory: pytest.TempPathFactory) -> File:
    path = tmp_path_factory.mktemp("loading") / "dump"
    pg_dump = shapes.server.tool("pg_dump")
    with path.open("wb") as file:
        subprocess.run([pg_dump, "-Fc", "-Z0", "-d", shapes.dsn()], stdout=file, check=True)
    return File(path)


@pytest.fixture
def everything_is_big(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sharing, "STREAM_WORTH_BYTES", 0)
    monkeypatch.setattr(sharing, "_BIG_ROWS", 1000)


def counts(database: Database) -> dict[tuple[str, str], int]:
    return {
        ("public", name): database.rows(f'SELECT count(*) FROM ONLY "{name}"')[0][0]
        for name in ("parents", "children", "days_a", "days_b", "heirs", "fleeting")
    }


def loader(
    archive: File, target: Database, rows: dict[tuple[str, str], int], **options: Any
) -> Loader:
    program = target.server.tool("pg_restore")
    made = LoadOptions(**{"jobs": 1, "own_server": True, **options})
    connector = Connector("target", target.server.dsn())
    return Loader(
        archive, connector, target.name, program, options=made, row_counts=rows, advance=_nowhere
    )


def _nowhere(size: int) -> None:
    assert size >= 0


@pytest.mark.usefixtures("everything_is_big")
@pytest.mark.parametrize("jobs", [1, 3])
def test_all_shapes_of_tables(
    jobs: int, archive: File, shapes: Database, fresh_database: Callable[..., Database]
) -> None:
    target = fresh_database(shapes.server)
    ended = archive.ended
    run = loader(archive, target, counts(shapes), jobs=jobs)
    run.run()
    assert_same_database(shapes.dsn(), target.dsn(), shapes.server.bindir)
    assert run._streams == jobs + 1, "the large objects have a stream of their own"
    assert archive.ended > ended, "nobody saw the archive's end"
    # The index of a table that was loaded first is built while others still load; on one stream
    # there is nothing to wait for.
    assert jobs > 1 or not run._built


def test_small_archives_are_read_once(
    archive: File, shapes: Database, fresh_database: Callable[..., Database]
) -> None:
    target = fresh_database(shapes.server)
    run = loader(archive, target, counts(shapes), jobs=4)
    run.run()
    assert run._streams == 2


@pytest.mark.usefixtures("everything_is_big")
def test_indexes_are_built_early_and_not_twice(
    archive: File,
    shapes: Database,
    fresh_database: Callable[..., Database],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The stream of the large tables waits until the indexes of the others are there."""
    original = feeding.feed_tables
    run: Loader

    def slow(connection: Any, script: Any, entries: Any, loaded: Any, **more: Any) -> None:
        def heard(entry: TocEntry) -> None:
            loaded(entry)
            if entry.tag == "parents":  # its stream has more tables, which wait here
                for _ in range(500):
                    if run._built:
                        return
                    _pause()

        original(connection, script, entries, heard, **more)

    monkeypatch.setattr(loading, "feed_tables", slow)
    target = fresh_database(shapes.server)
    rows = {**counts(shapes), ("public", "parents"): 10_000}
    run = loader(archive, target, rows, jobs=2)
    run.run()
    assert run._built, "no index was built ahead of time"
    assert_same_database(shapes.dsn(), target.dsn(), shapes.server.bindir)


def _pause() -> None:
    import time

    time.sleep(0.02)


def test_fresh_tables_alone_are_emptied(
    archive: File, shapes: Database, fresh_database: Callable[..., Database]
) -> None:
    """Rows only: what is in the tables already stays, as with pg_restore."""
    target = fresh_database(shapes.server)
    loader(archive, target, {}).run()
    target.execute('INSERT INTO "no columns" DEFAULT VALUES', "TRUNCATE fleeting, heirs")
    chosen = _entries(archive, {"no columns", "fleeting", "heirs"})
    loader(archive, target, {}, chosen=chosen, flags=("--data-only",)).run()
    assert target.rows('SELECT count(*) FROM "no columns"') == [(5,)]
    assert target.rows("SELECT count(*) FROM fleeting") == [(2500,)]
    assert target.rows("SELECT count(*) FROM heirs") == [(2000,)]


def test_rows_of_fresh_tables_are_frozen(
    archive: File, shapes: Database, fresh_database: Callable[..., Database]
) -> None:
    """Whoever reads them first has nothing to mark, and so no page to write once more."""
    target = fresh_database(shapes.server)
    loader(archive, target, {}).run()
    for table in ("children", "days_a", "heirs"):
        assert _are_frozen(target, table), table
    target.execute("TRUNCATE heirs")
    chosen = _entries(archive, {"heirs"})
    loader(archive, target, {}, chosen=chosen, flags=("--data-only",)).run()
    assert not _are_frozen(target, "heirs"), "somebody else may look at it"


def _are_frozen(database: Database, table: str) -> bool:
    """Whether all rows of its first page are marked so, read from the file itself."""
    database.execute("CHECKPOINT")
    read = f"SELECT pg_read_binary_file(pg_relation_filepath('{table}'), 0, 8192)"
    page = bytes(database.rows(read)[0][0])
    (end,) = struct.unpack_from("<H", page, 12)  # pd_lower: the line pointers end there
    pointers = [struct.unpack_from("<I", page, at)[0] & 0x7FFF for at in range(24, end, 4)]
    masks = [struct.unpack_from("<H", page, at + 20)[0] for at in pointers]  # t_infomask
    assert masks
    return all(mask & 0x300 == 0x300 for mask in masks)  # HEAP_XMIN_FROZEN


def _entries(archive: File, names: set[str]) -> frozenset[int]:
    from guardian.restore.archive import TocReader

    reader = TocReader()
    toc = reader.feed(archive._path.read_bytes())
    assert toc is not None
    return frozenset(e.dump_id for e in toc.entries if e.tag in names and e.kind == "TABLE DATA")


def test_a_dump_that_is_cut_short_is_told_so(
    archive: File, fresh_database: Callable[..., Database], shapes: Database, tmp_path: Path
) -> None:
    """By pg_restore itself, but for the last bytes of large objects, which 16 and later overlook.

    There, and everywhere else, the stream's own length and hash tell.
    """
    whole = archive._path.read_bytes()
    for share in (0.8, 0.4):
        cut = tmp_path / "cut"
        cut.write_bytes(whole[: int(len(whole) * share)])
        target = fresh_database(shapes.server)
        with pytest.raises(UnrestorableError):
            loader(File(cut), target, {}).run()


# --- really big -----------------------------------------------------------------------------------


def test_a_drill_of_big_tables(pg15: PostgresServer, tmp_path: Path) -> None:
    source = pg15.create_database()
    try:
        source.execute(
            "CREATE TABLE a (id int PRIMARY KEY, b int, t text)",
            "INSERT INTO a SELECT g, g % 1000, repeat(md5(g::text), 8) "
            "FROM generate_series(1, 150000) g",
            "CREATE INDEX a_b ON a (b)",
            "CREATE TABLE c (id int PRIMARY KEY, a int REFERENCES a, t text)",
            "INSERT INTO c SELECT g, g, repeat(md5(g::text), 8) FROM generate_series(1, 120000) g",
            "CREATE INDEX c_a ON c (a)",
        )
        site = Site(tmp_path / "site", source.dsn())
        site.server = {"backup": {"compression": {"level": 1}}, "verify": {"jobs": 2}}
        backup = site.back_up().result
        assert backup["dumped_bytes"] > 64 << 20, "too small for several streams"
        drill = verify_one(site, code=None)
        assert (drill["result"], drill["reason"]) == ("proven", None)
        assert drill["rows"] == 270_000
        only = replace(site, server={"verify": {"jobs": 1}})
        assert verify_one(only)["rows"] == 270_000
    finally:
        pg15.drop_database(source.name)
