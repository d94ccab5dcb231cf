"""Any sequence of calls leaves a store and a dictionary alike."""

from __future__ import annotations

import shutil
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from support.stores import foreign_files

from guardian.adapters.stores.local import LocalStore
from guardian.errors import StoreExistsError, StoreNotFoundError
from guardian.ports import Store
from guardian.testing import MemoryStore

# No key is a folder of another: on a file system that cannot be.
KEYS = st.sampled_from(
    ["a", "b/a", "b/a.x", "b/c/d", "b/c.d", "b/c/d2", "b0", "c d/%2F", "c/+/e", "c/+/f/g"]
)
PREFIXES = st.sampled_from(["", "a", "b", "b/", "b/c", "b/c/", "b/c/d", "c", "c/+/", "zz"])
CONTENT = st.binary(max_size=40)


class StoreAgainstModel(RuleBasedStateMachine):
    """``expected`` is what the store must hold."""

    def __init__(self) -> None:
        super().__init__()
        self.expected: dict[str, bytes] = {}
        self.store = self.make_store()

    def make_store(self) -> Store:
        return MemoryStore()

    @rule(key=KEYS, data=CONTENT, exclusive=st.booleans(), commit=st.booleans())
    def write(self, key: str, data: bytes, *, exclusive: bool, commit: bool) -> None:
        taken = exclusive and key in self.expected
        with self.store.open_writer(key, exclusive=exclusive) as writer:
            writer.write(data)
            if not commit:
                return
            try:
                stored = writer.commit()
            except StoreExistsError:
                assert taken
                return
        assert not taken
        assert stored.size == len(data)
        self.expected[key] = data

    @rule(key=KEYS)
    def delete(self, key: str) -> None:
        self.store.delete(key)
        self.expected.pop(key, None)

    @rule(key=KEYS)
    def read(self, key: str) -> None:
        try:
            with self.store.open_reader(key) as reader:
                assert reader.read() == self.expected[key]
        except StoreNotFoundError:
            assert key not in self.expected

    @rule(key=KEYS)
    def stat(self, key: str) -> None:
        found = self.store.stat(key)
        assert (found.size if found else None) == (
            len(self.expected[key]) if key in self.expected else None
        )

    @rule(prefix=PREFIXES)
    def list(self, prefix: str) -> None:
        found = [(each.key, each.size) for each in self.store.list(prefix)]
        wanted = {key: data for key, data in self.expected.items() if key.startswith(prefix)}
        assert found == [(key, len(wanted[key])) for key in sorted(wanted)]

    @rule(prefix=PREFIXES)
    def sweep(self, prefix: str) -> None:
        assert self.store.sweep(prefix, datetime.now(UTC) + timedelta(hours=1)) == 0


class LocalAgainstModel(StoreAgainstModel):
    """The same on a real folder, which must hold nothing else at any time."""

    def make_store(self) -> Store:
        self.root = Path(tempfile.mkdtemp())
        return LocalStore("local", self.root)

    @invariant()
    def nothing_else_lies_about(self) -> None:
        assert foreign_files(self.root) == 0

    def teardown(self) -> None:
        shutil.rmtree(self.root)


TestMemory = StoreAgainstModel.TestCase
TestLocal = LocalAgainstModel.TestCase
TestMemory.settings = settings(max_examples=100, stateful_step_count=30, deadline=None)
TestLocal.settings = settings(max_examples=40, stateful_step_count=30, deadline=None)
