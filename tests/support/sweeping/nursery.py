"""Real processes of ``guardian``, forked from one that has everything imported.

A start of the command line takes a second, most of which is imports; a sweep starts thousands. So
a parent imports once, and each order is a fork of it that runs ``guardian.cli.main.main`` with its
points watched (:mod:`support.sweeping.points`), dies where it is told to, or comes to its end.
"""

from __future__ import annotations

import json
import os
import pkgutil
import select
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any

from support.sweeping.points import Label, Points, Strike

PATIENCE = 180.0
"""Seconds after which a command counts as hanging."""
WORK = 25.0
"""Seconds that a daemon has for what it is to do before it is told to end."""


@dataclass(frozen=True)
class Life:
    """How one command went. ``points`` is what a life that came to its end has passed."""

    status: int
    out: str
    err: str
    points: dict[Label, int] = field(default_factory=dict)
    faults: dict[Label, tuple[str, ...]] = field(default_factory=dict)
    struck: bool = False
    hung: bool = False
    seconds: float = 0.0

    @property
    def killed(self) -> bool:
        return self.status == -signal.SIGKILL

    @property
    def json(self) -> Any:
        return json.loads(self.out)


class Nursery:
    """The process that forks; one order at a time."""

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="nursery-")
        tests = Path(__file__).parents[2]
        environment = {**os.environ, "PYTHONPATH": f"{tests}:{tests.parent}", "NO_COLOR": "1"}
        self._process = subprocess.Popen(
            [sys.executable, "-c", "from support.sweeping.nursery import serve; serve()"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )

    def run(
        self,
        words: Sequence[str],
        *,
        root: Path,
        environ: Mapping[str, str],
        strike: tuple[Label, int, str] | None = None,
        watched: bool = True,
        done: Callable[[], bool] | None = None,
        work: float = WORK,
    ) -> Life:
        """Run a command to its end, or to its death.

        One that does not end by itself is told to by SIGTERM, as soon as it has ``done`` its work,
        or has had the time for it.
        """
        folder = Path(self._folder.name)  # not below root, whose disk may be full
        for left in folder.iterdir():
            left.unlink()
        order: dict[str, Any] = {
            "words": list(words),
            "root": str(root),
            "environ": dict(environ),
            "folder": str(folder),
            "strike": None,
            "watched": watched,
        }
        if strike is not None:
            order["strike"] = asdict(Strike(*strike, note=str(folder / "struck")))
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        if done is not None:
            self._end_when(done, folder / "pid", time.monotonic() + work)
        answer = self._process.stdout.readline()
        assert answer, "the nursery is gone"
        ended = json.loads(answer)
        report = folder / "points"
        seen = json.loads(report.read_text()) if report.exists() else {"points": {}, "faults": {}}
        return Life(
            status=ended["status"],
            out=(folder / "out").read_text(),
            err=(folder / "err").read_text(),
            points=seen["points"],
            faults={label: tuple(faults) for label, faults in seen["faults"].items()},
            struck=(folder / "struck").exists(),
            hung=ended["hung"],
            seconds=ended["seconds"],
        )

    def _end_when(self, done: Callable[[], bool], pid: Path, until: float) -> None:
        answers = self._process.stdout
        assert answers is not None
        while not select.select([answers], [], [], 0.1)[0]:
            if pid.exists() and (done() or time.monotonic() > until):
                os.kill(int(pid.read_text()), signal.SIGTERM)
                return

    def close(self) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(120)  # a busy host takes long to end a large process
        self._process.stdout.close()
        self._folder.cleanup()


# --- over there ---------------------------------------------------------------------------------


def serve() -> None:
    """Fork a child for each line of orders, and tell how it ended."""
    _import_everything()
    for line in sys.stdin:
        order = json.loads(line)
        began = time.monotonic()
        child = os.fork()
        if child == 0:
            _live(order)
        status, hung = _wait(child, began + PATIENCE)
        answer = {"status": status, "hung": hung, "seconds": time.monotonic() - began}
        print(json.dumps(answer), flush=True)


def _import_everything() -> None:
    import guardian

    for found in pkgutil.walk_packages(guardian.__path__, "guardian."):
        if ".migrations" not in found.name and not found.name.endswith("__main__"):
            import_module(found.name)
    import alembic.command  # noqa: F401 - lazy in guardian
    import apprise  # noqa: F401
    import boto3  # noqa: F401


def _wait(child: int, until: float) -> tuple[int, bool]:
    pause, hung = 0.002, False
    while True:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status), hung
        if time.monotonic() > until and not hung:
            hung = True
            os.kill(child, signal.SIGKILL)
        time.sleep(pause)
        pause = min(0.02, pause * 1.5)


def _live(order: dict[str, Any]) -> None:
    """Be one command; never returns."""
    from guardian.cli.main import main

    folder = Path(order["folder"])
    for number, name in ((1, "out"), (2, "err")):
        descriptor = os.open(folder / name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        os.dup2(descriptor, number)
        os.close(descriptor)
    making = folder / "pid.making"
    making.write_text(str(os.getpid()))
    making.rename(folder / "pid")
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.environ.update(order["environ"])
    tempfile.tempdir = None
    strike = None if order["strike"] is None else Strike(**order["strike"])
    points = Points(Path(order["root"]), strike)
    if order["watched"]:
        points.install()
    code: object = 1
    try:
        main(order["words"])
        code = 0
    except SystemExit as ended:
        code = ended.code
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        seen = {"points": dict(points.seen), "faults": points.faults}
        points._quietly(lambda: (folder / "points").write_text(json.dumps(seen)))
        os._exit(code if isinstance(code, int) else int(code is not None))


__all__ = ["Life", "Nursery", "serve"]
