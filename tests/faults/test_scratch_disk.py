"""A disk that fills up while a throw-away server is made: told as such, by every step of it."""

from __future__ import annotations

import contextlib
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from guardian.adapters.scratch.embedded import EmbeddedServer
from guardian.adapters.scratch.template import Templates
from guardian.errors import Cause, DiskFullError, ScratchError

BINDIR = Path("/usr/lib/postgresql/15/bin")
FILES = 5
"""The root, a server's folder, its marker, data and socket: there is no room for one file more."""


@pytest.fixture
def disk() -> Iterator[Path]:
    """Its name is short enough for the socket to lie there, too."""
    folder = Path(tempfile.mkdtemp(prefix="d-", dir="/tmp"))
    options = f"size=1m,nr_inodes={FILES},mode=0755"
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "none", str(folder)], check=True)
    yield folder
    subprocess.run(["umount", str(folder)], check=True)
    folder.rmdir()


@pytest.mark.needs_root
def test_no_room_for_the_settings(disk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def initdb(server: EmbeddedServer) -> None:
        config = server.data_dir / "postgresql.conf"
        with config.open("wb", buffering=0) as file, contextlib.suppress(OSError):
            server.runner.own(config)
            while True:
                file.write(bytes(4096))

    room = f"remount,nr_inodes={FILES + 1}"
    subprocess.run(["mount", "-o", room, str(disk)], check=True)
    monkeypatch.setattr(EmbeddedServer, "_initdb", initdb)
    server = EmbeddedServer(BINDIR, directory=disk)
    with pytest.raises(DiskFullError, match="no space left on device: its files") as told:
        server.create()
    assert told.value.cause is Cause.DISK_FULL
    assert "scratch_dir" in str(told.value.mend)
    server.destroy()
    assert list(disk.iterdir()) == []


@pytest.mark.needs_root
def test_no_room_for_the_log(disk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(EmbeddedServer, "_initdb", lambda _: None)
    monkeypatch.setattr(EmbeddedServer, "_write_settings", lambda _: None)
    with pytest.raises(DiskFullError, match=r"server\.log"), EmbeddedServer(BINDIR, directory=disk):
        pytest.fail("it cannot have started")
    assert list(disk.iterdir()) == []


def test_a_disk_that_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise OSError(5, "Input/output error", "x/base")

    monkeypatch.setattr(Templates, "fill", fail)
    tmp_path.chmod(0o755)
    server = EmbeddedServer(BINDIR, templates=tmp_path / "templates")
    with pytest.raises(ScratchError, match="input/output error: x/base"):
        server.create()
    server.destroy()
