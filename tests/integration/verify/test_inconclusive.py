"""Where a drill cannot tell, it says so, with what is missing and the mend: never a false alarm."""

from __future__ import annotations

import resource
import secrets
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from support.drilling import (
    SMALL,
    execute,
    scratch_databases,
    sessions_of_ours,
    verify_one,
)
from support.postgres import Database, PostgresServer, installation, running_server
from support.site import Site
from support.zoo import install_config_extension

NewSite = Callable[[], Site]


def unable(site: Site, *words: str) -> str:
    """Drill the one backup, which must be inconclusive; why."""
    drill = verify_one(site, *words, code=3)
    assert drill["result"] == "inconclusive"
    assert drill["differences"] == []
    return str(drill["reason"])


# --- keys ---------------------------------------------------------------------------------------


def test_another_passphrase(site: Site, tmp_path: Path) -> None:
    assert verify_one(site)["result"] == "proven"
    other = tmp_path / "passphrase"
    other.touch(0o600)
    other.write_text("correct horse, another staple\n")
    reason = unable(replace(site, encryption={"passphrase_file": str(other)}))
    assert "wrong passphrase" in reason
    assert "use the passphrase of that backup" in reason
    assert "staple" not in reason
    # What was proven stays so: the drill could not tell.
    (record,) = site.run("backup", "list", "--json", check=True).json
    assert record["proven"] is True


def test_no_passphrase_file(site: Site) -> None:
    site.passphrase.rename(site.root / "away")
    try:
        lost = replace(site, encryption={"passphrase_file": str(site.root / "nowhere")})
        assert "nowhere does not exist" in unable(lost)
    finally:
        (site.root / "away").rename(site.passphrase)


@pytest.fixture
def homes(tmp_path: Path) -> Iterator[tuple[Path, Path]]:
    """A GnuPG home with a key pair, and one with its public half alone."""
    both, public = tmp_path / "both", tmp_path / "public"
    for home in (both, public):
        home.mkdir(0o700)
    gpg = ["gpg", "--batch", "--quiet", "--passphrase", "", "--homedir"]
    new = ["--quick-generate-key", "ops@example.org", "default", "default", "never"]
    subprocess.run([*gpg, str(both), *new], check=True, capture_output=True)
    export = [*gpg, str(both), "--export", "ops@example.org"]
    key = subprocess.run(export, check=True, capture_output=True).stdout
    subprocess.run([*gpg, str(public), "--import"], input=key, check=True, capture_output=True)
    yield both, public
    for home in (both, public):
        subprocess.run(["gpgconf", "--homedir", home, "--kill", "all"], check=True)


def test_a_host_that_writes_backups_and_cannot_read_them(
    new_site: NewSite, homes: tuple[Path, Path]
) -> None:
    both, public = homes
    site = new_site()
    site.encryption = {"recipients": ["ops@example.org"], "homedir": str(public)}
    assert site.back_up().code == 0
    reason = unable(site)
    assert "secret key" in reason
    assert "gpg --import" in reason
    site.encryption["homedir"] = str(both)
    assert verify_one(site)["result"] == "proven"


# --- proof --------------------------------------------------------------------------------------


def test_without_a_fingerprint_a_restore_shows_little(new_site: NewSite) -> None:
    site = new_site()
    site.server = {"backup": {"proof": "none"}}
    assert site.back_up().result["proof"] == "none"
    assert "without a fingerprint (backup.proof: none, or it failed)" in unable(site)


def test_counts_alone_are_proof(new_site: NewSite) -> None:
    site = new_site()
    site.server = {"backup": {"proof": "counts"}}
    assert site.back_up().result["proof"] == "counts"
    drill = verify_one(site)
    assert (drill["result"], drill["tables"], drill["rows"]) == ("proven", 2, 2500)


def test_contents_that_fell_back_to_counts(
    new_site: NewSite, pg15: PostgresServer, fresh_database: Callable[..., Database]
) -> None:
    database = fresh_database(pg15)
    database.execute(SMALL, *(f"CREATE TABLE t{i} AS TABLE notes" for i in range(60)))
    site = replace(new_site(), dsn=database.dsn())
    site.server = {"backup": {"snapshot_max_age": "1ms"}}
    backup = site.back_up().result
    assert backup["proof"] == "counts"
    assert backup["warnings"]
    drill = verify_one(site)
    assert (drill["result"], drill["rows"]) == ("proven", 122_500)


