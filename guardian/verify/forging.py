"""Backups that lie: the dump of one database state with the fingerprint of another.

They are made by the code that makes every backup, so each hash and the manifest are consistent, and
only a comparison with the fingerprint can tell.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from datetime import datetime

from guardian.model import DatabaseFacts, Fingerprint, GlobalsLevel, Manifest, ProofLevel
from guardian.ports import DumpStream, Snapshot
from guardian.verify.ports import DamagedCopy


@dataclass(frozen=True, slots=True)
class Claim:
    """What a forged backup says of itself: where it comes from, what it holds, its roles.

    ``globals_sql`` is None where the backup has no globals.
    """

    manifest: Manifest
    fingerprint: Fingerprint
    globals_sql: bytes | None


class ForgedSource:
    """Implements Source: dumps a copy, and gives the claim's fingerprint for it.

    With ``look``, ``seen`` is afterwards what the copy really holds.
    """

    def __init__(self, copy: DamagedCopy, claim: Claim, *, look: bool = False) -> None:
        self.seen: Fingerprint | None = None
        self._copy = copy
        self._claim = claim
        self._look = look

    def databases(self) -> Sequence[str]:
        """The one that it claims to be."""
        return [self._claim.manifest.ref.database]

    @contextmanager
    def snapshot(self, database: str) -> Iterator[Snapshot]:
        """A snapshot of the copy, whatever its claimed name."""
        del database
        with self._copy.source.snapshot(self._copy.database) as snapshot:
            yield _ForgedSnapshot(snapshot, self._claim, self._see if self._look else None)

    @contextmanager
    def open_globals(self) -> Iterator[tuple[DumpStream, GlobalsLevel]]:
        """The claimed ones."""
        yield _Bytes(self._claim.globals_sql or b""), self._claim.manifest.globals

    def _see(self, fingerprint: Fingerprint) -> None:
        self.seen = fingerprint


class _ForgedSnapshot:
    """Implements Snapshot."""

    def __init__(
        self, inner: Snapshot, claim: Claim, see: Callable[[Fingerprint], None] | None
    ) -> None:
        self._inner = inner
        self._claim = claim
        self._see = see

    @property
    def facts(self) -> DatabaseFacts:
        """The claimed ones: they decide where a drill restores to, and how it compares."""
        return self._claim.manifest.facts

    @property
    def taken_at(self) -> datetime:
        return self._inner.taken_at

    @property
    def dump_version(self) -> str:
        return self._inner.dump_version

    @property
    def estimated_bytes(self) -> int:
        return self._inner.estimated_bytes

    def open_dumps(self, streams: int) -> AbstractContextManager[Sequence[DumpStream]]:
        return self._inner.open_dumps(streams)

    def fingerprint(self, level: ProofLevel, advance: Callable[[int], None]) -> Fingerprint:
        if self._see is not None:
            self._see(self._inner.fingerprint(level, advance))
        return self._claim.fingerprint

    def with_final_positions(self, fingerprint: Fingerprint) -> Fingerprint:
        return fingerprint

    def cancel(self) -> None:
        self._inner.cancel()


class _Bytes(io.BytesIO):
    """Implements DumpStream."""

    def finish(self) -> None:
        """It was whole from the start."""

    def cancel(self) -> None:
        """Nothing runs."""
