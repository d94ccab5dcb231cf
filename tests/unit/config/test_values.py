"""What good configurations mean."""

from datetime import timedelta
from pathlib import Path

import pytest

from guardian.backup.retention import RetentionPolicy
from guardian.config.tree import parse_tree
from guardian.config.types import Percent, duration_text
from guardian.model import ProofLevel
from guardian.units import parse_duration


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("on", "on"),
        ("off", "off"),
        ("yes", "yes"),
        ("n", "n"),
        ("12:30", "12:30"),
        ("09:00", "09:00"),
        ("1:2:3.4", "1:2:3.4"),
        ("2026-11-23", "2026-11-23"),
        ("0123", "0123"),
        ("0o17", "0o17"),
        ("0x1F", "0x1F"),
        ("1_000", "1_000"),
        (".inf", ".inf"),
        (".nan", ".nan"),
        ("=", "="),
        ("60s", "60s"),
        ("0 2 * * *", "0 2 * * *"),
        ("'5'", "5"),
        ('"true"', "true"),
        ("!!str 5", "5"),
        ("|\n  5\n", "5\n"),
        ("123456789012345678901234567890", "123456789012345678901234567890"),
        ("true", True),
        ("False", False),
        ("null", None),
        ("~", None),
        ("", None),
        ("'~'", "~"),
        ("5", 5),
        ("-5", -5),
        ("0", 0),
        ("1.5", 1.5),
        ("1e3", 1000.0),
        ("!!int 5", 5),
    ],
)
def test_yaml_scalars_are_of_the_core_schema(written, meant) -> None:
    value = parse_tree(f"a: {written}\n", "f").data["a"]
    assert value == meant
    assert type(value) is type(meant)


def test_keys_are_text() -> None:
    assert parse_tree("5: a\ntrue: b\n1.50: c\nnull: d\n", "f").data == {
        "5": "a",
        "true": "b",
        "1.50": "c",
        "null": "d",
    }


def test_anchors_and_merges() -> None:
    text = (
        "base: &base {a: 1, b: 2}\n"
        "more: &more {b: 3, c: 4}\n"
        "one:\n  <<: *base\n  b: 5\n"
        "two: {<<: [*more, *base], d: *base}\n"
    )
    tree = parse_tree(text, "f")
    assert tree.data["one"] == {"a": 1, "b": 5}
    assert tree.data["two"] == {"b": 3, "c": 4, "a": 1, "d": {"a": 1, "b": 2}}
    assert str(tree.places["one", "b"]) == "f:5:3"  # its own, not the merged one
    assert str(tree.places["one", "a"]) == "f:1:14"


def test_a_byte_order_mark_is_passed_over(load) -> None:
    text = "encryption: {recipients: A}\nstores: {l: {kind: local, path: b}}\n"
    assert load(text=f"\ufeff{text}servers: {{m: {{dsn: d}}}}\n").encryption.recipients == ["A"]


