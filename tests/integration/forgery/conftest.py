"""A folder and a bucket, two backups in each, and somebody who can write to both."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from support.forging import Intruder, Scene
from support.keys import Homes
from support.postgres import Database, PostgresServer
from support.rebuilding import BUCKET, RebuildSite, s3_section
from support.s3 import RcloneS3
from support.site import Site


@dataclass
class Stage:
    """Made once; each test begins with all as it was then."""

    database: Database
    s3: RcloneS3
    root: Path
    kept: Path
    backups: tuple[str, str] = ("", "")

    def site(self) -> RebuildSite:
        made = Site(self.root, self.database.dsn())
        made.stores["offsite"] = s3_section(self.s3)
        return RebuildSite(made, self.s3)

    def keep(self) -> None:
        shutil.copytree(self.root, self.kept / "site")
        shutil.copytree(self.s3.root / BUCKET, self.kept / "bucket")

    def reset(self) -> None:
        for place, name in ((self.root, "site"), (self.s3.root / BUCKET, "bucket")):
            for one in place.iterdir():
                shutil.rmtree(one) if one.is_dir() else one.unlink()
            shutil.copytree(self.kept / name, place, dirs_exist_ok=True)


@pytest.fixture(scope="module")
def stage(pg15: PostgresServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    folder = tmp_path_factory.mktemp("forgery")
    database = pg15.create_database()
    database.execute("CREATE TABLE users AS SELECT g AS id FROM generate_series(1, 50) g")
    with RcloneS3(folder / "s3") as server:
        server.create_bucket(BUCKET)
        made = Stage(database, server, folder / "site", folder / "kept")
        made.kept.mkdir()
        site = made.site()
        made.backups = (site.back_up(), site.back_up())
        made.keep()
        yield made
    pg15.drop_database(database.name)


@pytest.fixture
def scene(stage: Stage) -> Scene:
    stage.reset()
    site = stage.site()
    made = Scene(site, Intruder(site.site.store), Intruder(site.bucket), *stage.backups)
    made.reopen()
    return made


@pytest.fixture
def home() -> Iterator[Homes]:
    home = Homes()
    yield home
    home.remove()
