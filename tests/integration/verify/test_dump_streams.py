"""``backup.jobs``: rows of big tables in parts of their own, and every way to get them back."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from psycopg import sql
from support.compare import assert_same_database
from support.drilling import verify_one
from support.postgres import Database, PostgresServer
from support.rebuilding import s3_section
from support.s3 import RcloneS3
from support.site import Site
from support.zoo import create_zoo, drop_database

from guardian.adapters.postgres import spreading
from guardian.adapters.scratch.cluster import ClusterOptions
from guardian.adapters.scratch.embedded import EmbeddedServer
from guardian.restore import sharing

HOSTILE = [
    'a"b',
    "a.b",
    "a*b",
    "(a|b)?",
    "new\nline",
    "back\\slash",
    "$x{2}[]^",
    "Ünï",
    "--x",
    "' x",
]
SHOP = """
CREATE SCHEMA billing;
CREATE TABLE users (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, name text NOT NULL);
INSERT INTO users (name) SELECT 'user ' || g FROM generate_series(1, 3000) g;
CREATE TABLE notes (id bigint PRIMARY KEY, user_id bigint NOT NULL REFERENCES users, body text);
INSERT INTO notes SELECT g, 1 + g % 3000, md5(g::text) FROM generate_series(1, 9000) g;
CREATE INDEX notes_of_user ON notes (user_id);
CREATE TABLE billing.invoices (id int PRIMARY KEY, cents bigint);
INSERT INTO billing.invoices SELECT g, g * 7 FROM generate_series(1, 5000) g;
CREATE MATERIALIZED VIEW totals AS SELECT sum(cents) AS cents FROM billing.invoices;
CREATE TABLE log (line text);
INSERT INTO log SELECT md5(g::text) FROM generate_series(1, 2000) g;
SELECT lo_from_bytea(0, 'large');
"""


@pytest.fixture(autouse=True, scope="module")
def everything_is_big() -> Iterator[None]:
    """Commands run in this process, so small tables are moved, and shared among streams."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(spreading, "_WORTH_BYTES", 1)
        patch.setattr(sharing, "STREAM_WORTH_BYTES", 0)
        patch.setattr(sharing, "_BIG_ROWS", 1)
        yield


def with_jobs(site: Site, backup: int, verify: int) -> Site:
    site.server = {"backup": {"jobs": backup}, "verify": {"jobs": verify}}
    return site


def backed_up(site: Site) -> dict[str, Any]:
    result = site.back_up().result
    assert result["status"] == "succeeded", result
    assert (result["proof"], result["warnings"]) == ("content", [])
    return result


def folder_of(site: Site, backup: str) -> Path:
    (manifest,) = site.store.rglob(f"{backup}/manifest.json")
    return manifest.parent


def dumps_in(folder: Path) -> list[str]:
    manifest = json.loads((folder / "manifest.json").read_text())
    return [part["name"] for part in manifest["parts"] if part["kind"] == "dump"]


def names(number: int) -> list[str]:
    return ["database.dump.zst.gpg", *(f"data-{n:02d}.dump.zst.gpg" for n in range(1, number))]


def as_written(folder: Path, site: Site, server: EmbeddedServer, which: int) -> None:
    """Run the commands of RESTORE.txt's fourth section: the first or the second way."""
    text = (folder / "RESTORE.txt").read_text().split("\n4. ")[1].split("   A look")[0]
    way = text.split("   Or into a database of another name")[which]
    lines = [line for line in way.splitlines() if line.startswith(("gpg ", "createdb "))]
    environ = {
        **os.environ,
        "PATH": f"{server.bindir}{os.pathsep}{os.environ['PATH']}",
        "PGHOST": str(server.socket_dir),
        "PGPORT": str(server.port),
        "PGUSER": server.superuser,
        "PASSPHRASE_FILE": str(site.passphrase),
    }
    script = "\n".join(lines)
    subprocess.run(
        ["bash", "-e", "-o", "pipefail", "-c", script], cwd=folder, env=environ, check=True
    )


