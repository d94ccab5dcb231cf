"""Arguments for initdb by major, and the socket's limits."""

from __future__ import annotations

from pathlib import Path

import pytest

from guardian.adapters.scratch.cluster import ClusterOptions, quoted
from guardian.adapters.scratch.embedded import _start_error
from guardian.adapters.scratch.folder import fits_socket
from guardian.adapters.scratch.stepdown import choose_runner, plain_environment
from guardian.errors import Cause, ScratchError


def test_by_default_utf8_with_the_plain_locale_as_the_last_resort():
    choices = ClusterOptions().arguments(16)

    assert [choice[-1] for choice in choices] == ["--locale=C.UTF-8", "--locale=C"]
    assert all("--encoding=UTF8" in choice for choice in choices)
    assert all("--locale-provider=libc" in choice for choice in choices)


def test_the_built_in_locale_stands_between_them_since_17():
    (_, builtin, _) = ClusterOptions().arguments(17)

    assert builtin[-3:] == ["--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--locale=C"]


def test_a_wanted_locale_has_no_substitute():
    (only,) = ClusterOptions(collate="de_DE.utf8", ctype="C").arguments(18)

    assert {"--lc-collate=de_DE.utf8", "--lc-ctype=C", "--locale=C"} <= set(only)


def test_icu_names_its_locale():
    (only,) = ClusterOptions(provider="icu", provider_locale="und").arguments(15)

    assert {"--locale-provider=icu", "--icu-locale=und"} <= set(only)


def test_before_15_there_is_no_provider_to_name():
    assert not any("provider" in word for word in ClusterOptions().arguments(14)[0])


@pytest.mark.parametrize(
    ("wanted", "major", "there", "missing"),
    [
        (False, 17, None, "--no-data-checksums"),  # unknown to it
        (False, 18, "--no-data-checksums", "--data-checksums"),
        (True, 15, "--data-checksums", "--no-data-checksums"),
        (True, 18, "--data-checksums", "--no-data-checksums"),
    ],
)
def test_checksums_whatever_the_majors_default(wanted, major, there, missing):
    words = ClusterOptions(data_checksums=wanted).arguments(major)[0]

    assert there is None or there in words
    assert missing not in words


def test_values_for_the_configuration_file():
    assert quoted(r"it's C:\x") == r"'it''s C:\\x'"


@pytest.mark.parametrize(
    ("folder", "fits"),
    [
        ("/tmp/" + "x" * 83, True),
        ("/tmp/" + "x" * 84, False),
        ("/tmp/" + "ü" * 41, True),  # bytes count, not letters
        ("/tmp/" + "ü" * 42, False),
        ("/tmp/a,b", False),  # libpq reads a list of hosts
        ('/tmp/a"b', False),
        ("/tmp/a b", True),
    ],
)
def test_which_folders_can_hold_a_socket(folder, fits):
    assert fits_socket(Path(folder)) is fits


def test_root_steps_down_to_postgres_else_nobody():
    both = {"postgres": (101, 104), "nobody": (65534, 65534)}

    assert choose_runner(0, both).name == "postgres"
    assert choose_runner(0, {"nobody": (65534, 65534)}).identity == {
        "user": 65534,
        "group": 65534,
        "extra_groups": [],
    }
    with pytest.raises(ScratchError, match="useradd"):
        choose_runner(0, {})


def test_a_user_postgres_that_is_root_by_another_name_will_not_do():
    assert choose_runner(0, {"postgres": (0, 0), "nobody": (65534, 65534)}).name == "nobody"


def test_anybody_else_stays_who_they_are():
    runner = choose_runner(12345)

    assert not runner.steps_down
    assert runner.identity == {}
    assert runner.name == "12345"


def test_secrets_of_ours_do_not_reach_server_programs(monkeypatch):
    for name in ("PGPASSWORD", "AWS_SECRET_ACCESS_KEY", "PGDATA"):
        monkeypatch.setenv(name, "secret")

    assert "secret" not in plain_environment().values()
    assert plain_environment()["LC_ALL"] == "C"


def test_a_full_disk_is_told_apart_from_other_failures():
    full = _start_error("initdb", 'could not write "base/1": No space left on device')

    assert full.cause is Cause.DISK_FULL
    assert _start_error("initdb", "out of memory").cause is Cause.UNKNOWN
