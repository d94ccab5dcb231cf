"""The ways to back up: guardian, what people type, and what others have built.

All read the same database on the same server and write to the same disk, encrypted; each with the
settings that its own documentation gives, kept to one database.
"""

from __future__ import annotations

import secrets
import shlex
import shutil
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from bench.contest import Contender, bash, size_of
from bench.opening import NOTES, restore, restore_by_notes
from bench.place import Place
from bench.sample import contents
from bench.targets import Target
from guardian.adapters.scratch.embedded import EmbeddedServer

PROOFS = ("none", "counts", "content")

CONFIG = """\
state_dir: {folder}/state
encryption: {{passphrase_file: {passphrase}}}
stores: {{target: {store}}}
servers:
  main:
    dsn: "{dsn}"
    globals: false
    backup: {{proof: {proof}, jobs: {jobs}}}
    retention: {{keep_last: 1, keep_daily: 0, keep_weekly: 0, keep_monthly: 0, keep_within: 0s}}
    verify: {{scratch_dir: {folder}/scratch}}
"""

BORGMATIC = """\
repositories: [{{path: {folder}/repository, label: bench}}]
encryption_passcommand: cat {passphrase}
borg_base_directory: {folder}/base
user_runtime_directory: {folder}/run
user_state_directory: {folder}/state
postgresql_databases:
  - name: {dbname}
    username: {user}
    compression: 0
    pg_dump_command: {bindir}/pg_dump
    pg_restore_command: {bindir}/pg_restore
    psql_command: {bindir}/psql
"""

AUTOPOSTGRESQLBACKUP = """\
USERNAME={user}
DBHOST={host}
export PGPORT={port}
DBNAMES={dbname}
BACKUPDIR={folder}/store
CREATE_DATABASE=no
ENCRYPTION=yes
ENCRYPTION_PUBLIC_KEY={certificate}
"""


