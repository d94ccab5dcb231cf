"""guardian backup prune over several databases: one in other hands, a catalog gone."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from support.catalogs import START, backup_id, holder
from support.home import NOWHERE
from support.site import Site

from guardian.backup.prune_result import PrunedBackup, PruneResult
from guardian.config import load
from guardian.daemon.app import App
from guardian.errors import CatalogError
from guardian.model import DatabaseRef

DATABASES = ("main/a", "main/b", "main/c")
BACKUP = backup_id(1, START)


@pytest.fixture
def site(tmp_path: Path) -> Site:
    made = Site(tmp_path / "site", NOWHERE)
    made.store.mkdir()
    return made


def test_a_database_in_other_hands_keeps_no_other_from_its_prune(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.write()
    with App(load(site.config).config) as app:
        app.catalog.acquire("prune:main/b", holder(host="another"), timedelta(minutes=5))
    asked, prune = [], App.prune

    def noted(app: App, ref: DatabaseRef, **how: Any) -> PruneResult:
        asked.append(str(ref))
        return prune(app, ref, **how)

    monkeypatch.setattr(App, "prune", noted)
    done = site.run_here("backup", "prune", "--json", *DATABASES)
    done.assert_clean()
    assert done.code == 4
    assert done.json == []
    assert asked == list(DATABASES)
    (line,) = done.err.splitlines()
    assert "main/b" in line


def test_what_was_done_before_the_catalog_went_away_is_told(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    def pruned(_: App, ref: DatabaseRef, **__: Any) -> PruneResult:
        if str(ref) != "main/a":
            raise CatalogError("the catalog is locked by another process")
        gone = PrunedBackup(BACKUP, ref, keep=False, reasons=("too old",), deleted=True, copies=())
        return PruneResult(ref, False, (gone,), swept=0, problems=(), notes=())

    monkeypatch.setattr(App, "prune", pruned)
    done = site.run_here("backup", "prune", "--json", *DATABASES)
    done.assert_clean()
    assert done.code == CatalogError.exit_code
    assert [(one["id"], one["deleted"]) for one in done.json] == [(BACKUP, True)]
    assert done.err.count("the catalog is locked by another process") == 1
