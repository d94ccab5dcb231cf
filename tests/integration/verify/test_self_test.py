"""``guardian verify --self-test`` as people run it: real servers, real keys, a real bucket."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from support.drilling import create_demo, ensure_roles, gone, scratch_databases
from support.postgres import PostgresServer
from support.rebuilding import s3_section
from support.s3 import RcloneS3
from support.site import Site, descendants, interrupt_when, snapshot_of
from support.zoo import create_zoo, drop_database

LOGICAL = {
    "a row lost": "table",
    "a row changed": "table",
    "a table missing": "table",
    "an index missing": "index",
    "a sequence behind": "sequence",
    "a swapped fingerprint": "fingerprint",
}
BROKEN = "import guardian.verify.drill as drill; drill.compare = lambda *a, **k: ()"
"""A comparison that finds nothing."""


@pytest.fixture(scope="module")
def gnupg() -> Iterator[Path]:
    """A home with a key pair; short, for the agent's socket lies in it."""
    with tempfile.TemporaryDirectory(prefix="g-") as name:
        home = Path(name)
        home.chmod(0o700)
        command = ["gpg", "--homedir", name, "--batch", "--passphrase", ""]
        key = ["--quick-generate-key", "self-test@example.org", "default", "default", "never"]
        subprocess.run([*command, *key], check=True, capture_output=True)
        yield home
        subprocess.run(["gpgconf", "--homedir", name, "--kill", "all"], check=True)


@pytest.fixture
def scratch() -> Iterator[Path]:
    """A folder that the user whom servers step down to can reach."""
    with tempfile.TemporaryDirectory(prefix="guardian-test-") as name:
        Path(name).chmod(0o755)
        yield Path(name)


def self_test(site: Site, *words: str, code: int) -> list[dict[str, Any]]:
    outcome = site.run("verify", "--self-test", "--json", *words)
    outcome.assert_clean()
    assert outcome.code == code, outcome.out + outcome.err
    return list(outcome.json)


FORGED = {
    "a forged manifest": "unrestorable",
    "a manifest without its signature": "unrestorable",
    "another backup's signed manifest": "unrestorable",
    "a forged record of a drill": "refused",
    "a forged pin": "refused",
}


def assert_all_caught(trials: list[dict[str, Any]], *, signed: bool) -> None:
    assert [one for one in trials if not one["caught"]] == []
    forged = {one["damage"]: one["result"] for one in trials if one["damage"] in FORGED}
    assert forged == (FORGED if signed else {})
    undamaged, *damaged = [one for one in trials if one["damage"] not in FORGED]
    assert undamaged["result"] == "proven"
    assert {one["result"] for one in damaged} == {"unrestorable", "inconclusive", "mismatch"}
    logical = {one["damage"]: one["part"] for one in damaged if one["result"] == "mismatch"}
    assert {damage: part.split(" ")[0] for damage, part in logical.items()} == LOGICAL
    assert [one["damage"] for one in damaged if one["result"] == "inconclusive"] == ["wrong key"]
    assert len(damaged) == 24


def test_the_demo_with_keys_in_a_folder_on_a_given_server(
    pg15: PostgresServer, pg18: PostgresServer, gnupg: Path, tmp_path: Path
) -> None:
    database = create_demo(pg15, "self_demo")
    site = Site(tmp_path / "site", database.dsn())
    site.encryption = {"recipients": ["self-test@example.org"], "homedir": str(gnupg)}
    site.server = {"verify": {"scratch": pg18.dsn()}}
    ensure_roles(pg18, "mina_app", "mina_read")
    assert site.back_up().code == 0
    before, listed = snapshot_of(site.store), site.listed()
    try:
        assert_all_caught(self_test(site, code=0), signed=False)
    finally:
        pg15.drop_database(database.name)
    assert snapshot_of(site.store) == before
    assert site.listed() == listed
    (backup,) = site.run("backup", "list", "--json").json
    assert backup["proven"] is None  # a self-test proves the drill, not the backup
    assert scratch_databases(pg18) == []


