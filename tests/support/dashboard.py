"""A world for the dashboard: a real catalog with a year in it, and what the daemon saw last.

The catalog is a SQLite file. What the daemon would know is said here by hand.
"""

from __future__ import annotations

import random
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import insert
from support.catalogs import manifest as a_manifest

from guardian.adapters.catalog import rows as catalog_rows
from guardian.adapters.catalog.catalog import SqlCatalog, open_catalog
from guardian.adapters.catalog.models import BACKUPS, COPIES, MANIFESTS, PROOFS
from guardian.backup.manifest import encode_manifest
from guardian.errors import Cause
from guardian.escalate.model import (
    Change,
    ChannelHealth,
    Condition,
    Entry,
    EntryKind,
    Envelope,
    Fact,
    Incident,
    IncidentId,
    Message,
    MessageKind,
    Severity,
    Silence,
    Standing,
    State,
)
from guardian.model import (
    BackupId,
    CheckOutcome,
    DatabaseRef,
    Difference,
    Part,
    PartKind,
    ProofRecord,
    ProofResult,
    RunStatus,
    StoreOutcome,
    StoreStatus,
)
from guardian.testing import FakeClock
from guardian.watch.audit import KillMode, KillRecord
from guardian.watch.memory import Memory
from guardian.watch.model import Action, Mode, Observation, Outcome, Session
from guardian.watch.outage import Availability
from guardian.watch.policy import Decisions, Hold, Verdict
from guardian.watch.readings import Reading, Unit, Unknown
from guardian.watch.readings import Severity as VitalSeverity
from guardian.watch.trend import Sample, Series
from guardian.watch.vitals import Bounds, assess
from guardian.web.ports import (
    CheckVerdict,
    Component,
    ComponentStatus,
    DatabasePlan,
    DoctorCheck,
    DoctorReport,
    Look,
    NextRun,
    ServerNow,
    Sources,
    VitalsNow,
)

NOW = datetime(2026, 11, 23, 3, 12, tzinfo=UTC)
DAY, HOUR, MINUTE = timedelta(days=1), timedelta(hours=1), timedelta(minutes=1)
_NAMES = """
main/mina main/accounts main/billing main/search main/audit shop/orders shop/catalogue
shop/customers warehouse/events warehouse/reports warehouse/sessions staging/mina
"""
REFS = tuple(DatabaseRef(*text.split("/")) for text in _NAMES.split())
BOUNDS: Bounds = {
    "connections": (80.0, 95.0),
    "idle_in_transaction": (5 * MINUTE, 30 * MINUTE),
    "query_age": (15 * MINUTE, HOUR),
    "lock_wait": (MINUTE, 5 * MINUTE),
    "transaction_id_age": (1e9, 1.4e9),
    "slot_retained_wal": (1 << 30, 5 << 30),
    "replica_lag": (5 * MINUTE, 30 * MINUTE),
    "checksum_failures": (None, 1.0),
    "archiver": (5 * MINUTE, 30 * MINUTE),
    "sequences": (80.0, 95.0),
    "invalid_indexes": (1.0, None),
    "backup_age": (1.5, 3.0),
    "disk": (85.0, 95.0),
}


@dataclass
class Schedules:
    """What is configured."""

    refs: Sequence[DatabaseRef] = REFS
    changes: dict[DatabaseRef, dict[str, Any]] = field(default_factory=dict)
    runs: Sequence[NextRun] | None = None

    def plans(self) -> Sequence[DatabasePlan]:
        at = NOW.replace(hour=2, minute=0) + DAY
        plans = [DatabasePlan(one, "0 2 * * *", "UTC", at) for one in self.refs]
        return [replace(one, **self.changes.get(one.ref, {})) for one in plans]

    def next_runs(self, limit: int) -> Sequence[NextRun]:
        if self.runs is not None:
            return self.runs[:limit]
        at = NOW.replace(hour=2, minute=0) + DAY
        runs = [NextRun(NOW + 48 * MINUTE, "prune", "all stores")]
        runs += [NextRun(at, "backup", str(one)) for one in self.refs]
        return runs[:limit]


