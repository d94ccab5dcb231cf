"""What an S3 store does on real servers beyond the common contract."""

from __future__ import annotations

import base64
import hashlib
import io
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from support.s3 import MotoS3, RcloneS3
from support.stores import PART, s3_settings, uploads_in

from guardian.adapters.stores import s3_writer
from guardian.adapters.stores.s3 import ObjectLock, S3Store
from guardian.adapters.stores.s3_api import S3Api
from guardian.adapters.stores.s3_records import Piece, WriteRequest
from guardian.errors import StoreError, StoreExistsError, StoreLockedError


def new_bucket(server: MotoS3 | RcloneS3, **options: object) -> str:
    return server.new_bucket("bucket", **options)


def put(store: S3Store, key: str, data: bytes) -> None:
    with store.open_writer(key, expected_bytes=len(data)) as writer:
        writer.write(data)
        writer.commit()


def piece(data: bytes) -> Piece:
    md5 = base64.b64encode(hashlib.md5(data, usedforsecurity=False).digest()).decode()
    return Piece(io.BytesIO(data), len(data), md5)


def request(key: str, token: str) -> WriteRequest:
    return WriteRequest(key, token, exclusive=True, lock_until=None)


@pytest.mark.parametrize("size", [10, PART + 10])
def test_storage_class_and_encryption_are_asked_for(moto_s3: MotoS3, size: int) -> None:
    bucket = new_bucket(moto_s3)
    settings = s3_settings(
        moto_s3, bucket, storage_class="STANDARD_IA", sse="aws:kms", kms_key_id="alias/backup"
    )
    put(S3Store("s", settings), "a/b", b"x" * size)

    head = moto_s3.client().head_object(Bucket=bucket, Key="some/prefix/a/b")
    assert head["StorageClass"] == "STANDARD_IA"
    assert head["ServerSideEncryption"] == "aws:kms"
    assert head["SSEKMSKeyId"].endswith("alias/backup")


def test_a_locked_object_tells_until_when_and_is_not_deleted(moto_s3: MotoS3) -> None:
    bucket = new_bucket(moto_s3, ObjectLockEnabledForBucket=True)
    lock = ObjectLock("COMPLIANCE", timedelta(days=30))
    store = S3Store("locked", s3_settings(moto_s3, bucket, object_lock=lock))
    now = datetime.now(UTC)
    promised = store.lock_until(now)
    assert promised == now + timedelta(days=30)

    with store.open_writer("a") as writer:
        writer.write(b"locked")
        stored = writer.commit()

    assert stored.locked_until is not None
    assert abs(stored.locked_until - promised) < timedelta(minutes=1)
    seen = store.stat("a")
    assert seen is not None
    assert seen.locked_until == stored.locked_until
    with pytest.raises(StoreLockedError, match=f"locked until {promised:%Y-%m-%d}"):
        store.delete("a")
    head = moto_s3.client().head_object(Bucket=bucket, Key="some/prefix/a")
    assert head["ObjectLockMode"] == "COMPLIANCE"


def test_an_object_of_several_parts_is_locked_when_its_upload_begins(moto_s3: MotoS3) -> None:
    # moto forgets the lock of a multipart upload, so look at what is asked for.
    bucket = new_bucket(moto_s3, ObjectLockEnabledForBucket=True)
    lock = ObjectLock("COMPLIANCE", timedelta(days=30))
    store = S3Store("locked", s3_settings(moto_s3, bucket, object_lock=lock))
    sent: dict[str, dict[str, str]] = {}

    def note(event_name: str, request: Any, **_: object) -> None:
        decoded = {
            k.lower(): v.decode() if isinstance(v, bytes) else v for k, v in request.headers.items()
        }
        sent[event_name.rpartition(".")[2]] = decoded

    store._api._client.meta.events.register("before-send.s3", note)
    put(store, "a", b"x" * (PART + 1))

    begin = sent["CreateMultipartUpload"]
    assert begin["x-amz-object-lock-mode"] == "COMPLIANCE"
    until = datetime.fromisoformat(begin["x-amz-object-lock-retain-until-date"])
    assert abs(until - datetime.now(UTC) - timedelta(days=30)) < timedelta(minutes=5)
    assert "content-md5" in sent["UploadPart"]  # AWS demands it for locked objects