@pytest.mark.takes_long
def test_the_zoo_with_a_passphrase_in_a_bucket_on_a_server_of_its_own(
    pg18: PostgresServer, rclone_s3: RcloneS3, tmp_path: Path, scratch: Path
) -> None:
    database = create_zoo(pg18, 'self "zoo" %s')
    bucket = rclone_s3.new_bucket("self-test")
    site = Site(tmp_path / "site", database.dsn(), stores={"s3": s3_section(rclone_s3, bucket)})
    site.server = {"verify": {"scratch_dir": str(scratch)}}
    try:
        assert site.back_up().code == 0
        before = snapshot_of(rclone_s3.root / bucket)
        assert_all_caught(self_test(site, code=0), signed=True)
        assert snapshot_of(rclone_s3.root / bucket) == before
        assert list(scratch.iterdir()) == []
    finally:
        drop_database(pg18, database.name)


def test_a_drill_that_compares_nothing_is_found_out(site: Site) -> None:
    """With its exit code, and said aloud."""
    start = f"{BROKEN}; from guardian.cli.main import main; main()"
    words = ["--config", str(site.config), "verify", "--self-test"]
    done = subprocess.run(
        [sys.executable, "-c", start, *words],
        env=site.environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1, done.stderr
    assert "THE DRILL MISSED DAMAGE" in done.stderr
    assert "report it" in done.stderr
    missed = [line for line in done.stdout.splitlines() if " missed " in line]
    assert [damage for damage in LOGICAL if any(damage in line for line in missed)] == [
        damage
        for damage in LOGICAL
        if damage != "a sequence behind"  # it has no sequence
    ]
    assert "about " in done.stderr  # how long it will take
    assert "1 of 29" in done.stderr


def test_a_guardian_that_believes_every_signature_is_found_out(site: Site) -> None:
    """Each forgery is missed, but for the manifest that names another backup itself."""
    believing = "import guardian.adapters.stores.signed as signed"
    believing += "; signed.SignedStore._judge = lambda *_: None"
    start = f"{believing}; from guardian.cli.main import main; main()"
    words = ["--config", str(site.config), "verify", "--self-test", "--json"]
    done = subprocess.run(
        [sys.executable, "-c", start, *words],
        env=site.environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1, done.stderr
    found = {
        one["damage"]: one["result"] for one in json.loads(done.stdout) if one["caught"] is False
    }
    # The catalog knows the manifest, so the drill itself still sees that it is another one.
    assert found == {
        "a forged manifest": "unrestorable",
        "a manifest without its signature": "unrestorable",
        "a forged record of a drill": "believed",
        "a forged pin": "believed",
    }


def test_a_backup_without_a_fingerprint_leaves_it_without_an_answer(
    new_site: Callable[[], Site],
) -> None:
    site = new_site()
    site.server = {"backup": {"proof": "none"}}
    assert site.back_up().code == 0
    outcome = site.run("verify", "--self-test")
    assert outcome.code == 3
    assert "inconclusive as it is, so a self-test cannot tell anything" in outcome.out


def test_a_scratch_folder_that_cannot_be_used_leaves_it_without_an_answer(
    new_site: Callable[[], Site], tmp_path: Path
) -> None:
    site = new_site()
    assert site.back_up().code == 0
    site.server = {"verify": {"scratch_dir": str(tmp_path / "missing")}}
    assert self_test(site, code=3) == []


def test_interrupted_it_leaves_nothing_behind(new_site: Callable[[], Site], scratch: Path) -> None:
    site = new_site()
    site.server = {"verify": {"scratch_dir": str(scratch)}}
    assert site.back_up().code == 0
    before = snapshot_of(site.store)
    process = site.start("verify", "--self-test")
    children: list[int] = []

    def a_copy_is_backed_up() -> bool:
        children[:] = descendants(process.pid) or children
        return any(scratch.glob("*/self-test/store/main/*/*/*"))

    outcome = interrupt_when(process, a_copy_is_backed_up, signal.SIGINT)
    assert outcome.code == 130
    outcome.assert_clean()
    assert list(scratch.iterdir()) == []
    assert gone(children) == []
    assert snapshot_of(site.store) == before
    assert site.run("backup", "prune", "--json").code == 0  # no lease is left
