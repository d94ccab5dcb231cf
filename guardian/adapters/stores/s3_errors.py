"""What an S3 server's answers mean, in words that name the thing, the cause and the mend.

Nothing here repeats what a server echoes of a request except its short message for codes that we
do not know; signatures and keys are in none of S3's messages.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectionClosedError,
    ConnectTimeoutError,
    CredentialRetrievalError,
    EndpointConnectionError,
    HTTPClientError,
    IncompleteReadError,
    NoCredentialsError,
    ParamValidationError,
    PartialCredentialsError,
    ProfileNotFound,
    ProxyConnectionError,
    ReadTimeoutError,
    ResponseStreamingError,
    SSLError,
    UnseekableStreamError,
)

from guardian.errors import StoreError, StoreLockedError, StoreNotFoundError

NEEDED_RIGHTS = (
    "s3:ListBucket, s3:GetObject, s3:PutObject, s3:DeleteObject, s3:AbortMultipartUpload and "
    "s3:ListBucketMultipartUploads"
)


@dataclass(frozen=True, slots=True)
class Where:
    """Which store, for messages. ``endpoint`` is None for AWS."""

    store: str
    bucket: str
    endpoint_url: str | None
    region: str | None

    @property
    def server(self) -> str:
        """The server's name, without what else an URL may carry."""
        if self.endpoint_url is None:
            return f"Amazon S3 ({self.region})" if self.region else "Amazon S3"
        parts = urlsplit(self.endpoint_url)
        port = f":{parts.port}" if parts.port else ""
        return f"{parts.hostname}{port}"


class _Meaning(NamedTuple):
    why: str
    mend: str
    transient: bool = False


_CREDENTIALS = "correct access_key_id and secret_access_key of this store"
_BUSY = _Meaning("the server is overloaded or asks us to slow down", "try again later", True)
_BROKEN = _Meaning("the server has an internal error", "try again later", True)
_REGION = _Meaning(
    "bucket {bucket} is in another region, or at another address",
    "set region (and endpoint_url) of this store to the bucket's",
)
_DENIED = _Meaning(
    "the credentials may not do that in bucket {bucket}", f"allow them {NEEDED_RIGHTS}"
)

_CODES = {
    "NoSuchBucket": _Meaning(
        "there is no bucket {bucket} at {server}", "create it, or correct bucket"
    ),
    "InvalidBucketName": _Meaning("{bucket} is not a possible name of a bucket", "correct bucket"),
    "AccessDenied": _DENIED,
    "AllAccessDisabled": _DENIED,
    "Forbidden": _DENIED,
    "403": _DENIED,
    "AccountProblem": _Meaning("the account at {server} is not in order", "ask the provider"),
    "InvalidAccessKeyId": _Meaning("{server} does not know the access key", _CREDENTIALS),
    "SignatureDoesNotMatch": _Meaning(
        "{server} refuses the secret access key (the signature does not match)", _CREDENTIALS
    ),
    "InvalidSecurity": _Meaning("{server} refuses the credentials", _CREDENTIALS),
    "InvalidToken": _Meaning("{server} refuses the session token", "renew the credentials"),
    "ExpiredToken": _Meaning("the session token has expired", "renew the credentials"),
    "TokenRefreshRequired": _Meaning("the session token has expired", "renew the credentials"),
    "PermanentRedirect": _REGION,
    "TemporaryRedirect": _REGION,
    "AuthorizationHeaderMalformed": _REGION,
    "IllegalLocationConstraintException": _REGION,
    "301": _REGION,
    "307": _REGION,
    "RequestTimeTooSkewed": _Meaning(
        "this host's clock differs too much from the server's", "set the clock (NTP)"
    ),
    "SlowDown": _BUSY,
    "ServiceUnavailable": _BUSY,
    "Throttling": _BUSY,
    "RequestLimitExceeded": _BUSY,
    "TooManyRequests": _BUSY,
    "429": _BUSY,
    "503": _BUSY,
    "InternalError": _BROKEN,
    "500": _BROKEN,
    "502": _BROKEN,
    "504": _BROKEN,
    "RequestTimeout": _Meaning("the server waited too long for data", "try again later", True),
    "OperationAborted": _Meaning("another request was in the way", "try again later", True),
    "ConditionalRequestConflict": _Meaning(
        "another write to the same object was in the way", "try again later", True
    ),
    "BadDigest": _Meaning("data was damaged on its way", "try again; check the network", True),
    "NoSuchUpload": _Meaning(
        "the upload was aborted by somebody else", "look for lifecycle rules and other sweepers"
    ),
    "QuotaExceeded": _Meaning("the bucket's quota is used up", "raise it, or keep fewer backups"),
    "XMinioStorageFull": _Meaning("the server's disks are full", "make room there"),
    "InvalidStorageClass": _Meaning("the server has no such storage_class", "correct it"),
    "KMS.NotFoundException": _Meaning("there is no such KMS key", "correct kms_key_id"),
    "KMS.DisabledException": _Meaning("the KMS key is disabled", "enable it"),
    "InvalidRange": _Meaning("the object changed while it was read", "try again"),
    "PreconditionFailed": _Meaning("the object changed while it was read", "try again"),
}

