"""What grows with many backups, databases and sessions, measured: see docs/scale.md.

    python -m bench.scale [--backups 100000] [--databases 500] [--sessions 5000] [--json FILE]
                          [--planted]

``--planted`` writes the catalog's rows itself, some thousand a statement, instead of by a first
rebuild: all other steps are measured of a hundred thousand backups within minutes then.

The bucket is one in memory that counts requests as S3 charges them (a listing gives 1,000 objects a
request) and makes manifests as they are read, so that what is measured is guardian. Each step runs
in a process of its own; memory is that process's peak. A bucket answers a request after some 50 ms:
*at 50 ms* is what the requests alone would take, eight at once where guardian asks so.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import random
import resource
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from io import BytesIO
from pathlib import Path
from typing import Any

from sqlalchemy import insert

from guardian.adapters.catalog import rows
from guardian.adapters.catalog.catalog import SqlCatalog, open_catalog
from guardian.adapters.catalog.models import BACKUPS, COPIES, MANIFESTS
from guardian.adapters.clock import SystemClock
from guardian.adapters.process import current_holder, is_alive
from guardian.backup.manifest import backup_prefix, encode_manifest, parse_key
from guardian.backup.prune import Pruner
from guardian.backup.rebuild import rebuild
from guardian.backup.retention import RetentionPolicy
from guardian.cli.backup_view import print_backups, record_document
from guardian.cli.console import emit_json_each
from guardian.model import (
    BackupId,
    DatabaseFacts,
    DatabaseRef,
    Encryption,
    EncryptionKind,
    GlobalsLevel,
    Manifest,
    Part,
    PartKind,
    ProofLevel,
    StoredObject,
    StoreOutcome,
    StoreStatus,
)
from guardian.watch.locks import LockGraph
from guardian.watch.memory import Memory
from guardian.watch.model import Action, Mode, Observation, Session
from guardian.watch.policy import evaluate
from guardian.watch.rules import Limits, Match, Policy

PAGE = 1000
ROUND_TRIP = 0.05
AT_ONCE = {"get": 8, "head": 8, "list": 1, "delete": 1}
NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
PARTS = (
    Part("database.dump.zst.gpg", PartKind.DUMP, 1 << 30, 5 << 30, "ab" * 32),
    Part("fingerprint.json.zst.gpg", PartKind.FINGERPRINT, 20_000, 90_000, "cd" * 32),
    Part("globals.sql.zst.gpg", PartKind.GLOBALS, 3_000, 9_000, "ef" * 32),
)


def manifest(number: int, databases: int) -> Manifest:
    """The backup of that number: each database in turn, a night for each turn."""
    night, database = divmod(number, databases)
    at = NOW - timedelta(days=night + 1, seconds=database)
    return Manifest(
        id=BackupId(f"{at:%Y%m%dT%H%M%SZ}-{number:06x}"),
        ref=DatabaseRef(f"server{database:04d}", "mina"),
        started_at=at,
        snapshot_at=at,
        finished_at=at + timedelta(minutes=5),
        parts=PARTS,
        encryption=Encryption(EncryptionKind.SYMMETRIC),
        compression_level=3,
        proof=ProofLevel.CONTENT,
        globals=GlobalsLevel.FULL,
        facts=DatabaseFacts("16.4", 160004, "7412", "UTF8", "C.UTF-8", "C.UTF-8", "libc"),
        dump_version="16.4",
        guardian_version="1",
        tables=100,
        rows=1_000_000,
    )


@dataclass
class Bucket:
    """A store that counts. It holds ``backups`` of so many ``databases``."""

    backups: int
    databases: int
    name: str = "bucket"
    requests: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self._numbers: dict[DatabaseRef, list[int]] = {}
        for number in range(self.backups):
            ref = DatabaseRef(f"server{number % self.databases:04d}", "mina")
            self._numbers.setdefault(ref, []).append(number)

    def list(self, prefix: str = "") -> Iterator[StoredObject]:
        """In order of key, as S3 gives them."""
        count = 0
        for ref in sorted(self._numbers):
            if not f"{ref.server}/{ref.database}/".startswith(prefix):
                continue
            for number in reversed(self._numbers[ref]):
                one = manifest(number, self.databases)
                folder = backup_prefix(ref, one.id)
                names = [(part.name, part.stored_bytes) for part in PARTS]
                for name, size in sorted([*names, ("RESTORE.txt", 900), ("manifest.json", 2000)]):
                    count += 1
                    yield StoredObject(folder + name, size, one.finished_at)
        self.requests["list"] += max(1, -(-count // PAGE))

    @contextmanager
    def open_reader(self, key: str) -> Iterator[BytesIO]:
        """A manifest; nothing else is read."""
        self.requests["get"] += 1
        parsed = parse_key(key)
        assert parsed is not None
        number = int(parsed.id.rpartition("-")[2], 16)
        yield BytesIO(encode_manifest(manifest(number, self.databases)))

    def stat(self, key: str) -> StoredObject | None:
        """One object."""
        self.requests["head"] += 1
        return StoredObject(key, 2000, NOW)

    def delete(self, key: str) -> None:
        """Only counted."""
        del key
        self.requests["delete"] += 1

    def sweep(self, prefix: str, older_than: datetime) -> int:
        """A listing of unfinished uploads."""
        del prefix, older_than
        self.requests["list"] += 1
        return 0

    @property
    def waiting(self) -> float:
        """Seconds that the requests alone take."""
        return sum(count * ROUND_TRIP / AT_ONCE[kind] for kind, count in self.requests.items())


class Quiet:
    """A Progress that says nothing."""

    def begin(self, label: str, total_bytes: int | None = None) -> None:
        """Say nothing."""

    def advance(self, done_bytes: int) -> None:
        """Say nothing."""

    def note(self, text: str) -> None:
        """Say nothing."""

    def end(self, summary: str) -> None:
        """Say nothing."""


@dataclass(frozen=True)
class Task:
    """What each step is given."""

    backups: int
    databases: int
    sessions: int
    folder: Path

    def catalog(self) -> SqlCatalog:
        """The catalog that all steps share."""
        url = f"sqlite:///{self.folder}/catalog.db"
        return open_catalog(url, clock=SystemClock(), is_alive=is_alive)

    def bucket(self) -> Bucket:
        """The bucket, with nothing counted yet."""
        return Bucket(self.backups, self.databases)


def planted(task: Task) -> dict[str, Any]:
    """What a rebuild would write down, in few statements."""
    catalog = task.catalog()
    copy = rows.copy_values(0, StoreOutcome("bucket", StoreStatus.SUCCEEDED))
    for start in range(0, task.backups, PAGE):
        numbers = range(start, min(start + PAGE, task.backups))
        made = [manifest(number, task.databases) for number in numbers]
        with catalog._database.writing() as connection:  # noqa: SLF001 - nobody else does this
            for table, values in (
                (BACKUPS, [{"id": one.id, **rows.manifest_values(one)} for one in made]),
                (
                    MANIFESTS,
                    [{"backup_id": m.id, "manifest": encode_manifest(m).decode()} for m in made],
                ),
                (COPIES, [{"backup_id": one.id, **copy} for one in made]),
            ):
                connection.execute(insert(table), values)
    return {}


def rebuilt(task: Task) -> dict[str, Any]:
    """``guardian catalog rebuild``."""
    bucket = task.bucket()
    holder = current_holder("bench")
    with_bucket: Any = [bucket]
    result = rebuild(task.catalog(), with_bucket, SystemClock(), holder, Quiet())
    assert result.backups == task.backups, result
    return {"requests": dict(bucket.requests), "waiting": bucket.waiting}


def pruned(task: Task) -> dict[str, Any]:
    """Retention of every database, as after a night, without deleting."""
    bucket = task.bucket()
    stores: Any = [bucket]
    pruner = Pruner(
        stores=stores, catalog=task.catalog(), clock=SystemClock(), holder=current_holder("bench")
    )
    for number in range(task.databases):
        ref = DatabaseRef(f"server{number:04d}", "mina")
        pruner.prune(ref, RetentionPolicy(), dry_run=True, trust_clock=True)
    return {"requests": dict(bucket.requests), "waiting": bucket.waiting}


def listed(task: Task) -> dict[str, Any]:
    """``guardian backup list``, without its start: every backup that the catalog knows."""
    with Path(os.devnull).open("w") as nowhere, redirect_stdout(nowhere):
        print_backups(task.catalog().each_backup(), NOW)
    return {}


def listed_as_json(task: Task) -> dict[str, Any]:
    """The same with ``--json``."""
    with Path(os.devnull).open("w") as nowhere, redirect_stdout(nowhere):
        emit_json_each(map(record_document, task.catalog().each_backup()))
    return {}


def newest(task: Task) -> dict[str, Any]:
    """The newest backup of each database, which vitals and the dashboard ask for."""
    assert len(task.catalog().newest_backups()) == min(task.databases, task.backups)
    return {}


def one_database(task: Task) -> dict[str, Any]:
    """All backups of one database."""
    found = task.catalog().backups("server0000", "mina")
    return {"backups": len(found)}


def judged(task: Task) -> dict[str, Any]:
    """One look at so many sessions, a tenth of which wait for locks: policies and the lock tree."""
    draw = random.Random(7)
    sessions = [_session(pid, draw) for pid in range(1, task.sessions + 1)]
    blockers = {pid: (pid - draw.randrange(1, 20),) for pid in range(100, task.sessions, 10)}
    look = Observation("main", NOW, tuple(sessions), blockers)
    policies = [
        Policy("idle", Match(state=("idle",), for_=timedelta(minutes=10)), (Action.TERMINATE,)),
        Policy("query", Match(query="(?i)^select .* from big"), (Action.CANCEL,)),
        Policy("roots", Match(blocking=3), (Action.TERMINATE,)),
    ]
    begun = time.perf_counter()
    decisions = evaluate(look, policies, Memory(), Limits(), Mode.OBSERVE)
    decided = time.perf_counter() - begun
    roots = LockGraph(look).roots
    return {
        "milliseconds": round(decided * 1000),
        "with_tree": round((time.perf_counter() - begun) * 1000),
        "verdicts": len(decisions.verdicts),
        "roots": len(roots),
    }


def _session(pid: int, draw: random.Random) -> Session:
    state = draw.choice(["idle", "idle", "idle", "active", "idle in transaction"])
    since = NOW - timedelta(seconds=draw.randrange(1200))
    plain = Session(pid, NOW - timedelta(days=1), user="web", database="mina", application="web")
    return replace(
        plain,
        state=state,
        query=f"select {pid} from big where id = {draw.random()} -- " + "x" * 900,
        query_start=since,
        state_change=since,
        xact_start=None if state == "idle" else since,
    )


STEPS: tuple[tuple[str, Callable[[Task], dict[str, Any]]], ...] = (
    ("catalog rebuild, first", rebuilt),
    ("catalog rebuild, again", rebuilt),
    ("prune of every database", pruned),
    ("backup list", listed),
    ("backup list --json", listed_as_json),
    ("newest of each database", newest),
    ("backups of one database", one_database),
    ("one look at all sessions", judged),
)


def measured(step: Callable[[Task], dict[str, Any]], task: Task) -> dict[str, Any]:
    """Run a step in a process of its own."""
    context = multiprocessing.get_context("spawn")
    near, far = context.Pipe()
    process = context.Process(target=_run, args=(far, step, task))
    process.start()
    far.close()
    found: dict[str, Any] = near.recv()
    process.join()
    return found


def _run(far: Any, step: Callable[[Task], dict[str, Any]], task: Task) -> None:
    begun, spent = time.perf_counter(), time.process_time()
    found = step(task)
    found["seconds"] = round(time.perf_counter() - begun, 2)
    found["processor"] = round(time.process_time() - spent, 2)
    found["memory_mb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    far.send(found)


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--backups", type=int, default=100_000)
    parser.add_argument("--databases", type=int, default=500)
    parser.add_argument("--sessions", type=int, default=5_000)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--planted", action="store_true")
    given = parser.parse_args()
    found: dict[str, dict[str, Any]] = {}
    print(f"{given.backups:,} backups, {given.databases} databases, {given.sessions:,} sessions")
    print(f"{'':26}{'seconds':>9}{'processor':>11}{'peak MB':>9}{'at 50 ms':>10}  requests")
    with tempfile.TemporaryDirectory() as folder:
        task = Task(given.backups, given.databases, given.sessions, Path(folder))
        steps = [("planting", planted), *STEPS[1:]] if given.planted else STEPS
        for name, step in steps:
            one = found[name] = measured(step, task)
            waiting = f"{one['waiting']:.0f} s" if "waiting" in one else ""
            known = {"seconds", "processor", "memory_mb", "waiting", "requests"}
            more = one.get("requests") or {key: one[key] for key in one.keys() - known}
            print(
                f"{name:26}{one['seconds']:9.2f}{one['processor']:11.2f}{one['memory_mb']:9}"
                f"{waiting:>10}  {', '.join(f'{key} {value:,}' for key, value in more.items())}"
            )
        size = (task.folder / "catalog.db").stat().st_size
        print(f"the catalog's file: {size / 1e6:.0f} MB, {size / given.backups:.0f} bytes a backup")
    if given.json is not None:
        given.json.write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main()