@dataclass
class WatchState:
    """What the watch saw last."""

    known: list[ServerNow] = field(default_factory=list)
    looks: dict[str, Look] = field(default_factory=dict)
    readings: dict[str, VitalsNow] = field(default_factory=dict)

    def servers(self) -> Sequence[ServerNow]:
        return self.known

    def look(self, server: str) -> Look | None:
        return self.looks.get(server)

    def vitals(self, server: str) -> VitalsNow | None:
        return self.readings.get(server)


@dataclass
class Health:
    """How guardian does."""

    bad: list[str] = field(default_factory=list)

    def reasons(self) -> Sequence[str]:
        return self.bad

    def components(self) -> Sequence[Component]:
        return [
            Component("scheduler", ComponentStatus.OK, 0.4),
            Component("catalog", ComponentStatus.OK, 12.0, "412 MiB"),
            Component("channels", ComponentStatus.IMPAIRED, 310.0, "failing: lead-mail"),
            Component("server main", ComponentStatus.OK, 1.2, "up"),
        ]


class Metrics:
    """Some numbers."""

    def render(self, accept: str) -> tuple[bytes, str]:
        del accept
        return b'guardian_server_up{server="main"} 1.0\n', "text/plain; version=0.0.4"


@dataclass
class Doctor:
    """An examination that is over, or is being made."""

    last: DoctorReport | None = None
    is_running: bool = False
    started: int = 0

    def report(self) -> DoctorReport | None:
        return self.last

    def start(self) -> None:
        self.started += 1
        self.is_running = True


@dataclass
class Desk:
    """Takes on incidents in the catalog, as the escalator would."""

    catalog: SqlCatalog
    done: list[tuple[str, str, str, str]] = field(default_factory=list)

    def acknowledge(self, incident: IncidentId, by: str, note: str = "") -> None:
        self.done.append(("acknowledge", incident, by, note))
        self._change(
            incident,
            Entry(incident, NOW, EntryKind.ACKNOWLEDGED, note or "acknowledged", by),
            state=State.ACKNOWLEDGED,
            acknowledged_by=by,
            acknowledged_at=NOW,
            acknowledged_until=NOW + 4 * HOUR,
        )

    def resolve(self, incident: IncidentId, by: str, note: str = "") -> None:
        self.done.append(("resolve", incident, by, note))
        self._change(
            incident,
            Entry(incident, NOW, EntryKind.RESOLVED, note or "resolved by hand", by),
            state=State.RESOLVED,
            resolved_at=NOW,
        )

    def _change(self, incident: IncidentId, entry: Entry, **fields: Any) -> None:
        (found,) = self.catalog.find_incidents(incident)
        changed = replace(found, updated_at=NOW, **fields)
        self.catalog.apply(Change(incidents=(changed,), entries=(entry,)))


@dataclass
class Hand:
    """Ends nobody, and remembers who was meant."""

    done: list[tuple[str, int, Action, str]] = field(default_factory=list)

    def kill(
        self, server: str, pid: int, action: Action, *, seen: Observation, by: str
    ) -> KillRecord:
        self.done.append((server, pid, action, by))
        return a_kill(seen.at, pid, KillMode.MANUAL, Outcome.SIGNALLED, by=by)


@dataclass
class World:
    """All of it; change what a test is about."""

    catalog: SqlCatalog
    clock: FakeClock
    schedules: Schedules = field(default_factory=Schedules)
    watch: WatchState = field(default_factory=WatchState)
    health: Health = field(default_factory=Health)
    doctor: Doctor = field(default_factory=Doctor)
    hand: Hand = field(default_factory=Hand)

    def __post_init__(self) -> None:
        self.desk = Desk(self.catalog)

    @property
    def sources(self) -> Sources:
        return Sources(
            clock=self.clock,
            catalog=self.catalog,
            schedules=self.schedules,
            watch=self.watch,
            health=self.health,
            metrics=Metrics(),
            desk=self.desk,
            hand=self.hand,
            doctor=self.doctor,
            version="0.1.0",
            heading="production",
        )


