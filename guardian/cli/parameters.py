"""Values on the command line that are the same for several commands."""

from __future__ import annotations

from datetime import timedelta

import click

_LONGEST = timedelta(days=36525)


def duration(
    context: click.Context, option: click.Parameter, value: str | None
) -> timedelta | None:
    """``24h`` as a duration; a bad one, or above a century, is a usage error. For ``callback=``."""
    from guardian.units import parse_duration

    if value is None:
        return None
    try:
        found = parse_duration(value)
    except ValueError as error:
        raise click.BadParameter(str(error), context, option) from error
    if found > _LONGEST:  # no calendar has its end
        raise click.BadParameter(f"{value!r} is too long a duration", context, option)
    return found


class Number(click.IntRange):
    """A whole number within bounds, by the name that people have for it."""

    name = "number"
