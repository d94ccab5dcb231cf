"""Whatever the file holds: a configuration, or an error of ours. Never anything else."""

import json
import string
from collections.abc import Mapping
from pathlib import Path

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from guardian.config import Config, load_config
from guardian.config.loader import load
from guardian.config.models import ServerConfig
from guardian.config.shape import keys_of, sections_in
from guardian.config.show import mask_dsn, origins, shown, shown_lines
from guardian.errors import InvalidConfigError

EXAMPLES = Path(__file__).parents[3] / "config"
FULL = (EXAMPLES / "guardian.full.yaml").read_text()
KEYS = sorted({key for section in sections_in(Config) for key in keys_of(section)})
SLOW = settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)

WORDS = """null true 5 -1 1.5 30s 5GiB 80% * P0 local s3 ${X} ${Y:-5} ${ $${ digest embedded idle
http://x after-backup 0m mon-fri 09:00 [] {} ~"""
words = st.sampled_from(["", "0 2 * * *", "every 6h", *WORDS.split()])
scalars = st.one_of(
    *(st.none(), st.booleans(), st.integers(), st.floats(), words, st.text(max_size=12)),
    st.dates(),
)
keys = (
    st.sampled_from(KEYS) | st.sampled_from([f"{key}_file" for key in KEYS]) | st.text(max_size=6)
)
documents = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(keys, inner, max_size=5),
    max_leaves=40,
)
yamlish = st.text(
    alphabet=st.sampled_from(
        list("{}[]:,-#&*!|>'\"%@`?<~$\\ \n\t") + list(string.ascii_letters[:8])
    ),
    max_size=60,
)


def outcome(file: Path, environ: Mapping[str, str]) -> list[str]:
    """What a person would read of this file: the configuration, or what is wrong with it."""
    try:
        loaded = load(file, environ)
    except InvalidConfigError as error:
        return list(error.problems)
    return [*shown_lines(loaded), json.dumps(shown(loaded)), json.dumps(origins(loaded))]


def attempt(folder: Path, data: bytes) -> None:
    file = folder / "guardian.yaml"
    file.write_bytes(data)
    said = outcome(file, {"X": "x"})
    assert said
    assert all("\n" not in line for line in said)


@SLOW
@given(data=st.binary(max_size=80))
def test_any_bytes(tmp_path, data) -> None:
    attempt(tmp_path, data)


@SLOW
@given(text=yamlish | st.text(max_size=80))
def test_any_text(tmp_path, text) -> None:
    attempt(tmp_path, text.encode("utf-8", "surrogatepass"))


@SLOW
@given(document=st.dictionaries(st.sampled_from(KEYS), documents, max_size=6))
def test_any_document(tmp_path, document) -> None:
    attempt(tmp_path, yaml.dump(document, allow_unicode=True).encode("utf-8", "surrogatepass"))


SMALLEST = {
    "encryption": {"passphrase_file": "pass"},
    "stores": {"local": {"kind": "local", "path": "backups"}},
    "servers": {"main": {"dsn": "host=db"}},
}


@SLOW
@given(section=st.sampled_from(sorted(Config.model_fields)), value=documents)
def test_the_smallest_with_one_section_replaced(tmp_path, section, value) -> None:
    document = {**SMALLEST, section: value}
    attempt(tmp_path, yaml.dump(document, allow_unicode=True).encode("utf-8", "surrogatepass"))


@SLOW
@given(key=st.sampled_from(sorted(ServerConfig.model_fields)), value=documents)
def test_the_smallest_with_one_key_of_its_server_replaced(tmp_path, key, value) -> None:
    document = {**SMALLEST, "servers": {"main": {"dsn": "host=db", key: value}}}
    attempt(tmp_path, yaml.dump(document, allow_unicode=True).encode("utf-8", "surrogatepass"))


@SLOW
@given(data=st.data())
def test_the_full_example_with_pieces_replaced(tmp_path, credentials, data) -> None:
    """Mutations of a good file reach far deeper than random text does."""
    document = yaml.safe_load(FULL)
    for _ in range(data.draw(st.integers(1, 3))):
        node = document
        while isinstance(node, dict | list) and node:
            places = list(node) if isinstance(node, dict) else list(range(len(node)))
            place = data.draw(st.sampled_from(places))
            if not isinstance(node[place], dict | list) or data.draw(st.integers(0, 3)) == 0:
                node[place] = data.draw(documents)
                break
            node = node[place]
    file = tmp_path / "guardian.yaml"
    file.write_text(yaml.dump(document, allow_unicode=True), encoding="utf-8", errors="replace")
    assert "canary" not in " ".join(outcome(file, {**credentials, "X": "x"}))


@SLOW
@given(
    password=st.text(
        st.characters(codec="utf-8", exclude_characters="\0"), min_size=3, max_size=12
    ),
    user=st.text(string.ascii_letters, min_size=1, max_size=5),
)
def test_no_password_survives_the_mask(password, user) -> None:
    from urllib.parse import quote

    secret = f"canary{password}canary"
    quoted = "'" + secret.replace("\\", "\\\\").replace("'", "\\'") + "'"
    escaped = "".join(f"\\{c}" if c in "\\'" or c.isspace() else c for c in secret)
    for dsn in (
        f"postgresql://{user}:{quote(secret, safe='')}@host/db",
        f"postgresql://{user}:{secret}@host/db",
        f"postgresql+psycopg://{user}@host/db?password={quote(secret, safe='')}&sslmode=require",
        f"postgresql://host/db?sslmode=require&pass%77ord={quote(secret, safe='')}",
        f"host=db password={quoted} user={user}",
        f"user={user} password = {quoted}",
        f"password={escaped} user={user}",
        f"password='{secret.replace(chr(39), '')}",  # not closed
    ):
        masked = mask_dsn(dsn)
        assert "canary" not in masked, (dsn, masked)
        assert "********" in masked


@pytest.mark.parametrize(
    "dsn",
    [
        "postgresql://user@host:5432/db?sslmode=require",
        "postgresql:///db",
        "postgresql://[::1]:5432/db",
        "host=/run/postgresql dbname=mina user='a b'",
        "sqlite:////var/lib/guardian/catalog.db",
        "embedded",
    ],
)
def test_what_holds_no_secret_stays(dsn) -> None:
    assert mask_dsn(dsn) == dsn


def test_a_loaded_configuration_is_what_load_config_gives(tmp_path, credentials) -> None:
    file = EXAMPLES / "guardian.full.yaml"
    assert load(file, credentials).config == load_config(file, credentials)