_UNREACHABLE = _Meaning(
    "cannot reach {server}", "check the network, DNS, firewall and endpoint_url", True
)
_NO_KEYS = _Meaning(
    "found no credentials", "set access_key_id_file and secret_access_key_file, or an AWS profile"
)

# In order: the first class that fits decides.
_EXCEPTIONS: tuple[tuple[tuple[type[Exception], ...], _Meaning], ...] = (
    ((NoCredentialsError, PartialCredentialsError, CredentialRetrievalError), _NO_KEYS),
    ((ProfileNotFound,), _Meaning("there is no such AWS profile", "correct AWS_PROFILE")),
    (
        (SSLError,),
        _Meaning("no trust in the TLS certificate of {server}", "check endpoint_url and the CA"),
    ),
    ((ProxyConnectionError,), _Meaning("cannot reach the HTTP proxy", "check HTTPS_PROXY", True)),
    ((ConnectTimeoutError, EndpointConnectionError), _UNREACHABLE),
    (
        (ReadTimeoutError,),
        _Meaning("{server} did not answer in time", "check the network; try again later", True),
    ),
    (
        (
            ConnectionClosedError,
            IncompleteReadError,
            ResponseStreamingError,
            UnseekableStreamError,
            HTTPClientError,
        ),
        _Meaning("the connection to {server} was cut", "check the network; try again", True),
    ),
    (
        (ParamValidationError,),
        _Meaning("the settings of this store are not possible", "correct them"),
    ),
)


def code_of(error: ClientError) -> str:
    """The server's error code, or the HTTP status where an answer has no body (HEAD)."""
    details: Any = error.response.get("Error", {})
    return str(details.get("Code") or status_of(error))


def status_of(error: ClientError) -> int:
    """The HTTP status of a refusal."""
    metadata: Any = error.response.get("ResponseMetadata", {})
    return int(metadata.get("HTTPStatusCode", 0))


def explained(error: Exception, where: Where, doing: str) -> StoreError:
    """The StoreError for an exception of botocore's, raised while ``doing``."""
    start = f"store {where.store}: cannot {doing}: "
    if isinstance(error, ClientError):
        return _refusal(error, where, start)
    for classes, meaning in _EXCEPTIONS:
        if isinstance(error, classes):
            return _told(meaning, where, start)
    what = type(error).__name__
    detail = f" ({_short(str(error))})" if isinstance(error, BotoCoreError) else ""
    return StoreError(f"{start}{what}{detail}", mend="check the settings of this store")


def _refusal(error: ClientError, where: Where, start: str) -> StoreError:
    code, status = code_of(error), status_of(error)
    details: Any = error.response.get("Error", {})
    message = _short(str(details.get("Message") or ""))
    if code in {"NoSuchKey", "404", "NotFound"}:
        return StoreNotFoundError(f"{start}it is not in bucket {where.bucket}")
    if code == "AccessDenied" and "object lock" in message.lower():
        return StoreLockedError(f"{start}it is under object lock", mend="wait until it ends")
    meaning = _CODES.get(code) or _CODES.get(str(status))
    if meaning is not None:
        return _told(meaning, where, start)
    return StoreError(
        f"{start}{where.server} answered {code}{': ' + message if message else ''}",
        mend="check the settings of this store",
        transient=status >= 500 and status != 501,
    )


def _told(meaning: _Meaning, where: Where, start: str) -> StoreError:
    why = meaning.why.format(bucket=where.bucket, server=where.server)
    return StoreError(f"{start}{why}", mend=meaning.mend, transient=meaning.transient)


def _short(text: str) -> str:
    one_line = " ".join(text.split())
    return one_line if len(one_line) <= 200 else one_line[:199] + "…"
