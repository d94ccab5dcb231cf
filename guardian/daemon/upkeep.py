"""What keeps guardian's own house in order: runs that died, leftovers, entries that are too old."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

from guardian.adapters.scratch.folder import sweep_strays
from guardian.backup.recovery import recover
from guardian.daemon.app import App
from guardian.daemon.listing import LISTED
from guardian.daemon.sensors import SEEN
from guardian.errors import AlreadyRunningError, GuardianError
from guardian.model import BackupRecord
from guardian.ports import Progress

KEEP = timedelta(days=400)
"""A year and a bit: who looks at audit and incidents once a year finds all of it."""
_REMEMBERED = frozenset({LISTED, SEEN})
"""Events that are no mere history: written down once, they hold until they are written anew."""


def settle_dead_runs(app: App) -> Sequence[BackupRecord]:
    """Settle runs whose process died, and end the throw-away servers they left; returns the runs.

    Raises:
        CatalogError: the catalog cannot be used.
    """
    for server in app.config.servers.values():
        if server.verify.scratch.get_secret_value() == "embedded":
            sweep_strays(server.verify.scratch_dir)
    return recover(app.catalog, list(app.stores.values()), None, app.clock)


def tidy(app: App, progress: Progress) -> list[str]:
    """Apply every database's retention, sweep what failed tries left; returns the problems.

    Raises:
        CatalogError: the catalog cannot be used.
    """
    problems = []
    for ref in app.prunable(app.targets([])):
        progress.begin(f"{ref}: prune")
        try:
            pruned = app.prune(ref)
        except AlreadyRunningError:
            continue  # whoever is at it does the same
        except GuardianError as error:
            problems.append(f"{ref}: {error.message}")
            continue
        problems += [f"{ref}: {one}" for one in pruned.problems]
        for note in pruned.notes:
            progress.note(f"{ref}: {note}")
    now = app.clock.now()
    app.catalog.prune_kills(KEEP, now)
    app.catalog.prune_incidents(KEEP, now)
    app.catalog.prune_events(KEEP, now, but=_REMEMBERED)
    app.catalog.thin_samples(now)
    return problems