def test_checking_a_locked_store_leaves_no_locked_object(moto_s3: MotoS3) -> None:
    bucket = new_bucket(moto_s3, ObjectLockEnabledForBucket=True)
    lock = ObjectLock("GOVERNANCE", timedelta(days=30))
    store = S3Store("locked", s3_settings(moto_s3, bucket, object_lock=lock))
    store.check()
    assert list(store.list()) == []


@pytest.mark.parametrize("kind", ["moto_s3", "rclone_s3"])
def test_a_bucket_without_object_lock_is_told_by_the_check(
    request: pytest.FixtureRequest, kind: str
) -> None:
    server = request.getfixturevalue(kind)
    lock = ObjectLock("COMPLIANCE", timedelta(days=1))
    store = S3Store("s", s3_settings(server, new_bucket(server), object_lock=lock))
    with pytest.raises(StoreError, match="has no object lock; turn it on"):
        store.check()


def test_a_deletion_in_a_versioned_bucket_hides_the_object(moto_s3: MotoS3) -> None:
    bucket = new_bucket(moto_s3)
    moto_s3.client().put_bucket_versioning(
        Bucket=bucket, VersioningConfiguration={"Status": "Enabled"}
    )
    store = S3Store("s", s3_settings(moto_s3, bucket))
    put(store, "a", b"1")
    store.delete("a")
    assert store.stat("a") is None
    assert list(store.list()) == []
    assert len(moto_s3.client().list_object_versions(Bucket=bucket)["Versions"]) == 1


def test_the_server_itself_refuses_to_overwrite(moto_s3: MotoS3) -> None:
    api = S3Api("s", s3_settings(moto_s3, new_bucket(moto_s3)))
    api.put(request("a", "one"), piece(b"1"))
    with pytest.raises(StoreExistsError, match="s: a is already there"):
        api.put(request("a", "two"), piece(b"2"))

    upload = api.begin_upload(request("a", "three"))
    etag = api.put_part("a", upload, 1, piece(b"3"))
    with pytest.raises(StoreExistsError, match="s: a is already there"):
        api.finish_upload(request("a", "three"), upload, [etag])
    head = api.head("a")
    assert head is not None
    assert head.token == "one"


def test_a_repeated_write_whose_first_answer_was_lost_is_a_success(moto_s3: MotoS3) -> None:
    api = S3Api("s", s3_settings(moto_s3, new_bucket(moto_s3)))
    api.put(request("a", "one"), piece(b"1"))
    api.put(request("a", "one"), piece(b"1"))


def test_a_repeated_finish_whose_first_answer_was_lost_is_a_success(rclone_s3: RcloneS3) -> None:
    api = S3Api("s", s3_settings(rclone_s3, new_bucket(rclone_s3)))
    upload = api.begin_upload(request("b", "two"))
    etag = api.put_part("b", upload, 1, piece(b"2"))
    api.finish_upload(request("b", "two"), upload, [etag])
    api.finish_upload(request("b", "two"), upload, [etag])
    with pytest.raises(StoreError, match="aborted by somebody else"):
        api.finish_upload(request("b", "other"), upload, [etag])


def test_only_the_same_object_is_read_on(moto_s3: MotoS3) -> None:
    api = S3Api("s", s3_settings(moto_s3, new_bucket(moto_s3)))
    api.put(request("a", "one"), piece(b"0123456789"))
    first = api.get("a")
    first.close()
    rest = api.get("a", 4, first.etag)
    assert (rest.read(100), rest.size) == (b"456789", 10)
    rest.close()
    with pytest.raises(StoreError, match="a: the object changed while it was read"):
        api.get("a", 4, '"another"')


def test_damage_on_the_way_is_refused_by_the_server(rclone_s3: RcloneS3) -> None:
    api = S3Api("s", s3_settings(rclone_s3, new_bucket(rclone_s3)))
    with pytest.raises(StoreError, match="damaged on its way") as caught:
        api.put(request("a", "one"), Piece(io.BytesIO(b"1"), 1, piece(b"2").md5))
    assert caught.value.transient
    assert api.head("a") is None


