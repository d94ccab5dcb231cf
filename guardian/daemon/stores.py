"""Stores as the configuration describes them."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pydantic import SecretStr

    from guardian.config import S3StoreConfig, StoreConfig
    from guardian.ports import Store


def make_store(name: str, section: StoreConfig) -> Store:
    """One store, with patience where it is remote. Nothing is asked of it yet."""
    if section.kind == "local":
        from guardian.adapters.stores.local import LocalStore

        return LocalStore(name, section.path, min_free=section.min_free)
    return _s3_store(name, section)


def _s3_store(name: str, section: S3StoreConfig) -> Store:
    from guardian.adapters.stores.retrying import RetryingStore
    from guardian.adapters.stores.s3 import S3Store
    from guardian.adapters.stores.s3_settings import ObjectLock, S3Settings

    lock, sse = section.object_lock, section.server_side_encryption
    settings = S3Settings(
        bucket=section.bucket,
        prefix=section.prefix,
        region=section.region,
        endpoint_url=section.endpoint_url,
        addressing=section.addressing,
        access_key_id=_revealed(section.access_key_id),
        secret_access_key=_revealed(section.secret_access_key),
        session_token=_revealed(section.session_token),
        storage_class=section.storage_class,
        sse=sse.mode if sse else None,
        kms_key_id=sse.kms_key_id if sse else None,
        object_lock=ObjectLock(lock.mode, lock.for_) if lock else None,
        part_bytes=section.part_size,
    )
    store = RetryingStore(S3Store(name, settings))
    if section.max_rate is None:
        return store
    from guardian.adapters.clock import SystemClock
    from guardian.adapters.stores.throttling import ThrottledStore

    return ThrottledStore(store, section.max_rate, SystemClock())


def _revealed(secret: SecretStr | None) -> str | None:
    return None if secret is None else secret.get_secret_value()
