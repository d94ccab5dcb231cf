"""A local store on disks that are full, read-only or not ours. Before and after are compared."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from support.stores import die_writing, foreign_files

from guardian.adapters.stores.local import LocalStore
from guardian.errors import Cause, DiskFullError, StoreError

MIB = 1024 * 1024


def put(store: LocalStore, key: str, data: bytes) -> None:
    with store.open_writer(key) as writer:
        for start in range(0, len(data), 65536):
            writer.write(data[start : start + 65536])
        writer.commit()


def contents(root: Path) -> dict[str, bytes | None]:
    return {
        str(path.relative_to(root)): path.read_bytes() if path.is_file() else None
        for path in root.rglob("*")
    }


@contextlib.contextmanager
def mounted(folder: Path, options: str) -> Iterator[Path]:
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "none", str(folder)], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


@pytest.mark.needs_root
def test_a_full_disk_is_told_and_leaves_nothing(tmp_path: Path) -> None:
    with mounted(tmp_path / "small", "size=2m") as root:
        store = LocalStore("disk", root)
        put(store, "main/older/part", b"o" * MIB)
        before = contents(root)

        with pytest.raises(DiskFullError, match="disk: cannot write main/newer/part in") as caught:
            put(store, "main/newer/part", b"n" * 2 * MIB)

        assert caught.value.cause is Cause.DISK_FULL
        assert caught.value.mend is not None
        assert "make room" in caught.value.mend
        assert contents(root) == before
        put(store, "main/newer/part", b"n" * (MIB // 2))


@pytest.mark.needs_root
def test_a_disk_that_cannot_even_make_a_folder_leaves_nothing(tmp_path: Path) -> None:
    with mounted(tmp_path / "small", "size=1m,nr_inodes=4") as root:
        store = LocalStore("disk", root)
        put(store, "a", b"x")
        with pytest.raises(DiskFullError):
            put(store, "b/c/d/e", b"x")
        assert contents(root) == {"a": b"x"}


@pytest.mark.needs_root
def test_a_read_only_disk_is_told(tmp_path: Path) -> None:
    with mounted(tmp_path / "frozen", "size=1m") as root:
        store = LocalStore("disk", root)
        put(store, "a", b"x")
        subprocess.run(["mount", "-o", "remount,ro", str(root)], check=True)
        for step in (lambda: put(store, "b/c", b"x"), lambda: store.delete("a"), store.check):
            with pytest.raises(StoreError, match="read-only file system; mount it writable") as e:
                step()
            assert e.value.cause is Cause.STORE
        assert contents(root) == {"a": b"x"}


_LIMITED = """
import resource, sys
from guardian.adapters.stores.local import LocalStore
from guardian.errors import DiskFullError
store = LocalStore("disk", sys.argv[1])
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
try:
    with store.open_writer("main/newer/part") as writer:
        for _ in range(4):
            writer.write(b"n" * 65536)
        writer.commit()
except DiskFullError as error:
    sys.exit(str(error))
"""


def test_a_limit_on_file_sizes_counts_as_a_full_disk(tmp_path: Path) -> None:
    put(LocalStore("disk", tmp_path), "main/older/part", b"o")
    before = contents(tmp_path)
    done = subprocess.run(
        [sys.executable, "-c", _LIMITED, str(tmp_path)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert "disk: cannot write main/newer/part" in done.stderr
    assert "file too large; make room" in done.stderr
    assert contents(tmp_path) == before


_AS_NOBODY = """
import sys
from guardian.adapters.stores.local import LocalStore
from guardian.errors import StoreError
store = LocalStore("disk", sys.argv[1])
def put():
    with store.open_writer("a/b") as writer:
        writer.commit()
for step in (put, lambda: list(store.list()), lambda: store.delete("kept"), store.check):
    try:
        step()
    except StoreError as error:
        print(error.cause, error)
    else:
        print("done")
"""


def as_nobody(program: str, *arguments: str) -> list[str]:
    """Run as a user who may do nothing, with the modules that are already readable to all."""
    source = Path(__file__).parents[3]
    step_down = (
        "import os, sys, guardian.adapters.stores.local, encodings.idna;"
        "os.setgroups([]); os.setgid(65534); os.setuid(65534);"
        "exec(sys.argv.pop(1))"
    )
    done = subprocess.run(
        [sys.executable, "-c", step_down, program, *arguments],
        capture_output=True,
        text=True,
        check=True,
        cwd=source,
    )
    return done.stdout.splitlines()


@pytest.fixture
def reachable() -> Iterator[Path]:
    """A folder that every user can get to; pytest's own are private."""
    with tempfile.TemporaryDirectory() as made:
        Path(made).chmod(0o755)
        yield Path(made)


@pytest.mark.needs_root
def test_a_folder_of_somebody_else_is_told_with_what_to_give(reachable: Path) -> None:
    root = reachable / "store"
    put(LocalStore("disk", root), "kept", b"x")
    root.chmod(0o755)

    write, listing, delete, check = as_nobody(_AS_NOBODY, str(root))
    wanted = f"in {root}: permission denied; give user id 65534 read and write access to it"
    assert write == f"store store disk: cannot write a/b {wanted}"
    assert listing == "done"
    assert delete == f"store store disk: cannot delete kept {wanted}"
    assert "permission denied" in check

    root.chmod(0o700)
    write, listing, delete, check = as_nobody(_AS_NOBODY, str(root))
    assert listing == f"store store disk: cannot list everything {wanted}"
    assert "permission denied" in write
    assert "permission denied" in delete
    assert (root / "kept").read_bytes() == b"x"


@pytest.mark.needs_root
def test_a_folder_that_cannot_be_read_makes_the_listing_fail(reachable: Path) -> None:
    root = reachable / "store"
    store = LocalStore("disk", root)
    put(store, "a/1", b"x")
    put(store, "b/2", b"x")
    for folder in (root, root / "a"):
        folder.chmod(0o755)

    _, listing, _, _ = as_nobody(_AS_NOBODY, str(root))
    assert "cannot list everything" in listing
    assert "permission denied" in listing


def test_after_kill_9_nothing_is_visible_and_the_sweep_cleans_up(tmp_path: Path) -> None:
    store = LocalStore("disk", tmp_path)
    put(store, "main/mina/older", b"o")
    before = contents(tmp_path)

    die_writing(tmp_path, "main/mina/newer/part")

    assert foreign_files(tmp_path) == 1
    assert [found.key for found in store.list()] == ["main/mina/older"]
    assert store.stat("main/mina/newer/part") is None
    put(store, "main/mina/newer/part", b"n")
    store.delete("main/mina/newer/part")
    assert store.sweep("main/", datetime.now(UTC) + timedelta(seconds=5)) == 1
    assert contents(tmp_path) == before
