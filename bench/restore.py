"""Drills beside the runbook's own test of a restore, in one run.

    python -m bench.restore [--scale 60] [--pairs 3] [--jobs 2] [--backup-jobs 1] [--major 15]
        [--write-rate MiB/s] [--json FILE]

The runbook's way is ``gpg -d backup.sql.gpg | psql`` into a server as initdb leaves it, which runs
already and has an empty database. guardian's is ``guardian verify``, the whole command: it makes a
server, restores, compares every row with the fingerprint, and removes the server. Disk is what lies
in the scratch folder at most (looked at ten times a second in a run of its own).

What the runbook's way waits for is its server's disk, and guardian's hardly: the slower the disk,
the more it wins. ``--write-rate`` makes both see a slower one.
"""

from __future__ import annotations

import argparse
import json
import os
import secrets
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import psycopg

from bench.sample import Sample, Way, measure, sample_server
from bench.slow_disk import write_rate
from guardian.adapters.scratch.embedded import EmbeddedServer
from guardian.units import format_size

GPG = "gpg --batch --yes --quiet --pinentry-mode loopback --passphrase-file {passphrase}"
CONFIG = """\
state_dir: {root}/state
encryption: {{passphrase_file: {root}/passphrase}}
stores: {{local: {{kind: local, path: {root}/store}}}}
servers:
  main:
    dsn: "{dsn}"
    globals: false
    backup: {{jobs: {backup_jobs}}}
    verify: {{jobs: {jobs}, scratch_dir: {root}/scratch}}
"""


def prepare(root: Path, sample: Sample, jobs: int, backup_jobs: int) -> list[str]:
    """Both kinds of backup of the sample; returns guardian's command."""
    passphrase = root / "passphrase"
    passphrase.touch(0o600)
    passphrase.write_text(secrets.token_urlsafe(32) + "\n")
    (root / "scratch").mkdir()
    config = root / "guardian.yaml"
    config.write_text(CONFIG.format(root=root, dsn=sample.dsn, jobs=jobs, backup_jobs=backup_jobs))
    gpg = GPG.format(passphrase=passphrase)
    dump = f'{sample.bindir}/pg_dump "{sample.dsn}" | {gpg} --symmetric -o {root}/manual.sql.gpg'
    began = time.monotonic()
    subprocess.run(["bash", "-o", "pipefail", "-c", dump], check=True)
    by_hand = time.monotonic()
    guardian = [sys.executable, "-m", "guardian", "--config", str(config)]
    subprocess.run([*guardian, "backup", "now"], check=True, capture_output=True)
    ours = time.monotonic() - by_hand
    print(f"made once: the runbook's backup in {by_hand - began:.1f} s, guardian's in {ours:.1f} s")
    return guardian


def runbook(root: Path, server: EmbeddedServer, bindir: Path) -> Way:
    gpg = GPG.format(passphrase=root / "passphrase")
    psql = f'{bindir}/psql -q -v ON_ERROR_STOP=1 "{server.dsn("restored")}"'
    line = f"{gpg} -d {root}/manual.sql.gpg | {psql}"
    return Way("runbook: gpg -d | psql", ["bash", "-o", "pipefail", "-c", line])


def measure_runbook(way: Way, server: EmbeddedServer) -> None:
    """Into a new database each time; making and dropping it is not measured."""
    with psycopg.connect(server.dsn("postgres"), autocommit=True) as connection:
        connection.execute("DROP DATABASE IF EXISTS restored")
        connection.execute("CHECKPOINT")
        connection.execute("CREATE DATABASE restored TEMPLATE template0")
    os.sync()  # what was written before must not slow down what comes now
    measure(way, dict(os.environ))


class Drills:
    """guardian's runs: the whole command, and what it tells of itself."""

    def __init__(self, guardian: list[str], scratch: Path) -> None:
        self.way = Way("guardian verify", [*guardian, "verify", "--json"])
        self.restore: list[float] = []
        self.compare: list[float] = []
        self._scratch = scratch

    def run(self) -> None:
        """One drill, by the clock."""
        output = self._scratch.parent / "verify.json"
        command = self.way.command
        os.sync()
        self.way.command = ["bash", "-c", '"$@" > ' + str(output), "bash", *command]
        measure(self.way, dict(os.environ))
        self.way.command = command
        (drill,) = json.loads(output.read_text())
        assert drill["result"] == "proven", drill
        self.restore.append(drill["restore_seconds"])
        self.compare.append(drill["compare_seconds"])

    def most_disk(self) -> int:
        """The most that lay in the scratch folder during one drill, in bytes."""
        process = subprocess.Popen(self.way.command, stdout=subprocess.DEVNULL)
        most = 0
        while process.poll() is None:
            most = max(most, _size(self._scratch))
            threading.Event().wait(0.1)
        return most


def _size(folder: Path) -> int:
    done = subprocess.run(
        ["du", "-s", "--block-size=1", folder], capture_output=True, text=True, check=False
    )
    return int(done.stdout.split()[0])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--scale", type=int, default=60)
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--backup-jobs", type=int, default=1)
    parser.add_argument("--major", type=int, default=15)
    parser.add_argument("--write-rate", type=int, metavar="MiB/s")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    root = Path(tempfile.mkdtemp(prefix="guardian-bench-", dir="/var/tmp"))
    root.chmod(0o711)
    tempfile.tempdir = str(root)  # both servers and all backups lie on the same disk
    try:
        with (
            sample_server(options.scale, major=options.major) as sample,
            EmbeddedServer(sample.bindir, settings={}) as stock,
        ):
            print(f"{sample}, {options.jobs} jobs on a backup in {options.backup_jobs} streams")
            if options.write_rate:
                print(f"the disk may write {options.write_rate} MiB a second")
            guardian = prepare(root, sample, options.jobs, options.backup_jobs)
            drills = Drills(guardian, root / "scratch")
            by_hand = runbook(root, stock, sample.bindir)
            with write_rate(root, options.write_rate):
                disk = drills.most_disk()  # also warms what there is to warm
                measure_runbook(by_hand, stock)
                by_hand.forget()
                for _ in range(options.pairs):
                    measure_runbook(by_hand, stock)
                    drills.run()
            report(sample, by_hand, drills, disk)
            if options.json:
                figures = {
                    "runbook": by_hand.seconds,
                    "restore": drills.restore,
                    "compare": drills.compare,
                    "whole": drills.way.seconds,
                    "peak_bytes": max(drills.way.peak),
                    "scratch_bytes": disk,
                    "database_bytes": sample.size,
                }
                options.json.write_text(json.dumps(figures, indent=1))
    finally:
        shutil.rmtree(root)


def report(sample: Sample, by_hand: Way, drills: Drills, disk: int) -> None:
    print(f"{'':28} {'median':>8} {'spread':>15} {'x runbook':>10}")
    for name, seconds in (
        (by_hand.name, by_hand.seconds),
        ("drill: restore", drills.restore),
        ("drill: compare", drills.compare),
        ("drill: the whole command", drills.way.seconds),
    ):
        spread = f"{min(seconds):.1f} .. {max(seconds):.1f}"
        median = statistics.median(seconds)
        print(f"{name:28} {median:7.2f}s {spread:>15} {median / by_hand.median:10.2f}")
    print(f"scratch space at most {format_size(disk)}, {disk / sample.size:.2f} x the database")
    print(f"peak memory of guardian or one of its children: {format_size(max(drills.way.peak))}")


if __name__ == "__main__":
    main()
