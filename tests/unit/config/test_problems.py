"""Every mistake has its line, its key, its cause and its mend."""

import pytest

# What is appended to the smallest valid configuration, whose six lines end within server main.
# The problem begins with the place and key, and holds the words.
MISTAKES = [
    # unknown keys
    ("    bakcup: {}\n", "7:5: servers.main.bakcup:", "did you mean backup?"),
    ("    backup: {Schedule: x}\n", "7:14: servers.main.backup.Schedule:", "mean schedule?"),
    ("    schedule: x\n", "7:5: servers.main.schedule:", "mean backup.schedule or verify.sch"),
    ("    zzz: 1\n", "7:5: servers.main.zzz:", "known: password, databases"),
    ("    passwort_file: x\n", "7:5: servers.main.passwort_file:", "mean password_file?"),
    ("    backup: {compression: {lvl: 3}}\n", "7:28: servers.main.backup.compression.lvl:", ""),
    ("    retention: {keep_dayly: 3}\n", "7:17: servers.main.retention.keep_dayly:", "keep_daily"),
    ("name: x\n", "7:1: name:", "unknown key"),
    ("defaults: {dsn: host=db}\n", "7:12: defaults.dsn:", "unknown key"),
    ("probes: [{kind: tcp, adress: x:1, name: a}]\n", "7:22: probes[0].adress:", "mean address?"),
    # keys that stand twice
    ("    dsn: host=other\n", "7:5: servers.main.dsn:", "first in line 6"),
    ("servers: {}\n", "7:1: servers:", "first in line 4"),
    # durations, sizes, numbers, switches, words
    ("    backup: {timeout: 30}\n", "7:14: servers.main.backup.timeout:", "write 30s, 5m"),
    ("    backup: {timeout: 0s}\n", "7:14: servers.main.backup.timeout:", "above zero"),
    ("    retention: {keep_within: 30 x}\n", "7:17: servers.main.retention.keep_within:", "30s"),
    ("    retention: {keep_last: some}\n", "7:17: servers.main.retention.keep_last:", "whole"),
    ("    retention: {keep_last: -1}\n", "7:17: servers.main.retention.keep_last:", "at least 0"),
    ("    retention: {keep_last: true}\n", "7:17: servers.main.retention.keep_last:", "true"),
    ("    retention: {keep_last: 1.5}\n", "7:17: servers.main.retention.keep_last:", "whole"),
    ("    backup: {compression: {level: 99}}\n", "7:28:", "at most 19"),
    ("    backup: {attempts: 0}\n", "7:14: servers.main.backup.attempts:", "at least 1"),
    (
        "    backup: {proof: contents}\n",
        "7:14: servers.main.backup.proof:",
        "did you mean content?",
    ),
    ("    watch: {mode: kill}\n", "7:13: servers.main.watch.mode:", "write observe or enforce"),
    ("    globals: maybe\n", "7:5: servers.main.globals:", "true or false"),
    ("    databases: [true]\n", "7:17: servers.main.databases[0]:", 'in quotes: "true"'),
    ("    databases: {a: b}\n", "7:5: servers.main.databases:", "not a mapping"),
    ("    databases: [[a]]\n", "7:17: servers.main.databases[0]:", "not a list"),
    ("    exclude_databases: ['']\n", "7:25: servers.main.exclude_databases[0]:", "empty"),
    ("    outage: 5\n", "7:5: servers.main.outage:", "a mapping is needed"),
    ("    verify: {checks: 5}\n", "7:14: servers.main.verify.checks:", "a list is needed"),
    # schedules, timezones, regular expressions, networks, addresses
    ("    backup: {schedule: 0 2 * *}\n", "7:14: servers.main.backup.schedule:", "five fields"),
    ("    backup: {schedule: after-backup}\n", "7:14: servers.main.backup.schedule:", "every 6h"),
    ("    verify: {schedule: sometimes}\n", "7:14: servers.main.verify.schedule:", "every 6h"),
    ("    backup: {timezone: Mars}\n", "7:14: servers.main.backup.timezone:", "Europe/Berlin"),
    ("    backup: {timezone: Europe}\n", "7:14: servers.main.backup.timezone:", "Europe/Berlin"),
    ("    backup: {timezone: ../../x}\n", "7:14: servers.main.backup.timezone:", "Berlin"),
    ("service: {listen: 8765}\n", "7:11: service.listen:", "host:port"),
    ("service: {listen: '::1:8765'}\n", "7:11: service.listen:", "[::1]:port"),
    ("service: {listen: 'a:99999'}\n", "7:11: service.listen:", "host:port"),
    ("service: {listen: '0.0.0.0:80'}\n", "7:1: service:", "token_file"),
    ("service: {hosts: https://a.example}\n", "7:11: service.hosts:", "guardian.example.com"),
    ("service: {hosts: ['a.example:443']}\n", "7:19: service.hosts[0]:", "without scheme, port"),
    ("escalation: {self_test: weekly}\n", "7:14: escalation.self_test:", "every 6h"),
    ("probes: [{kind: http, name: a, url: ftp://x}]\n", "7:32: probes[0].url:", "https://"),
    ("probes: [{kind: http, name: a, url: 'http://['}]\n", "7:32: probes[0].url:", "https://"),
    # unions, kinds, missing keys
    ("probes: [{name: a}]\n", "7:10: probes[0]:", "kind is missing"),
    ("probes: [{kind: udp, name: a}]\n", "7:11: probes[0].kind:", "write http or tcp"),
    ("probes: [{kind: tcp, name: a}]\n", "7:10: probes[0].address:", "is missing"),
    ("probes: [x]\n", "7:10: probes[0]:", "a mapping is needed"),
    # escalation
    ("escalation: {people: {a: [nobody]}}\n", "7:27: escalation.people.a[0]:", "not a channel"),
    ("escalation: {people: {a: nobody}}\n", "7:23: escalation.people.a:", "not a channel"),
    (
        "escalation: {ladder: {P0: {0m: [x]}}}\n",
        "7:33: escalation.ladder.P0.0m[0]:",
        "among people",
    ),
    ("escalation: {ladder: {P0: {5: [x]}}}\n", "7:28: escalation.ladder.P0.5:", "not a duration"),
    ("escalation: {ladder: {P0: {1h: [x], 60m: [y]}}}\n", "7:23:", "'1h' and '60m' are the same"),
    ("escalation: {digest_to: nobody}\n", "7:14: escalation.digest_to:", "one among people"),
    ("escalation: {severity: {backup.failed: bad}}\n", "7:25:", "P0"),
    ("escalation: {settle: {backup.failed: 5}}\n", "7:23:", "not a duration"),
    ("escalation: {dashboard: example}\n", "7:14: escalation.dashboard:", "https://host"),
    ("escalation: {ladder: {P0: never}}\n", "7:23: escalation.ladder.P0:", "digest"),
    ("escalation: {ladder: {P9: digest}}\n", "7:23: escalation.ladder.P9:", "P0"),
    ("escalation: {business_hours: {days: mon-fry}}\n", "7:31:", "mon-fri"),
    ("escalation: {business_hours: {from: 9:00}}\n", "7:31:", "09:00"),
    ("escalation: {channels: {a: {kind: slack}}}\n", "7:25: escalation.channels.a:", "webhook_url"),
    # vitals
    ("    vitals: {connections: 80%}\n", "7:14: servers.main.vitals.connections:", "[warning, "),
    ("    vitals: {connections: [80, 95%]}\n", "7:28: servers.main.vitals.connections[0]:", "80%"),
    ("    vitals: {connections: [90%, 80%]}\n", "7:14: servers.main.vitals.conn", "not be above"),
    ("    vitals: {disk: [1%, 2%, 3%]}\n", "7:14: servers.main.vitals.disk:", "[warning, "),
    ("    vitals: {conections: [1%, 2%]}\n", "7:14: servers.main.vitals.conections:", "mean conn"),
    # references within a server
    ("    backup: {stores: [lokal]}\n", "7:23: servers.main.backup.stores[0]:", "mean local?"),
    ("    backup: {stores: tape}\n", "7:14: servers.main.backup.stores:", "there are: local"),
    # environment and files
    ("    password: ${NOPE}\n", "7:5: servers.main.password:", "variable NOPE is not set"),
    ("    password: ${}\n", "7:5: servers.main.password:", "write ${NAME}"),
    ("    password: ${not closed\n", "7:5: servers.main.password:", "$${ for a plain"),
    ("    password: ${1X}\n", "7:5: servers.main.password:", "write ${NAME}"),
    ("    password_file: nowhere\n", "7:5: servers.main.password_file:", "No such file"),
    ("    password_file: ${NOPE}/x\n", "7:5: servers.main.password_file:", "NOPE is not set"),
    ("    password_file: .\n", "7:5: servers.main.password_file:", "Is a directory"),
    ("    password_file: empty\n", "7:5: servers.main.password_file:", "it is empty"),
    ("    password_file: blank\n", "7:5: servers.main.password_file:", "it is empty"),
    ("    password_file: binary\n", "7:5: servers.main.password_file:", "not UTF-8"),
    ("    password_file: large\n", "7:5: servers.main.password_file:", "larger than 1 MiB"),
    ("    password_file: [x]\n", "7:5: servers.main.password_file:", "path of a file"),
    ("    password_file:\n", "7:5: servers.main.password_file:", "path of a file"),
    ('    password_file: "a\\0b"\n', "7:5: servers.main.password_file:", "null"),
    ("    dsn_file: secret\n", "7:5: servers.main.dsn_file:", "dsn is given too"),
]


