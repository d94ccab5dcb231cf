"""A disk made slower for a while: this machine's may write faster than those that people rent."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_LIMIT = Path("/sys/fs/cgroup/blkio/blkio.throttle.write_bps_device")
"""The root group's, so that it counts for what the kernel writes back later, too."""


@contextmanager
def write_rate(folder: Path, mebibytes: int | None) -> Iterator[None]:
    """Let the disk below ``folder`` write so many MiB a second at most; None leaves it alone.

    Raises:
        SystemExit: it cannot be limited here.
    """
    if mebibytes is None:
        yield
        return
    device = _disk_of(folder)
    try:
        _LIMIT.write_text(f"{device} {mebibytes << 20}")
    except OSError as error:
        raise SystemExit(
            f"the disk of {folder} cannot be limited: {error.strerror}: {_LIMIT} (needs root, and "
            "the blkio controller of cgroups v1)"
        ) from error
    try:
        yield
    finally:
        _LIMIT.write_text(f"{device} 0")


def _disk_of(folder: Path) -> str:
    """The number of the whole disk, as major:minor, of which a partition may be mounted."""
    number = folder.stat().st_dev
    place = Path(f"/sys/dev/block/{os.major(number)}:{os.minor(number)}")
    if (place / "partition").exists():
        place = place.resolve().parent
    try:
        return (place / "dev").read_text().strip()
    except OSError as error:
        raise SystemExit(f"{folder} does not lie on a disk") from error