def test_every_kind_of_object(pg: PostgresServer, tmp_path: Path) -> None:
    """In four parts, read by more streams; and by the lines of RESTORE.txt."""
    zoo = create_zoo(pg)
    try:
        site = with_jobs(Site(tmp_path / "site", zoo.dsn()), 4, 8)
        folder = folder_of(site, backed_up(site)["id"])
        assert dumps_in(folder) == names(4)
        drill = verify_one(site, code=None)
        assert (drill["result"], drill["reason"]) == ("proven", None)
        with EmbeddedServer(pg.bindir, cluster=ClusterOptions()) as server:
            _make_roles(folder, site, server)
            as_written(folder, site, server, 0)
            assert_same_database(zoo.dsn(), server.dsn(zoo.name), pg.bindir, database_settings=True)
    finally:
        drop_database(pg, zoo.name)


def _make_roles(folder: Path, site: Site, server: EmbeddedServer) -> None:
    plain = plain_of(folder / "globals.sql.zst.gpg", site)
    subprocess.run(
        [server.bindir / "psql", "-X", "-q", "-d", server.dsn("postgres")],
        input=plain,
        check=True,
        capture_output=True,
    )


def plain_of(part: Path, site: Site) -> bytes:
    gpg = ["gpg", "--batch", "--quiet", "--pinentry-mode", "loopback", "--passphrase-file"]
    sealed = subprocess.run(
        [*gpg, str(site.passphrase), "--decrypt", str(part)], check=True, capture_output=True
    ).stdout
    return subprocess.run(["zstd", "-dc"], input=sealed, check=True, capture_output=True).stdout


def test_names_that_are_patterns_and_a_database_that_is_a_command(
    pg15: PostgresServer, tmp_path: Path
) -> None:
    name = 'it\'s $(id)\n\\ "x" =1'
    source = pg15.create_database(name)
    try:
        with source.connect() as connection:
            for schema in ("public", 'S."*'):
                connection.execute(
                    sql.SQL("CREATE SCHEMA IF NOT EXISTS {}").format(sql.Identifier(schema))
                )
                for table in HOSTILE:
                    connection.execute(
                        sql.SQL(
                            "CREATE TABLE {} AS SELECT {} AS t, g FROM generate_series(1, 9) g"
                        ).format(sql.Identifier(schema, table), sql.Literal(schema + table))
                    )
        site = with_jobs(Site(tmp_path / "site", source.dsn()), 3, 2)
        folder = folder_of(site, backed_up(site)["id"])
        assert dumps_in(folder) == names(3)
        assert verify_one(site)["result"] == "proven"
        with EmbeddedServer(pg15.bindir, cluster=ClusterOptions()) as server:
            as_written(folder, site, server, 0)
            assert_same_database(source.dsn(), server.dsn(name), pg15.bindir)
    finally:
        pg15.drop_database(name)


@pytest.fixture(scope="module")
def shop(pg15: PostgresServer) -> Iterator[Database]:
    database = pg15.create_database()
    database.execute(SHOP)
    yield database
    pg15.drop_database(database.name)


@pytest.fixture(scope="module")
def site(shop: Database, tmp_path_factory: pytest.TempPathFactory) -> Site:
    """A backup in three parts."""
    made = with_jobs(Site(tmp_path_factory.mktemp("streams") / "site", shop.dsn()), 3, 2)
    assert dumps_in(folder_of(made, backed_up(made)["id"])) == names(3)
    return made


@pytest.fixture(scope="module")
def backup(site: Site) -> str:
    (found,) = site.listed()
    return found


def restore(site: Site, backup: str, target: Database, *words: str) -> dict[str, Any]:
    outcome = site.run_here("restore", backup, "--to", target.dsn(), "--json", *words)
    outcome.assert_clean()
    assert outcome.code == 0, outcome.out + outcome.err
    return dict(outcome.json)


@pytest.mark.parametrize("jobs", ["1", "4"])
def test_a_whole_restore(
    site: Site, backup: str, shop: Database, fresh_database: Callable[..., Database], jobs: str
) -> None:
    """By fewer streams than there are parts, and by more."""
    target = fresh_database(shop.server)
    result = restore(site, backup, target, "--jobs", jobs)
    assert result["compared"] == "content"
    assert_same_database(shop.dsn(), target.dsn(), shop.server.bindir)


def test_one_table_wherever_its_rows_lie(
    site: Site, backup: str, shop: Database, fresh_database: Callable[..., Database]
) -> None:
    moved = [rows_of(part, site, shop) for part in sorted(folder_of(site, backup).glob("data-*"))]
    assert all(moved)
    for table in ("notes", "billing.invoices"):
        target = fresh_database(shop.server)
        restore(site, backup, target, "--table", table)
        (count,) = shop.rows(f"SELECT count(*) FROM {table}")
        assert target.rows(f"SELECT count(*) FROM {table}") == [count]


