"""Backups side by side, in one run: guardian, the raw dump, and the runbook's own commands.

    python -m bench.backup [--scale 60] [--pairs 3] [--json FILE]

On an embedded PostgreSQL of its own: pgbench at the given scale (60 is 0.9 GB) and a wide table of
text and JSON (25,000 rows for each step of the scale, 0.6 GB at 60). Each pair runs every way once,
in turn; the table gives medians with their spread, and ratios to the raw dump and to the runbook.
Memory is the highest resident size of guardian's process and of each of its children.
"""

from __future__ import annotations

import argparse
import json
import os
import secrets
import shutil
import statistics
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from bench.sample import Way, measure, sample_server
from guardian.units import format_size

RUNBOOK = """
cd {root}
{bindir}/pg_dump "{dsn}" > manual.sql
gpg --batch --yes --pinentry-mode loopback --passphrase-file {passphrase} \\
    --symmetric --cipher-algo AES256 manual.sql
rm manual.sql
"""

CONFIG = """\
state_dir: {root}/state-{proof}-{jobs}
encryption: {{passphrase_file: {root}/passphrase}}
stores: {{local: {{kind: local, path: {root}/store-{proof}-{jobs}}}}}
servers:
  main:
    dsn: "{dsn}"
    globals: false
    backup: {{proof: {proof}, jobs: {jobs}}}
    retention: {{keep_last: 1, keep_daily: 0, keep_weekly: 0, keep_monthly: 0, keep_within: 0s}}
"""


def ways(root: Path, dsn: str, bindir: Path) -> list[Way]:
    """The raw floor, the runbook's sequence, and guardian at each level of proof."""
    passphrase = root / "passphrase"
    passphrase.touch(0o600)
    passphrase.write_text(secrets.token_urlsafe(32) + "\n")
    found = [
        Way("raw pg_dump -Fc -Z0", ["bash", "-c", f'{bindir}/pg_dump -Fc -Z0 "{dsn}" > /dev/null']),
        Way(
            "runbook: pg_dump, then gpg",
            [
                "bash",
                "-ec",
                RUNBOOK.format(root=root, bindir=bindir, dsn=dsn, passphrase=passphrase),
            ],
        ),
    ]
    for proof, jobs in (("none", 1), ("counts", 1), ("content", 1), ("content", 2)):
        config = root / f"{proof}-{jobs}.yaml"
        config.write_text(CONFIG.format(root=root, dsn=dsn, proof=proof, jobs=jobs))
        command = [sys.executable, "-m", "guardian", "--config", str(config), "backup", "now"]
        more = f", jobs: {jobs}" if jobs > 1 else ""
        found.append(Way(f"guardian, proof: {proof}{more}", command))
    return found


def report(found: Sequence[Way]) -> None:
    raw, runbook = found[0].median, found[1].median
    print(
        f"{'':28} {'median':>8} {'spread':>13} {'x raw':>6} {'x runbook':>9} {'CPU':>7} {'peak':>9}"
    )
    for way in found:
        spread = f"{min(way.seconds):.1f} .. {max(way.seconds):.1f}"
        print(
            f"{way.name:28} {way.median:7.2f}s {spread:>13} {way.median / raw:6.2f} "
            f"{way.median / runbook:9.2f} {statistics.median(way.cpu):6.1f}s "
            f"{format_size(max(way.peak)):>9}"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--scale", type=int, default=60)
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    root = Path(tempfile.mkdtemp(prefix="guardian-bench-"))
    try:
        with sample_server(options.scale) as sample:
            print(sample)
            found = ways(root, sample.dsn, sample.bindir)
            for way in found:  # once unmeasured: caches as warm for the first as for the last
                measure(way, dict(os.environ))
                way.forget()
            for _ in range(options.pairs):
                for way in found:
                    measure(way, dict(os.environ))
            report(found)
            if options.json:
                options.json.write_text(
                    json.dumps([{**way.__dict__, "median": way.median} for way in found], indent=1)
                )
    finally:
        shutil.rmtree(root)


if __name__ == "__main__":
    main()
