"""The JSON Schema of guardian.yaml, for editors."""

from __future__ import annotations

from typing import Any

from guardian.config.models import Config

_VARIABLE = {"type": "string", "pattern": r"^\$\{.+\}$"}
_NO_SIBLING = {"name", "kind", "mode"}


def json_schema() -> dict[str, Any]:
    """Draft 2020-12. Values may be ``${NAME}``, secrets may come from ``…_file`` keys."""
    schema = Config.model_json_schema(by_alias=True)
    for definition in schema.get("$defs", {}).values():
        _open_up(definition)
    _open_up(schema)
    schema["required"] = ["encryption", "stores", "servers"]
    schema["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    schema["title"] = "guardian.yaml"
    return schema


def _open_up(definition: dict[str, Any]) -> None:
    properties = definition.get("properties")
    if not isinstance(properties, dict):
        return
    definition.setdefault("additionalProperties", False)
    required = set(definition.get("required", []))
    for name, value in list(properties.items()):
        if _is_secret(value) or (_is_text(value) and name not in _NO_SIBLING):
            properties.setdefault(
                f"{name}_file",
                {"type": "string", "description": f"a file that holds {name}"},
            )
            if name in required:
                definition.setdefault("allOf", []).append(
                    {"anyOf": [{"required": [name]}, {"required": [f"{name}_file"]}]}
                )
                required.discard(name)
        _allow_variables(value)
    if "required" in definition:
        definition["required"] = sorted(required)


def _is_secret(value: dict[str, Any]) -> bool:
    return value.get("format") == "password" or any(
        option.get("format") == "password" for option in value.get("anyOf", [])
    )


def _is_text(value: dict[str, Any]) -> bool:
    return value.get("type") == "string" and not {"enum", "const", "pattern", "format"} & set(value)


def _allow_variables(value: dict[str, Any]) -> None:
    """A number or a switch may also come from the environment."""
    if value.get("type") in {"integer", "number", "boolean"}:
        kept = {key: value.pop(key) for key in list(value) if key not in {"description", "default"}}
        value["anyOf"] = [kept, dict(_VARIABLE)]