def make_catalog(
    folder: Path, clock: FakeClock, refs: Sequence[DatabaseRef] = REFS, days: int = 365
) -> SqlCatalog:
    """A catalog with so many nights, some of them bad, and with trouble now."""
    catalog = open_catalog(
        f"sqlite:///{folder}/catalog.db", clock=clock, is_alive=lambda _holder: None
    )
    fill_nights(catalog, refs, days)
    fill_vitals(catalog)
    fill_incidents(catalog)
    for number in range(3):
        kill = a_kill(
            NOW - (number + 1) * 47 * MINUTE,
            21_900 + number,
            KillMode.OBSERVE if number else KillMode.MANUAL,
            Outcome.WOULD if number else Outcome.SIGNALLED,
            by="ada",
        )
        catalog.record_kill(kill)
    return catalog


def make_world(folder: Path, refs: Sequence[DatabaseRef] = REFS, days: int = 365) -> World:
    """A world over a new catalog."""
    clock = FakeClock(NOW)
    return world_of(make_catalog(folder, clock, refs, days), clock, refs)


def copy_world(template: Path, folder: Path) -> World:
    """A world over a copy of a catalog that was made before, and is closed."""
    clock = FakeClock(NOW)
    shutil.copy(template / "catalog.db", folder / "catalog.db")
    catalog = open_catalog(
        f"sqlite:///{folder}/catalog.db", clock=clock, is_alive=lambda _holder: None
    )
    return world_of(catalog, clock, REFS)


def world_of(catalog: SqlCatalog, clock: FakeClock, refs: Sequence[DatabaseRef]) -> World:
    """What the daemon would know beside the catalog."""
    world = World(catalog, clock, Schedules(refs))
    fill_watch(world)
    world.doctor.last = a_report()
    return world


# --- backups ---


def fill_nights(catalog: SqlCatalog, refs: Sequence[DatabaseRef], days: int) -> None:
    """A backup a night and a drill after it, as they come in life; past the ports, so fast."""
    dice = random.Random(7)
    backups: list[dict[str, Any]] = []
    copies: list[dict[str, Any]] = []
    proofs: list[dict[str, Any]] = []
    manifests: list[dict[str, Any]] = []
    for place, ref in enumerate(refs):
        size = dice.uniform(0.3, 40) * (1 << 30)
        growth = dice.uniform(0.9998, 1.0035)
        for night in range(days, -1, -1):
            size *= growth * dice.uniform(0.997, 1.003)
            at = NOW.replace(hour=2, minute=0, second=place) - night * DAY
            fate = _fate(dice, place, night)
            if fate == "missing":
                continue
            identity = BackupId(f"{at:%Y%m%dT%H%M%SZ}-{place:02x}{night:04x}")
            made = _made(identity, ref, at, int(size))
            if fate == "failed":
                backups.append(_failed_row(identity, ref, at))
                continue
            values = catalog_rows.manifest_values(made)
            drilled = fate in {"proven", "refuted"}
            proven_at = made.finished_at + timedelta(seconds=size / (60 << 20))
            backups.append(
                {
                    "id": identity,
                    **values,
                    "proven": fate == "proven" if drilled else None,
                    "proven_at": proven_at if drilled else None,
                }
            )
            copies += _copies(identity, night, dice)
            if night < 40:
                manifests.append(
                    {"backup_id": identity, "manifest": encode_manifest(made).decode()}
                )
            if drilled:
                proofs.append(_proof(identity, proven_at, size, fate, dice))
    with catalog._database.writing() as connection:
        connection.execute(insert(BACKUPS), backups)
        connection.execute(insert(MANIFESTS), manifests)
        connection.execute(insert(COPIES), copies)
        connection.execute(insert(PROOFS), proofs)


def _fate(dice: random.Random, place: int, night: int) -> str:
    if place == 5 and night in {0, 1}:  # shop/orders fails now
        return "failed"
    if place == 11:  # staging is never drilled
        return "unproven"
    if place == 8 and night == 9:
        return "refuted"
    chance = dice.random()
    if chance < 0.006:
        return "failed"
    if chance < 0.009:
        return "missing"
    return "unproven" if chance < 0.03 else "proven"


