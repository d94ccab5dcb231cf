"""What a local store does on a real file system beyond the common contract."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from support.stores import foreign_files

from guardian.adapters.stores import folders
from guardian.adapters.stores.local import LocalStore
from guardian.errors import Cause, DiskFullError, StoreError, StoreExistsError, StoreNotFoundError


def put(store: LocalStore, key: str, data: bytes = b"x", *, exclusive: bool = False) -> None:
    with store.open_writer(key, exclusive=exclusive) as writer:
        writer.write(data)
        writer.commit()


def soon() -> datetime:
    return datetime.now(UTC) + timedelta(hours=1)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "store").mkdir()
    return tmp_path / "store"


@pytest.fixture
def store(root: Path) -> LocalStore:
    return LocalStore("disk", root)


def test_a_system_that_takes_no_advice_about_its_page_cache(
    store: LocalStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(os, "posix_fadvise")  # as on macOS
    put(store, "a/b", b"whole")
    with store.open_reader("a/b") as reader:
        assert reader.read() == b"whole"


def test_nobody_else_may_read_what_is_written(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        put(LocalStore("disk", tmp_path / "made" / "root"), "main/mina/part")
    finally:
        os.umask(before)
    made = [tmp_path / "made", *(tmp_path / "made").rglob("*")]
    assert {path.name: path.stat().st_mode & 0o777 for path in made} == {
        **dict.fromkeys(["made", "root", "main", "mina"], 0o700),
        "part": 0o600,
    }


def test_a_missing_root_is_an_error_and_never_an_empty_store(tmp_path: Path) -> None:
    store = LocalStore("disk", tmp_path / "unmounted")
    steps: list[Any] = [
        lambda: list(store.list()),
        lambda: store.stat("a"),
        lambda: store.delete("a"),
        lambda: store.open_reader("a").__enter__(),
    ]
    for step in steps:
        with pytest.raises(StoreError, match=r"there is no folder .*unmounted; mount") as caught:
            step()
        assert type(caught.value) is StoreError
    assert store.sweep("", soon()) == 0
    assert (store.free_bytes() or 0) > 0
    assert not (tmp_path / "unmounted").exists()

    put(store, "a")
    assert [found.key for found in store.list()] == ["a"]


def test_a_root_that_is_a_file_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="there is no folder"):
        put(LocalStore("disk", tmp_path / "file"), "a")


def test_the_root_itself_may_be_a_link(tmp_path: Path, root: Path) -> None:
    (tmp_path / "link").symlink_to(root)
    put(LocalStore("disk", tmp_path / "link"), "a/b")
    assert (root / "a/b").read_bytes() == b"x"


def test_no_link_below_the_root_is_followed(tmp_path: Path, root: Path, store: LocalStore) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "file").write_text("precious")
    (root / "folder").symlink_to(outside)
    (root / "object").symlink_to(outside / "file")
    steps: list[Any] = [
        lambda: put(store, "folder/file"),
        lambda: put(store, "folder/new/file"),
        lambda: store.open_reader("folder/file").__enter__(),
        lambda: store.stat("folder/file"),
        lambda: store.delete("folder/file"),
        lambda: list(store.list()),
        lambda: list(store.list("folder/")),
        lambda: put(store, "object"),
    ]
    for step in steps:
        with pytest.raises(StoreError, match="is a symbolic link, which guardian never follows"):
            step()
    with pytest.raises(StoreError, match="cannot read object"):
        store.open_reader("object").__enter__()
    assert store.stat("object") is None
    assert list(store.list("o")) == []
    assert (outside / "file").read_text() == "precious"
    assert list(outside.iterdir()) == [outside / "file"]
    assert foreign_files(root) == 0


def test_a_file_where_a_folder_must_be_is_told(store: LocalStore) -> None:
    put(store, "a")
    with pytest.raises(StoreError, match=r"cannot write a/b in .*: not a directory"):
        put(store, "a/b")
    put(store, "c/d")
    with pytest.raises(StoreError, match=r"cannot finish c in .*: is a directory"):
        put(store, "c")
    assert [found.key for found in store.list()] == ["a", "c/d"]


def test_what_is_no_object_is_not_listed_and_not_opened(root: Path, store: LocalStore) -> None:
    os.mkfifo(root / "pipe")
    (root / os.fsdecode(b"not-utf8-\xff")).write_text("")
    (root / "umlaut-\u00e9").write_text("")
    (root / "foreign.txt").write_text("")
    assert [found.key for found in store.list()] == ["foreign.txt"]
    assert store.stat("pipe") is None
    with pytest.raises(StoreNotFoundError):
        store.open_reader("pipe").__enter__()


def test_an_object_that_is_cut_while_it_is_read_raises(root: Path, store: LocalStore) -> None:
    put(store, "a", b"x" * 1000)
    with store.open_reader("a") as reader:
        assert reader.read(100) == b"x" * 100
        os.truncate(root / "a", 500)
        assert reader.read(1000) == b"x" * 400
        with pytest.raises(StoreError, match="a ended after 500 of 1000 bytes"):
            reader.read(1000)


def test_what_cannot_fit_is_refused_before_anything_is_written(root: Path) -> None:
    free = LocalStore("disk", root).free_bytes()
    assert free is not None
    with pytest.raises(DiskFullError, match=r"disk: .* free, and about .* are to be written"):
        LocalStore("disk", root).open_writer("a/b", expected_bytes=free * 2)
    with pytest.raises(DiskFullError) as caught:
        LocalStore("disk", root, min_free=free * 2).open_writer("a/b", expected_bytes=1)
    assert caught.value.cause is Cause.DISK_FULL
    assert list(root.iterdir()) == []


def test_content_is_on_disk_before_its_name_and_the_name_before_success(
    root: Path, store: LocalStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[str] = []
    fsync, replace = os.fsync, os.replace

    def note_fsync(descriptor: int) -> None:
        steps.append(f"fsync {Path(f'/proc/self/fd/{descriptor}').readlink().name}")
        fsync(descriptor)

    def note_replace(source: str, target: str, **where: int) -> None:
        steps.append("replace")
        replace(source, target, **where)

    monkeypatch.setattr(os, "fsync", note_fsync)
    monkeypatch.setattr(os, "replace", note_replace)
    put(store, "main/mina/part")

    content, renamed, *rest = steps
    assert content.startswith("fsync .part.")
    assert renamed == "replace"
    assert rest == ["fsync mina", "fsync store", "fsync main"]


@pytest.mark.parametrize("exclusive", [False, True])
def test_a_name_that_cannot_be_made_durable_is_taken_back(
    store: LocalStore, root: Path, monkeypatch: pytest.MonkeyPatch, exclusive: bool
) -> None:
    def fail(_descriptor: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as broken:
        broken.setattr(folders, "sync_folder", fail)
        with pytest.raises(StoreError, match=r"cannot finish a/b in .*: input/output error; check"):
            put(store, "a/b", exclusive=exclusive)

    assert list(store.list()) == []
    assert list(root.iterdir()) == []


@pytest.mark.parametrize("refusal", [errno.EPERM, errno.ENOTSUP])
def test_exclusive_works_where_there_are_no_hard_links(
    store: LocalStore, root: Path, monkeypatch: pytest.MonkeyPatch, refusal: int
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(refusal, os.strerror(refusal))

    monkeypatch.setattr(os, "link", refuse)
    put(store, "a", b"first", exclusive=True)
    with pytest.raises(StoreExistsError):
        put(store, "a", b"second", exclusive=True)
    assert (root / "a").read_bytes() == b"first"
    assert foreign_files(root) == 0


def test_writers_survive_deletions_that_empty_their_folders(store: LocalStore, root: Path) -> None:
    errors: list[BaseException] = []

    def churn(name: str) -> None:
        try:
            for _ in range(150):
                put(store, f"a/b/c/{name}")
                store.delete(f"a/b/c/{name}")
        except BaseException as error:  # noqa: BLE001 - looked at below
            errors.append(error)

    threads = [threading.Thread(target=churn, args=(f"{number}",)) for number in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert list(root.iterdir()) == []


_WRITE_AND_WAIT = """
import sys
from guardian.adapters.stores.local import LocalStore
with LocalStore("other", sys.argv[1]).open_writer("main/live") as writer:
    writer.write(b"half")
    print("ready", flush=True)
    sys.stdin.read()
    writer.commit()
"""


def test_sweeping_spares_writers_of_other_processes(store: LocalStore, root: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", _WRITE_AND_WAIT, str(root)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"ready\n"
        assert store.sweep("", soon()) == 0
        other.communicate(b"")
    assert other.returncode == 0
    assert [found.key for found in store.list()] == ["main/live"]
