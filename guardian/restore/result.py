"""What came of a restore."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from guardian.errors import ExitCode
from guardian.model import BackupId, DatabaseRef, Difference
from guardian.restore.target import Finished
from guardian.units import format_duration


class RestoreStatus(StrEnum):
    """How a restore ended that did not fail.

    ``restored``: it has the wanted name. ``differs``: it is not what the source was.
    ``kept_aside``: the name could not be taken. In both cases the copy has another name.
    """

    RESTORED = "restored"
    DIFFERS = "differs"
    KEPT_ASIDE = "kept_aside"


class Compared(StrEnum):
    """What was compared with the fingerprint."""

    CONTENT = "content"
    COUNTS = "counts"
    OBJECTS = "objects"
    NONE = "none"


@dataclass(frozen=True, slots=True)
class RestoreResult:
    """What came of a restore.

    ``seconds`` is all of it, ``tables`` and ``rows`` are what was compared. ``finished`` tells how
    the name was taken, or how it may be. ``uncompared`` is why a comparison that was asked for
    could not be made.
    """

    id: BackupId
    ref: DatabaseRef
    store: str
    where: str
    database: str
    status: RestoreStatus
    finished: Finished
    compared: Compared = Compared.NONE
    tables: int = 0
    rows: int = 0
    seconds: float = 0.0
    restore_seconds: float = 0.0
    compare_seconds: float = 0.0
    differences: tuple[Difference, ...] = ()
    warnings: tuple[str, ...] = ()
    uncompared: str | None = None

    @property
    def exit_code(self) -> ExitCode:
        """What the command returns."""
        if self.status is not RestoreStatus.RESTORED:
            return ExitCode.FAILED
        return ExitCode.DONE if self.uncompared is None else ExitCode.UNPROVEN


def told(result: RestoreResult) -> str:
    """How it ended, in one line."""
    thing = f"{result.ref} {result.id}"
    took = format_duration(round(result.seconds, 1)) if result.seconds else ""
    if result.status is RestoreStatus.RESTORED:
        text = f"{thing}: restored into {result.database} on {result.where}"
        return f"{text} in {took}" if took else text
    return f"{thing}: {result.finished.reason}; kept as {result.finished.kept_as}"
