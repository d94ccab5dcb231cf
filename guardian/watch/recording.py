"""The recording of what was seen, for ``guardian replay``: segments of a few minutes each."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from guardian.watch.model import Observation
from guardian.watch.ports import WatchCatalog


def recorded_observations(
    catalog: WatchCatalog,
    server: str,
    since: datetime | None = None,
    until: datetime | None = None,
) -> Iterator[Observation]:
    """Every look that was recorded, the oldest first, one after the other."""
    raise NotImplementedError
