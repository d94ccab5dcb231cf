"""Backups for public keys, signed by a key; hosts that cannot sign; and the check by hand."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
from pathlib import Path

import pytest
from support.forging import MANIFEST, SIGNATURE, Intruder, Scene, strip
from support.keys import Homes
from support.rebuilding import RebuildSite, assert_failed

LATER = "20991123T020000Z-00000a"


@pytest.fixture
def keyed(scene: Scene, home: Homes) -> tuple[RebuildSite, Homes, str]:
    """The same site without any backup, encrypting for one key and signing with another."""
    site = scene.site
    site.site.stores.pop("offsite")
    site.site.stores["local"]["path"] += "-keyed"
    site.lose_the_catalog()
    reader = home.make_key("Reader <reader@example.org>")
    writer = home.make_key("Writer <writer@example.org>", "sign")
    site.site.encryption = {
        "recipients": [reader],
        "homedir": str(home.path),
        "sign_with": writer,
    }
    return site, home, writer


def intruder_of(site: RebuildSite) -> Intruder:
    return Intruder(Path(site.site.stores["local"]["path"]))


def doctor(site: RebuildSite) -> str:
    return site.attempt("doctor", "--json").out


def by_hand(folder: Path, **environ: str) -> subprocess.CompletedProcess[str]:
    """RESTORE.txt's own lines of the second step, as they stand."""
    step = re.split(r"^\d\. ", (folder / "RESTORE.txt").read_text(), flags=re.MULTILINE)[2]
    lines = step[step.index('They must end with "good".') :].split("\n", 1)[1]
    return subprocess.run(
        ["bash", "-e", "-o", "pipefail", "-c", lines],
        cwd=folder,
        env={**os.environ, **environ},
        capture_output=True,
        text=True,
        check=False,
    )


def test_forged_stripped_and_moved_manifests_are_refused(
    keyed: tuple[RebuildSite, Homes, str],
) -> None:
    """In recipients mode anybody can encrypt for the public key: the signature alone tells."""
    site, home, writer = keyed
    backup = site.back_up()
    assert site.run("backup", "show", backup)["signed"] == "yes"
    intruder = intruder_of(site)
    folder = intruder.forge(backup, LATER, snapshot_at="2026-11-27T00:00:00Z")
    mallory = home.make_key("Mallory <mallory@example.org>", "sign")
    words = ["--local-user", mallory, "--armor", "--detach-sign"]
    theirs = home.gpg(*words, data=(folder / MANIFEST).read_bytes()).stdout
    for signature, why in (
        (None, "is forged or damaged"),
        (theirs, f"does not count: {mallory}"),
        (b"", "none of guardian's"),
        (b"strip", "is not signed"),
    ):
        if signature == b"strip":
            strip(folder)
        elif signature is not None:
            (folder / SIGNATURE).write_bytes(signature)
        assert_failed(site.attempt("backup", "list", "--store", "local"), LATER, why)
        assert_failed(site.attempt("backup", "prune"), LATER, why)
        site.lose_the_catalog()
        document = site.rebuild(code=1)
        assert any(LATER in one and why in one for one in document["problems"])
        assert [item["id"] for item in site.run("backup", "list")] == [backup]
    assert writer in intruder.manifest(backup)["signature"]


def test_another_host_checks_with_the_public_key_alone(
    keyed: tuple[RebuildSite, Homes, str],
) -> None:
    site, home, writer = keyed
    backup = site.back_up()
    other = Homes()
    try:
        other.take(home, site.site.encryption["recipients"][0])
        site.site.encryption["homedir"] = str(other.path)
        del site.site.encryption["sign_with"]
        site.site.encryption["signed_by"] = [writer]
        site.lose_the_catalog()
        document = site.rebuild(code=1)
        assert any("--import the-public-key" in one for one in document["problems"])
        other.take(home, writer)
        site.rebuild()
        assert [item["id"] for item in site.run("backup", "list")] == [backup]
        assert "nothing that this host writes is signed" in doctor(site)
    finally:
        other.remove()


def test_an_expired_or_missing_key_is_told_before_anything_is_dumped(
    keyed: tuple[RebuildSite, Homes, str],
) -> None:
    site, home, _ = keyed
    old = home.make_key("Old <old@example.org>", "sign", "1y")
    for key, why in ((old, "has expired"), ("AB" * 20, "is not in")):
        site.site.encryption["sign_with"] = key
        outcome = site.site.run("backup", "now", "--json")
        assert outcome.code == 1
        assert outcome.result["error"]["cause"] == "encryption"
        assert key in outcome.result["error"]["message"]
        assert why in outcome.result["error"]["message"]
        assert outcome.result["error"]["mend"]
        assert not list(intruder_of(site).root.rglob("*.gpg"))
        assert why in doctor(site)


def test_a_host_that_cannot_sign_works_and_doctor_says_so(
    keyed: tuple[RebuildSite, Homes, str],
) -> None:
    site, _, _ = keyed
    del site.site.encryption["sign_with"]
    backup = site.back_up()
    intruder = intruder_of(site)
    assert intruder.manifest(backup)["signature"] is None
    assert not list(intruder.root.rglob("*.sig"))
    assert "signature" not in (intruder.folder(backup) / "RESTORE.txt").read_text()
    assert site.run("backup", "show", backup)["signed"] == "no"
    site.lose_the_catalog()
    site.rebuild()
    assert [item["id"] for item in site.run("backup", "list")] == [backup]
    assert "encryption.sign_with" in doctor(site)


def test_by_hand_with_gpg(keyed: tuple[RebuildSite, Homes, str]) -> None:
    site, home, writer = keyed
    folder = intruder_of(site).folder(site.back_up())
    done = by_hand(folder, GNUPGHOME=str(home.path))
    assert (done.returncode, done.stdout) == (0, "good\n"), done.stderr
    assert writer in (folder / "RESTORE.txt").read_text()
    manifest = (folder / MANIFEST).read_bytes()
    (folder / MANIFEST).write_bytes(manifest.replace(b'"main"', b'"mein"'))
    assert by_hand(folder, GNUPGHOME=str(home.path)).returncode != 0
    (folder / MANIFEST).write_bytes(manifest)
    notes = (folder / "RESTORE.txt").read_text()
    (folder / "RESTORE.txt").write_text(notes + "rm -rf /nowhere\n")
    done = by_hand(folder, GNUPGHOME=str(home.path))
    assert (done.returncode != 0, done.stdout) == (True, "")


def test_by_hand_with_the_passphrase(scene: Scene) -> None:
    folder = scene.local.folder(scene.newer)
    secret = shlex.quote(str(scene.site.site.passphrase)).strip("'")
    done = by_hand(folder, PASSPHRASE_FILE=secret)
    assert (done.returncode, done.stdout) == (0, "good\n"), done.stderr
    manifest = (folder / MANIFEST).read_bytes()
    (folder / MANIFEST).write_bytes(manifest.replace(b'"main"', b'"mein"'))
    done = by_hand(folder, PASSPHRASE_FILE=secret)
    assert done.returncode != 0
    assert "FORGED" in done.stderr
    (folder / MANIFEST).write_bytes(manifest)
    (folder / "RESTORE.txt").write_text((folder / "RESTORE.txt").read_text() + "\n")
    assert "FORGED" in by_hand(folder, PASSPHRASE_FILE=secret).stderr


def test_doctor_signs_and_checks(scene: Scene) -> None:
    assert "hmac-sha256; signed and checked" in doctor(scene.site)
    scene.site.site.encryption["require_signed"] = False
    assert "require_signed: false" in doctor(scene.site)
