"""RESTORE.txt: how to get a backup back with gpg, zstd and PostgreSQL's own tools alone.

Written beside every backup with its real names, for the night on which guardian itself is gone.
"""

from __future__ import annotations

import hashlib
import re
import shlex
from dataclasses import replace

from guardian.backup.signature import OPENPGP
from guardian.model import EncryptionKind, GlobalsLevel, Manifest, Part, PartKind

_HEADER = """\
How to restore this backup without guardian
===========================================

Backup    {id}
Database  {database}   (server "{server}" in guardian's configuration)
Shows     {snapshot:%Y-%m-%d %H:%M:%S} UTC
From      PostgreSQL {server_version}, encoding {encoding}, collation {collate}
Made by   pg_dump {dump_version}, guardian {guardian_version}
"""

_NEEDS = """
You need: gpg, zstd, psql, and pg_restore {major} or newer; {secret};
and a PostgreSQL {server_major} or newer to restore to{extensions}.
Run the commands in bash, in this folder, as they stand.
"""

_CHECK = """
1. Is everything here, and whole?

sha256sum -c <<'END'
{sums}
END
"""

_PREPARE = """
2. Say where to, and with which key.

export PGHOST=localhost PGPORT=5432 PGUSER=postgres   # a role that may create databases
{key}
set -o pipefail                                       # a damaged backup must not look good
"""

_SIGNED = """
   Was it made by your guardian, and is it still what was made? Whoever can write where this lies
   could have changed this file as well: if in doubt, take these lines from guardian's
   docs/operating.md. They must end with "good".

{check}
"""

_SIGNED_BY_KEY = """\
gpg --verify manifest.json.sig manifest.json    # a good signature, by {key}
grep -q "$(sha256sum RESTORE.txt | cut -c -64)" manifest.json && echo good"""

_SIGNED_BY_HMAC = """\
python3 - "$PASSPHRASE_FILE" <<'END'
import hashlib, hmac, json, sys
manifest, sig = open("manifest.json", "rb").read(), json.load(open("manifest.json.sig"))
secret, salt = open(sys.argv[1], "rb").read(), bytes.fromhex(sig["salt"])
secret = secret[:-1] if secret.endswith(b"\\n") else secret
key = hashlib.pbkdf2_hmac("sha512", secret, b"guardian signature 1" + salt, 300000)[:32]
good = hmac.compare_digest(hmac.new(key, manifest, "sha256").hexdigest(), sig["mac"])
here = hashlib.sha256(open("RESTORE.txt", "rb").read()).hexdigest()
good = good and here in [part["sha256"] for part in json.loads(manifest)["parts"]]
print("good") if good else sys.exit("FORGED, damaged, or of another passphrase")
END"""

_GLOBALS = """
3. Roles and tablespaces. One that exists already gives an error, which does no harm.{passwords}

{decrypt} {globals} | zstd -dc | psql -X -q -d postgres
"""

_RESTORE = """
4. The database, under its own name, with its encoding, locale and settings.
   It must not exist yet; every command must end with status 0.
{parted}
{own}

   Or into a database of another name (its ALTER DATABASE ... SET settings are then left out):

createdb --template=template0 {createdb} {other}
{into_other}

   A look at what is inside, without a server (it stops early: gpg's word of a broken pipe is
   harmless here):

{decrypt} {dump} | zstd -dc | pg_restore --list
"""

_PARTED = """\
   The rows of some tables are in parts of their own, which come when all tables are there, and
   before indexes and foreign keys: run all of these lines, in this order.
"""

_FINGERPRINT = """
What the database held at that instant (rows and content of each table, as JSON):

{decrypt} {fingerprint} | zstd -dc
"""