@pytest.mark.parametrize(("more", "begin", "words"), MISTAKES)
def test_each_mistake_has_its_place_and_its_mend(problems, tmp_path, more, begin, words) -> None:
    for name, data in {
        "secret": b"hunter2\n",
        "empty": b"",
        "blank": b" \n",
        "binary": b"\xff\xfe",
        "large": b"x" * (1 << 21),
    }.items():
        (tmp_path / name).write_bytes(data)
    (problem,) = problems(more)
    assert problem.startswith(f"guardian.yaml:{begin}"), problem
    assert words in problem


POLICIES = [
    ("match: {}, action: terminate", "every session would be a victim"),
    ("match: {blocking_backup: false}, action: terminate", "every session would be a victim"),
    ("match: {users: []}, action: terminate", "users is an empty list"),
    ("match: {state: idle, clients: []}, action: terminate", "clients is an empty list"),
    ("match: {state: []}, action: terminate", "state is an empty list"),
    ("match: {state: idle}, except: {users: []}, action: report", "users is an empty list"),
    ("match: {state: idle}, action: cancel", "cancel does nothing to an idle session"),
    ("match: {state: idle}, action: [terminate, cancel]", "a ladder is [cancel, terminate]"),
    ("match: {state: idle}, action: []", "at least one"),
    ("match: {state: idle}, action: kill", "is not known here"),
    ("match: {state: [idle, sleeping]}, action: report", "is not known here"),
    ("match: {clients: [10.0.0.300]}, action: report", "10.0.0.0/8"),
    ("match: {query: '('}, action: report", "regular expression"),
    ("match: {blocking: 0}, action: report", "at least 1"),
    ("match: {user: web}, action: report", "did you mean users?"),
    ("match: {state: idle}, exept: {users: x}, action: report", "did you mean except?"),
    ("match: {state: idle}", "action: is missing"),
]


