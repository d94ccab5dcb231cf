from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardian.backup.manifest import (
    backup_prefix,
    database_prefix,
    decode_database,
    decode_manifest,
    encode_database,
    encode_manifest,
    is_backup_id,
    manifest_key,
    new_backup_id,
    parse_backup_id,
    parse_key,
    server_prefix,
)
from guardian.errors import ManifestError
from guardian.model import (
    BackupId,
    DatabaseFacts,
    DatabaseRef,
    Encryption,
    EncryptionKind,
    Extension,
    GlobalsLevel,
    Manifest,
    Part,
    PartKind,
    ProofLevel,
)

ID = BackupId("20261123T020000Z-7f3a9c")
NOW = datetime(2026, 11, 23, 2, tzinfo=UTC)

characters = st.characters(exclude_characters="\0", exclude_categories=["Cs"])
words = st.text(characters, max_size=10)
databases = st.text(
    characters | st.characters(min_codepoint=0xDC80, max_codepoint=0xDCFF), min_size=1, max_size=63
).filter(lambda name: decode_database(encode_database(name)) == name)
servers = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,9}", fullmatch=True)
part_names = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,20}", fullmatch=True).filter(
    lambda name: name not in {"manifest.json", "0.dump"}
)
sizes = st.integers(0, 2**63 - 1)
hashes = st.from_regex(r"[0-9a-f]{64}", fullmatch=True)
times = st.datetimes(
    datetime(2000, 1, 1),  # noqa: DTZ001 - the strategy wants them naive
    timezones=st.just(UTC) | st.just(timezone(timedelta(hours=-9, minutes=-30))),
)
parts = st.lists(
    st.builds(Part, part_names, st.sampled_from(PartKind), sizes, sizes, hashes),
    max_size=4,
    unique_by=lambda part: part.name,
).map(lambda some: (*some, Part("0.dump", PartKind.DUMP, 1, 2, "0" * 64)))
facts = st.builds(
    DatabaseFacts,
    server_version=words,
    server_version_num=sizes,
    system_identifier=st.none() | words,
    encoding=words,
    collate=words,
    ctype=words,
    locale_provider=words,
    locale=st.none() | words,
    database_bytes=sizes,
    in_recovery=st.booleans(),
    extensions=st.lists(st.builds(Extension, words, words), max_size=3).map(tuple),
)
manifests = st.builds(
    Manifest,
    id=st.just(ID),
    ref=st.builds(DatabaseRef, servers, databases),
    started_at=times,
    snapshot_at=times,
    finished_at=times,
    parts=parts,
    encryption=st.builds(
        Encryption, st.sampled_from(EncryptionKind), words, st.lists(words).map(tuple)
    ),
    compression_level=st.integers(-5, 22),
    proof=st.sampled_from(ProofLevel),
    globals=st.sampled_from(GlobalsLevel),
    facts=facts,
    dump_version=words,
    guardian_version=words,
    warnings=st.lists(words, max_size=3).map(tuple),
    tables=st.none() | sizes,
    rows=st.none() | sizes,
)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=12,
)
SMALL = Manifest(
    id=ID,
    ref=DatabaseRef("main", "mina"),
    started_at=NOW,
    snapshot_at=NOW,
    finished_at=NOW,
    parts=(
        Part("database.dump.zst.gpg", PartKind.DUMP, 10, 20, "a" * 64),
        Part("globals.sql.zst.gpg", PartKind.GLOBALS, 1, 2, "b" * 64),
    ),
    encryption=Encryption(EncryptionKind.RECIPIENTS, key_ids=("AB" * 20,)),
    compression_level=3,
    proof=ProofLevel.CONTENT,
    globals=GlobalsLevel.FULL,
    facts=DatabaseFacts(
        "15.18", 150018, "7", "UTF8", "C", "C", "libc", extensions=(Extension("plpgsql", "1.0"),)
    ),
    dump_version="15.18",
    guardian_version="1",
)
DOCUMENT = json.loads(encode_manifest(SMALL))


def changed(*path: Any, to: Any) -> bytes:
    document = json.loads(json.dumps(DOCUMENT))
    target = document
    for key in path[:-1]:
        target = target[key]
    target[path[-1]] = to
    return json.dumps(document).encode()


# --- names and keys -----------------------------------------------------------------------------

HOSTILE = [
    *(".", "..", "...", ".hidden", "a.b", "/", "a/b", "../../etc/passwd", "\\", "a\\..\\b", "%"),
    *(
        "%2E",
        "%2e%2e",
        "%00",
        "a\nb",
        "\r",
        "\x1b[2J",
        "🐘",
        "e\u0301",
        "é",
        "-rf",
        "~",
        "$(reboot)",
    ),
    *(
        "`id`",
        "'",
        '"',
        " ",
        " a ",
        "*",
        "?",
        "CON",
        "NUL.txt",
        "\udcff\udc80",
        "x" * 63,
        "🐘" * 15,
    ),
    *("manifest.json", "20261123T020000Z-7f3a9c", "\u202e", "\ufeff", "+", "a+b", "A", "a"),
]


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_name_is_one_plain_segment_of_a_key(name: str) -> None:
    segment = encode_database(name)
    assert segment.isascii()
    assert segment.isprintable()
    assert segment not in {"", ".", ".."}
    assert not segment.startswith(".")
    assert not set(segment) & set("/\\ \"'`$*?\n")
    assert len(segment) <= 255
    assert decode_database(segment) == name
    found = parse_key(manifest_key(DatabaseRef("main", name), ID))
    assert found == (DatabaseRef("main", name), ID, "manifest.json")


