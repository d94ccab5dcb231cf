"""The examples load, the schema is the generated one and accepts them, and no key is forgotten."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from guardian.cli.console import emit_json
from guardian.config import Config, load_config
from guardian.config.schema import json_schema
from guardian.config.shape import keys_of, sections_in
from guardian.config.tree import parse_tree

FOLDER = Path(__file__).parents[3] / "config"
EXAMPLES = ["minimal", "full"]
SCHEMA = jsonschema.Draft202012Validator(json_schema())


def text_of(name: str) -> str:
    return (FOLDER / f"guardian.{name}.yaml").read_text()


@pytest.mark.parametrize("name", EXAMPLES)
def test_examples_load(name, credentials) -> None:
    assert load_config(FOLDER / f"guardian.{name}.yaml", credentials).servers


@pytest.mark.parametrize("name", EXAMPLES)
def test_examples_begin_with_the_schema(name) -> None:
    assert text_of(name).startswith("# yaml-language-server: $schema=guardian.schema.json\n")


@pytest.mark.parametrize("name", EXAMPLES)
def test_editors_accept_the_examples(name) -> None:
    document = parse_tree(text_of(name), name).data
    assert [error.message for error in SCHEMA.iter_errors(document)] == []


def test_the_generated_schema_is_the_committed_one(capsys) -> None:
    emit_json(json_schema())
    committed = (FOLDER / "guardian.schema.json").read_text()
    assert committed == capsys.readouterr().out, (
        "run: guardian config schema > config/guardian.schema.json"
    )


def test_the_schema_is_one() -> None:
    schema = json_schema()
    assert schema["$schema"].endswith("2020-12/schema")
    jsonschema.Draft202012Validator.check_schema(schema)
    references = set(re.findall(r'"#/\$defs/(\w+)"', json.dumps(schema)))
    assert references == set(schema["$defs"])


def properties(schema: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for title, definition in {"Config": schema, **schema["$defs"]}.items():
        for name, value in definition["properties"].items():
            yield f"{title}.{name}", value


def test_every_key_is_described() -> None:
    schema = json_schema()
    assert [name for name, value in properties(schema) if not value.get("description")] == []


def test_only_what_json_schema_knows() -> None:
    assert not re.search(r'"(ge|le|gt|lt)":', json.dumps(json_schema()))


def test_the_full_example_names_every_key() -> None:
    """Also in comments, where keys exclude each other."""
    words = set(re.findall(r"[\w]+", text_of("full")))
    for section in sections_in(Config):
        for key in keys_of(section):
            assert key in words or f"{key}_file" in words, f"{section.__name__}.{key}"


MINIMAL = yaml.safe_load(text_of("minimal"))


def with_server(**more: Any) -> dict[str, Any]:
    return {**MINIMAL, "servers": {"main": {"dsn": "x", **more}}}


@pytest.mark.parametrize(
    "document",
    [
        with_server(backup={"attempts": "${N}", "timeout": "${T}", "proof": "${P}"}),
        with_server(globals="${FLAG}", databases="*", exclude_databases=["a"]),
        with_server(retention={"keep_last": "${N}", "keep_within": "1h30m"}),
        with_server(vitals={"disk": ["80%", None], "connections": None, "backup_age": [1, 2.5]}),
        with_server(verify={"schedule": None}),
        {**MINIMAL, "servers": {"main": {"dsn_file": "x"}}},
        {**MINIMAL, "escalation": {"ladder": {"P0": {"0m": "a"}, "P3": "digest"}}},
    ],
)
def test_editors_accept_what_the_loader_does(document) -> None:
    assert [error.message for error in SCHEMA.iter_errors(document)] == []


@pytest.mark.parametrize(
    "document",
    [
        {},
        {**MINIMAL, "sevrers": {}},
        {**MINIMAL, "stores": {"a": {"kind": "tape"}}},
        {**MINIMAL, "servers": {"main": {}}},
        {**MINIMAL, "servers": {"main": {"dsn": "x", "dsn_file": "y"}}},
        with_server(backup={"timeout": "5 parsecs"}),
        with_server(backup={"timeout": 5}),
        with_server(backup={"attempts": 0}),
        with_server(backup={"attempts": "many"}),
        with_server(backup={"proof": "trust me"}),
        with_server(retention={"keep_last": -1}),
        with_server(vitals={"disk": ["80%"]}),
        {**MINIMAL, "escalation": {"ladder": {"P0": {"soon": "a"}}}},
    ],
)
def test_editors_refuse_what_the_loader_does(document) -> None:
    assert not SCHEMA.is_valid(document)
