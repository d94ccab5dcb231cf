"""Which part of a fingerprint can be compared after a restore that was no whole one."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

from guardian.model import Fingerprint, ProofLevel
from guardian.restore.sql_text import quoted

_FILLED = "populated materialized view"


def objects_alone(fingerprint: Fingerprint) -> Fingerprint:
    """What can be compared where no rows were restored."""
    objects = {kind: names for kind, names in fingerprint.objects.items() if kind != _FILLED}
    return replace(fingerprint, level=ProofLevel.NONE, objects=objects)


def without_extensions(
    found: Fingerprint, expected: Fingerprint, before: Collection[str]
) -> Fingerprint:
    """Less the extensions that were there before the restore, and are not the backup's."""
    names = {spelling for name in before for spelling in (name, quoted(name))}
    foreign = names - set(expected.objects.get("extension", ()))
    objects = dict(found.objects)
    objects["extension"] = tuple(
        name for name in objects.get("extension", ()) if name not in foreign
    )
    objects["owner"] = tuple(
        line
        for line in objects.get("owner", ())
        if not any(line.startswith(f"extension {name}: ") for name in foreign)
    )
    return replace(found, objects=objects)
