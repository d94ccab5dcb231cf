from __future__ import annotations

import contextlib
import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardian.backup.manifest import backup_prefix, parse_key
from guardian.backup.proof_file import (
    LARGEST,
    MOST_ENTRIES,
    ProofFile,
    decode_proof,
    encode_proof,
    is_proof_name,
    proof_key,
    proof_name,
)
from guardian.errors import ManifestError
from guardian.model import (
    BackupId,
    CheckOutcome,
    DatabaseRef,
    Difference,
    ProofRecord,
    ProofResult,
)

ID = BackupId("20261123T020000Z-7f3a9c")
OTHER = BackupId("20261123T020000Z-7f3a9d")
REF = DatabaseRef("main", "mina/é")
AT = datetime(2026, 11, 24, 3, 0, 0, 123456, tzinfo=UTC)
SHA = "ab" * 32
SIGNED = {"manifest_sha256": SHA, "guardian_version": "0.9.1", "host": "db-1"}

texts = st.text(max_size=40)  # lone surrogates, NUL and all
sizes = st.integers(0, 2**63 - 1)
seconds = st.floats(0, 1e9)
times = st.datetimes(
    datetime(2000, 1, 1),  # noqa: DTZ001 - the strategy wants them naive
    datetime(9000, 1, 1),  # noqa: DTZ001
    timezones=st.just(UTC) | st.just(timezone(timedelta(hours=-9, minutes=-30))),
)
records = st.builds(
    ProofRecord,
    backup=st.just(ID),
    store=st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,9}", fullmatch=True),
    result=st.sampled_from(ProofResult),
    at=times,
    tables=sizes,
    rows=sizes,
    seconds=seconds,
    fetch_seconds=seconds,
    restore_seconds=seconds,
    compare_seconds=seconds,
    differences=st.lists(st.builds(Difference, texts, texts, texts), max_size=3).map(tuple),
    checks=st.lists(st.builds(CheckOutcome, texts, st.booleans(), texts), max_size=3).map(tuple),
    reason=st.none() | texts,
).map(
    lambda record: (
        replace(record, differences=(), checks=()) if record.proven else record  # as drills are
    )
)


def proof(**changes: Any) -> ProofRecord:
    mismatch = ProofRecord(
        backup=ID,
        store="offsite",
        result=ProofResult.MISMATCH,
        at=AT,
        tables=21,
        rows=494372,
        seconds=12.5,
        differences=(Difference("table public.users", "500 rows", "499 rows"),),
        checks=(CheckOutcome("users survive", passed=False, found="f"),),
        reason="1 difference",
    )
    return replace(mismatch, **changes)


def document(record: ProofRecord | None = None, **changes: Any) -> dict[str, Any]:
    made: dict[str, Any] = json.loads(encode_proof(record or proof(), **SIGNED))
    return made | changes


def decoded(made: Any) -> ProofFile:
    return decode_proof(json.dumps(made).encode(), ID)


@given(records)
def test_what_is_written_is_read_but_for_what_may_quote_rows(record: ProofRecord) -> None:
    found = decode_proof(encode_proof(record, **SIGNED), ID)
    checks = tuple(replace(check, found="") for check in record.checks)
    assert found.record == replace(record, checks=checks, reason=found.record.reason)
    assert (found.record.reason is None) == (record.result is ProofResult.PROVEN)
    assert (found.manifest_sha256, found.guardian_version, found.host) == tuple(SIGNED.values())
    assert found.more_differences == found.more_checks == 0


def test_no_row_gets_into_the_store() -> None:
    secret = "ada@example.org"
    data = encode_proof(
        proof(
            result=ProofResult.UNRESTORABLE,
            checks=(CheckOutcome("newest user", passed=False, found=secret),),
            reason=f'pg_restore: error: COPY users, line 1: "{secret}"',
        ),
        **SIGNED,
    )
    assert secret.encode() not in data


def test_it_is_text_for_people() -> None:
    data = encode_proof(proof(), **SIGNED)
    assert data.endswith(b"}\n")
    assert data.isascii()
    assert json.loads(data)["signed_off_by"] == {"guardian_version": "0.9.1", "host": "db-1"}
    assert json.loads(data)["at"] == "2026-11-24T03:00:00.123456Z"


def test_long_lists_are_cut_and_counted() -> None:
    many = tuple(Difference(f"table t{n}", "1", "2") for n in range(MOST_ENTRIES + 23))
    checks = tuple(CheckOutcome(f"c{n}", passed=True, found="t") for n in range(MOST_ENTRIES + 1))
    found = decode_proof(encode_proof(proof(differences=many, checks=checks), **SIGNED), ID)
    assert found.record.differences == many[:MOST_ENTRIES]
    assert (found.more_differences, found.more_checks) == (23, 1)
    assert "123 differences" in (found.record.reason or "")


def test_long_texts_are_cut() -> None:
    long = "\U0001f600" * 100_000
    many = (Difference(long, long, long),) * 200
    checks = (CheckOutcome(long, passed=True, found=long),) * 200
    data = encode_proof(proof(differences=many, checks=checks), **SIGNED)
    assert len(data) <= LARGEST
    assert decode_proof(data, ID).record.differences[0].object.endswith("\U0001f600…")


