"""The configuration reference: docs/configuration.md, made from the models.

``python -m guardian.config.reference > docs/configuration.md`` writes it anew.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from inspect import cleandoc
from typing import Any, get_args

from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from guardian.config.models import Config, DefaultsConfig
from guardian.config.schema import json_schema
from guardian.config.shape import Key, Shape, keys_of
from guardian.config.show import plain

_HEAD = """\
# Configuration reference

<!-- Made by `python -m guardian.config.reference > docs/configuration.md`; do not edit it here. -->

Every key of `guardian.yaml`, with its default. [guardian.full.yaml](../config/guardian.full.yaml)
shows them in one piece, [guardian.minimal.yaml](../config/guardian.minimal.yaml) the few that are
needed; [operating.md](operating.md) says what to do with them.

- Durations are written `30s`, `5m`, `2h`, `7d` or `1h30m`; sizes `64MB`, `5GiB`.
- `${NAME}` takes an environment variable, at any place of any value; `$${` is a plain `${`.
- Each key that takes a text may be written with `_file` at its end: the value is then read from
  that file, without its last line end. So `password_file: /etc/guardian/password`.
- Where a list of words is expected, one word alone will do.
- Keys that guardian does not know are errors that name the line and the nearest known key. An
  editor with YAML's language server completes and checks them by
  [guardian.schema.json](../config/guardian.schema.json).
- `guardian config check` checks a file, `guardian config show` prints it with the defaults filled
  in, secrets masked, and where each value came from.
"""
_WIDEST_DEFAULT = 60


@dataclass(frozen=True, slots=True)
class _Place:
    """A section where it stands: ``escalation.channels.*``, there those with ``kind: slack``."""

    path: str
    section: type[Any]

    @property
    def kind(self) -> str | None:
        """The word that tells it from the others at that place."""
        key = keys_of(self.section).get("kind")
        return None if key is None else str(get_args(key.annotation)[0])

    @property
    def title(self) -> str:
        """Its heading."""
        if not self.path:
            return "The file"
        return f"`{self.path}`" + (f", `kind: {self.kind}`" if self.kind else "")


def reference() -> str:
    """All of it, as Markdown."""
    schema = json_schema()
    definitions: Mapping[str, Any] = {**schema["$defs"], Config.__name__: schema}
    told: dict[type[Any], _Place] = {}
    parts = [_HEAD]
    for place in _places(_Place("", Config)):
        earlier = told.setdefault(place.section, place)
        if earlier is place:
            parts.append("\n".join(_part(place, definitions[place.section.__name__])))
        elif earlier.path != place.path:
            parts.append(f"## {place.title}\n\nThe keys of {earlier.title}.\n")
    return "\n".join(parts)


def _places(place: _Place) -> Iterator[_Place]:
    """A section and all within it, in the order of the keys."""
    yield place
    if place.section is DefaultsConfig:
        return
    for name, key in keys_of(place.section).items():
        path = f"{place.path}.{name}" if place.path else name
        for inner in _sections(path, key.shape):
            yield from _places(inner)


def _sections(path: str, shape: Shape) -> Iterator[_Place]:
    for option in shape.options:
        if isinstance(option, type) and (
            issubclass(option, BaseModel) or hasattr(option, "__dataclass_fields__")
        ):
            yield _Place(path, option)
    item = shape.item()
    if item is not None:
        yield from _sections(f"{path}{'[]' if shape.is_list else '.*'}", item)


def _part(place: _Place, definition: Mapping[str, Any]) -> Iterator[str]:
    yield f"## {place.title}"
    yield ""
    if place.section is not Config:
        yield cleandoc(place.section.__doc__ or "").partition("\n\n")[0].replace("\n", " ")
        yield ""
    if place.section is DefaultsConfig:
        yield "The keys of `servers.*`, but for `dsn`."
        yield ""
        return
    yield "| key | default | |"
    yield "|---|---|---|"
    keys = keys_of(place.section)
    for name in sorted(keys, key=lambda one: keys[one].default is not PydanticUndefined):
        key = keys[name]
        if name == "kind":
            continue
        said = definition["properties"][name]
        words = _words(key)
        text = _cell(said["description"]) + (f"; one of {words}" if words else "")
        yield f"| `{name}` | {_default(name, key)} | {text} |"
    yield ""


def _words(key: Key) -> str:
    """The words that are allowed, where there are a few of them."""
    words = [one for option in key.shape.options for one in get_args(option)]
    if not words or not all(isinstance(one, str) for one in words):
        return ""
    return ", ".join(f"`{one}`" for one in words)


def _default(name: str, key: Key) -> str:
    if name == "state_dir":
        return ""  # it is computed; the text says how
    if key.default is PydanticUndefined:
        return "**needed**"
    if hasattr(key.default, "get_secret_value"):
        return f"`{key.default.get_secret_value()}`"  # a default is no secret
    value = plain(key.default, name)
    if isinstance(value, dict) and not isinstance(key.default, dict):
        return "see below"
    if value in (None, [], {}, ""):
        return "none"
    text = _written(value)
    return f"`{_cell(text)}`" if len(text) <= _WIDEST_DEFAULT else "see below"


def _written(value: Any) -> str:
    """As one would write it: what counts in whole MiB is a size."""
    if isinstance(value, list):
        return f"[{', '.join(map(_written, value))}]"
    if isinstance(value, dict):
        return f"{{{', '.join(f'{key}: {_written(one)}' for key, one in value.items())}}}"
    if isinstance(value, int) and value and not isinstance(value, bool):
        for unit, word in ((1 << 30, "GiB"), (1 << 20, "MiB")):
            if value % unit == 0:
                return f"{value // unit}{word}"
    return value if isinstance(value, str) else json.dumps(value)


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;")


if __name__ == "__main__":
    sys.stdout.write(reference())
