from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from prometheus_client.parser import text_string_to_metric_families

from guardian.daemon.metrics import Metrics
from guardian.daemon.overview import DatabaseStatus
from guardian.daemon.state import (
    ChannelNow,
    ConfigNow,
    JobNow,
    Memory,
    Role,
    Snapshot,
    State,
    TaskNow,
)
from guardian.daemon.work import Kind, Task
from guardian.model import (
    BackupId,
    BackupRecord,
    DatabaseRef,
    ProofRecord,
    ProofResult,
    RunStatus,
)
from guardian.watch.model import Observation, Session
from guardian.watch.outage import Availability, Outage, ProbeResult
from guardian.watch.readings import Severity, Unit
from guardian.watch.vitals import Finding

NOW = datetime(2026, 11, 23, 2, 0, tzinfo=UTC)
MINA = DatabaseRef("main", "mina")
BACKUP = BackupRecord(
    BackupId("20261123T010000Z-000001"),
    MINA,
    RunStatus.SUCCEEDED,
    NOW - timedelta(hours=1),
    finished_at=NOW - timedelta(minutes=58),
    snapshot_at=NOW - timedelta(minutes=59),
    stored_bytes=1000,
    dumped_bytes=5000,
)
STATUS = DatabaseStatus(MINA, BACKUP, replace(BACKUP, proven=True), 7, 2, None, True, None, NOW)


def memory() -> Memory:
    return Memory(Role.ACTIVE, "k3f9", "1.2", NOW, ConfigNow("guardian.yaml", NOW))


def scraped(snapshot: Snapshot) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    body, content_type = Metrics(lambda: snapshot).render("text/plain")
    assert content_type.startswith("text/plain; version=0.0.4")
    text = body.decode()
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def value(snapshot: Snapshot, name: str, **labels: str) -> float | None:
    return scraped(snapshot).get((name, frozenset(labels.items())))


def test_backups_by_the_names_of_the_contract() -> None:
    snapshot = Snapshot(NOW, replace(memory(), databases=(STATUS,)))
    taken = (NOW - timedelta(minutes=59)).timestamp()
    for name, expected in {
        "guardian_backup_last_success_timestamp_seconds": taken,
        "guardian_backup_last_proven_timestamp_seconds": taken,
        "guardian_backup_stored_bytes": 1000,
        "guardian_backup_consecutive_failures": 2,
        "guardian_backup_duration_seconds": 120,
        "guardian_backup_overdue": 1,
        "guardian_backups": 7,
    }.items():
        assert value(snapshot, name, server="main", database="mina") == expected, name


def test_a_database_without_any_backup_has_no_age_but_counts_its_failures() -> None:
    bare = replace(STATUS, last=None, last_proven=None, next_at=None)
    found = scraped(Snapshot(NOW, replace(memory(), databases=(bare,))))
    names = {name for name, labels in found if ("database", "mina") in labels}
    assert names == {
        "guardian_backup_consecutive_failures",
        "guardian_backups",
        "guardian_backup_overdue",
    }


def test_sessions_kills_and_servers() -> None:
    state = State(memory())
    looks = (
        Session(1, NOW, state="idle in transaction", xact_start=NOW - timedelta(seconds=90)),
        Session(2, NOW, state="active", wait_event_type="Lock"),
        Session(3, NOW, state="active"),
        Session(4, NOW, backend_type="walwriter"),
    )
    look = Observation("main", NOW, looks, blockers={2: (1,)})
    up = Outage(availability=Availability.UP, latencies=(0.25,))
    state.server("main", observation=look, looked_at=NOW, outage=up)
    state.server("away", outage=Outage(availability=Availability.DOWN, down_since=NOW))
    state.server("new")
    state.count_kill("main", "idle", "terminate", "signalled")
    state.count_kill("main", "idle", "terminate", "signalled")
    state.count_kill("main", None, "cancel", "gone")
    snapshot = Snapshot(NOW, state.memory)
    assert value(snapshot, "guardian_sessions", server="main", state="active") == 2
    assert value(snapshot, "guardian_sessions", server="main", state="idle in transaction") == 1
    assert value(snapshot, "guardian_sessions_blocked", server="main") == 1
    assert value(snapshot, "guardian_transaction_oldest_seconds", server="main") == 90
    assert value(snapshot, "guardian_server_up", server="main") == 1
    assert value(snapshot, "guardian_server_up", server="away") == 0
    assert value(snapshot, "guardian_server_up", server="new") is None, "not probed yet"
    assert value(snapshot, "guardian_server_probe_seconds", server="main") == 0.25
    killed = {"server": "main", "policy": "idle", "action": "terminate", "outcome": "signalled"}
    assert value(snapshot, "guardian_kills_total", **killed) == 2
    by_hand = {"server": "main", "policy": "", "action": "cancel", "outcome": "gone"}
    assert value(snapshot, "guardian_kills_total", **by_hand) == 1


