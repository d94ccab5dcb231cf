"""What a run has found: records, their statistics, and JSON. Pure.

A file of results is all that tables, chart and documents are made from (``bench.report``), so that
no figure is ever copied by hand.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

FORMAT = 1


@dataclass(frozen=True, slots=True)
class Spread:
    """The middle of several measurements, and how far apart they were."""

    median: float
    least: float
    most: float

    @classmethod
    def of(cls, values: tuple[float, ...]) -> Spread | None:
        """None of nothing."""
        if not values:
            return None
        return cls(statistics.median(values), min(values), max(values))


@dataclass(frozen=True, slots=True)
class Row:
    """One way, and what it took. What was not looked at is None.

    ``cpu`` is of the command and its children, ``server_cpu`` of the PostgreSQL server that it
    reads or fills, both in seconds a run. ``peak_bytes`` is the most memory that all of its
    processes held together. ``plaintext`` names the file in which the rows could be read without a
    key at some moment, "" when there was none. ``stock`` says what gpg, openssl, zstd, gzip, psql
    and pg_restore alone could do with what was stored: "" when they restored all of it, else why
    not. ``equal``: whether the restored database had the very rows of the source. ``failure`` is
    why there are no figures.
    """

    name: str
    ours: bool = False
    seconds: tuple[float, ...] = ()
    cpu: tuple[float, ...] = ()
    server_cpu: tuple[float, ...] = ()
    peak_bytes: int | None = None
    stored_bytes: int | None = None
    plaintext: str | None = None
    stock: str | None = None
    equal: bool | None = None
    failure: str = ""

    @property
    def wall(self) -> Spread | None:
        """Of the seconds by the clock."""
        return Spread.of(self.seconds)


@dataclass(frozen=True, slots=True)
class Contest:
    """Ways to do the same, run in turn beside one another. The first that ran is the measure."""

    title: str
    rows: tuple[Row, ...]

    def times_of_first(self, row: Row) -> float | None:
        """How many times the first one's median a row's is."""
        first = self.rows[0].wall
        return row.wall.median / first.median if row.wall and first else None


@dataclass(frozen=True, slots=True)
class Size:
    """All contests with a database of one size. ``label`` is in GB, as it was asked for."""

    label: str
    database_bytes: int
    rounds: int
    contests: tuple[Contest, ...]

    def contest(self, title: str) -> Contest | None:
        """The one of that title, if it was held."""
        return next((one for one in self.contests if one.title == title), None)


@dataclass(frozen=True, slots=True)
class Results:
    """One run of the whole benchmark, with the machine and every program's version."""

    made_at: str
    command: str
    machine: Mapping[str, str]
    versions: Mapping[str, str]
    sizes: tuple[Size, ...]
    watch: Mapping[str, Any] | None = None
    service: list[dict[str, Any]] | None = None
    note: str = ""
    format: int = field(default=FORMAT)

    def to_json(self) -> str:
        """As :meth:`from_json` reads it."""
        return json.dumps(asdict(self), indent=1) + "\n"

    @classmethod
    def from_json(cls, text: str) -> Results:
        """Read what :meth:`to_json` wrote.

        Raises:
            ValueError: it is not one, or of a format that we do not know.
        """
        try:
            found = json.loads(text)
            if found["format"] != FORMAT:
                raise ValueError(f"format {found['format']} of results, where {FORMAT} is known")
            return cls(**{**found, "sizes": tuple(_size(one) for one in found["sizes"])})
        except (KeyError, TypeError) as error:
            raise ValueError(f"not a file of results: {error}") from error


def _size(found: dict[str, Any]) -> Size:
    contests = tuple(
        Contest(one["title"], tuple(_row(row) for row in one["rows"])) for one in found["contests"]
    )
    return Size(**{**found, "contests": contests})


def _row(found: dict[str, Any]) -> Row:
    series = {name: tuple(found[name]) for name in ("seconds", "cpu", "server_cpu")}
    return Row(**{**found, **series})
