"""Damage, a server that goes away, a copy that differs: told, and never under the wanted name."""

from __future__ import annotations

import hashlib
import json
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from support.postgres import Database, PostgresServer
from support.restoring import Restoring, back_up, make_shop, run_inside, wait_for
from support.site import Outcome

from guardian.adapters.gnupg import GnupgEncryptor
from guardian.adapters.zstd import ZstdCompressor
from guardian.backup.fingerprint import decode_fingerprint, encode_fingerprint
from guardian.backup.manifest import decode_manifest, encode_manifest, manifest_key
from guardian.backup.small_objects import write_small
from guardian.config import load_config
from guardian.daemon.app import App
from guardian.model import Fingerprint


@pytest.fixture(scope="module")
def source(pg15: PostgresServer) -> Iterator[Database]:
    database = make_shop(pg15)
    yield database
    pg15.drop_database(database.name)


@pytest.fixture(scope="module")
def _shop(
    source: Database, pg15: PostgresServer, tmp_path_factory: pytest.TempPathFactory
) -> Restoring:
    folder = tmp_path_factory.mktemp("damage")
    return back_up(
        folder / "site",
        source,
        pg15,
        stores={
            name: {"kind": "local", "path": str(folder / name)} for name in ("local", "second")
        },
        section={"backup": {"stores": ["local", "second"]}},
    )


@pytest.fixture
def shop(_shop: Restoring, tmp_path: Path) -> Iterator[Restoring]:
    """A backup in two stores, which are put back with the catalog after each test as they were."""
    places = {name: Path(store["path"]) for name, store in _shop.site.stores.items()}
    places["state"] = _shop.site.root / "state"
    for name, place in places.items():
        shutil.copytree(place, tmp_path / name)
    yield _shop
    for name, place in places.items():
        shutil.rmtree(place)
        (tmp_path / name).rename(place)
    _shop.clean()
    assert _shop.beside() == []


def part_of(shop: Restoring, stem: str, store: str = "local") -> Path:
    found = Path(shop.site.stores[store]["path"]).rglob(f"{shop.backup}/{stem}*")
    (path,) = [one for one in found if one.suffix != ".sig"]
    return path


def flip(path: Path, at: int) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize("where", [0.1, 0.5, -1])
def test_a_damaged_dump_names_the_store_that_has_it_whole(shop: Restoring, where: float) -> None:
    path = part_of(shop, "database.dump")
    flip(path, int(where * path.stat().st_size) if where > 0 else -1)
    full = shop.existing("CREATE TABLE mine ()")
    said = shop.refused(full.name, "--replace", code=1)
    assert "part database.dump.zst.gpg in store local is damaged" in said
    assert "second has it, too: --store second" in said
    if where < 0:
        shop.restored(full.name, "--replace", "--store", "second", "--no-analyze")


def test_a_missing_manifest_is_read_from_the_next_store(shop: Restoring) -> None:
    part_of(shop, "manifest.json").unlink()
    name = shop.new_name()
    assert shop.restored(name, "--create", "--no-analyze")["store"] == "second"
    said = shop.refused(name, "--replace", "--store", "local")
    assert "is not in local any more" in said


def test_an_unreadable_fingerprint_leaves_it_unproven(shop: Restoring) -> None:
    flip(part_of(shop, "fingerprint.json"), 40)
    name = shop.new_name()
    outcome = shop.run(name, "--create")
    assert outcome.code == 3
    assert outcome.json["status"] == "restored"
    assert outcome.json["compared"] == "none"
    assert "fingerprint.json.zst.gpg in store local is damaged" in outcome.json["reason"]
    shop.assert_restored(name, database_settings=True)
    shop.restored(shop.new_name(), "--create", "--no-compare")  # nobody asked


def rewrite_fingerprint(shop: Restoring, change: Fingerprint) -> None:
    """Put another fingerprint into backup and catalog, as guardian itself would by a mistake."""
    path = part_of(shop, "fingerprint.json")
    plain = encode_fingerprint(change)
    with (
        closing(GnupgEncryptor(passphrase_file=shop.site.passphrase)) as encryptor,
        path.open("wb") as out,
    ):
        encryptor.encrypt(ZstdCompressor().compress(_Bytes(plain)), out.write)
    manifest = path.with_name("manifest.json")
    document = json.loads(manifest.read_bytes())
    (part,) = [one for one in document["parts"] if one["kind"] == "fingerprint"]
    part["stored_bytes"] = path.stat().st_size
    part["plain_bytes"] = len(plain)
    part["sha256"] = hashlib.sha256(path.read_bytes()).hexdigest()
    with App(load_config(shop.site.config)) as app:
        made = decode_manifest(json.dumps(document).encode())
        write_small(app.stores["local"], manifest_key(made.ref, made.id), encode_manifest(made))
    with sqlite3.connect(shop.site.root / "state" / "catalog.db") as catalog:
        words = (encode_manifest(made).decode(), made.id)
        catalog.execute("UPDATE guardian_manifests SET manifest = ? WHERE backup_id = ?", words)


