"""What somebody who can write to a store does there, with the store's own files alone."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from support.rebuilding import RebuildSite

from guardian.adapters.signatures.passphrase import PassphraseSigner

MANIFEST = "manifest.json"
SIGNATURE = "manifest.json.sig"


@dataclass(frozen=True)
class Intruder:
    """Knows no secret of ours; writes into a folder that is a store, or lies behind a bucket."""

    root: Path

    def folder(self, backup: str) -> Path:
        """Where a backup lies."""
        (found,) = self.root.glob(f"main/*/{backup}")
        return found

    def manifest(self, backup: str) -> dict[str, Any]:
        """A backup's manifest: anybody can read it."""
        return dict(json.loads((self.folder(backup) / MANIFEST).read_bytes()))

    def copy(self, backup: str, new: str) -> Path:
        """A whole backup once more, under another id, signature and all."""
        folder = self.folder(backup)
        return Path(shutil.copytree(folder, folder.with_name(new)))

    def forge(self, backup: str, new: str, **changes: Any) -> Path:
        """Another backup, of a manifest that is right in itself: parts, sizes, hashes."""
        folder = self.copy(backup, new)
        document = self.manifest(backup) | {"id": new} | changes
        (folder / MANIFEST).write_text(json.dumps(document, indent=2) + "\n")
        return folder


@dataclass
class Scene:
    """``older`` and ``newer`` are backups of one database, in both stores."""

    site: RebuildSite
    local: Intruder
    offsite: Intruder
    older: str
    newer: str

    @property
    def both(self) -> tuple[Intruder, Intruder]:
        return self.local, self.offsite

    def reopen(self) -> None:
        """Let the S3 server see what was changed behind its back: it remembers listings."""
        assert self.site.s3 is not None
        self.site.s3.stop()
        self.site.s3.start()
        self.site.site.stores["offsite"]["endpoint_url"] = self.site.s3.endpoint_url

    def listed(self) -> set[str]:
        return {item["id"] for item in self.site.run("backup", "list")}


def strip(folder: Path) -> None:
    """Take the signature away."""
    (folder / SIGNATURE).unlink()


def leave(_folder: Path) -> None:
    """Leave the signature of the manifest that was there before."""


def sign_by_own_passphrase(folder: Path) -> None:
    """Sign as guardian does, with a passphrase of the intruder's own."""
    signer = PassphraseSigner(lambda: b"the intruder's own", folder.parent / "salt")
    signature = signer.sign((folder / MANIFEST).read_bytes())
    assert signature is not None
    (folder / SIGNATURE).write_bytes(signature)
    (folder.parent / "salt").unlink()


def claim_our_key(folder: Path) -> None:
    """The same, under the name of our key."""
    ours = json.loads((folder / SIGNATURE).read_bytes())
    sign_by_own_passphrase(folder)
    theirs = json.loads((folder / SIGNATURE).read_bytes())
    (folder / SIGNATURE).write_text(json.dumps(ours | {"mac": theirs["mac"]}))


def rubbish(folder: Path) -> None:
    """Something that is no signature."""
    (folder / SIGNATURE).write_bytes(b"x" * 100_000)


FORGERIES: dict[str, tuple[Callable[[Path], None], str]] = {
    "stripped": (strip, "is not signed"),
    "left": (leave, "not of these contents"),
    "own passphrase": (sign_by_own_passphrase, "another passphrase"),
    "claimed": (claim_our_key, "not of these contents"),
    "rubbish": (rubbish, "too large"),
}
"""What can be done about the signature, and how each is refused."""