def test_what_cannot_be_seen_any_more_is_not_reported_as_of_now() -> None:
    state = State(memory())
    look = Observation("main", NOW, (Session(1, NOW, state="active"),))
    state.server("main", observation=look, looked_at=NOW, watch_error="refused")
    names = {name for name, _ in scraped(Snapshot(NOW, state.memory))}
    assert "guardian_sessions" not in names
    assert "guardian_watch_last_look_timestamp_seconds" in names


def test_vitals_in_base_units() -> None:
    state = State(memory())
    state.server(
        "main",
        vitals=(
            Finding("connections", Severity.WARNING, "", value=85.0, unit=Unit.PERCENT),
            Finding("replica_lag", Severity.OK, "", subject="r1", value=3.0, unit=Unit.SECONDS),
            Finding("archiver", Severity.UNKNOWN, ""),
        ),
    )
    snapshot = Snapshot(NOW, state.memory)
    ratio = value(snapshot, "guardian_vital_ratio", server="main", vital="connections", subject="")
    assert ratio == 0.85
    lag = value(
        snapshot, "guardian_vital_seconds", server="main", vital="replica_lag", subject="r1"
    )
    assert lag == 3
    severities = {"connections": 2, "replica_lag": 0, "archiver": 1}
    for vital, severity in severities.items():
        labels = {"server": "main", "vital": vital}
        assert value(snapshot, "guardian_vital_severity", **labels) == severity


def test_incidents_of_every_severity_also_when_there_is_none() -> None:
    snapshot = Snapshot(NOW, memory())
    for severity in ("P0", "P1", "P2", "P3"):
        assert value(snapshot, "guardian_incidents_open", severity=severity) == 0


def test_the_daemon_its_jobs_tasks_and_channels() -> None:
    state = State(memory())
    state.change(channels=(ChannelNow("pager"), ChannelNow("mail", NOW, "550")))
    state.count_task("backup", MINA, "succeeded")
    state.crashed("watch:main", NOW, "KeyError")
    proof = ProofRecord(BACKUP.id, "local", ProofResult.PROVEN, NOW, seconds=9, restore_seconds=4)
    state.drilled(MINA, proof)
    state.heard("ping", NOW)
    state.probe("web", "http", Outage(availability=Availability.SUSPECT, last=ProbeResult(NOW, 1)))
    snapshot = Snapshot(
        NOW,
        state.memory,
        pulse_age=1.0,
        jobs=(JobNow("watch:main", last_ended_at=NOW, runs=3, failures=1),),
        tasks=(TaskNow(Task(Kind.DRILL, MINA), NOW, started_at=NOW),),
    )
    mina = {"server": "main", "database": "mina"}
    assert value(snapshot, "guardian_build_info", version="1.2") == 1
    assert value(snapshot, "guardian_active") == 1
    assert value(snapshot, "guardian_healthy") == 1
    assert value(snapshot, "guardian_channel_up", channel="mail") == 0
    assert value(snapshot, "guardian_channel_up", channel="pager") == 1
    assert value(snapshot, "guardian_tasks_total", kind="backup", result="succeeded", **mina) == 1
    assert value(snapshot, "guardian_tasks", kind="drill", state="running") == 1
    assert value(snapshot, "guardian_tasks", kind="backup", state="running") == 0
    assert value(snapshot, "guardian_job_runs_total", job="watch:main") == 3
    assert value(snapshot, "guardian_crashes_total", job="watch:main") == 1
    assert value(snapshot, "guardian_drill_restore_seconds", **mina) == 4
    assert value(snapshot, "guardian_drill_proven", **mina) == 1
    assert value(snapshot, "guardian_heartbeat_last_timestamp_seconds", heartbeat="ping") == (
        NOW.timestamp()
    )
    assert value(snapshot, "guardian_probe_up", probe="web", kind="http") == 1, "only suspect"
    assert value(snapshot, "guardian_process_open_fds") is not None


def test_every_name_is_ours_and_names_any_database_survive() -> None:
    odd = replace(STATUS, ref=DatabaseRef("main", 'a"b\\c\nd'))
    snapshot = Snapshot(NOW, replace(memory(), databases=(odd,)))
    found = scraped(snapshot)
    assert {name for name, _ in found if not name.startswith("guardian_")} == set()
    assert any(("database", 'a"b\\c\nd') in labels for _, labels in found)


def test_open_metrics_for_who_asks_for_it() -> None:
    body, content_type = Metrics(lambda: Snapshot(NOW, memory())).render(
        "application/openmetrics-text; version=1.0.0"
    )
    assert content_type.startswith("application/openmetrics-text")
    assert body.endswith(b"# EOF\n")
