"""An S3 store and servers, networks, credentials that fail: each told apart, each told well.

No message ever holds a secret, and after each failure the bucket holds what it held before.
"""

from __future__ import annotations

import secrets
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from support.answers import Answer, AnsweringServer, Request, s3_error
from support.ports import free_port
from support.proxy import BreakableProxy
from support.s3 import RcloneS3
from support.stores import PART, s3_settings, uploads_in

from guardian.adapters.stores.s3 import S3Settings, S3Store
from guardian.errors import Cause, StoreError, StoreExistsError, StoreNotFoundError

CREDENTIALS = {"access_key_id": "AKIDEXAMPLE", "secret_access_key": "very-secret-key"}


def put(store: S3Store, key: str, data: bytes) -> None:
    with store.open_writer(key, expected_bytes=len(data)) as writer:
        for start in range(0, len(data), 1 << 20):
            writer.write(data[start : start + (1 << 20)])
        writer.commit()


def get(store: S3Store, key: str) -> bytes:
    with store.open_reader(key) as reader:
        return reader.read()


def every_call(store: S3Store) -> list[Callable[[], object]]:
    return [
        lambda: put(store, "a", b"x"),
        lambda: put(store, "a", b"x" * (PART + 1)),
        lambda: get(store, "a"),
        lambda: list(store.list()),
        lambda: store.stat("a"),
        lambda: store.delete("a"),
        lambda: store.sweep("", datetime.now(UTC)),
        store.check,
    ]


def assert_all_fail(store: S3Store, pattern: str, *, transient: bool) -> None:
    for call in every_call(store):
        with pytest.raises(StoreError, match=pattern) as caught:
            call()
        assert not isinstance(caught.value, StoreNotFoundError)
        assert caught.value.cause is Cause.STORE
        assert caught.value.transient is transient
        assert caught.value.mend
        assert "secret" not in str(caught.value).replace("secret_access_key", "").replace(
            "secret access key", ""
        )


def answering(server: AnsweringServer, **changes: object) -> S3Store:
    settings = S3Settings(
        bucket="acme",
        endpoint_url=server.endpoint_url,
        part_bytes=PART,
        part_patience=0.0,
        **{**CREDENTIALS, "attempts": 1, **changes},  # type: ignore[arg-type]
    )
    return S3Store("offsite", settings)


@pytest.fixture
def bucket(rclone_s3: RcloneS3) -> str:
    return rclone_s3.new_bucket("bucket")


@pytest.fixture
def proxy(rclone_s3: RcloneS3) -> Iterator[BreakableProxy]:
    with BreakableProxy("127.0.0.1", rclone_s3.port) as between:
        yield between


def through(proxy: BreakableProxy, server: RcloneS3, bucket: str, **changes: object) -> S3Store:
    changed = {"endpoint_url": proxy.endpoint_url, "attempts": 1, "read_timeout": 20.0, **changes}
    return S3Store("offsite", s3_settings(server, bucket, **changed))


def test_a_missing_bucket(rclone_s3: RcloneS3) -> None:
    store = S3Store("offsite", s3_settings(rclone_s3, "nowhere"))
    calls = every_call(store)
    del calls[6]  # rclone knows no uploads there, whatever the bucket
    for call in calls:
        with pytest.raises(
            StoreError, match=r"offsite: .*there is no bucket nowhere at 127.*; create it"
        ) as caught:
            call()
        assert type(caught.value) is StoreError
        assert not caught.value.transient


def test_an_unknown_access_key(rclone_s3: RcloneS3, bucket: str) -> None:
    settings = s3_settings(rclone_s3, bucket, access_key_id="AKIDUNKNOWN")
    assert_all_fail(
        S3Store("offsite", settings),
        "does not know the access key; correct access_key_id",
        transient=False,
    )


def test_a_wrong_secret(rclone_s3: RcloneS3, bucket: str) -> None:
    settings = s3_settings(rclone_s3, bucket, secret_access_key="wrong-secret")
    assert_all_fail(
        S3Store("offsite", settings),
        "refuses the secret access key .*; correct access_key_id and secret_access_key",
        transient=False,
    )


def test_nobody_listens(rclone_s3: RcloneS3, bucket: str) -> None:
    settings = s3_settings(
        rclone_s3, bucket, endpoint_url=f"http://127.0.0.1:{free_port()}", attempts=1
    )
    assert_all_fail(S3Store("offsite", settings), "cannot reach 127.0.0.1:", transient=True)


