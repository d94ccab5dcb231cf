"""What a command does behind its back: which files it writes, and how much memory it holds.

Files are looked for where they cannot hide: every open file descriptor of the command and of all
its children, many times a second. Each file that is open for writing is opened by us, too, and so
is still there to be read after it was unlinked. What lives shorter than a look may be missed.
"""

from __future__ import annotations

import contextlib
import os
import resource
import stat
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

_BETWEEN_LOOKS = 0.01
_LOOKS_A_WEIGHING = 5
_PROC = Path("/proc")
_CLUSTER_MARK = "PG_VERSION"


def family(pid: int) -> Iterator[int]:
    """A process and all its living descendants."""
    yield pid
    for listed in _PROC.glob(f"{pid}/task/*/children"):
        with contextlib.suppress(OSError):
            for child in listed.read_text().split():
                yield from family(int(child))


def processor_seconds(pid: int) -> float:
    """What a process, its living descendants and all that they waited for have used."""
    ticks = 0
    for one in family(pid):
        with contextlib.suppress(OSError):
            fields = (_PROC / str(one) / "stat").read_text().rpartition(")")[2].split()
            ticks += sum(int(each) for each in fields[11:15])
    return ticks / os.sysconf("SC_CLK_TCK")


def memory_bytes(pid: int) -> int:
    """What a process and its descendants hold now; shared pages count once."""
    total = 0
    for one in family(pid):
        with contextlib.suppress(OSError):
            for line in (_PROC / str(one) / "smaps_rollup").read_text().splitlines():
                if line.startswith("Pss:"):
                    total += int(line.split()[1]) * 1024
    return total


@dataclass
class Onlooker:
    """Looks at a running command until it ends: ``with Onlooker(process) as seen: …``.

    ``files`` are descriptors of ours, by the path that each file had; they are closed at the end
    of the block. A PostgreSQL cluster's own files (a scratch server's) are left out.
    """

    process: subprocess.Popen[bytes]
    peak_bytes: int = 0
    files: dict[str, int] = field(default_factory=dict)
    _known: set[tuple[int, int]] = field(default_factory=set)
    _thread: threading.Thread | None = None
    _turn: threading.Lock = field(default_factory=threading.Lock)

    def __enter__(self) -> Self:
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, 1 << 16)), hard))
        self._thread = threading.Thread(target=self._look_on)
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.finish()
        for descriptor in self.files.values():
            os.close(descriptor)

    def finish(self) -> None:
        """Wait for the last look. The process must have ended."""
        assert self._thread is not None
        self._thread.join()

    def look_once(self, *, weigh: bool = True) -> None:
        """Look now, besides all the looks of its own."""
        with self._turn:
            for pid in family(self.process.pid):
                self._open_files_of(pid)
            if weigh:
                self.peak_bytes = max(self.peak_bytes, memory_bytes(self.process.pid))

    def _look_on(self) -> None:
        pause = threading.Event()
        looks = 0
        while _lives(self.process.pid):
            self.look_once(weigh=looks % _LOOKS_A_WEIGHING == 0)
            looks += 1
            pause.wait(_BETWEEN_LOOKS)

    def _open_files_of(self, pid: int) -> None:
        with contextlib.suppress(OSError):
            for descriptor in (_PROC / str(pid) / "fd").iterdir():
                with contextlib.suppress(OSError):
                    self._consider(pid, descriptor)

    def _consider(self, pid: int, descriptor: Path) -> None:
        about = descriptor.stat()
        key = (about.st_dev, about.st_ino)
        if not stat.S_ISREG(about.st_mode) or key in self._known:
            return
        path = str(descriptor.readlink())
        if (
            path.startswith("/memfd:")
            or not _may_write(pid, descriptor.name)
            or _is_of_cluster(path)
        ):
            return
        self.files[f"{path.removesuffix(' (deleted)')}#{about.st_ino}"] = os.open(
            descriptor, os.O_RDONLY
        )
        self._known.add(key)


def _lives(pid: int) -> bool:
    """Whether it runs; one that has ended and was not waited for does not."""
    try:
        return (_PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def _may_write(pid: int, number: str) -> bool:
    told = (_PROC / str(pid) / "fdinfo" / number).read_text()
    flags = next(line.split()[1] for line in told.splitlines() if line.startswith("flags:"))
    return int(flags, 8) & os.O_ACCMODE != os.O_RDONLY


def _is_of_cluster(path: str) -> bool:
    return any((folder / _CLUSTER_MARK).exists() for folder in Path(path).parents)
