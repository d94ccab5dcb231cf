"""What a rebuild of the catalog found: the record that ``guardian catalog rebuild`` shows."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class RebuiltStore:
    """What was found in one store.

    ``backups``, ``proofs`` and ``pins`` count what lies there and was taken in; ``added`` how many
    of the backups the catalog did not know to lie there. ``forgotten`` are copies that the catalog
    believed in, ``unfinished`` folders with parts and no manifest, ``damaged`` backups that were
    not taken in. ``error`` says why the store could not be read in full.
    """

    name: str
    backups: int = 0
    added: int = 0
    proofs: int = 0
    pins: int = 0
    forgotten: int = 0
    unfinished: int = 0
    damaged: int = 0
    error: str | None = None


@dataclass(frozen=True, slots=True)
class RebuildResult:
    """What came of it. ``backups``, ``proofs`` and ``pins`` count each thing once.

    ``problems`` are what could not be read or taken in, a line each (exit code 1); ``notes`` are
    worth reading, and no failure.
    """

    stores: tuple[RebuiltStore, ...]
    backups: int
    proofs: int
    pins: int
    problems: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def failed(self) -> bool:
        """Whether the catalog may lack something that the stores hold."""
        return bool(self.problems)

    def document(self) -> dict[str, Any]:
        """As ``guardian catalog rebuild --json`` shows it."""
        return {
            "stores": [asdict(store) for store in self.stores],
            "backups": self.backups,
            "proofs": self.proofs,
            "pins": self.pins,
            "forgotten": sum(store.forgotten for store in self.stores),
            "unfinished": sum(store.unfinished for store in self.stores),
            "damaged": sum(store.damaged for store in self.stores),
            "problems": list(self.problems),
            "notes": list(self.notes),
        }
