"""Every mistake is told with its place, its key, and the nearest that is right."""

import re
from pathlib import Path

import pytest

from guardian.config import InvalidConfigError, load_config
from guardian.errors import ExitCode


@pytest.mark.parametrize(
    ("added", "place", "words"),
    [
        ("enscalation: {}\n", "7:1", ["enscalation", "escalation"]),
        ("    databses: [x]\n", "7:5", ["databses", "databases"]),
        ("    backup: {scedule: null}\n", "7:14", ["scedule", "schedule"]),
        ("    backup:\n      compression: {levle: 3}\n", "8:21", ["levle", "level"]),
        ("    retention: {keep_dayly: 3}\n", "7:17", ["keep_dayly", "keep_daily"]),
        (
            "    watch:\n      policies:\n        - {name: a, match: {stat: x}, action: report}\n",
            "9:29",
            ["stat", "state"],
        ),
        (
            "probes:\n  - {name: a, kind: tcp, address: 'a:1', timeut: 3s}\n",
            "8:42",
            ["timeut", "timeout"],
        ),
        (
            "escalation:\n  channels:\n    a: {kind: pagerduty, routingkey: x, routing_key: y}\n",
            "9:26",
            ["routingkey", "routing_key"],
        ),
        ("service: {lissen: x}\n", "7:11", ["lissen", "listen"]),
        ("defaults: {bakup: {}}\n", "7:12", ["bakup", "backup"]),
    ],
)
def test_an_unknown_key(problems, good: str, added: str, place: str, words: list[str]) -> None:
    found = problems(good + added)
    assert len(found) == 1, found
    assert found[0].startswith(f"guardian.yaml:{place}: ")
    for word in words:
        assert re.search(rf"\b{word}\b", found[0])


@pytest.mark.parametrize(
    ("added", "line", "words"),
    [
        ("    backup: {timeout: 5 fortnights}\n", 7, ["timeout", "fortnights", "5m"]),
        ("    backup: {timeout: 30}\n", 7, ["timeout", "30s"]),
        ("    backup: {timeout: 0s}\n", 7, ["timeout"]),
        ('    backup: {schedule: "61 * * * *"}\n', 7, ["schedule", "61"]),
        ('    backup: {schedule: "0 2 * *"}\n', 7, ["schedule", "four|4 fields"]),
        ("    backup: {timezone: Europe/Atlantis}\n", 7, ["timezone", "Atlantis"]),
        ("    backup: {attempts: 0}\n", 7, ["attempts", "1"]),
        ("    backup: {attempts: many}\n", 7, ["attempts"]),
        ("    backup: {compression: {level: 40}}\n", 7, ["level", "19"]),
        ("    backup: {proof: full}\n", 7, ["proof", "content"]),
        ("    backup: {stores: [elsewhere]}\n", None, ["elsewhere", "local"]),
        ("    backup: 3\n", 7, ["backup"]),
        ("    retention: {keep_last: -1}\n", 7, ["keep_last"]),
        ("    retention: {keep_last: three}\n", 7, ["retention", "three|whole"]),
        ("    globals: maybe\n", 7, ["globals"]),
        ("    vitals: {connections: [80%]}\n", 7, ["connections", "2|two"]),
        ("    vitals: {conections: [80%, 95%]}\n", 7, ["conections", "connections"]),
        ("    watch: {mode: enforced}\n", 7, ["mode", "enforce"]),
        (
            "    watch: {policies: [{name: a, match: {}, action: report}]}\n",
            7,
            ["match", "empty"],
        ),
        (
            "    watch: {policies: [{name: a, match: {state: idel}, action: report}]}\n",
            7,
            ["state", "idle"],
        ),
        (
            "    watch: {policies: [{name: a, match: {query: '('}, action: report}]}\n",
            7,
            ["query", "regular expression"],
        ),
        ("probes: [{kind: tcp, address: 'a:1'}]\n", 7, ["name", "missing"]),
        ("probes: [{name: a, kind: udp, address: 'a:1'}]\n", 7, ["kind|udp", "tcp"]),
        ("escalation: {people: {cto: [pager]}}\n", 7, ["cto", "pager"]),
        ("escalation: {ladder: {P9: digest}}\n", 7, ["P9", "P0"]),
        ("escalation: {ladder: {P0: {0m: [cto]}}}\n", 7, ["cto"]),
        ("escalation: {ladder: {P0: {soon: []}}}\n", 7, ["soon"]),
        ("service: {listen: '0.0.0.0:80'}\n", 7, ["token"]),
        ("service: {listen: nowhere}\n", 7, ["listen"]),
    ],
)
def test_a_wrong_value(problems, good: str, added: str, line: int | None, words: list[str]) -> None:
    found = problems(good + added)
    assert len(found) == 1, found
    assert re.match(rf"guardian\.yaml:{line or '[0-9]+'}:[0-9]+: ", found[0]), found
    for word in words:
        assert re.search(word, found[0]), (word, found)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("    dsn: postgresql://db.example/mina\n", "    globals: true\n", ["dsn", "missing"]),
        ("encryption: {passphrase_file: pass}\n", "", ["encryption", "missing"]),
        ("{passphrase_file: pass}", "{}", ["encryption", "recipients"]),
        ("{passphrase_file: pass}", "{passphrase_file: p, recipients: [A]}", ["recipients"]),
        (", path: backups", "", ["path", "missing"]),
        ("{kind: local, path: backups}", "{path: backups}", ["local", "kind"]),
        ("kind: local", "kind: ftp", ["ftp|kind", "s3"]),
        ("  local: {kind: local, path: backups}\n", "  {}\n", ["stores"]),
        ("  local: {", "  'lo/cal': {", ["lo/cal"]),
        ("  main:\n", "  '../x':\n", [r"\.\./x"]),
    ],
)
def test_something_missing_or_at_odds(
    problems, good: str, old: str, new: str, words: list[str]
) -> None:
    assert old in good
    found = problems(good.replace(old, new))
    assert re.match(r"guardian\.yaml:[0-9]+:[0-9]+: ", found[0]), found
    for word in words:
        assert re.search(word, found[0]), (word, found)


