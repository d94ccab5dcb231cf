"""Pydantic's findings as sentences for people: the cause, and the mend behind a semicolon."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Any

from pydantic_core import ErrorDetails

_SENTENCES = {
    "missing": "is missing",
    "extra_forbidden": "unknown key",
    "int_type": "a whole number is needed here",
    "int_parsing": "a whole number is needed here",
    "int_from_float": "a whole number is needed here",
    "float_type": "a number is needed here",
    "float_parsing": "a number is needed here",
    "bool_type": "true or false is needed here",
    "bool_parsing": "true or false is needed here",
    "list_type": "a list is needed here; write [one, two]",
    "tuple_type": "a list is needed here; write [one, two]",
    "dict_type": "a mapping is needed here; write key: value",
    "model_type": "a mapping is needed here; write key: value",
    "model_attributes_type": "a mapping is needed here; write key: value",
    "path_type": "the path of a file or folder is needed here",
    "greater_than_equal": "must be at least {ge}",
    "less_than_equal": "must be at most {le}",
}


def sentence(detail: ErrorDetails, value: Any) -> str:
    """What is wrong with ``value``, which the file has there."""
    kind = detail["type"]
    context: Mapping[str, Any] = detail.get("ctx", {})
    if kind in {"string_type", "path_type"}:
        return _not_text(value)
    if kind in {"enum", "literal_error"}:
        return _not_among(value, str(context["expected"]))
    if kind == "union_tag_invalid":
        return _not_among(value, str(context["expected_tags"]))
    if kind == "union_tag_not_found":
        return "kind is missing; every entry here needs one"
    if kind in {"too_short", "string_too_short"}:
        return "at least one is needed here"
    if kind in _SENTENCES:
        return _SENTENCES[kind].format(**context)
    message = detail["msg"].removeprefix("Value error, ").removeprefix("Input ")
    return message[:1].lower() + message[1:]


def _not_text(value: Any) -> str:
    if isinstance(value, dict | list):
        return "one text is needed here, not a " + (
            "mapping" if isinstance(value, dict) else "list"
        )
    if value is None:
        return "a value is needed here"
    written = str(value).lower() if isinstance(value, bool) else str(value)
    return f'text is needed here; put it in quotes: "{written}"'


def _not_among(value: Any, expected: str) -> str:
    known = [word.strip("' ") for word in expected.replace(" or ", ",").split(",")]
    near = difflib.get_close_matches(str(value), known, n=1)
    mend = f"did you mean {near[0]}?" if near else f"write {', '.join(known[:-1])} or {known[-1]}"
    if len(known) == 1:
        mend = f"write {known[0]}"
    if isinstance(value, dict | list):
        return f"one word is needed here; {mend}"
    return f"{_written(value)} is not known here; {mend}"


def _written(value: Any) -> str:
    if value is None:
        return "null"
    return str(value).lower() if isinstance(value, bool) else repr(value)
