"""Backups as people read them, from 80 columns on."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from guardian.backup.sizes import compare_sizes, figures_of
from guardian.cli.backup_view import (
    Shown,
    comparison_document,
    print_backup,
    print_backups,
    record_document,
    show_document,
)
from guardian.model import (
    BackupId,
    BackupRecord,
    DatabaseRef,
    Measured,
    ProofRecord,
    ProofResult,
    RunStatus,
)

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
DRILLED = BackupRecord(
    BackupId("20261123T020000Z-7f3a9c"),
    DatabaseRef("main", "mina"),
    RunStatus.SUCCEEDED,
    NOW - timedelta(hours=10),
    finished_at=NOW - timedelta(hours=9),
    snapshot_at=NOW - timedelta(hours=10),
    stored_bytes=512 << 20,
    dumped_bytes=2 << 30,
    stores=("local", "offsite"),
    proven=True,
    proven_at=NOW - timedelta(hours=8),
    tables=42,
    rows=1_234_567,
    measured=Measured(41.2, 723.4, 98.7, 870.1, 42, 1_234_567),
)
UNDRILLED = replace(
    DRILLED, id=BackupId("20261122T020000Z-000000"), proven=None, proven_at=None, measured=None
)
OLD = replace(UNDRILLED, id=BackupId("20261121T020000Z-000000"), tables=None, rows=None)
DRILL = ProofRecord(
    DRILLED.id, "local", ProofResult.PROVEN, NOW, 42, 1_234_567, 870.1, 41.2, 723.4, 98.7
)


@pytest.fixture(autouse=True)
def _plain(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")


def listed(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    width: int,
    *records: BackupRecord,
) -> list[str]:
    monkeypatch.setenv("COLUMNS", str(width))
    print_backups(records, NOW)
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= width
    return lines


def test_all_columns_where_there_is_room(capsys, monkeypatch) -> None:
    heading, *lines = listed(capsys, monkeypatch, 200, DRILLED, replace(UNDRILLED, kept=True))
    assert heading.split() == [
        *("ID", "DATABASE", "AGE", "DUMPED", "STORED", "TABLES", "ROWS", "STORES", "PROVEN"),
        *("FETCH", "RESTORE", "COMPARE", "KEPT"),
    ]
    assert lines[0].split() == [
        *(DRILLED.id, "main/mina", "10h", "2.00", "GiB", "512", "MiB", "42", "1,234,567"),
        *("local,", "offsite", "yes", "41s", "12m", "3s", "1m", "39s"),
    ]
    assert lines[1].split()[-3:] == ["not", "yet", "kept"]


def test_the_narrowest_terminal_keeps_what_matters_on_one_line(capsys, monkeypatch) -> None:
    heading, *lines = listed(capsys, monkeypatch, 80, DRILLED, UNDRILLED, OLD)
    assert len(lines) == 3, lines
    assert heading.split() == ["ID", "DATABASE", "AGE", "DUMPED", "ROWS", "PROVEN", "RESTORE"]
    assert lines[0].split() == [
        *(DRILLED.id, "main/mina", "10h", "2.00", "GiB", "1,234,567", "yes", "12m", "3s"),
    ]


def test_what_is_empty_goes_first(capsys, monkeypatch) -> None:
    heading, *_ = listed(capsys, monkeypatch, 80, OLD)
    assert heading.split() == ["ID", "DATABASE", "AGE", "DUMPED", "STORES", "PROVEN"]
    heading, *lines = listed(capsys, monkeypatch, 80, replace(DRILLED, kept=True))
    assert heading.split()[3:] == ["DUMPED", "PROVEN", "RESTORE", "KEPT"]
    assert len(lines) == 1


def test_many_backups_keep_to_the_width_too(capsys, monkeypatch) -> None:
    few = listed(capsys, monkeypatch, 90, DRILLED)
    many = listed(capsys, monkeypatch, 90, *[DRILLED] * 300)
    assert many == [few[0], *[few[1]] * 300]


def test_a_backup_for_scripts() -> None:
    document = record_document(DRILLED)
    assert {
        name: document[name]
        for name in ("tables", "rows", "fetch_seconds", "restore_seconds", "compare_seconds")
    } == {
        "tables": 42,
        "rows": 1_234_567,
        "fetch_seconds": 41.2,
        "restore_seconds": 723.4,
        "compare_seconds": 98.7,
    }
    document = record_document(OLD)
    assert document["rows"] is document["restore_seconds"] is None


def test_one_backup_tells_its_recovery_time_and_what_it_was_before(capsys, monkeypatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    less = replace(UNDRILLED, dumped_bytes=1 << 30, rows=1_234_567, tables=40)
    comparison = compare_sizes(figures_of(less), DRILLED, (30.0, 60.0))
    print_backup(Shown(less, None, (), comparison), NOW)
    out = capsys.readouterr().out
    assert f"before    {DRILLED.id}: dumped -50 %, tables -4.8 %, rows ±0 %\n" in out
    assert "warning  much smaller than" in out
    assert "recovery" not in out

    drill = replace(DRILL, result=ProofResult.INCONCLUSIVE, reason="no scratch")
    print_backup(Shown(DRILLED, None, (drill, *[DRILL] * 6), None), NOW)
    out = capsys.readouterr().out
    assert "holds     42 tables, 1,234,567 rows" in out
    assert "recovery  12m 3s to restore, 41s of it waiting for the store" in out
    assert "DRILLED" in out
    assert "inconclusive" in out
    assert "reason  no scratch" in out
    assert "and 2 earlier" in out


def test_what_it_was_before_for_scripts() -> None:
    less = replace(UNDRILLED, dumped_bytes=1 << 30, rows=0, tables=None)
    comparison = compare_sizes(figures_of(less), replace(DRILLED, rows=None), (30.0, 60.0))
    document = show_document(Shown(less, None, (DRILL,), comparison))
    assert document["previous_proven"] == {
        "id": DRILLED.id,
        "snapshot_at": "2026-11-23T02:00:00.000Z",
        "dumped_bytes": 2 << 30,
        "tables": 42,
        "rows": 1_234_567,
        "dumped_change_percent": -50.0,
        "tables_change_percent": None,
        "rows_change_percent": -100.0,
        "severity": "critical",
    }
    (warning,) = document["warnings"]
    assert "0 rows after 1,234,567" in warning
    (drill,) = document["drills"]
    assert (drill["result"], drill["restore_seconds"]) == ("proven", 723.4)
    assert comparison_document(None) is None