@pytest.mark.parametrize(
    ("result", "words"),
    [
        (ProofResult.MISMATCH, "1 differences and 1 failed checks"),
        (ProofResult.UNRESTORABLE, "could not be restored on db-1"),
        (ProofResult.INCONCLUSIVE, "could not be told on db-1, at 2026-11-24 03:00Z"),
    ],
)
def test_the_reason_says_what_the_file_knows(result: ProofResult, words: str) -> None:
    found = decode_proof(encode_proof(proof(result=result), **SIGNED), ID)
    assert words in (found.record.reason or "")


def test_names_sort_as_time_does_and_two_in_one_second_differ() -> None:
    assert proof_name(AT) == "proof-20261124T030000.123456Z.json"
    assert proof_name(AT.astimezone(timezone(timedelta(hours=5)))) == proof_name(AT)
    later = AT + timedelta(microseconds=1)
    assert proof_name(AT) < proof_name(later) < proof_name(AT.replace(year=2027))


def test_the_key_lies_beside_the_manifest() -> None:
    key = proof_key(REF, ID, AT)
    assert key.startswith(backup_prefix(REF, ID))
    assert parse_key(key) == (REF, ID, proof_name(AT))


def test_names_of_others_are_not_taken_for_ours() -> None:
    assert is_proof_name(proof_name(AT))
    for name in ("proof-of-purchase.json", "proof-.json", proof_name(AT) + ".bak", "manifest.json"):
        assert not is_proof_name(name)


def test_the_drill_of_another_backup_is_refused() -> None:
    with pytest.raises(ManifestError, match="that of 20261123T020000Z-7f3a9c"):
        decode_proof(encode_proof(proof(), **SIGNED), OTHER)


def test_a_newer_format_says_so() -> None:
    with pytest.raises(ManifestError, match=r"format 2.*upgrade guardian"):
        decoded(document(format=2))


def test_fields_of_a_later_guardian_are_ignored() -> None:
    assert decoded(document(amcheck="passed")).record.tables == 21


WRONG: list[dict[str, Any]] = [
    {"format": "1"},
    {"id": "../../etc/passwd"},
    {"id": None},
    {"manifest_sha256": "AB" * 32},
    {"manifest_sha256": SHA + "\n"},
    {"store": ""},
    {"store": "a/b"},
    {"store": "\ud800"},
    {"store": "a" * 300},
    {"result": "great"},
    {"result": True},
    {"at": "2026-11-24T03:00:00"},
    {"at": "yesterday"},
    {"at": "0001-01-01T00:00:00+14:00"},
    {"signed_off_by": "me"},
    {"signed_off_by": {"host": "db-1"}},
    {"signed_off_by": {"host": 1, "guardian_version": "1"}},
    {"tables": -1},
    {"rows": 2**63},
    {"rows": 1.5},
    {"seconds": -0.1},
    {"seconds": float("nan")},
    {"seconds": float("inf")},
    {"seconds": 10**400},
    {"seconds": True},
    {"fetch_seconds": "1"},
    {"restore_seconds": None},
    {"compare_seconds": []},
    {"differences": {}},
    {"differences": ["users"]},
    {"differences": [{"object": "a", "expected": "b"}]},
    {"differences": [{"object": "a", "expected": "b", "found": 3}]},
    {"differences": [{"object": "a", "expected": "b", "found": "c"}] * (MOST_ENTRIES + 1)},
    {"more_differences": -1},
    {"more_checks": None},
    {"checks": [{"name": "a", "passed": 1}]},
    {"checks": [{"name": "a"}]},
]


@pytest.mark.parametrize("change", WRONG, ids=str)
def test_a_wrong_field_makes_it_a_damaged_one(change: dict[str, Any]) -> None:
    with pytest.raises(ManifestError, match="damaged"):
        decoded(document(**change))


@pytest.mark.parametrize("name", document())
def test_a_missing_field_makes_it_a_damaged_one(name: str) -> None:
    made = document()
    del made[name]
    with pytest.raises(ManifestError, match=f"'{name}' is missing"):
        decoded(made)


def test_proven_cannot_stand_beside_what_was_wrong() -> None:
    nothing: dict[str, Any] = {"differences": [], "checks": []}
    assert decoded(document(result="proven", **nothing)).record.proven
    for wrong in (
        {"more_differences": 1},
        {"differences": document()["differences"]},
        {"checks": [{"name": "a", "passed": False}]},
    ):
        with pytest.raises(ManifestError, match="proven"):
            decoded(document(result="proven", **{**nothing, **wrong}))


@pytest.mark.parametrize(
    "data",
    [b"", b"{", b"null", b"[]", b"\xff\xfe", b'"proof"', b"[" * 100_000, b" " * (LARGEST + 1)],
    ids=lambda data: repr(data[:8]),
)
def test_bytes_of_any_kind_are_refused_in_our_words(data: bytes) -> None:
    with pytest.raises(ManifestError):
        decode_proof(data, ID)


@given(st.binary(max_size=200))
def test_random_bytes_are_refused(data: bytes) -> None:
    with pytest.raises(ManifestError):
        decode_proof(data, ID)


leaves = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5)
values = st.recursive(
    leaves, lambda some: st.lists(some, max_size=2) | st.dictionaries(st.text(max_size=5), some)
)


@given(st.sampled_from(sorted(document())), values)
def test_a_field_of_any_shape_is_taken_or_refused_in_our_words(name: str, value: Any) -> None:
    with contextlib.suppress(ManifestError):
        decoded(document(**{name: value}))