def test_a_name_that_does_not_resolve(rclone_s3: RcloneS3, bucket: str) -> None:
    settings = s3_settings(rclone_s3, bucket, endpoint_url="http://store.invalid:9000", attempts=1)
    with pytest.raises(StoreError, match=r"cannot reach store\.invalid:9000; check the network"):
        S3Store("offsite", settings).stat("a")


def test_an_endpoint_that_is_no_url(rclone_s3: RcloneS3, bucket: str) -> None:
    settings = s3_settings(rclone_s3, bucket, endpoint_url="not a url")
    with pytest.raises(StoreError, match=r"offsite: .*not a url.*; correct endpoint_url"):
        S3Store("offsite", settings).stat("a")


def test_no_tls_where_tls_is_expected(rclone_s3: RcloneS3, bucket: str) -> None:
    endpoint = rclone_s3.endpoint_url.replace("http:", "https:")
    settings = s3_settings(rclone_s3, bucket, endpoint_url=endpoint, attempts=1)
    with pytest.raises(StoreError, match=r"no trust in the TLS certificate of 127\.0\.0\.1"):
        S3Store("offsite", settings).stat("a")


def test_no_credentials_anywhere(
    rclone_s3: RcloneS3, bucket: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    settings = s3_settings(rclone_s3, bucket, access_key_id=None, secret_access_key=None)
    assert_all_fail(
        S3Store("offsite", settings), "found no credentials; set access_key_id", transient=False
    )


@pytest.mark.parametrize(
    ("status", "code", "pattern", "transient"),
    [
        (503, "SlowDown", "asks us to slow down; try again later", True),
        (503, "ServiceUnavailable", "overloaded", True),
        (500, "InternalError", "internal error; try again later", True),
        (403, "AccessDenied", "credentials may not do that in bucket acme; allow them", False),
        (400, "ExpiredToken", "session token has expired; renew", False),
        (403, "RequestTimeTooSkewed", r"clock differs too much .*; set the clock", False),
        (400, "AuthorizationHeaderMalformed", "another region.*; set region", False),
        (409, "OperationAborted", "another request was in the way", True),
        (507, "XMinioStorageFull", "server's disks are full; make room", False),
        (418, "Teapot", "answered Teapot: so it is; check the settings", False),
    ],
)
def test_what_a_server_refuses_with(
    status: int, code: str, pattern: str, *, transient: bool
) -> None:
    with AnsweringServer(lambda _: s3_error(status, code)) as server:
        assert_all_fail(answering(server), pattern, transient=transient)


def test_an_overloaded_server_is_asked_again_until_it_has_time() -> None:
    def decide(request: Request) -> Answer:
        del request
        return s3_error(503, "SlowDown") if len(server.requests) < 3 else Answer(204)

    with AnsweringServer(decide) as server:
        answering(server, attempts=3)._api.delete("a")
    assert len(server.requests) == 3


@pytest.mark.parametrize(("status", "code"), [(501, "NotImplemented"), (400, "InvalidArgument")])
def test_a_server_that_refuses_conditions_gets_none(status: int, code: str) -> None:
    objects: dict[str, bytes] = {}

    def decide(request: Request) -> Answer:
        if request.method == "PUT":
            if len([each for each in server.requests if each.method == "PUT"]) == 1:
                return s3_error(status, code)
            objects[request.path] = request.body
            return Answer(200, headers=(("ETag", '"e"'),))
        if request.method == "HEAD" and request.path in objects:
            dated = ("Last-Modified", "Mon, 23 Nov 2026 02:00:00 GMT")
            return Answer(200, objects[request.path], (dated,))
        if request.method == "HEAD":
            return Answer(404)
        return Answer(200, b"<ListBucketResult><IsTruncated>false</IsTruncated></ListBucketResult>")

    with AnsweringServer(decide) as server:
        store = answering(server)
        with store.open_writer("a", exclusive=True) as writer:
            writer.write(b"1")
            writer.commit()
        with pytest.raises(StoreExistsError), store.open_writer("a", exclusive=True) as writer:
            writer.commit()
        with store.open_writer("b", exclusive=True) as writer:
            writer.write(b"2")
            writer.commit()
    assert list(objects.values()) == [b"1", b"2"]
    assert len([each for each in server.requests if each.method == "PUT"]) == 3


@pytest.mark.parametrize("token", ["", "<NextContinuationToken>same</NextContinuationToken>"])
def test_a_listing_that_is_broken_off_is_never_taken_for_whole(token: str) -> None:
    page = (
        "<ListBucketResult><IsTruncated>true</IsTruncated>" + token + "<Contents><Key>a</Key>"
        "<Size>1</Size><LastModified>2026-11-23T02:00:00Z</LastModified></Contents>"
        "</ListBucketResult>"
    )
    with AnsweringServer(lambda _: Answer(200, page.encode())) as server:
        listing = answering(server).list()
        assert next(listing).key == "a"
        with pytest.raises(StoreError, match="broke off a listing"):
            list(listing)


def test_a_listing_fails_when_a_later_page_fails() -> None:
    page = (
        b"<ListBucketResult><IsTruncated>true</IsTruncated>"
        b"<NextContinuationToken>more</NextContinuationToken></ListBucketResult>"
    )

    def decide(request: Request) -> Answer:
        return s3_error(500, "InternalError") if "more" in request.path else Answer(200, page)

    with AnsweringServer(decide) as server, pytest.raises(StoreError, match="internal error"):
        list(answering(server).list())


def test_a_size_that_is_not_what_was_written_is_no_success() -> None:
    def decide(request: Request) -> Answer:
        if request.method == "HEAD":
            dated = ("Last-Modified", "Mon, 23 Nov 2026 02:00:00 GMT")
            return Answer(200, b"x" * 9, (dated,))
        return Answer(200, headers=(("ETag", '"e"'),))

    with AnsweringServer(decide) as server:
        with pytest.raises(StoreError, match="written with 10 bytes, and the server shows 9"):
            put(answering(server), "a", b"x" * 10)
        assert "DELETE" not in [each.method for each in server.requests]  # not known to be ours


@pytest.mark.parametrize("size", [2 << 20, 3 * PART])
@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_an_upload_that_is_cut_leaves_nothing(
    rclone_s3: RcloneS3, bucket: str, proxy: BreakableProxy, size: int, share: float
) -> None:
    store = through(proxy, rclone_s3, bucket)
    put(store, "main/older", b"older")

    proxy.cut_after(int(size * share), refuse=False)
    with pytest.raises(StoreError, match=r"offsite: .*(was cut|cannot reach)") as caught:
        put(store, "main/newer", b"x" * size)

    assert proxy.was_cut.is_set()
    assert caught.value.transient
    assert [found.key for found in store.list()] == ["main/older"]
    assert uploads_in(rclone_s3, bucket) == 0
    put(store, "main/newer", b"x" * size)
    assert store.stat("main/newer") is not None


def test_a_short_cut_is_survived_by_trying_again(
    rclone_s3: RcloneS3, bucket: str, proxy: BreakableProxy
) -> None:
    store = through(proxy, rclone_s3, bucket, attempts=3)
    data = secrets.token_bytes(3 * PART)
    proxy.cut_after(2 * PART, refuse=False)
    put(store, "a", data)
    assert proxy.was_cut.is_set()
    assert get(store, "a") == data


def test_a_network_that_comes_back_does_not_cost_the_upload(
    rclone_s3: RcloneS3, bucket: str, proxy: BreakableProxy
) -> None:
    store = through(proxy, rclone_s3, bucket, part_patience=60.0)
    data = secrets.token_bytes(3 * PART)
    proxy.cut_after(2 * PART)

    def mend_when_asked_again() -> None:
        proxy.was_cut.wait()
        refused = proxy.connections
        while proxy.connections < refused + 2:
            time.sleep(0.01)
        proxy.mend()

    mender = threading.Thread(target=mend_when_asked_again, daemon=True)
    mender.start()
    put(store, "a", data)
    mender.join()
    assert get(store, "a") == data


def test_a_network_that_stays_away_leaves_what_the_sweep_removes(
    rclone_s3: RcloneS3, bucket: str, proxy: BreakableProxy
) -> None:
    store = through(proxy, rclone_s3, bucket)
    proxy.cut_after(2 * PART)
    with pytest.raises(StoreError):
        put(store, "main/newer", b"x" * (4 * PART))
    assert uploads_in(rclone_s3, bucket) == 1
    with pytest.raises(StoreError, match=r"cannot reach|was cut"):
        list(store.list())

    proxy.mend()
    assert list(store.list()) == []
    assert store.sweep("", datetime.now(UTC) + timedelta(hours=1)) == 1
    assert uploads_in(rclone_s3, bucket) == 0


def test_a_server_that_hangs_is_given_up(
    rclone_s3: RcloneS3, bucket: str, proxy: BreakableProxy
) -> None:
    store = through(proxy, rclone_s3, bucket, read_timeout=0.5)
    proxy.hang()
    with pytest.raises(StoreError, match="did not answer in time") as caught:
        store.stat("a")
    assert caught.value.transient
    proxy.mend()


def test_a_lost_answer_leaves_no_object_behind(
    rclone_s3: RcloneS3, bucket: str, proxy: BreakableProxy
) -> None:
    store = through(proxy, rclone_s3, bucket)
    store.stat("warm")
    proxy.cut_after(30, direction="down", refuse=False)  # the 100 Continue passes, the 200 not
    with pytest.raises(StoreError, match="was cut"):
        put(store, "a", b"x" * 1000)
    assert list(store.list()) == []


def test_a_download_that_is_cut_is_taken_up_again(
    rclone_s3: RcloneS3, bucket: str, proxy: BreakableProxy
) -> None:
    store = through(proxy, rclone_s3, bucket)
    data = secrets.token_bytes(24 << 20)  # more than sockets hold before the cut is ordered
    put(store, "a", data)

    with store.open_reader("a") as reader:
        found = reader.read(1000)
        proxy.cut_after(1 << 20, direction="down", refuse=False)
        found += reader.read()
    assert proxy.was_cut.is_set()
    assert found == data


def test_a_download_that_stays_cut_raises_and_never_just_ends(
    rclone_s3: RcloneS3, bucket: str, proxy: BreakableProxy
) -> None:
    store = through(proxy, rclone_s3, bucket)
    put(store, "a", b"x" * (24 << 20))
    with store.open_reader("a") as reader:
        reader.read(1000)
        proxy.cut_after(1 << 20, direction="down")
        with pytest.raises(StoreError, match=r"cannot reach|was cut"):
            reader.read()


def test_an_object_that_is_replaced_while_it_is_read_raises() -> None:
    def decide(request: Request) -> Answer:
        if len(server.requests) == 1:
            return Answer(200, b"x" * 10, (("ETag", '"one"'),), promised=100)
        return s3_error(412, "PreconditionFailed")

    with AnsweringServer(decide) as server:
        with pytest.raises(StoreError, match="changed while it was read"):
            get(answering(server), "a")
        assert len(server.requests) == 2


def test_a_server_that_knows_no_ranges_is_not_read_twice() -> None:
    whole = Answer(200, b"x" * 10, (("ETag", '"one"'),), promised=100)
    with (
        AnsweringServer(lambda _: whole) as server,
        pytest.raises(StoreError, match="cannot read a from the middle"),
    ):
        get(answering(server), "a")


_DIE_UPLOADING = """
import os, signal, sys
from guardian.adapters.stores.s3 import S3Settings, S3Store
store = S3Store("s", S3Settings(bucket=sys.argv[1], prefix="some/prefix",
    endpoint_url=sys.argv[2], access_key_id=sys.argv[3], secret_access_key=sys.argv[4],
    part_bytes=5 << 20))
writer = store.open_writer("main/newer")
writer.write(b"x" * (16 << 20))
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_after_kill_9_nothing_is_visible_and_the_sweep_cleans_up(
    rclone_s3: RcloneS3, bucket: str
) -> None:
    store = S3Store("offsite", s3_settings(rclone_s3, bucket))
    put(store, "main/older", b"older")
    keys = (rclone_s3.access_key_id, rclone_s3.secret_access_key)
    done = subprocess.run(
        [sys.executable, "-c", _DIE_UPLOADING, bucket, rclone_s3.endpoint_url, *keys], check=False
    )
    assert done.returncode == -9
    assert uploads_in(rclone_s3, bucket) == 1
    assert [found.key for found in store.list()] == ["main/older"]

    assert store.sweep("", datetime.now(UTC) - timedelta(hours=1)) == 0
    assert store.sweep("", datetime.now(UTC) + timedelta(hours=1)) == 1
    assert uploads_in(rclone_s3, bucket) == 0
    assert get(store, "main/older") == b"older"
