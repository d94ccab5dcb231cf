"""Sites with real stores: a folder and a bucket, a folder alone, a bucket with object lock."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support.postgres import Database, PostgresServer
from support.rebuilding import BUCKET, RebuildSite, s3_section
from support.s3 import MotoS3, RcloneS3
from support.site import Site


@pytest.fixture
def small(pg15: PostgresServer, fresh_database: Callable[..., Database]) -> Database:
    database = fresh_database(pg15)
    database.execute("CREATE TABLE users AS SELECT g AS id FROM generate_series(1, 500) g")
    return database


@pytest.fixture
def s3(tmp_path: Path) -> Iterator[RcloneS3]:
    with RcloneS3(tmp_path / "s3") as server:
        server.create_bucket(BUCKET)
        yield server


@pytest.fixture
def site(small: Database, tmp_path: Path, s3: RcloneS3) -> RebuildSite:
    """Two stores: a folder and a bucket."""
    made = Site(tmp_path / "site", small.dsn())
    made.stores["offsite"] = s3_section(s3)
    return RebuildSite(made, s3)


@pytest.fixture
def local_site(small: Database, tmp_path: Path) -> RebuildSite:
    """A folder alone."""
    return RebuildSite(Site(tmp_path / "site", small.dsn()))


@pytest.fixture
def locked_site(small: Database, tmp_path: Path, moto_s3: MotoS3) -> RebuildSite:
    """A bucket with object lock alone."""
    bucket = moto_s3.new_bucket("locked", ObjectLockEnabledForBucket=True)
    made = Site(tmp_path / "site", small.dsn())
    lock = {"mode": "GOVERNANCE", "for": "30d"}
    made.stores = {"offsite": s3_section(moto_s3, bucket, object_lock=lock)}
    return RebuildSite(made)
