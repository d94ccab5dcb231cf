"""A reader goes on where it was cut, with the same object, and never takes a cut for the end."""

from __future__ import annotations

from typing import cast

import pytest

from guardian.adapters.stores.s3_api import S3Api
from guardian.adapters.stores.s3_reader import S3Reader
from guardian.errors import StoreError

CONTENT = bytes(range(100))


class Broken:
    """Each download gives ``give`` bytes, and then an error, or just nothing more."""

    store = "s"

    def __init__(self, give: int, error: StoreError | None) -> None:
        self.give = give
        self.error = error
        self.asked: list[tuple[int, str | None]] = []

    def get(self, key: str, offset: int = 0, etag: str | None = None) -> Broken.Download:
        self.asked.append((offset, etag))
        return Broken.Download(self, offset)

    class Download:
        size = len(CONTENT)
        etag = "one"

        def __init__(self, owner: Broken, offset: int) -> None:
            self.owner = owner
            self.rest = CONTENT[offset : offset + owner.give]

        def read(self, size: int) -> bytes:
            data, self.rest = self.rest[:size], self.rest[size:]
            if not data and self.owner.error is not None:
                raise self.owner.error
            return data

        def close(self) -> None:
            pass


def reader(broken: Broken) -> S3Reader:
    return S3Reader(cast("S3Api", broken), "a")


CUT = StoreError("cut", transient=True)


@pytest.mark.parametrize("error", [None, CUT])
def test_what_comes_in_pieces_is_put_together(error: StoreError | None) -> None:
    broken = Broken(30, error)
    assert reader(broken).read() == CONTENT
    assert broken.asked == [(0, None), (30, "one"), (60, "one"), (90, "one")]


@pytest.mark.parametrize(("error", "message"), [(None, "a ended after 0 of 100"), (CUT, "cut")])
def test_a_connection_that_brings_nothing_is_given_up(
    error: StoreError | None, message: str
) -> None:
    broken = Broken(0, error)
    with pytest.raises(StoreError, match=message):
        reader(broken).read()
    assert len(broken.asked) == 6


def test_what_cannot_pass_is_told_at_once() -> None:
    broken = Broken(30, StoreError("changed"))
    with pytest.raises(StoreError, match="changed"):
        reader(broken).read()
    assert len(broken.asked) == 1
