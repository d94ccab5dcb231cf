"""The ways back: each restores what the last run of its backup has left, into an empty database.

All of them fill the same server, which is as initdb leaves it, but for guardian's drill: that makes
a throw-away server of its own, tuned for it, and has to make it, and to compare every row, within
the time that is measured.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from bench.backups import Backups, command
from bench.contest import Contender
from bench.place import Place
from bench.sample import contents
from bench.targets import Target


class Restores:
    """Makes the contenders of one database, whose backups have all been made."""

    def __init__(self, place: Place, target: Target, backups: Backups) -> None:
        self._place = place
        self._target = target
        self._backups = backups
        self._bindir = place.sample.bindir
        self._psql = f'{self._bindir}/psql -q -v ON_ERROR_STOP=1 "{target.dsn}"'
        self._pg_restore = f'{self._bindir}/pg_restore --exit-on-error -d "{target.dsn}"'

    def all(self, jobs: int, backup_jobs: Sequence[int]) -> list[Contender]:
        """The runbook's first. ``jobs`` is how many where several may work at once.

        ``backup_jobs`` are those of backups in several parts.
        """
        gpg, root = f"{self._place.gpg} -d", self._place.root
        archive = self._place.folder("by-hand") / "bench.dump"
        dump = f"{root}/custom/bench.dump.gpg"
        restic = self._backups.restic(str(root / "restic"))
        encrypted = f"$(ls -S {root}/autopostgresqlbackup/store/*/bench/* | head -n 1)"
        keys = self._place.keys
        return [
            self._one(
                "runbook: gpg -d | psql", f"{gpg} {root}/runbook/manual.sql.gpg | {self._psql}"
            ),
            self._one("gpg -d | pg_restore", f"{gpg} {dump} | {self._pg_restore}"),
            self._one(
                f"gpg -d > file, pg_restore -j {jobs}",
                f"{gpg} {dump} > {archive}; {self._pg_restore} -j {jobs} {archive}; rm {archive}",
            ),
            self._one(
                "restic dump | psql",
                f"{restic} dump latest bench.sql | {self._psql}",
                needs=("restic",),
            ),
            self._one(
                "borgmatic restore",
                f"{self._backups.borgmatic(self._target.server)} restore --archive latest",
                needs=("borgmatic", "borg"),
            ),
            self._one(
                "autopostgresqlbackup: openssl | gunzip | psql",
                f'openssl smime -decrypt -binary -inform DER -in "{encrypted}" '
                f"-inkey {keys.private_key} -recip {keys.certificate} | gunzip | {self._psql}",
                needs=("autopostgresqlbackup", "openssl"),
            ),
            *self._ours(jobs, backup_jobs),
        ]

    def _one(self, name: str, line: str, *, needs: tuple[str, ...] = ()) -> Contender:
        return Contender(
            name,
            line,
            needs=needs,
            prepare=self._make_empty,
            look_behind=lambda: {"equal": contents(self._target.dsn) == self._backups.truth},
        )

    def _ours(self, jobs: int, backup_jobs: Sequence[int]) -> list[Contender]:
        def of(key: str) -> str:
            return command(self._place.root / f"guardian-{key}" / "guardian.yaml")

        found: list[Contender] = []
        content = of("content-1")
        for options in (f"--jobs {jobs} --no-compare", "--jobs 1", f"--jobs {jobs}"):
            one = self._one(
                f"guardian restore {options}",
                f"{content} restore latest main/bench --to '{self._target.dsn}' {options}",
            )
            one.ours = True
            found.append(one)
        backups = {"counts": of("counts-1"), "content": content}
        backups |= {f"content, jobs: {one}": of(f"content-{one}") for one in backup_jobs}
        for number, (name, config) in enumerate(backups.items()):
            report = self._place.root / f"verify-{number}.json"
            found.append(
                Contender(
                    f"guardian verify, proof: {name}",
                    f"{config} verify --json > {report}",
                    ours=True,
                    look_behind=_drill_in(report),
                )
            )
        return found

    def _make_empty(self) -> None:
        self._target.make_empty()


def _drill_in(report: Path) -> Callable[[], dict[str, Any]]:
    def look() -> dict[str, Any]:
        (drill,) = json.loads(report.read_text())
        return {"equal": drill["result"] == "proven"}

    return look
