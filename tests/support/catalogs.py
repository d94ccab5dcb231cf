"""Manifests, holders and catalogs of each kind, for tests of the catalog."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path

import psycopg
from sqlalchemy import create_engine, insert, text
from support.postgres import Database

from guardian.adapters.catalog import rows
from guardian.adapters.catalog.catalog import SqlCatalog, open_catalog
from guardian.adapters.catalog.engine import parse_url
from guardian.adapters.catalog.models import BACKUPS, COPIES, MANIFESTS
from guardian.backup.manifest import encode_manifest
from guardian.model import (
    BackupId,
    DatabaseFacts,
    DatabaseRef,
    Encryption,
    EncryptionKind,
    Extension,
    GlobalsLevel,
    Holder,
    Manifest,
    Part,
    PartKind,
    ProofLevel,
    StoreOutcome,
    StoreStatus,
)
from guardian.ports import Catalog
from guardian.testing import FakeClock, MemoryCatalog

START = datetime(2026, 11, 23, 2, 0, tzinfo=UTC)
MAIN = DatabaseRef("main", "mina")
TTL = timedelta(minutes=2)


def backup_id(number: int, at: datetime = START) -> BackupId:
    """An id as runs make it."""
    return BackupId(f"{at:%Y%m%dT%H%M%SZ}-{number:06x}")


def manifest(backup: BackupId, ref: DatabaseRef = MAIN, at: datetime = START) -> Manifest:
    """A manifest with something in every field."""
    return Manifest(
        id=backup,
        ref=ref,
        started_at=at,
        snapshot_at=at + timedelta(seconds=1, microseconds=500),
        finished_at=at + timedelta(seconds=60),
        parts=(
            Part("database.dump.zst.gpg", PartKind.DUMP, 1000, 5000, "ab" * 32),
            Part("globals.sql.zst.gpg", PartKind.GLOBALS, 10, 20, "cd" * 32),
        ),
        encryption=Encryption(EncryptionKind.SYMMETRIC),
        compression_level=3,
        proof=ProofLevel.CONTENT,
        globals=GlobalsLevel.FULL,
        facts=DatabaseFacts(
            server_version="15.18",
            server_version_num=150018,
            system_identifier="7412",
            encoding="UTF8",
            collate="C",
            ctype="C",
            locale_provider="libc",
            extensions=(Extension("plpgsql", "1.0"),),
        ),
        dump_version="15.18",
        guardian_version="0.1.0",
        warnings=("globals without passwords",),
        tables=24,
        rows=5_000_000_000,
    )


def stored(*stores: str) -> list[StoreOutcome]:
    """It went well in all of these."""
    return [StoreOutcome(store, StoreStatus.SUCCEEDED) for store in stores]


def holder(pid: int = 100, host: str = "alpha") -> Holder:
    """Some process."""
    return Holder(host, f"boot-of-{host}", pid, "12345", "guardian backup now")


@dataclass
class CatalogSite:
    """A catalog, and what a test may do to the world around it.

    ``alive`` says which holders are alive or dead; of all others nobody knows. ``url`` is empty
    for the one in memory.
    """

    kind: str
    url: str = ""
    clock: FakeClock = field(default_factory=lambda: FakeClock(START))
    alive: dict[Holder, bool] = field(default_factory=dict)
    opened: list[SqlCatalog] = field(default_factory=list)
    memory: MemoryCatalog | None = None

    def open(self) -> Catalog:
        """The catalog as one more process sees it."""
        if self.url:
            return self.open_sql()
        self.memory = self.memory or MemoryCatalog(self.clock, self.alive.get)
        return self.memory

    def open_sql(self) -> SqlCatalog:
        """The same, where it is in a database."""
        self.opened.append(open_catalog(self.url, clock=self.clock, is_alive=self.alive.get))
        return self.opened[-1]

    def turn(self, by: timedelta) -> None:
        """Let time pass. PostgreSQL's clock is its own, so there the leases grow older instead."""
        self.clock.advance(by)
        if self.kind == "postgres":
            self.execute(
                "UPDATE guardian_leases SET acquired_at = acquired_at - :by,"
                " expires_at = expires_at - :by",
                by=by,
            )

    def execute(self, statement: str, **values: object) -> None:
        """Change the database behind the catalog's back."""
        engine = create_engine(parse_url(self.url))
        with engine.begin() as connection:
            connection.execute(text(statement), values)
        engine.dispose()

    def execute_script(self, script: str) -> None:
        """Many statements at once, as PostgreSQL's simple protocol takes them."""
        with psycopg.connect(self.url, autocommit=True) as connection:
            connection.execute(script.encode())

    def close(self) -> None:
        for catalog in self.opened:
            catalog.close()


def make_site(kind: str, folder: Path, database: Callable[[], Database]) -> CatalogSite:
    """A new catalog of that kind: ``memory``, ``sqlite`` or ``postgres``."""
    if kind == "postgres":
        return CatalogSite(kind, database().uri())
    return CatalogSite(kind, f"sqlite:///{folder}/state/catalog.db" if kind == "sqlite" else "")


def make_ready_site(kind: str, folder: Path, database: Callable[[], Database]) -> CatalogSite:
    """The same with its tables, which migrations made once: they take most of a test's time."""
    site = make_site(kind, folder, database)
    if kind == "postgres":
        site.execute_script(_postgres_script(database))
    elif kind == "sqlite":
        file = folder / "state" / "catalog.db"
        file.parent.mkdir(mode=0o700)
        file.touch(0o600)
        file.write_bytes(_sqlite_file())
    return site


@cache
def _sqlite_file() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "catalog.db"
        open_catalog(f"sqlite:///{file}", clock=FakeClock(START), is_alive=lambda _: None).close()
        return file.read_bytes()


_scripts: list[str] = []


def _postgres_script(database: Callable[[], Database]) -> str:
    if not _scripts:
        made = database()
        open_catalog(made.uri(), clock=FakeClock(START), is_alive=lambda _: None).close()
        dump = [str(made.server.tool("pg_dump")), "--inserts", "--no-owner", made.dsn()]
        done = subprocess.run(dump, check=True, capture_output=True, text=True)
        lines = [line for line in done.stdout.splitlines() if not line.startswith("\\")]
        _scripts.append("\n".join(lines))
    return _scripts[0]


def fill(catalog: Catalog, count: int, refs: Sequence[DatabaseRef]) -> None:
    """So many backups, a minute apart, in two stores each; fast, since past the port."""
    made = [
        manifest(backup_id(number), refs[number % len(refs)], START + timedelta(minutes=number))
        for number in range(count)
    ]
    if not isinstance(catalog, SqlCatalog):
        for one in made:
            catalog.commit_backup(one, stored("local", "offsite"))
        return
    json_text = encode_manifest(made[0]).decode()
    with catalog._database.writing() as connection:
        connection.execute(
            insert(BACKUPS), [{"id": one.id, **rows.manifest_values(one)} for one in made]
        )
        connection.execute(
            insert(MANIFESTS), [{"backup_id": one.id, "manifest": json_text} for one in made]
        )
        connection.execute(
            insert(COPIES),
            [
                {"backup_id": one.id, **rows.copy_values(position, outcome)}
                for one in made
                for position, outcome in enumerate(stored("local", "offsite"))
            ],
        )
