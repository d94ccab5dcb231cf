"""From a real catalog, and real looks, to observations; across restarts."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from support.catalogs import TTL, holder, stored
from support.home import NOW, NOWHERE, REF, Home
from support.postgres import Database, PostgresServer

from guardian.daemon.listing import LISTED, UNLISTED, list_databases
from guardian.daemon.sensors import SEEN, Sensors
from guardian.errors import Cause, ConnectionFailedError
from guardian.escalate.model import Condition, Observation, Severity, Watcher
from guardian.model import (
    DatabaseRef,
    ProofResult,
    StoreOutcome,
    StoreStatus,
)
from guardian.watch.outage import Outage, OutageRules, ProbeCause, ProbeResult, observe

DAY = timedelta(days=1)
NIGHT = NOW.replace(hour=2)


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path)


def keys(observation: Observation) -> set[str]:
    return {one.key for one in observation.conditions}


def only(observation: Observation, key: str) -> Condition:
    (found,) = [one for one in observation.conditions if one.key == key]
    return found


# --- backups and drills ---


def test_a_database_that_is_well(home: Home) -> None:
    home.drill(home.succeed(NIGHT), NIGHT + timedelta(hours=1))
    assert home.sensors().backups("main") == Observation("backups:main", NOW)


def test_failures_are_counted_from_the_catalog_and_survive_a_restart(tmp_path: Path) -> None:
    home = Home(tmp_path)
    with home.app(memory=False) as app:
        home.catalog = app.catalog
        home.drill(home.succeed(NIGHT - 2 * DAY), NIGHT - 2 * DAY)
        home.fail(NIGHT - DAY)
        home.fail(NIGHT)
        before = Sensors(app).backups("main")
    with home.app(memory=False) as again:
        after = Sensors(again).backups("main")
    assert after == before
    found = only(after, "backup.failed:main/mina")
    assert (found.count, found.since) == (2, NIGHT - DAY)
    assert keys(after) == {
        "backup.failed:main/mina",
        "backup.overdue:main/mina",
        "proof.overdue:main/mina",
    }


def test_a_bad_backup_is_told_however_many_drills_came_after_it(home: Home) -> None:
    bad = home.succeed(NIGHT)
    home.drill(bad, NIGHT, ProofResult.MISMATCH)
    old = home.succeed(NIGHT - DAY)
    for minutes in range(250):
        home.drill(old, NIGHT + timedelta(minutes=minutes))
    found = only(home.sensors().backups("main"), "verify.mismatch:main/mina")
    assert found.severity is Severity.P0


def test_who_runs_it_now_is_told(home: Home) -> None:
    home.fail(NIGHT)
    home.catalog.acquire(f"backup:{REF}", holder(), TTL)
    found = only(home.sensors().backups("main"), "backup.failed:main/mina")
    assert {one.name: one.value for one in found.evidence}["running now"] == (
        "by guardian backup now (pid 100 on alpha)"
    )


def test_a_database_that_was_never_tried_is_late_from_when_it_was_first_seen(home: Home) -> None:
    assert keys(home.sensors().backups("main")) == set()
    home.clock.advance(3 * DAY)
    late = home.sensors().backups("main")
    assert keys(late) == {"backup.overdue:main/mina", "proof.overdue:main/mina"}
    assert [one.ref for one in home.catalog.events(kind=SEEN)] == [REF]


def test_without_a_schedule_nothing_is_remembered(tmp_path: Path) -> None:
    home = Home(tmp_path, backup={})
    assert keys(home.sensors().backups("main")) == set()
    assert list(home.catalog.events()) == []


@pytest.mark.parametrize(
    ("verify", "late"),
    [({}, True), ({"schedule": "every 7d"}, False), ({"schedule": None}, False)],
)
def test_when_a_proof_is_late_is_the_configs_word(
    tmp_path: Path, verify: dict[str, Any], late: bool
) -> None:
    home = Home(tmp_path, verify=verify)
    home.drill(home.succeed(NIGHT - 2 * DAY), NIGHT - DAY)
    home.succeed(NIGHT)
    assert ("proof.overdue:main/mina" in keys(home.sensors().backups("main"))) is late


# --- which databases there are ---


@pytest.fixture
def everything(tmp_path: Path) -> Home:
    return Home(tmp_path, databases=["*"])


def test_runs_that_could_not_even_list_count_as_failures_in_a_row(everything: Home) -> None:
    for _ in range(2):
        with pytest.raises(ConnectionFailedError):
            list_databases(everything.app(), "main")
        everything.clock.advance(DAY)
    found = only(everything.sensors().backups("main"), "backup.failed:main/*")
    assert (found.count, found.since) == (2, NOW)
    assert found.title.startswith("Backup of main/* failed twice in a row: ")
    everything.succeed(everything.clock.now())
    everything.clock.advance(1)
    assert "backup.failed:main/*" not in keys(everything.sensors().backups("main"))


def test_a_listing_ends_them_and_says_which_databases_are_guarded(
    everything: Home, pg16: PostgresServer, fresh_database: Callable[..., Database]
) -> None:
    database = fresh_database(pg16)
    with pytest.raises(ConnectionFailedError):
        list_databases(everything.app(), "main")
    everything.clock.advance(1)
    everything.site.dsn = database.dsn()
    names = list_databases(everything.app(), "main")
    assert database.name in names
    assert keys(everything.sensors().backups("main")) == set()
    list_databases(everything.app(), "main")
    assert [one.kind for one in everything.catalog.events() if one.kind != SEEN] == [
        LISTED,
        UNLISTED,
    ]


def test_a_database_that_is_not_listed_any_more_is_not_overdue_for_ever(everything: Home) -> None:
    dropped = DatabaseRef("main", "dropped")
    everything.succeed(NIGHT - 9 * DAY, ref=dropped)
    found = everything.sensors()
    assert "backup.overdue:main/dropped" in keys(found.backups("main"))
    assert keys(found.backups("main", names=["mina"])) == set()


def test_named_databases_are_not_asked_for_and_leave_no_trace(home: Home) -> None:
    assert list(list_databases(home.app(), "main")) == ["mina"]
    assert list(home.catalog.events()) == []


# --- stores, channels ---


def on_another_host(home: Home, tmp_path: Path, *, seen: timedelta = DAY) -> Sensors:
    """The sensors of another host, which backs up another server into a store called the same."""
    other = Home(tmp_path / "other")
    other.catalog = home.catalog
    other.site.sections["servers"] = {"elsewhere": {"dsn": NOWHERE}}
    scopes = ("backups:main", "stores")
    home.catalog.save_watcher(Watcher("commands on first", NOW - seen, scopes))
    app = other.app()
    del app.config.servers["main"]
    return Sensors(app)


LOST = StoreOutcome("local", StoreStatus.FAILED, "no space left", Cause.DISK_FULL)


def test_a_store_that_fails_another_hosts_backups_is_neither_begun_nor_ended_here(
    home: Home, tmp_path: Path
) -> None:
    home.succeed(NIGHT, *stored("offsite"), LOST)
    theirs = home.sensors().stores()
    assert (keys(theirs), theirs.blind) == ({"store.failing:local"}, ())
    ours = on_another_host(home, tmp_path).stores()
    assert (ours.conditions, ours.blind) == ((), ("store.failing:local",))
    # Who has said nothing for long is gone, and what failed there is nobody's any more.
    gone = on_another_host(home, tmp_path, seen=36 * DAY).stores()
    assert (gone.conditions, gone.blind) == ((), ())


def test_a_store_that_fails_our_backups_is_begun_here_whatever_fails_elsewhere(
    home: Home, tmp_path: Path
) -> None:
    home.succeed(NIGHT, *stored("offsite"), LOST)
    sensors = on_another_host(home, tmp_path)
    ref = DatabaseRef("elsewhere", "mina")
    home.succeed(NIGHT, *stored("offsite"), LOST, ref=ref)
    both = sensors.stores()
    assert (keys(both), both.blind) == ({"store.failing:local"}, ())
    home.succeed(NIGHT + timedelta(hours=1), *stored("local"), ref=ref)
    after = sensors.stores()
    assert (after.conditions, after.blind) == ((), ("store.failing:local",))


@pytest.mark.parametrize(("days", "counts"), [(7, True), (8, False)])
def test_a_database_elsewhere_that_nobody_tries_any_more_does_not_count(
    home: Home, tmp_path: Path, days: int, counts: bool
) -> None:
    home.succeed(NIGHT - days * DAY, *stored("offsite"), LOST, ref=DatabaseRef("main", "dropped"))
    home.succeed(NIGHT, *stored("local"))
    assert keys(home.sensors().stores()) == set(), "it has left their configuration"
    ours = on_another_host(home, tmp_path).stores()
    assert ours.conditions == ()
    assert bool(ours.blind) is counts


def test_a_store_that_fails_is_told_once_for_all_servers(home: Home) -> None:
    home.site.stores["offsite"] = {"kind": "local", "path": str(home.site.root / "offsite")}
    lost = StoreOutcome("offsite", StoreStatus.FAILED, "access denied", Cause.STORE)
    home.succeed(NIGHT, *stored("local"), lost)
    (found,) = home.sensors().stores().conditions
    assert (found.key, found.severity) == ("store.failing:offsite", Severity.P2)
    home.clock.advance(DAY)
    home.succeed(NIGHT + DAY, *stored("local", "offsite"))
    assert home.sensors().stores().conditions == ()


def test_retention_that_fails_every_night_is_told_until_it_is_applied(home: Home) -> None:
    for day in range(4):
        home.succeed(NIGHT - day * DAY)
    home.site.server["retention"] = {"keep_last": 1, "keep_within": "0s", "keep_daily": 0}
    store = Path(home.site.stores["local"]["path"])
    with home.app() as app:
        app.store("local").check()
        assert not app.prune(REF).failed
    store.rename(store.with_name("aside"))  # its disk is not mounted
    for night in range(2):
        assert keys(home.sensors().stores()) == set()
        with home.app() as app:
            assert app.prune(REF).failed
        home.clock.advance(DAY)
        assert keys(home.sensors().stores()) == (
            {"store.failing:local/retention"} if night else set()
        )
    store.with_name("aside").rename(store)
    with home.app() as app:
        assert not app.prune(REF).failed
    assert keys(home.sensors().stores()) == set()


# --- what jobs have just seen ---


@pytest.fixture
def down() -> Outage:
    outage = Outage()
    for second in range(3):
        at = NOW - timedelta(minutes=5) + timedelta(seconds=second)
        outage, _ = observe(outage, ProbeResult(at, 0.1, ProbeCause.REFUSED, "x"), OutageRules())
    return outage


def test_an_outage_goes_by_the_servers_own_page_after(tmp_path: Path, down: Outage) -> None:
    quick = Home(tmp_path).sensors().outage("main", down)
    assert only(quick, "server.down:main").severity is Severity.P0
    slow = Home(tmp_path, outage={"page_after": "1h"}).sensors().outage("main", down)
    assert only(slow, "server.down:main").severity is Severity.P1
    unknown = Home(tmp_path).sensors().outage("main", Outage())
    assert (unknown.conditions, unknown.blind) == ((), ("server.down:main",))


def test_a_disk_of_ours_beyond_its_bound(tmp_path: Path) -> None:
    full = Home(tmp_path, vitals={"disk": ["0%", "100%"]}).sensors().disks()
    assert {one.kind for one in full.conditions} == {"disk.low"}
    assert {one.severity for one in full.conditions} == {Severity.P2}
    off = Home(tmp_path, vitals={"disk": None}).sensors().disks()
    assert off.conditions == ()
