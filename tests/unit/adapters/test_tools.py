"""Choosing PostgreSQL's programs: a matter of versions, without any program."""

from __future__ import annotations

from pathlib import Path

import pytest

from guardian.adapters.postgres.tools import (
    Installation,
    choose_client,
    choose_server,
    parse_version,
)
from guardian.errors import Cause, VersionMismatchError


def installed(version: str, **changes) -> Installation:
    parsed = parse_version(f"pg_dump (PostgreSQL) {version}")
    assert parsed is not None
    facts = {"has_client": True, "has_server": True, **changes}
    return Installation(Path(f"/pg/{version}/bin"), *parsed, **facts)


@pytest.mark.parametrize(
    ("printed", "version", "number"),
    [
        ("pg_dump (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)", "15.18", 150018),
        ("postgres (PostgreSQL) 18.4\n", "18.4", 180004),
        ("pg_dump (PostgreSQL) 18beta1", "18beta1", 180000),
        ("pg_dump (PostgreSQL) 19devel", "19devel", 190000),
        ("pg_dump (PostgreSQL) 9.6.24", "9.6.24", 90624),
        ("psql (PostgreSQL) 17.2 (Homebrew)", "17.2", 170002),
    ],
)
def test_versions_as_every_platform_prints_them(printed, version, number):
    assert parse_version(printed) == (version, number)


@pytest.mark.parametrize("printed", ["", "pg_dump 15.1", "Error: no cluster", "(PostgreSQL) x"])
def test_anything_else_is_no_version(printed):
    assert parse_version(printed) is None


def test_the_newest_that_is_at_least_the_servers_major():
    everything = [installed("14.9"), installed("16.3"), installed("18.4"), installed("16.14")]

    assert choose_client(160014, everything).version == "18.4"
    assert choose_client(180099, everything).version == "18.4"  # an older minor is fine


def test_the_closest_on_request_and_its_newest_minor():
    everything = [installed("14.9"), installed("16.3"), installed("18.4"), installed("16.14")]

    assert choose_client(150001, everything, closest=True).version == "16.14"
    assert choose_client(140001, everything, closest=True).version == "14.9"


def test_a_beta_only_where_no_release_will_do():
    everything = [installed("17.5"), installed("18beta1")]

    assert choose_client(170000, everything).version == "17.5"
    assert choose_client(180000, everything).version == "18beta1"


def test_a_release_comes_after_its_own_beta():
    assert choose_client(170000, [installed("18beta1"), installed("18.0")]).version == "18.0"


def test_before_ten_the_first_two_numbers_are_the_major():
    nine = [installed("9.5.25"), installed("9.6.24")]

    assert choose_client(90600, nine).version == "9.6.24"
    with pytest.raises(VersionMismatchError):
        choose_client(90600, nine[:1])


def test_half_an_installation_is_not_chosen():
    halves = [installed("18.4", has_client=False), installed("16.3", has_server=False)]

    assert choose_client(150000, halves).version == "16.3"
    assert choose_server(15, halves).version == "18.4"


def test_all_too_old_names_what_was_found_and_the_server():
    with pytest.raises(VersionMismatchError) as caught:
        choose_client(180003, [installed("15.18"), installed("16.14")])

    assert caught.value.cause is Cause.VERSION_MISMATCH
    for part in ("15.18 in /pg/15.18/bin", "16.14 in /pg/16.14/bin", "PostgreSQL 18.3"):
        assert part in caught.value.message
    assert caught.value.mend is not None
    assert "18" in caught.value.mend


def test_none_at_all_says_so_and_what_to_install():
    with pytest.raises(VersionMismatchError, match=r"no PostgreSQL client tools .*18"):
        choose_client(180003, [])
    with pytest.raises(VersionMismatchError, match=r"no PostgreSQL server programs .*17"):
        choose_server(17, [])


@pytest.mark.parametrize(
    ("manager", "mend"),
    [
        ("apt-get", "apt-get install postgresql-client-17"),
        ("dnf", "dnf install postgresql17"),
        ("apk", "apk add postgresql17-client"),
        ("brew", "brew install postgresql@17"),
        (None, "PostgreSQL 17 or later"),
    ],
)
def test_the_mend_speaks_the_platforms_language(manager, mend, monkeypatch, tmp_path):
    if manager:
        (tmp_path / manager).write_text("#!/bin/sh\n")
        (tmp_path / manager).chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))

    with pytest.raises(VersionMismatchError) as caught:
        choose_client(170000, [])

    assert mend in str(caught.value)


def test_a_server_of_the_system_comes_before_the_wheels_newer_one():
    system, wheel = installed("15.18"), installed("18.4", from_wheel=True)

    assert choose_server(15, [wheel, system]) is system
    assert choose_server(16, [wheel, system]) is wheel
    with pytest.raises(VersionMismatchError, match=r"15\.18 in .*18\.4 in"):
        choose_server(19, [system, wheel])
