from __future__ import annotations

import ast
import hashlib
import re
import shlex
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from guardian.backup.notes import notes_part, restore_notes
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

GOLDEN = Path(__file__).parent / "golden"
NOW = datetime(2026, 11, 23, 2, tzinfo=UTC)
DUMP = Part("database.dump.zst.gpg", PartKind.DUMP, 10, 20, "a" * 64)
PARTS = (
    Part("globals.sql.zst.gpg", PartKind.GLOBALS, 1, 2, "b" * 64),
    DUMP,
    Part("fingerprint.json.zst.gpg", PartKind.FINGERPRINT, 1, 2, "c" * 64),
)
FULL = Manifest(
    id=BackupId("20261123T020000Z-7f3a9c"),
    ref=DatabaseRef("main", "mina"),
    started_at=NOW,
    snapshot_at=NOW,
    finished_at=NOW,
    parts=PARTS,
    encryption=Encryption(EncryptionKind.SYMMETRIC),
    compression_level=3,
    proof=ProofLevel.CONTENT,
    globals=GlobalsLevel.FULL,
    facts=DatabaseFacts(
        *("15.18", 150018, "7", "UTF8", "en_US.UTF-8", "en_US.UTF-8", "libc"),
        extensions=(Extension("plpgsql", "1.0"), Extension("vector", "0.8.0")),
    ),
    dump_version="16.10",
    guardian_version="0.1.0",
    signature="hmac-sha256",
)
BARE = replace(
    FULL,
    parts=(DUMP,),
    encryption=Encryption(EncryptionKind.RECIPIENTS, key_ids=("AB" * 20, "CD" * 20)),
    signature="openpgp:" + "EF" * 20,
    globals=GlobalsLevel.NONE,
    dump_version="18.0",
    facts=DatabaseFacts("17.2", 170002, None, "UTF8", "C", "C", "builtin", "C.UTF-8"),
)

PARTED = replace(
    FULL,
    parts=(
        DUMP,
        Part("data-01.dump.zst.gpg", PartKind.DUMP, 1, 2, "d" * 64),
        Part("data-02.dump.zst.gpg", PartKind.DUMP, 1, 2, "e" * 64),
    ),
    globals=GlobalsLevel.NONE,
)


def notes(manifest: Manifest) -> str:
    return restore_notes(manifest, manifest.parts)


@pytest.mark.parametrize(
    ("name", "manifest"), [("symmetric", FULL), ("recipients", BARE), ("parted", PARTED)]
)
def test_the_text_is_the_golden_one(name: str, manifest: Manifest) -> None:
    """After a wanted change write the file anew, and read it as on the night it is needed."""
    golden = GOLDEN / f"RESTORE-{name}.txt"
    assert notes(manifest) == golden.read_text(encoding="utf-8")


HOSTILE = [
    "a\nrm -rf /",
    "`id`",
    "$(id)",
    "'; id; '",
    "a\rb",
    "\x1b[2J",
    "\u202e",
    "\udcff",
    "%s {0}",
]


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_name_is_shown_on_its_line_and_is_in_no_command(name: str) -> None:
    text = notes(replace(FULL, ref=DatabaseRef("main", name)))
    usual = notes(FULL).splitlines()
    different = [line for line in text.split("\n") if line not in usual]
    assert [line.split(" ")[0] for line in different] == ["Database"]
    assert different[0].isprintable()
    text.encode()


@pytest.mark.parametrize("name", [*HOSTILE, "a'b\\c\t'", "é$", ""])
def test_a_hostile_name_of_a_database_in_parts_is_one_word_for_bash(name: str) -> None:
    """It says dbname, quoted for libpq; what cannot be printed is escaped, as bash reads it."""
    text = notes(replace(PARTED, ref=DatabaseRef("main", name)))
    assert all(line.isprintable() for line in text.split("\n"))
    own = text[: text.index("   Or into")]
    lines = [line for line in own.splitlines() if "| pg_restore" in line or "{ pg_restore" in line]
    assert len(lines) == 4
    assert "--create" in lines[0]
    for line in lines[1:]:
        word = line.split(" -d ")[1].removesuffix(" --section=post-data && cat > /dev/null; }")
        if word.startswith("$'"):
            assert word.isascii()
            read = ast.literal_eval("b" + word[1:]).decode("utf-8", "surrogateescape")
        else:
            (read,) = shlex.split(word)
        assert read.startswith("dbname='")
        assert re.sub(r"\\(.)", r"\1", read[8:-1], flags=re.DOTALL) == name


@pytest.mark.parametrize("word", HOSTILE[:-2])
def test_hostile_facts_are_shown_harmlessly_and_quoted_in_commands(word: str) -> None:
    facts = replace(
        FULL.facts,
        server_version=word,
        encoding=word,
        collate=word,
        ctype=word,
        locale_provider=word,
        locale=word,
        extensions=(Extension(word, word),),
    )
    text = notes(replace(FULL, facts=facts, dump_version=word))
    shown = text[: text.index("1. Is everything here")]
    assert all(line.isprintable() for line in shown.split("\n"))
    assert len(shown.split("\n")) == len(notes(FULL).split("1. Is")[0].split("\n"))
    command = text[text.index("createdb ") : text.index(" restored\n") + len(" restored")]
    assert shlex.split(command) == [
        *("createdb", "--template=template0", f"--encoding={word}", f"--lc-collate={word}"),
        *(f"--lc-ctype={word}", f"--locale-provider={word}", f"--builtin-locale={word}"),
        "restored",
    ]


@pytest.mark.parametrize(
    ("provider", "locale", "expected"),
    [
        ("libc", None, ""),
        ("libc", "ignored", ""),
        ("icu", "de-u-co-phonebk", " --locale-provider=icu --icu-locale=de-u-co-phonebk"),
        ("builtin", "C.UTF-8", " --locale-provider=builtin --builtin-locale=C.UTF-8"),
        ("icu", None, ""),
    ],
)
def test_locale_providers(provider: str, locale: str | None, expected: str) -> None:
    facts = replace(FULL.facts, locale_provider=provider, locale=locale)
    line = f"--lc-ctype=en_US.UTF-8{expected} restored\n"
    assert line in notes(replace(FULL, facts=facts))


@pytest.mark.parametrize("level", GlobalsLevel)
def test_missing_passwords_are_told(level: GlobalsLevel) -> None:
    told = "carry no passwords" in notes(replace(FULL, globals=level))
    assert told is (level is not GlobalsLevel.FULL)


def test_every_part_is_summed_but_the_notes_themselves() -> None:
    assert [
        line for line in notes(FULL).splitlines() if line.endswith(".gpg") and "  " in line
    ] == [f"{part.sha256}  {part.name}" for part in PARTS]


def test_the_notes_become_a_part() -> None:
    whole = notes_part(FULL, "RESTORE.txt", b"text")
    assert whole.parts[:-1] == PARTS
    assert whole.parts[-1] == Part(
        "RESTORE.txt", PartKind.NOTES, 4, 4, hashlib.sha256(b"text").hexdigest()
    )