def rows_of(part: Path, site: Site, database: Database) -> set[str]:
    """The tables whose rows a part holds, as pg_restore lists them."""
    listed = subprocess.run(
        [database.server.tool("pg_restore"), "--list"],
        input=plain_of(part, site),
        check=True,
        capture_output=True,
    ).stdout.decode()
    return {line.split()[-2] for line in listed.splitlines() if " TABLE DATA " in line}


def test_rows_alone_in_one_transaction(
    site: Site, backup: str, shop: Database, fresh_database: Callable[..., Database]
) -> None:
    """One run of pg_restore over all parts as if they were one."""
    target = fresh_database(shop.server)
    restore(site, backup, target, "--schema-only")
    assert target.rows("SELECT count(*) FROM notes") == [(0,)]
    restore(site, backup, target, "--data-only")
    for table in ("notes", "billing.invoices", "users", "log"):
        query = f"SELECT * FROM {table} ORDER BY 1"
        assert target.rows(query) == shop.rows(query)


def test_parts_in_a_bucket(
    shop: Database,
    rclone_s3: RcloneS3,
    fresh_database: Callable[..., Database],
    tmp_path: Path,
) -> None:
    """Made, drilled, restored by us and by RESTORE.txt, and pruned with every part."""
    bucket = rclone_s3.new_bucket("parts")
    site = Site(tmp_path / "site", shop.dsn(), stores={"s3": s3_section(rclone_s3, bucket)})
    with_jobs(site, 2, 2)
    site.server["retention"] = {
        "keep_last": 1,
        "keep_within": "0d",
        "keep_proven": 0,
        **{f"keep_{period}": 0 for period in ("daily", "weekly", "monthly", "yearly")},
    }
    first = backed_up(site)["id"]
    assert verify_one(site)["result"] == "proven"
    (folder,) = (rclone_s3.root / bucket).rglob(first)
    assert dumps_in(folder) == names(2)
    target = fresh_database(shop.server)
    assert restore(site, first, target)["compared"] == "content"
    assert_same_database(shop.dsn(), target.dsn(), shop.server.bindir)
    with EmbeddedServer(shop.server.bindir, cluster=ClusterOptions()) as server:
        as_written(folder, site, server, 0)
        assert_same_database(shop.dsn(), server.dsn(shop.name), shop.server.bindir)
    second = backed_up(site)["id"]
    pruned = site.run_here("backup", "prune", "--json")
    assert pruned.code == 0, pruned.err
    assert site.listed() == [second]
    left = {path.parent.name for path in (rclone_s3.root / bucket).rglob("*") if path.is_file()}
    assert left == {second}
    assert verify_one(site)["result"] == "proven"


@pytest.mark.parametrize("damage", ["lost", "swapped", "flipped", "cut"])
def test_damage_in_a_part_of_rows_is_caught_and_named(site: Site, backup: str, damage: str) -> None:
    first, second = (folder_of(site, backup) / name for name in names(3)[1:])
    kept = first.read_bytes(), second.read_bytes()
    try:
        if damage == "lost":
            second.unlink()
        elif damage == "swapped":
            first.write_bytes(kept[1])
            second.write_bytes(kept[0])
        elif damage == "flipped":
            second.write_bytes(kept[1][:-9] + bytes([kept[1][-9] ^ 1]) + kept[1][-8:])
        else:
            second.write_bytes(kept[1][:-20])
        drill = verify_one(site, code=1)
    finally:
        first.write_bytes(kept[0])
        second.write_bytes(kept[1])
    assert drill["result"] == "unrestorable"
    assert "data-0" in drill["reason"]


def test_what_is_excluded_stays_out_and_small_databases_have_one_dump(
    shop: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = with_jobs(Site(tmp_path / "site", shop.dsn()), 3, 2)
    site.server["backup"]["exclude_table_data"] = ["notes"]
    result = backed_up(site)
    folder = folder_of(site, result["id"])
    held = set.union(*(rows_of(folder / name, site, shop) for name in dumps_in(folder)))
    assert held == {"users", "invoices", "log"}
    assert verify_one(site)["result"] == "proven"
    monkeypatch.setattr(spreading, "_WORTH_BYTES", 32 << 20)
    assert dumps_in(folder_of(site, backed_up(site)["id"])) == names(1)
