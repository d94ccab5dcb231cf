"""A site whose catalog is lost and made anew, and drills whose outcome a test chooses."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from click.testing import CliRunner
from support.s3 import MotoS3, RcloneS3
from support.site import Outcome, Site

from guardian.cli.main import cli
from guardian.config import load_config
from guardian.daemon.app import App
from guardian.errors import GuardianError
from guardian.model import BackupId, Difference, ProofRecord, ProofResult
from guardian.verify.records import record_proof

BUCKET = "backups"


@dataclass
class RebuildSite:
    """The site, and what these tests do with it."""

    site: Site
    s3: RcloneS3 | None = None

    @property
    def state(self) -> Path:
        return self.site.root / "state"

    @property
    def catalog(self) -> Path:
        return self.state / "catalog.db"

    @property
    def bucket(self) -> Path:
        assert self.s3 is not None
        return self.s3.root / BUCKET / "pg"

    def back_up(self) -> str:
        return str(self.site.back_up().result["id"])

    def rebuild(self, code: int = 0) -> dict[str, Any]:
        outcome = self.attempt("catalog", "rebuild", "--json")
        outcome.assert_clean()
        assert outcome.code == code, outcome.err
        return dict(outcome.json)

    def run(self, *words: str) -> Any:
        """A command's document. In our own process: starting one each time takes seconds."""
        self.site.write()
        done = CliRunner().invoke(cli, ["--config", str(self.site.config), *words, "--json"])
        assert done.exit_code == 0, (done.output, done.exception)
        return json.loads(done.stdout)

    def attempt(self, *words: str) -> Outcome:
        """The same for a command that may fail: its code, and what it says, as ``main`` would."""
        self.site.write()
        done = CliRunner().invoke(cli, ["--config", str(self.site.config), *words])
        if isinstance(done.exception, GuardianError):
            error = done.exception
            return Outcome(error.exit_code, done.stdout, f"{done.stderr}guardian: {error}\n")
        assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
        return Outcome(done.exit_code, done.stdout, done.stderr)

    def shown(self) -> list[Any]:
        """All that the commands tell of backups, less the words of drills: no store has those.

        And less what the stores say right now: a test may have stopped one.
        """
        listed = self.run("backup", "list")
        shown = [self.run("backup", "show", item["id"]) for item in listed]
        for one in shown:
            del one["signed"]
            for copy in one["copies"]:
                del copy["signed"]
            for drill in one["drills"]:
                del drill["reason"]
        return [listed, shown]

    def lose_the_catalog(self) -> None:
        shutil.rmtree(self.state)

    def drill(self, backup: str, store: str = "local", result: str = "proven") -> None:
        self.site.write()
        with App(load_config(self.site.config)) as app:
            manifest = app.catalog.manifest(BackupId(backup))
            assert manifest is not None
            found = ProofResult(result)
            wrong = (Difference("table public.users", "500 rows", "499 rows"),)
            record = ProofRecord(
                manifest.id,
                store,
                found,
                datetime.now(UTC),
                tables=2,
                differences=() if found is ProofResult.PROVEN else wrong,
            )
            notes = record_proof(
                app.catalog,
                list(app.stores.values()),
                manifest,
                record,
                clock=app.clock,
                guardian_version="0",
                host="db-1",
            )
        assert notes == ()

    def proofs(self, backup: str) -> list[ProofRecord]:
        with App(load_config(self.site.config)) as app:
            return list(app.catalog.proofs(BackupId(backup)))

    def told(self, document: dict[str, Any], store: str) -> dict[str, Any]:
        return next(one for one in document["stores"] if one["name"] == store)


def assert_failed(outcome: Outcome, *words: str) -> None:
    outcome.assert_clean()
    assert outcome.code == 1
    for word in words:
        assert word in outcome.err


def s3_section(server: RcloneS3 | MotoS3, bucket: str = BUCKET, **changes: Any) -> dict[str, Any]:
    return {
        "kind": "s3",
        "bucket": bucket,
        "prefix": "pg",
        "endpoint_url": server.endpoint_url,
        "access_key_id": server.access_key_id,
        "secret_access_key": server.secret_access_key,
        **changes,
    }
