"""Runs ways to do the same in turn, and measures each: time, processor, memory, files.

Each way runs once to be looked at (which warms what there is to warm, and is not timed), then so
many rounds by the clock, all of them once a round. A way that is not installed or that fails gets
a row that says so; the others go on.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.looking import Onlooker, processor_seconds
from bench.opening import shows
from bench.place import Place
from bench.results import Contest, Row
from bench.sample import CANARY

_MOST_WORDS = 160


def _nothing() -> None:
    """What most ways need before a run."""


def _no_findings() -> dict[str, Any]:
    return {}


@dataclass
class Contender:
    """One way.

    ``line`` is for bash, with pipefail. ``prepare`` brings about the state in which each run
    begins, and ``look_behind`` fills in fields of the row after the first one; neither is measured.
    """

    name: str
    line: str
    needs: Sequence[str] = ()
    ours: bool = False
    prepare: Callable[[], None] = _nothing
    look_behind: Callable[[], dict[str, Any]] = _no_findings


class FailedError(Exception):
    """A way did not do its work; the message is its last word."""


@dataclass
class _Tally:
    contender: Contender
    found: dict[str, Any] = field(default_factory=dict)
    seconds: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)
    server_cpu: list[float] = field(default_factory=list)
    failure: str = ""

    def row(self) -> Row:
        return Row(
            self.contender.name,
            self.contender.ours,
            tuple(self.seconds),
            tuple(self.cpu),
            tuple(self.server_cpu),
            failure=self.failure,
            **self.found,
        )


def hold(
    title: str,
    contenders: Sequence[Contender],
    *,
    place: Place,
    server_pid: int,
    rounds: int,
    tell: Callable[[str], None],
) -> Contest:
    """Let them run. ``server_pid`` is the PostgreSQL server whose processor time counts."""
    tallies = [_Tally(one) for one in contenders]
    for tally in tallies:
        missing = [name for name in tally.contender.needs if shutil.which(name) is None]
        if missing:
            tally.failure = f"not installed: {', '.join(missing)}"
            continue
        tell(f"{title}: {tally.contender.name}, looked at")
        _try(tally, lambda tally=tally: _look(tally, place))  # type: ignore[misc]
    for number in range(1, rounds + 1):
        for tally in tallies:
            if not tally.failure:
                tell(f"{title}: {tally.contender.name}, {number} of {rounds}")
                _try(tally, lambda tally=tally: _time(tally, place, server_pid))  # type: ignore[misc]
    return Contest(title, tuple(tally.row() for tally in tallies))


def _try(tally: _Tally, work: Callable[[], None]) -> None:
    try:
        tally.contender.prepare()
        work()
    except FailedError as error:
        tally.failure = str(error)
        tally.seconds, tally.cpu, tally.server_cpu = [], [], []


def _look(tally: _Tally, place: Place) -> None:
    log = place.root / "stderr"
    with log.open("wb") as errors:
        process = _start(tally.contender, errors.fileno())
        with Onlooker(process) as seen:
            seen.finish()
            _judge(process.wait(), log)
            bindir = place.sample.bindir
            shown = [name for name, one in seen.files.items() if shows(one, CANARY, bindir)]
    tally.found["peak_bytes"] = seen.peak_bytes
    tally.found["plaintext"] = _named(shown[0], place.root) if shown else ""
    tally.found.update(tally.contender.look_behind())


def _time(tally: _Tally, place: Place, server_pid: int) -> None:
    os.sync()  # what was written before must not slow down what comes now
    log = place.root / "stderr"
    with log.open("wb") as errors:
        before = processor_seconds(server_pid)
        began = time.monotonic()
        process = _start(tally.contender, errors.fileno())
        _, status, usage = os.wait4(process.pid, 0)
        took = time.monotonic() - began
    process.returncode = os.waitstatus_to_exitcode(status)
    _judge(process.returncode, log)
    tally.seconds.append(round(took, 3))
    tally.cpu.append(round(usage.ru_utime + usage.ru_stime, 3))
    tally.server_cpu.append(round(processor_seconds(server_pid) - before, 3))


def _start(contender: Contender, errors: int) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        ["bash", "-e", "-o", "pipefail", "-c", contender.line],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=errors,
    )


def _judge(status: int, log: Path) -> None:
    if status == 0:
        return
    raise FailedError(f"failed with {status}: {_why(log.read_text(errors='replace'))}")


def _why(told: str) -> str:
    """The lines that speak of an error, else the last one."""
    lines = [line.strip() for line in told.splitlines() if line.strip()]
    spoken = [line for line in lines if "error" in line.lower() or "fatal" in line.lower()]
    return " / ".join(spoken or lines[-1:] or ["no word of why"])[:_MOST_WORDS]


def _named(path: str, root: Path) -> str:
    """A file's name as it means something to people: beneath the folder of the benchmark."""
    name = path.rpartition("#")[0]
    with suppress(ValueError):
        name = str(Path(name).relative_to(root))
    return name


def bash(line: str) -> None:
    """Run what prepares a way.

    Raises:
        FailedError: it did not go well.
    """
    done = subprocess.run(
        ["bash", "-e", "-o", "pipefail", "-c", line], capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        raise FailedError(f"could not be prepared: {_why(done.stderr or done.stdout)}")


def size_of(folder: Path) -> int:
    """All that lies in a folder, in bytes."""
    return sum(one.stat().st_size for one in folder.rglob("*") if one.is_file())
