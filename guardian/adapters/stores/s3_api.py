"""The requests that an S3 store makes, and nothing above them. Only this file speaks to boto3.

It is imported when the first request is due: boto3 costs 40 MB of memory and a quarter of a second.
Every method raises a StoreError; keys are relative to the configured prefix.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator
from datetime import UTC
from typing import TYPE_CHECKING, Any

import boto3
import botocore.session
import urllib3.exceptions
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from guardian.adapters.stores.s3_errors import Where, code_of, explained, status_of
from guardian.adapters.stores.s3_records import Head, Listed, Piece, Upload, WriteRequest
from guardian.adapters.stores.s3_settings import S3Settings
from guardian.errors import StoreError, StoreExistsError

if TYPE_CHECKING:
    from botocore.loaders import Loader
    from botocore.response import StreamingBody
    from mypy_boto3_s3 import S3Client

_TOKEN = "guardian-write"  # nosec B105 # noqa: S105 - a metadata key, no secret
"""Metadata of each object: which write made it. It tells our own success from somebody else's,
when the answer to a request was lost and its repetition finds the name taken."""

_KNOWS_NO_CONDITIONS = {"NotImplemented", "InvalidArgument", "InvalidRequest", "InvalidHeader"}
"""Answers of servers that refuse ``If-None-Match`` instead of obeying or ignoring it."""

_NO_UPLOADS = {"NotImplemented", "NoSuchUpload"}
"""Answers to a listing of uploads: there is no such thing; there was never one (rclone)."""

_DEFAULT_REGION = "us-east-1"
"""Signed requests need one; servers that are not AWS take this (R2 as an alias of ``auto``)."""


class Download:
    """The rest of one object, as it comes. ``size`` is the size of the whole object."""

    def __init__(self, body: StreamingBody, size: int, etag: str | None, where: Where) -> None:
        self._body = body
        self._where = where
        self.size = size
        self.etag = etag

    def read(self, size: int) -> bytes:
        """The next bytes. A cut connection raises a transient StoreError."""
        try:
            return self._body.read(size)
        except BotoCoreError as error:
            raise explained(error, self._where, "read on") from error
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise StoreError(
                f"store {self._where.store}: the connection to {self._where.server} was cut",
                mend="check the network; try again",
                transient=True,
            ) from error

    def close(self) -> None:
        """Let go of the connection."""
        self._body.close()


class S3Api:
    """One bucket, by one set of credentials. Safe to use from several threads."""

    def __init__(self, store: str, settings: S3Settings) -> None:
        self._settings = settings
        self._prefix = settings.key_prefix
        self._where = Where(store, settings.bucket, settings.endpoint_url, settings.region)
        self._bucket_seen = False
        self._knows_conditions = True
        with self._speaking("begin"):
            try:
                self._client = _connect(settings)
            except ValueError as error:
                raise StoreError(
                    f"store {store}: {error}", mend="correct endpoint_url of this store"
                ) from error

    @property
    def store(self) -> str:
        """The store's name, for messages."""
        return self._where.store

    def put(self, request: WriteRequest, piece: Piece) -> None:
        """Write an object in one request. StoreExistsError when exclusive and taken."""

        def send(condition: dict[str, Any]) -> None:
            piece.stream.seek(0)
            self._client.put_object(
                Bucket=self._settings.bucket,
                Key=self._prefix + request.key,
                Body=piece.stream,
                ContentLength=piece.size,
                ContentMD5=piece.md5,
                **self._making(request),
                **condition,
            )

        self._conditionally(request, send)

    def begin_upload(self, request: WriteRequest) -> str:
        """Begin a multipart upload; return its id."""
        with self._speaking(f"begin to write {request.key}"):
            answer = self._client.create_multipart_upload(
                Bucket=self._settings.bucket,
                Key=self._prefix + request.key,
                **self._making(request),
            )
            return answer["UploadId"]

    def put_part(self, key: str, upload: str, number: int, piece: Piece) -> str:
        """Send one part; return its ETag."""
        with self._speaking(f"write part {number} of {key}"):
            answer = self._client.upload_part(
                Bucket=self._settings.bucket,
                Key=self._prefix + key,
                UploadId=upload,
                PartNumber=number,
                Body=piece.stream,
                ContentLength=piece.size,
                ContentMD5=piece.md5,
            )
            return answer["ETag"]

    def finish_upload(self, request: WriteRequest, upload: str, etags: list[str]) -> None:
        """Make the object of its parts. StoreExistsError when exclusive and taken."""

        def send(condition: dict[str, Any]) -> None:
            self._client.complete_multipart_upload(
                Bucket=self._settings.bucket,
                Key=self._prefix + request.key,
                UploadId=upload,
                MultipartUpload={
                    "Parts": [
                        {"PartNumber": number, "ETag": etag}
                        for number, etag in enumerate(etags, start=1)
                    ]
                },
                **condition,
            )

        self._conditionally(request, send)

    def abort_upload(self, key: str, upload: str) -> None:
        """Drop an upload and its parts; fine when it is already gone."""
        with self._speaking(f"abort the upload of {key}"):
            try:
                self._client.abort_multipart_upload(
                    Bucket=self._settings.bucket, Key=self._prefix + key, UploadId=upload
                )
            except ClientError as error:
                if code_of(error) != "NoSuchUpload":
                    raise

    def head(self, key: str) -> Head | None:
        """What there is under a key, None when certainly nothing."""
        full = self._prefix + key
        try:
            with self._speaking(f"look at {key}"):
                answer = self._client.head_object(Bucket=self._settings.bucket, Key=full)
        except StoreError as refusal:
            if not isinstance(refusal.__cause__, ClientError):
                raise
            if status_of(refusal.__cause__) == 404:
                self._require_bucket()
                return None
            # An answer to HEAD has no body, so no code; the same question by GET has.
            self._peek(key)
            raise
        self._bucket_seen = True
        metadata = {name.lower(): value for name, value in answer.get("Metadata", {}).items()}
        return Head(
            size=answer["ContentLength"],
            modified_at=answer["LastModified"].astimezone(UTC),
            etag=answer.get("ETag"),
            token=metadata.get(_TOKEN),
            locked_until=answer.get("ObjectLockRetainUntilDate"),
        )

    def get(self, key: str, offset: int = 0, etag: str | None = None) -> Download:
        """Read an object from ``offset``; with ``etag`` only if it is still the same one."""
        wanted: dict[str, Any] = {"Range": f"bytes={offset}-"} if offset else {}
        if etag is not None:
            wanted["IfMatch"] = etag
        with self._speaking(f"read {key}"):
            answer = self._client.get_object(
                Bucket=self._settings.bucket, Key=self._prefix + key, **wanted
            )
        self._bucket_seen = True
        size = offset + answer["ContentLength"]
        download = Download(answer["Body"], size, answer.get("ETag"), self._where)
        # Not the status: rclone sends the range that was asked for with a 200.
        if offset and not answer.get("ContentRange", "").startswith(f"bytes {offset}-"):
            download.close()
            raise StoreError(
                f"store {self._where.store}: {self._where.server} cannot read {key} from the middle"
            )
        return download

    def list(self, prefix: str) -> Iterator[Listed]:
        """Objects whose key starts with ``prefix``, in order, to the very last."""
        page: dict[str, Any] = {"Bucket": self._settings.bucket, "Prefix": self._prefix + prefix}
        while True:
            with self._speaking(f"list {prefix or 'everything'}"):
                answer = self._client.list_objects_v2(**page)
            self._bucket_seen = True
            for found in answer.get("Contents", []):
                key = found["Key"].removeprefix(self._prefix)
                yield Listed(key, found["Size"], found["LastModified"].astimezone(UTC))
            if not answer.get("IsTruncated"):
                return
            page["ContinuationToken"] = self._next(answer.get("NextContinuationToken"), page)

    def delete(self, key: str) -> None:
        """Delete one object; fine when it is already gone."""
        with self._speaking(f"delete {key}"):
            try:
                self._client.delete_object(Bucket=self._settings.bucket, Key=self._prefix + key)
            except ClientError as error:
                if code_of(error) != "NoSuchKey":
                    raise

    def uploads(self, prefix: str) -> Iterator[Upload]:
        """Multipart uploads under ``prefix`` that were not ended; none where a server has no list.

        Such a server has to sweep by itself (lifecycle rule).
        """
        page: dict[str, Any] = {"Bucket": self._settings.bucket, "Prefix": self._prefix + prefix}
        while True:
            with self._speaking("list unfinished uploads"):
                try:
                    answer = self._client.list_multipart_uploads(**page)
                except ClientError as error:
                    if code_of(error) in _NO_UPLOADS:
                        return
                    raise
            for found in answer.get("Uploads", []):
                if not found["Key"].startswith(self._prefix + prefix):
                    continue  # a server that overlooks the prefix must not cost others their work
                key = found["Key"].removeprefix(self._prefix)
                yield Upload(key, found["UploadId"], found["Initiated"].astimezone(UTC))
            if not answer.get("IsTruncated"):
                return
            page["UploadIdMarker"] = answer.get("NextUploadIdMarker", "")
            page["KeyMarker"] = self._next(answer.get("NextKeyMarker"), page)

    def require_object_lock(self) -> None:
        """Raise StoreError when the bucket has no object lock; say nothing when we may not ask."""
        try:
            with self._speaking("ask for object lock"):
                answer = self._client.get_object_lock_configuration(Bucket=self._settings.bucket)
        except StoreError as refusal:
            cause = refusal.__cause__
            if isinstance(cause, ClientError) and status_of(cause) == 403:
                return
            if isinstance(cause, ClientError) and status_of(cause) in {400, 404, 405, 501}:
                raise self._no_lock() from cause
            raise
        if answer.get("ObjectLockConfiguration", {}).get("ObjectLockEnabled") != "Enabled":
            raise self._no_lock()

    def is_ours(self, key: str, token: str) -> bool:
        """Whether what lies under ``key`` was made by the write ``token``."""
        head = self.head(key)
        return head is not None and head.token == token

    def _conditionally(self, request: WriteRequest, send: Callable[[dict[str, Any]], None]) -> None:
        """Send; when exclusive, on the condition that the key is free, where the server can."""
        while True:
            conditional = request.exclusive and self._knows_conditions
            try:
                with self._speaking(f"write {request.key}"):
                    send({"IfNoneMatch": "*"} if conditional else {})
            except StoreError as refusal:
                cause = refusal.__cause__
                if not isinstance(cause, ClientError):
                    raise
                if conditional and _refuses_condition(cause):
                    self._knows_conditions = False
                    continue
                # Perhaps an earlier try succeeded and only its answer was lost.
                if code_of(cause) not in {"PreconditionFailed", "NoSuchUpload"}:
                    raise
                if self.is_ours(request.key, request.token):
                    return
                if code_of(cause) == "PreconditionFailed":
                    raise self.taken(request.key) from cause
                raise
            else:
                self._bucket_seen = True
                return

    def taken(self, key: str) -> StoreExistsError:
        """The error of an exclusive write that found its name taken."""
        return StoreExistsError(
            f"store {self._where.store}: {key} is already there; nothing was overwritten"
        )

    def _making(self, request: WriteRequest) -> dict[str, Any]:
        """What an object gets at its making."""
        settings = self._settings
        making: dict[str, Any] = {
            "ContentType": "application/octet-stream",
            "Metadata": {_TOKEN: request.token},
            "StorageClass": settings.storage_class,
            "ServerSideEncryption": settings.sse,
            "SSEKMSKeyId": settings.kms_key_id,
        }
        if request.lock_until is not None and settings.object_lock is not None:
            making["ObjectLockMode"] = settings.object_lock.mode
            making["ObjectLockRetainUntilDate"] = request.lock_until
        return {name: value for name, value in making.items() if value is not None}

    def _require_bucket(self) -> None:
        """Tell a missing object from a missing bucket: HEAD says 404 to both."""
        if not self._bucket_seen:
            with self._speaking("look into the bucket"):
                self._client.list_objects_v2(
                    Bucket=self._settings.bucket, Prefix=self._prefix, MaxKeys=1
                )
            self._bucket_seen = True

    def _peek(self, key: str) -> None:
        """Ask for one byte, so that the server says why it refuses."""
        with self._speaking(f"look at {key}"):
            answer = self._client.get_object(
                Bucket=self._settings.bucket, Key=self._prefix + key, Range="bytes=0-0"
            )
            answer["Body"].close()

    def _next(self, marker: str | None, page: dict[str, Any]) -> str:
        """The mark of the next page; a server that has none, or stands still, has failed us."""
        if not marker or marker in {page.get("ContinuationToken"), page.get("KeyMarker")}:
            raise StoreError(
                f"store {self._where.store}: {self._where.server} broke off a listing",
                mend="try again later",
                transient=True,
            )
        return marker

    def _no_lock(self) -> StoreError:
        return StoreError(
            f"store {self._where.store}: bucket {self._where.bucket} has no object lock",
            mend="turn it on for the bucket, or take object_lock out of this store",
        )

    @contextlib.contextmanager
    def _speaking(self, doing: str) -> Iterator[None]:
        try:
            yield
        except (BotoCoreError, ClientError) as error:
            raise explained(error, self._where, doing) from error


