"""The Protocols of restoring: a dump to read, and a database to restore it into and to look at."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

from guardian.model import Definition, Difference, Fingerprint, ProofLevel
from guardian.ports import Readable


@dataclass(frozen=True, slots=True)
class ArchivePart:
    """A part of a dump that lies in several, an archive of its own, to be opened as the whole.

    ``ids`` are of the rows in it: the id in the whole, and that in the part.
    """

    open: Callable[[], AbstractContextManager[Readable]]
    plain_bytes: int
    ids: Mapping[int, int]


class Archive(Protocol):
    """The dump of one backup: pg_dump's custom format, plain, as often as wanted."""

    @property
    def plain_bytes(self) -> int:
        """How long it is."""

    @property
    def parts(self) -> Sequence[ArchivePart]:
        """What it is made of; none where it is of one piece.

        The first has all definitions. May read from the store, and raise as reads do.
        """

    def open(self) -> AbstractContextManager[Readable]:
        """Read it from its start. It may be open several times at once.

        A read that returns ``b""`` says that every stage ended well: all bytes came, their
        SHA-256 is right, gpg and zstd are content. Until then nothing that was read is certain.
        Reads raise DamagedPartError, KeyMissingError, StoreError; the first two only after the
        hash of the stored bytes was seen, so that a wrong key is never taken for damage.
        """


class RestoredDatabase(Protocol):
    """A database to restore into and look at, on some server, for the length of a block."""

    @property
    def major(self) -> int:
        """The server's major version."""

    @property
    def caveats(self) -> Sequence[str]:
        """What differs from the source's surroundings: a failure may be due to that."""

    def restore(
        self,
        archive: Archive,
        row_counts: Mapping[tuple[str, str], int],
        advance: Callable[[int], None],
    ) -> None:
        """Restore all of it with pg_restore and COPY; ``advance`` hears of plain bytes read.

        ``row_counts`` by (schema, table), where they are known, tell how to share the work.
        Raises what the archive raises; UnrestorableError with the server's first words, in
        context; UnsuitableTargetError where the server lacks something.
        """

    def fingerprint(
        self, level: ProofLevel, seed: int, advance: Callable[[int], None]
    ) -> Fingerprint:
        """What it holds now. Raises GuardianError when it cannot be read."""

    def ask(self, query: str, settings: Sequence[str]) -> tuple[bool, str]:
        """Run a query that must answer with one true value: (whether it did, what was found).

        ``settings`` are ``name=value`` items of the source database, as far as they matter here.
        """

    def retell(self, definitions: Sequence[Definition]) -> Sequence[str | None]:
        """What this server makes of each definition: read from its text, and told again.

        Nothing of it stays. None where it cannot be asked. Raises GuardianError when it went away.
        """

    def check_indexes(self) -> Sequence[Difference]:
        """Check heap and B-trees with amcheck. Raises UnsuitableTargetError without it."""

    def cancel(self) -> None:
        """Stop whatever runs, from another thread; it then raises."""