def _made(identity: BackupId, ref: DatabaseRef, at: datetime, stored: int) -> Any:
    made = a_manifest(identity, ref, at)
    return replace(
        made,
        snapshot_at=at + timedelta(seconds=1.4),
        finished_at=at + timedelta(seconds=20 + stored / (110 << 20)),
        parts=(
            Part("database.dump.zst.gpg", PartKind.DUMP, stored, int(stored * 5.3), "ab12" * 16),
            Part("fingerprint.json.zst.gpg", PartKind.FINGERPRINT, 48_211, 391_077, "cd34" * 16),
            Part("globals.sql.zst.gpg", PartKind.GLOBALS, 1_377, 4_120, "ef56" * 16),
        ),
    )


def _failed_row(identity: BackupId, ref: DatabaseRef, at: datetime) -> dict[str, Any]:
    return {
        "id": identity,
        "server": ref.server,
        "database": ref.database,
        "status": RunStatus.FAILED.value,
        "started_at": at,
        "finished_at": at + 3 * MINUTE,
        "snapshot_at": None,
        "stored_bytes": 0,
        "rows": None,
        "tables": None,
        "dumped_bytes": 0,
        "proof": "none",
        "cause": Cause.DISK_FULL.value,
        "error": "store local: no space left on /var/backups/guardian (0 B free, 9.3 GiB needed)",
        "proven": None,
        "proven_at": None,
    }


def _copies(identity: BackupId, night: int, dice: random.Random) -> list[dict[str, Any]]:
    good = StoreOutcome("local", StoreStatus.SUCCEEDED)
    bucket = StoreOutcome("offsite", StoreStatus.SUCCEEDED, locked_until=NOW + (30 - night) * DAY)
    if dice.random() < 0.01:
        bucket = StoreOutcome(
            "offsite", StoreStatus.FAILED, "bucket acme-backups: 503 SlowDown", Cause.STORE
        )
    copies = []
    for position, one in enumerate((good, bucket)):
        values = catalog_rows.copy_values(position, one)
        pruned = night > 30 and night % 7 and one.status is StoreStatus.SUCCEEDED
        if pruned:
            values["deleted_at"] = NOW - (night - 31) * DAY
        copies.append({"backup_id": identity, **values})
    return copies


def _proof(
    identity: BackupId, at: datetime, size: float, fate: str, dice: random.Random
) -> dict[str, Any]:
    fetch = size / (140 << 20) * dice.uniform(0.9, 1.15)
    restore = size / (31 << 20) * dice.uniform(0.95, 1.1)
    compare = size / (150 << 20)
    refuted = fate == "refuted"
    record = ProofRecord(
        backup=identity,
        store="local",
        result=ProofResult.MISMATCH if refuted else ProofResult.PROVEN,
        at=at,
        tables=184,
        rows=48_211_937,
        seconds=fetch + restore + compare + 4,
        fetch_seconds=fetch,
        restore_seconds=restore,
        compare_seconds=compare,
        differences=(Difference("table public.events", "1,204,113 rows", "1,204,112 rows"),)
        if refuted
        else (),
        checks=(
            CheckOutcome("users survive", passed=True, found="t"),
            CheckOutcome(
                "last order is from today", passed=not refuted, found="f" if refuted else "t"
            ),
        ),
        reason="1 object differs: table public.events" if refuted else None,
    )
    return catalog_rows.proof_values(record)


# --- the watch ---


def a_session(pid: int, seconds: float, **facts: Any) -> Session:
    """A client's session that has done what it does for so long."""
    began = NOW - timedelta(seconds=seconds)
    base: dict[str, Any] = {
        "backend_start": began - HOUR,
        "user": "web",
        "database": "mina",
        "application": "api",
        "client": "10.0.4.17",
        "state": "active",
        "query_start": began,
        "xact_start": began,
        "state_change": began,
        "query": "SELECT id, title FROM meetings WHERE owner = $1 ORDER BY started_at LIMIT 50",
    }
    return Session(pid, **{**base, **facts})


