from __future__ import annotations

import json
import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardian.backup.fingerprint import (
    content_text,
    decode_fingerprint,
    encode_fingerprint,
    sum_rows,
)
from guardian.errors import ManifestError
from guardian.model import (
    Fingerprint,
    LargeObjects,
    ProofLevel,
    SequencePosition,
    TableFingerprint,
)

names = st.text(
    st.one_of(
        st.characters(exclude_characters="\0", exclude_categories=["Cs"]),
        st.characters(min_codepoint=0xDC80, max_codepoint=0xDCFF),  # surrogate escapes
    ),
    max_size=20,
)
contents = st.none() | st.integers(0, 2**128 - 1).map(content_text)
counts = st.integers(0, 2**63 - 1)
positions = st.integers(-(2**63) - 1, 2**63)
texts = st.lists(names, max_size=3).map(tuple)
fingerprints = st.builds(
    Fingerprint,
    level=st.sampled_from(ProofLevel),
    seed=st.integers(0, 2**64 - 1),
    tables=st.lists(st.builds(TableFingerprint, names, names, counts, contents), max_size=4).map(
        tuple
    ),
    objects=st.dictionaries(names, texts, max_size=3),
    sequences=st.lists(
        st.builds(SequencePosition, names, names, positions, positions, positions), max_size=3
    ).map(tuple),
    large_objects=st.builds(LargeObjects, counts, contents),
    roles=texts,
    left_out=texts,
    settings=texts,
)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=12,
)
rows = st.lists(st.binary(max_size=30), max_size=30)
SMALL = Fingerprint(
    level=ProofLevel.CONTENT,
    seed=7,
    tables=(TableFingerprint("public", "users", 3, "0" * 32),),
    objects={"table": ("public.users",)},
    sequences=(SequencePosition("public", "users_id_seq", 1, 2),),
    large_objects=LargeObjects(0),
)


@given(rows, st.randoms(use_true_random=False), st.integers(0, 2**63))
def test_the_order_of_rows_does_not_count(data: list[bytes], how: random.Random, seed: int) -> None:
    shuffled = list(data)
    how.shuffle(shuffled)
    assert sum_rows(data, seed) == sum_rows(shuffled, seed)


@given(rows, rows, st.integers(0, 2**63))
def test_sums_of_pieces_add_up(one: list[bytes], other: list[bytes], seed: int) -> None:
    assert content_text(sum_rows(one, seed) + sum_rows(other, seed)) == content_text(
        sum_rows(one + other, seed)
    )


@given(st.binary(max_size=50), st.integers(0, 2**63))
def test_a_pair_of_equal_rows_does_not_cancel(row: bytes, seed: int) -> None:
    sums = [content_text(sum_rows([row] * count, seed)) for count in range(5)]
    assert len(set(sums)) == 5


@given(rows.filter(bool), st.data())
def test_any_changed_row_is_seen(data: list[bytes], draw: st.DataObject) -> None:
    place = draw.draw(st.integers(0, len(data) - 1))
    changed = [*data[:place], data[place] + b"\0", *data[place + 1 :]]
    assert sum_rows(data, 1) != sum_rows(changed, 1)
    assert sum_rows(data, 1) != sum_rows(data[:place] + data[place + 1 :], 1)


def test_bytes_that_move_between_rows_are_seen() -> None:
    assert sum_rows([b"ab", b"c"], 1) != sum_rows([b"a", b"bc"], 1)


def test_the_seed_changes_everything() -> None:
    assert len({sum_rows([b"row"], seed) for seed in range(1000)}) == 1000


def test_views_count_as_bytes() -> None:
    assert sum_rows([memoryview(b"row")], 1) == sum_rows([b"row"], 1)


def test_a_content_has_32_digits_and_wraps() -> None:
    assert content_text(0) == "0" * 32
    assert content_text(2**128) == "0" * 32
    assert content_text(2**128 + 255) == "0" * 30 + "ff"


@given(fingerprints)
def test_what_is_written_is_read(fingerprint: Fingerprint) -> None:
    data = encode_fingerprint(fingerprint)
    assert decode_fingerprint(data) == fingerprint
    assert data.endswith(b"}\n")


@given(st.binary(max_size=200) | json_values.map(lambda value: json.dumps(value).encode()))
def test_anything_else_is_refused(data: bytes) -> None:
    with pytest.raises(ManifestError):
        decode_fingerprint(data)


def paths_of(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    inner = value.items() if isinstance(value, dict) else enumerate(value)
    found: list[tuple[Any, ...]] = []
    for key, item in inner:
        found.append((*path, key))
        if isinstance(item, dict | list):
            found += paths_of(item, (*path, key))
    return found


DOCUMENT = json.loads(encode_fingerprint(SMALL))


@given(st.sampled_from(paths_of(DOCUMENT)), json_values)
def test_one_field_of_any_other_shape_is_refused_or_read(path, value: object) -> None:
    document = json.loads(json.dumps(DOCUMENT))
    target = document
    for key in path[:-1]:
        target = target[key]
    target[path[-1]] = value
    refusal = ""
    try:
        found = decode_fingerprint(json.dumps(document).encode())
        assert decode_fingerprint(encode_fingerprint(found)) == found
        assert found.rows >= 0
    except ManifestError as error:
        refusal = str(error)
    assert "\n" not in refusal
    assert len(refusal) < 400


@given(st.integers(0, len(encode_fingerprint(SMALL)) - 3))
def test_a_missing_end_is_refused(length: int) -> None:
    with pytest.raises(ManifestError, match="not JSON"):
        decode_fingerprint(encode_fingerprint(SMALL)[:length])


@pytest.mark.parametrize("seed", ["-1", str(2**64), "x", "", "9" * 5000, 7, None])
def test_a_seed_that_is_none(seed: object) -> None:
    with pytest.raises(ManifestError, match="damaged"):
        decode_fingerprint(json.dumps({**DOCUMENT, "seed": seed}).encode())


def test_a_hash_that_is_none() -> None:
    table = {**DOCUMENT["tables"][0], "content": "0" * 31 + "G"}
    with pytest.raises(ManifestError, match="not a content hash"):
        decode_fingerprint(json.dumps({**DOCUMENT, "tables": [table]}).encode())


@pytest.mark.parametrize("found", ["Infinity", "1e999", "-1", "true", '"1"', "9" * 5000])
def test_a_format_that_is_none(found: str) -> None:
    text = json.dumps(DOCUMENT).replace('"format": 1', f'"format": {found}')
    with pytest.raises(ManifestError):
        decode_fingerprint(text.encode())


def test_a_newer_format_says_what_to_do() -> None:
    with pytest.raises(ManifestError, match=r"has format 2.*upgrade guardian"):
        decode_fingerprint(json.dumps({**DOCUMENT, "format": 2}).encode())


def test_fields_of_a_later_guardian_are_passed_over() -> None:
    document = json.loads(json.dumps(DOCUMENT))
    document["later"] = document["tables"][0]["later"] = [1]
    assert decode_fingerprint(json.dumps(document).encode()) == SMALL


def test_deep_nesting_is_refused() -> None:
    with pytest.raises(ManifestError, match="nested too deeply"):
        decode_fingerprint(b"[" * 200_000 + b"]" * 200_000)
