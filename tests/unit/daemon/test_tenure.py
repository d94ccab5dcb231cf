from __future__ import annotations

from datetime import timedelta

import pytest
from support.catalogs import holder

from guardian.daemon.tenure import Standing, Tenure
from guardian.errors import CatalogError
from guardian.model import Holder, Lease
from guardian.testing import FakeClock, MemoryCatalog

TTL = timedelta(seconds=30)


class Away(MemoryCatalog):
    """A catalog that can go away."""

    away = False

    def renew(self, lease: Lease, ttl: timedelta) -> Lease:
        if self.away:
            raise CatalogError("catalog x: disk full")
        return super().renew(lease, ttl)


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def alive() -> dict[Holder, bool]:
    return {}


@pytest.fixture
def catalog(clock: FakeClock, alive: dict[Holder, bool]) -> Away:
    return Away(clock, alive.get)


def test_of_two_one_waits_and_knows_for_whom(catalog: Away) -> None:
    first, second = Tenure(catalog, holder(1)), Tenure(catalog, holder(2))
    assert first.claim()
    assert not second.claim()
    assert second.rival == str(holder(1))
    assert first.renew() is Standing.HELD


def test_it_is_taken_over_when_it_has_lapsed_and_the_first_steps_down(
    catalog: Away, clock: FakeClock
) -> None:
    first, second = Tenure(catalog, holder(1)), Tenure(catalog, holder(2))
    first.claim()
    clock.advance(TTL + timedelta(seconds=1))
    assert second.claim()
    assert second.rival is None
    assert first.renew() is Standing.LOST
    assert first.renew() is Standing.LOST
    assert not first.claim()


def test_from_a_dead_one_it_is_taken_over_at_once(catalog: Away, alive: dict[Holder, bool]) -> None:
    Tenure(catalog, holder(1)).claim()
    alive[holder(1)] = False
    assert Tenure(catalog, holder(2)).claim()


def test_given_up_it_is_free_at_once(catalog: Away) -> None:
    first, second = Tenure(catalog, holder(1)), Tenure(catalog, holder(2))
    first.claim()
    first.give_up()
    first.give_up()
    assert second.claim()
    assert first.renew() is Standing.LOST


def test_while_the_catalog_is_away_the_guard_goes_on(catalog: Away, clock: FakeClock) -> None:
    tenure = Tenure(catalog, holder(1))
    tenure.claim()
    catalog.away = True
    clock.advance(10 * TTL)
    assert tenure.renew() is Standing.UNSURE
    assert tenure.error == "catalog x: disk full"
    catalog.away = False
    assert tenure.renew() is Standing.HELD, "nobody could take it meanwhile"
