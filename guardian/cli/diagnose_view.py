"""The report of ``guardian diagnose`` as lines for people, readable from 80 columns on."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, TypeVar

from guardian.cli import diagnose_tables as tables
from guardian.cli.diagnose_tables import Table
from guardian.cli.locks_view import lock_lines, nobody_waits
from guardian.cli.screen import hanging, harmless, lay_out
from guardian.units import format_duration
from guardian.watch.readings import Severity

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

    from guardian.daemon.diagnosis import Locks, ServerReport
    from guardian.daemon.overview import DatabaseStatus
    from guardian.watch.diagnosis import (
        Connections,
        DatabaseFacts,
        IndexFacts,
        Note,
        Replication,
        Section,
        SlowQueries,
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
        yield from self._table(tables.disks(report.file_systems))
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

    def _table(self, table: Table) -> list[Text]:
        columns, rows = table
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
        yield from self._table(tables.states(found.by_state))
        yield from self._table(tables.clients(found.by_client))

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
        yield from self._table(tables.transactions(sessions, look.observation.at))

    def _slow(self, found: SlowQueries) -> Iterator[Text]:
        since = "" if found.since is None else f", counted since {found.since:%Y-%m-%d %H:%M %Z}"
        yield from self._nothing(f"by total time{since}")
        yield from self._table(tables.statements(found.by_total))
        yield from self._nothing("by time of one call")
        yield from self._table(tables.statements(found.by_mean))

    def _databases(self, found: Sequence[DatabaseFacts]) -> list[Text]:
        return self._table(tables.databases(found))

    def _tables(self, found: Sequence[TableFacts]) -> Iterator[Text]:
        if not found:
            yield from self._nothing("no tables")
            return
        lines = self._table(tables.tables(found, self._report.at))
        yield from self._with_hints(lines, [one.hint for one in found])
        if any(one.estimated for one in found):
            yield from self._nothing("~ somebody locks it: the size is that of its last VACUUM")

    def _indexes(self, found: Sequence[IndexFacts]) -> Iterator[Text]:
        if not found:
            yield from self._nothing("no indexes")
            return
        lines = self._table(tables.indexes(found))
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
            yield from self._table(tables.replicas(found.replicas))
        if found.slots:
            yield from self._table(tables.slots(found.slots))

    def _backups(self, found: Sequence[DatabaseStatus]) -> Iterator[Text]:
        if not found:
            yield from self._nothing("no database is backed up")
            return
        yield from self._table(tables.backups(found, self._report.at))