@pytest.mark.parametrize(("policy", "words"), POLICIES)
def test_mistakes_in_policies(problems, policy, words) -> None:
    (problem,) = problems(f"    watch:\n      policies:\n        - {{name: a, {policy}}}\n")
    assert problem.startswith("guardian.yaml:9:")
    assert "servers.main.watch.policies[0]" in problem
    assert words in problem


def test_names_that_stand_twice(problems) -> None:
    policy = "        - {name: a, match: {state: idle}, action: report}\n"
    (problem,) = problems(f"    watch:\n      policies:\n{policy}{policy}")
    assert problem.startswith("guardian.yaml:10:12: servers.main.watch.policies[1].name:")


# The whole text.
TEXTS = [
    ("", "guardian.yaml is empty; write one with guardian init"),
    ("# nothing\n", "guardian.yaml is empty; write one with guardian init"),
    ("- a\n- b\n", "guardian.yaml:1:1: a mapping is needed at the top"),
    ("just words\n", "guardian.yaml:1:1: a mapping is needed at the top"),
    ("a: b\n\tc: d\n", "indent with spaces, not tabs"),
    ("a: [1, 2\nb: c\n", "guardian.yaml:2:"),
    ("a: b: c\n", "guardian.yaml:1:5: not YAML: mapping values are not allowed"),
    ("a:\n  b: 1\n c: 2\n", "guardian.yaml:3:2: not YAML:"),
    ("a: @x\n", "put the text in quotes"),
    ("a: *\n", 'put text that begins with * in quotes: "*"'),
    ("a: *b\n", "put text that begins with * in quotes"),
    ("servers: {m: {dsn: ${X}}}\n", "put ${NAME} in quotes within [] and {}"),
    ("a: 'b\n", "guardian.yaml:2:1: not YAML:"),
    ("a: 1\n---\nb: 2\n", "one document a file"),
    ("a: !!python/object:os.system x\n", "1:1: a: the tag '!!python/object:os.system'"),
    ("a: !mine {b: c}\n", "1:1: a: the tag '!mine'"),
    ("!mine {b: c}\n", "the tag '!mine'"),
    ("a: !!int x\n", "the tag '!!int'"),
    ("? [a, b]\n: c\n", "guardian.yaml:1:3: a key must be a plain word"),
    ("'': c\n", "a key must be a plain word"),
    ('a: "\\uD800"\n', "1:1: a: half of a surrogate pair"),
    ('"\\uD800": a\n', "a key must be a plain word"),
    ('a: "\\UFFFFFFFF"\n', "guardian.yaml:1:"),
    ("a: b\nc: \x07\n", "guardian.yaml:2:4: a character that YAML does not allow"),
    ("a: &a [*a]\n", "too many or too deeply nested"),
    ("a: &a {<<: *a}\n", "too many or too deeply nested"),
    ("<<: 5\n", "<< merges mappings only"),
    ("[" * 100_000, "nested too deeply"),
    ("{a: " * 100_000, "nested too deeply"),
    ("- " * 100_000, "nested too deeply"),
    ("a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
        f"{name}: &{name} [{','.join([f'*{before}'] * 9)}]\n"
        for before, name in zip("abcdefgh", "bcdefghi", strict=True)
    ), "too many or too deeply nested"),
    ("a: b\n" * 300_000, "larger than 1 MiB"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "words"), TEXTS, ids=lambda value: ascii(value[:30]))