def _refuses_condition(error: ClientError) -> bool:
    return status_of(error) == 501 or code_of(error) in _KNOWS_NO_CONDITIONS


def _connect(settings: S3Settings) -> S3Client:
    """A client of our own; boto3's shared default session is not safe between threads."""
    bare = botocore.session.Session()
    bare.register_component("data_loader", _descriptions())
    session = boto3.session.Session(botocore_session=bare)
    elsewhere = settings.endpoint_url is not None
    style = settings.addressing
    if style == "auto" and elsewhere:
        style = "path"
    return session.client(
        "s3",
        endpoint_url=settings.endpoint_url,
        region_name=settings.region
        or (_DEFAULT_REGION if elsewhere else session.region_name or _DEFAULT_REGION),
        aws_access_key_id=settings.access_key_id,
        aws_secret_access_key=settings.secret_access_key,
        aws_session_token=settings.session_token,
        config=Config(
            connect_timeout=settings.connect_timeout,
            read_timeout=settings.read_timeout,
            # total_max_attempts counts the first; "standard" backs off with jitter, up to 20 s.
            retries={"mode": "standard", "total_max_attempts": settings.attempts},
            s3={"addressing_style": style},
            # Newer checksum headers break servers that do not know them; we send Content-MD5.
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
        ),
    )


@functools.cache
def _descriptions() -> Loader:
    """What S3 is, in JSON: a tenth of a second to read, and the same for all of our clients."""
    loader: Loader = botocore.session.Session().get_component("data_loader")
    return loader