class _Bytes:
    def __init__(self, data: bytes) -> None:
        self._data = data

    def read(self, size: int = -1, /) -> bytes:
        given, self._data = self._data, b""
        return given


def fingerprint_of(shop: Restoring) -> Fingerprint:
    plain: list[bytes] = []
    with closing(GnupgEncryptor(passphrase_file=shop.site.passphrase)) as encryptor:
        encryptor.decrypt(_Bytes(part_of(shop, "fingerprint.json").read_bytes()), plain.append)
    stream = ZstdCompressor().decompress(_Bytes(b"".join(plain)))
    return decode_fingerprint(b"".join(iter(lambda: stream.read(1 << 20), b"")))


def test_a_copy_that_differs_does_not_take_the_name(shop: Restoring) -> None:
    expected = fingerprint_of(shop)
    tables = tuple(
        replace(table, rows=table.rows + 1) if table.name == "users" else table
        for table in expected.tables
    )
    rewrite_fingerprint(shop, replace(expected, tables=tables))
    full = shop.existing("CREATE TABLE mine ()")
    number = shop.databases()[full.name]
    outcome = shop.run(full.name, "--replace")
    assert outcome.code == 1, outcome.err
    document = outcome.json
    assert document["status"] == "differs"
    assert document["differences"] == [
        {"object": "table public.users", "expected": "501 rows", "found": "500 rows"}
    ]
    assert shop.databases()[full.name] == number
    kept = document["kept_as"]
    shop.assert_restored(kept, database_settings=True)
    with shop.server.connect() as connection:
        for statement in document["statements"]:
            connection.execute(statement.encode())
    shop.assert_restored(full.name)

    name = shop.new_name()
    words = ("restore", shop.backup, "--to", shop.server.dsn(name), "--create")
    outcome = run_inside(shop.site, *words)
    assert outcome.code == 1
    assert "table public.users: expected 501 rows, found 500 rows" in outcome.out
    assert name not in shop.databases()
    assert f'RENAME TO "{name}";' in outcome.out
    assert "BEGIN" not in outcome.out


def test_a_backup_without_proof_has_nothing_to_compare_with(
    source: Database, pg15: PostgresServer, tmp_path: Path
) -> None:
    shop = back_up(tmp_path / "site", source, pg15, section={"backup": {"proof": "none"}})
    document = shop.restored(shop.new_name(), "--create")
    assert document["compared"] == "none"
    assert any("nothing to compare with" in one for one in document["warnings"])
    shop.clean()


def test_sessions_that_are_ended_from_outside(shop: Restoring) -> None:
    """As when the server restarts: the restore fails, says so, and takes back what it made."""
    full = shop.existing("CREATE TABLE mine ()")
    before = shop.databases()
    process = shop.site.start(*shop.words(full.name, "--replace"))
    wait_for(lambda: bool(shop.beside()))
    with shop.server.connect() as connection:
        while shop.beside() and process.poll() is None:
            connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE application_name LIKE 'guardian restore%' AND datname LIKE 'guardian%'"
            )
    out, err = process.communicate(timeout=60)
    Outcome(process.returncode, out, err).assert_clean()
    assert process.returncode == 1
    assert "went away" in err or "cannot be reached" in err
    assert shop.databases() == before


def test_the_catalog_remembers(shop: Restoring) -> None:
    name = shop.new_name()
    shop.restored(name, "--create", "--no-compare", "--no-analyze")
    shop.refused(name)
    flip(part_of(shop, "database.dump"), -1)
    shop.refused(shop.new_name(), "--create", code=1)
    catalog = shop.site.root / "state" / "catalog.db"
    with sqlite3.connect(catalog) as connection:
        rows = connection.execute(
            "SELECT kind, message FROM guardian_events WHERE kind LIKE 'restore.%' ORDER BY at"
        ).fetchall()[-2:]
    connection.close()
    assert [kind for kind, _ in rows] == ["restore.restored", "restore.failed"]
    assert f"restored into {name}" in rows[0][1]
