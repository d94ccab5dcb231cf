"""What watching costs, beside pg_activity in the same run.

    python -m bench.watch [--sessions 500] [--looks 12] [--json FILE]

A server with so many sessions (most idle, some in a transaction, some at work) is watched every
5 seconds, first by guardian in a process of its own (look, policies, memory, recording into a
catalog in SQLite), then by pg_activity on a terminal of its own, as it comes and once more without
what it asks beyond sessions (sizes, temporary files, the WAL receiver). pg_activity also draws a
screen and reads each backend's figures from the kernel: that is in its share of a core, which is
therefore no comparison of like with like; what a look costs the server is. *Elapsed* is what
the server says that the statements of one look took (log_min_duration_statement), which on a busy
machine is mostly waiting for a core; *processor* is what the kernel says their backends used.
Afterwards 300 sessions wait for locks in chains of depth 5, and a look with the whole tree is
measured in the same way.
"""

from __future__ import annotations

import argparse
import json
import os
import pty
import re
import shutil
import subprocess
import sys
import tempfile
import termios
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from datetime import timedelta
from pathlib import Path

import psycopg

from guardian.adapters.catalog.catalog import open_catalog
from guardian.adapters.clock import SystemClock
from guardian.adapters.postgres.connection import Connector
from guardian.adapters.postgres.tools import find_installations
from guardian.adapters.postgres.watching import PostgresWatcher
from guardian.adapters.process import is_alive
from guardian.adapters.scratch.embedded import EmbeddedServer
from guardian.watch.locks import LockGraph
from guardian.watch.model import Action, Mode
from guardian.watch.patrol import Patrol, WatchPlan
from guardian.watch.rules import Match, Policy

INTERVAL = 5
MOST_MS, MOST_PROCESSOR, MOST_STORM_MS = 15.0, 0.01, 200.0
"""What a look and the watch may cost with 500 sessions, and a look at the storm."""
WAITERS, DEPTH, CHAINS = 300, 5, 4
_LINE = re.compile(r"^<([^>]*)> .*?duration: ([\d.]+) ms(?:  (\w+))?", re.MULTILINE)
_ANSWERS = ((b"\x1b[6n", b"\x1b[1;1R"), (b"\x1b[c", b"\x1b[?62c"))
SESSIONS_ONLY = ("--no-db-size", "--no-tempfiles", "--no-walreceiver")
_TICK = os.sysconf("SC_CLK_TCK")
POLICIES = (
    Policy("idle", Match(state=("idle",), for_=timedelta(minutes=10)), (Action.TERMINATE,)),
    Policy(
        "forgotten",
        Match(state=("idle in transaction",), for_=timedelta(minutes=5)),
        (Action.TERMINATE,),
        except_=Match(applications=("pgAdmin*",)),
    ),
    Policy(
        "runaway",
        Match(state=("active",), for_=timedelta(minutes=5), users=("web",), query="select"),
        (Action.CANCEL, Action.TERMINATE),
    ),
    Policy("roots", Match(blocking=3, blocking_for=timedelta(minutes=1)), (Action.TERMINATE,)),
)


@dataclass
class Cost:
    """What one watcher cost: milliseconds of the server's a look, and shares of a core."""

    name: str
    application: str
    elapsed_ms: float = 0.0
    used_ms: float = 0.0
    processor: float = 0.0
    memory_bytes: int = 0


class Log:
    """The server's log, from one moment on."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._from = path.stat().st_size

    def durations(self, application: str) -> list[float]:
        """Milliseconds of each statement of that application, parse and bind included."""
        with self._path.open("rb") as file:
            file.seek(self._from)
            text = file.read().decode(errors="replace")
        return [float(took) for name, took, _ in _LINE.findall(text) if name == application]


@contextmanager
def server(sessions: int) -> Iterator[EmbeddedServer]:
    """A server that writes down how long each statement took."""
    one = next(each for each in find_installations() if each.has_server and each.major == 16)
    settings = {
        "max_connections": str(sessions + WAITERS + 50),
        "shared_buffers": "128MB",
        "fsync": "off",
        "log_min_duration_statement": "0",
        "log_line_prefix": "<%a> ",
        "log_statement": "none",
    }
    with EmbeddedServer(one.bindir, settings=settings) as made:
        yield made


class Audience:
    """Sessions to watch; some of them change their state all the time."""

    def __init__(self, dsn: str, count: int) -> None:
        self._stop = threading.Event()
        options = "-c log_min_duration_statement=-1"
        self.sessions = [
            psycopg.connect(dsn, autocommit=True, application_name="web", options=options)
            for _ in range(count)
        ]
        for number, one in enumerate(self.sessions):
            if number % 10 == 0:
                one.execute("BEGIN")
            # A word such as token is what every query is looked through for.
            one.execute(f"SELECT {number} /* {'some words of a token ' * 20} */".encode())
        self._busy = [one for number, one in enumerate(self.sessions) if number % 5 == 1]
        self._thread = threading.Thread(target=self._work)
        self._thread.start()

    def _work(self) -> None:
        while not self._stop.wait(1.0):
            for one in self._busy:
                one.execute(f"SELECT now(), {time.time()}".encode())

    def leave(self) -> None:
        """Go home."""
        self._stop.set()
        self._thread.join()
        for one in self.sessions:
            one.close()


def _used(pid: int) -> tuple[float, int]:
    """Seconds of processor, and bytes of memory, that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICK, int(fields[21]) * os.sysconf("SC_PAGE_SIZE")


