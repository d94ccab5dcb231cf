"""Rows, tables and recovery times of backups, and a backup that is much smaller than before."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from support.postgres import PostgresServer
from support.restoring import run_inside
from support.site import Site

FIELDS = ("tables", "rows", "fetch_seconds", "restore_seconds", "compare_seconds")


def done(site: Site, *words: str, code: int = 0) -> Any:
    outcome = run_inside(site, *words, "--json")
    assert outcome.code == code, outcome.out + outcome.err
    return outcome.json


@pytest.fixture
def site(pg15: PostgresServer, fresh_database: Any, tmp_path: Path) -> Site:
    database = fresh_database(pg15)
    database.execute(
        "CREATE TABLE users AS SELECT g AS id, repeat('x', 200) AS about "
        "FROM generate_series(1, 2000) g",
        "CREATE TABLE empty (id int)",
    )
    made = Site(tmp_path / "site", database.dsn())
    made.server = {"verify": {"scratch": pg15.dsn(), "allow_source_server": True}}
    return made


def test_from_backup_to_drill_to_a_drop_that_is_told(site: Site, pg15: PostgresServer) -> None:
    (first,) = done(site, "backup", "now")
    assert (first["tables"], first["rows"], first["previous_proven"]) == (2, 2000, None)
    (listed,) = done(site, "backup", "list")
    assert [listed[name] for name in FIELDS] == [2, 2000, None, None, None]

    (drill,) = done(site, "verify")
    assert drill["previous_proven"] is None
    (listed,) = done(site, "backup", "list")
    assert {name: listed[name] for name in FIELDS} == {name: drill[name] for name in FIELDS}
    assert listed["restore_seconds"] > 0
    shown = done(site, "backup", "show", first["id"])
    assert {name: shown[name] for name in FIELDS} == {name: drill[name] for name in FIELDS}
    assert [one["result"] for one in shown["drills"]] == ["proven"]
    assert (shown["previous_proven"], shown["warnings"]) == (None, [])

    with pg15.connect(site.dsn.split("dbname=")[1].split()[0]) as connection:
        connection.execute("DELETE FROM users WHERE id > 600")
    (second,) = done(site, "backup", "now")
    (warning,) = second["warnings"]
    assert warning.startswith(f"far smaller than {first['id']}")
    assert "600 rows after 2,000 (-70 %)" in warning
    before = second["previous_proven"]
    assert (before["id"], before["rows"]) == (first["id"], 2000)
    assert (before["rows_change_percent"], before["severity"]) == (-70.0, "critical")
    assert -75 < before["dumped_change_percent"] < -60

    (drill,) = done(site, "verify")
    assert (drill["id"], drill["result"]) == (second["id"], "proven")
    assert drill["previous_proven"] == before
    assert warning in drill["notes"]
    shown = done(site, "backup", "show", second["id"])
    assert (shown["previous_proven"], shown["warnings"]) == (before, [warning])
    people = run_inside(site, "backup", "show", second["id"]).out
    assert "600 rows after 2,000" in people
    assert "to restore" in people
    shown = done(site, "backup", "show", first["id"])
    assert shown["previous_proven"] is None, "what came later is not before it"

    (third,) = done(site, "backup", "now")  # as small as the one that is proven by now
    assert (third["warnings"], third["previous_proven"]["id"]) == ([], second["id"])

    known = done(site, "backup", "list")
    shutil.rmtree(site.root / "state")
    done(site, "catalog", "rebuild")
    assert done(site, "backup", "list") == known


def test_bounds_are_the_vitals(site: Site, pg15: PostgresServer) -> None:
    done(site, "backup", "now")
    done(site, "verify")
    with pg15.connect(site.dsn.split("dbname=")[1].split()[0]) as connection:
        connection.execute("DELETE FROM users WHERE id > 600")
    site.server["vitals"] = {"size_drop": ["90%", None]}
    (second,) = done(site, "backup", "now")
    assert (second["warnings"], second["previous_proven"]["severity"]) == ([], "ok")
    site.server["vitals"] = {"size_drop": ["50%", "90%"]}
    shown = done(site, "backup", "show", second["id"])
    assert shown["previous_proven"]["severity"] == "warning"
    assert shown["warnings"][0].startswith("much smaller than ")
    (drill,) = done(site, "verify")
    assert shown["warnings"][0] in drill["notes"]
    site.server["vitals"] = {"size_drop": None}
    assert done(site, "backup", "show", second["id"])["warnings"] == []
