"""The recording of what was seen, for ``guardian replay``: segments of a few minutes each.

A segment is JSON under zlib and stands on its own: its first look is whole, each later one holds
what changed since the one before. A look without any change is kept as its time alone, for a
policy may come to match while nothing happens. What matters to no policy is left out (ages of
transaction ids), and a wait event alone is no change. Times are microseconds since 1970.

A segment that is still being written is saved every minute in its own place, so that a guardian
that dies loses at most a minute.
"""

from __future__ import annotations

import json
import logging
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from guardian.watch.model import Observation, PreparedTransaction, Session
from guardian.watch.ports import WatchCatalog
from guardian.watch.sparing import COMMENT, asks_to_be_spared, shortened

VERSION = 1
SEGMENT = timedelta(minutes=5)
SAVE_EVERY = timedelta(minutes=1)
QUERY_CHARACTERS = 4096
"""So much of a query is kept."""

_SEGMENT_CHARACTERS = 8 << 20
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_TIMES = (
    "backend_start", "query_start", "xact_start", "state_change", "wait_started_at",
)  # fmt: skip
_PLAIN = (
    "user", "database", "application", "client", "backend_type", "state", "wait_event_type",
    "leader_pid", "is_superuser", "is_replication", "is_own", "is_backup", "visible",
)  # fmt: skip
_NAMES = (*_TIMES, *_PLAIN, "query")
_log = logging.getLogger(__name__)

_Values = tuple[Any, ...]


class SegmentWriter:
    """One segment in the making."""

    def __init__(self, *, query_text: bool = True) -> None:
        self._query_text = query_text
        self._looks: list[str] = []
        self._known: dict[int, _Values] = {}
        self._locks: Any = None
        self._characters = 0
        self.first: datetime | None = None
        self.last: datetime | None = None

    @property
    def is_full(self) -> bool:
        """Whether the next look belongs into another segment."""
        if self.first is None or self.last is None:
            return False
        return self.last - self.first >= SEGMENT or self._characters >= _SEGMENT_CHARACTERS

    def add(self, observation: Observation) -> None:
        """Take in one look. It must be later than the one before."""
        look: dict[str, Any] = {"at": _number(observation.at)}
        now = {one.pid: self._values(one) for one in observation.sessions}
        events = {one.pid: one.wait_event for one in observation.sessions}
        changed: dict[int, dict[str, Any]] = {}
        for pid, values in now.items():
            before = self._known.get(pid)
            if before != values:
                changed[pid] = {**_difference(before, values), "wait_event": events[pid]}
        if changed:
            look["changed"] = changed
        if gone := [pid for pid in self._known if pid not in now]:
            look["gone"] = gone
        locks = _locks(observation)
        if locks != self._locks:
            look["locks"] = locks
        self._known, self._locks = now, locks
        text = json.dumps(look, separators=(",", ":"))
        self._looks.append(text)
        self._characters += len(text)
        self.first = self.first or observation.at
        self.last = observation.at

    def encode(self, server: str) -> bytes:
        """The segment up to now."""
        head = json.dumps({"version": VERSION, "server": server})
        return zlib.compress(f'{head[:-1]}, "looks": [{",".join(self._looks)}]}}'.encode(), 6)

    def _values(self, session: Session) -> _Values:
        times = (_number(getattr(session, name)) for name in _TIMES)
        plain = (getattr(session, name) for name in _PLAIN)
        return (*times, *plain, _kept(session.query, whole=self._query_text))


def decode_segment(data: bytes) -> Iterator[Observation]:
    """The looks of one segment.

    Raises:
        ValueError: it is damaged, or of another version.
    """
    try:
        document = json.loads(zlib.decompress(data))
        if document["version"] != VERSION:
            raise ValueError(f"version {document['version']}")
        yield from _decoded(document)
    except (zlib.error, KeyError, TypeError, AttributeError, OverflowError) as error:
        raise ValueError(f"not a segment of the recording: {error!r}") from error


