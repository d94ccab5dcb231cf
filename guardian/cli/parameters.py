"""Values on the command line that are the same for several commands."""

from __future__ import annotations

from datetime import timedelta

import click


def duration(
    context: click.Context, option: click.Parameter, value: str | None
) -> timedelta | None:
    """``24h`` as a duration; a bad one is a usage error. For ``callback=``."""
    from guardian.units import parse_duration

    if value is None:
        return None
    try:
        return parse_duration(value)
    except ValueError as error:
        raise click.BadParameter(str(error), context, option) from error


class Number(click.IntRange):
    """A whole number within bounds, by the name that people have for it."""

    name = "number"
