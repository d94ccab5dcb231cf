"""How databases stand, also those that are configured no more."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path

import pytest
from support.home import NOW, REF, Home

from guardian.daemon.listing import LISTED
from guardian.daemon.overview import DatabaseStatus, database_statuses
from guardian.model import DatabaseRef, Event

NIGHT = NOW.replace(hour=2)
GONE = DatabaseRef("main", "gone")
LEFT = DatabaseRef("left", "x")


@pytest.fixture
def home(tmp_path: Path) -> Home:
    made = Home(tmp_path)
    for ref in (REF, GONE, LEFT):
        made.succeed(NIGHT - timedelta(days=30), ref=ref)
    return made


def statuses(home: Home) -> dict[DatabaseRef, DatabaseStatus]:
    with home.app() as app:
        return {one.ref: one for one in database_statuses(app)}


def planned(home: Home) -> set[DatabaseRef]:
    found = statuses(home)
    assert set(found) == {REF, GONE, LEFT}, "its backups are shown all the same"
    for one in found.values():
        assert (one.next_at is not None) == one.configured
        assert one.overdue == one.configured
        assert one.backups == 1
    return {ref for ref, one in found.items() if one.configured}


def test_what_has_left_the_configuration_is_neither_planned_nor_overdue(home: Home) -> None:
    assert planned(home) == {REF}
    home.site.server["databases"] = ["mina", "gone"]
    assert planned(home) == {REF, GONE}


def test_of_a_server_with_all_databases_those_it_last_told_of_are_planned(home: Home) -> None:
    home.site.server["databases"] = ["*"]
    assert planned(home) == {REF, GONE}, "it has never told: all that are known"
    told = {"names": json.dumps(["mina"])}
    home.catalog.record_event(Event(NOW, LISTED, "1 database", server="main", data=told))
    assert planned(home) == {REF}
    told = {"names": json.dumps(["mina", "gone"])}
    home.clock.advance(1)
    home.catalog.record_event(
        Event(home.clock.now(), LISTED, "2 databases", server="main", data=told)
    )
    assert planned(home) == {REF, GONE}
    home.site.server["exclude_databases"] = ["g*"]
    assert planned(home) == {REF}


def test_a_name_that_was_only_mistyped_is_not_shown_for_good(home: Home) -> None:
    home.fail(NIGHT, ref=DatabaseRef("main", "mnia"))
    assert set(statuses(home)) == {REF, GONE, LEFT}
    home.fail(NIGHT, ref=REF)
    assert statuses(home)[REF].consecutive_failures == 1