def test_parts_have_one_size_and_objects_of_one_part_need_no_upload(moto_s3: MotoS3) -> None:
    bucket = new_bucket(moto_s3)
    store = S3Store("s", s3_settings(moto_s3, bucket, uploads=2))
    put(store, "one", b"x" * PART)
    put(store, "many", b"x" * (3 * PART + 5))

    client = moto_s3.client()
    assert "-" not in client.head_object(Bucket=bucket, Key="some/prefix/one")["ETag"]
    many = {"Bucket": bucket, "Key": "some/prefix/many"}
    assert client.head_object(**many)["ETag"].endswith('-4"')
    sizes = [client.head_object(**many, PartNumber=n)["ContentLength"] for n in range(1, 5)]
    assert sizes == [PART, PART, PART, 5]


def test_an_object_that_outgrows_its_parts_fails_and_gets_larger_ones_next_time(
    moto_s3: MotoS3, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(s3_writer, "MAX_PARTS", 2)
    bucket = new_bucket(moto_s3)
    store = S3Store("s", s3_settings(moto_s3, bucket))

    with pytest.raises(StoreError, match=r"s: a outgrew the 2 parts of 5\.00 MiB") as caught:
        put(store, "a", b"x" * (2 * PART + 1))

    assert caught.value.transient
    assert uploads_in(moto_s3, bucket) == 0
    assert store.stat("a") is None
    assert store._outgrown >= 4 * 2 * PART


def test_foreign_objects_beside_the_prefix_are_left_alone(moto_s3: MotoS3) -> None:
    bucket = new_bucket(moto_s3)
    client = moto_s3.client()
    for key in ("some/prefix", "some/prefix2/a", "some/a", "a", "some/prefix/", "some/prefix/é"):
        client.put_object(Bucket=bucket, Key=key, Body=b"foreign")
    store = S3Store("s", s3_settings(moto_s3, bucket))
    put(store, "a", b"ours")
    assert [found.key for found in store.list()] == ["a"]
    store.delete("a")
    assert len(client.list_objects_v2(Bucket=bucket)["Contents"]) == 6

    client.create_multipart_upload(Bucket=bucket, Key="some/prefix2/upload")
    assert store.sweep("", datetime.now(UTC) + timedelta(hours=1)) == 0
    assert uploads_in(moto_s3, bucket) == 1


def test_without_a_prefix_the_bucket_is_the_store(rclone_s3: RcloneS3) -> None:
    bucket = new_bucket(rclone_s3)
    store = S3Store("s", s3_settings(rclone_s3, bucket, prefix=""))
    put(store, "a/b", b"x" * (PART + 1))
    assert [found.key for found in store.list()] == ["a/b"]
    assert (rclone_s3.root / bucket / "a/b").stat().st_size == PART + 1


_MEMORY = """
import sys
from guardian.adapters.stores.s3 import S3Settings, S3Store
def peak():
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) // 1024 for line in status if line.startswith("VmHWM"))
store = S3Store("s", S3Settings(bucket=sys.argv[1], endpoint_url=sys.argv[2],
                                access_key_id=sys.argv[3], secret_access_key=sys.argv[4]))
store.stat("warm")
before = peak()
block = bytes(range(256)) * 1024
with store.open_writer("big", expected_bytes=160 << 20) as writer:
    for _ in range(640):
        writer.write(block)
    writer.commit()
print(peak() - before)
"""


def test_memory_does_not_grow_with_the_object(rclone_s3: RcloneS3) -> None:
    keys = (rclone_s3.access_key_id, rclone_s3.secret_access_key)
    done = subprocess.run(
        [sys.executable, "-c", _MEMORY, new_bucket(rclone_s3), rclone_s3.endpoint_url, *keys],
        capture_output=True,
        text=True,
        check=True,
    )
    assert int(done.stdout) < 24  # MiB: two buffers of 8, and some


def test_boto3_is_not_loaded_before_the_first_request() -> None:
    program = (
        "import sys; from guardian.adapters.stores.s3 import S3Settings, S3Store;"
        "S3Store('s', S3Settings(bucket='b')); sys.exit('botocore' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
