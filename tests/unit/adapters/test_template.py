"""Templates of clusters: they are copied into new folders, whatever lies in the old ones."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from guardian.adapters.scratch import template as templating
from guardian.adapters.scratch.template import Templates


def initdb(data: Path) -> Callable[[], None]:
    def run() -> None:
        (data / "PG_VERSION").write_text("18")

    return run


@pytest.fixture
def templates(tmp_path: Path) -> Templates:
    """With one that is kept."""
    made = Templates(tmp_path / "templates")
    data = tmp_path / "first"
    data.mkdir(mode=0o700)
    assert made.fill(data, "key", initdb(data)) is None
    return made


def test_a_template_is_copied(templates: Templates, tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir(mode=0o700)
    copied = templates.fill(data, "key", lambda: pytest.fail("it was not copied"))
    assert copied is not None
    assert [one.name for one in data.iterdir()] == ["PG_VERSION"]


def test_what_a_planted_link_leads_to_is_neither_written_nor_given_away(
    templates: Templates, tmp_path: Path
) -> None:
    victim = tmp_path / "victim"
    victim.write_text("root's own")
    victim.chmod(0o600)
    before = victim.stat()
    data = tmp_path / "data"
    data.mkdir(mode=0o700)
    (data / "PG_VERSION").symlink_to(victim)
    templates.fill(data, "key", initdb(data))
    assert victim.read_text() == "root's own"
    after = victim.stat()
    assert (after.st_uid, after.st_gid, after.st_mode) == (
        before.st_uid,
        before.st_gid,
        before.st_mode,
    )
    assert stat.S_ISREG((data / "PG_VERSION").lstat().st_mode)


@pytest.mark.needs_root
def test_while_it_is_filled_the_folder_is_ours_alone(
    templates: Templates, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its user could plant a link between one file and the next."""
    data = tmp_path / "data"
    data.mkdir(mode=0o700)
    os.chown(data, 65534, 65534)
    seen: list[tuple[int, int]] = []

    def copy(_: Path, target: Path) -> bool:
        state = target.stat()
        seen.append((state.st_uid, state.st_mode & 0o777))
        return False

    monkeypatch.setattr(templating, "_copy", copy)
    templates.fill(data, "key", initdb(data))
    assert seen[0] == (os.geteuid(), 0o700)
    assert data.stat().st_uid == 65534  # initdb runs as that user
