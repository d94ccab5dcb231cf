"""What the file's values mean: variables, files, defaults, YAML 1.2, durations and sizes."""

from datetime import timedelta
from pathlib import Path

import pytest


def dsn(config) -> str:
    return config.servers["main"].dsn.get_secret_value()


@pytest.mark.parametrize(
    ("text", "environ", "expected"),
    [
        ("${X}", {"X": "host=a"}, "host=a"),
        ("host=${X} user=${Y}", {"X": "a", "Y": "b"}, "host=a user=b"),
        ("host=${X:-b}", {}, "host=b"),
        ("host=${X:-b}", {"X": "a"}, "host=a"),
        ("host=$${X}", {"X": "a"}, "host=${X}"),
        ("host=$X", {"X": "a"}, "host=$X"),
        ("${X}", {"X": "host=${Y}"}, "host=${Y}"),  # a value is never looked into
        ("${X}", {"X": "a: [b, *c"}, "a: [b, *c"),
    ],
)
def test_variables(load, good: str, text: str, environ: dict[str, str], expected: str) -> None:
    assert dsn(load(good.replace("postgresql://db.example/mina", f"'{text}'"), **environ)) == (
        expected
    )


@pytest.mark.parametrize(
    ("text", "words"), [("${X}", ["X", "not set"]), ("${X Y}", ["${X Y}"]), ("${X", ["${X"])]
)
def test_a_variable_that_is_not_there(problems, good: str, text: str, words: list[str]) -> None:
    (found,) = problems(good.replace("postgresql://db.example/mina", f"'{text}'"))
    assert found.startswith("guardian.yaml:6:")
    for word in words:
        assert word in found


def test_a_number_may_come_from_a_variable(load, good: str) -> None:
    config = load(good + "    backup: {attempts: '${N}', timeout: '${T}'}\n", N="7", T="2m")
    assert config.servers["main"].backup.attempts == 7
    assert config.servers["main"].backup.timeout == timedelta(minutes=2)


def test_a_value_from_a_file(load, good: str, tmp_path: Path) -> None:
    (tmp_path / "dsn").write_text("host=from-file\n")
    text = good.replace("dsn: postgresql://db.example/mina", "dsn_file: dsn")
    assert dsn(load(text)) == "host=from-file"
    absolute = text.replace("dsn_file: dsn", "dsn_file: ${D}/dsn")
    assert dsn(load(absolute, D=str(tmp_path))) == "host=from-file"


@pytest.mark.parametrize("kind", ["missing", "empty", "blank", "binary", "folder"])
def test_a_file_that_gives_no_value(problems, good: str, tmp_path: Path, kind: str) -> None:
    file = tmp_path / "dsn"
    if kind == "folder":
        file.mkdir()
    elif kind != "missing":
        file.write_bytes({"empty": b"", "blank": b" \n", "binary": b"\xff\xfe\xff"}[kind])
    (found,) = problems(good.replace("dsn: postgresql://db.example/mina", "dsn_file: dsn"))
    assert found.startswith("guardian.yaml:6:")
    assert "dsn" in found


def test_a_value_and_its_file_exclude_each_other(problems, good: str, tmp_path: Path) -> None:
    (tmp_path / "dsn").write_text("host=x")
    (found,) = problems(good + "    dsn_file: dsn\n")
    assert found.startswith("guardian.yaml:7:")
    assert "dsn_file" in found


@pytest.mark.parametrize(
    "text", ["yes", "on", "no", "off", "09:00", "0o17", "0x1F", "=", "1:20", "1_000"]
)
def test_words_that_yaml_1_1_takes_for_something_else(load, good: str, text: str) -> None:
    config = load(good + f"    databases: [{text}]\n")
    assert config.servers["main"].databases == [text]


def test_a_time_of_day_needs_no_quotes(load, good: str) -> None:
    config = load(good + "escalation: {business_hours: {from: 08:30, to: 19:00}}\n")
    assert config.escalation.business_hours is not None
    assert config.escalation.business_hours.from_ == "08:30"


def test_defaults_lie_beneath_each_server(load, good: str) -> None:
    config = load(
        good
        + "    backup: {attempts: 9}\n"
        + "    databases: [mine]\n"
        + "  other: {dsn: postgresql://o/o}\n"
        + "defaults:\n"
        + "  databases: [a, b]\n"
        + "  backup: {attempts: 2, timeout: 1h, compression: {level: 7}}\n"
        + "  retention: {keep_last: 8}\n"
    )
    main, other = config.servers["main"], config.servers["other"]
    assert (main.backup.attempts, other.backup.attempts) == (9, 2)
    assert main.backup.timeout == other.backup.timeout == timedelta(hours=1)
    assert main.backup.compression.level == 7
    assert main.databases == ["mine"]  # lists are replaced, not mixed
    assert other.databases == ["a", "b"]
    assert main.retention.keep_last == 8
    assert main.retention.keep_daily == 7


def test_merge_keys(load, good: str) -> None:
    config = load(
        good.replace("  main:\n", "  main: &m\n")
        + "    globals: false\n"
        + "  other:\n    <<: *m\n    dsn: postgresql://o/o\n"
    )
    assert config.servers["other"].globals is False
    assert config.servers["other"].dsn.get_secret_value() == "postgresql://o/o"
    assert dsn(config) == "postgresql://db.example/mina"


def test_stores_default_to_all(load, good: str) -> None:
    text = good.replace("servers:", "  second: {kind: local, path: more}\nservers:")
    assert list(load(text).servers["main"].backup.stores) == ["local", "second"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [("1h30m", timedelta(minutes=90)), ("90s", timedelta(seconds=90)), ("7d", timedelta(days=7))],
)
def test_durations(load, good: str, text: str, expected: timedelta) -> None:
    assert load(good + f"    backup: {{timeout: {text}}}\n").servers["main"].backup.timeout == (
        expected
    )


@pytest.mark.parametrize(
    ("text", "expected"), [("64MB", 64_000_000), ("5GiB", 5 << 30), ("1024", 1024)]
)
def test_sizes(load, good: str, text: str, expected: int) -> None:
    config = load(good.replace("path: backups", f"path: backups, min_free: {text}"))
    assert config.stores["local"].min_free == expected


def test_relative_paths_start_from_the_files_folder(load, good: str, tmp_path: Path) -> None:
    config = load("state_dir: state\n" + good)
    assert config.encryption.passphrase_file == tmp_path / "pass"
    assert config.stores["local"].path == tmp_path / "backups"
    assert config.state_dir == tmp_path / "state"


def test_the_state_dir_is_systemds_when_none_is_given(load, good: str) -> None:
    assert load(good, STATE_DIRECTORY="/var/lib/g:/other").state_dir == Path("/var/lib/g")