def test_the_smallest_configuration(load, tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("HOME", "/home/someone")
    config = load()
    assert config.encryption.passphrase_file == tmp_path / "pass"
    assert config.stores["local"].path == tmp_path / "backups"
    assert config.state_dir == Path("/home/someone/.local/state/guardian")
    assert config.catalog is None
    assert config.catalog_url == "sqlite:////home/someone/.local/state/guardian/catalog.db"
    server = config.servers["main"]
    assert server.dsn.get_secret_value() == "host=db"
    assert server.password is None
    assert server.databases is None
    assert server.globals is True
    assert server.retention == RetentionPolicy()
    assert server.backup.stores == ["local"]
    assert server.backup.schedule is None
    assert server.backup.proof is ProofLevel.CONTENT
    assert server.verify.schedule == "after-backup"
    assert server.watch.mode == "observe"
    assert server.vitals.connections == (Percent(80), Percent(95))
    assert config.service.listen == "127.0.0.1:8765"


def test_state_dir_of_systemd(load) -> None:
    assert load(STATE_DIRECTORY="/var/lib/a:/var/lib/b").state_dir == Path("/var/lib/a")
    assert load("state_dir: here\n", STATE_DIRECTORY="/x").state_dir.name == "here"


def test_values_from_the_environment(load) -> None:
    config = load(
        "    databases: ['${DB}', 'x${DB}y']\n"
        "    globals: ${FLAG}\n"
        "    exclude_databases: ['${EMPTY:-fallback}', '${UNSET:-}z', '$${DB}', $DB]\n"
        "    password: ${SECRET}\n"
        "    backup: {attempts: '${N}', timeout: '${T:-2h}'}\n",
        DB="mina",
        FLAG="false",
        EMPTY="",
        N="7",
        SECRET="${DB} stays",
    )
    server = config.servers["main"]
    assert server.databases == ["mina", "xminay"]
    assert server.globals is False
    assert server.exclude_databases == ["fallback", "z", "${DB}", "$DB"]
    assert server.password is not None
    assert server.password.get_secret_value() == "${DB} stays"
    assert server.backup.attempts == 7
    assert server.backup.timeout == timedelta(hours=2)


def test_an_empty_fallback_leaves_an_optional_key_unset(load) -> None:
    more = "    password: ${PW:-}\n    databases: ${DBS:-}\n"
    assert load(more).servers["main"].password is None
    assert load(more).servers["main"].databases is None


@pytest.mark.parametrize(
    ("content", "meant"),
    [
        (b"hunter2", "hunter2"),
        (b"hunter2\n", "hunter2"),
        (b"hunter2\r\n", "hunter2"),
        (b"hunter2\n\n", "hunter2\n"),
        (b" a b \n", " a b "),
        ("${NOT} $${X} \N{DOG FACE}".encode(), "${NOT} $${X} \N{DOG FACE}"),
    ],
)
def test_values_from_files(load, tmp_path, content, meant) -> None:
    (tmp_path / "secret").write_bytes(content)
    for name in ("secret", f"{tmp_path}/secret", "${DIR}/secret"):
        password = load(f"    password_file: {name}\n", DIR=str(tmp_path)).servers["main"].password
        assert password is not None
        assert password.get_secret_value() == meant


def test_a_file_in_place_of_a_required_key(load, tmp_path) -> None:
    (tmp_path / "dsn").write_text("host=elsewhere\n")
    config = load("  two: {dsn_file: dsn}\n")
    assert config.servers["two"].dsn.get_secret_value() == "host=elsewhere"


def test_keys_that_mean_the_path_itself(load) -> None:
    assert str(load().encryption.passphrase_file).endswith("/pass")  # and need not exist


def test_free_keys_may_end_in_file(load) -> None:
    config = load("probes: [{kind: http, name: a, url: http://x, expect_json: {my_file: x}}]\n")
    assert config.probes[0].expect_json == {"my_file": "x"}


def test_numbers_where_text_is_meant(load) -> None:
    config = load(
        "    password: 12345\n    databases: [2024, 1.50, 12345E78]\n    exclude_databases: 7\n"
    )
    server = config.servers["main"]
    assert server.password is not None
    assert server.password.get_secret_value() == "12345"
    assert server.databases == ["2024", "1.50", "12345E78"]
    assert server.exclude_databases == ["7"]


def test_one_value_for_a_list(load) -> None:
    more = (
        "    databases: mina\n"
        "    watch: {policies: [{name: a, match: {state: idle, for: 1m}, action: terminate}]}\n"
    )
    server = load(more).servers["main"]
    assert server.databases == ["mina"]
    assert server.watch.policies[0].match.state == ["idle"]
    assert server.watch.policies[0].action == ["terminate"]


@pytest.mark.parametrize(
    ("dsn", "password"),
    [
        ("host=db user=u", "common"),
        ("host=db user=u password=own", None),
        ("password = 'o w n' host=db", None),
        ("host=db password=", "common"),
        ("host=db sslpassword=own", "common"),
        ("postgresql://u:own@db/app", None),
        ("postgresql://u@db/app?password=own", None),
        ("postgresql://u@db/app?sslpassword=own", "common"),
        ("postgresql://u:@db/app", "common"),
        ("postgresql://u:own@one:5432,two:5433/app", None),
        ("postgresql://[u@db/app", "common"),
    ],
)
def test_a_password_for_all_leaves_a_dsns_own_alone(load, dsn, password) -> None:
    config = load(f'  two: {{dsn: "{dsn}"}}\ndefaults: {{password: common}}\n')
    found = config.servers["two"].password
    assert (found and found.get_secret_value()) == password


def test_a_servers_own_password_goes_before_its_dsns(load) -> None:
    more = "  two: {dsn: postgresql://u:own@db/app, password: beside}\n"
    found = load(more + "defaults: {password: common}\n").servers["two"].password
    assert found.get_secret_value() == "beside"


def test_defaults_lie_beneath_each_server(load, tmp_path) -> None:
    (tmp_path / "pw").write_text("from-file")
    config = load(
        "    backup: {timeout: 1h}\n"
        "    exclude_databases: [own]\n"
        "    retention:\n"
        "  two:\n"
        "    dsn: host=two\n"
        "    password: own\n"
        "defaults:\n"
        "  password_file: pw\n"
        "  exclude_databases: [a, b]\n"
        "  backup: {timeout: 2h, attempts: 9, compression: {level: 5}}\n"
        "  retention: {keep_last: 8}\n"
    )
    one, two = config.servers["main"], config.servers["two"]
    assert (one.backup.timeout, two.backup.timeout) == (timedelta(hours=1), timedelta(hours=2))
    assert one.backup.attempts == two.backup.attempts == 9
    assert one.backup.compression.level == 5
    assert (one.exclude_databases, two.exclude_databases) == (["own"], ["a", "b"])
    assert one.retention.keep_last == 8
    assert one.retention.keep_daily == RetentionPolicy().keep_daily
    assert one.password is not None
    assert two.password is not None
    assert one.password.get_secret_value() == "from-file"
    assert two.password.get_secret_value() == "own"


def test_null_overrides_a_default(load) -> None:
    config = load("    backup: {schedule: null}\ndefaults: {backup: {schedule: 0 2 * * *}}\n")
    assert config.servers["main"].backup.schedule is None


def test_empty_sections_are_as_good_as_none(load) -> None:
    config = load("    backup:\n    databases:\nprobes:\nescalation:\nservice:\ndefaults:\n")
    assert config.probes == []
    assert config.servers["main"].databases is None


def test_the_ladder_knows_durations(load) -> None:
    config = load(
        "escalation:\n"
        "  channels: {c: {kind: sentry, dsn: 'https://k@sentry.example/1'}}\n"
        "  people: {on-call: c}\n"
        "  ladder: {P0: {0m: on-call, 1h30m: [on-call]}, P3: digest}\n"
    )
    assert config.escalation.ladder == {
        "P0": {timedelta(0): ["on-call"], timedelta(minutes=90): ["on-call"]},
        "P3": "digest",
    }


def test_vitals(load) -> None:
    more = "    vitals: {connections: [70.5%, null], disk: null, slot_retained_wal: [1GB, 2GB]}\n"
    vitals = load(more).servers["main"].vitals
    assert vitals.connections == (70.5, None)
    assert vitals.disk is None
    assert vitals.slot_retained_wal == (10**9, 2 * 10**9)
    assert vitals.replica_lag == (timedelta(minutes=5), timedelta(minutes=30))


def test_listening_everywhere_with_a_token(load) -> None:
    assert load("service: {listen: '[::]:80', token: t}\n").service.listen == "[::]:80"


def test_the_configuration_cannot_be_changed(load) -> None:
    config = load()
    with pytest.raises(ValueError, match="frozen"):
        config.state_dir = Path("/x")
    with pytest.raises(ValueError, match="frozen"):
        config.servers["main"].backup.attempts = 5


def test_secrets_are_not_in_any_text_of_the_configuration(load, credentials) -> None:
    text = (Path(__file__).parents[3] / "config" / "guardian.full.yaml").read_text()
    config = load(text=text, **credentials)
    for shown in (str(config), repr(config), config.model_dump_json(), str(config.model_dump())):
        assert "canary" not in shown


@pytest.mark.parametrize("text", ["0s", "30s", "1h30m", "7d", "1d2h3m4s5ms", "90m"])
def test_durations_are_written_exactly(text) -> None:
    assert parse_duration(duration_text(parse_duration(text))) == parse_duration(text)
