"""What README and docs say is true: commands run, links lead somewhere, names and options exist."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import click
import pytest
from support.postgres import Database, PostgresServer, Role

from guardian.cli.main import COMMANDS, cli
from guardian.config import load_config

ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"
PAGES = [README, ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md"))]
RUN = "<!-- run -->\n"

_FENCE = re.compile(r"((?:<!-- run -->\n)?)^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_INLINE = re.compile(r"`(guardian [^`]+)`")
_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
_HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)
_CALL = re.compile(r"(?:^|/bin/)(guardian [^#\n]*)", re.MULTILINE)


class Fence(NamedTuple):
    """A fenced block; ``runs`` when it is marked as one to be run."""

    runs: bool
    language: str
    text: str


def fences(page: Path) -> list[Fence]:
    return [
        Fence(mark == RUN, language, text)
        for mark, language, text in _FENCE.findall(page.read_text("utf-8"))
    ]


def shown_calls() -> Iterator[tuple[str, str]]:
    """Each ``guardian …`` that a page or a unit shows, with its place."""
    for page in PAGES:
        text = page.read_text("utf-8")
        for found in _INLINE.findall(_FENCE.sub("", text)):
            yield page.name, found
        for fence in fences(page):
            for found in _CALL.findall(fence.text.replace("\\\n", " ")):
                yield page.name, found
    for unit in sorted((ROOT / "systemd").glob("*.service")):
        for found in _CALL.findall(unit.read_text("utf-8")):
            yield unit.name, found


def check_call(words: list[str]) -> None:
    """Parse as click would, down to the leaf; an unknown command, option or word is an error."""
    command: click.Command | None = cli
    context: click.Context | None = None
    name = "guardian"
    while command is not None:
        context = click.Context(command, info_name=name, parent=context)
        _, words, _ = command.make_parser(context).parse_args(words)
        if not isinstance(command, click.Group) or not words:
            break
        name, words = words[0], words[1:]
        command = command.get_command(context, name)
        assert command is not None, f"there is no command {name!r}"
    assert not words, f"{' '.join(words)!r} is too much"


@pytest.fixture
def reader(tmp_path: Path) -> dict[str, str]:
    """The environment of somebody who has just installed guardian, with a home of their own."""
    home = tmp_path / "home"
    home.mkdir()
    return {
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
        "HOME": str(home),
        "LANG": "C.UTF-8",
    }


@pytest.fixture
def backup_role(pg15: PostgresServer, fresh_role: Callable[..., Role]) -> Role:
    """The role that docs/operating.md tells to make."""
    role = fresh_role(pg15, attributes="BYPASSRLS")
    with pg15.connect() as connection:
        connection.execute(f"GRANT pg_read_all_data TO {role.name}".encode())
    return role


def test_readme_runs_as_it_stands(
    pg15: PostgresServer,
    fresh_database: Callable[..., Database],
    backup_role: Role,
    reader: dict[str, str],
    tmp_path: Path,
) -> None:
    database = fresh_database(pg15)
    database.execute(
        "CREATE TABLE meetings (id bigint GENERATED ALWAYS AS IDENTITY, title text)",
        "INSERT INTO meetings (title) SELECT 'meeting ' || n FROM generate_series(1, 500) n",
    )
    reader["DATABASE_URL"] = database.uri(role=backup_role)
    folder = tmp_path / "checkout"
    folder.mkdir()
    blocks = [fence.text for fence in fences(README) if fence.runs]
    assert len(blocks) >= 3
    for block in blocks:
        done = subprocess.run(
            ["bash", "-euxo", "pipefail", "-c", block],
            cwd=folder,
            env=reader,
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
        )
        assert done.returncode == 0, f"{block}\n{done.stdout}\n{done.stderr}"
        assert backup_role.password not in done.stdout + done.stderr
    (manifest,) = folder.glob("backups/*/*/*/manifest.json")
    assert json.loads(manifest.read_bytes())["database"] == database.name
    assert backup_role.password not in (folder / "guardian.yaml").read_text("utf-8")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for link in _LINK.findall(page.read_text("utf-8")):
        if link.startswith(("http://", "https://")):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), f"{page.name}: {link}"
        if anchor:
            headings = _HEADING.findall(_FENCE.sub("", target.read_text("utf-8")))
            assert anchor in {slug(heading) for heading in headings}, f"{page.name}: {link}"


def slug(heading: str) -> str:
    """A heading's anchor, as GitHub makes it."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def test_shown_commands_and_options_exist() -> None:
    calls = list(shown_calls())
    assert len(calls) > 20
    wrong = []
    for place, call in calls:
        try:
            check_call(shlex.split(call)[1:])
        except (AssertionError, ImportError, click.ClickException) as error:
            wrong.append(f"{place}: {call}: {error}")
    assert not wrong, "\n".join(wrong)


def test_every_command_is_told_of() -> None:
    told = {call.split()[1] for _, call in shown_calls()}
    assert set(COMMANDS) <= told | {"completion"}


def test_readmes_configuration_is_valid(tmp_path: Path) -> None:
    """Its parts are one configuration, the secrets' files apart."""
    blocks = [fence.text for fence in fences(README) if fence.language == "yaml"]
    text = "\n".join(blocks)
    for path, name in re.findall(r"_file: (/etc/guardian/([a-z-]+))", text):
        (tmp_path / name).write_text("0123456789abcdef0123456789abcdef\n")
        text = text.replace(f"_file: {path}", f"_file: {tmp_path / name}")
    file = tmp_path / "guardian.yaml"
    file.write_text(text, "utf-8")
    config = load_config(file, {"DATABASE_URL": "postgresql://backup@db.example/mina"})
    server = config.servers["main"]
    assert server.databases == ["*"]
    assert server.retention.keep_daily == 7
    assert sorted(config.stores) == ["local", "offsite"]
    assert list(config.escalation.people) == ["on-call", "lead"]
