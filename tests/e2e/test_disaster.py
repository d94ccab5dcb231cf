"""The night on which everything is gone: a new host with the bucket, the key and a configuration.

The source is every kind of object (the zoo); the backup lies in a bucket alone. It comes back once
by guardian and once by RESTORE.txt, each onto an empty server; both are compared with the source by
code that guardian has no part in.
"""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from support.compare import assert_same_database
from support.postgres import PostgresServer
from support.s3 import RcloneS3
from support.site import Site
from support.zoo import create_zoo, drop_database

from guardian.adapters.scratch.cluster import ClusterOptions
from guardian.adapters.scratch.embedded import EmbeddedServer


def bucket_store(s3: RcloneS3, bucket: str) -> dict[str, str]:
    return {
        "kind": "s3",
        "bucket": bucket,
        "prefix": "pg",
        "region": "us-east-1",
        "endpoint_url": s3.endpoint_url,
        "access_key_id": s3.access_key_id,
        "secret_access_key": s3.secret_access_key,
    }


def fetched(s3: RcloneS3, bucket: str, folder: Path) -> Path:
    """The backup's folder, copied by a stock S3 client."""
    client = s3.client()
    for item in client.list_objects_v2(Bucket=bucket)["Contents"]:
        target = folder / Path(item["Key"]).name
        client.download_file(bucket, item["Key"], str(target))
    return folder


def test_from_the_bucket_alone(pg15: PostgresServer, rclone_s3: RcloneS3, tmp_path: Path) -> None:
    zoo = create_zoo(pg15)
    bucket = rclone_s3.new_bucket("disaster")
    old = Site(tmp_path / "old", zoo.dsn(), stores={"offsite": bucket_store(rclone_s3, bucket)})
    try:
        result = old.back_up().result
        assert result["status"] == "succeeded", result
        passphrase = old.passphrase.read_text()
        shutil.rmtree(old.root)  # the host is gone, catalog and all

        new = Site(tmp_path / "new", "host=/nowhere dbname=gone", stores=old.stores)
        new.passphrase.write_text(passphrase)
        assert new.run("backup", "list", "--json", check=True).json == []
        rebuilt = new.run("catalog", "rebuild")
        assert rebuilt.code == 0, rebuilt.err
        (found,) = new.run("backup", "list", "--json", check=True).json
        assert found["id"] == result["id"]

        with EmbeddedServer(pg15.bindir, cluster=ClusterOptions()) as server:
            restored = new.run(
                "restore", found["id"], "--to", server.dsn(zoo.name), "--create", "--globals"
            )
            restored.assert_clean()
            assert restored.code == 0, restored.err
            assert_same_database(
                zoo.dsn(), server.dsn(zoo.name), pg15.bindir, database_settings=True
            )
        with EmbeddedServer(pg15.bindir, cluster=ClusterOptions()) as server:
            by_hand(fetched(rclone_s3, bucket, tmp_path), new, server)
            assert_same_database(
                zoo.dsn(), server.dsn(zoo.name), pg15.bindir, database_settings=True
            )
    finally:
        drop_database(pg15, zoo.name)


def by_hand(folder: Path, site: Site, server: EmbeddedServer) -> None:
    """RESTORE.txt's lines for the roles and for the whole database, as they stand."""
    notes = (folder / "RESTORE.txt").read_text().splitlines()
    roles, whole = [line for line in notes if line.startswith("gpg ")][:2]
    assert "psql" in roles
    assert "--create" in whole
    environ = {
        "PATH": f"{server.bindir}:/usr/local/bin:/usr/bin:/bin",
        "HOME": str(site.root),
        "PGHOST": str(server.socket_dir),
        "PGPORT": str(server.port),
        "PGUSER": server.superuser,
        "PASSPHRASE_FILE": str(site.passphrase),
    }
    for line in (roles, whole):
        command = ["bash", "-o", "pipefail", "-c", line]
        done = subprocess.run(
            command, cwd=folder, env=environ, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, f"{line}\n{done.stderr}"
