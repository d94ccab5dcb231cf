"""A backup of every kind of object, restored by RESTORE.txt's own lines, equals its source.

guardian makes the backup; gpg, zstd, psql, createdb and pg_restore alone bring it back on another
server of the same major; the comparison shares no code with guardian's fingerprint.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.compare import assert_same_database
from support.postgres import PostgresServer
from support.site import Site
from support.zoo import create_zoo, drop_database

from guardian.adapters.scratch.cluster import ClusterOptions
from guardian.adapters.scratch.embedded import EmbeddedServer
from guardian.demo.seed import seed


@pytest.fixture
def target(pg: PostgresServer) -> Iterator[EmbeddedServer]:
    """An empty server of the same build."""
    with EmbeddedServer(pg.bindir, cluster=ClusterOptions()) as server:
        yield server


def shell(folder: Path, script: str, site: Site, server: EmbeddedServer) -> str:
    """Run lines of RESTORE.txt in bash, as they stand but for the place and the key."""
    environ = {
        **os.environ,
        "PATH": f"{server.bindir}{os.pathsep}{os.environ['PATH']}",
        "PGHOST": str(server.socket_dir),
        "PGPORT": str(server.port),
        "PGUSER": server.superuser,
        "PASSPHRASE_FILE": str(site.passphrase),
    }
    done = subprocess.run(
        ["bash", "-e", "-o", "pipefail", "-c", script],
        cwd=folder,
        env=environ,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"{script}\n{done.stderr}"
    return done.stdout + done.stderr


def sections(notes: str) -> dict[str, str]:
    """The numbered sections of RESTORE.txt."""
    pieces = re.split(r"^(\d)\. ", notes, flags=re.MULTILINE)
    return dict(zip(pieces[1::2], pieces[2::2], strict=True))


def commands(section: str) -> list[str]:
    """Its command lines: they alone stand at the margin and name a program."""
    return [line for line in section.splitlines() if line.startswith(("gpg ", "createdb "))]


def folder_of(site: Site, backup: str) -> Path:
    (manifest,) = site.store.rglob(f"{backup}/manifest.json")
    return manifest.parent


def test_every_kind_of_object_comes_back(
    pg: PostgresServer, target: EmbeddedServer, tmp_path: Path
) -> None:
    zoo = create_zoo(pg)
    try:
        site = Site(tmp_path / "site", zoo.dsn())
        result = site.back_up().result
        assert result["status"] == "succeeded", result
        assert result["proof"] == "content"
        assert result["warnings"] == []
        folder = folder_of(site, result["id"])
        part = sections((folder / "RESTORE.txt").read_text())
        assert "OK" in shell(folder, part["1"].split("\n", 1)[1], site, target)
        (roles,) = commands(part["3"])
        shell(folder, roles, site, target)
        whole, create, other, look, _fingerprint = commands(part["4"])
        shell(folder, whole, site, target)
        assert_same_database(zoo.dsn(), target.dsn(zoo.name), pg.bindir, database_settings=True)
        shell(folder, f"{create}\n{other}", site, target)
        assert_same_database(zoo.dsn(), target.dsn("restored"), pg.bindir)
        assert "TABLE DATA" in shell(folder, f"set +o pipefail\n{look}", site, target)
    finally:
        drop_database(pg, zoo.name)


def test_the_sample_database_comes_back_from_recipients(
    pg18: PostgresServer, tmp_path: Path
) -> None:
    """Encrypted for a public key; the secret key opens it."""
    home = tmp_path / "gnupg"
    home.mkdir(mode=0o700)
    gpg = ["gpg", "--homedir", str(home), "--batch", "--quiet", "--passphrase", ""]
    subprocess.run(
        [*gpg, "--quick-generate-key", "ops@example.org", "default", "default", "never"], check=True
    )
    database = pg18.create_database()
    try:
        seed(database.dsn(), scale=0.05)
        site = Site(tmp_path / "site", database.dsn())
        site.encryption = {"recipients": ["ops@example.org"], "homedir": str(home)}
        result = site.back_up().result
        assert result["status"] == "succeeded", result
        folder = folder_of(site, result["id"])
        notes = (folder / "RESTORE.txt").read_text()
        assert "passphrase-file" not in notes
        with EmbeddedServer(pg18.bindir) as server:
            part = sections(notes)
            script = f"export GNUPGHOME={shlex.quote(str(home))}\n"
            (roles,) = commands(part["3"])
            shell(folder, script + roles, site, server)
            shell(folder, script + commands(part["4"])[0], site, server)
            assert_same_database(database.dsn(), server.dsn(database.name), pg18.bindir)
    finally:
        pg18.drop_database(database.name)
        subprocess.run(["gpgconf", "--homedir", str(home), "--kill", "all"], check=False)
