"""Another user of the same host: what guardian leaves lying about, and while it works."""

from __future__ import annotations

import os
import resource
import signal
import stat
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import chain
from pathlib import Path

import pytest
from support.drilling import SMALL
from support.postgres import Database, PostgresServer
from support.site import Site, descendants


def without_umask() -> None:
    """As careless as a host can be."""
    os.umask(0)


def open_to_others(root: Path) -> set[str]:
    """What others may read, write or enter below a folder, with its mode.

    Not sockets: who reaches one is its folder's business.
    """
    found = set()
    inside = (Path(folder, name) for folder, *names in os.walk(root) for name in chain(*names))
    for path in inside:  # folders may go away while we look: os.walk passes over them
        try:
            mode = path.lstat().st_mode
        except FileNotFoundError:  # it went away while we looked
            continue
        if stat.S_IMODE(mode) & 0o077 and (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
            found.add(f"{path.relative_to(root)} {stat.S_IMODE(mode):o}")
    return found


class Look:
    """Looks at a folder for temporary files, and at all processes below ours, all the time."""

    def __init__(self, temporary: Path) -> None:
        self._temporary = temporary
        self.open: set[str] = set()
        self.seen: set[str] = set()
        self.with_core: set[str] = set()
        self.programs: set[str] = set()

    @contextmanager
    def looking(self) -> Iterator[None]:
        over = threading.Event()
        thread = threading.Thread(target=self._run, args=(over,))
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()

    def _run(self, over: threading.Event) -> None:
        while not over.wait(0.05):
            self.seen |= {path.name for path in self._temporary.iterdir()}
            self.open |= open_to_others(self._temporary)
            for pid in descendants(os.getpid()):
                self._limits(pid)

    def _limits(self, pid: int) -> None:
        try:
            program = Path(f"/proc/{pid}/comm").read_text().strip()
            command = Path(f"/proc/{pid}/cmdline").read_bytes()
            limits = Path(f"/proc/{pid}/limits").read_text()
        except OSError:
            return
        if program.startswith("python") or b"/tests/" in command or b"postgres:" in command:
            return  # not there yet, or a server of the tests'
        self.programs.add(program)
        line = next((one for one in limits.splitlines() if one.startswith("Max core")), "")
        allowed = [["1", "1"], ["0", "0"]]
        if program == "gpg":  # sets the lower of the two to 0 by itself, once it has begun
            allowed.append(["0", "1"])
        if line.split()[4:6] not in allowed and program in {"gpg", "pg_dump", "pg_restore"}:
            self.with_core.add(program)


@pytest.fixture
def guarded(pg15: PostgresServer, fresh_database: Callable[..., Database]) -> Database:
    database = fresh_database(pg15)
    database.execute(SMALL)
    return database


@pytest.fixture
def temporary() -> Iterator[Path]:
    """A place for temporary files that everybody gets to, also the throw-away server's user."""
    with tempfile.TemporaryDirectory(prefix="guardian-t-", dir="/tmp") as folder:
        Path(folder).chmod(0o777)
        yield Path(folder)


def test_with_any_umask_nobody_else_reads_a_file(
    guarded: Database, tmp_path: Path, temporary: Path
) -> None:
    site = Site(tmp_path / "site", guarded.dsn(), environ={"TMPDIR": str(temporary)})
    site.root.chmod(0o700)
    look = Look(temporary)

    def run(*words: str) -> None:
        assert site.run(*words, preexec=without_umask).code == 0

    with look.looking():
        run("backup", "now")
        run("verify")
        (backup,) = site.listed()
        run("backup", "keep", backup)
        run("catalog", "rebuild")
        run("doctor")
    assert open_to_others(site.root / "state") | open_to_others(site.store) == set()
    assert list(site.store.rglob("kept.json"))
    assert list(site.store.rglob("proof-*.json"))
    # Its own folder can be gone through, by root's server alone: what is in it is closed.
    allowed = {f"{name} 711" for name in look.seen if name.startswith("guardian-pg-")}
    assert look.open - allowed == set()
    assert any(name.startswith("guardian-pg-") for name in look.seen)
    assert list(temporary.iterdir()) == []
    assert look.programs
    assert look.with_core == set(), "memory with secrets would be written to a file"


def test_what_init_writes_is_for_its_user_alone(tmp_path: Path) -> None:
    done = subprocess.run(
        [
            *(sys.executable, "-m", "guardian", "init", "--yes"),
            *("--dsn", "postgresql://u:secret@127.0.0.1:1/d", "--store", str(tmp_path / "backups")),
        ],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=without_umask,
    )
    assert done.returncode == 0, done.stderr
    written = {path for path in tmp_path.rglob("*") if path.is_file()}
    assert {path.name for path in written} >= {"guardian.yaml", "guardian.passphrase"}
    assert {path.name: stat.S_IMODE(path.stat().st_mode) & 0o077 for path in written} == (
        dict.fromkeys((path.name for path in written), 0)
    )
    assert "secret" not in done.stdout + done.stderr


@pytest.mark.parametrize(("hard", "limit"), [(-1, 1), (1 << 20, 1), (1, 1), (0, 0)])
def test_a_process_that_crashes_leaves_no_core(tmp_path: Path, hard: int, limit: int) -> None:
    """Wherever it is started, it crashes as what holds secrets could, and so does its child."""
    if hard > resource.getrlimit(resource.RLIMIT_CORE)[1] >= 0 or hard < 0:
        hard = resource.getrlimit(resource.RLIMIT_CORE)[1]
    limit = min(limit, hard) if hard >= 0 else limit
    code = (
        "import os, resource, signal, subprocess; from guardian.cli.main import main\n"
        "try: main(['--version'])\n"
        "except SystemExit: print(*resource.getrlimit(resource.RLIMIT_CORE), flush=True)\n"
        "subprocess.run(['sh', '-c', 'kill -SEGV $$'])\n"
        "os.kill(os.getpid(), signal.SIGSEGV)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_CORE, (hard, hard)),
    )
    assert done.returncode == -signal.SIGSEGV, done.stderr
    assert done.stdout.splitlines()[-1] == f"{limit} {limit}"
    assert list(tmp_path.iterdir()) == []
