"""config/: the examples load, say everything, and fit the schema, which is current."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from guardian.config import load_config
from guardian.config.schema import json_schema
from guardian.config.starter import parse_store, starter_text

FOLDER = Path(__file__).parents[3] / "config"
FULL = FOLDER / "guardian.full.yaml"
MINIMAL = FOLDER / "guardian.minimal.yaml"
SCHEMA = FOLDER / "guardian.schema.json"


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    """What systemd would give: a folder with every credential that the full example names."""
    for name in re.findall(r"\$\{CREDENTIALS_DIRECTORY\}/([a-z0-9-]+)", FULL.read_text()):
        key = "key@" if name == "sentry-dsn" else ""  # a DSN has one
        (tmp_path / name).write_text(f"https://{key}credential.example/1\n")
    return {"CREDENTIALS_DIRECTORY": str(tmp_path), "DATABASE_URL": "postgresql://db/mina"}


@pytest.mark.parametrize("example", [MINIMAL, FULL], ids=lambda path: path.name)
def test_an_example_loads(example: Path, environ: dict[str, str]) -> None:
    config = load_config(example, environ)
    assert config.servers["main"].dsn.get_secret_value() == "postgresql://db/mina"
    assert config.servers["main"].backup.schedule == "0 2 * * *"


def test_the_schema_is_current() -> None:
    current = json.dumps(json_schema(), indent=2, ensure_ascii=False) + "\n"
    assert SCHEMA.read_text() == current, (
        "write it anew: guardian config schema > config/guardian.schema.json"
    )


def _properties(schema: Any) -> Iterator[str]:
    if isinstance(schema, dict):
        properties = schema.get("properties", {})
        for name in properties:
            # X and X_file are two ways to say one thing: either will do.
            yield name.removesuffix("_file") if name.removesuffix("_file") in properties else name
        for value in schema.values():
            yield from _properties(value)
    elif isinstance(schema, list):
        for value in schema:
            yield from _properties(value)


def test_the_full_example_names_every_key() -> None:
    text = FULL.read_text()
    names = set(_properties(json_schema()))
    assert {"state_dir", "keep_within", "page_after"} <= names
    assert [name for name in sorted(names) if not re.search(rf"\b{name}(_file)?\b", text)] == []


def _validate(text: str) -> None:
    schema = json_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.Draft202012Validator(schema).validate(yaml.safe_load(text))


@pytest.mark.parametrize("example", [MINIMAL, FULL], ids=lambda path: path.name)
def test_an_example_fits_the_schema(example: Path) -> None:
    _validate(example.read_text())


@pytest.mark.parametrize("store", ["/backups", "s3://bucket/prefix"])
def test_what_init_writes_fits_the_schema(store: str) -> None:
    _validate(starter_text("${DATABASE_URL}", parse_store(store), "guardian.passphrase"))


@pytest.mark.parametrize("example", [MINIMAL, FULL], ids=lambda path: path.name)
def test_the_schema_refuses_what_the_loader_refuses(example: Path) -> None:
    document = yaml.safe_load(example.read_text())
    document["servers"]["main"]["databses"] = ["x"]
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.Draft202012Validator(json_schema()).validate(document)
