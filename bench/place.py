"""Where a benchmark happens: its folder, environment and keys, and what machine it is."""

from __future__ import annotations

import os
import platform
import secrets
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import guardian
from bench.opening import Keys
from bench.sample import Sample
from guardian.units import format_size

PEERS = Path(__file__).resolve().parent.parent / ".bench"
"""Peers that ``.ci/prepare peers`` has unpacked rather than installed."""
_ACCESS_KEY = "benchaccesskey0000"  # rclone wants at least 16 characters


@dataclass(frozen=True)
class Place:
    """A folder of our own, the database to back up, and the keys."""

    root: Path
    sample: Sample
    keys: Keys
    s3: str | None = None

    @property
    def gpg(self) -> str:
        """The beginning of a gpg command that needs nobody at a terminal."""
        return (
            f"gpg --batch --yes --quiet --pinentry-mode loopback "
            f"--passphrase-file {self.keys.passphrase}"
        )

    def folder(self, name: str) -> Path:
        """A folder of one way's own."""
        made = self.root / name
        made.mkdir(parents=True, exist_ok=True)
        return made


def settle_in(root: Path) -> Keys:
    """Make the keys, and let everything that we start write into this folder alone."""
    for name in ("home", "tmp", "gnupg", "run"):
        (root / name).mkdir(mode=0o700)
    os.environ.update(
        {
            "HOME": str(root / "home"),
            "TMPDIR": str(root / "tmp"),
            "GNUPGHOME": str(root / "gnupg"),
            "XDG_RUNTIME_DIR": str(root / "run"),
            "LC_ALL": "C.UTF-8",
            "PATH": os.pathsep.join(
                [
                    str(PEERS / "venv" / "bin"),
                    str(PEERS / "debian" / "usr" / "sbin"),
                    str(Path(sys.executable).parent),
                    os.environ["PATH"],
                ]
            ),
        }
    )
    for name in ("PGHOST", "PGPORT", "PGUSER", "PGDATABASE", "PGPASSWORD", "PGSERVICE"):
        os.environ.pop(name, None)
    keys = Keys(root / "passphrase", root / "certificate.pem", root / "private.pem")
    keys.passphrase.touch(0o600)
    keys.passphrase.write_text(secrets.token_urlsafe(32) + "\n")
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-nodes", "-newkey", "rsa:2048", "-days", "2"),
            *(
                "-keyout",
                str(keys.private_key),
                "-out",
                str(keys.certificate),
                "-subj",
                "/CN=bench",
            ),
        ],
        check=True,
        capture_output=True,
    )
    return keys


@contextmanager
def s3_server(root: Path) -> Iterator[str | None]:
    """Rclone's S3 server on a folder, and its credentials in the environment; None without it."""
    program = shutil.which("rclone")
    if program is None:
        yield None
        return
    secret = secrets.token_hex(16)
    (root / "buckets" / "bench").mkdir(parents=True)
    os.environ.update({"AWS_ACCESS_KEY_ID": _ACCESS_KEY, "AWS_SECRET_ACCESS_KEY": secret})
    os.environ["RCLONE_CONFIG"] = "/dev/null"
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    process = subprocess.Popen(
        [program, "serve", "s3", "--addr", f"127.0.0.1:{port}", str(root / "buckets")],
        # Through the environment, where other users cannot read it; it is read as CSV.
        env={**os.environ, "RCLONE_AUTH_KEY": f'"{_ACCESS_KEY},{secret}"'},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        _await(port, process)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait()


def _await(port: int, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 20
    while process.poll() is None and time.monotonic() < deadline:
        with socket.socket() as one:
            if one.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise SystemExit("bench: rclone's S3 server did not start")


def machine(folder: Path) -> dict[str, str]:
    """What the figures depend on, as a person would tell it."""
    model = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ),
        platform.machine(),
    )
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    disk = _first_line(["df", "--output=fstype", str(folder)], line=1)
    return {
        "processor": model,
        "cores": str(os.cpu_count()),
        "memory": format_size(memory),
        "system": f"{_system()}, Linux {platform.release()}",
        "file system": disk,
    }


def versions(sample: Sample) -> dict[str, str]:
    """Of each program that takes part; those that are not there are left out."""
    found = {
        "PostgreSQL": sample.version,
        "guardian": guardian.__version__,
        "Python": platform.python_version(),
        "gpg": _first_line(["gpg", "--version"]).rpartition(" ")[2],
        "zstd": _first_line(["zstd", "--version"]).partition(" v")[2].partition(",")[0],
        "OpenSSL": _word(["openssl", "version"], 1),
        "restic": _word(["restic", "version"], 1),
        "borg": _word(["borg", "--version"], 1),
        "borgmatic": _word(["borgmatic", "--version"], 0),
        "rclone": _word(["rclone", "version"], 1),
        "autopostgresqlbackup": _autopostgresqlbackup(),
        "pg_activity": _word(["pg_activity", "--version"], 1),
    }
    return {name: version for name, version in found.items() if version}


def _autopostgresqlbackup() -> str:
    script = shutil.which("autopostgresqlbackup")
    if script is None:
        return ""
    told = [line for line in Path(script).read_text().splitlines() if line.startswith("VER=")]
    return told[0].split()[0].partition("=")[2] if told else "?"


def _system() -> str:
    told = platform.freedesktop_os_release() if Path("/etc/os-release").exists() else {}
    return told.get("PRETTY_NAME", platform.system())


def _word(command: list[str], number: int) -> str:
    words = _first_line(command).split()
    return words[number] if len(words) > number else ""


def _first_line(command: list[str], line: int = 0) -> str:
    if shutil.which(command[0]) is None:
        return ""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    lines = done.stdout.splitlines()
    return lines[line].strip() if len(lines) > line else ""
