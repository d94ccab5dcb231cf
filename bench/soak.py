"""Twenty minutes of the daemon at work: what it holds must not grow, and nothing may stay behind.

    python -m bench.soak [--minutes 20] [--servers 10] [--databases 5] [--json FILE]

One PostgreSQL host stands for so many servers, each with so many databases. Every server is watched
each second and its vitals are read each minute; every ten minutes all databases are backed up, and
one server's backups are drilled. Memory (RSS), descriptors and threads of the daemon itself are
looked at every five seconds while no backup runs; the first fifth of the time is for warming up.
The medians of the second and of the last quarter after it are compared.
"""

from __future__ import annotations

import argparse
import json
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import psycopg

from bench.looking import family, processor_seconds
from guardian.adapters.postgres.tools import choose_server
from guardian.adapters.scratch.cluster import PLAIN_SETTINGS
from guardian.adapters.scratch.embedded import EmbeddedServer

MOST_GROWTH = 0.03
MORE_THREADS = 4
"""A thread that was needed once, when many jobs came together, is kept for the next time."""
_EVERY = 5.0
_BACKUPS_EVERY = "10m"

HEAD = """\
state_dir: {folder}/state
encryption: {{passphrase_file: {folder}/passphrase}}
stores: {{local: {{kind: local, path: {folder}/store}}}}
service: {{listen: "127.0.0.1:0"}}
servers:
"""
SERVER = """\
  s{number}:
    dsn: "{dsn}"
    databases: [{databases}]
    globals: false
    watch: {{interval: 1s}}
    backup: {{schedule: "every {every}"}}
    verify: {{schedule: {drills}}}
"""


@dataclass(frozen=True)
class Sample:
    """One look at the daemon; ``workers`` are processes that it has at work."""

    at: float
    rss: int
    descriptors: int
    threads: int
    workers: int


def look(pid: int, began: float) -> Sample:
    """What it holds now."""
    status = dict(
        line.split(":\t", 1)
        for line in Path(f"/proc/{pid}/status").read_text().splitlines()
        if ":\t" in line
    )
    return Sample(
        at=time.monotonic() - began,
        rss=int(status["VmRSS"].split()[0]) * 1024,
        descriptors=sum(1 for _ in Path(f"/proc/{pid}/fd").iterdir()),
        threads=int(status["Threads"]),
        workers=sum(1 for _ in family(pid)) - 1,
    )


def write_config(folder: Path, dsn: str, servers: int, names: list[str]) -> Path:
    passphrase = folder / "passphrase"
    passphrase.touch(0o600)
    passphrase.write_text("a passphrase of the soak\n")
    text = HEAD.format(folder=folder)
    for number in range(servers):
        text += SERVER.format(
            number=number,
            dsn=dsn,
            databases=", ".join(names),
            every=_BACKUPS_EVERY,
            drills="null" if number else "after-backup",
        )
    config = folder / "guardian.yaml"
    config.write_text(text)
    return config


def soak(folder: Path, minutes: float, servers: int, databases: int) -> tuple[list[Sample], float]:
    """The samples, and the share of a core that it all took."""
    settings = {**PLAIN_SETTINGS, "max_connections": "200"}
    names = [f"d{number}" for number in range(databases)]
    with EmbeddedServer(choose_server(15).bindir, directory=folder, settings=settings) as server:
        with psycopg.connect(server.dsn("postgres"), autocommit=True) as connection:
            for name in names:
                connection.execute(f"CREATE DATABASE {name}".encode())
        for name in names:
            with psycopg.connect(server.dsn(name)) as connection:
                connection.execute("CREATE TABLE t AS SELECT g FROM generate_series(1, 1000) g")
        config = write_config(folder, server.dsn("postgres"), servers, names)
        command = [sys.executable, "-m", "guardian", "--config", str(config), "run"]
        with (folder / "log").open("wb") as log:
            process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=log)
        try:
            began, samples = time.monotonic(), []
            while (time.monotonic() - began) < minutes * 60:
                time.sleep(_EVERY)
                if process.poll() is not None:
                    raise SystemExit(
                        f"bench.soak: it ended: {(folder / 'log').read_text()[-2000:]}"
                    )
                samples.append(look(process.pid, began))
            share = processor_seconds(process.pid) / (time.monotonic() - began)
            held = list(family(process.pid))
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(60)
        left = [pid for pid in held if Path(f"/proc/{pid}").exists()]
        assert not left, f"processes are left: {left}"
        with psycopg.connect(server.dsn("postgres")) as connection:
            query = "SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'guardian%'"
            assert connection.execute(query).fetchone() == (0,), "sessions are left"
    return samples, share


def report(samples: list[Sample], share: float) -> bool:
    """A line each; whether nothing has grown."""
    calm = [one for one in samples if not one.workers]
    warm = [one for one in calm if one.at > samples[-1].at / 5]
    quarter = len(warm) // 4
    if quarter == 0:
        raise SystemExit("bench.soak: too short to tell; give it more --minutes")
    kept = True
    for name in ("rss", "descriptors", "threads"):
        before = statistics.median(getattr(one, name) for one in warm[quarter : 2 * quarter])
        after = statistics.median(getattr(one, name) for one in warm[-quarter:])
        grown = after / before - 1
        most = {"rss": before * (1 + MOST_GROWTH), "threads": before + MORE_THREADS}
        flat = after <= most.get(name, before)
        kept = kept and flat
        verdict = "flat" if flat else "GROWS"
        print(f"{name:12} {before:14,.0f} → {after:14,.0f}  {grown:+.1%}  {verdict}")
    print(f"{len(samples)} looks, {len(calm)} of them while nothing was at work")
    print(f"share of a core, all processes: {share:.1%}; none of them is left, nor a session")
    return kept


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--minutes", type=float, default=20.0)
    parser.add_argument("--servers", type=int, default=10)
    parser.add_argument("--databases", type=int, default=5)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    folder = Path(tempfile.mkdtemp(prefix="guardian-soak-", dir="/var/tmp"))
    folder.chmod(0o711)
    try:
        samples, share = soak(folder, options.minutes, options.servers, options.databases)
    finally:
        shutil.rmtree(folder)
    if options.json:
        options.json.write_text(json.dumps([asdict(one) for one in samples]))
    if not report(samples, share):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