def restore_notes(manifest: Manifest, data_parts: tuple[Part, ...]) -> str:
    """The text of RESTORE.txt for a backup with these parts, itself not among them."""
    by_kind = {part.kind: shlex.quote(part.name) for part in reversed(data_parts)}
    rows = [shlex.quote(part.name) for part in data_parts if part.kind is PartKind.DUMP][1:]
    symmetric = manifest.encryption.kind is EncryptionKind.SYMMETRIC
    decrypt = "gpg --batch --quiet --decrypt"
    if symmetric:
        decrypt += ' --pinentry-mode loopback --passphrase-file "$PASSPHRASE_FILE"'
    sections = [
        _HEADER.format(
            id=manifest.id,
            database=_printable(manifest.ref.database),
            server=manifest.ref.server,
            snapshot=manifest.snapshot_at,
            server_version=_printable(manifest.facts.server_version),
            encoding=_printable(manifest.facts.encoding),
            collate=_printable(manifest.facts.collate),
            dump_version=_printable(manifest.dump_version),
            guardian_version=manifest.guardian_version,
        ),
        _NEEDS.format(
            major=_printable(manifest.dump_version.split(".")[0]),
            secret=_secret(manifest),
            server_major=manifest.facts.major,
            extensions=_extensions(manifest),
        ),
        _CHECK.format(sums="\n".join(f"{part.sha256}  {part.name}" for part in data_parts)),
        _PREPARE.format(
            key="PASSPHRASE_FILE=/etc/guardian/passphrase              # the passphrase, one line"
            if symmetric
            else "# gpg asks its agent for the secret key; import it first where it is not there"
        ),
    ]
    if manifest.signature is not None:
        sections.append(_SIGNED.format(check=_signature_check(manifest.signature)))
    if PartKind.GLOBALS in by_kind:
        passwords = (
            ""
            if manifest.globals is GlobalsLevel.FULL
            else "\n   They carry no passwords: the backup's role was not allowed to read them."
        )
        sections.append(
            _GLOBALS.format(passwords=passwords, decrypt=decrypt, globals=by_kind[PartKind.GLOBALS])
        )
    opened = [f"{decrypt} {name} | zstd -dc" for name in (by_kind[PartKind.DUMP], *rows)]
    own = _conninfo(manifest.ref.database)
    sections.append(
        _RESTORE.format(
            decrypt=decrypt,
            dump=by_kind[PartKind.DUMP],
            parted=_PARTED if rows else "",
            own="\n".join(_restore_lines(opened, "--create ", "postgres", own)),
            into_other="\n".join(_restore_lines(opened, "", "restored", "restored")),
            createdb=_createdb_options(manifest),
            other="restored",
        )
    )
    if PartKind.FINGERPRINT in by_kind:
        sections.append(
            _FINGERPRINT.format(decrypt=decrypt, fingerprint=by_kind[PartKind.FINGERPRINT])
        )
    return "".join(sections)


def _restore_lines(opened: list[str], option: str, first: str, then: str) -> list[str]:
    """A command for each step: all at once, or definitions, rows, and what comes after them.

    The first step connects to the database ``first``, the others to ``then``.
    """
    restore = f"pg_restore {option}--exit-on-error"
    main, *rows = opened
    if not rows:
        return [f"{main} | {restore} -d {first}"]
    into = f"pg_restore --exit-on-error -d {then}"
    return [
        f"{main} | {restore} --section=pre-data --section=data -d {first}",
        *(f"{one} | {into}" for one in rows),
        # It needs the head alone; a reader that goes away would make the others fail.
        f"{main} | {{ {into} --section=post-data && cat > /dev/null; }}",
    ]


def _conninfo(database: str) -> str:
    """What ``-d`` takes for a database of any name, quoted for bash, and printable."""
    if re.fullmatch(r"[A-Za-z0-9_]+", database):
        return database
    escaped = database.replace("\\", "\\\\").replace("'", "\\'")
    whole = f"dbname='{escaped}'"
    if whole.isprintable():
        return shlex.quote(whole)
    return "$'" + "".join(map(_ansi_c, whole.encode("utf-8", "surrogateescape"))) + "'"


def _ansi_c(byte: int) -> str:
    plain = 0x20 <= byte < 0x7F and byte not in b"\\'"
    return chr(byte) if plain else f"\\x{byte:02x}"


def notes_part(manifest: Manifest, name: str, notes: bytes) -> Manifest:
    """The manifest with RESTORE.txt among its parts."""
    part = Part(
        name=name,
        kind=PartKind.NOTES,
        stored_bytes=len(notes),
        plain_bytes=len(notes),
        sha256=hashlib.sha256(notes).hexdigest(),
    )
    return replace(manifest, parts=(*manifest.parts, part))


def _signature_check(signature: str) -> str:
    if signature.startswith(OPENPGP):
        return _SIGNED_BY_KEY.format(key=signature.removeprefix(OPENPGP))
    return _SIGNED_BY_HMAC


def _secret(manifest: Manifest) -> str:
    if manifest.encryption.kind is EncryptionKind.SYMMETRIC:
        return "the passphrase"
    return "the secret key of " + " or ".join(manifest.encryption.key_ids)


def _extensions(manifest: Manifest) -> str:
    names = [_printable(f"{item.name} {item.version}") for item in manifest.facts.extensions]
    wanted = [name for name in names if not name.startswith("plpgsql ")]
    return f" that offers the extensions {', '.join(wanted)}" if wanted else ""


def _createdb_options(manifest: Manifest) -> str:
    facts = manifest.facts
    options = [f"--encoding={shlex.quote(facts.encoding)}"]
    options.append(f"--lc-collate={shlex.quote(facts.collate)}")
    options.append(f"--lc-ctype={shlex.quote(facts.ctype)}")
    if facts.locale_provider != "libc" and facts.locale:
        flag = "icu-locale" if facts.locale_provider == "icu" else "builtin-locale"
        options.append(f"--locale-provider={shlex.quote(facts.locale_provider)}")
        options.append(f"--{flag}={shlex.quote(facts.locale)}")
    return " ".join(options)


def _printable(name: str) -> str:
    """The name for reading: hostile characters (newlines, control codes) escaped."""
    return name if name.isprintable() else repr(name)