def observe(made: EmbeddedServer, cost: Cost, process: subprocess.Popen[bytes], looks: int) -> None:
    """Let it start, then measure so many looks."""
    time.sleep(2 * INTERVAL + INTERVAL / 2)  # in the middle between two looks
    if process.poll() is not None:
        raise RuntimeError(f"{cost.name} has ended")
    log = Log(made.log_path)
    backends = _backends(made, cost.application)
    used, (busy, _) = sum(map(_used_by_backend, backends)), _used(process.pid)
    began = time.monotonic()
    time.sleep(looks * INTERVAL)
    (after, cost.memory_bytes), took = _used(process.pid), time.monotonic() - began
    cost.processor = (after - busy) / took
    cost.used_ms = (sum(map(_used_by_backend, backends)) - used) / looks
    cost.elapsed_ms = sum(log.durations(cost.application)) / looks
    if not cost.elapsed_ms:
        raise RuntimeError(f"{cost.name} has asked nothing as {cost.application!r}")


def _backends(made: EmbeddedServer, application: str) -> list[int]:
    query = "SELECT pid FROM pg_stat_activity WHERE application_name = %s"
    with psycopg.connect(made.dsn("postgres")) as connection:
        return [pid for (pid,) in connection.execute(query, [application])]


def _used_by_backend(pid: int) -> float:
    """Milliseconds of processor (the kernel's own count, in nanoseconds)."""
    return int(Path(f"/proc/{pid}/schedstat").read_text().split()[0]) / 1e6


def measure_guardian(made: EmbeddedServer, folder: Path, looks: int) -> Cost:
    cost = Cost("guardian", "guardian watch")
    command = [sys.executable, "-m", "bench.watch", "--patrol", made.dsn("postgres"), str(folder)]
    process = subprocess.Popen(command)
    try:
        observe(made, cost, process, looks)
    finally:
        process.terminate()
        process.wait()
    return cost


def measure_pg_activity(made: EmbeddedServer, looks: int, *options: str) -> Cost:
    cost = Cost("pg_activity, lean" if options else "pg_activity", "pg_activity")
    program = str(Path(sys.executable).with_name("pg_activity"))
    master, slave = pty.openpty()
    termios.tcsetwinsize(slave, (50, 160))
    process = subprocess.Popen(
        [program, "--refresh", str(INTERVAL), *options, made.dsn("postgres")],
        stdin=slave, stdout=slave, stderr=slave,
        env={**os.environ, "TERM": "xterm"},
    )  # fmt: skip
    os.close(slave)
    threading.Thread(target=_be_terminal, args=(master,), daemon=True).start()
    try:
        observe(made, cost, process, looks)
    finally:
        process.terminate()
        process.wait()
    return cost


def _be_terminal(descriptor: int) -> None:
    """Read all that is drawn, and answer what a program asks of its terminal at the start."""
    try:
        while drawn := os.read(descriptor, 1 << 16):
            for asked, answer in _ANSWERS:
                os.write(descriptor, answer * drawn.count(asked))
    except OSError:
        return  # the terminal's other end is gone


def patrol(dsn: str, folder: Path) -> None:
    """The watch alone, as the daemon runs it."""
    clock = SystemClock()
    catalog = open_catalog(f"sqlite:///{folder}/catalog.db", clock=clock, is_alive=is_alive)
    watcher = PostgresWatcher(Connector("main", dsn))
    plan = WatchPlan(POLICIES, mode=Mode.OBSERVE)
    watch = Patrol(watcher, catalog, clock, plan)
    while True:
        began = time.monotonic()
        watch.cycle()
        time.sleep(max(0.0, INTERVAL - (time.monotonic() - began)))