def test_each_unfit_text_is_told_in_one_line(problems, text, words) -> None:
    found = problems(text=text)
    assert any(words in problem for problem in found), found
    assert all(len(problem) < 400 for problem in found)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"a: b\nc: \xff\n", "guardian.yaml:2:1: not UTF-8 text"),
        (b"\x7fELF\x02\x01\x00\x00", "guardian.yaml:1:1: a character"),
        ("a: b".encode("utf-16"), "not UTF-8 text"),
    ],
)
def test_bytes_that_are_no_text(problems, tmp_path, data, words) -> None:
    from guardian.config import InvalidConfigError, load_config

    (tmp_path / "guardian.yaml").write_bytes(data)
    with pytest.raises(InvalidConfigError, match=words):
        load_config(tmp_path / "guardian.yaml", {})


def test_a_folder_is_no_configuration(tmp_path) -> None:
    from guardian.config import InvalidConfigError, load_config

    with pytest.raises(InvalidConfigError, match="is a folder"):
        load_config(tmp_path, {})


def test_all_problems_are_told_in_the_files_order(problems) -> None:
    text = (
        "encryption: {}\n"
        "stores: {local: {kind: local}}\n"
        "servers:\n"
        "  main:\n"
        "    dns: x\n"
        "    backup: {timeout: 5, tries: 3, stores: [gone]}\n"
        "    password: ${NOPE}\n"
        "  bad name: {dsn: x}\n"
    )
    begins = [problem.split(": ")[0:2] for problem in problems(text=text)]
    assert begins == [
        ["guardian.yaml:1:1", "encryption"],
        ["guardian.yaml:2:10", "stores.local.path"],
        ["guardian.yaml:5:5", "servers.main.dns"],  # and not that dsn is missing
        ["guardian.yaml:6:14", "servers.main.backup.timeout"],
        ["guardian.yaml:6:26", "servers.main.backup.tries"],
        ["guardian.yaml:7:5", "servers.main.password"],
        ["guardian.yaml:8:3", "servers.bad name"],
    ]