def fill_watch(world: World) -> None:
    """Four servers: a busy one with a lock storm, two calm ones, one that is down."""
    root = a_session(
        21_044,
        438,
        state="idle in transaction",
        user="deploy",
        application="alembic",
        query="ALTER TABLE meetings ADD COLUMN summary_model text",
    )
    waiters = [
        a_session(
            21_100 + number,
            400 - 37 * number,
            wait_event_type="Lock",
            wait_event="relation",
            wait_started_at=NOW - timedelta(seconds=400 - 37 * number),
            query="INSERT INTO meetings (id, owner, title) VALUES ($1, $2, $3) RETURNING id",
        )
        for number in range(4)
    ]
    last = a_session(
        21_207,
        95,
        wait_event_type="Lock",
        wait_event="transactionid",
        wait_started_at=NOW - timedelta(seconds=95),
        query="UPDATE meetings SET title = $1 WHERE id = $2",
        application="worker",
    )
    idle = [
        a_session(21_300 + n, 60 + 211 * n, state="idle", xact_start=None, query="COMMIT")
        for n in range(14)
    ]
    own = a_session(
        21_001, 0.1, user="guardian", database="postgres", application="guardian watch", is_own=True
    )
    runaway = a_session(
        21_250,
        1_326,
        user="report",
        application="metabase",
        query="SELECT d.day, count(*), avg(length(t.text)) FROM days d LEFT JOIN transcripts t "
        "ON t.created_at::date = d.day GROUP BY 1 ORDER BY 1",
    )
    sessions = (root, *waiters, last, runaway, own, *idle)
    blockers = {one.pid: (root.pid,) for one in waiters} | {last.pid: (waiters[0].pid,)}
    seen = Observation("main", NOW, sessions, blockers)
    verdicts = (
        Verdict(
            root, "lock roots", Action.TERMINATE, "holds up 5 sessions, the longest for 6m 40s"
        ),
        Verdict(runaway, "runaway queries", Action.CANCEL, "active for 22m 6s, longer than 5m"),
        Verdict(
            idle[-1],
            "idle connections",
            Action.TERMINATE,
            "idle for 46m 43s, longer than 10m",
            Hold.PER_CYCLE,
        ),
    )
    decisions = Decisions("main", NOW, Mode.OBSERVE, verdicts, Memory())
    world.watch.looks["main"] = Look(NOW - timedelta(seconds=2), seen, decisions)
    for name, count in (("shop", 9), ("warehouse", 3)):
        calm = tuple(
            a_session(30_000 + n, 5 * n, state="idle", xact_start=None) for n in range(count)
        )
        world.watch.looks[name] = Look(
            NOW - timedelta(seconds=3),
            Observation(name, NOW, calm),
            Decisions(name, NOW, Mode.OBSERVE, (), Memory()),
        )
    world.watch.known = [
        ServerNow(
            "main", Availability.UP, NOW - 41 * DAY, NOW, 0.0021, "PostgreSQL 16.9", Mode.OBSERVE
        ),
        ServerNow(
            "shop", Availability.UP, NOW - 12 * DAY, NOW, 0.0148, "PostgreSQL 15.14", Mode.ENFORCE
        ),
        ServerNow("warehouse", Availability.UP, NOW - 3 * DAY, NOW, 0.0384, "PostgreSQL 18.0"),
        ServerNow(
            "staging",
            Availability.DOWN,
            NOW - 7 * MINUTE,
            NOW,
            None,
            "connection refused at 10.0.9.3:5432: nobody listens there",
        ),
    ]
    world.watch.readings = {
        "main": VitalsNow(NOW - timedelta(seconds=20), assess(busy_readings(), BOUNDS), BOUNDS),
        "shop": VitalsNow(NOW - timedelta(seconds=31), assess(calm_readings(), BOUNDS), BOUNDS),
        "warehouse": VitalsNow(
            NOW - timedelta(seconds=11), assess(calm_readings(), BOUNDS), BOUNDS
        ),
    }


def a_kill(at: datetime, pid: int, mode: KillMode, outcome: Outcome, *, by: str) -> KillRecord:
    """An entry of the audit."""
    manual = mode is KillMode.MANUAL
    return KillRecord(
        at=at,
        server="main",
        policy=None if manual else "forgotten transactions",
        pid=pid,
        backend_start=at - HOUR,
        user="web",
        database="mina",
        application="api",
        query="UPDATE users SET last_seen = now() WHERE id = $1",
        action=Action.TERMINATE,
        mode=mode,
        outcome=outcome,
        reason=f"by hand: {by}" if manual else "idle in transaction for 7m 12s, longer than 5m",
        evidence={"by": by, "confirmed": True} if manual else {},
    )


