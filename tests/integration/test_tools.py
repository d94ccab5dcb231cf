"""Finding the PostgreSQL programs that are really there, and those that only seem to be."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from support.identity import in_a_child

from guardian.adapters.postgres.tools import choose_client, find_installations
from guardian.errors import VersionMismatchError


def fake(bindir: Path, version: str, *, tools: str = "pg_dump pg_restore pg_dumpall psql") -> Path:
    """Programs that answer --version, each call noted in a file beside them."""
    bindir.mkdir(parents=True, exist_ok=True)
    for tool in tools.split():
        path = bindir / tool
        path.write_text(
            f'#!/bin/sh\necho "$0" >> "{bindir}/calls"\necho "{tool} (PostgreSQL) {version}"\n'
        )
        path.chmod(0o755)
    return bindir


def test_debians_and_the_wheels_are_found_with_their_real_versions():
    found = {one.major: one for one in find_installations()}

    assert {15, 16, 18} <= set(found)
    assert found[15].bindir == Path("/usr/lib/postgresql/15/bin")
    assert not found[15].from_wheel
    assert found[16].from_wheel
    assert found[18].from_wheel
    for one in found.values():
        printed = subprocess.check_output([one.tool("psql"), "--version"], text=True)
        assert f"(PostgreSQL) {one.version}" in printed
        assert one.has_client
        assert one.has_server


def test_each_place_counts_once_and_the_newest_is_first(monkeypatch):
    monkeypatch.setenv("PATH", "/usr/lib/postgresql/15/bin:/usr/bin:/usr/lib/postgresql/15/bin")
    found = find_installations()

    assert len({one.bindir for one in found}) == len(found)
    assert [one.version_num for one in found] == sorted(
        (one.version_num for one in found), reverse=True
    )


def test_on_the_path_past_links_and_past_debians_wrapper(monkeypatch, tmp_path):
    real = fake(tmp_path / "opt" / "bin", "17.2")
    links = tmp_path / "links"
    links.mkdir()
    (links / "pg_dump").symlink_to(real / "pg_dump")
    wrapped = fake(tmp_path / "wrapped", "17.9", tools="pg_wrapper pg_restore pg_dumpall psql")
    (wrapped / "pg_dump").symlink_to("pg_wrapper")
    monkeypatch.setenv("PATH", f"{wrapped}:{links}:{tmp_path}/missing")

    bindirs = {one.bindir for one in find_installations()}

    assert real in bindirs
    assert wrapped not in bindirs
    assert links not in bindirs


def test_the_servers_own_tools_are_found_without_any_path(monkeypatch):
    monkeypatch.setenv("PATH", "")

    assert choose_client(150000, closest=True).bindir == Path("/usr/lib/postgresql/15/bin")


def test_only_the_given_folders_when_some_are_given(tmp_path):
    only = fake(tmp_path / "16", "16.1")

    assert [one.bindir for one in find_installations([only, tmp_path / "none"])] == [only]
    with pytest.raises(VersionMismatchError, match=r"16\.1 in .*PostgreSQL 18\.0"):
        choose_client(180000, find_installations([only]))


def test_programs_that_do_not_run_are_left_out_and_logged(tmp_path, caplog):
    broken = fake(tmp_path / "broken", "18.1")
    (broken / "pg_dump").write_text("#!/bin/sh\necho 'libpq.so.5: cannot open' >&2\nexit 127\n")
    foreign = fake(tmp_path / "foreign", "18.1")
    (foreign / "pg_dump").write_bytes(b"\x7fELF\x02\x01\x01")
    halved = fake(tmp_path / "halved", "18.1", tools="pg_dump psql")
    not_for_us = fake(tmp_path / "plain", "18.1")
    (not_for_us / "psql").chmod(0o644)

    assert find_installations([broken, foreign, halved, not_for_us]) == ()
    assert "cannot open" in caplog.text
    assert str(foreign / "pg_dump") in caplog.text


def test_a_version_is_asked_once_until_the_file_changes(tmp_path):
    bindir = fake(tmp_path / "bin", "17.1")
    for _ in range(3):
        (one,) = find_installations([bindir])
        assert one.version == "17.1"
    assert (bindir / "calls").read_text().count("pg_dump") == 1

    fake(bindir, "17.10")  # an upgrade in place
    (one,) = find_installations([bindir])
    assert one.version == "17.10"


@pytest.mark.needs_root
def test_a_host_short_of_processes_for_a_moment_has_its_tools_afterwards(tmp_path, monkeypatch):
    """A daemon lives for months: what could not be started once is not left out for good."""
    bindir = fake(tmp_path / "bin", "17.5")

    def refuse(*_args: object, **_named: object) -> None:
        raise BlockingIOError(11, "Resource temporarily unavailable")

    with monkeypatch.context() as short:
        short.setattr(subprocess, "run", refuse)
        assert find_installations([bindir]) == ()

    def die(*_args: object, **_named: object) -> subprocess.CompletedProcess[str]:
        return subprocess.CompletedProcess("pg_dump", -9, "", "")

    with monkeypatch.context() as short:
        short.setattr(subprocess, "run", die)
        assert find_installations([bindir]) == ()

    (found,) = find_installations([bindir])
    assert found.version == "17.5"


def test_a_folder_on_the_path_that_is_closed_to_us_is_passed_over(monkeypatch, tmp_path):
    fake(tmp_path / "closed", "17.2").chmod(0o700)
    monkeypatch.setenv("PATH", f"{tmp_path}/closed:/usr/bin")

    def look() -> None:
        assert 15 in {one.major for one in find_installations()}

    in_a_child("nobody", look)


def test_a_loop_of_links_is_no_installation(tmp_path):
    (tmp_path / "bin").symlink_to(tmp_path / "bin")

    assert find_installations([tmp_path / "bin"]) == ()
