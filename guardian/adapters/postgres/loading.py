"""Restoring an archive into a database: definitions, then rows in several streams, then indexes.

pg_restore does the work, in pieces: what comes before the rows and after them from the archive's
head alone, which holds all definitions; the rows from streams of the archive, or of its parts, one
a job, each loading its share of the tables. So a parallel restore needs no plain copy on disk,
which ``pg_restore --jobs`` would.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, closing, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar

import psycopg

from guardian.adapters.postgres.connection import Connector
from guardian.adapters.postgres.crew import Countdown, Crew, run_at_once
from guardian.adapters.postgres.feeding import Script, ScriptEndedError, feed_tables
from guardian.adapters.postgres.pg_restore import IntoFile, running_restore
from guardian.errors import DamagedPartError, UnrestorableError, UnsuitableTargetError
from guardian.ports import Readable
from guardian.restore import sharing
from guardian.restore.ahead import BegunStream
from guardian.restore.archive import Section, Toc, TocEntry, UnknownArchiveError
from guardian.restore.joining import read_head
from guardian.restore.ports import Archive, ArchivePart
from guardian.restore.sharing import early_indexes, in_turns, share_parts

_BLOCK = 1 << 20
_LARGE_OBJECTS = frozenset({"BLOB METADATA"})
_GRANTS = frozenset({"ACL", "ACL LANGUAGE", "DEFAULT ACL"})
_MANY_LOCKS = 1000
"""A transaction that makes more objects may overflow the lock table of a server as installed."""

_Item = TypeVar("_Item")
RowCounts = Mapping[tuple[str, str], int]


@dataclass(frozen=True, slots=True)
class LoadOptions:
    """How to restore.

    ``flags`` go to every run of pg_restore. ``chosen`` are the entries to restore, None for all.
    ``own_server`` says that the server is a throw-away one with room for many locks.
    """

    jobs: int = 1
    flags: tuple[str, ...] = ()
    chosen: frozenset[int] | None = None
    own_server: bool = False
    purpose: str = "restore"


class Loader:
    """Restores one archive into one database, once."""

    def __init__(
        self,
        archive: Archive,
        connector: Connector,
        database: str,
        program: Path,
        *,
        options: LoadOptions,
        row_counts: RowCounts,
        advance: Callable[[int], None],
    ) -> None:
        self._archive = archive
        self._connector = connector
        self._database = database
        self._program = program
        self._options = options
        self._rows = row_counts
        self._advance = advance
        self._crew = Crew()
        self._cancelled = False
        self._streams = 1
        self._begun: BegunStream | None = None
        self._taking = threading.Lock()
        self._waiting: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._early: queue.SimpleQueue[TocEntry] = queue.SimpleQueue()
        self._built: set[int] = set()
        self._fresh: frozenset[tuple[str, str]] = frozenset()
        self._encoding = "SET client_encoding = 'UTF8'"

    def cancel(self) -> None:
        """Stop everything, from another thread."""
        self._cancelled = True
        self._crew.stop()

    def run(self) -> None:
        """Restore.

        Raises:
            GuardianError: see RestoredDatabase.restore; what was restored by then stays.
        """
        try:
            self._run()
        except DamagedPartError:
            raise
        except (UnrestorableError, UnsuitableTargetError):
            self._see_the_end()  # whatever went wrong may come from damage, which is told first
            raise

    def _run(self) -> None:
        with ExitStack() as stack:
            begun = BegunStream(self._archive.open())
            stack.callback(begun.close)
            begun.remember()
            try:
                head = read_head(begun)
            except UnknownArchiveError:  # newer than we know; pg_restore may know it all the same
                self._run_streamed()
                return
            begun.rewind()
            self._begun = begun
            self._run_in_pieces(stack.enter_context(IntoFile("toc", head.data)), head.toc)

    def _see_the_end(self) -> None:
        if not self._cancelled:
            with self._archive.open() as stream:
                _read_on(stream)

    def _run_streamed(self) -> None:
        """All in one run, as RESTORE.txt does."""
        with self._archive.open() as stream:
            self._restore(self._single(1), feed=self._counted(stream, 1))

    def _run_in_pieces(self, head: IntoFile, toc: Toc) -> None:
        self._encoding = next(one.definition for one in toc.entries if one.kind == "ENCODING")
        parts: dict[Section, list[TocEntry]] = {section: [] for section in Section}
        for section, entry in with_sections(toc.entries):
            if self._is_chosen(entry):
                parts[section].append(entry)
        before, data = parts[Section.PRE_DATA], parts[Section.DATA]
        self._restore(self._single(len(before)), head=head, chosen=before)
        definitions = [entry for entry in data if not _has_rows(entry)]
        # From 17 on large objects are made here and no more before the rows.
        made = [entry for entry in definitions if entry.kind in _LARGE_OBJECTS]
        self._restore(self._single(len(made)), head=head, chosen=made)
        if "--data-only" not in self._options.flags:
            self._fresh = frozenset((one.namespace, one.tag) for one in before if _is_table(one))
        ids = {one.dump_id: one.dump_id for one in toc.entries}
        whole = ArchivePart(self._whole, self._archive.plain_bytes, ids)
        chosen = [entry for part in parts.values() for entry in part]
        self._load_rows(head, self._archive.parts or [whole], chosen)
        # Positions of sequences, comments on large objects: definitions, without rows.
        rest = [entry for entry in definitions if entry.kind not in _LARGE_OBJECTS]
        self._restore([], head=head, chosen=rest)
        after = [entry for entry in parts[Section.POST_DATA] if entry.dump_id not in self._built]
        for turn, jobs in in_turns(after, self._options.jobs):
            self._restore([f"--jobs={jobs}"], head=head, chosen=turn)

    def _is_chosen(self, entry: TocEntry) -> bool:
        return self._options.chosen is None or entry.dump_id in self._options.chosen

    def _single(self, objects: int) -> list[str]:
        """One transaction saves time, but holds a lock for each object."""
        few = self._options.own_server or objects < _MANY_LOCKS
        return ["--single-transaction"] if few else []

    # --- rows ---------------------------------------------------------------------------------

    def _load_rows(
        self, head: IntoFile, parts: Sequence[ArchivePart], entries: Sequence[TocEntry]
    ) -> None:
        data = [entry for entry in entries if _is_table_data(entry)]
        tables = [[entry for entry in data if entry.dump_id in part.ids] for part in parts]
        large = [part.plain_bytes > sharing.STREAM_WORTH_BYTES for part in parts]
        shares = share_parts(tables, self._rows, self._options.jobs, may_split=large)
        indexes = early_indexes(entries, self._rows) if sum(map(len, shares)) > 1 else {}
        blobs = [entry for entry in entries if _is_large_object_data(entry)]
        jobs: list[Callable[[], None]] = []
        for number, part in enumerate(parts):
            reading = _Reading(part, tables[number], len(shares[number]))
            if number == 0 and blobs:
                reading.streams += 1
                jobs.append(partial(self._load_large_objects, reading, blobs))
            jobs += [partial(self._load_share, reading, one, indexes) for one in shares[number]]
            if reading.streams == 0:
                jobs.append(partial(self._pass_over, part, needed=number == 0))
        self._streams = len(jobs)
        for job in jobs:
            self._waiting.put(job)
        loading = Countdown(len(jobs))
        workers = min(len(jobs), self._options.jobs + bool(blobs))
        run_at_once([partial(self._load_and_build, head, loading)] * workers, self._crew)

    def _load_and_build(self, head: IntoFile, loading: Countdown) -> None:
        """Streams; then, while others still load, indexes of tables that are loaded."""
        while (job := _next(self._waiting)) is not None and not self._crew.stopped:
            try:
                job()
            finally:
                loading.one_less()
        while loading.value > 0 and not self._crew.stopped:
            if (entry := _next(self._early)) is None:
                return
            self._restore([], head=head, chosen=[entry])
            self._built.add(entry.dump_id)

    def _pass_over(self, part: ArchivePart, *, needed: bool) -> None:
        """Of a part without rows for us, too, the end tells whether it is whole.

        Parts that hold nothing but rows that were not chosen need not be.
        """
        if not needed and self._options.chosen is not None:
            self._advance(part.plain_bytes)
            return
        with part.open() as stream:
            _read_on(self._counted(stream, 1))

    def _load_large_objects(self, reading: _Reading, entries: Sequence[TocEntry]) -> None:
        with reading.part.open() as stream, IntoFile("list", reading.lines(entries)) as listed:
            self._restore([], feed=self._counted(stream, reading.streams), listed=listed)

    def _load_share(
        self,
        reading: _Reading,
        share: Sequence[TocEntry],
        indexes: Mapping[int, Sequence[TocEntry]],
    ) -> None:
        with reading.part.open() as stream, ExitStack() as stack:
            listed = stack.enter_context(IntoFile("list", reading.lines(share)))
            tool = stack.enter_context(
                running_restore(
                    self._program,
                    self._options.flags,
                    None,
                    self._connector.scrub,
                    feed=self._counted(stream, reading.streams),
                    listed=listed,
                    to_the_end=share[-1] is reading.tables[-1],
                )
            )
            self._crew.join(tool)
            connection = stack.enter_context(closing(self._loading_connection()))
            try:
                feed_tables(
                    connection,
                    Script(tool.output),
                    share,
                    lambda entry: self._offer(indexes.get(entry.dump_id, ())),
                    fresh=self._fresh,
                )
            except ScriptEndedError:
                tool.finish()  # knows why
                raise
            while tool.output.read(_BLOCK):  # comments follow the last rows
                pass
            tool.finish()

    def _whole(self) -> AbstractContextManager[Readable]:
        """The archive from its start: for one of us the stream that the head came from."""
        with self._taking:
            begun, self._begun = self._begun, None
        if begun is not None and begun.is_fresh:
            return nullcontext(begun)
        return self._archive.open()

    def _loading_connection(self) -> psycopg.Connection:
        connection = self._connector.connect(self._database, self._options.purpose)
        try:
            self._crew.connect(connection)
            for setting in (*_LOADING_SETTINGS, self._encoding):
                connection.execute(setting.encode())
            if connection.info.server_version >= 170000:
                connection.execute("SET transaction_timeout = 0")
        except BaseException:
            connection.close()
            raise
        return connection

    def _offer(self, indexes: Sequence[TocEntry]) -> None:
        for entry in indexes:
            self._early.put(entry)

    # --- pg_restore ---------------------------------------------------------------------------

    def _restore(
        self,
        arguments: Sequence[str],
        *,
        feed: Readable | None = None,
        head: IntoFile | None = None,
        listed: IntoFile | None = None,
        chosen: Sequence[TocEntry] | None = None,
    ) -> None:
        """Run pg_restore, from the ``head`` for the ``chosen`` entries, in their order.

        No ``--section`` then: among listed entries pg_restore would take one without a section
        (a comment) for one of the section of whatever is listed before it, and leave it out.
        """
        with ExitStack() as stack:
            if chosen is not None:
                if not chosen:
                    return
                listed = stack.enter_context(IntoFile("list", _list_lines(chosen)))
            access = stack.enter_context(
                self._connector.tool_access(self._database, self._options.purpose)
            )
            tool = stack.enter_context(
                running_restore(
                    self._program,
                    [*arguments, *self._options.flags],
                    access,
                    self._connector.scrub,
                    feed=feed,
                    head=head,
                    listed=listed,
                )
            )
            self._crew.join(tool)
            tool.finish()
            self._crew.leave(tool)

    def _counted(self, stream: Readable, streams: int) -> Readable:
        """Every stream reads all of its part, so each of these counts for its share."""
        return _Counted(stream, lambda size: self._advance(size // streams))


@dataclass(slots=True)
class _Reading:
    """A part of the archive, its tables that are wanted, and how many streams read it."""

    part: ArchivePart
    tables: Sequence[TocEntry]
    streams: int

    def lines(self, entries: Sequence[TocEntry]) -> bytes:
        """The list of these entries for pg_restore, in whose eyes the part is an archive."""
        return b"".join(b"%d;\n" % self.part.ids[entry.dump_id] for entry in entries)


class _Counted:
    def __init__(self, stream: Readable, advance: Callable[[int], None]) -> None:
        self._stream = stream
        self._advance = advance

    def read(self, size: int = -1, /) -> bytes:
        block = self._stream.read(size)
        self._advance(len(block))
        return block


# What pg_restore's own script sets, plus the time limits that roles and databases may have.
_LOADING_SETTINGS = (
    "SET statement_timeout = 0",
    "SET lock_timeout = 0",
    "SET idle_in_transaction_session_timeout = 0",
    "SET search_path = ''",
    "SET row_security = off",
    "SET xmloption = content",
    "SET check_function_bodies = false",
    "SET client_min_messages = warning",
    "SET default_transaction_read_only = off",
    "SET synchronous_commit = off",
)


def _next(waiting: queue.SimpleQueue[_Item]) -> _Item | None:
    try:
        return waiting.get_nowait()
    except queue.Empty:
        return None


def _read_on(stream: Readable) -> None:
    """To the end, which tells whether all was well."""
    while stream.read(_BLOCK):
        pass


def _is_table(entry: TocEntry) -> bool:
    return entry.kind == "TABLE"


def _is_table_data(entry: TocEntry) -> bool:
    return entry.kind == "TABLE DATA" and entry.has_data


def _is_large_object_data(entry: TocEntry) -> bool:
    return entry.kind in {"BLOBS", "BLOB DATA"} and entry.has_data


def _has_rows(entry: TocEntry) -> bool:
    return _is_table_data(entry) or _is_large_object_data(entry)


def with_sections(entries: Iterable[TocEntry]) -> Iterator[tuple[Section, TocEntry]]:
    """Entries with the section that pg_restore counts them to.

    Those without one belong to that of the last entry before them that has one; but grants come
    when all is made, as they do in one run of pg_restore: what is made later must not fall under
    default privileges.
    """
    section = Section.PRE_DATA
    for entry in entries:
        section = section if entry.section is Section.NONE else entry.section
        yield Section.POST_DATA if entry.kind in _GRANTS else section, entry


def _list_lines(entries: Sequence[TocEntry]) -> bytes:
    return "".join(f"{entry.dump_id};\n" for entry in entries).encode()
