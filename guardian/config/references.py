"""Names in the configuration that must be defined elsewhere in it, or stand only once."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from guardian.config.tree import KeyPath

Finding = tuple[KeyPath, str, str]
"""Where, what is wrong, and the name that is meant."""


def dangling(data: Mapping[str, Any]) -> Iterator[Finding]:
    """Names that refer to nothing, or stand twice. ``data`` is valid otherwise."""
    stores = data["stores"]
    for name, server in data["servers"].items():
        at: KeyPath = ("servers", name)
        yield from _unknown(
            server.get("backup", {}).get("stores"), (*at, "backup", "stores"), stores, "store"
        )
        watch, verify = server.get("watch", {}), server.get("verify", {})
        yield from _repeated(watch.get("policies", []), (*at, "watch", "policies"))
        yield from _repeated(verify.get("checks", []), (*at, "verify", "checks"))
    yield from _repeated(data.get("probes", []), ("probes",))
    escalation = data.get("escalation", {})
    channels, people = escalation.get("channels", {}), escalation.get("people", {})
    for person, named in people.items():
        yield from _unknown(named, ("escalation", "people", person), channels, "channel")
    for severity, rungs in escalation.get("ladder", {}).items():
        for after, named in rungs.items() if isinstance(rungs, Mapping) else ():
            path = ("escalation", "ladder", severity, after)
            yield from _unknown(named, path, people, "one among people")
    digest_to = ("escalation", "digest_to")
    yield from _unknown(escalation.get("digest_to"), digest_to, people, "one among people")


def _unknown(
    named: str | list[str] | None, path: KeyPath, known: Collection[str], what: str
) -> Iterator[Finding]:
    article = "" if what.startswith("one ") else "a "
    for index, name in enumerate([named] if isinstance(named, str) else named or []):
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            mend = (
                f"did you mean {near[0]}?" if near else f"there are: {', '.join(known) or 'none'}"
            )
            at = path if isinstance(named, str) else (*path, index)
            yield at, f"{name!r} is not {article}{what}; {mend}", name


def _repeated(items: list[Mapping[str, Any]], path: KeyPath) -> Iterator[Finding]:
    seen: set[str] = set()
    for index, item in enumerate(items):
        name = item["name"]
        if name in seen:
            yield (*path, index, "name"), f"{name!r} stands here twice; names tell them apart", name
        seen.add(name)
