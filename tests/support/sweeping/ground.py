"""Where a sweep happens: a site, what it held before, and putting all of that back."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from support.postgres import Database
from support.s3 import MotoS3
from support.site import Site
from support.sweeping.nursery import WORK, Life, Nursery
from support.sweeping.points import Label

_KEPT = ("state", "store")


@dataclass
class Bucket:
    """A bucket of a server that knows multipart uploads; contents are put back by its API."""

    server: MotoS3
    name: str
    template: dict[str, bytes] = field(default_factory=dict)

    @property
    def section(self) -> dict[str, Any]:
        return {
            "kind": "s3",
            "bucket": self.name,
            "prefix": "pg",
            "region": "us-east-1",
            "addressing": "path",
            "endpoint_url": self.server.endpoint_url,
            "access_key_id": self.server.access_key_id,
            "secret_access_key": self.server.secret_access_key,
        }

    def contents(self) -> dict[str, bytes]:
        client = self.server.client()
        found = client.list_objects_v2(Bucket=self.name).get("Contents", [])
        return {
            one["Key"].removeprefix("pg/"): client.get_object(Bucket=self.name, Key=one["Key"])[
                "Body"
            ].read()
            for one in found
        }

    def uploads(self) -> list[str]:
        found = self.server.client().list_multipart_uploads(Bucket=self.name)
        return [one["Key"] for one in found.get("Uploads", [])]

    def put_back(self) -> None:
        client = self.server.client()
        for upload in client.list_multipart_uploads(Bucket=self.name).get("Uploads", []):
            client.abort_multipart_upload(
                Bucket=self.name, Key=upload["Key"], UploadId=upload["UploadId"]
            )
        there = self.contents()
        for key in there.keys() - self.template.keys():
            client.delete_object(Bucket=self.name, Key=f"pg/{key}")
        for key, data in self.template.items():
            if there.get(key) != data:
                client.put_object(Bucket=self.name, Key=f"pg/{key}", Body=data)


@dataclass
class CatalogServer:
    """A catalog in PostgreSQL; what it held is kept beside it as a database to copy."""

    database: Database
    url: str

    @property
    def _kept(self) -> str:
        return f"{self.database.name}_kept"

    def remember(self) -> None:
        self._copy(self.database.name, self._kept)

    def put_back(self) -> None:
        self._copy(self._kept, self.database.name)

    def close(self) -> None:
        self.database.server.drop_database(self._kept)

    def _copy(self, old: str, new: str) -> None:
        server = self.database.server
        server.drop_database(new)
        server.create_database(new, options=f"TEMPLATE {old}")


@dataclass
class Ground:
    """A site whose state is the same before each life. ``temporary`` is TMPDIR of its commands."""

    site: Site
    nursery: Nursery
    bucket: Bucket | None = None
    catalog: CatalogServer | None = None
    """Where that is not a file of ``state``."""

    def __post_init__(self) -> None:
        self.site.environ |= {"TMPDIR": str(self.temporary), "XDG_RUNTIME_DIR": str(self.runtime)}
        for folder in (self.temporary, self.runtime):
            folder.mkdir(mode=0o711, exist_ok=True)

    @property
    def root(self) -> Path:
        return self.site.root

    @property
    def temporary(self) -> Path:
        return self.root / "tmp"

    @property
    def runtime(self) -> Path:
        return self.root / "run"

    @property
    def state(self) -> Path:
        return self.root / "state"

    def run(
        self,
        *words: str,
        strike: tuple[Label, int, str] | None = None,
        watched: bool = False,
        done: Callable[[], bool] | None = None,
        work: float = WORK,
    ) -> Life:
        """Run a command in a process of its own; only with ``strike`` or ``watched`` on points.

        ``done`` tells when one that does not end by itself is to end; in ``work`` seconds at most.
        """
        self.site.write()
        return self.nursery.run(
            ["--config", str(self.site.config), *words],
            root=self.root,
            environ=self.site.environ,
            strike=strike,
            watched=watched or strike is not None,
            done=done,
            work=work,
        )

    def well(self, *words: str) -> Life:
        """Run a command that has to do well."""
        life = self.run(*words)
        assert life.status == 0, (words, life.status, life.out[-2000:], life.err[-2000:])
        return life

    @property
    def catalog_url(self) -> str:
        if self.catalog is not None:
            return self.catalog.url
        return f"sqlite:///{self.state}/catalog.db"

    def remember(self) -> None:
        """What is here now is what each life begins with."""
        if self.catalog is not None:
            self.catalog.remember()
        for name in _KEPT:
            kept = self.root / f"template-{name}"
            shutil.rmtree(kept, ignore_errors=True)
            if (self.root / name).exists():
                shutil.copytree(self.root / name, kept)
        if self.bucket is not None:
            self.bucket.template = self.bucket.contents()

    def put_back(self) -> None:
        """Begin anew."""
        if self.catalog is not None:
            self.catalog.put_back()
        for name in _KEPT:
            shutil.rmtree(self.root / name, ignore_errors=True)
            kept = self.root / f"template-{name}"
            if kept.exists():
                shutil.copytree(kept, self.root / name)
        for folder in (self.temporary, self.runtime):
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(mode=0o711)
        if self.bucket is not None:
            self.bucket.put_back()

    def objects(self) -> dict[str, dict[str, bytes]]:
        """What lies in each store, by its name and key; unfinished writes too."""
        found = {}
        folder = self.root / "store"
        if "local" in self.site.stores:
            found["local"] = {
                str(path.relative_to(folder)): path.read_bytes()
                for path in sorted(folder.rglob("*"))
                if path.is_file()
            }
        if self.bucket is not None:
            found["offsite"] = self.bucket.contents()
        return found

    def age(self) -> None:
        """Let an hour pass for what was left in the temporary folder."""
        hour_ago = time.time() - 3600
        for folder in (self.temporary, self.runtime):
            for path in [*folder.iterdir()]:
                os.utime(path, (hour_ago, hour_ago))

    def leftovers(self) -> list[str]:
        """What lies in temporary places; gpg's own agents' folders are not ours."""
        return [
            str(path.relative_to(self.root))
            for folder in (self.temporary, self.runtime)
            for path in sorted(folder.rglob("*"))
            if "gnupg" not in path.parts
        ]

    def empty_folders(self) -> list[str]:
        """Folders of the local store that hold nothing."""
        folder = self.root / "store"
        found = [path for path in folder.rglob("*") if path.is_dir() and not any(path.iterdir())]
        return [str(path.relative_to(folder)) for path in found]

    def programs(self) -> list[str]:
        """What was started there and runs on; gpg's agents, which end by themselves, left out."""
        mark = f"TMPDIR={self.temporary}".encode()
        found = []
        for process in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                if mark in (process / "environ").read_bytes().split(b"\0"):
                    words = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode()
                    found.append(words.strip())
        return [one for one in found if one and "gpg-agent" not in one]


__all__ = ["Bucket", "CatalogServer", "Ground"]