def test_a_mistake_in_defaults_is_told_once_and_there(problems) -> None:
    more = "  two: {dsn: host=two}\ndefaults:\n  backup: {timeout: 5, schedule: '${NOPE}'}\n"
    first, second = problems(more)
    assert first.startswith("guardian.yaml:9:12: defaults.backup.timeout:")
    assert second.startswith("guardian.yaml:9:24: defaults.backup.schedule:")


def test_required_sections(problems) -> None:
    found = problems(text="state_dir: x\n")
    assert [problem.split(": ")[1] for problem in found] == ["encryption", "stores", "servers"]
    assert "at least one" in problems(text="encryption: {recipients: a}\nstores:\nservers:\n")[0]


SECRET = "hunter2 with-more"


@pytest.mark.parametrize(
    "key",
    [
        "backup: {timeout: '${S}'}",
        "backup: {schedule: '${S}'}",
        "backup: {timezone: '${S}'}",
        "backup: {attempts: '${S}'}",
        "backup: {proof: '${S}'}",
        "backup: {stores: ['${S}']}",
        "backup: {schedule_file: secret}",
        "backup: {timezone_file: secret}",
        "watch: {mode: '${S}'}",
        "globals: ${S}",
        "vitals: {disk: ['${S}', null]}",
        "retention: {keep_within: '${S}'}",
    ],
)
def test_a_secret_in_the_wrong_place_is_not_told(problems, tmp_path, key) -> None:
    (tmp_path / "secret").write_text(SECRET)
    for problem in problems(f"    {key}\n", S=SECRET):
        assert "hunter2" not in problem
        assert "with-more" not in problem
        assert "the value is from " in problem


def test_hostile_keys_are_shown_safely(problems) -> None:
    (problem,) = problems('"\\e[31mred": 1\n')
    assert "\x1b" not in problem
    assert "\\x1b[31mred" in problem


def test_where_no_configuration_is_the_mend_is_init(tmp_path, monkeypatch) -> None:
    from guardian.config.loader import find_config
    from guardian.errors import ConfigError

    with pytest.raises(ConfigError, match="guardian init"):
        find_config(tmp_path / "none.yaml", {})
    with pytest.raises(ConfigError, match="GUARDIAN_CONFIG"):
        find_config(None, {"GUARDIAN_CONFIG": str(tmp_path / "none.yaml")})
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match="--config"):
        find_config(None, {})
