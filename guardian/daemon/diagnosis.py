"""``guardian diagnose``: the runbook's checks on one server in one report.

Whatever cannot be had is said in its place, and keeps nothing else from being told: a server that
is down still has backups, and disks that may be full.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TypeVar

from guardian.adapters.postgres.connection import Connector
from guardian.adapters.postgres.diagnosis import ServerDiagnosis
from guardian.adapters.postgres.probe import ConnectionProbe
from guardian.adapters.postgres.vitals import read_database_vitals, read_server_vitals
from guardian.daemon.app import App
from guardian.daemon.overview import DatabaseStatus, database_statuses
from guardian.daemon.vital_signs import FileSystem, backup_readings, file_systems
from guardian.errors import GuardianError
from guardian.watch.diagnosis import (
    Connections,
    DatabaseFacts,
    DatabaseReport,
    Note,
    Replication,
    Section,
    ServerFacts,
    SlowQueries,
    clients,
    connections_of,
    long_transactions,
)
from guardian.watch.locks import LockGraph
from guardian.watch.model import Observation, Session
from guardian.watch.vitals import (
    BACKUP_VITALS,
    DATABASE_VITALS,
    SERVER_VITALS,
    Finding,
    Reading,
    Unknown,
    assess,
)

Facts = TypeVar("Facts")

_PROBE_TIMEOUT = timedelta(seconds=10)


@dataclass(frozen=True, slots=True)
class Locks:
    """Who holds up whom, in one look."""

    observation: Observation
    graph: LockGraph


@dataclass(frozen=True, slots=True)
class ServerReport:
    """All that is known of one server. ``problem`` is why it could not be asked."""

    server: str
    where: str
    at: datetime
    problem: Note | None
    facts: Section[ServerFacts]
    vitals: tuple[Finding, ...]
    connections: Section[Connections]
    long_transactions: Section[tuple[Session, ...]]
    locks: Section[Locks]
    slow_queries: Section[SlowQueries]
    databases: Section[tuple[DatabaseFacts, ...]]
    contents: tuple[DatabaseReport, ...]
    replication: Section[Replication]
    file_systems: tuple[FileSystem, ...]
    backups: Section[tuple[DatabaseStatus, ...]]


def diagnose(app: App, name: str, top: int) -> ServerReport:
    """Ask one server for everything; each list holds ``top`` entries at most.

    Raises:
        NotFoundError: there is no such server in the config.
    """
    connector = app.connector(name)
    disks = file_systems(app, name)
    answers = _ask(app, name, top)
    seen = _lost(answers) if answers.problem else _guarded(lambda: _look(app, name, answers.role))
    readings = [*answers.readings, *_backup_readings(app, name), *(one.reading for one in disks)]
    return ServerReport(
        server=name,
        where=connector.where,
        at=app.clock.now(),
        problem=answers.problem,
        facts=answers.facts,
        vitals=assess(readings, dict(app.server(name).vitals)),
        connections=_of(seen, lambda look: connections_of(look, top)),
        long_transactions=_of(seen, lambda look: tuple(long_transactions(look, top))),
        locks=_of(seen, lambda look: Locks(look, LockGraph(look))),
        slow_queries=answers.slow_queries,
        databases=answers.databases,
        contents=answers.contents,
        replication=answers.replication,
        file_systems=tuple(disks),
        backups=_guarded(lambda: _backups(app, name)),
    )


@dataclass(frozen=True, slots=True)
class _Answers:
    """What the server itself said."""

    facts: Section[ServerFacts]
    slow_queries: Section[SlowQueries]
    databases: Section[tuple[DatabaseFacts, ...]]
    replication: Section[Replication]
    contents: tuple[DatabaseReport, ...] = ()
    readings: tuple[Reading | Unknown, ...] = ()
    role: str = "this role"
    problem: Note | None = None


def _ask(app: App, name: str, top: int) -> _Answers:
    try:
        connection = app.connector(name).connect(None, "diagnose")
    except GuardianError as error:
        return _unreachable(app, name, error)
    with connection:
        asked = ServerDiagnosis(connection, top=top)
        facts, slow, databases = asked.server(), asked.slow_queries(), asked.databases()
        replication, role = asked.replication(), asked.role
        readings = list(read_server_vitals(connection))
    contents = []
    try:
        names = app.source(name).databases()
    except GuardianError as error:
        readings += [Unknown(vital, error.message, error.mend) for vital in DATABASE_VITALS]
        names = ()
    for database in names:
        report, own, statements = _ask_database(app.connector(name), database, top, slow)
        contents.append(report)
        readings += own
        slow = statements
    return _Answers(facts, slow, databases, replication, tuple(contents), tuple(readings), role)


def _unreachable(app: App, name: str, error: GuardianError) -> _Answers:
    """Why the server could not be asked, the cause told apart as the watch for outages does."""
    probe = ConnectionProbe(app.connector(name), app.clock, timeout=_PROBE_TIMEOUT).probe()
    problem = Note(probe.text or error.message, probe.mend or error.mend)
    unknown = tuple(
        Unknown(vital, "the server could not be asked")
        for vital in (*SERVER_VITALS, *DATABASE_VITALS)
    )
    return _Answers(
        Section(None, (problem,)),
        Section(None, (problem,)),
        Section(None, (problem,)),
        Section(None, (problem,)),
        readings=unknown,
        problem=problem,
    )


def _ask_database(
    connector: Connector, database: str, top: int, slow: Section[SlowQueries]
) -> tuple[DatabaseReport, Sequence[Reading | Unknown], Section[SlowQueries]]:
    """One database's part; its slow queries only where none were found before.

    pg_stat_statements counts for all databases, wherever it was created.
    """
    try:
        connection = connector.connect(database, "diagnose")
    except GuardianError as error:
        note = Note(error.message, error.mend)
        unknown = [Unknown(vital, error.message, error.mend, database) for vital in DATABASE_VITALS]
        lost = DatabaseReport(database, Section(None, (note,)), Section(None, (note,)))
        return lost, unknown, slow
    with connection:
        asked = ServerDiagnosis(connection, top=top)
        if slow.facts is None and (found := asked.slow_queries()).facts is not None:
            slow = found
        return asked.database(), read_database_vitals(connection), slow


def _look(app: App, name: str, role: str) -> Section[Observation]:
    with closing(app.watcher(name)) as watcher:
        look = watcher.observe()
    found = clients(look)
    hidden = sum(not one.visible for one in found)
    if not hidden:
        return Section(look)
    text = f"{hidden} of {len(found)} sessions are hidden from {role}"
    return Section(look, (Note(text, f"GRANT pg_monitor TO {role};"),))


def _lost(answers: _Answers) -> Section[Observation]:
    return Section(None, answers.facts.notes)


def _backup_readings(app: App, name: str) -> Sequence[Reading | Unknown]:
    try:
        return backup_readings(app, name)
    except GuardianError as error:
        return [Unknown(vital, error.message, error.mend) for vital in BACKUP_VITALS]


def _backups(app: App, name: str) -> Section[tuple[DatabaseStatus, ...]]:
    return Section(tuple(one for one in database_statuses(app) if one.ref.server == name))


def _guarded(ask: Callable[[], Section[Facts]]) -> Section[Facts]:
    try:
        return ask()
    except GuardianError as error:
        return Section(None, (Note(error.message, error.mend),))


def _of(seen: Section[Observation], part: Callable[[Observation], Facts]) -> Section[Facts]:
    """A part of what was seen, with a note where sessions are hidden from us."""
    if seen.facts is None:
        return Section(None, seen.notes)
    return Section(part(seen.facts), seen.notes)