# --- vitals ---


def busy_readings() -> list[Reading | Unknown]:
    """A server with a few things wrong."""
    return [
        Reading("connections", 83.5, Unit.PERCENT, None, "81 of 97"),
        Reading(
            "idle_in_transaction", 438.0, Unit.SECONDS, "pid 21044 (deploy in mina)", "", "21044"
        ),
        Reading("query_age", 1326.0, Unit.SECONDS, "pid 21250 (report in mina)", "", "21250"),
        Reading(
            "lock_wait", 400.0, Unit.SECONDS, "pid 21100 (web in mina)", "blocked by 21044", "21100"
        ),
        Reading("transaction_id_age", 212_331_908.0, Unit.COUNT, "mina", handle="mina"),
        Reading(
            "slot_retained_wal",
            1.9 * (1 << 30),
            Unit.BYTES,
            "replication slot debezium",
            "logical, not in use",
            "debezium",
        ),
        Reading("replica_lag", 0.8, Unit.SECONDS, "replica eu-2"),
        Reading("checksum_failures", 0.0, Unit.COUNT, None, "no page failed its checksum"),
        Unknown("archiver", "archive_mode is off", None),
        Reading("sequences", 61.2, Unit.PERCENT, "mina: public.transcripts_id_seq"),
        Reading(
            "invalid_indexes", 1.0, Unit.COUNT, "mina", "", "", ('public."meetings_title_idx"',)
        ),
        Reading(
            "backup_age", 0.05, Unit.INTERVALS, "main/mina", "it is 1h 12m old; one is due every 1d"
        ),
        Reading("disk", 71.4, Unit.PERCENT, "/var/backups (store local)", "184 GiB are free"),
        Reading("disk", 43.0, Unit.PERCENT, "/var/lib/guardian (state_dir)", "12 GiB are free"),
    ]


def calm_readings() -> list[Reading | Unknown]:
    """A server that is well."""
    return [
        Reading("connections", 22.0, Unit.PERCENT, None, "21 of 97"),
        Reading("idle_in_transaction", 0.0, Unit.SECONDS, None, "nobody is idle in transaction"),
        Reading("query_age", 3.0, Unit.SECONDS, "pid 7 (web in orders)", "", "7"),
        Reading("lock_wait", 0.0, Unit.SECONDS, None, "no session waits for a lock"),
        Reading("transaction_id_age", 88_000_000.0, Unit.COUNT, "orders", handle="orders"),
        Reading("slot_retained_wal", 0.0, Unit.BYTES, None, "there are no replication slots"),
        Reading("replica_lag", 0.0, Unit.SECONDS, None, "no replica is connected"),
        Reading("checksum_failures", 0.0, Unit.COUNT, None, "no page failed its checksum"),
        Reading("archiver", 0.0, Unit.SECONDS, None, "the archiver works"),
        Reading("sequences", 12.0, Unit.PERCENT, "orders: public.orders_id_seq"),
        Reading("invalid_indexes", 0.0, Unit.COUNT, None, "there is no invalid index"),
        Reading(
            "backup_age", 0.05, Unit.INTERVALS, "shop/orders", "it is 1h old; one is due every 1d"
        ),
        Reading("disk", 71.4, Unit.PERCENT, "/var/backups (store local)", "184 GiB are free"),
    ]


