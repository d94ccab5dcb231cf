"""Bounds of vitals, also for a server that is configured no more: its backups are still ours."""

from __future__ import annotations

from guardian.backup.sizes import Bounds
from guardian.config import Config
from guardian.config.watching import VitalsConfig


def size_bounds(config: Config, server: str) -> Bounds | None:
    """By how many percent a server's backup may be smaller than the last proven one."""
    known = config.servers.get(server)
    return (VitalsConfig() if known is None else known.vitals).size_drop
