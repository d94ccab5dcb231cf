"""The tables of ``guardian diagnose``: which columns, and what stands in them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, TypeAlias

from guardian.cli.screen import Cell, Column
from guardian.cli.sessions_view import age, query_text, state_text, who
from guardian.units import format_duration, format_size

if TYPE_CHECKING:
    from guardian.daemon.overview import DatabaseStatus
    from guardian.daemon.vital_signs import FileSystem
    from guardian.watch.diagnosis import (
        ClientCount,
        DatabaseFacts,
        IndexFacts,
        Replica,
        Slot,
        StateCount,
        Statement,
        TableFacts,
    )
    from guardian.watch.model import Session

Table: TypeAlias = tuple[Sequence[Column], Sequence[Sequence[Cell | str]]]


def states(found: Sequence[StateCount]) -> Table:
    """Clients by state."""
    return (
        [Column("STATE"), Column("COUNT", right=True), Column("LONGEST", right=True)],
        [(one.state, str(one.count), age(one.longest_seconds)) for one in found],
    )


def clients(found: Sequence[ClientCount]) -> Table:
    """Clients by who they are."""
    return (
        [
            Column("USER", most=20, elastic=True),
            Column("DATABASE", most=20, elastic=True),
            Column("APPLICATION", most=24, elastic=True),
            *_numbers("ALL", "ACTIVE", "IDLE", "IN TX"),
        ],
        [
            (
                one.user or "-",
                one.database or "-",
                one.application or "-",
                *map(str, (one.count, one.active, one.idle, one.idle_in_transaction)),
            )
            for one in found
        ],
    )


def transactions(found: Sequence[Session], at: datetime) -> Table:
    """Sessions by how long their transaction is open."""
    return (
        [
            *_numbers("PID", "OPEN"),
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
                Cell(query_text(one), "dim"),
            )
            for one in found
        ],
    )


def statements(found: Sequence[Statement]) -> Table:
    """Slow queries."""
    return (
        [*_numbers("TOTAL", "SHARE", "CALLS", "MEAN", "MAX"), Column("QUERY", elastic=True)],
        [
            (
                _short(one.total_seconds),
                f"{one.share:.0f}%",
                f"{one.calls:,}",
                _short(one.mean_seconds),
                _short(one.max_seconds),
                Cell(one.query or "(hidden)", "" if one.query else "dim"),
            )
            for one in found
        ],
    )


def databases(found: Sequence[DatabaseFacts]) -> Table:
    """Databases by size."""
    return (
        [
            Column("DATABASE", elastic=True),
            *_numbers("SIZE", "CONN", "CACHE HITS", "ROLLBACKS", "DEADLOCKS", "TEMP FILES"),
        ],
        [
            (
                one.name,
                _size(one.bytes),
                str(one.connections),
                "-" if one.cache_hit_percent is None else f"{one.cache_hit_percent:.1f}%",
                _share(one.rollbacks, one.commits + one.rollbacks),
                f"{one.deadlocks:,}",
                format_size(one.temp_bytes),
            )
            for one in found
        ],
    )


def tables(found: Sequence[TableFacts], at: datetime) -> Table:
    """Tables by size."""
    return (
        [
            Column("TABLE", elastic=True),
            *_numbers("SIZE", "INDEXES", "ROWS", "DEAD", "VACUUMED"),
        ],
        [
            (
                one.name,
                ("~" if one.estimated else "") + format_size(one.total_bytes),
                format_size(one.index_bytes),
                "?" if one.rows is None else count_text(one.rows),
                Cell(_dead(one), "yellow" if one.hint else ""),
                ago(one.last_vacuum, at),
            )
            for one in found
        ],
    )


def indexes(found: Sequence[IndexFacts]) -> Table:
    """Indexes by size."""
    return (
        [Column("INDEX", elastic=True), Column("TABLE", elastic=True), *_numbers("SIZE", "SCANS")],
        [
            (
                one.name,
                one.table,
                ("~" if one.estimated else "") + format_size(one.bytes),
                count_text(one.scans),
            )
            for one in found
        ],
    )


def replicas(found: Sequence[Replica]) -> Table:
    """Who replicates from here."""
    return (
        [
            Column("REPLICA", elastic=True),
            Column("CLIENT"),
            Column("STATE"),
            *_numbers("LAG", "BEHIND"),
        ],
        [
            (
                one.name or "-",
                one.client or "-",
                one.state or "?",
                age(one.lag_seconds),
                "-" if one.behind_bytes is None else format_size(one.behind_bytes),
            )
            for one in found
        ],
    )


def slots(found: Sequence[Slot]) -> Table:
    """Replication slots."""
    return (
        [
            Column("SLOT", elastic=True),
            Column("KIND"),
            Column("IN USE"),
            Column("WAL STATUS"),
            *_numbers("HOLDS BACK"),
        ],
        [
            (
                one.name,
                one.kind,
                "yes" if one.active else Cell("no", "yellow"),
                one.wal_status or "?",
                _size(one.retained_bytes),
            )
            for one in found
        ],
    )


def disks(found: Sequence[FileSystem]) -> Table:
    """File systems of this host."""
    return (
        [
            Column("FOR", elastic=True),
            Column("PATH", elastic=True),
            *_numbers("USED", "FREE", "NEXT NEEDS"),
        ],
        [
            (
                ", ".join(one.used_for),
                str(one.path),
                Cell("?", "magenta") if one.used_percent is None else f"{one.used_percent:.0f}%",
                one.error or format_size(one.free_bytes),
                "-" if one.needed_bytes is None else format_size(one.needed_bytes),
            )
            for one in found
        ],
    )


def backups(found: Sequence[DatabaseStatus], at: datetime) -> Table:
    """The last backup of each database."""
    return (
        [
            Column("DATABASE", elastic=True),
            *_numbers("LAST BACKUP", "LAST PROVEN", "FAILED SINCE"),
        ],
        [
            (
                str(one.ref),
                ago(one.last.snapshot_at, at) if one.last else Cell("never", "red"),
                ago(one.last_proven.proven_at, at) if one.last_proven else "never",
                Cell(str(one.consecutive_failures), "red" if one.consecutive_failures else ""),
            )
            for one in found
        ],
    )


def ago(then: datetime | None, at: datetime) -> str:
    """How long before ``at``."""
    if then is None:
        return "never"
    return f"{format_duration(max(0, int((at - then).total_seconds())))} ago"


def _numbers(*headings: str) -> list[Column]:
    return [Column(heading, right=True) for heading in headings]


def _size(size: float | None) -> str:
    return "?" if size is None else format_size(size)


def _short(seconds: float) -> str:
    """A duration that may be far below a second."""
    if seconds < 0.001:
        return f"{seconds * 1e6:.0f}us"
    if seconds < 1:
        return f"{seconds * 1000:.0f}ms"
    return format_duration(seconds)


def count_text(number: int) -> str:
    """A number in few letters: 9,999, 12.3k, 450M."""
    if number < 10_000:
        return f"{number:,}"
    value, unit = number / 1e3, "k"
    for larger in ("M", "G", "T"):
        if value >= 999.5:
            value, unit = value / 1e3, larger
    return f"{value:.1f}{unit}" if value < 99.95 else f"{value:.0f}{unit}"


def _share(part: int, whole: int) -> str:
    return f"{100 * part / whole:.1f}%" if whole else "-"


def _dead(one: TableFacts) -> str:
    return f"{count_text(one.dead_rows)} ({one.dead_percent:.0f}%)" if one.dead_rows else "0"