def test_different_names_never_share_a_folder() -> None:
    assert len({encode_database(name) for name in HOSTILE}) == len(HOSTILE)


@given(databases, databases)
def test_one_database_is_never_under_another(one: str, other: str) -> None:
    prefixes = [database_prefix(DatabaseRef("main", name)) for name in (one, other)]
    assert prefixes[0].startswith(prefixes[1]) == (one == other)


@given(servers, databases, part_names)
def test_parse_key_reads_what_backup_prefix_makes(server: str, database: str, part: str) -> None:
    ref = DatabaseRef(server, database)
    assert parse_key(backup_prefix(ref, ID) + part) == (ref, ID, part)
    assert backup_prefix(ref, ID).startswith(server_prefix(server))


pieces = st.one_of(
    st.text(max_size=8),
    st.text("%2E./aF", max_size=6),
    st.sampled_from(
        ["main", "mina", ID, "manifest.json", "..", ".", "", "%2e", "\ud800", "\udc80"]
    ),
)


@given(st.text() | st.lists(pieces, min_size=3, max_size=5).map("/".join))
def test_parse_key_never_raises_and_takes_only_what_we_make(key: str) -> None:
    found = parse_key(key)
    if found is not None:
        assert backup_prefix(found.ref, found.id) + found.part == key


@pytest.mark.parametrize(
    "key",
    [
        *("", "/", "///", "main/mina/x/manifest.json", f"main//{ID}/x", f"main/mina/{ID}/"),
        *(f"main/mina/{ID}", f"main/mina/{ID}/a/b", f"/main/mina/{ID}/x", f"../mina/{ID}/x"),
        *(f"main/./{ID}/x", f"main/../{ID}/x", f"main/.a/{ID}/x", f"main/%61/{ID}/x"),
        *(f"main/%2e/{ID}/x", f"main/é/{ID}/x", f"main/\udcff/{ID}/x", f"main/\ud800/{ID}/x"),
        *(f"main/%00/{ID}/x", f"main/%/{ID}/x", f"main/%zz/{ID}/x", f"main/mina/{ID}\n/x"),
        *(f"main/mina/{ID}/x\n", f"main/mina/{ID}/.tmp", f"main/mina/{ID}/..", f"main\n/a/{ID}/x"),
        *(f"main/mina/{ID.upper()}/x", f"main/mina/{ID}/é", f"main/mina/{ID}/{'x' * 122}"),
        f"main/mina/\u0662{ID[1:]}/x",
    ],
)
def test_keys_that_are_not_ours(key: str) -> None:
    assert parse_key(key) is None


def test_ids() -> None:
    zone = timezone(timedelta(hours=5))
    assert new_backup_id(datetime(2026, 11, 23, 7, tzinfo=zone), "7f3a9c") == ID
    assert is_backup_id(ID)
    for text in ("", ID[:-1], ID + "0", ID + "\n", ID.upper(), ID.replace("7", "\u0667")):
        assert not is_backup_id(text)
        with pytest.raises(ValueError, match="is not a backup id"):
            parse_backup_id(text)


# --- the manifest -------------------------------------------------------------------------------


@given(manifests)
def test_what_is_written_is_read(manifest: Manifest) -> None:
    data = encode_manifest(manifest)
    assert decode_manifest(data) == manifest
    assert data.endswith(b"}\n")
    assert data.isascii()


def test_totals_are_told_beside_the_parts() -> None:
    assert (DOCUMENT["dumped_bytes"], DOCUMENT["stored_bytes"]) == (20, 11)


@given(st.binary(max_size=300) | json_values.map(lambda value: json.dumps(value).encode()))
def test_anything_else_is_refused(data: bytes) -> None:
    with pytest.raises(ManifestError):
        decode_manifest(data)


