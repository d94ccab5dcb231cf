"""What a person waits for, and what the daemon takes while nothing happens, beside its bounds.

    python -m bench.service [--rounds 5] [--seconds 60] [--json FILE]

``guardian --help``; ``guardian backup list`` over a catalog of 5,000 backups, in people's form and
as JSON; the dashboard's overview of 50 databases with a year behind each, asked of the application
itself, without a network. Then ``guardian run`` watches an idle server every five seconds, and when
it has settled its processor time (children included) and memory are taken.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from support.dashboard import make_world

from bench.looking import memory_bytes, processor_seconds
from guardian.adapters.postgres.tools import choose_server
from guardian.adapters.scratch.cluster import PLAIN_SETTINGS
from guardian.adapters.scratch.embedded import EmbeddedServer
from guardian.model import DatabaseRef
from guardian.web.application import create_app

MOST_PAGE_MS, MOST_MEMORY, MOST_PROCESSOR = 100.0, 100 * 1000 * 1000, 0.01
"""What the overview may take, and what the idle daemon."""
DATABASES, NIGHTS = 50, 365
LISTED_DATABASES, LISTED_NIGHTS = 59, 450
"""Of which some 5,000 backups are left by the retention of tests/support/dashboard.py."""
_SETTLE_SECONDS = 20.0

CONFIG = """\
state_dir: {folder}
encryption: {{passphrase_file: {folder}/passphrase}}
stores: {{local: {{kind: local, path: {folder}/store}}}}
servers:
  main:
    dsn: "{dsn}"
    backup: {{schedule: "0 2 29 2 *"}}
    verify: {{schedule: null}}
service: {{listen: "127.0.0.1:0"}}
"""


@dataclass(frozen=True)
class Figure:
    """One measured thing; ``bound`` None where nothing was promised."""

    name: str
    value: float
    unit: str
    bound: float | None = None

    @property
    def kept(self) -> bool:
        """Whether it is within its bound."""
        return self.bound is None or self.value <= self.bound


def median_ms(work: Callable[[], object], rounds: int) -> float:
    """The middle of so many runs, after one that is not counted."""
    work()
    took = []
    for _ in range(rounds):
        began = time.monotonic()
        work()
        took.append((time.monotonic() - began) * 1000)
    return statistics.median(took)


def commands(folder: Path, rounds: int) -> list[Figure]:
    """Of a person at a terminal."""
    refs = [DatabaseRef("main", f"d{number}") for number in range(LISTED_DATABASES)]
    make_world(folder, refs, LISTED_NIGHTS).catalog.close()
    config = write_config(folder, "postgresql:///nowhere")
    guardian = [sys.executable, "-m", "guardian"]
    listing = [*guardian, "--config", str(config), "backup", "list"]
    count = len(json.loads(run([*listing, "--json"])))
    return [
        Figure("guardian --help", median_ms(lambda: run([*guardian, "--help"]), rounds), "ms"),
        Figure(f"backup list, {count} backups", median_ms(lambda: run(listing), rounds), "ms"),
        Figure(
            f"backup list --json, {count} backups",
            median_ms(lambda: run([*listing, "--json"]), rounds),
            "ms",
        ),
    ]


def run(command: Sequence[str]) -> bytes:
    return subprocess.run(command, check=True, capture_output=True).stdout


def pages(folder: Path, rounds: int) -> list[Figure]:
    """Of the dashboard, as the daemon renders it."""
    refs = [DatabaseRef(f"s{number // 5}", f"d{number}") for number in range(DATABASES)]
    world = make_world(folder, refs, NIGHTS)
    client = create_app(world.sources).test_client()

    def ask() -> None:
        answer = client.get("/", headers={"Host": "127.0.0.1"})
        assert answer.status_code == 200, answer.status
        assert b"d49" in answer.data

    name = f"overview, {DATABASES} databases, {NIGHTS} nights"
    found = Figure(name, median_ms(ask, rounds), "ms", MOST_PAGE_MS)
    world.catalog.close()
    return [found]


def idle_daemon(folder: Path, seconds: float) -> list[Figure]:
    """The daemon with nothing to do but to look."""
    bindir = choose_server(15).bindir
    with EmbeddedServer(bindir, directory=folder, settings=PLAIN_SETTINGS) as server:
        config = write_config(folder, server.dsn("postgres"))
        command = [sys.executable, "-m", "guardian", "--config", str(config), "run"]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            time.sleep(_SETTLE_SECONDS)
            if process.poll() is not None:
                raise SystemExit("bench.service: the daemon has ended")
            before, began = processor_seconds(process.pid), time.monotonic()
            time.sleep(seconds)
            used = processor_seconds(process.pid) - before
            share = used / (time.monotonic() - began)
            memory = memory_bytes(process.pid)
        finally:
            process.terminate()
            process.wait()
    return [
        Figure("idle daemon, memory", memory / 1e6, "MB", MOST_MEMORY / 1e6),
        Figure("idle daemon, share of a core", share * 100, "%", MOST_PROCESSOR * 100),
    ]


def write_config(folder: Path, dsn: str) -> Path:
    passphrase = folder / "passphrase"
    passphrase.touch(0o600)
    passphrase.write_text("a passphrase of the benchmark\n")
    (folder / "store").mkdir(exist_ok=True)
    config = folder / "guardian.yaml"
    config.write_text(CONFIG.format(folder=folder, dsn=dsn))
    return config


def as_text(found: Sequence[Figure]) -> str:
    """A line each."""
    lines = []
    for one in found:
        bound = "" if one.bound is None else f"  at most {one.bound:g} {one.unit}"
        verdict = "" if one.bound is None else ("  kept" if one.kept else "  NOT KEPT")
        lines.append(f"{one.name:36} {one.value:8.1f} {one.unit:2}{bound}{verdict}")
    return "\n".join(lines)


def measure(root: Path, rounds: int, seconds: float) -> list[Figure]:
    """All of it, each in a folder of its own."""
    for name in ("commands", "pages", "daemon"):
        (root / name).mkdir(mode=0o711)
    return [
        *commands(root / "commands", rounds),
        *pages(root / "pages", rounds),
        *idle_daemon(root / "daemon", seconds),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # and so nothing is left behind
    root = Path(tempfile.mkdtemp(prefix="guardian-bench-", dir="/var/tmp"))
    root.chmod(0o711)
    os.environ["GNUPGHOME"] = str(root)
    try:
        found = measure(root, options.rounds, options.seconds)
    finally:
        shutil.rmtree(root)
    print(as_text(found))
    if options.json:
        figures: list[dict[str, Any]] = [asdict(one) for one in found]
        options.json.write_text(json.dumps(figures, indent=1))


if __name__ == "__main__":
    main()
