"""What the conditions of backups and drills are told by: one database's records, and its plan."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo

from guardian.backup.schedule import Schedule
from guardian.model import BackupRecord, DatabaseRef, ProofRecord, RunStatus

DEFAULT_AGES = (1.5, 3.0)
"""Intervals after which something is late, and very late, where the config has no bounds."""

WHOLE_SERVER = "*"
"""Stands for the database where a run failed before it knew which there are."""


@dataclass(frozen=True, slots=True)
class Protection:
    """What the config says of one database's backups and drills.

    ``drill_interval`` is None where drills are only made by hand, or none is ever due. ``ages`` and
    ``drops`` are the bounds of the vitals backup_age (in intervals) and size_drop (in percent): a
    warning and a critical one, None where the vital, or that bound, is switched off.
    ``attempts`` is how often one run tries what may pass by itself.
    """

    schedule: Schedule | None = None
    timezone: tzinfo = UTC
    drill_interval: timedelta | None = None
    stores: tuple[str, ...] = ()
    ages: tuple[float | None, float | None] | None = DEFAULT_AGES
    drops: tuple[float | None, float | None] | None = (30.0, 60.0)
    attempts: int = 3


@dataclass(frozen=True, slots=True)
class History:
    """What is remembered of one database.

    ``backups`` lie in at least one store, newest snapshot first. ``tries`` are all of them with the
    failed ones, newest start first, not necessarily back to the first. ``failures`` counts those
    that failed since the last success. ``drills`` are the latest first. ``known_since`` is when the
    database came into our care, None where nobody knows. ``running`` names who backs it up now.
    """

    ref: DatabaseRef
    protection: Protection = Protection()
    backups: Sequence[BackupRecord] = ()
    tries: Sequence[BackupRecord] = ()
    failures: int = 0
    drills: Sequence[ProofRecord] = ()
    known_since: datetime | None = None
    running: str | None = None

    @property
    def target(self) -> str:
        """How a command names it: ``main/mina``, or ``main``; quoted for a shell."""
        ref = self.ref
        return shlex.quote(ref.server if ref.database == WHOLE_SERVER else str(ref))

    @property
    def last_good(self) -> BackupRecord | None:
        """The newest backup that no drill has found bad."""
        return next((one for one in self.backups if one.proven is not False), None)

    @property
    def last_proven(self) -> BackupRecord | None:
        """The newest backup that a drill has proven."""
        return next((one for one in self.backups if one.proven), None)

    @property
    def failed_tries(self) -> Sequence[BackupRecord]:
        """Those of the row of failures that goes on, as far as they are known, newest first."""
        failed = [one for one in self.tries if one.status is RunStatus.FAILED]
        return failed[: self.failures]