# --- time and room --------------------------------------------------------------------------------


def test_too_late(site: Site) -> None:
    reason = unable(replace(site, server={"verify": {"timeout": "200ms"}}))
    assert reason == "the drill took longer than 0.2s; raise verify.timeout"


@pytest.fixture
def passable() -> Iterator[Path]:
    """A folder that whoever the scratch server runs as can go through; pytest's are ours alone."""
    with tempfile.TemporaryDirectory(prefix="drills-") as name:
        folder = Path(name)
        folder.chmod(0o711)
        yield folder


@pytest.mark.needs_root
def test_a_scratch_folder_on_a_small_disk(site: Site, passable: Path) -> None:
    small_disk = passable / "disk"
    small_disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=100m", "none", small_disk], check=True)
    try:
        small_disk.chmod(0o711)
        reason = unable(replace(site, server={"verify": {"scratch_dir": str(small_disk)}}))
        assert "needs" in reason
        assert "are free" in reason
        assert "another disk" in reason
        assert list(small_disk.iterdir()) == []
    finally:
        subprocess.run(["umount", small_disk], check=True)


def test_no_scratch_folder(site: Site, tmp_path: Path) -> None:
    nowhere = tmp_path / "nowhere"
    reason = unable(replace(site, server={"verify": {"scratch_dir": str(nowhere)}}))
    assert str(nowhere) in reason


@pytest.fixture(scope="module")
def wide(pg15: PostgresServer) -> Iterator[Database]:
    """One table of 40 MB, more than a file may have in the next test."""
    database = pg15.create_database()
    database.execute(
        "CREATE TABLE wide (g int, t text)",
        "ALTER TABLE wide ALTER t SET STORAGE EXTERNAL",
        "INSERT INTO wide SELECT g, repeat(md5(g::text), 60) FROM generate_series(1, 20000) g",
    )
    yield database
    pg15.drop_database(database.name)


def test_a_disk_that_runs_full_in_the_middle(wide: Database, new_site: NewSite) -> None:
    site = replace(new_site(), dsn=wide.dsn())
    assert site.back_up().code == 0

    def limit() -> None:
        # No disk to fill: the server is told that a file cannot grow beyond 24 MiB.
        resource.setrlimit(resource.RLIMIT_FSIZE, (24 << 20, 24 << 20))

    outcome = site.run("verify", "--json", preexec=limit)
    outcome.assert_clean()
    (drill,) = outcome.json
    assert (outcome.code, drill["result"]) == (3, "inconclusive")
    assert "no room left" in drill["reason"]
    assert "public.wide" in drill["reason"]


# --- extensions, roles, locales -------------------------------------------------------------------


def test_an_extension_that_no_server_here_offers(tmp_path: Path) -> None:
    with running_server(installation(18, from_wheel=True)) as server:
        install_config_extension(server)
        source = server.create_database()
        source.execute(
            "CREATE EXTENSION guardian_zoo",
            "INSERT INTO settings VALUES ('mine', 'kept', true)",
            "INSERT INTO everything VALUES (1), (2)",
        )
        site = Site(tmp_path / "site", source.dsn())
        assert site.back_up().code == 0
        reason = unable(site)
        assert "does not offer the extensions guardian_zoo" in reason
        assert "install" in reason
        # Where it is offered, the rows that its own script brings are there beside the restored.
        brought = "SELECT count(*) = 1 FROM settings WHERE name = 'default' AND NOT own"
        site.server = {
            "verify": {
                "scratch": server.uri(),
                "allow_source_server": True,
                "checks": [{"name": "brought rows stay", "sql": brought}],
            }
        }
        drill = verify_one(site, code=None)
        assert (drill["result"], drill["reason"]) == ("proven", None)
        assert scratch_databases(server) == []


def test_the_source_server_is_no_scratch(site: Site, small: Database) -> None:
    given = replace(site, server={"verify": {"scratch": small.server.uri()}})
    reason = unable(given)
    assert "is the server that the backup is of" in reason
    assert "allow_source_server" in reason
    assert scratch_databases(small.server) == []
    given.server["verify"]["allow_source_server"] = True
    assert verify_one(given)["result"] == "proven"
    assert scratch_databases(small.server) == []
    assert sessions_of_ours(small.server) == []


