"""Faults that are no point of ours: a disk with so much room, a wire that is cut after n bytes.

They are real. The disk is a small tmpfs of which all but so many pages are taken; the wire leads
through a proxy, also for pg_dump and pg_restore, and is cut by it: the server is away from then on,
to the end of that run.
"""

from __future__ import annotations

import os
import subprocess
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from support.proxy import BreakableProxy
from support.sweeping.points import Fault

PAGE = 4096
_DISK = 96 << 20
_PLENTY = 1 << 40


class Hazard(Protocol):
    """Something that is armed for the length of one run."""

    fault: str

    def measure(self) -> AbstractContextManager[None]:
        """Around one undisturbed run, for :attr:`amounts`."""

    @property
    def amounts(self) -> list[tuple[str, int]]:
        """What can be given out, of which kind: a point for each unit of it."""

    def arm(self, kind: str, amount: int) -> None:
        """From now on only so much."""

    def disarm(self) -> bool:
        """As before; whether it was all used up."""


@dataclass
class FullDisk:
    """A disk that has room for so many pages more."""

    root: Path
    fault = Fault.FULL
    _used: int = 0

    @property
    def _ballast(self) -> Path:
        return self.root / "ballast"

    def _free(self) -> int:
        found = os.statvfs(self.root)
        return found.f_bavail * found.f_frsize // PAGE

    @contextmanager
    def measure(self) -> Iterator[None]:
        """What is used at most, for files come and go."""
        before, ended = self._free(), threading.Event()
        lowest = [before]

        def look() -> None:
            while not ended.wait(0.002):
                lowest.append(self._free())

        looking = threading.Thread(target=look)
        looking.start()
        try:
            yield
        finally:
            ended.set()
            looking.join()
        self._used = before - min(lowest)

    @property
    def amounts(self) -> list[tuple[str, int]]:
        return [("pages of room", pages) for pages in range(max(1, self._used))]

    def arm(self, kind: str, amount: int) -> None:
        del kind
        size = (self._free() - amount) * PAGE
        descriptor = os.open(self._ballast, os.O_WRONLY | os.O_CREAT, 0o600)
        try:
            os.posix_fallocate(descriptor, 0, size)
        finally:
            os.close(descriptor)

    def disarm(self) -> bool:
        with suppress(FileNotFoundError):
            self._ballast.unlink()
        return True


@contextmanager
def small_disk(folder: Path) -> Iterator[Path]:
    """A tmpfs of its own, for root alone to mount."""
    folder.mkdir(mode=0o711)
    options = f"size={_DISK},mode=0711"
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "none", str(folder)], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


@dataclass
class CutWire:
    """A connection that is cut after so many bytes from (``down``) or to (``up``) the server."""

    proxy: BreakableProxy
    steps: int = 40
    fault = Fault.CUT
    _passed: dict[str, int] = field(default_factory=dict)

    @contextmanager
    def measure(self) -> Iterator[None]:
        before = dict(self.proxy.passed)
        yield
        self._passed = {name: self.proxy.passed[name] - count for name, count in before.items()}

    @property
    def amounts(self) -> list[tuple[str, int]]:
        return [
            (f"bytes {direction} the wire", total * step // self.steps)
            for direction, total in self._passed.items()
            for step in range(self.steps)
        ]

    def arm(self, kind: str, amount: int) -> None:
        self.proxy.cut_after(amount, direction=kind.split()[1])

    def disarm(self) -> bool:
        struck = self.proxy.was_cut.is_set()
        self.proxy.mend()
        return struck
