"""What the configuration makes of a store."""

from __future__ import annotations

from guardian.adapters.stores.retrying import RetryingStore
from guardian.adapters.stores.throttling import ThrottledStore
from guardian.config import S3StoreConfig
from guardian.daemon.stores import make_store


def bucket(**keys: str) -> S3StoreConfig:
    words = {"kind": "s3", "bucket": "b", "region": "eu-central-1", **keys}
    return S3StoreConfig.model_validate(words)


def test_a_bucket_with_a_rate_keeps_to_it() -> None:
    store = make_store("offsite", bucket(max_rate="20MB"))
    assert isinstance(store, ThrottledStore)
    assert store._budget._rate == 20_000_000
    assert "RetryingStore" in repr(store)
    assert store.name == "offsite"


def test_without_one_all_goes_that_can() -> None:
    assert isinstance(make_store("offsite", bucket()), RetryingStore)
