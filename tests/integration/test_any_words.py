"""Whatever is typed where an id, a name or a pattern belongs: a line that says so, and its code."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from support.home import NOWHERE
from support.site import Outcome, Site

LONG = bool(os.environ.get("GUARDIAN_LONG"))
COMMANDS = [
    *("backup now", "backup list", "backup list --store", "backup show", "backup keep"),
    *("backup unkeep", "verify", "verify --store", "restore --to host=127.0.0.1:1", "kill"),
    *("kill --server main", "diagnose", "sessions", "locks", "audit --policy", "replay"),
    *("incidents show", "incidents ack", "incidents resolve", "incidents report", "incidents note"),
    *("silence remove", "silence add --reason x --for", "silence add --for 1h --reason"),
    *("silence add --for 1h --reason x --match", "alerts test", "config", "backup", ""),
    *("--config", "completion"),
]
# As the shell gives them: any bytes but NUL, those that are no UTF-8 as surrogates.
TYPED = (
    st.binary(max_size=30).map(
        lambda raw: raw.replace(b"\0", b"").decode("utf-8", "surrogateescape")
    )
) | st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=30)
HOSTILE = [
    *("", " ", "--", "-", "latest", "main/", "/", "//", "main/mina", "../../etc/passwd", "%2e%2e"),
    *("\x1b[31mred\x1b[0m\x07", "a\nb\r\nc", "\u202eevil\u2066", "x" * 5000, "'; DROP TABLE t; --"),
    *("%s%n{0}{x}", "[bold]x[/]", "20260101T000000Z-abcdef", "20260101T000000Z", "\udcff", "${X}"),
    *("-1", "0", "99999999999999999999", "1e9", "١٢", "\x00".replace("\0", "\x01"), "*", "[", "(("),
]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Site:
    """With an empty catalog; its server is not there, its stores are empty."""
    made = Site(tmp_path_factory.mktemp("words"), NOWHERE, {"backup": {"attempts": 1}})
    made.store.mkdir()
    made.run_here("status")
    return made


def judge(site: Site, words: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(site.root)  # `incidents report` writes where one is
    outcome = site.run_here(*words)
    assert outcome.code in {0, 1, 2, 3, 4}, words
    assert_readable(outcome, words)


def assert_readable(outcome: Outcome, words: list[str]) -> None:
    for text in (outcome.out, outcome.err):
        assert "Traceback" not in text, (words, text)
        assert "internal error" not in text, (words, text)
        strange = {c for c in text if not (c.isprintable() or c in "\n\t")}
        assert not strange, (words, strange)
    if outcome.code == 2:  # a group alone shows its help, as one does who wants to be told
        assert outcome.err.startswith(("guardian: ", "Usage: guardian ")), (words, outcome.err)


@settings(
    max_examples=1000 if LONG else 60, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.sampled_from(COMMANDS), st.lists(TYPED | st.sampled_from(HOSTILE), max_size=2))
@example("backup show", ["\udcff"])
@example("incidents report", ["../../x"])
def test_a_line_and_a_code(
    site: Site, monkeypatch: pytest.MonkeyPatch, command: str, typed: list[str]
) -> None:
    judge(site, [*command.split(), *typed], monkeypatch)


@pytest.mark.parametrize("command", COMMANDS)
def test_hostile_words(site: Site, monkeypatch: pytest.MonkeyPatch, command: str) -> None:
    first = COMMANDS.index(command)
    few = [HOSTILE[(first * 3 + step) % len(HOSTILE)] for step in range(3)]  # all in turn
    for word in HOSTILE if LONG else few:
        judge(site, [*command.split(), word], monkeypatch)
    assert sorted(path.name for path in site.root.iterdir() if path.name != "docs") == sorted(
        ["guardian.yaml", "passphrase", "state", "store"]
    ), "nothing was written beside"


def test_a_file_that_is_no_configuration(site: Site, tmp_path: Path) -> None:
    for content in (b"\xff\xfe", b"[" * 100_000, b"{a: " * 50_000, b"&a [*a]", b"\0" * 100):
        file = tmp_path / "bad.yaml"
        file.write_bytes(content)
        outcome = site.run_here("--config", str(file), "status")
        assert outcome.code == 2, content[:10]
        assert_readable(outcome, ["--config"])
