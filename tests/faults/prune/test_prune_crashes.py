"""Pruning, with a fault at each of its steps in turn: an error, or the death of the process.

Every call that a prune makes on a store or the catalog is numbered. A run is cut at number n,
before or after the call took effect, for every n; what is then in the stores is checked, and the
next prune must bring everything to where an undisturbed one would have brought it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from support.scene import LAST_ONE, NOW, PARTS, REF, Scene

from guardian.adapters.stores.local import LocalStore
from guardian.backup.manifest import MANIFEST_NAME, decode_manifest, encode_manifest
from guardian.errors import CatalogError, GuardianError, StoreError
from guardian.model import BackupId, RunStatus
from guardian.testing import MemoryCatalog

POLICY = replace(LAST_ONE, keep_last=2, keep_proven=1)


class KilledError(BaseException):
    """The process is dead: nothing it would have done from here on happens."""


class Wire:
    """Numbers the calls on all ports it stands in front of, and cuts one of them."""

    def __init__(self, at: int, error: Callable[[Any], BaseException], *, after: bool) -> None:
        self.calls = 0
        self._at = at
        self._error = error
        self._after = after
        self.dead = False
        self.raised: BaseException | None = None

    def __call__(self, port: Any) -> Any:
        return _Wired(port, self)

    def call(self, port: Any, name: str, deed: Callable[[], Any]) -> Any:
        if self.dead:
            raise KilledError
        self.calls += 1
        if self.calls != self._at:
            return deed()
        self.raised = error = self._error(port)
        self.dead = isinstance(error, KilledError)
        if self._after:
            deed()
        raise error


class _Wired:
    def __init__(self, port: Any, wire: Wire) -> None:
        self._port = port
        self._wire = wire

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._port, name)
        if not callable(found):
            return found
        if name == "list":
            found = lambda prefix: iter(list(self._port.list(prefix)))  # noqa: E731
        return lambda *args, **named: self._wire.call(
            self._port, name, lambda: found(*args, **named)
        )


def fail(port: Any) -> GuardianError:
    if isinstance(port, MemoryCatalog):
        return CatalogError("catalog: away")
    return StoreError(f"store {port.name}: away")


def kill(_port: Any) -> KilledError:
    return KilledError()


def a_scene() -> tuple[Scene, BackupId]:
    """Two stores that differ, something of every kind in them; and the newest proven backup."""
    scene = Scene()
    nights = scene.nights(4)
    scene.back_up(NOW - timedelta(days=7), ["local"])
    proven = scene.back_up(NOW - timedelta(days=8))
    scene.drill(proven)
    old = scene.back_up(NOW - timedelta(days=9), ["offsite"])
    scene.catalog.pin(nights[3], NOW, "me")
    scene.catalog.forget_copy(nights[0], "offsite", NOW)
    half = scene.begin(NOW - timedelta(days=6))
    for name in PARTS[:2]:
        scene.plant("local", half, name, at=NOW - timedelta(days=6))
    scene.fail(half, NOW - timedelta(days=6), RunStatus.INTERRUPTED)
    scene.stores["offsite"].delete(
        next(key for key in scene.stores["offsite"].contents() if old in key and "globals" in key)
    )
    return scene, proven


def state(scene: Scene) -> tuple[Any, ...]:
    return (
        [sorted(store.contents()) for store in scene.stores.values()],
        {one.id: sorted(one.stores) for one in scene.catalog.backups()},
    )


def damaged(contents: dict[str, bytes]) -> set[str]:
    """Manifests some of whose parts are not there in full."""
    found = set()
    for key, data in contents.items():
        if key.endswith("/" + MANIFEST_NAME):
            folder = key.removesuffix(MANIFEST_NAME)
            for part in decode_manifest(data).parts:
                if len(contents.get(folder + part.name, b"")) != part.stored_bytes:
                    found.add(key)
    return found


def check(scene: Scene, before: set[str], proven: BackupId) -> None:
    """What must hold at every instant."""
    for name, store in scene.stores.items():
        contents = store.contents()
        assert damaged(contents) <= before, "a manifest lost its parts"
        manifests = {key.split("/")[2] for key in contents if key.endswith(MANIFEST_NAME)}
        assert proven in manifests, f"the newest proven backup is gone from {name}"
        assert len(manifests) >= 4, name
        for record in scene.catalog.backups():
            if record.id not in manifests and name in record.stores:
                assert any(record.id in key for key in contents), "promised, and nothing is left"


def steps() -> int:
    scene, _ = a_scene()
    wire = Wire(0, kill, after=False)
    scene.pruner(wire).prune(REF, POLICY)
    return wire.calls


STEPS = steps()


def expected() -> tuple[Any, ...]:
    scene, _ = a_scene()
    scene.prune(POLICY)
    return state(scene)


def test_there_are_steps_to_cut():
    scene, proven = a_scene()
    before = {key for store in scene.stores.values() for key in damaged(store.contents())}
    assert STEPS > 60
    assert len(before) == 1
    result = scene.prune(POLICY)
    check(scene, before, proven)
    assert [one.deleted for one in result.backups] == [False, False, True, False, True, False, True]
    assert result.swept == 2


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("step", range(1, STEPS + 1))
def test_killed_at_any_step_the_next_prune_finishes(step: int, after: bool):
    scene, proven = a_scene()
    before = {key for store in scene.stores.values() for key in damaged(store.contents())}
    with pytest.raises(KilledError):
        scene.pruner(Wire(step, kill, after=after), pid=1).prune(REF, POLICY)
    check(scene, before, proven)
    scene.dead.add(1)
    scene.pruner(pid=2).prune(REF, POLICY)
    assert state(scene) == expected()
    assert not scene.catalog.leases()


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("step", range(1, STEPS + 1))
def test_an_error_at_any_step_is_told_and_the_next_prune_finishes(step: int, after: bool):
    scene, proven = a_scene()
    before = {key for store in scene.stores.values() for key in damaged(store.contents())}
    wire = Wire(step, fail, after=after)
    try:
        result = scene.pruner(wire).prune(REF, POLICY)
    except CatalogError:
        pass
    else:
        told = str(result.problems)
        assert str(wire.raised) in told or not isinstance(wire.raised, StoreError)
    check(scene, before, proven)
    for lease in scene.catalog.leases():
        scene.catalog.release(lease)
    scene.prune(POLICY)
    assert state(scene) == expected()


@pytest.mark.parametrize("step", range(1, 12))
def test_a_local_store_that_cannot_delete_at_any_position(
    tmp_path: Path, step: int, monkeypatch: pytest.MonkeyPatch
):
    """The same with real files: the n-th deletion fails, the next prune finishes."""
    scene = Scene("local")
    nights = scene.nights(4)
    root = tmp_path / "store"
    root.mkdir()
    fill(root, scene.stores["local"].contents())
    store = LocalStore("local", root)
    scene.stores["local"] = store  # type: ignore[assignment]
    remaining = iter(range(1, 100))
    original = LocalStore.delete

    def delete(self: LocalStore, key: str) -> None:
        if next(remaining) == step:
            raise StoreError("store local: Input/output error")
        original(self, key)

    with monkeypatch.context() as patched:
        patched.setattr(LocalStore, "delete", delete)
        assert scene.prune(LAST_ONE).failed
    assert not damaged(contents(root))
    assert not scene.prune(LAST_ONE).failed
    left = contents(root)
    assert {key.split("/")[2] for key in left} == {nights[0]}
    assert len(left) == len(PARTS) + 1


def fill(root: Path, objects: dict[str, bytes]) -> None:
    """Write objects as a store would have, each at the end of its run."""
    ends: dict[str, datetime] = {}
    for key, data in objects.items():
        if key.endswith(MANIFEST_NAME):
            ends[key.rsplit("/", 1)[0]] = decode_manifest(data).finished_at
            assert encode_manifest(decode_manifest(data)) == data
    for key, data in objects.items():
        path = root / key
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        path.write_bytes(data)
        path.chmod(0o600)
        end = ends[key.rsplit("/", 1)[0]].timestamp()
        os.utime(path, (end, end))


def contents(root: Path) -> dict[str, bytes]:
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in files(root)}


def files(root: Path) -> Iterator[Path]:
    return (path for path in root.rglob("*") if path.is_file() and not path.name.startswith("."))
