"""A store that fails never spoils the other, and each way of failing is told well."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.proxy import BreakableProxy
from support.s3 import MotoS3, RcloneS3
from support.site import Outcome, Site, snapshot_of

pytestmark = pytest.mark.usefixtures("hasty_stores")

BUCKET = "backups"


@pytest.fixture
def s3(tmp_path: Path) -> Iterator[RcloneS3]:
    with RcloneS3(tmp_path / "s3") as server:
        server.create_bucket(BUCKET)
        yield server


def section(server: RcloneS3 | MotoS3, **changes: Any) -> dict[str, Any]:
    return {
        "kind": "s3",
        "bucket": BUCKET,
        "prefix": "pg",
        "endpoint_url": server.endpoint_url,
        "access_key_id": server.access_key_id,
        "secret_access_key": server.secret_access_key,
        **changes,
    }


def with_offsite(site: Site, store: dict[str, Any]) -> Site:
    site.stores = {"local": site.stores["local"], "offsite": store}
    return site


def assert_local_alone(site: Site, outcome: Outcome, *words: str) -> None:
    """The backup lies whole in the local store; the other's failure is told, exit code 1."""
    assert outcome.code == 1, outcome.err
    result = outcome.result
    assert result["status"] == "succeeded"
    local, offsite = result["stores"]
    assert (local["status"], local["error"]) == ("succeeded", None)
    assert offsite["status"] == "failed"
    for word in words:
        assert word in offsite["error"], offsite["error"]
    assert result["error"]["cause"] == "store"
    listed = site.run("backup", "list", "--json", check=True).json
    assert [item["stores"] for item in listed] == [["local"]]
    assert any(name.endswith("manifest.json") for name in snapshot_of(site.store))


def test_both_stores_get_the_same_backup(site: Site, s3: RcloneS3) -> None:
    result = with_offsite(site, section(s3)).back_up().result
    assert [item["status"] for item in result["stores"]] == ["succeeded", "succeeded"]
    local = snapshot_of(site.store)
    remote = snapshot_of(s3.root / BUCKET / "pg")
    assert local == remote
    assert len(local) == 6
    site.listed()


def test_bucket_missing(site: Site, s3: RcloneS3) -> None:
    with_offsite(site, section(s3, bucket="nowhere"))
    assert_local_alone(site, site.back_up(), "nowhere", "bucket")


def test_credentials_refused(site: Site, s3: RcloneS3) -> None:
    with_offsite(site, section(s3, secret_access_key="not the secret at all"))
    outcome = site.back_up()
    assert_local_alone(site, outcome, "offsite")
    assert "not the secret at all" not in outcome.out + outcome.err


def test_endpoint_that_refuses_connections(site: Site, s3: RcloneS3) -> None:
    with_offsite(site, section(s3, endpoint_url="http://127.0.0.1:1"))
    assert_local_alone(site, site.back_up(), "127.0.0.1:1")


def test_upload_cut_in_the_middle_goes_on_when_the_store_is_back(
    large_site: Site, s3: RcloneS3
) -> None:
    """One that stays away is shown with the store alone (tests/faults/stores): patience is long."""
    with BreakableProxy("127.0.0.1", s3.port) as proxy:
        with_offsite(large_site, section(s3, endpoint_url=proxy.endpoint_url))
        proxy.cut_after(6 << 20, direction="up", refuse=False)
        result = large_site.back_up().result
        assert proxy.was_cut.wait(5)
    assert [item["status"] for item in result["stores"]] == ["succeeded", "succeeded"]
    assert snapshot_of(large_site.store) == snapshot_of(s3.root / BUCKET / "pg")


def test_all_stores_failing_is_a_failure(site: Site, s3: RcloneS3) -> None:
    site.stores = {"offsite": section(s3, bucket="nowhere")}
    outcome = site.back_up()
    assert outcome.code == 1
    assert outcome.result["status"] == "failed"
    assert outcome.result["error"]["cause"] == "store"
    assert site.run("backup", "list", "--json", check=True).json == []


def test_object_lock_is_shown_with_its_earliest_deletion_date(site: Site, tmp_path: Path) -> None:
    with MotoS3(tmp_path / "moto.log") as server:
        server.create_bucket(BUCKET, ObjectLockEnabledForBucket=True)
        locked = section(server, object_lock={"mode": "COMPLIANCE", "for": "30d"})
        result = with_offsite(site, locked).back_up().result
        assert result["status"] == "succeeded", result
        local, offsite = result["stores"]
        assert local["locked_until"] is None
        assert offsite["locked_until"][:4] in {"2026", "2027", "2028", "2029", "2030"}
        shown = site.run("backup", "show", result["id"], "--json", check=True).json
        copies = {copy["store"]: copy["locked_until"] for copy in shown["copies"]}
        assert copies["offsite"] is not None
        # It cannot be deleted yet: pruning says so, and is no failure.
        site.server = {
            "retention": {
                "keep_last": 1,
                "keep_within": "0s",
                "keep_daily": 0,
                "keep_weekly": 0,
                "keep_monthly": 0,
                "keep_proven": 0,
            }
        }
        assert site.back_up().code == 0
        pruned = site.run("backup", "prune", "--json")
        assert pruned.code == 0, pruned.err
