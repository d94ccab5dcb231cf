"""All contests side by side, in one run.

    python -m bench [--sizes 0.1,1.5] [--rounds 3] [--no-watch] [--json FILE] [--folder DIR]

Sizes are in GB: pgbench and a wide table of text and JSON, on a PostgreSQL of its own. The table
comes at the end; ``python -m bench.report FILE`` shows it again, and puts a run's figures into the
documents. Ends with 1 when one of guardian's own rows failed; a peer that fails, or is not
installed, has a row that says so.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bench.backups import Backups
from bench.contest import Contender, hold
from bench.opening import Keys
from bench.place import Place, machine, s3_server, settle_in, versions
from bench.report import as_text
from bench.restores import Restores
from bench.results import Contest, Results, Size
from bench.sample import sample_server
from bench.targets import Target
from guardian.adapters.scratch.embedded import EmbeddedServer

SCALES_A_GB = 40
"""1.5 GB are scale 60 of pgbench with the wide table beside it; less than one there is not."""
_RESULTS = Path(__file__).with_name("results")


def main() -> None:
    options = _options().parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # and so nothing is left behind
    root = Path(tempfile.mkdtemp(prefix="guardian-bench-", dir=options.folder))
    root.chmod(0o711)  # PostgreSQL steps down from root, and passes through
    found = Results(
        made_at=datetime.now(UTC).isoformat(timespec="seconds"),
        command=f"python -m bench --sizes {options.sizes} --rounds {options.rounds}"
        + (" --no-watch" if options.no_watch else ""),
        machine=machine(root) | {"load before": f"{os.getloadavg()[0]:.1f}"},
        versions={},
        sizes=(),
        note=options.note,
    )
    options.json.parent.mkdir(parents=True, exist_ok=True)
    try:
        keys = settle_in(root)
        for label in options.sizes.split(","):
            size, known = _measure(label, root, keys, options)
            found = replace(found, versions=known, sizes=(*found.sizes, size))
            options.json.write_text(found.to_json())  # what there is outlives what may go wrong
        if not options.no_watch:
            watch, service = _other("watch", root), _other("service", root)
            found = replace(found, watch=watch, service=service)
            options.json.write_text(found.to_json())
    finally:
        subprocess.run(["gpgconf", "--kill", "all"], check=False, capture_output=True)
        shutil.rmtree(root)
    print(as_text(found))
    _tell(f"written: {options.json}")
    failed = [
        row.name
        for size in found.sizes
        for contest in size.contests
        for row in contest.rows
        if row.ours and row.failure
    ]
    if failed:
        sys.exit(f"bench: failed: {', '.join(failed)}")


def _measure(
    label: str, root: Path, keys: Keys, options: argparse.Namespace
) -> tuple[Size, dict[str, str]]:
    """All contests with a database of one size, and the versions of all that took part."""
    folder = root / f"{label}-GB"
    folder.mkdir()
    with ExitStack() as stack:
        scale = max(1, round(float(label) * SCALES_A_GB))
        _tell(f"filling a database of {label} GB")
        sample = stack.enter_context(sample_server(scale, root))
        stock = EmbeddedServer(sample.bindir, directory=root, settings={})
        target = Target(stack.enter_context(stock))
        place = Place(folder, sample, keys, stack.enter_context(s3_server(folder)))
        contests = tuple(_contests(place, target, options))
        size = Size(label, sample.size, options.rounds, contests)
        known = versions(sample)
    shutil.rmtree(folder)
    return size, known


def _options() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m bench", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("--sizes", default="0.1,1.5", help="in GB, with commas between them")
    parser.add_argument("--rounds", type=int, default=3, help="of each way, by the clock")
    parser.add_argument("--backup-jobs", default="1,2", help="values of backup.jobs")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="of restores")
    parser.add_argument(
        "--no-watch", action="store_true", help="leave out bench.watch, bench.service"
    )
    parser.add_argument("--json", type=Path, default=_RESULTS / "latest.json")
    parser.add_argument("--note", default="", help="a sentence that stands beside the figures")
    parser.add_argument("--only", default="", help="ways whose name matches, for trying things")
    parser.add_argument(
        "--folder", type=Path, default=Path("/var/tmp"), help="where: on the disk to measure"
    )
    return parser


def _contests(place: Place, target: Target, options: argparse.Namespace) -> list[Contest]:
    backups = Backups(place, target)
    source, stock = place.sample.server.pid, target.server.pid
    assert source is not None
    assert stock is not None
    common: dict[str, Any] = {"place": place, "rounds": options.rounds, "tell": _tell}
    jobs = [int(one) for one in options.backup_jobs.split(",") if int(one) > 1]

    def chosen(contenders: list[Contender]) -> list[Contender]:
        return [one for one in contenders if re.search(options.only, one.name)]

    found = [hold("backup", chosen(backups.local(jobs)), server_pid=source, **common)]
    if place.s3 is not None:
        found.append(hold("backup to S3", chosen(backups.s3()), server_pid=source, **common))
    ways = Restores(place, target, backups).all(options.jobs, jobs)
    found.append(hold("restore", chosen(ways), server_pid=stock, **common))
    return [one for one in found if one.rows]


def _other(name: str, root: Path) -> Any:
    """The figures of another benchmark, run as a person would; None when it fails."""
    _tell(f"bench.{name}")
    figures = root / f"{name}.json"
    command = [sys.executable, "-m", f"bench.{name}", "--json", str(figures)]
    # PostgreSQL steps down from root, and could not pass through our folder for temporary files.
    environ = {**os.environ, "TMPDIR": str(root)}
    if subprocess.run(command, check=False, stdout=subprocess.DEVNULL, env=environ).returncode != 0:
        _tell(f"bench.{name} failed, see above")
        return None
    return json.loads(figures.read_text())


def _tell(words: str) -> None:
    print(f"{datetime.now(UTC):%H:%M:%S} {words}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
