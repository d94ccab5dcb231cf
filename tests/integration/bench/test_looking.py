"""What the benchmark says of plaintext on disk was seen; so it must see what there is."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from support.postgres import PostgresServer

from bench.looking import Onlooker, processor_seconds
from bench.opening import shows
from bench.sample import CANARIES, CANARY


def seen_in(folder: Path, line: str, bindir: Path = Path("/usr/bin")) -> list[str]:
    """The files in which the words can be read, of a command that waits until it was looked at."""
    process = subprocess.Popen(
        ["bash", "-ec", f"{line}\necho ready\nread -r _"],
        cwd=folder,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    with process, Onlooker(process) as onlooker:
        assert process.stdout is not None
        assert process.stdin is not None
        assert process.stdout.readline() == b"ready\n"
        onlooker.look_once()
        process.stdin.write(b"\n")
        process.stdin.close()
        onlooker.finish()
        assert process.wait() == 0
        return [
            Path(name.rpartition("#")[0]).name
            for name, descriptor in onlooker.files.items()
            if shows(descriptor, CANARY, bindir)
        ]


@pytest.mark.parametrize(
    "line",
    [
        f"exec 3> found; echo '{CANARY}' >&3",
        f"exec 3> found; rm found; echo '{CANARY}' >&3",
        f"exec 3> found; echo '{CANARY}' | gzip >&3",
        f"exec 3> found; rm found; echo '{CANARY}' | zstd -q | gzip >&3",
    ],
)
def test_rows_in_a_file_are_seen_also_when_it_is_gone_or_compressed(tmp_path, line):
    assert seen_in(tmp_path, line) == ["found"]


@pytest.mark.parametrize(
    "line",
    [
        f"exec 3> found; echo '{CANARY}' | openssl enc -aes-256-cbc -pbkdf2 -pass pass:x >&3",
        f"echo '{CANARY}' | cat > /dev/null",
        "exec 3< before",
        "exec 3> found; echo nothing >&3",
    ],
)
def test_what_is_encrypted_or_only_read_or_in_a_pipe_is_not(tmp_path, line):
    (tmp_path / "before").write_text(CANARY)
    assert seen_in(tmp_path, line) == []


def test_rows_in_an_archive_of_pg_dump_are_seen(tmp_path, pg15: PostgresServer, fresh_database):
    database = fresh_database(pg15)
    database.execute(CANARIES)
    line = f'exec 3> found; {pg15.bindir}/pg_dump -Fc "{database.dsn()}" >&3'
    assert seen_in(tmp_path, line, pg15.bindir) == ["found"]


def test_processor_time_counts_children_that_have_ended():
    line = "bash -c 'for i in {1..40000}; do :; done'; echo done; read -r _"
    process = subprocess.Popen(
        ["bash", "-c", line], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with process:
        assert process.stdout is not None
        assert process.stdout.readline() == "done\n"
        assert processor_seconds(process.pid) >= 0.02


def test_memory_is_that_of_the_whole_family():
    hold = "x = bytearray(b'x') * (64 << 20); print('ready', flush=True); input()"
    process = subprocess.Popen(
        ["bash", "-c", f'{sys.executable} -c "{hold}"; :'],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    with process, Onlooker(process) as onlooker:
        assert process.stdout is not None
        assert process.stdin is not None
        assert process.stdout.readline() == b"ready\n"
        onlooker.look_once()
        process.stdin.write(b"\n")
        process.stdin.close()
        process.wait()
    assert onlooker.peak_bytes > 64 << 20
