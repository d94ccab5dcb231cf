"""What must hold after a fault, and after the run that follows it."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass

from support.postgres import PostgresServer
from support.sweeping.ground import Ground
from support.sweeping.nursery import Life

from guardian.adapters.catalog.catalog import SqlCatalog, open_catalog
from guardian.adapters.clock import SystemClock
from guardian.adapters.process import is_alive
from guardian.adapters.stores.keys import is_temporary_name
from guardian.backup.manifest import MANIFEST_NAME, decode_manifest
from guardian.model import ProofLevel, RunStatus

_STOPPED = 130
_SOON = 10.0
Objects = Mapping[str, Mapping[str, bytes]]


class BrokenError(AssertionError):
    """An invariant does not hold."""


def require(holds: object, what: str) -> None:
    """Raise unless it holds."""
    if not holds:
        raise BrokenError(what)


def manifests(contents: Mapping[str, bytes]) -> dict[str, str]:
    """Ids of whole backups in one store, with their manifests' keys.

    Raises BrokenError when one of them is not whole: each part there, of its size and its hash.
    """
    found = {}
    for key, data in contents.items():
        if not key.endswith("/" + MANIFEST_NAME):
            continue
        manifest = decode_manifest(data)
        folder = key.removesuffix(MANIFEST_NAME)
        for part in manifest.parts:
            stored = contents.get(folder + part.name)
            require(stored is not None, f"{manifest.id} has a manifest and no {part.name}")
            assert stored is not None
            fits = len(stored) == part.stored_bytes
            fits = fits and hashlib.sha256(stored).hexdigest() == part.sha256
            require(fits, f"{manifest.id}: {part.name} is not what its manifest says")
        found[str(manifest.id)] = key
    return found


@dataclass(frozen=True)
class Judge:
    """Looks at a ground. ``kept`` are ids that no run of the scenario may remove."""

    ground: Ground
    server: PostgresServer
    database: str
    kept: frozenset[str]
    before: Objects
    tidy: bool = True
    """Whether what was not killed leaves no temporary file; the next run removes it otherwise."""

    def at_once(self, life: Life) -> dict[str, set[str]]:
        """After the fault itself, whatever became of the run; ids of whole backups by store."""
        require(not life.hung, "the command hangs")
        for word in ("Traceback", "internal error"):
            where = life.err.find(word)
            require(where < 0, f"{word}: …{life.err[max(0, where - 600) : where + 1500]}…")
        if not life.killed:
            require(
                life.status in {0, 1, 2, 3, 4, 5, 130}, f"status {life.status}: {life.err[-600:]}"
            )
        self._require_quiet(but="postgres")  # a scratch server, which the next drill ends
        whole = {name: set(manifests(held)) for name, held in self.ground.objects().items()}
        for name, ids in whole.items():
            gone = self.kept - ids
            require(not gone, f"{name} lost {gone}, which retention keeps")
        self._require_same()
        self._require_unharmed()
        if self.tidy and not (
            life.killed or life.status == _STOPPED
        ):  # a stop may come while it cleans up
            require(not self.ground.leftovers(), f"temporary: {self.ground.leftovers()}")
        return whole

    def after_the_next_run(self) -> set[str]:
        """All is settled: stores and catalog agree, nothing is left over. Ids of all backups."""
        objects = self.ground.objects()
        everywhere: set[str] = set()
        for name, held in objects.items():
            whole = manifests(held)
            folders = {key.rpartition("/")[0] for key in whole.values()}
            stray = [key for key in held if key.rpartition("/")[0] not in folders]
            require(not stray, f"{name} holds parts without a manifest: {stray}")
            unfinished = [key for key in held if is_temporary_name(key.rpartition("/")[2])]
            require(not unfinished, f"{name} holds unfinished writes: {unfinished}")
            require(self.kept <= set(whole), f"{name} lost {self.kept - set(whole)}")
            everywhere |= set(whole)
        empty = self.ground.empty_folders()
        require(not empty, f"empty folders: {empty}")
        if self.ground.bucket is not None:
            uploads = self.ground.bucket.uploads()
            require(not uploads, f"unfinished uploads: {uploads}")
        with self.catalog() as catalog:
            self._require_agreement(catalog, objects)
        self._require_same()
        self._require_unharmed()
        self._require_quiet()
        left = self.ground.leftovers()
        require(not left, f"temporary: {left}")
        strays = self.databases("guardian\\_%")
        require(not strays, f"databases of ours: {strays}")
        return everywhere

    def touched(self, there: Iterable[str]) -> list[str]:
        """Those of these backups that came with a life, or are not byte for byte as they were."""
        now = self.ground.objects()

        def of(backup: str, objects: Objects) -> dict[str, dict[str, bytes]]:
            return {
                name: {key: data for key, data in held.items() if backup in key}
                for name, held in objects.items()
            }

        return sorted(one for one in there if of(one, now) != of(one, self.before))

    def without_fingerprint(self) -> set[str]:
        """Those whose manifest says that they carry none."""
        return {
            str(manifest.id)
            for held in self.ground.objects().values()
            for key, data in held.items()
            if key.endswith("/" + MANIFEST_NAME)
            if (manifest := decode_manifest(data)).proof is ProofLevel.NONE
        }

    @contextmanager
    def catalog(self) -> Iterator[SqlCatalog]:
        url = self.ground.catalog_url
        with closing(open_catalog(url, clock=SystemClock(), is_alive=is_alive)) as catalog:
            yield catalog

    def _require_agreement(self, catalog: SqlCatalog, objects: Objects) -> None:
        for name, held in objects.items():
            whole = set(manifests(held))
            listed = {str(one.id) for one in catalog.backups() if name in one.stores}
            require(listed == whole, f"{name}: listed {listed - whole}, unknown {whole - listed}")
        running = [one.id for one in catalog.tries() if one.status is RunStatus.RUNNING]
        require(not running, f"still running: {running}")
        leases = [one.name for one in catalog.leases()]
        require(not leases, f"leases: {leases}")

    def _require_same(self) -> None:
        """What is kept is byte for byte what it was (records of drills may come)."""
        for name, held in self.ground.objects().items():
            for key, data in self.before.get(name, {}).items():
                if any(one in key for one in self.kept):
                    require(held.get(key) == data, f"{name}: {key} was changed or is gone")

    def _require_quiet(self, but: str = "") -> None:
        """Nothing that a command started runs on, however that came to its end."""
        until = time.monotonic() + _SOON
        while running := [one for one in self.ground.programs() if not but or but not in one]:
            require(time.monotonic() < until, f"still running: {running}")
            time.sleep(0.05)

    def _require_unharmed(self) -> None:
        """No session of ours on the server: so no lock, no snapshot, no transaction either."""
        rows: list[tuple[object, ...]] = []
        with self.server.connect() as connection:
            for _ in range(150):
                rows = connection.execute(
                    "SELECT application_name, datname, state, left(query, 60) FROM pg_stat_activity"
                    " WHERE application_name LIKE 'guardian%'"
                ).fetchall()
                if not rows:
                    break
                time.sleep(0.05)
            require(not rows, f"sessions are left: {rows}")
            prepared = connection.execute(
                "SELECT count(*) FROM pg_prepared_xacts WHERE database = %s", (self.database,)
            ).fetchone()
            require(prepared == (0,), "a prepared transaction is left at the source")

    def drop_strays(self) -> None:
        """Remove databases of ours that a life has left on the server."""
        for name in self.databases("guardian\\_%"):
            self.server.drop_database(name)

    def databases(self, pattern: str) -> list[str]:
        with self.server.connect() as connection:
            rows = connection.execute(
                "SELECT datname FROM pg_database WHERE datname LIKE %s", (pattern,)
            ).fetchall()
        return [name for (name,) in rows]


__all__ = ["BrokenError", "Judge", "manifests", "require"]
