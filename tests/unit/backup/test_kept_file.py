from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardian.backup.kept_file import LARGEST, KeptNote, decode_kept, encode_kept, kept_key
from guardian.backup.manifest import parse_key
from guardian.errors import ManifestError
from guardian.model import BackupId, DatabaseRef

ID = BackupId("20261123T020000Z-7f3a9c")
OTHER = BackupId("20261123T020000Z-7f3a9d")
NOTE = KeptNote(ID, True, datetime(2026, 11, 24, tzinfo=UTC), "ada", "before the migration")

texts = st.text(max_size=1000)
times = st.datetimes(
    datetime(2000, 1, 1),  # noqa: DTZ001 - the strategy wants them naive
    timezones=st.just(UTC),
)


@given(st.builds(KeptNote, st.just(ID), st.booleans(), times, texts, st.none() | texts))
def test_what_is_written_is_read(note: KeptNote) -> None:
    assert decode_kept(encode_kept(note), ID) == note


def test_it_lies_beside_the_manifest() -> None:
    ref = DatabaseRef("main", "mina")
    assert parse_key(kept_key(ref, ID)) == (ref, ID, "kept.json")


def test_long_words_are_cut() -> None:
    long = "\U0001f600" * 100_000
    data = encode_kept(KeptNote(ID, True, NOTE.at, long, long))
    assert len(data) <= LARGEST
    assert len(decode_kept(data, ID).by) == 1000


def test_the_note_of_another_backup_is_refused() -> None:
    with pytest.raises(ManifestError, match="that of 20261123T020000Z-7f3a9c"):
        decode_kept(encode_kept(NOTE), OTHER)


def test_a_newer_format_says_so() -> None:
    data = encode_kept(NOTE).replace(b'"format": 1', b'"format": 2')
    with pytest.raises(ManifestError, match="upgrade guardian"):
        decode_kept(data, ID)


@pytest.mark.parametrize(
    "change",
    [{"id": "x"}, {"kept": 1}, {"kept": None}, {"at": "now"}, {"by": None}, {"reason": 3}],
    ids=str,
)
def test_a_wrong_field_makes_it_a_damaged_one(change: dict[str, Any]) -> None:
    document = json.loads(encode_kept(NOTE)) | change
    with pytest.raises(ManifestError, match="damaged"):
        decode_kept(json.dumps(document).encode(), ID)


@given(st.binary(max_size=200) | st.just(b" " * (LARGEST + 1)))
def test_random_bytes_are_refused(data: bytes) -> None:
    with pytest.raises(ManifestError):
        decode_kept(data, ID)
