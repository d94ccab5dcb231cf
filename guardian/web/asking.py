"""What belongs to the request at hand: sources, the instant, who asks, which words they gave."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Generic, TypeVar, cast

from flask import current_app, g, request, session

from guardian.errors import GuardianError
from guardian.web.access import Gate, person_name
from guardian.web.ports import Sources

FRAGMENT_HEADER = "X-Guardian-Fragment"
"""A page's script asks with it for what changes on the page, and not for all of it."""

_Value = TypeVar("_Value")


@dataclass(frozen=True, slots=True)
class Room:
    """What all requests share."""

    sources: Sources
    gate: Gate


@dataclass(frozen=True, slots=True)
class Part(Generic[_Value]):
    """One part of a page: its value, or why there is none."""

    value: _Value
    error: GuardianError | None = None


def room() -> Room:
    """What all requests share."""
    return cast("Room", current_app.extensions["guardian"])


def sources() -> Sources:
    """What pages read from."""
    return room().sources


def now() -> datetime:
    """The instant that the page at hand tells of."""
    return cast("datetime", g.now)


def wants_fragment() -> bool:
    """Whether the page's own script asks, for what changes."""
    return FRAGMENT_HEADER in request.headers


def attempt(read: Callable[[], _Value], otherwise: _Value) -> Part[_Value]:
    """Read one part of a page; that it cannot be read keeps no other part from being shown."""
    try:
        return Part(read())
    except GuardianError as error:
        return Part(otherwise, error)


def attempt_all(read: Callable[[], Sequence[_Value]]) -> Part[Sequence[_Value]]:
    """The same for a list: none where it cannot be read."""
    try:
        return Part(read())
    except GuardianError as error:
        return Part((), error)


def word(name: str) -> str | None:
    """A word of the query, None when it is not there or empty."""
    return request.args.get(name, "").strip() or None


def number(name: str, default: int, most: int) -> int:
    """A number of the query, from 1 up; the default for anything else."""
    text = request.args.get(name, "")
    if not (text.isascii() and text.isdigit() and len(text) <= 9):
        return default
    return min(max(int(text), 1), most)


def person() -> str:
    """Who acts: as they logged in, else as they say in the form, which is then remembered."""
    known = session.get("user")
    if room().gate.wants_token and isinstance(known, str):
        return known
    given = person_name(request.form.get("by", ""))
    if given:
        session["user"] = given
        session.permanent = True
    return given