class Backups:
    """Makes the contenders of one database."""

    def __init__(self, place: Place, target: Target) -> None:
        self._place = place
        self._target = target
        self._dsn = place.sample.dsn
        self._dump = f'{place.sample.bindir}/pg_dump "{self._dsn}"'
        self.truth = contents(self._dsn)

    def local(self, jobs: Sequence[int]) -> list[Contender]:
        """Into a folder on the same disk; the raw floor first. ``jobs`` are more than one."""
        return [
            Contender("pg_dump -Fc -Z0 > /dev/null", f"{self._dump} -Fc -Z0 > /dev/null"),
            self._runbook(),
            self._custom_and_gpg(),
            *self._restic(),
            *self._borgmatic(),
            self._autopostgresqlbackup(),
            *(self.guardian(proof, 1) for proof in PROOFS),
            *(self.guardian("content", number) for number in jobs),
        ]

    def s3(self) -> list[Contender]:
        """Into a bucket on this host."""
        assert self._place.s3 is not None
        remote = (
            ":s3,provider=Rclone,env_auth,force_path_style,no_check_bucket,"
            f"endpoint='{self._place.s3}':bench/by-hand/bench.dump.gpg"
        )
        bucket = self._place.root / "buckets" / "bench"
        by_hand = Contender(
            "pg_dump -Fc | gpg | rclone rcat",
            f"{self._dump} -Fc | {self._place.gpg} --symmetric -o - | "
            f"rclone rcat {shlex.quote(remote)}",
            needs=("rclone",),
            look_behind=self._behind(bucket / "by-hand"),
        )
        address = self._place.root / "restic-in-bucket"
        repository = f"$(cat {address})"

        def begin() -> None:  # at a new name each time: rclone remembers what was in a folder
            shutil.rmtree(bucket / "restic", ignore_errors=True)
            address.write_text(f"s3:{self._place.s3}/bench/restic/{secrets.token_hex(4)}")
            bash(f"{self.restic(repository)} init")

        restic = Contender(
            "pg_dump | restic",
            f"{self._dump} | {self._to_restic(repository)}",
            needs=("restic",),
            prepare=begin,
            look_behind=self._behind(bucket / "restic"),
        )
        found = [by_hand, restic]
        for proof in ("none", "content"):
            store = (
                f"{{kind: s3, bucket: bench, prefix: guardian-{proof}, "
                f"endpoint_url: '{self._place.s3}', region: us-east-1}}"
            )
            found.append(
                self._guardian(f"s3-{proof}", proof, store, bucket / f"guardian-{proof}", 1)
            )
        return found

    # --- by hand ---------------------------------------------------------------------------------

    def _runbook(self) -> Contender:
        folder = self._place.folder("runbook")
        line = (
            f"cd {folder}; {self._dump} > manual.sql\n"
            f"{self._place.gpg} --symmetric --cipher-algo AES256 manual.sql\nrm manual.sql"
        )
        return Contender(
            "runbook: pg_dump, gpg, rm",
            line,
            prepare=lambda: _empty(folder),
            look_behind=self._behind(folder),
        )

    def _custom_and_gpg(self) -> Contender:
        folder = self._place.folder("custom")
        return Contender(
            "pg_dump -Fc | gpg",
            f"{self._dump} -Fc | {self._place.gpg} --symmetric -o {folder}/bench.dump.gpg",
            prepare=lambda: _empty(folder),
            look_behind=self._behind(folder),
        )

    # --- peers -----------------------------------------------------------------------------------

    def _restic(self) -> list[Contender]:
        folder = self._place.folder("restic")
        line = f"{self._dump} | {self._to_restic(str(folder))}"
        return self._first_and_next(
            "pg_dump | restic",
            line,
            ("restic",),
            folder,
            lambda: self._begin_restic(str(folder), folder),
        )

    def restic(self, repository: str) -> str:
        """The beginning of a restic command."""
        return f"restic -q --password-file {self._place.keys.passphrase} -r {repository}"

    def _to_restic(self, repository: str) -> str:
        return f"{self.restic(repository)} backup --stdin --stdin-filename bench.sql"

    def _begin_restic(self, repository: str, folder: Path) -> None:
        _empty(folder)
        bash(f"{self.restic(repository)} init")

    def borgmatic(self, server: EmbeddedServer) -> str:
        """The beginning of a borgmatic command; it cannot be told the folder of a socket."""
        return (
            f"export PGHOST={server.socket_dir} PGPORT={server.port}; "
            f"borgmatic --config {self._place.root}/borgmatic.yaml --verbosity -1"
        )

    def _borgmatic(self) -> list[Contender]:
        folder = self._place.folder("borgmatic")
        borgmatic = self.borgmatic(self._place.sample.server)
        known = self._known(folder)
        (self._place.root / "borgmatic.yaml").write_text(BORGMATIC.format(**known))

        def begin() -> None:
            _empty(folder)
            (folder / "run").mkdir(mode=0o700)
            bash(f"{borgmatic} repo-create --encryption repokey-blake2")

        line = f"{borgmatic} create"
        needs, store = ("borgmatic", "borg"), folder / "repository"
        return self._first_and_next("borgmatic and borg", line, needs, store, begin)

    def _first_and_next(
        self,
        name: str,
        line: str,
        needs: tuple[str, ...],
        store: Path,
        begin: Callable[[], None],
    ) -> list[Contender]:
        """Into a new repository; and once more into the same, where nothing has changed."""
        before = 0

        def note() -> None:
            nonlocal before
            before = size_of(store)

        return [
            Contender(name, line, needs=needs, prepare=begin, look_behind=self._behind(store)),
            Contender(
                f"{name}, the next night",
                line,
                needs=needs,
                prepare=note,
                look_behind=lambda: {"stored_bytes": size_of(store) - before},
            ),
        ]

    def _autopostgresqlbackup(self) -> Contender:
        """Debian's script as it is, but for where its configuration and pg_dump are.

        And for the day of the month: on the first it would do all of its work twice.
        """
        folder = self._place.folder("autopostgresqlbackup")
        name = "autopostgresqlbackup"
        script, settings = folder / "script", folder / "settings"
        original = shutil.which(name)
        if original is not None:
            settings.write_text(AUTOPOSTGRESQLBACKUP.format(**self._known(folder)))
            script.write_text(
                Path(original)
                .read_text()
                .replace("/etc/default/autopostgresqlbackup", str(settings))
                .replace(
                    "PATH=/usr/local/bin:", f"PATH={self._place.sample.bindir}:/usr/local/bin:"
                )
                .replace("DOM=`date +%d`", "DOM=02")
            )
        return Contender(
            name,
            f"bash {script}",
            needs=(name, "openssl"),
            prepare=lambda: _empty(folder / "store"),
            look_behind=self._behind(folder / "store"),
        )

    # --- guardian --------------------------------------------------------------------------------

    def guardian(self, proof: str, jobs: int) -> Contender:
        """``backup now`` into a local store."""
        folder = self._place.folder(f"guardian-{proof}-{jobs}")
        store = f"{{kind: local, path: {folder}/store}}"
        return self._guardian(f"{proof}-{jobs}", proof, store, folder / "store", jobs)

    def _guardian(self, key: str, proof: str, store: str, lies: Path, jobs: int) -> Contender:
        config = self.configure(key, proof, store, jobs)
        return Contender(
            f"guardian, proof: {proof}" + (f", jobs: {jobs}" if jobs > 1 else ""),
            f"{command(config)} backup now",
            ours=True,
            look_behind=self._behind(lies),
        )

    def configure(self, key: str, proof: str, store: str, jobs: int) -> Path:
        """Write a configuration, with a folder of its own for what guardian keeps."""
        folder = self._place.folder(f"guardian-{key}")
        (folder / "scratch").mkdir(exist_ok=True)
        config = folder / "guardian.yaml"
        known = self._known(folder)
        config.write_text(CONFIG.format(**known, store=store, proof=proof, jobs=jobs))
        return config

    # --- behind the scenes -----------------------------------------------------------------------

    def _known(self, folder: Path) -> dict[str, Any]:
        sample, keys = self._place.sample, self._place.keys
        return {
            "folder": folder,
            "passphrase": keys.passphrase,
            "certificate": keys.certificate,
            "bindir": sample.bindir,
            "dsn": sample.dsn,
            "dbname": "bench",
            "host": sample.server.socket_dir,
            "port": sample.server.port,
            "user": sample.server.superuser,
        }

    def _behind(self, store: Path) -> Callable[[], dict[str, Any]]:
        """How much lies there, and what stock programs can do with it: they try."""

        def look() -> dict[str, Any]:
            biggest = max(
                (one for one in store.rglob("*") if one.is_file()),
                key=lambda one: one.stat().st_size,
            )
            dsn, keys = self._target.make_empty(), self._place.keys
            if (biggest.parent / NOTES).exists():
                verdict = restore_by_notes(biggest.parent, keys, self._target.server)
                dsn = self._target.server.dsn("restored")
            else:
                verdict = restore(biggest, keys, self._place.sample.bindir, dsn)
            if not verdict and contents(dsn) != self.truth:
                verdict = "restores, but not all of it"
            return {"stored_bytes": size_of(store), "stock": verdict}

        return look


def command(config: Path) -> str:
    """The beginning of a guardian command."""
    return f"{sys.executable} -m guardian --config {config}"


def _empty(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
