"""pg_stat_statements: the slow queries of a server, or exactly how to come by them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields

from psycopg import sql

from guardian.adapters.postgres.queries import query
from guardian.adapters.postgres.questions import Questions, Row
from guardian.watch.advice import literal
from guardian.watch.diagnosis import Note, Section, SlowQueries, Statement
from guardian.watch.redaction import without_secrets

_NAME = "pg_stat_statements"


def slow_queries(questions: Questions, top: int) -> Section[SlowQueries]:
    """The ``top`` statements by total and by mean time. Raises psycopg.Error."""
    (state,) = questions.rows(query("diagnosis_statements_state"))
    if missing := how_to_get_it(state, questions.database, questions.role):
        return Section(None, (missing,))
    view = sql.Identifier(state["plain_schema"], _NAME)
    kind = "exec_time" if state["has_exec_time"] else "time"
    statement = sql.SQL(query("diagnosis_statements")).format(
        view=view, **{name: sql.Identifier(f"{name}_{kind}") for name in ("total", "mean", "max")}
    )
    rows = questions.rows(statement, {"top": top})
    notes = []
    if any(row["query"] is None for row in rows):
        text = f"the texts of other roles' queries are hidden from {questions.role}"
        notes.append(Note(text, f"GRANT pg_read_all_stats TO {questions.role};"))
    since = None
    if state["has_info"]:
        info = sql.Identifier(state["plain_schema"], "pg_stat_statements_info")
        (row,) = questions.rows(sql.SQL("SELECT stats_reset FROM {}").format(info))
        since = row["stats_reset"]
    return Section(
        SlowQueries(_top(rows, "by_total", top), _top(rows, "by_mean", top), since), tuple(notes)
    )


def _top(rows: Sequence[Row], place: str, top: int) -> tuple[Statement, ...]:
    """The statements by one of their two places."""
    chosen = sorted((row for row in rows if row[place] <= top), key=lambda row: row[place])
    names = {field.name for field in fields(Statement)} - {"query"}
    return tuple(
        Statement(
            query=without_secrets(row["query"]),  # of CREATE ROLE it keeps the password, too
            **{name: value for name, value in row.items() if name in names},
        )
        for row in chosen
    )


def how_to_get_it(state: Row, database: str, role: str) -> Note | None:
    """What keeps us from reading it, and the steps that mend this; None when nothing does."""
    installed = state["version"] is not None
    if installed and state["loaded"]:
        if state["reachable"]:
            return None
        return Note(
            f"{_NAME} lies in schema {state['schema']}, which {role} may not use",
            f"GRANT USAGE ON SCHEMA {state['schema']} TO {role};",
        )
    if not state["available"]:
        return Note(
            f"{_NAME} is not installed on the server's host",
            "install PostgreSQL's contrib package there (Debian has it in postgresql-NN, Red Hat "
            f"in postgresqlNN-contrib), then: {_load(state)}, and in {database}: {_create()}",
        )
    if state["loaded"]:
        return Note(f"{_NAME} is loaded, but not created in {database}", _create())
    steps = _load(state) if installed else f"{_load(state)}, then: {_create()}"
    return Note(f"{_NAME} is not loaded by the server", steps)


def _create() -> str:
    return f"CREATE EXTENSION {_NAME};"


def _load(state: Row) -> str:
    """The setting is a list: all of it as one quoted word keeps the server from starting."""
    if state["libraries"] is None:
        return (
            f"add {_NAME} to shared_preload_libraries (keep what is in it; managed services have "
            "it in their console), and restart the server"
        )
    names = [name.strip().strip('"') for name in state["libraries"].split(",") if name.strip()]
    listed = ", ".join(literal(name) for name in [*names, _NAME])
    return (
        f"ALTER SYSTEM SET shared_preload_libraries = {listed}; (managed services have it in their "
        "console), and restart the server"
    )
