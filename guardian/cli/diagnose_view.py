"""The report of ``guardian diagnose`` as lines for people, readable from 80 columns on."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, TypeVar

from guardian.cli.locks_view import lock_lines, nobody_waits
from guardian.cli.screen import Cell, Column, hanging, harmless, lay_out
from guardian.cli.sessions_view import age, state_text, who
from guardian.units import format_duration, format_size
from guardian.watch.readings import Severity

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

    from guardian.daemon.diagnosis import Locks, ServerReport
    from guardian.daemon.overview import DatabaseStatus
    from guardian.daemon.vital_signs import FileSystem
    from guardian.watch.diagnosis import (
        Connections,
        DatabaseFacts,
        IndexFacts,
        Note,
        Replication,
        Section,
        SlowQueries,
        Statement,
        TableFacts,
    )
    from guardian.watch.model import Session
    from guardian.watch.vitals import Finding

Facts = TypeVar("Facts")
Draw = Callable[[Facts], Iterable["Text"]]

_MARKS = {
    Severity.CRITICAL: ("CRITICAL", "bold red"),
    Severity.WARNING: ("warning", "yellow"),
    Severity.UNKNOWN: ("unknown", "magenta"),
    Severity.OK: ("ok", "green"),
}


class DiagnoseView:
    """Draws one server's report for one console."""

    def __init__(self, console: Console, report: ServerReport) -> None:
        self._console = console
        self._width = console.width
        self._report = report
        self._told: set[Note] = set()

    def lines(self) -> Iterator[Text]:
        """All of it, the most urgent first."""
        report = self._report
        yield from self._headline()
        yield from self._title("Vitals")
        yield from self._vitals(report.vitals)
        if report.problem is None:
            yield from self._section("Connections", report.connections, self._connections)
            yield from self._section("Locks", report.locks, self._locks)
            yield from self._section(
                "Open transactions, the oldest first", report.long_transactions, self._open
            )
            yield from self._section("Slow queries", report.slow_queries, self._slow)
            yield from self._section("Databases", report.databases, self._databases)
            for one in report.contents:
                name = harmless(one.database)
                yield from self._section(f"Largest tables of {name}", one.tables, self._tables)
                yield from self._section(f"Largest indexes of {name}", one.indexes, self._indexes)
            yield from self._section("Replication", report.replication, self._replication)
        yield from self._title("Disk on this host")
        yield from self._disks(report.file_systems)
        yield from self._section("Last backups", report.backups, self._backups)

    # --- parts ---

    def _headline(self) -> Iterator[Text]:
        from rich.text import Text

        report, facts = self._report, self._report.facts.facts
        line = Text(harmless(report.server), "bold").append("  ")
        if report.problem is not None:
            yield line.append("cannot be asked", "bold red")
            yield from self._note(report.problem)
            return
        text = f"at {report.where}"
        if facts is not None:
            up = format_duration((facts.at - facts.started_at).total_seconds())
            kind = ", a standby" if facts.is_standby else ""
            version = facts.version.split()[0]  # Debian adds its own to it
            text = f"PostgreSQL {version}{kind} {text}, as {facts.role}, up {up}"
        yield from hanging(self._console, text, self._width, first=line)

    def _title(self, text: str) -> Iterator[Text]:
        from rich.text import Text

        yield Text("")
        yield Text(harmless(text), "bold underline")

    def _section(self, title: str, section: Section[Facts], draw: Draw[Facts]) -> Iterator[Text]:
        yield from self._title(title)
        for note in section.notes:
            if section.facts is None or note not in self._told:
                yield from self._note(note)
            self._told.add(note)
        if section.facts is not None:
            yield from draw(section.facts)

    def _note(self, note: Note) -> Iterator[Text]:
        from rich.text import Text

        lead = Text("  ").append("note", "yellow").append("  ")
        yield from hanging(self._console, note.text, self._width, first=lead)
        if note.mend:
            yield from self._mend(note.mend, 8)

    def _mend(self, mend: str, indent: int) -> Iterator[Text]:
        from rich.text import Text

        lead = Text(" " * indent).append("mend: ", "dim")
        yield from hanging(self._console, mend, self._width, first=lead)

    def _nothing(self, text: str) -> Iterator[Text]:
        from rich.text import Text

        yield Text(f"  {text}", "dim")

    def _table(self, columns: Sequence[Column], rows: Sequence[Sequence[Cell | str]]) -> list[Text]:
        return lay_out(columns, rows, self._width, indent=2)

    def _vitals(self, findings: Sequence[Finding]) -> Iterator[Text]:
        from rich.text import Text

        told: set[tuple[str, str | None]] = set()
        for one in findings:
            mark, style = _MARKS[one.severity]
            text = one.text
            if one.severity is Severity.UNKNOWN and self._report.problem is not None:
                alike = (one.text.partition(": ")[2], one.mend)
                if alike in told:
                    continue  # the same sentence thirteen times tells no more than once
                told.add(alike)
            lead = Text("  ").append(f"{mark:<8}", style).append("  ")
            yield from hanging(self._console, text, self._width, first=lead)
            if one.mend:
                yield from self._mend(one.mend, 12)

    def _connections(self, found: Connections) -> Iterator[Text]:
        yield from self._table(
            [Column("STATE"), Column("COUNT", right=True), Column("LONGEST", right=True)],
            [(one.state, str(one.count), age(one.longest_seconds)) for one in found.by_state],
        )
        yield from self._table(
            [
                Column("USER", most=20, elastic=True),
                Column("DATABASE", most=20, elastic=True),
                Column("APPLICATION", most=24, elastic=True),
                *(Column(name, right=True) for name in ("ALL", "ACTIVE", "IDLE", "IN TX")),
            ],
            [
                (
                    one.user or "-",
                    one.database or "-",
                    one.application or "-",
                    *map(str, (one.count, one.active, one.idle, one.idle_in_transaction)),
                )
                for one in found.by_client
            ],
        )

    def _locks(self, found: Locks) -> Iterator[Text]:
        if not found.graph.roots:
            yield from self._nothing(nobody_waits(found.observation))
            return
        yield from lock_lines(self._console, found.observation, found.graph, {})

    def _open(self, sessions: Sequence[Session]) -> Iterator[Text]:
        look = self._report.locks.facts
        if not sessions or look is None:
            yield from self._nothing("none")
            return
        at = look.observation.at
        yield from self._table(
            [
                Column("PID", right=True),
                Column("OPEN", right=True),
                Column("STATE"),
                Column("WHO", most=28, elastic=True),
                Column("QUERY", elastic=True),
            ],
            [
                (
                    str(one.pid),
                    age(one.transaction_seconds(at)),
                    state_text(one),
                    f"guardian: {who(one)}" if one.is_own else who(one),
                    Cell(one.query or "", "dim"),
                )
                for one in sessions
            ],
        )

    def _slow(self, found: SlowQueries) -> Iterator[Text]:
        since = "" if found.since is None else f", counted since {_day(found.since)}"
        yield from self._nothing(f"by total time{since}")
        yield from self._statements(found.by_total)
        yield from self._nothing("by time of one call")
        yield from self._statements(found.by_mean)

    def _statements(self, statements: Sequence[Statement]) -> list[Text]:
        return self._table(
            [
                *(Column(name, right=True) for name in ("TOTAL", "SHARE", "CALLS", "MEAN", "MAX")),
                Column("QUERY", elastic=True),
            ],
            [
                (
                    _short(one.total_seconds),
                    f"{one.share:.0f}%",
                    f"{one.calls:,}",
                    _short(one.mean_seconds),
                    _short(one.max_seconds),
                    Cell(one.query or "(hidden)", "" if one.query else "dim"),
                )
                for one in statements
            ],
        )

    def _databases(self, found: Sequence[DatabaseFacts]) -> list[Text]:
        return self._table(
            [
                Column("DATABASE", elastic=True),
                Column("SIZE", right=True),
                Column("CONN", right=True),
                Column("CACHE HITS", right=True),
                Column("ROLLBACKS", right=True),
                Column("DEADLOCKS", right=True),
                Column("TEMP FILES", right=True),
            ],
            [
                (
                    one.name,
                    "?" if one.bytes is None else format_size(one.bytes),
                    str(one.connections),
                    _hits(one),
                    _share(one.rollbacks, one.commits + one.rollbacks),
                    f"{one.deadlocks:,}",
                    format_size(one.temp_bytes),
                )
                for one in found
            ],
        )

    def _tables(self, found: Sequence[TableFacts]) -> Iterator[Text]:
        if not found:
            yield from self._nothing("no tables")
            return
        lines = self._table(
            [
                Column("TABLE", elastic=True),
                Column("SIZE", right=True),
                Column("INDEXES", right=True),
                Column("ROWS", right=True),
                Column("DEAD", right=True),
                Column("VACUUMED", right=True),
            ],
            [
                (
                    one.name,
                    ("~" if one.estimated else "") + format_size(one.total_bytes),
                    format_size(one.index_bytes),
                    "?" if one.rows is None else _count(one.rows),
                    Cell(_dead(one), "yellow" if one.hint else ""),
                    self._ago(one.last_vacuum),
                )
                for one in found
            ],
        )
        yield from self._with_hints(lines, [one.hint for one in found])
        if any(one.estimated for one in found):
            yield from self._nothing("~ somebody locks it: the size is that of its last VACUUM")

    def _indexes(self, found: Sequence[IndexFacts]) -> Iterator[Text]:
        if not found:
            yield from self._nothing("no indexes")
            return
        lines = self._table(
            [
                Column("INDEX", elastic=True),
                Column("TABLE", elastic=True),
                Column("SIZE", right=True),
                Column("SCANS", right=True),
            ],
            [
                (
                    one.name,
                    one.table,
                    ("~" if one.estimated else "") + format_size(one.bytes),
                    _count(one.scans),
                )
                for one in found
            ],
        )
        yield from self._with_hints(lines, [one.hint for one in found])

    def _with_hints(self, lines: Sequence[Text], hints: Sequence[str | None]) -> Iterator[Text]:
        """A table's heading and rows, each row with its hint beneath."""
        yield lines[0]
        for line, hint in zip(lines[1:], hints, strict=True):
            yield line
            if hint:
                yield from self._mend(hint, 4)

    def _replication(self, found: Replication) -> Iterator[Text]:
        if found.is_standby:
            yield from self._nothing("this server is a standby")
        if not found.replicas and not found.slots:
            yield from self._nothing("no replicas, no slots")
        if found.replicas:
            yield from self._table(
                [
                    Column("REPLICA", elastic=True),
                    Column("CLIENT"),
                    Column("STATE"),
                    Column("LAG", right=True),
                    Column("BEHIND", right=True),
                ],
                [
                    (
                        one.name or "-",
                        one.client or "-",
                        one.state or "?",
                        age(one.lag_seconds),
                        "-" if one.behind_bytes is None else format_size(one.behind_bytes),
                    )
                    for one in found.replicas
                ],
            )
        if found.slots:
            yield from self._table(
                [
                    Column("SLOT", elastic=True),
                    Column("KIND"),
                    Column("IN USE"),
                    Column("WAL STATUS"),
                    Column("HOLDS BACK", right=True),
                ],
                [
                    (
                        one.name,
                        one.kind,
                        "yes" if one.active else Cell("no", "yellow"),
                        one.wal_status or "?",
                        "?" if one.retained_bytes is None else format_size(one.retained_bytes),
                    )
                    for one in found.slots
                ],
            )

    def _disks(self, found: Sequence[FileSystem]) -> list[Text]:
        return self._table(
            [
                Column("FOR", elastic=True),
                Column("PATH", elastic=True),
                Column("USED", right=True),
                Column("FREE", right=True),
                Column("NEXT NEEDS", right=True),
            ],
            [
                (
                    ", ".join(one.used_for),
                    str(one.path),
                    Cell("?", "magenta")
                    if one.used_percent is None
                    else f"{one.used_percent:.0f}%",
                    one.error or format_size(one.free_bytes),
                    "-" if one.needed_bytes is None else format_size(one.needed_bytes),
                )
                for one in found
            ],
        )

    def _backups(self, found: Sequence[DatabaseStatus]) -> Iterator[Text]:
        if not found:
            yield from self._nothing("no database is backed up")
            return
        yield from self._table(
            [
                Column("DATABASE", elastic=True),
                Column("LAST BACKUP", right=True),
                Column("LAST PROVEN", right=True),
                Column("FAILED SINCE", right=True),
            ],
            [
                (
                    str(one.ref),
                    self._ago(one.last.snapshot_at) if one.last else Cell("never", "red"),
                    self._ago(one.last_proven.proven_at) if one.last_proven else "never",
                    Cell(str(one.consecutive_failures), "red" if one.consecutive_failures else ""),
                )
                for one in found
            ],
        )

    def _ago(self, then: datetime | None) -> str:
        if then is None:
            return "never"
        return f"{format_duration(max(0, int((self._report.at - then).total_seconds())))} ago"


def _short(seconds: float) -> str:
    """A duration that may be far below a second."""
    if seconds < 0.001:
        return f"{seconds * 1e6:.0f}us"
    if seconds < 1:
        return f"{seconds * 1000:.0f}ms"
    return format_duration(seconds)


def _count(number: int) -> str:
    """A number with three digits: 12.3M."""
    if number < 10_000:
        return f"{number:,}"
    for unit, size in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if number >= size:
            return f"{number / size:.3g}{unit}"
    return str(number)


def _share(part: int, whole: int) -> str:
    return f"{100 * part / whole:.1f}%" if whole else "-"


def _hits(one: DatabaseFacts) -> str:
    return "-" if one.cache_hit_percent is None else f"{one.cache_hit_percent:.1f}%"


def _dead(one: TableFacts) -> str:
    return f"{_count(one.dead_rows)} ({one.dead_percent:.0f}%)" if one.dead_rows else "0"


def _day(at: datetime) -> str:
    return f"{at:%Y-%m-%d %H:%M %Z}"
