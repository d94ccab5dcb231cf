"""``config``, ``init`` and ``completion`` as a shell sees them."""

import json
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from guardian.config import load_config

DSN = "postgresql://mina:canary-in-dsn@db.example/mina"
GOOD = """\
encryption: {passphrase_file: pass}
stores:
  local: {kind: local, path: backups}
servers:
  NAME:
    dsn: "postgresql://mina:canary-in-dsn@db.example/mina"
"""
BAD = GOOD.replace("dsn:", "databses: [x]\n    dsn:").replace("kind: local", "kind: lokal")


class Shell:
    """Runs guardian in a folder of its own, with no more of our environment than it needs."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.environ = {"HOME": str(folder / "home"), "PATH": os.environ["PATH"]}
        if "PYTHONPATH" in os.environ:
            self.environ["PYTHONPATH"] = os.environ["PYTHONPATH"]

    def __call__(self, *words: str, **environ: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "guardian", *words],
            cwd=self.folder,
            env=self.environ | environ,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )

    def write(self, text: str, name: str = "guardian.yaml") -> Path:
        path = self.folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        return path


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    return Shell(tmp_path)


def modes(*paths: Path) -> list[int]:
    return [stat.S_IMODE(path.stat().st_mode) for path in paths]


# --- config ---------------------------------------------------------------------------------------


def test_a_good_configuration_is_ok(shell: Shell) -> None:
    shell.write(GOOD)
    done = shell("config", "check")
    assert done.returncode == 0, done.stderr
    assert "ok" in done.stdout
    assert json.loads(shell("config", "check", "--json").stdout)["valid"] is True


def test_every_mistake_is_a_line_with_its_place(shell: Shell) -> None:
    shell.write(BAD)
    done = shell("config", "check")
    assert done.returncode == 2
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    assert "guardian.yaml:3:" in done.stderr
    assert "guardian.yaml:6:5" in done.stderr
    assert "databases" in done.stderr  # the nearest key
    assert all(line.startswith("guardian: ") for line in done.stderr.splitlines())


def test_mistakes_as_json(shell: Shell) -> None:
    shell.write(BAD)
    done = shell("config", "check", "--json")
    assert done.returncode == 2
    found = json.loads(done.stdout)
    assert found["valid"] is False
    assert any("databses" in problem for problem in found["problems"])


@pytest.mark.parametrize("wrong", ["dsn: host=db pasword=canary", "password_file: two"])
def test_what_libpq_would_refuse_is_a_mistake_too(shell: Shell, wrong: str) -> None:
    good = GOOD.replace(":canary-in-dsn@", "@")
    old = next(line for line in good.splitlines() if "dsn:" in line)
    shell.write(good.replace(old, f"    {wrong}" if "dsn" in wrong else f"{old}\n    {wrong}"))
    (shell.folder / "two").write_text("canary\n\n")
    done = shell("config", "check", "--json")
    assert done.returncode == 2
    (problem,) = json.loads(done.stdout)["problems"]
    assert "servers.NAME" in problem or "servers.main" in problem
    assert "canary" not in done.stdout + done.stderr


def test_a_traceback_comes_with_v_only(shell: Shell) -> None:
    shell.write(BAD)
    assert "Traceback" not in shell("config", "check").stderr
    assert "Traceback" in shell("-v", "config", "check").stderr


def test_without_a_configuration_the_mend_is_init(shell: Shell) -> None:
    done = shell("config", "check")
    assert done.returncode == 2
    assert "guardian init" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_a_configuration_that_was_named_must_exist(shell: Shell) -> None:
    shell.write(GOOD)
    for done in (
        shell("--config", "other.yaml", "config", "check"),
        shell("config", "check", GUARDIAN_CONFIG="other.yaml"),
    ):
        assert done.returncode == 2
        assert "other.yaml" in done.stderr


def test_the_search_goes_option_then_environment_then_folder(shell: Shell) -> None:
    shell.write(GOOD.replace("NAME", "here"))
    by_env = str(shell.write(GOOD.replace("NAME", "environment"), "env.yaml"))
    by_option = str(shell.write(GOOD.replace("NAME", "option"), "option.yaml"))

    def server(*words: str, **environ: str) -> list[str]:
        done = shell(*words, "config", "show", "--json", **environ)
        return list(json.loads(done.stdout)["servers"])

    assert server() == ["here"]
    assert server(GUARDIAN_CONFIG=by_env) == ["environment"]
    assert server("--config", by_option, GUARDIAN_CONFIG=by_env) == ["option"]


@pytest.mark.parametrize("words", [("config", "show"), ("config", "show", "--json")])
def test_show_says_everything_but_secrets(shell: Shell, words: tuple[str, ...]) -> None:
    shell.write(GOOD)
    done = shell(*words)
    assert done.returncode == 0, done.stderr
    assert "db.example" in done.stdout
    assert "canary" not in done.stdout + done.stderr


def test_show_says_whence_each_value_came(shell: Shell) -> None:
    shell.write(GOOD.replace('"postgresql://mina:canary-in-dsn@db.example/mina"', "${DSN}"))
    lines = shell("config", "show", DSN=DSN).stdout.splitlines()
    (dsn,) = [line for line in lines if line.strip().startswith("dsn:")]
    (kind,) = [line for line in lines if line.strip().startswith("kind:")]
    (proof,) = [line for line in lines if line.strip().startswith("proof:")]
    assert "env DSN" in dsn
    assert "guardian.yaml:3" in kind
    assert "default" in proof


def test_schema_needs_no_configuration(shell: Shell) -> None:
    done = shell("config", "schema")
    assert done.returncode == 0
    assert json.loads(done.stdout)["title"] == "guardian.yaml"


# --- init -----------------------------------------------------------------------------------------


def test_init_writes_both_files_privately_and_they_load(shell: Shell) -> None:
    done = shell("init", "--dsn", DSN, "--store", "backups", "--yes")
    assert done.returncode == 0, done.stderr
    config, passphrase = shell.folder / "guardian.yaml", shell.folder / "guardian.passphrase"
    assert modes(config, passphrase) == [0o600, 0o600]
    assert config.read_text().splitlines()[0] == (
        "# yaml-language-server: $schema=guardian.schema.json"
    )
    assert len(passphrase.read_text().strip()) >= 43
    assert sorted(shell.folder.iterdir()) == [passphrase, config]  # no draft, no schema
    loaded = load_config(config, {})
    assert loaded.servers["main"].dsn.get_secret_value() == DSN
    assert loaded.encryption.passphrase_file == passphrase
    assert "guardian doctor" in done.stdout
    assert "guardian backup now" in done.stdout
    assert "WARNING" in done.stderr
    secret = passphrase.read_text().strip()
    assert secret not in done.stdout + done.stderr
    assert "canary" not in done.stdout + done.stderr
    assert shell("config", "check").returncode == 0


def test_each_init_has_another_passphrase(shell: Shell) -> None:
    for name in ("a", "b"):
        words = ("--output", f"{name}.yaml", "--passphrase-file", name)
        assert shell("init", "--dsn", DSN, *words, "--yes").returncode == 0
    assert (shell.folder / "a").read_text() != (shell.folder / "b").read_text()


def test_init_as_json(shell: Shell) -> None:
    done = shell("init", "--dsn", DSN, "--store", "s3://bucket/some/prefix", "--yes", "--json")
    found = json.loads(done.stdout)
    assert found["config"] == str(shell.folder / "guardian.yaml")
    assert found["store"] == {"name": "offsite", "where": "s3://bucket/some/prefix"}
    store = load_config(shell.folder / "guardian.yaml", {}).stores["offsite"]
    assert store.kind == "s3"
    assert (store.bucket, store.prefix) == ("bucket", "some/prefix")


@pytest.mark.parametrize("taken", ["guardian.yaml", "guardian.passphrase"])
@pytest.mark.parametrize("dangling", [False, True])
def test_init_overwrites_nothing(shell: Shell, taken: str, dangling: bool) -> None:
    there = shell.folder / taken
    if dangling:
        there.symlink_to("nowhere")
    else:
        there.write_text("mine")
    done = shell("init", "--dsn", DSN, "--yes")
    assert done.returncode == 2
    assert taken in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert list(shell.folder.iterdir()) == [there]
    assert dangling or there.read_text() == "mine"


def test_a_passphrase_is_used_when_it_is_named(shell: Shell) -> None:
    mine = shell.write("my own words\n", "mine")
    mine.chmod(0o600)
    done = shell("init", "--dsn", DSN, "--passphrase-file", "mine", "--yes", "--json")
    assert json.loads(done.stdout)["passphrase_created"] is False
    assert mine.read_text() == "my own words\n"
    loaded = load_config(shell.folder / "guardian.yaml", {})
    assert loaded.encryption.passphrase_file == mine


@pytest.mark.parametrize(
    ("text", "mode"),
    [("", 0o600), ("\n", 0o600), ("two\nlines\n", 0o600), ("cr\r\n", 0o600), ("good\n", 0o644)],
)
def test_a_passphrase_that_gpg_would_not_take_is_refused(
    shell: Shell, text: str, mode: int
) -> None:
    mine = shell.write(text, "mine")
    mine.chmod(mode)
    done = shell("init", "--dsn", DSN, "--passphrase-file", "mine", "--yes")
    assert done.returncode == 2
    assert "mine" in done.stderr
    assert mine.read_bytes() == text.encode()
    assert not (shell.folder / "guardian.yaml").exists()


def test_init_names_the_variable_rather_than_its_value(shell: Shell) -> None:
    assert shell("init", "--dsn", DSN, "--yes", DATABASE_URL=DSN).returncode == 0
    text = (shell.folder / "guardian.yaml").read_text()
    assert "dsn: ${DATABASE_URL}\n" in text
    assert "canary" not in text
    assert shell("config", "check", DATABASE_URL=DSN).returncode == 0


@pytest.mark.parametrize(
    "dsn",
    [
        "host=db password='it''s \"quoted\" # ${NOT_A_VARIABLE}'".replace("''", "\\'"),
        "host=db password='$${x} {y}: [z] & *a ! % @ `'",
        "host=db user=jürgen password='\N{DOG FACE} \\\\ \t tab'",
        "postgresql://u:p%40%2F@[::1]:5432/d?sslmode=require&application_name=${A:-b}",
    ],
)
def test_any_dsn_survives_the_way_through_the_file(shell: Shell, dsn: str) -> None:
    done = shell("init", "--dsn", dsn, "--yes")
    assert done.returncode == 0, done.stderr
    loaded = load_config(shell.folder / "guardian.yaml", {})
    assert loaded.servers["main"].dsn.get_secret_value() == dsn


@pytest.mark.parametrize(
    ("words", "named"),
    [
        ((), "--dsn"),
        (("--yes",), "--dsn"),
        (("--dsn", "canary nonsense"), "--dsn"),
        (("--dsn", "${UNSET_VARIABLE}"), "UNSET_VARIABLE"),
        (("--dsn", DSN, "--store", "ftp://somewhere"), "--store"),
        (("--dsn", DSN, "--store", "s3:///prefix"), "--store"),
        (("--dsn", DSN, "--output", "missing/guardian.yaml"), "missing"),
        (("--dsn", DSN, "--output", "x", "--passphrase-file", "x"), "both"),
    ],
)
def test_wrong_words_leave_nothing_behind(shell: Shell, words: tuple[str, ...], named: str) -> None:
    done = shell("init", *words)
    assert done.returncode == 2
    assert named in done.stderr
    assert "canary" not in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert list(shell.folder.iterdir()) == []


# --- completion, help, usage ----------------------------------------------------------------------


@pytest.mark.parametrize("name", ["bash", "zsh", "fish"])
def test_completion_for_each_shell(shell: Shell, name: str) -> None:
    done = shell("completion", name)
    assert done.returncode == 0
    assert done.stderr == ""
    assert "_GUARDIAN_COMPLETE" in done.stdout


def test_bash_takes_its_script(shell: Shell) -> None:
    script = shell("completion", "bash").stdout
    checked = subprocess.run(
        ["bash", "-n"], input=script, text=True, capture_output=True, check=False
    )
    assert (checked.returncode, checked.stderr) == (0, "")


def test_completion_completes(shell: Shell) -> None:
    done = shell(_GUARDIAN_COMPLETE="bash_complete", COMP_WORDS="guardian conf", COMP_CWORD="1")
    assert "config" in done.stdout


@pytest.mark.parametrize("words", ["backup now", "backup list", "--config other.yaml backup now"])
def test_completion_knows_the_servers(shell: Shell, words: str) -> None:
    name = "other.yaml" if "other" in words else "guardian.yaml"
    shell.write(GOOD.replace("NAME", "mina-1"), name)
    count = str(len(words.split()) + 1)
    environ = {"_GUARDIAN_COMPLETE": "bash_complete", "COMP_CWORD": count}
    assert "mina-1" in shell(COMP_WORDS=f"guardian {words} mi", **environ).stdout
    assert "mina-1" not in shell(COMP_WORDS=f"guardian {words} x", **environ).stdout
    shell.write(BAD, name)
    done = shell(COMP_WORDS=f"guardian {words} mi", **environ)
    assert (done.stdout.strip(), done.stderr) == ("", "")


HEAVY = {
    "alembic",
    "apscheduler",
    "boto3",
    "botocore",
    "flask",
    "gnupg",
    "httpx",
    "jinja2",
    "prometheus_client",
    "psycopg",
    "rich",
    "sentry_sdk",
    "stamina",
    "zstandard",
}
"""Packages that cost a command tens of milliseconds to start."""


def imported_by(shell: Shell, *words: str) -> set[str]:
    """The packages that a command has imported by its end."""
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "guardian", *words],
        cwd=shell.folder,
        env=shell.environ,
        capture_output=True,
        text=True,
        check=True,
    )
    return {
        line.rsplit("|", 1)[1].strip().split(".")[0]
        for line in done.stderr.splitlines()
        if line.startswith("import time:")
    }


@pytest.mark.parametrize("words", ["--help", "--version", "backup --help", "verify --help"])
def test_help_imports_nothing_heavy(shell: Shell, words: str) -> None:
    imported = imported_by(shell, *words.split())
    assert "click" in imported
    assert not imported & {*HEAVY, "pydantic", "sqlalchemy", "yaml"}


def test_a_list_imports_nothing_that_it_does_not_need(shell: Shell) -> None:
    shell.write(GOOD.replace("NAME", "mina"))
    shell("backup", "list")  # makes the catalog, for which migrations are needed
    imported = imported_by(shell, "backup", "list", "--json")
    assert {"pydantic", "sqlalchemy"} <= imported
    assert not imported & HEAVY


@pytest.mark.parametrize(
    "words", [("confg",), ("config", "chek"), ("config", "--nonsense"), ("completion", "tcsh")]
)
def test_wrong_usage_is_exit_2(shell: Shell, words: tuple[str, ...]) -> None:
    done = shell(*words)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr


def test_a_mistyped_command_hears_the_nearest(shell: Shell) -> None:
    assert "did you mean config" in shell("confg").stderr
