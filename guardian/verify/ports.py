"""The Protocols of drills: where they restore to, and where copies are damaged to try them."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

from guardian.model import DatabaseDamage, Fingerprint, Manifest
from guardian.ports import Source
from guardian.restore.ports import RestoredDatabase


class ScratchServers(Protocol):
    """Where drills restore to."""

    def warming(self, manifest: Manifest) -> AbstractContextManager[None]:
        """Begin, beside the caller's work, what :meth:`open` within the block will need.

        Raises nothing: :meth:`open` tells what is wrong. What was begun is gone with the block.
        """

    def open(
        self, manifest: Manifest, fingerprint: Fingerprint | None, jobs: int
    ) -> AbstractContextManager[RestoredDatabase]:
        """A new, empty database, fit for this backup; gone when the block is left, in any way.

        Raises UnsuitableTargetError (names what is missing, and the mend), ScratchError,
        DiskFullError, ConnectionFailedError, VersionMismatchError.
        """


@dataclass(frozen=True, slots=True)
class DamagedCopy:
    """A database to back up from, as ``database`` of ``source``.

    ``objects`` are the names, any of which a drill must tell of what is wrong with it.
    """

    source: Source
    database: str
    objects: tuple[str, ...] = ()


class Workshop(Protocol):
    """A database to restore into, of which damaged copies can be made (the drill of the drill)."""

    @property
    def original(self) -> RestoredDatabase:
        """Where the backup is to be restored first. It stays as it is then."""

    @property
    def scratch(self) -> ScratchServers:
        """Where the damaged copies are drilled."""

    def untouched(self) -> DamagedCopy:
        """The original itself, to back up from."""

    def damaged(
        self, damage: DatabaseDamage, expected: Fingerprint
    ) -> AbstractContextManager[DamagedCopy | None]:
        """A copy of the original with one thing damaged, gone with the block.

        ``expected`` tells what a drill compares. None where there is no such thing to damage.
        Raises GuardianError when the copy cannot be made.
        """


class Workshops(Protocol):
    """Where the drill of the drill works."""

    def open(
        self, manifest: Manifest, fingerprint: Fingerprint, jobs: int
    ) -> AbstractContextManager[Workshop]:
        """One with an empty original, fit for this backup; all of it is gone with the block.

        Raises what :meth:`ScratchServers.open` does.
        """
