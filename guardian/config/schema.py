"""The JSON Schema of guardian.yaml, for editors."""

from __future__ import annotations

from typing import Any

from pydantic import SecretStr
from pydantic_core import PydanticUndefined

from guardian.config.models import Config
from guardian.config.shape import Key, keys_of, sections_in
from guardian.config.show import plain

DRAFT = "https://json-schema.org/draft/2020-12/schema"
_VARIABLE = {"type": "string", "pattern": r"\$\{", "description": "from the environment"}
_COMPUTED = {"state_dir"}


def json_schema() -> dict[str, Any]:
    """Draft 2020-12. Values may be ``${NAME}``; texts may come from ``…_file`` keys."""
    schema = Config.model_json_schema(by_alias=True)
    definitions: dict[str, Any] = schema.get("$defs", {})
    for section in sections_in(Config):
        definition = schema if section is Config else definitions[section.__name__]
        _describe(definition, keys_of(section), definitions)
    unused = [name for name, definition in definitions.items() if "enum" in definition]
    for name in unused:
        del definitions[name]
    return {"$schema": DRAFT, **schema, "title": "guardian.yaml"}


def _describe(
    definition: dict[str, Any], keys: dict[str, Key], definitions: dict[str, Any]
) -> None:
    """Complete the schema of one section."""
    properties: dict[str, Any] = definition["properties"]
    required = [name for name in definition.pop("required", []) if name not in _COMPUTED]
    for name, key in keys.items():
        value = properties[name] = _with_words_inline(properties[name], definitions)
        value.pop("title", None)
        for option in value.get("additionalProperties", {}).get("oneOf", ()):
            if "patternProperties" in option:
                option["additionalProperties"] = False
        value.pop("default", None)
        default = _default(key, name)
        if default not in (None, []) and not isinstance(default, dict):
            value["default"] = default
        if not key.shape.is_text or key.shape.is_list:
            properties[name] = _with_variables(value) if name != "kind" else value
            continue
        properties.setdefault(
            f"{name}_file", {"type": "string", "description": f"a file that holds {name}"}
        )
        _forget_password(value)
        if name in required:
            required.remove(name)
            definition.setdefault("allOf", []).append(
                {"oneOf": [{"required": [name]}, {"required": [f"{name}_file"]}]}
            )
    if required:
        definition["required"] = required
    definition["additionalProperties"] = False


def _default(key: Key, name: str) -> Any:
    if key.default is PydanticUndefined:
        return None
    if isinstance(key.default, SecretStr):
        return key.default.get_secret_value()  # a default is no secret
    return plain(key.default, name)


def _with_words_inline(value: dict[str, Any], definitions: dict[str, Any]) -> dict[str, Any]:
    """An enumeration in its place rather than by reference, so that it can be widened."""
    target = definitions.get(str(value.get("$ref", "")).rpartition("/")[2], {})
    if "enum" not in target:
        return value
    rest = {name: each for name, each in value.items() if name != "$ref"}
    return {**target, **rest}


def _forget_password(value: dict[str, Any]) -> None:
    """A secret is written like any text here; ``writeOnly`` would make editors complain."""
    for option in (value, *value.get("anyOf", [])):
        option.pop("format", None)
        option.pop("writeOnly", None)


def _with_variables(value: dict[str, Any]) -> dict[str, Any]:
    """Let numbers, switches and fixed words come from the environment, also within lists."""
    if "prefixItems" in value:
        value["prefixItems"] = [_with_variables(item) for item in value["prefixItems"]]
    if isinstance(value.get("items"), dict):
        value["items"] = _with_variables(value["items"])
    if "anyOf" in value:
        options = [_with_variables(option) for option in value["anyOf"]]
        alone = [option for option in options if option != _VARIABLE]
        value["anyOf"] = _flattened(alone)
        return value
    if not (value.get("type") in {"integer", "number", "boolean"} or "enum" in value):
        return value
    if "const" in value or "$ref" in value:
        return value
    outer: dict[str, Any] = {
        name: value.pop(name) for name in ("description", "default") if name in value
    }
    return {**outer, "anyOf": [value, dict(_VARIABLE)]}


def _flattened(options: list[dict[str, Any]]) -> list[dict[str, Any]]:
    flat: list[dict[str, Any]] = []
    for option in options:
        for each in option["anyOf"] if set(option) == {"anyOf"} else [option]:
            if each not in flat:
                flat.append(each)
    return flat