def fill_vitals(catalog: SqlCatalog) -> None:
    """A day of samples for the busy server, and months of one vital."""
    dice = random.Random(3)
    series = {
        Series("connections"): (52.0, 8.0),
        Series("query_age"): (60.0, 55.0),
        Series("lock_wait"): (4.0, 4.0),
        Series("idle_in_transaction"): (9.0, 9.0),
        Series("transaction_id_age"): (2.05e8, 1e6),
        Series("slot_retained_wal", "replication slot debezium"): (1.1 * (1 << 30), 1 << 28),
        Series("replica_lag"): (1.0, 0.9),
        Series("sequences"): (61.0, 0.1),
        Series("disk", "/var/backups (store local)"): (70.5, 0.8),
        Series("disk", "/var/lib/guardian (state_dir)"): (42.8, 0.2),
    }
    samples = []
    start = NOW.replace(minute=10) - DAY
    for one, (middle, noise) in series.items():
        for number in range(288):
            value = max(0.0, middle + noise * dice.uniform(-1, 1))
            if number > 278 and one.vital in {"connections", "lock_wait", "query_age"}:
                value = middle * (1 + (number - 278) / 9 * {"connections": 0.6}.get(one.vital, 18))
            samples.append(
                Sample(one, start + number * 5 * MINUTE, 300, value, value, value, VitalSeverity.OK)
            )
    for night in range(300):
        value = 30 + night / 9 + dice.uniform(-3, 9)
        at = NOW.replace(hour=0, minute=0) - (302 - night) * DAY
        samples.append(
            Sample(Series("connections"), at, 86400, 12.0, value, 20.0, VitalSeverity.OK)
        )
    catalog.record_samples("main", samples)


# --- incidents ---


def an_incident(
    identity: str, key: str, severity: Severity, title: str, **changes: Any
) -> Incident:
    """An incident that fires."""
    kind = key.partition(":")[0]
    condition = changes.pop("condition", None) or Condition(key, kind, severity, title)
    at = changes.pop("opened_at", NOW - HOUR)
    return replace(
        Incident(
            id=IncidentId(identity),
            key=key,
            kind=kind,
            scope=f"{kind}:main",
            severity=severity,
            state=State.FIRING,
            condition=condition,
            opened_at=at,
            updated_at=at,
            fired_at=at,
        ),
        **changes,
    )


def fill_incidents(catalog: SqlCatalog) -> None:
    """One of each kind of trouble, and a few that are over."""
    failed = Condition(
        "backup.failed:shop/orders",
        "backup.failed",
        Severity.P1,
        "Backup of shop/orders failed twice in a row: disk full",
        "shop",
        "orders",
        since=NOW - 25 * HOUR,
        count=2,
        impact="The last proven backup is 2d 1h old: that much would be lost.",
        evidence=(
            Fact("error", "no space left on /var/backups/guardian"),
            Fact("needed", "9.3 GiB"),
            Fact("free", "0 B"),
        ),
        tried=("tried again after 5m and after 20m", "looked for leftovers to sweep: none"),
        checks=(
            Fact("disk of /var/backups", "100% full"),
            Fact("database answers", "yes, in 15 ms"),
            Fact("passphrase", "round trip ok"),
        ),
        mend=(
            "guardian backup prune --dry-run",
            "du -xh --max-depth=1 /var/backups | sort -h",
            "guardian backup now shop/orders",
        ),
    )
    incidents = [
        an_incident(
            "k3f9w2ap",
            failed.key,
            Severity.P1,
            failed.title,
            condition=failed,
            opened_at=NOW - 70 * MINUTE,
            server="shop",
            database="orders",
            occurrences=2,
            escalated_to="lead",
            people_told=("on-call", "lead"),
        ),
        an_incident(
            "p7xq41md",
            "server.down:staging",
            Severity.P0,
            "Server staging does not answer: connection refused",
            opened_at=NOW - 7 * MINUTE,
            server="staging",
            escalated_to="on-call",
        ),
        an_incident(
            "w8c2hn5t",
            "lock.wait:main",
            Severity.P2,
            "5 sessions on main wait behind pid 21044 (alembic)",
            opened_at=NOW - 5 * MINUTE,
            server="main",
            state=State.ACKNOWLEDGED,
            acknowledged_by="ada",
            acknowledged_at=NOW - 2 * MINUTE,
            acknowledged_until=NOW + 4 * HOUR,
        ),
    ]
    for number in range(9):
        opened = NOW - (3 + 5 * number) * DAY
        incidents.append(
            an_incident(
                f"old{number:05d}",
                f"vital.connections:main{number}",
                Severity.P2 if number % 3 else Severity.P1,
                "Connections of main at 96% of max_connections",
                opened_at=opened,
                state=State.RESOLVED,
                resolved_at=opened + (11 + 17 * number) * MINUTE,
                server="main",
                escalated_to="on-call" if number % 2 else None,
            )
        )
    catalog.apply(
        Change(incidents=tuple(incidents), entries=_entries(), envelopes=_envelopes(incidents[0]))
    )
    catalog.save_channel_health(ChannelHealth("pager", None, 0, NOW - 40 * MINUTE))
    catalog.save_channel_health(
        ChannelHealth(
            "lead-mail",
            NOW - 38 * MINUTE,
            6,
            NOW - 9 * DAY,
            "smtp.example:587: 451 greylisted, try again later",
        )
    )
    catalog.add_silence(
        Silence(
            "s1",
            NOW - HOUR,
            NOW + 2 * HOUR,
            "rebuilding the replica",
            "grace",
            {"server": "warehouse"},
        )
    )


