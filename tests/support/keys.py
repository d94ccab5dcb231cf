"""Homes of gpg with real keys: good, expired, revoked, of somebody else."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from pathlib import Path


class Homes:
    """One GNUPGHOME with a secret key; its folder's name is short, as agent sockets want it."""

    def __init__(self) -> None:
        self.path = Path(tempfile.mkdtemp(prefix="gpg"))
        self.path.chmod(0o700)

    def gpg(self, *words: str, data: bytes | None = None) -> subprocess.CompletedProcess[bytes]:
        return subprocess.run(
            ["gpg", "--homedir", self.path, "--batch", "--pinentry-mode", "loopback", *words],
            input=data,
            capture_output=True,
            check=True,
        )

    def make_key(self, name: str, usage: str = "default", expires: str = "never") -> str:
        options = ["--faked-system-time", "20200101T000000"] if expires != "never" else []
        algorithm = "default" if usage == "default" else "ed25519"
        self.gpg(*options, "--passphrase", "", "--quick-gen-key", name, algorithm, usage, expires)
        listing = self.gpg("--with-colons", "--list-keys", f"={name}").stdout.decode()
        prints = [line.split(":")[9] for line in listing.splitlines() if line.startswith("fpr")]
        return prints[0]

    def remove(self) -> None:
        subprocess.run(["gpgconf", "--homedir", self.path, "--kill", "all"], check=False)
        shutil.rmtree(self.path, ignore_errors=True)

    def take(self, other: Homes, key: str, *, secret: bool = False) -> None:
        """Import another home's key, the public half alone unless ``secret``."""
        what = "--export-secret-keys" if secret else "--export"
        self.gpg("--import", data=other.gpg("--passphrase", "", what, key).stdout)

    def revoke(self, key: str) -> None:
        """Take a key back, by the certificate that gpg made with it."""
        certificate = self.path / "openpgp-revocs.d" / f"{key}.rev"
        lines = certificate.read_text().replace(":-----BEGIN", "-----BEGIN")
        self.gpg("--import", data=lines.encode())
