"""The stores that the conformance suite judges. A new one joins with a function like these."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from support.s3 import MotoS3, RcloneS3
from support.stores import (
    Subject,
    abandon_upload,
    die_writing,
    foreign_files,
    s3_settings,
    uploads_in,
)

from guardian.adapters.stores.local import LocalStore
from guardian.adapters.stores.retrying import RetryingStore
from guardian.adapters.stores.s3 import S3Store
from guardian.adapters.stores.signed import Demands, SignedStore
from guardian.adapters.stores.spooling import SpoolingStore
from guardian.adapters.stores.throttling import ThrottledStore
from guardian.backup.signature import Unsigned
from guardian.ports import Store
from guardian.testing import FakeClock, MemoryStore


def memory(_request: pytest.FixtureRequest) -> Subject:
    store = MemoryStore()

    def abandon(key: str) -> None:
        store.open_writer(key).write(b"half")
        store.crash()

    def plant(keys: list[str]) -> None:
        for key in keys:
            store.plant(key, b"x")

    return Subject(store, abandon, lambda: store.unfinished, plant)


def local(request: pytest.FixtureRequest) -> Subject:
    root: Path = request.getfixturevalue("tmp_path") / "store"
    root.mkdir(mode=0o700)

    def plant(keys: list[str]) -> None:
        _plant_files(root, keys)

    store = LocalStore("local", root)
    return Subject(store, lambda key: die_writing(root, key), lambda: foreign_files(root), plant)


def s3_rclone(request: pytest.FixtureRequest) -> Subject:
    server: RcloneS3 = request.getfixturevalue("rclone_s3")
    bucket = server.new_bucket("bucket")
    return Subject(
        store=S3Store("rclone", s3_settings(server, bucket)),
        abandon=lambda key: abandon_upload(server, bucket, f"some/prefix/{key}"),
        leftovers=lambda: uploads_in(server, bucket),
        plant=lambda keys: _plant_objects(server, bucket, "some/prefix/", keys),
        refuses_race=False,  # rclone overlooks If-None-Match in silence
    )


def s3_moto(request: pytest.FixtureRequest) -> Subject:
    server: MotoS3 = request.getfixturevalue("moto_s3")
    bucket = server.new_bucket("bucket")
    return Subject(
        store=S3Store("moto", s3_settings(server, bucket)),
        abandon=lambda key: abandon_upload(server, bucket, f"some/prefix/{key}"),
        leftovers=lambda: uploads_in(server, bucket),
        refuses_race=False,  # moto looks and writes in two steps
    )


def retrying_memory(request: pytest.FixtureRequest) -> Subject:
    return _over(memory(request), lambda inner: RetryingStore(inner.store))


def retrying_s3(request: pytest.FixtureRequest) -> Subject:
    return _over(s3_rclone(request), lambda inner: RetryingStore(inner.store))


def spooling_memory(request: pytest.FixtureRequest) -> Subject:
    folder: Path = request.getfixturevalue("tmp_path") / "spool"
    folder.mkdir()
    inner = memory(request)
    store = SpoolingStore(inner.store, folder, worth_bytes=1)
    request.addfinalizer(lambda: store.__exit__(None, None, None))
    return _over(inner, lambda _: store)


def throttled_local(request: pytest.FixtureRequest) -> Subject:
    return _over(local(request), lambda inner: ThrottledStore(inner.store, 1 << 20, FakeClock()))


def signed_memory(request: pytest.FixtureRequest) -> Subject:
    demands = Demands(required=False)
    return _over(memory(request), lambda inner: SignedStore(inner.store, Unsigned(), demands))


@pytest.fixture(
    params=[
        *(memory, local, s3_rclone, s3_moto),
        *(retrying_memory, retrying_s3, throttled_local, spooling_memory, signed_memory),
    ],
    ids=lambda make: make.__name__,
)
def subject(request: pytest.FixtureRequest) -> Subject:
    made: Subject = request.param(request)
    return made


def _over(inner: Subject, wrap: Callable[[Subject], Store]) -> Subject:
    return Subject(wrap(inner), inner.abandon, inner.leftovers, inner.plant, inner.refuses_race)


def _plant_objects(server: RcloneS3, bucket: str, prefix: str, keys: list[str]) -> None:
    client = server.client()
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda key: client.put_object(Bucket=bucket, Key=prefix + key), keys))


def _plant_files(root: Path, keys: list[str]) -> None:
    for key in keys:
        path = root / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
