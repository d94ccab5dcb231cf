"""Parts without a manifest, and writes that were never finished: whose they are, and when they go.

Those of a try that the catalog knows to be over go at once. Others (another host's, or a lost
catalog's) go when they are a day old, by their id and by the store's own time. Those of a running
try never go.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta

from guardian.backup.survey import Survey, started_at
from guardian.backup.verdict import View
from guardian.model import BackupId, BackupRecord, RunStatus, StoredObject, StoreStatus

LEFTOVER_AGE = timedelta(hours=24)
CLOCK_MARGIN = timedelta(hours=1)

_DEAD = (RunStatus.FAILED, RunStatus.INTERRUPTED)


def is_over(view: View, found: Survey, backup: BackupId, objects: Sequence[StoredObject]) -> bool:
    """Whether nobody will ever complete these parts. The caller makes sure of the manifest."""
    if view.is_running(backup):
        return False
    record = view.records.get(backup)
    if record is not None and (record.status in _DEAD or found.store.name not in record.stores):
        # It failed; or it failed in this store alone; or it was deleted here, all but these, by a
        # prune that was cut off. One that should have its manifest keeps the rest for a while:
        # whoever removed that may want it back, and the catalog has a copy.
        return True
    return view.doubt is None and _is_old(view.now, found, backup, objects)


def unfinished_before(view: View, store: str) -> datetime:
    """Writes to a store begun before this instant, and unfinished, are of no live try of ours."""
    limit = view.now - LEFTOVER_AGE
    running = [one.started_at for one in view.records.values() if one.status is RunStatus.RUNNING]
    if running:
        return min(limit, min(running) - CLOCK_MARGIN)
    ends = [one.finished_at for one in view.records.values() if _fell_short(one, store)]
    return max([limit, *(end for end in ends if end is not None and end <= view.now)])


def _fell_short(record: BackupRecord, store: str) -> bool:
    """Whether a try is over that may have left unfinished writes in this store."""
    return record.status in _DEAD or any(
        one.store == store and one.status is StoreStatus.FAILED for one in record.outcomes
    )


def _is_old(
    now: datetime, found: Survey, backup: BackupId, objects: Iterable[StoredObject]
) -> bool:
    times = [started_at(backup) or now, *(one.modified_at for one in objects)]
    # The store's clock has certainly reached the time of its latest object; ours may have jumped.
    return min(now, found.latest or now) - max(times) >= LEFTOVER_AGE