def measure_storm(made: EmbeddedServer, looks: int) -> Cost:
    """Looks at 300 waiters in chains of depth 5; the tree must be right."""
    cost = Cost("storm", "guardian watch")
    with ExitStack() as stack:

        def connect() -> psycopg.Connection:
            dsn = made.dsn("postgres")
            one = psycopg.connect(dsn, autocommit=True, application_name="storm")
            stack.callback(one.close)
            return one

        def hold(lock: int) -> psycopg.Connection:
            one = connect()
            one.execute("BEGIN")
            one.execute("SELECT pg_advisory_xact_lock(%s)", [lock])
            return one

        roots = {hold(chain * 100 + 1).info.backend_pid for chain in range(CHAINS)}
        for number in range(WAITERS):
            chain, level = number % CHAINS, number // CHAINS + 1
            one = hold(chain * 100 + level + 1) if level < DEPTH else connect()
            lock = chain * 100 + min(level, DEPTH)
            one.pgconn.send_query(f"SELECT pg_advisory_xact_lock({lock})".encode())
        watcher = PostgresWatcher(Connector("main", made.dsn("postgres")))
        while len(watcher.observe().blockers) < WAITERS:
            time.sleep(0.1)
        log = Log(made.log_path)
        backends = _backends(made, cost.application)
        used = sum(map(_used_by_backend, backends))
        for _ in range(looks):
            graph = LockGraph(watcher.observe())
            assert {one.pid for one in graph.roots} == roots
            assert sum(one.victims for one in graph.roots) == WAITERS
        cost.used_ms = (sum(map(_used_by_backend, backends)) - used) / looks
        time.sleep(0.5)  # for the log
        cost.elapsed_ms = sum(log.durations(cost.application)) / looks
        watcher.close()
    return cost


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--sessions", type=int, default=500)
    parser.add_argument("--looks", type=int, default=12)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--patrol", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.patrol:
        patrol(options.patrol[0], Path(options.patrol[1]))
        return
    folder = Path(tempfile.mkdtemp(prefix="guardian-bench-", dir="/var/tmp"))
    try:
        with server(options.sessions) as made:
            audience = Audience(made.dsn("postgres"), options.sessions)
            try:
                costs = [
                    measure_guardian(made, folder, options.looks),
                    measure_pg_activity(made, options.looks),
                    measure_pg_activity(made, options.looks, *SESSIONS_ONLY),
                ]
            finally:
                audience.leave()
            storm = measure_storm(made, options.looks)
        catalog = sum(one.stat().st_size for one in folder.iterdir())
    finally:
        shutil.rmtree(folder)
    report(options.sessions, costs, storm, catalog)
    if options.json:
        figures = {cost.name: asdict(cost) for cost in [*costs, storm]}
        options.json.write_text(json.dumps({**figures, "catalog_bytes": catalog}, indent=1))


def report(sessions: int, costs: list[Cost], storm: Cost, catalog: int) -> None:
    print(f"{sessions} sessions, a look every {INTERVAL} s; a look costs the server so much:")
    print(f"{'':17} {'elapsed':>10} {'processor':>10} | {'own share of a core':>19} {'memory':>9}")
    for cost in costs:
        print(
            f"{cost.name:17} {cost.elapsed_ms:7.1f} ms {cost.used_ms:7.1f} ms |"
            f" {cost.processor:19.2%} {cost.memory_bytes / (1 << 20):5.0f} MiB"
        )
    print(
        f"{WAITERS} waiters in chains of depth {DEPTH}: {storm.elapsed_ms:.1f} ms elapsed, "
        f"{storm.used_ms:.1f} ms of processor"
    )
    kept = (
        costs[0].elapsed_ms <= MOST_MS
        and costs[0].processor <= MOST_PROCESSOR
        and storm.elapsed_ms <= MOST_STORM_MS
    )
    print(
        f"bounds for guardian: {MOST_MS:g} ms a look, {MOST_PROCESSOR:.0%} of a core, "
        f"{MOST_STORM_MS:g} ms for the storm: {'kept' if kept else 'NOT KEPT'}"
    )
    print(f"guardian's catalog afterwards: {catalog / 1024:.0f} KiB")


if __name__ == "__main__":
    main()
