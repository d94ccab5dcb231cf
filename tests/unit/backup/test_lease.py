from __future__ import annotations

import logging
import threading
from datetime import timedelta

import pytest

from guardian.backup.lease import LeaseKeeper
from guardian.errors import AlreadyRunningError, CatalogError
from guardian.model import Holder
from guardian.testing import FakeClock, MemoryCatalog

TTL = timedelta(hours=1)  # the threads sleep through every test that turns a fake clock
ME = Holder("alpha", "boot", 1, "1", "guardian backup now")
OTHER = Holder("beta", "boot2", 2, "2", "guardian run")
AWAY = CatalogError("catalog x cannot be reached", transient=True)


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def catalog(clock: FakeClock) -> MemoryCatalog:
    return MemoryCatalog(clock)


@pytest.fixture
def keeper(catalog: MemoryCatalog, clock: FakeClock) -> LeaseKeeper:
    return LeaseKeeper(catalog, "backup:main/mina", ME, TTL, monotonic=clock.monotonic)


def test_the_lease_is_held_within_the_block_only(catalog, keeper):
    with keeper:
        assert list(catalog.leases()) == [keeper.lease]
        assert keeper.lease.holder == ME
        keeper.check()
    assert list(catalog.leases()) == []


def test_the_lease_is_given_back_when_the_work_fails(catalog, keeper):
    with pytest.raises(ZeroDivisionError), keeper:
        raise ZeroDivisionError
    assert list(catalog.leases()) == []


def test_work_that_is_under_way_elsewhere_is_not_begun(catalog, keeper):
    catalog.acquire("backup:main/mina", OTHER, TTL)
    with pytest.raises(AlreadyRunningError, match="pid 2 on beta"), keeper:
        pytest.fail("entered")
    assert [one.holder for one in catalog.leases()] == [OTHER]


def test_a_beat_prolongs(catalog, clock, keeper):
    with keeper:
        for _ in range(4):
            clock.advance(TTL / 2)
            keeper.beat()
        assert not keeper.lost.is_set()
        assert keeper.lease.expires_at == clock.now() + TTL
        with pytest.raises(AlreadyRunningError):
            catalog.acquire("backup:main/mina", OTHER, TTL)


def test_a_lease_that_went_to_another_is_lost_once(catalog, clock):
    heard: list[str] = []
    keeper = LeaseKeeper(
        catalog, "x", ME, TTL, on_lost=lambda: heard.append("lost"), monotonic=clock.monotonic
    )
    with keeper:
        clock.advance(TTL)
        theirs = catalog.acquire("x", OTHER, TTL)
        keeper.beat()
        keeper.beat()
        assert keeper.lost.is_set()
        with pytest.raises(AlreadyRunningError, match="lost"):
            keeper.check()
    assert heard == ["lost"]
    assert list(catalog.leases()) == [theirs]


def test_a_catalog_that_is_away_for_a_while_is_borne(catalog, clock, keeper, caplog):
    with keeper:
        catalog.fail(AWAY)
        clock.advance(TTL * 0.9)
        keeper.beat()
        keeper.look()
        assert not keeper.lost.is_set()
        catalog.fail(None)
        keeper.beat()
        clock.advance(TTL * 0.9)
        keeper.look()
        assert not keeper.lost.is_set()
    assert "could not be renewed" in caplog.text


@pytest.mark.parametrize("notice", ["beat", "look"])
def test_a_catalog_that_is_away_until_the_end_loses_the_lease(catalog, clock, keeper, notice):
    with keeper:
        catalog.fail(AWAY)
        clock.advance(TTL)
        getattr(keeper, notice)()
        assert keeper.lost.is_set()


def test_a_catalog_that_is_away_at_the_end_does_not_fail_the_work(catalog, keeper):
    with keeper:
        catalog.fail(AWAY)
    catalog.fail(None)
    assert len(catalog.leases()) == 1


def test_the_background_renews(clock):
    renewed = threading.Semaphore(0)

    class Counting(MemoryCatalog):
        def renew(self, lease, ttl):
            longer = super().renew(lease, ttl)
            renewed.release()
            return longer

    ttl = timedelta(seconds=0.3)
    with LeaseKeeper(Counting(clock), "x", ME, ttl, monotonic=clock.monotonic) as keeper:
        for _ in range(3):
            assert renewed.acquire(timeout=60)
    assert not any(one.name.endswith(" x") for one in threading.enumerate())
    assert not keeper.lost.is_set()


def test_the_background_notices_a_lapse_while_a_renewal_hangs(clock, caplog):
    caplog.set_level(logging.WARNING)
    let_go = threading.Event()
    gone = threading.Event()

    class Hanging(MemoryCatalog):
        def renew(self, lease, ttl):
            let_go.wait(60)
            return super().renew(lease, ttl)

    catalog = Hanging(clock)
    with LeaseKeeper(catalog, "x", ME, timedelta(seconds=0.3), on_lost=gone.set) as keeper:
        assert gone.wait(60)
        assert keeper.lost.is_set()
    assert "left to lapse" in caplog.text  # and leaving did not hang
    let_go.set()


def test_there_is_no_lease_before_the_block(keeper):
    with pytest.raises(RuntimeError, match="entering"):
        _ = keeper.lease


def test_a_ttl_is_above_zero(catalog):
    with pytest.raises(ValueError, match="above zero"):
        LeaseKeeper(catalog, "x", ME, timedelta(0))