class Recorder:
    """Writes one server's recording into the catalog."""

    def __init__(
        self,
        catalog: WatchCatalog,
        server: str,
        *,
        query_text: bool,
        keep: timedelta,
        max_bytes: int,
    ) -> None:
        self._catalog = catalog
        self._server = server
        self._query_text = query_text
        self._keep = keep
        self._max_bytes = max_bytes
        self._writer = SegmentWriter(query_text=query_text)
        self._saved_at: datetime | None = None

    def add(self, observation: Observation) -> None:
        """Take in one look; now and then a segment is written.

        Raises:
            CatalogError: it could not be written. It is tried again with the next look, until
            the segment is full and lost.
        """
        last = self._writer.last
        if last is not None and observation.at <= last:
            self._begin()  # the server's clock went back: times within a segment only rise
        self._writer.add(observation)
        due = self._saved_at is None or observation.at - self._saved_at >= SAVE_EVERY
        if self._writer.is_full:
            try:
                self.save()
            finally:
                self._begin()  # while the catalog is away, the recording has a hole, we no flood
            self._catalog.prune_recording(
                self._server, observation.at - self._keep, self._max_bytes
            )
        elif due:
            self.save()

    def save(self) -> None:
        """Write what there is. Raises CatalogError."""
        first, last = self._writer.first, self._writer.last
        if first is not None and last is not None:
            self._catalog.record_segment(
                self._server, first, last, self._writer.encode(self._server)
            )
            self._saved_at = last

    def _begin(self) -> None:
        self._writer = SegmentWriter(query_text=self._query_text)
        self._saved_at = None


def recorded_observations(
    catalog: WatchCatalog,
    server: str,
    since: datetime | None = None,
    until: datetime | None = None,
) -> Iterator[Observation]:
    """Every look that was recorded, the oldest first, one after the other.

    A damaged segment is left out, with a warning in the log. Raises CatalogError.
    """
    for data in catalog.segments(server, since, until):
        try:
            for look in decode_segment(data):
                if (since is None or look.at >= since) and (until is None or look.at <= until):
                    yield look
        except ValueError as error:
            _log.warning("recording of %s: a segment is left out: %s", server, error)


# --- to JSON ---


def _difference(before: _Values | None, values: _Values) -> dict[str, Any]:
    """What changed; all that is known of a session that is new, by its start."""
    if before is None or before[0] != values[0]:
        named = dict(zip(_NAMES, values, strict=True))
        return {"new": True, **{k: v for k, v in named.items() if v is not None}}
    return {
        name: new
        for name, old, new in zip(_NAMES, before, values, strict=True)
        if old != new
    }  # fmt: skip


def _kept(query: str | None, *, whole: bool) -> str | None:
    """What is kept of a query: in any case that it asks to be spared."""
    if query is None:
        return None
    if not whole:
        return COMMENT if asks_to_be_spared(query) else None
    return shortened(query, QUERY_CHARACTERS)


def _locks(observation: Observation) -> dict[str, Any]:
    return {
        "blockers": {str(pid): list(pids) for pid, pids in observation.blockers.items()},
        "prepared": [
            [one.gid, _number(one.prepared_at), one.owner, one.database]
            for one in observation.prepared
        ],
    }


def _number(at: datetime | None) -> int | None:
    return None if at is None else (at - _EPOCH) // _MICROSECOND


# --- and back ---


@dataclass(slots=True)
class _State:
    rows: dict[int, dict[str, Any]]
    sessions: dict[int, Session]


def _decoded(document: Mapping[str, Any]) -> Iterator[Observation]:
    state = _State({}, {})
    blockers: dict[int, tuple[int, ...]] = {}
    prepared: tuple[PreparedTransaction, ...] = ()
    for look in document["looks"]:
        for pid in look.get("gone", ()):
            state.rows.pop(pid)
            state.sessions.pop(pid)
        for text, changes in look.get("changed", {}).items():
            _change(state, int(text), changes)
        if "locks" in look:
            locks = look["locks"]
            blockers = {int(pid): tuple(pids) for pid, pids in locks["blockers"].items()}
            prepared = tuple(
                PreparedTransaction(gid, _EPOCH + at * _MICROSECOND, owner, database)
                for gid, at, owner, database in locks["prepared"]
            )
        at = _EPOCH + look["at"] * _MICROSECOND
        sessions = tuple(state.sessions.values())
        yield Observation(document["server"], at, sessions, blockers, prepared)


def _change(state: _State, pid: int, changes: dict[str, Any]) -> None:
    new = changes.pop("new", False)
    row = {**({"backend_type": None} if new else state.rows[pid]), **changes}
    state.rows[pid] = row
    values = dict(row)
    for name in _TIMES:
        number = values.get(name)
        values[name] = None if number is None else _EPOCH + number * _MICROSECOND
    state.sessions[pid] = Session(pid, **values)
