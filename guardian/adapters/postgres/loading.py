"""Restoring an archive into a database: definitions, then rows in several streams, then indexes.

pg_restore does the work, in pieces: what comes before the rows and after them from the archive's
head alone, which holds all definitions; the rows from streams of the whole archive, one a job, each
loading its share of the tables. So a parallel restore needs no plain copy on disk, which
``pg_restore --jobs`` would.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import psycopg

from guardian.adapters.postgres.breaking_off import break_off
from guardian.adapters.postgres.connection import Connector
from guardian.adapters.postgres.feeding import Script, ScriptEndedError, feed_tables
from guardian.adapters.postgres.pg_restore import IntoFile, RestoreTool, running_restore
from guardian.errors import (
    DamagedPartError,
    InterruptedRunError,
    UnrestorableError,
    UnsuitableTargetError,
)
from guardian.ports import Archive, Readable
from guardian.restore.archive import Section, Toc, TocEntry, TocReader, UnknownArchiveError
from guardian.restore.sharing import early_indexes, share_tables

_BLOCK = 1 << 20
_WAIT_SECONDS = 0.1
_ENDING_SECONDS = 60.0
_STREAM_WORTH_BYTES = 64 << 20
"""Below so many bytes a second stream costs more than it saves."""
_LARGE_OBJECTS = frozenset({"BLOB METADATA"})
_GRANTS = frozenset({"ACL", "ACL LANGUAGE", "DEFAULT ACL"})
_MANY_LOCKS = 1000
"""A transaction that makes more objects may overflow the lock table of a server as installed."""

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


@dataclass
class _Crew:
    """What runs at the moment, so that it can be stopped from another thread."""

    tools: set[RestoreTool] = field(default_factory=set)
    connections: set[psycopg.Connection] = field(default_factory=set)
    lock: threading.Lock = field(default_factory=threading.Lock)
    stopped: bool = False
    stopped_from_outside: bool = False

    def stop(self) -> None:
        with self.lock:
            self.stopped = True
            tools, connections = list(self.tools), list(self.connections)
        for tool in tools:
            tool.cancel()
        for connection in connections:
            break_off(connection)


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
        self._crew = _Crew()
        self._streams = 1
        self._last_table = 0
        self._early: queue.SimpleQueue[TocEntry] = queue.SimpleQueue()
        self._built: set[int] = set()
        self._fresh: frozenset[tuple[str, str]] = frozenset()
        self._encoding = "SET client_encoding = 'UTF8'"

    def cancel(self) -> None:
        """Stop everything, from another thread."""
        self._crew.stopped_from_outside = True
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
        try:
            head, toc = self._read_head()
        except UnknownArchiveError:  # newer than we know; pg_restore may know it all the same
            self._run_streamed()
            return
        with IntoFile("toc", head) as file:
            self._run_in_pieces(file, toc)

    def _see_the_end(self) -> None:
        if not self._crew.stopped_from_outside:
            with self._archive.open() as stream:
                while stream.read(_BLOCK):
                    pass

    def _read_head(self) -> tuple[bytes, Toc]:
        reader = TocReader()
        with self._archive.open() as stream:
            while block := stream.read(_BLOCK):
                if (toc := reader.feed(block)) is not None:
                    return reader.head, toc
        reader.close()
        raise AssertionError

    def _run_streamed(self) -> None:
        """All in one run, as RESTORE.txt does."""
        with self._archive.open() as stream:
            self._restore(self._single(1), feed=self._counted(stream))

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
        self._load_rows(head, [entry for part in parts.values() for entry in part])
        # Positions of sequences, comments on large objects: definitions, without rows.
        rest = [entry for entry in definitions if entry.kind not in _LARGE_OBJECTS]
        self._restore([], head=head, chosen=rest)
        after = [entry for entry in parts[Section.POST_DATA] if entry.dump_id not in self._built]
        self._restore([f"--jobs={self._options.jobs}"], head=head, chosen=after)

    def _is_chosen(self, entry: TocEntry) -> bool:
        return self._options.chosen is None or entry.dump_id in self._options.chosen

    def _single(self, objects: int) -> list[str]:
        """One transaction saves time, but holds a lock for each object."""
        few = self._options.own_server or objects < _MANY_LOCKS
        return ["--single-transaction"] if few else []

    # --- rows ---------------------------------------------------------------------------------

    def _load_rows(self, head: IntoFile, entries: Sequence[TocEntry]) -> None:
        tables = [entry for entry in entries if _is_table_data(entry)]
        # One stream sees the archive's end; it is the one that has to read on for longest anyway.
        self._last_table = tables[-1].dump_id if tables else 0
        large = self._archive.plain_bytes > _STREAM_WORTH_BYTES
        shares = share_tables(tables, self._rows, self._options.jobs if large else 1)
        indexes = early_indexes(entries, self._rows) if len(shares) > 1 else {}
        with ExitStack() as stack:
            stack.callback(self._crew.stop)
            work = [_Work(self, share, indexes, head) for share in shares]
            if blobs := [entry for entry in entries if _is_large_object_data(entry)]:
                work.append(_Work(self, blobs, {}, head))
            elif not tables:
                work.append(_Work(self, [], {}, head))  # its end is to be seen
            loading = _Countdown(len(work))
            self._streams = len(work)
            for one in work:
                one.start(loading)
            try:
                while not all(one.ended.wait(_WAIT_SECONDS) for one in work):
                    if any(one.error is not None for one in work):
                        break
            finally:
                if any(one.error is not None or not one.ended.is_set() for one in work):
                    self._crew.stop()
                for one in work:
                    one.ended.wait(_ENDING_SECONDS)
            _raise_first(work)
            stack.pop_all()  # all is well: nothing to stop

    def load_share(
        self, share: Sequence[TocEntry], indexes: Mapping[int, Sequence[TocEntry]]
    ) -> None:
        """One stream: its tables, or the large objects. Runs on a thread of its own."""
        with self._archive.open() as stream, ExitStack() as stack:
            feed = self._counted(stream)
            if not share:
                while feed.read(_BLOCK):
                    pass
                return
            ids = stack.enter_context(IntoFile("list", _list_lines(share)))
            if not _is_table_data(share[0]):
                self._restore(["--section=data"], feed=feed, listed=ids)
                return
            tool = stack.enter_context(
                running_restore(
                    self._program,
                    ["--section=data", *self._options.flags],
                    None,
                    self._connector.scrub,
                    feed=feed,
                    listed=ids,
                    to_the_end=share[-1].dump_id == self._last_table,
                )
            )
            self._enlist(tool)
            connection = stack.enter_context(self._loading_connection())
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

    def _loading_connection(self) -> psycopg.Connection:
        connection = self._connector.connect(self._database, self._options.purpose)
        with self._crew.lock:
            self._crew.connections.add(connection)
        for setting in (*_LOADING_SETTINGS, self._encoding):
            connection.execute(setting.encode())
        if connection.info.server_version >= 170000:
            connection.execute("SET transaction_timeout = 0")
        return connection

    def _offer(self, indexes: Sequence[TocEntry]) -> None:
        for entry in indexes:
            self._early.put(entry)

    def build_early(self, head: IntoFile, loading: _Countdown) -> None:
        """While others still load, build indexes of tables that are loaded."""
        while loading.value > 0 and not self._crew.stopped:
            try:
                entry = self._early.get_nowait()
            except queue.Empty:
                return
            self._restore([], head=head, chosen=[entry])
            self._built.add(entry.dump_id)

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
            self._enlist(tool)
            tool.finish()
            with self._crew.lock:
                self._crew.tools.discard(tool)

    def _enlist(self, tool: RestoreTool) -> None:
        with self._crew.lock:
            self._crew.tools.add(tool)
            stopped = self._crew.stopped
        if stopped:
            tool.cancel()
            raise InterruptedRunError("the restore was stopped")

    def _counted(self, stream: Readable) -> Readable:
        """Every stream reads all of the archive, so each counts for its share."""
        return _Counted(stream, lambda size: self._advance(size // self._streams))


class _Work:
    """One stream on a thread of its own."""

    def __init__(
        self,
        loader: Loader,
        share: Sequence[TocEntry],
        indexes: Mapping[int, Sequence[TocEntry]],
        head: IntoFile,
    ) -> None:
        self.error: BaseException | None = None
        self.failed_at = 0.0
        self.ended = threading.Event()
        self._loader = loader
        self._share = share
        self._indexes = indexes
        self._head = head

    def start(self, loading: _Countdown) -> None:
        threading.Thread(target=self._run, args=(loading,), name="load", daemon=True).start()

    def _run(self, loading: _Countdown) -> None:
        try:
            try:
                self._loader.load_share(self._share, self._indexes)
            finally:
                loading.one_less()
            self._loader.build_early(self._head, loading)
        except BaseException as error:  # noqa: BLE001 - carried over to the caller's thread
            self.failed_at, self.error = time.monotonic(), error
        finally:
            self.ended.set()


class _Countdown:
    """How many streams are still loading."""

    def __init__(self, value: int) -> None:
        self.value = value
        self._lock = threading.Lock()

    def one_less(self) -> None:
        with self._lock:
            self.value -= 1


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


def _raise_first(work: Sequence[_Work]) -> None:
    """The error that tells most: damage, else what came first; the rest may come of the stopping.

    Raises:
        InterruptedRunError: a stream has not even ended.
    """
    failed = [one for one in work if one.error is not None]
    if failed:
        first = min(failed, key=lambda one: (not _is_damage(one.error), one.failed_at))
        assert first.error is not None
        raise first.error
    if not all(one.ended.is_set() for one in work):
        raise InterruptedRunError("the restore was stopped, and a stream of it does not end")


def _is_damage(error: BaseException | None) -> bool:
    return isinstance(error, DamagedPartError)
