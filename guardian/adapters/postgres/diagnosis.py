"""Asks one server for what ``guardian diagnose`` reports, section by section.

A section that fails says why, and spoils no other. Sessions, locks and vitals are read elsewhere
(:mod:`guardian.adapters.postgres.watching`, :mod:`guardian.adapters.postgres.vitals`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import fields
from datetime import datetime
from typing import Any, TypeVar

import psycopg

from guardian.adapters.postgres.queries import query
from guardian.adapters.postgres.questions import Questions, Row, Timeouts
from guardian.adapters.postgres.statements import slow_queries
from guardian.units import format_duration
from guardian.watch.diagnosis import (
    DatabaseFacts,
    DatabaseReport,
    IndexFacts,
    Note,
    Replica,
    Replication,
    Section,
    ServerFacts,
    Slot,
    SlowQueries,
    TableFacts,
)

Facts = TypeVar("Facts")
Record = TypeVar("Record")

_DEAD_ENOUGH = 1_000
_DEAD_PERCENT = 20.0
_INDEX_WORTH_IT = 1 << 20


class ServerDiagnosis:
    """One connection's view of its server, and of its own database. Methods never raise."""

    def __init__(
        self, connection: psycopg.Connection, *, top: int = 10, timeouts: Timeouts | None = None
    ) -> None:
        self._questions = Questions(connection, timeouts)
        self._top = top

    @property
    def role(self) -> str:
        """Our role as GRANT writes it."""
        return self._questions.role

    def server(self) -> Section[ServerFacts]:
        """Which server this is."""
        return self._section(lambda: Section(ServerFacts(**self._rows("diagnosis_server")[0])))

    def databases(self) -> Section[tuple[DatabaseFacts, ...]]:
        """Sizes and cache hits of all databases."""
        return self._section(self._databases)

    def slow_queries(self) -> Section[SlowQueries]:
        """The statements on which the server spends its time."""
        return self._section(lambda: slow_queries(self._questions, self._top))

    def replication(self) -> Section[Replication]:
        """Replicas and slots."""
        return self._section(self._replication)

    def database(self) -> DatabaseReport:
        """Tables and indexes of the database that we are connected to."""
        return DatabaseReport(
            self._questions.database,
            self._section(self._tables),
            self._section(self._indexes),
        )

    # --- the questions ---

    def _section(self, ask: Callable[[], Section[Facts]]) -> Section[Facts]:
        try:
            return ask()
        except psycopg.Error as error:
            return Section(None, (Note(*self._questions.explain(error)),))

    def _rows(self, name: str, **parameters: Any) -> Sequence[Row]:
        return self._questions.rows(query(name), parameters or None)

    def _databases(self) -> Section[tuple[DatabaseFacts, ...]]:
        notes = []
        try:
            rows = self._rows("diagnosis_databases", with_sizes=True)
        except psycopg.errors.QueryCanceled:
            rows = self._rows("diagnosis_databases", with_sizes=False)
            notes = [Note("sizes are left out: counting all files took too long")]
        if not notes and (hidden := [row["name"] for row in rows if row["bytes"] is None]):
            text = f"the size of {len(hidden)} databases is hidden from {self.role}"
            notes = [Note(text, f"GRANT pg_monitor TO {self.role};")]
        return Section(tuple(DatabaseFacts(**row) for row in rows), tuple(notes))

    def _replication(self) -> Section[Replication]:
        replicas = self._rows("vitals_replicas")
        notes = []
        if any(row["state"] is None for row in replicas):
            text = f"what {len(replicas)} replicas do is hidden from {self.role}"
            notes = [Note(text, f"GRANT pg_monitor TO {self.role};")]
        found = Replication(
            is_standby=bool(self._rows("vitals_standby")),
            replicas=tuple(
                Replica(
                    row["application_name"] or row["usename"],
                    row["client"],
                    row["state"],
                    row["lag_seconds"],
                    row["behind"],
                )
                for row in replicas
            ),
            slots=tuple(
                Slot(
                    row["name"],
                    row["slot_type"],
                    row["database"],
                    row["active"],
                    row["wal_status"],
                    row["retained"],
                )
                for row in self._rows("vitals_slots")
            ),
        )
        return Section(found, tuple(notes))

    def _sized(self, name: str) -> tuple[Sequence[Row], list[Note]]:
        """Exact sizes, or where those take too long or wait for a lock, the statistics' ones."""
        try:
            return self._rows(name, top=self._top, exact=True), []
        except (psycopg.errors.QueryCanceled, psycopg.errors.LockNotAvailable):
            note = Note("sizes are those of the last VACUUM or ANALYZE: exact ones took too long")
            return self._rows(name, top=self._top, exact=False), [note]

    def _tables(self) -> Section[tuple[TableFacts, ...]]:
        rows, notes = self._sized("diagnosis_tables")
        return Section(
            tuple(
                TableFacts(database=self._questions.database, **row, hint=table_hint(row))
                for row in rows
            ),
            tuple(notes),
        )

    def _indexes(self) -> Section[tuple[IndexFacts, ...]]:
        rows, notes = self._sized("diagnosis_indexes")
        now = self._rows_at() if rows else None
        return Section(
            tuple(
                IndexFacts(
                    database=self._questions.database, **_known(row), hint=index_hint(row, now)
                )
                for row in rows
            ),
            tuple(notes),
        )

    def _rows_at(self) -> datetime:
        (row,) = self._questions.rows("SELECT clock_timestamp() AS at")
        at: datetime = row["at"]
        return at


def _known(row: Row) -> Row:
    names = {field.name for field in fields(IndexFacts)}
    return {name: value for name, value in row.items() if name in names}


def table_hint(row: Row) -> str | None:
    """What to do about a table, None when it looks well."""
    if row["dead_rows"] >= _DEAD_ENOUGH and row["dead_percent"] >= _DEAD_PERCENT:
        return f"VACUUM (ANALYZE) {row['name']};"
    if row["last_analyze"] is None and row["last_vacuum"] is None and row["rows"] != 0:
        return f"the planner has no statistics: ANALYZE {row['name']};"
    return None


def index_hint(row: Row, now: datetime | None) -> str | None:
    """What to do about an index, None when it looks well."""
    if not row["valid"]:
        return f"invalid: REINDEX INDEX CONCURRENTLY {row['name']};"
    is_needed = row["unique"] or row["is_constraint"] or row["scans"]
    if is_needed or row["bytes"] < _INDEX_WORTH_IT:
        return None
    since = row["stats_reset"]
    counted = "" if since is None or now is None else f" in {format_duration(now - since)}"
    return (
        f"no query used it{counted}; if none does on replicas either: "
        f"DROP INDEX CONCURRENTLY {row['name']};"
    )