def test_all_mistakes_are_told_at_once(problems, good: str) -> None:
    found = problems(good + "    globls: true\n    backup: {attempts: 0}\nservice: {x: 1}\n")
    assert len(found) == 3
    for key in ("globls", "attempts", "x"):
        assert any(key in line for line in found)


def test_a_mistake_in_defaults_is_told_once_and_where_it_stands(problems, good: str) -> None:
    found = problems(good + "  other: {dsn: postgresql://b/b}\ndefaults:\n  backup: {attemps: 1}\n")
    assert len(found) == 1, found
    assert found[0].startswith("guardian.yaml:9:12: ")
    found = problems(good + "defaults: {backup: {attempts: 0}}\n")
    assert len(found) == 1, found


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("a: [1, 2\nb: 3\n", r":2:\d+"),
        ("a: 'open\n", r":\d+:\d+"),
        ("a:\n\t- b\n", r":2:1"),
        ("a: *nothing\n", r":1:4"),
        ("? [a, b]\n: c\n", r":1:\d+"),
        ("- a\n- b\n", r":1:1"),
        ("only words\n", r":1:1"),
        ("a: 1\n---\nb: 2\n", r":\d+:\d+"),
        ("a: 1\nb: 2\na: 3\n", r":3:1"),
        ("stores: {x: 1, x: 2}\n", r":1:16"),
        ("stores: {<<: [1]}\n", r":1:\d+"),
    ],
)
def test_what_is_no_yaml_of_ours(problems, text: str, place: str) -> None:
    found = problems(text)
    assert any(re.match(rf"guardian\.yaml{place}: ", line) for line in found), found


@pytest.mark.parametrize("data", [b"", b"\n\n", b"# only words\n", b"\xff\xfe\x00", b"\x00\x01"])
def test_a_file_that_holds_nothing_of_use(problems, data: bytes) -> None:
    (found,) = problems(data)
    assert "guardian.yaml" in found


@pytest.mark.parametrize(
    "text",
    [
        "a: " + "[" * 30_000,
        "a: " + "{a: " * 300 + "1" + "}" * 300,
        "a: &a [x, x, x, x, x, x, x, x, x, x]\n"
        + "".join(
            f"{chr(98 + n)}: &{chr(98 + n)} [{', '.join([f'*{chr(97 + n)}'] * 10)}]\n"
            for n in range(9)
        ),
        "a: &a {<<: *a}\n",
        "a: &a [*a]\n",
        "a: " + "x" * (5 << 20),
    ],
    ids=["brackets", "deep", "laughs", "self-merge", "self-list", "huge"],
)
def test_a_file_made_to_hurt_is_refused_at_once(problems, text: str) -> None:
    assert problems(text)


def test_a_folder_is_no_configuration(tmp_path: Path) -> None:
    with pytest.raises(InvalidConfigError, match=r"folder|directory") as caught:
        load_config(tmp_path, {})
    assert caught.value.exit_code == ExitCode.USAGE