def _entries() -> tuple[Entry, ...]:
    identity = IncidentId("k3f9w2ap")
    told = [
        (70, EntryKind.OPENED, "backup 20261122T020005Z-050001 failed: disk full"),
        (70, EntryKind.FIRED, "P1: the ladder begins"),
        (70, EntryKind.TOLD, "on-call by pager and incidents"),
        (69, EntryKind.DELIVERED, "pager: 202 accepted"),
        (69, EntryKind.DELIVERED, "incidents: posted"),
        (40, EntryKind.TOLD, "lead by lead-mail: nobody acknowledged for 30m"),
        (39, EntryKind.UNDELIVERED, "lead-mail: 451 greylisted; handed over to incidents"),
        (38, EntryKind.DELIVERED, "incidents: posted"),
        (9, EntryKind.OCCURRED, "backup 20261123T020005Z-050000 failed, too: disk full"),
    ]
    return tuple(Entry(identity, NOW - ago * MINUTE, kind, text) for ago, kind, text in told)


def _envelopes(incident: Incident) -> tuple[Envelope, ...]:
    message = Message(
        MessageKind.ALERT,
        incident.severity,
        incident.title,
        NOW - 70 * MINUTE,
        "d1",
        incident=incident.id,
    )
    climb = replace(message, kind=MessageKind.ESCALATION, at=NOW - 40 * MINUTE)
    return (
        Envelope(message, "pager", "on-call", message.at, message.at, attempts=1,
                 standing=Standing.DELIVERED, delivered_at=NOW - 69 * MINUTE),
        Envelope(message, "incidents", "on-call", message.at, message.at, attempts=1,
                 standing=Standing.DELIVERED, delivered_at=NOW - 69 * MINUTE),
        Envelope(climb, "lead-mail", "lead", climb.at, climb.at, attempts=4,
                 standing=Standing.HANDED_OVER, error="451 greylisted, try again later"),
        Envelope(climb, "incidents", "lead", climb.at, climb.at, attempts=1,
                 standing=Standing.DELIVERED, delivered_at=NOW - 38 * MINUTE),
    )  # fmt: skip


def a_report() -> DoctorReport:
    """An examination with something of each kind."""
    ok, warning, failed = CheckVerdict.OK, CheckVerdict.WARNING, CheckVerdict.FAILED
    return DoctorReport(
        NOW - 26 * MINUTE,
        [
            DoctorCheck("config", ok, "4 servers, 2 stores"),
            DoctorCheck("catalog", ok, "4,118 backups known"),
            DoctorCheck("encryption", ok, "symmetric, AES256; round trip ok"),
            DoctorCheck("postgresql tools", ok, "15.14, 16.9, 18.0"),
            DoctorCheck(
                "store local", failed, "no space left on /var/backups/guardian",
                "free some room or enlarge it: du -xh --max-depth=1 /var/backups",
            ),
            DoctorCheck("store offsite", ok, "write, read, list, delete ok"),
            DoctorCheck("main/mina", ok, "PostgreSQL 16.9 as guardian, 184 tables, pg_dump 16.9"),
            DoctorCheck(
                "shop watch", warning, "guardian sees its own sessions only",
                "GRANT pg_monitor TO guardian;",
            ),
            DoctorCheck(
                "server staging", failed, "connection refused at 10.0.9.3:5432",
                "start PostgreSQL there, or mend servers.staging.dsn",
            ),
        ],
    )  # fmt: skip
