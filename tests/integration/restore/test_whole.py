"""Every kind of object comes back through ``guardian restore``, with roles, settings and grants."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from support.compare import assert_same_database, roles_of
from support.postgres import PostgresServer, installation, running_server
from support.restoring import Restoring, back_up
from support.s3 import RcloneS3
from support.site import Site
from support.zoo import KEEPERS, OWNER, READER, create_zoo, drop_database


@pytest.fixture
def elsewhere(pg: PostgresServer) -> Iterator[PostgresServer]:
    """An empty server of the same build."""
    with running_server(installation(pg.major, from_wheel=not pg.has_contrib)) as server:
        yield server


def test_the_zoo_on_an_empty_server_with_its_roles(
    pg: PostgresServer, elsewhere: PostgresServer, tmp_path: Path
) -> None:
    zoo = create_zoo(pg)
    try:
        restoring = back_up(tmp_path / "site", zoo, elsewhere)
        lacking = restoring.refused(zoo.name, "--create", code=1)
        assert f"lacks 3 roles that ownership and grants need: {KEEPERS}, {OWNER}" in lacking
        assert "--globals" in lacking

        first = restoring.restored(zoo.name, "--create", "--globals", "--jobs", "2")
        assert first["compared"] == "content"
        assert first["rows"] > 1000
        assert first["kept_old"] is None
        assert_same_database(zoo.dsn(), elsewhere.dsn(zoo.name), pg.bindir, database_settings=True)
        ours, theirs = roles_of(pg.dsn()), roles_of(elsewhere.dsn())
        for role in (OWNER, KEEPERS, READER):
            assert theirs[role] == ours[role]
        left = [one for one in first["warnings"] if "left as they are" in one]
        assert left == [f"roles left as they are: {pg.superuser.name}"]
        assert restoring.beside() == []
    finally:
        drop_database(pg, zoo.name)


def test_from_15_to_18(shop: Restoring, pg18: PostgresServer) -> None:
    across = Restoring(shop.site, shop.source, shop.backup, pg18)
    name = across.new_name()
    try:
        document = across.restored(name, "--create")
        assert (document["compared"], document["differences"]) == ("content", [])
        with psycopg.connect(pg18.dsn(name)) as connection:
            assert connection.execute("SHOW search_path").fetchone() == (
                'billing, "$user", public',
            )
    finally:
        across.clean()
    assert across.beside() == []


def test_for_people(shop: Restoring) -> None:
    """The newest of a database by its name; a DSN in a file; lines instead of JSON."""
    name = shop.new_name()
    dsn = shop.site.root / "dsn"
    dsn.write_text(shop.server.dsn(name) + "\n")
    outcome = shop.site.run(
        *("restore", "latest", f"main/{shop.source.name}", "--to-file", str(dsn), "--create")
    )
    outcome.assert_clean()
    assert outcome.code == 0, outcome.err
    assert "restored" in outcome.out
    assert "2,600 rows as they were" in outcome.out
    for step in ("reading", "restoring", "comparing", "ANALYZE", "taking the name"):
        assert step in outcome.err
    shop.assert_restored(name, database_settings=True)
    with shop.server.connect(name) as connection:
        analyzed = connection.execute(
            "SELECT reltuples FROM pg_class WHERE oid = 'public.notes'::regclass"
        ).fetchone()
    assert analyzed == (2000,)


def test_on_a_new_host_from_the_bucket_alone(
    shop: Restoring, rclone_s3: RcloneS3, tmp_path: Path
) -> None:
    """With the key, a configuration, and nothing else; the bucket is read once for two streams."""
    offsite = {
        "kind": "s3",
        "bucket": rclone_s3.new_bucket("disaster"),
        "endpoint_url": rclone_s3.endpoint_url,
        "access_key_id": rclone_s3.access_key_id,
        "secret_access_key": rclone_s3.secret_access_key,
    }
    before = back_up(tmp_path / "old", shop.source, shop.server, stores={"offsite": offsite})
    site = Site(tmp_path / "new", "dbname=gone", stores={"offsite": offsite})
    there = Restoring(site, shop.source, before.backup, shop.server)
    name = there.new_name()
    assert "guardian catalog rebuild" in there.refused(name, "--create")
    site.run("catalog", "rebuild", check=True)
    assert there.restored(name, "--create", "--jobs", "2")["store"] == "offsite"
    there.assert_restored(name, database_settings=True)
    there.clean()
