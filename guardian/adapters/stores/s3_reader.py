"""One object being read from S3, to its last byte or to an error."""

from __future__ import annotations

import contextlib
import logging
from types import TracebackType
from typing import TYPE_CHECKING, Self

from guardian.errors import StoreError

if TYPE_CHECKING:
    from guardian.adapters.stores.s3_api import Download, S3Api

_log = logging.getLogger(__name__)

_RESUMPTIONS = 5
"""How often a cut connection is taken up again without a single byte in between."""


class S3Reader:
    """Reads an object; takes up again where a connection was cut, if it is still the same object.

    Each resumption is a request of its own, which botocore repeats with its own waits.
    """

    def __init__(self, api: S3Api, key: str) -> None:
        self._api = api
        self._key = key
        self._offset = 0
        self._futile = 0
        self._download: Download | None = api.get(key)
        self._size = self._download.size
        self._etag = self._download.etag

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._drop()

    def read(self, size: int = -1, /) -> bytes:
        """At most ``size`` bytes, all that remain when negative; empty only at the end."""
        if size < 0:
            pieces = []
            while piece := self.read(1024 * 1024):
                pieces.append(piece)
            return b"".join(pieces)
        while size and self._offset < self._size:
            try:
                if self._download is None:
                    self._download = self._api.get(self._key, self._offset, self._etag)
                data = self._download.read(size)
                if data:
                    self._offset += len(data)
                    self._futile = 0
                    return data
                self._raise_short()
            except StoreError as error:
                self._give_up_or_resume(error)
        return b""

    def _give_up_or_resume(self, error: StoreError) -> None:
        self._drop()
        if not error.transient or self._futile >= _RESUMPTIONS:
            raise error
        self._futile += 1
        _log.info("reading %s from byte %d again: %s", self._key, self._offset, error)

    def _raise_short(self) -> None:
        raise StoreError(
            f"store {self._api.store}: {self._key} ended after {self._offset} of "
            f"{self._size} bytes",
            mend="try again; check the network",
            transient=True,
        )

    def _drop(self) -> None:
        if self._download is not None:
            with contextlib.suppress(OSError):  # a connection that is dead already
                self._download.close()
            self._download = None
