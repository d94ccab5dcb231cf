"""Opens what a backup tool has stored with stock programs alone, by looking at its first bytes.

Whoever has nothing but gpg, openssl, zstd, gzip, psql and pg_restore can do as much: decrypt with
the key at hand, decompress, and hand it to PostgreSQL's own programs. The same without a key tells
whether a file shows its rows to anybody.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from guardian.adapters.scratch.embedded import EmbeddedServer

NOTES = "RESTORE.txt"
_MOST_STEPS = 4
_HEAD = 512
_COMPRESSED = {
    b"\x1f\x8b": "gzip -dc",
    b"\x28\xb5\x2f\xfd": "zstd -dc",
    b"BZh": "bzip2 -dc",
    b"\xfd7zXZ": "xz -dc",
}
_ARCHIVE, _SCRIPT = b"PGDMP", b"--\n-- PostgreSQL database dump"
_PACKETS = (0x84, 0x85, 0x8C, 0xC1, 0xC3)
"""First bytes of OpenPGP: a session key, for a public key or a passphrase."""
_SEQUENCE = 0x30
"""First byte of what ``openssl smime -outform DER`` writes."""


@dataclass(frozen=True, slots=True)
class Keys:
    """What there is to decrypt with."""

    passphrase: Path
    certificate: Path
    private_key: Path


@dataclass(frozen=True, slots=True)
class Opened:
    """Commands that take a file on stdin and, in a pipe, give what pg_dump wrote."""

    steps: tuple[str, ...]
    is_archive: bool
    is_dump: bool

    def into(self, bindir: Path, dsn: str) -> str:
        """A line for bash that restores it into a database."""
        end = (
            f'{bindir}/pg_restore --exit-on-error -d "{dsn}"'
            if self.is_archive
            else f'{bindir}/psql -q -v ON_ERROR_STOP=1 "{dsn}" > /dev/null'
        )
        return " | ".join([*self.steps, end])

    def as_text(self, bindir: Path) -> str:
        """A line for bash that writes it as text."""
        return " | ".join(
            [*self.steps, f"{bindir}/pg_restore -f -" if self.is_archive else "cat"],
        )


def open_file(descriptor: int, keys: Keys | None) -> Opened:
    """Find out how a file is opened; without keys only as far as anybody gets."""
    steps: list[str] = []
    head = _head(descriptor, steps)
    while len(steps) < _MOST_STEPS and (step := _next_step(head, keys)):
        steps.append(step)
        head = _head(descriptor, steps)
    return Opened(tuple(steps), head.startswith(_ARCHIVE), head.startswith((_ARCHIVE, _SCRIPT)))


def shows(descriptor: int, words: str, bindir: Path) -> bool:
    """Whether somebody without a key can read these words in a file."""
    opened = open_file(descriptor, None)
    line = f"{opened.as_text(bindir)} | grep -qaF '{words}'"
    return _run(line, descriptor, every_part=False) == 0  # grep leaves as soon as it has found


def restore(path: Path, keys: Keys, bindir: Path, dsn: str) -> str:
    """Restore one stored file into an empty database; "" when that went well, else why not."""
    with path.open("rb") as file:
        opened = open_file(file.fileno(), keys)
        if not opened.is_dump:
            return "no stock tool opens it"
        if _run(opened.into(bindir, dsn), file.fileno()) != 0:
            return f"fails: {' | '.join([_program(step) for step in opened.steps])}"
        return ""


def restore_by_notes(folder: Path, keys: Keys, server: EmbeddedServer) -> str:
    """Run RESTORE.txt's own lines, those into a database called ``restored``; else as above."""
    lines = [
        line
        for line in (folder / NOTES).read_text().splitlines()
        if line.startswith(("createdb ", "gpg ")) and "restored" in line
    ]
    environ = {
        "PATH": f"{server.bindir}{os.pathsep}{os.environ['PATH']}",
        "PGHOST": str(server.socket_dir),
        "PGPORT": str(server.port),
        "PGUSER": server.superuser,
        "PASSPHRASE_FILE": str(keys.passphrase),
    }
    done = subprocess.run(
        ["bash", "-e", "-o", "pipefail", "-c", "\n".join(lines)],
        cwd=folder,
        env={**os.environ, **environ},
        capture_output=True,
        check=False,
    )
    return "" if lines and done.returncode == 0 else f"{NOTES}'s own lines fail"


def _next_step(head: bytes, keys: Keys | None) -> str | None:
    for magic, command in _COMPRESSED.items():
        if head.startswith(magic):
            return command
    if keys is None or not head:
        return None
    if head[0] in _PACKETS:
        return (
            "gpg --batch --quiet --pinentry-mode loopback "
            f"--passphrase-file {keys.passphrase} --decrypt"
        )
    if head[0] == _SEQUENCE:
        return (
            f"openssl smime -decrypt -binary -inform DER -inkey {keys.private_key} "
            f"-recip {keys.certificate}"
        )
    return None


def _head(descriptor: int, steps: Sequence[str]) -> bytes:
    line = " | ".join([*steps, f"head -c {_HEAD}"])
    os.lseek(descriptor, 0, os.SEEK_SET)
    return subprocess.run(
        ["bash", "-c", line], stdin=descriptor, capture_output=True, check=False
    ).stdout


def _run(line: str, descriptor: int, *, every_part: bool = True) -> int:
    os.lseek(descriptor, 0, os.SEEK_SET)
    return subprocess.run(
        ["bash", *(["-o", "pipefail"] if every_part else []), "-c", line],
        stdin=descriptor,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        check=False,
    ).returncode


def _program(step: str) -> str:
    return step.partition(" ")[0]
