"""Records of drills and pins that somebody else put, moved or changed in a store."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from support.forging import Scene


def proof_of(scene: Scene, backup: str) -> Path:
    (found,) = scene.local.folder(backup).glob("proof-*.json")
    return found


def proven(scene: Scene) -> dict[str, Any]:
    return {item["id"]: item["proven"] for item in scene.site.run("backup", "list")}


def rebuilt(scene: Scene) -> str:
    """After the catalog is lost: what the rebuild has to say."""
    scene.site.lose_the_catalog()
    return "\n".join(scene.site.rebuild()["notes"])


def with_signature(proof: Path) -> tuple[bytes, bytes]:
    return proof.read_bytes(), proof.with_name(proof.name + ".sig").read_bytes()


def put(folder: Path, name: str, document: bytes, signature: bytes | None) -> None:
    (folder / name).write_bytes(document)
    if signature is not None:
        (folder / f"{name}.sig").write_bytes(signature)


def test_a_real_record_comes_back(scene: Scene) -> None:
    scene.site.drill(scene.older)
    assert rebuilt(scene) == ""
    assert proven(scene) == {scene.older: True, scene.newer: None}


def test_a_record_that_is_replayed_beside_another_backup(scene: Scene) -> None:
    """As it is, and with the other's id and manifest: the signature holds for neither."""
    scene.site.drill(scene.older)
    proof = proof_of(scene, scene.older)
    document, signature = with_signature(proof)
    target = scene.local.folder(scene.newer)
    put(target, proof.name, document, signature)
    assert f"the drill's record is that of {scene.older}" in rebuilt(scene)
    assert proven(scene) == {scene.older: True, scene.newer: None}
    import hashlib

    told = json.loads(document) | {
        "id": scene.newer,
        "manifest_sha256": hashlib.sha256((target / "manifest.json").read_bytes()).hexdigest(),
    }
    put(target, proof.name, json.dumps(told).encode(), signature)
    assert f"the record of a drill of {scene.newer} is forged" in rebuilt(scene)
    assert proven(scene) == {scene.older: True, scene.newer: None}


def test_an_old_record_cannot_be_made_the_latest_word(scene: Scene) -> None:
    """Proven once, found bad since: the first record again, under a later name."""
    scene.site.drill(scene.older)
    proof = proof_of(scene, scene.older)
    document, signature = with_signature(proof)
    scene.site.drill(scene.older, result="mismatch")
    put(proof.parent, "proof-20991123T020000.000000Z.json", document, signature)
    assert "it is of another time" in rebuilt(scene)
    assert proven(scene)[scene.older] is False


def test_a_forged_record_neither_proves_nor_condemns(scene: Scene) -> None:
    """One that says proven, or bad, of a backup that was drilled with the other result."""
    scene.site.drill(scene.older)
    scene.site.drill(scene.newer, result="mismatch")
    for backup, result in ((scene.older, "unrestorable"), (scene.newer, "proven")):
        proof = proof_of(scene, backup)
        document, signature = with_signature(proof)
        at = "2026-11-27T00:00:00.000000Z"
        told = json.loads(document) | {"result": result, "at": at, "differences": []}
        for name, beside in (
            ("proof-20261127T000000.000000Z.json", signature),
            ("proof-20261127T000000.000001Z.json", None),
        ):
            told["at"] = f"{name[6:10]}-{name[10:12]}-{name[12:14]}T00:00:{name[19:28]}Z"
            put(proof.parent, name, json.dumps(told).encode(), beside)
    notes = rebuilt(scene)
    assert notes.count("is forged or damaged") == 2
    assert notes.count("is not signed") == 2
    assert proven(scene) == {scene.older: True, scene.newer: False}


def test_a_forged_pin_keeps_and_puts_no_words_into_anybodys_mouth(scene: Scene) -> None:
    """A pin that cannot be believed keeps, to be safe; who and why are not taken over."""
    folder = scene.local.folder(scene.older)
    pin = {"format": 1, "id": scene.older, "kept": True, "at": "2026-11-24T00:00:00Z"}
    put(folder, "kept.json", json.dumps(pin | {"by": "mallory", "reason": "x"}).encode(), None)
    notes = rebuilt(scene)
    assert "its kept.json cannot be read, so it is kept to be safe" in notes
    assert f"the pin of {scene.older} is not signed" in notes
    assert scene.site.run("backup", "show", scene.older)["kept"]
    assert b"mallory" not in scene.site.catalog.read_bytes()


def test_nobody_else_takes_a_pin_back(scene: Scene) -> None:
    scene.site.run("backup", "keep", scene.older, "--reason", "audit")
    folder = scene.local.folder(scene.older)
    document, signature = with_signature(folder / "kept.json")
    told = json.loads(document)
    assert (told["server"], told["kept"]) == ("main", True)
    for beside in (signature, None):
        put(folder, "kept.json", json.dumps(told | {"kept": False}).encode(), beside)
        scene.offsite.folder(scene.older).joinpath("kept.json").unlink(missing_ok=True)
        scene.reopen()
        assert "kept to be safe" in rebuilt(scene)
        assert scene.site.run("backup", "show", scene.older)["kept"]


def test_a_pin_is_worth_nothing_beside_another_backup(scene: Scene) -> None:
    scene.site.run("backup", "keep", scene.older)
    document, signature = with_signature(scene.local.folder(scene.older) / "kept.json")
    put(scene.local.folder(scene.newer), "kept.json", document, signature)
    assert f"kept.json is that of {scene.older}" in rebuilt(scene)


def test_unkeep_and_trimming_leave_no_signature_behind(scene: Scene) -> None:
    scene.site.run("backup", "keep", scene.older)
    scene.site.run("backup", "unkeep", scene.older)
    for _ in range(12):
        scene.site.drill(scene.older)
    names = {one.name for one in scene.local.folder(scene.older).iterdir()}
    assert not [name for name in names if name.startswith("kept")]
    documents = {name for name in names if name.startswith("proof") and name.endswith(".json")}
    assert len(documents) == 10
    assert {name for name in names if name.startswith("proof")} == documents | {
        f"{name}.sig" for name in documents
    }
