"""Whatever the file holds: a configuration or a ConfigError, and nothing else."""

import string
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from guardian.config import load_config
from guardian.config.schema import json_schema
from guardian.errors import ConfigError

WORDS = sorted(
    {
        name
        for definition in [json_schema(), *json_schema()["$defs"].values()]
        for name in definition.get("properties", {})
    }
    | {"main", "local", "s3", "kind", "<<", "P0", "0m", "${X}", "${", "$${", "30s", "80%", "*"}
)
MODEST = settings(
    max_examples=150,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from(WORDS)
    | st.dates()
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(WORDS) | st.text(max_size=4), inner, max_size=4)
    ),
    max_leaves=12,
)


@pytest.fixture
def judge(tmp_path: Path):
    path = tmp_path / "guardian.yaml"

    def judge(data: bytes) -> None:
        path.write_bytes(data)
        try:
            config = load_config(path, {"X": "x"})
        except ConfigError as error:
            told = str(error)
        else:
            told = repr(type(config))
        assert told
        assert "\n" not in told

    return judge


@given(st.binary(max_size=200))
@MODEST
def test_bytes(judge: Any, data: bytes) -> None:
    judge(data)


@given(st.text(string.ascii_letters + "{}[]:-,&*!|>'\"#%@`?~ \n\t\\$<0129.", max_size=80))
@MODEST
def test_text_that_looks_like_yaml(judge: Any, text: str) -> None:
    judge(text.encode())


@given(st.dictionaries(st.sampled_from(WORDS), VALUES, max_size=5))
@MODEST
def test_documents_of_our_own_words(judge: Any, document: dict[str, Any]) -> None:
    judge(yaml.safe_dump(document, allow_unicode=True).encode())


@given(st.sampled_from(["servers", "stores", "escalation", "service", "defaults"]), VALUES)
@MODEST
def test_a_good_one_with_one_section_replaced(judge: Any, section: str, value: Any) -> None:
    document: dict[str, Any] = {
        "encryption": {"passphrase_file": "pass"},
        "stores": {"local": {"kind": "local", "path": "backups"}},
        "servers": {"main": {"dsn": "host=db"}},
    }
    judge(yaml.safe_dump(document | {section: value}).encode())


@given(st.sampled_from(["backup", "retention", "verify", "watch", "vitals", "dsn"]), VALUES)
@MODEST
def test_a_good_one_with_one_key_of_a_server_replaced(judge: Any, key: str, value: Any) -> None:
    document = {
        "encryption": {"passphrase_file": "pass"},
        "stores": {"local": {"kind": "local", "path": "backups"}},
        "servers": {"main": {"dsn": "host=db", key: value}},
    }
    judge(yaml.safe_dump(document).encode())