def paths_of(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    found: list[tuple[Any, ...]] = []
    for key, item in value.items() if isinstance(value, dict) else enumerate(value):
        found.append((*path, key))
        if isinstance(item, dict | list):
            found += paths_of(item, (*path, key))
    return found


@given(st.sampled_from(paths_of(DOCUMENT)), json_values)
def test_one_field_of_any_other_shape_is_refused_or_read(path, value: object) -> None:
    refusal = ""
    try:
        found = decode_manifest(changed(*path, to=value))
        assert decode_manifest(encode_manifest(found)) == found
        assert parse_key(manifest_key(found.ref, found.id)) is not None
    except ManifestError as error:
        refusal = str(error)
    assert "\n" not in refusal
    assert len(refusal) < 400


@given(st.integers(0, len(encode_manifest(SMALL)) - 3))
def test_a_missing_end_is_refused(length: int) -> None:
    with pytest.raises(ManifestError, match="not JSON"):
        decode_manifest(encode_manifest(SMALL)[:length])


@pytest.mark.parametrize(
    "name",
    [
        *("../x", "a/b", "/etc/passwd", "..", ".", "", ".hidden", "manifest.json", "a\nb", "a\0b"),
        *("-rf", "a b", "$(id)", "é", "x" * 122, "a\\b", "x\n", "\ud800", "M" * 1_000_000),
    ],
)
def test_part_names_that_would_leave_the_folder(name: str) -> None:
    with pytest.raises(ManifestError, match="damaged") as raised:
        decode_manifest(changed("parts", 0, "name", to=name))
    assert len(str(raised.value)) < 400


@pytest.mark.parametrize(
    ("path", "value", "why"),
    [
        (("parts", 1, "name"), "database.dump.zst.gpg", "same name"),
        (("parts", 0, "kind"), "notes", "no dump"),
        (("parts",), [], "no dump"),
        (("parts",), {}, "not a list"),
        (("parts", 0, "stored_bytes"), -1, "negative"),
        (("parts", 0, "plain_bytes"), -1, "negative"),
        (("parts", 0, "stored_bytes"), 2**63, "too large"),
        (("parts", 0, "stored_bytes"), 10**4000, "too large"),
        (("parts", 0, "stored_bytes"), 1.0, "whole number"),
        (("parts", 0, "stored_bytes"), True, "whole number"),
        (("parts", 0, "sha256"), "A" * 64, "SHA-256"),
        (("parts", 0, "sha256"), "a" * 64 + "\n", "SHA-256"),
        (("compression", "level"), -(10**30), "too large"),
        (("server",), "../main", "server's name"),
        (("server",), "main\n", "server's name"),
        (("database",), "", "database's name"),
        (("database",), "a\0b", "database's name"),
        (("database",), "\ud800", "utf-8"),
        (("id",), "../../x", "backup id"),
        (("started_at",), "2026-11-23T02:00:00", "no timezone"),
        (("started_at",), "yesterday", "isoformat"),
        (("started_at",), "0001-01-01T00:00:00+23:00", "range"),
        (("proof",), "full", "ProofLevel"),
        (("source", "in_recovery"), "false", "neither true nor false"),
        (("source", "extensions"), ["x"], "object should"),
        (("encryption", "key_ids"), [{}], "not a text"),
        (("encryption",), None, "object should"),
        (("warnings",), [None], "not a text"),
        (("format",), -1, "negative"),
        (("rows",), -1, "negative"),
        (("tables",), "3", "whole number"),
        (("format",), "1", "whole number"),
    ],
)
def test_a_field_that_cannot_be_ours_is_named(path, value: object, why: str) -> None:
    with pytest.raises(ManifestError, match=why):
        decode_manifest(changed(*path, to=value))


def test_every_field_but_two_must_be_there() -> None:
    for path in paths_of(DOCUMENT):
        document = json.loads(json.dumps(DOCUMENT))
        target = document
        for key in path[:-1]:
            target = target[key]
        if isinstance(target, list) or path in {("dump", "format"), ("compression", "name")}:
            continue
        del target[path[-1]]
        data = json.dumps(document).encode()
        if path[-1] in {"system_identifier", "locale"} or path in {
            ("dumped_bytes",),
            ("stored_bytes",),
            ("tables",),  # older guardians did not write these two
            ("rows",),
            ("signature",),
            ("encryption", "name"),
        }:
            decode_manifest(data)
            continue
        with pytest.raises(ManifestError, match=f"'{path[-1]}' is missing"):
            decode_manifest(data)


def test_a_newer_format_says_what_to_do() -> None:
    with pytest.raises(ManifestError, match=r"has format 2.*upgrade guardian"):
        decode_manifest(changed("format", to=2))


def test_fields_of_a_later_guardian_are_passed_over() -> None:
    assert decode_manifest(changed("later", to=[1])) == SMALL
    assert decode_manifest(changed("parts", 0, "later", to=[1])) == SMALL


@pytest.mark.parametrize("deep", [b"[" * 200_000, b'{"a":' * 200_000])
def test_deep_nesting_is_refused(deep: bytes) -> None:
    with pytest.raises(ManifestError, match="nested too deeply"):
        decode_manifest(deep)


def test_a_huge_one_is_not_even_parsed() -> None:
    with pytest.raises(ManifestError, match="none of ours"):
        decode_manifest(encode_manifest(SMALL) + b" " * (16 << 20))


@pytest.mark.parametrize("encoding", ["utf-16", "utf-8-sig", "latin-1"])
def test_other_encodings_do_no_harm(encoding: str) -> None:
    data = json.dumps({**DOCUMENT, "database": "é"}, ensure_ascii=False).encode(encoding)
    try:
        assert decode_manifest(data).ref.database == "é"
    except ManifestError as error:
        assert encoding == "latin-1", error  # noqa: PT017 - only this one is no JSON