def test_roles_that_a_given_server_lacks(
    new_site: NewSite, pg15: PostgresServer, pg16: PostgresServer
) -> None:
    names = [f"r_{secrets.token_hex(4)} x" for _ in range(2)]
    source = pg15.create_database()
    try:
        for name in names:
            execute(pg15.dsn(), f'CREATE ROLE "{name}"')
        source.execute(SMALL, f'GRANT SELECT ON users TO "{names[0]}"')
        source.execute(f'ALTER TABLE notes OWNER TO "{names[1]}"')
        site = replace(new_site(), dsn=source.dsn())
        site.server = {"verify": {"scratch": pg16.uri()}}
        assert site.back_up().code == 0
        reason = unable(site)
        assert "lacks 2 roles" in reason
        for name in names:
            assert f'CREATE ROLE "{name}" NOLOGIN;' in reason
        assert scratch_databases(pg16) == []
        # The mend works as it is written, and an embedded server needs none.
        execute(pg16.dsn(), reason.split("create them there: ")[1])
        assert verify_one(site)["result"] == "proven"
        assert verify_one(replace(site, server={}))["result"] == "proven"
    finally:
        pg15.drop_database(source.name)
        for server in (pg15, pg16):
            for name in names:
                execute(server.dsn(), f'DROP ROLE IF EXISTS "{name}"')


def test_a_locale_that_the_scratch_server_lacks_is_told_and_does_no_harm(
    new_site: NewSite, pg15: PostgresServer, pg18: PostgresServer
) -> None:
    options = "TEMPLATE template0 LOCALE_PROVIDER icu ICU_LOCALE 'de-u-ks-level2'"
    source = pg15.create_database(options=options)
    try:
        source.execute(SMALL, "CREATE INDEX names ON users (name)")
        site = replace(new_site(), dsn=source.dsn())
        assert site.back_up().code == 0
        faithful = site.run("verify")
        assert faithful.code == 0, faithful.err
        assert "locale" not in faithful.out + faithful.err
        site.server = {"verify": {"scratch": pg18.uri()}}
        outcome = site.run("verify")
        assert outcome.code == 0, outcome.err
        assert "proven" in outcome.out
        assert "the source's locale icu" in outcome.out + outcome.err
        assert "C is used" in outcome.out + outcome.err
        # With the caveat a check that fails may come of it.
        site.server["verify"]["checks"] = [{"name": "no", "sql": "SELECT false"}]
        reason = unable(site)
        assert "this may be the cause: the source's locale icu" in reason
    finally:
        pg15.drop_database(source.name)


# --- majors and places ----------------------------------------------------------------------------


def test_an_older_server_is_no_scratch(
    new_site: NewSite, pg15: PostgresServer, pg16: PostgresServer
) -> None:
    source = pg16.create_database()
    try:
        source.execute(SMALL)
        site = replace(new_site(), dsn=source.dsn())
        assert site.back_up().code == 0
        site.server = {"verify": {"scratch": pg15.uri()}}
        reason = unable(site)
        assert "the scratch server is PostgreSQL 15, the backup is of PostgreSQL 16" in reason
    finally:
        pg16.drop_database(source.name)


def test_a_scratch_server_that_is_away(site: Site) -> None:
    away = "postgresql://me:s3cret@127.0.0.1:1/postgres"
    given = replace(site, server={"verify": {"scratch": away}})
    reason = unable(given)
    assert "127.0.0.1" in reason
    assert "s3cret" not in reason


def test_a_scratch_server_where_we_may_make_nothing(
    site: Site, pg16: PostgresServer, fresh_role: Callable[..., object]
) -> None:
    role = fresh_role(pg16)
    given = replace(site, server={"verify": {"scratch": pg16.uri(role=role)}})  # type: ignore[arg-type]
    reason = unable(given)
    assert "permission denied to create database" in reason
    assert "CREATEDB" in reason


def test_nothing_is_left_behind(site: Site, passable: Path) -> None:
    """After a drill that was too late as after any other."""
    changed = replace(site, environ={"TMPDIR": str(passable)})
    assert verify_one(changed)["result"] == "proven"
    unable(replace(changed, server={"verify": {"timeout": "200ms"}}))
    assert list(passable.iterdir()) == []
