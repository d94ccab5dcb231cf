"""What a prune did: the records that ``guardian backup prune`` shows."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from guardian.model import BackupId, DatabaseRef

PRUNE_FAILED = "prune.failed"
PRUNE_MENDED = "prune.mended"
"""Events: a problem of one prune (its data names store and run), and the first one without any."""


@dataclass(frozen=True, slots=True)
class PrunedCopy:
    """What became of one backup in one store.

    ``deleted`` is true as soon as its manifest is gone. ``locked_until`` is set where object lock
    has put the deletion off. ``error`` is one line.
    """

    store: str
    keep: bool
    deleted: bool = False
    locked_until: datetime | None = None
    error: str | None = None


@dataclass(frozen=True, slots=True)
class PrunedBackup:
    """The verdict over one backup, and why. ``deleted``: it lies in no store any more."""

    id: BackupId
    ref: DatabaseRef
    keep: bool
    reasons: tuple[str, ...]
    deleted: bool
    copies: tuple[PrunedCopy, ...]

    def document(self) -> dict[str, object]:
        """As ``guardian backup prune --json`` shows it."""
        return {
            "id": self.id,
            "server": self.ref.server,
            "database": self.ref.database,
            "verdict": _word(self.keep),
            "reasons": list(self.reasons),
            "deleted": self.deleted,
            "stores": [
                {
                    "name": copy.store,
                    "verdict": _word(copy.keep),
                    "deleted": copy.deleted,
                    "locked_until": copy.locked_until and copy.locked_until.isoformat(),
                    "error": copy.error,
                }
                for copy in self.copies
            ],
        }


@dataclass(frozen=True, slots=True)
class PruneResult:
    """What one prune of one database did, newest backup first.

    ``swept`` counts leftover objects and unfinished writes that were removed. ``problems`` are
    what failed, one line each (exit code 1); ``notes`` are worth reading, and no failure.
    """

    ref: DatabaseRef
    dry_run: bool
    backups: tuple[PrunedBackup, ...]
    swept: int
    problems: tuple[str, ...]
    notes: tuple[str, ...]

    @property
    def failed(self) -> bool:
        """Whether something could not be looked at or deleted."""
        return bool(self.problems)

    def documents(self) -> list[dict[str, object]]:
        """One document a backup, for ``guardian backup prune --json``."""
        return [backup.document() for backup in self.backups]


def _word(keep: bool) -> str:  # noqa: FBT001 - a word for a flag
    return "keep" if keep else "delete"
