"""A store that signs what is written and judges what is read, over one in memory."""

from __future__ import annotations

from typing import Any

import pytest

from guardian.adapters.stores.signed import Demands, SignedStore, Standing
from guardian.errors import (
    EncryptionError,
    ForgedError,
    ManifestError,
    SignatureError,
    StoreError,
    StoreExistsError,
    UncheckedSignatureError,
    UnsignedError,
)
from guardian.testing import MemoryStore

FOLDER = "main/mina/20261123T020000Z-7f3a9c"
MANIFEST, PART = f"{FOLDER}/manifest.json", f"{FOLDER}/database.dump.zst.gpg"
KEPT, PROOF = f"{FOLDER}/kept.json", f"{FOLDER}/proof-20261124T030000.123456Z.json"


class Seal:
    """Signs with a word before the document; ``fails`` is raised instead."""

    def __init__(self) -> None:
        self.fails: Exception | None = None
        self.signs = True
        self.checked = 0

    def describe(self) -> str | None:
        return "seal"

    def check(self) -> None:
        return

    def get_ready(self) -> None:
        pass

    def sign(self, document: bytes) -> bytes | None:
        if self.fails is not None:
            raise self.fails
        return b"sealed " + document if self.signs else None

    def verify(self, document: bytes, signature: bytes) -> None:
        self.checked += 1
        if signature == b"elsewhere":
            raise UncheckedSignatureError("cannot be checked here", mend="import the key")
        if signature != b"sealed " + document:
            raise ForgedError("is forged")


class Scene:
    def __init__(self, *, required: bool = True) -> None:
        self.inner = MemoryStore("offsite")
        self.seal = Seal()
        self.vouched: set[bytes] = set()
        demands = Demands(required, lambda _key, document: document in self.vouched)
        self.store = SignedStore(self.inner, self.seal, demands)

    def put(self, key: str, data: bytes = b"{}", **options: Any) -> None:
        with self.store.open_writer(key, **options) as writer:
            writer.write(data[:1])
            writer.write(data[1:])
            writer.commit()

    def get(self, key: str) -> bytes:
        with self.store.open_reader(key) as reader:
            return reader.read()

    def names(self) -> set[str]:
        return {one.key.rpartition("/")[2] for one in self.inner.list()}


@pytest.fixture
def scene() -> Scene:
    return Scene()


@pytest.mark.parametrize("key", [MANIFEST, KEPT, PROOF])
def test_a_document_is_signed_and_read_back(scene: Scene, key: str) -> None:
    scene.put(key, b'{"a": 1}')
    assert scene.get(key) == b'{"a": 1}'
    assert scene.get(f"{key}.sig") == b'sealed {"a": 1}'
    assert scene.store.standing(key) is Standing.SIGNED


@pytest.mark.parametrize("key", [PART, f"{FOLDER}/RESTORE.txt", f"{MANIFEST}.orig", "manifest.js"])
def test_what_is_no_document_passes_through(scene: Scene, key: str) -> None:
    scene.put(key)
    assert scene.get(key) == b"{}"
    assert len(scene.names()) == 1
    assert scene.seal.checked == 0


def test_the_signature_is_there_before_the_document(scene: Scene) -> None:
    with scene.store.open_writer(MANIFEST) as writer:
        writer.write(b"{}")
        assert scene.names() == set()
        writer.commit()
    times = {one.key: one.modified_at for one in scene.inner.list()}
    assert times[f"{MANIFEST}.sig"] <= times[MANIFEST]


def test_what_cannot_be_signed_does_not_appear(scene: Scene) -> None:
    scene.seal.fails = EncryptionError("the signing key has expired")
    with pytest.raises(EncryptionError, match="expired"):
        scene.put(MANIFEST)
    assert scene.names() == set()
    scene.put(PART)


def test_a_document_whose_signature_could_not_be_written_does_not_appear(scene: Scene) -> None:
    with scene.store.open_writer(MANIFEST) as writer:
        writer.write(b"{}")
        scene.inner.faults.open_writer = StoreError("store offsite: the line broke")
        with pytest.raises(StoreError, match="the line broke"):
            writer.commit()
    assert scene.names() == set()


def test_an_exclusive_write_spoils_no_signature_that_is_there(scene: Scene) -> None:
    scene.put(MANIFEST, b"first")
    with pytest.raises(StoreExistsError):
        scene.put(MANIFEST, b"other", exclusive=True)
    assert scene.get(MANIFEST) == b"first"


def test_not_a_byte_of_a_forged_document_is_handed_out(scene: Scene) -> None:
    scene.put(MANIFEST, b"ours")
    scene.inner.plant(MANIFEST, b"theirs")
    with pytest.raises(ForgedError) as told:
        scene.get(MANIFEST)
    assert told.value.message == (
        "store offsite: the manifest of 20261123T020000Z-7f3a9c is forged"
    )
    assert "look at who can write there" in str(told.value)
    assert scene.store.standing(MANIFEST) is Standing.FORGED


@pytest.mark.parametrize(
    ("signature", "error", "standing"),
    [
        (None, UnsignedError, Standing.UNSIGNED),
        (b"elsewhere", UncheckedSignatureError, Standing.UNCHECKED),
        (b"x" * (1 << 20), ForgedError, Standing.FORGED),
    ],
)
def test_what_is_required(
    signature: bytes | None, error: type[SignatureError], standing: Standing
) -> None:
    """Unsigned and unchecked documents are read only where that is not required; forged never."""
    for required in (True, False):
        scene = Scene(required=required)
        scene.inner.plant(MANIFEST, b"{}")
        if signature is not None:
            scene.inner.plant(f"{MANIFEST}.sig", signature)
        assert scene.store.standing(MANIFEST) is standing
        if required or error is ForgedError:
            with pytest.raises(error, match="the manifest of 20261123T020000Z-7f3a9c"):
                scene.get(MANIFEST)
        else:
            assert scene.get(MANIFEST) == b"{}"


def test_what_is_vouched_for_is_read_without_a_look_at_its_signature(scene: Scene) -> None:
    scene.inner.plant(MANIFEST, b"known")
    scene.vouched.add(b"known")
    assert scene.get(MANIFEST) == b"known"
    assert scene.seal.checked == 0
    scene.inner.plant(MANIFEST, b"another")
    with pytest.raises(UnsignedError):
        scene.get(MANIFEST)


def test_a_host_that_signs_nothing_writes_no_signature(scene: Scene) -> None:
    scene.seal.signs = False
    scene.put(MANIFEST)
    assert scene.names() == {"manifest.json"}


def test_pins_and_records_go_with_their_signatures_and_a_manifest_goes_first(scene: Scene) -> None:
    for key in (MANIFEST, KEPT, PROOF):
        scene.put(key)
        scene.store.delete(key)
    assert scene.names() == {"manifest.json.sig"}


def test_a_document_that_would_fill_our_memory_is_refused(scene: Scene) -> None:
    scene.inner.plant(MANIFEST, b"x" * (17 << 20))
    with pytest.raises(ManifestError, match="too large"):
        scene.get(MANIFEST)
