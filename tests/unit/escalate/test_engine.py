"""The engine around the pure steps: catalogs that fail, others that are faster, clocks, digests."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from support.escalation import (
    HOUR,
    MINUTE,
    P0,
    P1,
    P2,
    P3,
    PEOPLE,
    SECOND,
    START,
    HalfCatalog,
    Post,
    Scene,
    down,
    failed,
    level,
    rules,
)

from guardian.errors import (
    CatalogError,
    NotFoundError,
    PermissionDeniedError,
    StaleIncidentError,
    UsageError,
)
from guardian.escalate.digest import Protection
from guardian.escalate.engine import WATCHER_FORGOTTEN, Escalator
from guardian.escalate.model import (
    Envelope,
    MessageKind,
    Observation,
    Occasion,
    Settlement,
    Standing,
    State,
)
from guardian.escalate.rules import Digest, SelfTest
from guardian.escalate.set_times import DIGEST_SENT, SELF_TEST_SENT, SetTimes
from guardian.testing import FakeClock, MemoryCatalog

AWAY = CatalogError("the catalog is away", mend="wait")


# --- observing ---


def test_what_a_sensor_does_not_see_any_more_has_gone_within_its_scope_alone():
    scene = Scene()
    scene.sees(failed(), scope="backups")
    scene.sees(level(), scope="probe")
    scene.sees(scope="probe")
    states = {one.kind: one.state for one in scene.catalog.open_incidents()}
    assert states == {"backup.failed": State.FIRING, "probe.web": State.RECOVERING}


def test_what_could_not_be_looked_at_stays_as_it_is():
    scene = Scene()
    scene.sees(failed(), failed(key="backup.failed:main/other"))
    scene.sees(blind=("backup.failed:main/mina",))
    assert [one.key for one in scene.catalog.open_incidents()] == ["backup.failed:main/mina"]
    scene.sees(blind=("vital.", "backup."))
    assert len(scene.catalog.open_incidents()) == 1


def test_the_worst_of_one_key_counts():
    scene = Scene()
    scene.sees(level(severity=P2), level(severity=P0), level(severity=P1))
    assert scene.only().severity is P0


def test_another_sensor_may_take_a_condition_over():
    scene = Scene()
    scene.sees(failed(), scope="cli")
    scene.sees(failed(), scope="daemon")
    scene.sees(scope="cli")
    assert scene.only().scope == "daemon"


def test_a_hundred_at_once_are_one_change():
    scene = Scene()
    change = scene.sees(*(level(f"probe.p:{number}") for number in range(100)))
    assert len(change.incidents) == len(scene.catalog.open_incidents()) == 100
    assert len({one.id for one in change.incidents}) == 100


def test_what_is_not_watched_any_more_ends():
    scene = Scene()
    scene.sees(failed(), scope="backups:old")
    scene.sees(level(), scope="probe:web")
    change = scene.escalator.end_unwatched({"probe:web", "channels"})
    assert [one.message.why for one in change.envelopes] == ["it is not watched any more"] * 2
    assert [one.kind for one in scene.catalog.open_incidents()] == ["probe.web"]


def watched(scene: Scene) -> list[str]:
    return sorted(one.scope for one in scene.catalog.open_incidents())


def test_what_another_host_s_commands_watch_is_not_ended_by_the_daemon():
    scene = Scene()
    scene.sees(failed(), scope="backups:theirs")
    scene.sees(level(), scope="probe:gone")
    theirs = Scene(catalog=scene.catalog, clock=scene.clock)
    theirs.escalator.end_unwatched({"backups:theirs", "stores"}, "commands on b", only_own=True)
    assert watched(scene) == ["backups:theirs", "probe:gone"], "it never was theirs to end"
    scene.escalator.end_unwatched({"stores", "backups:ours"})
    assert watched(scene) == ["backups:theirs"]


def test_commands_end_what_has_left_their_own_config_and_nobody_else_watches():
    scene = Scene()
    for name in ("mine", "shared", "kept"):
        scene.sees(failed(key=f"backup.failed:{name}/x"), scope=f"backups:{name}")
    scene.escalator.end_unwatched({f"backups:{one}" for one in ("mine", "shared", "kept")})
    every = {f"backups:{one}" for one in ("mine", "shared", "kept")}
    scene.escalator.end_unwatched(every, "commands on b", only_own=True)
    scene.escalator.end_unwatched({"backups:shared"})  # the daemon has only this one left
    assert watched(scene) == ["backups:kept", "backups:mine", "backups:shared"]
    scene.escalator.end_unwatched({"backups:kept"}, "commands on b", only_own=True)
    assert watched(scene) == ["backups:kept", "backups:shared"]


def test_who_has_not_been_heard_of_for_weeks_watches_no_more():
    scene = Scene()
    scene.sees(failed(), scope="backups:theirs")
    scene.escalator.end_unwatched({"backups:theirs"}, "commands on b", only_own=True)
    for _ in range(3):
        scene.clock.advance(WATCHER_FORGOTTEN - HOUR)
        scene.escalator.end_unwatched({"stores"})
        assert watched(scene) == ["backups:theirs"]
        scene.escalator.end_unwatched({"backups:theirs"}, "commands on b", only_own=True)
    scene.clock.advance(WATCHER_FORGOTTEN)
    scene.escalator.end_unwatched({"stores"})
    assert watched(scene) == []


def test_while_the_catalog_is_away_nothing_is_ended_and_later_it_is():
    clock = FakeClock(START)
    catalog = HalfCatalog(clock)
    scene = Scene(catalog=catalog, clock=clock)
    scene.sees(failed(), scope="backups:old")
    catalog.fail(AWAY)
    assert scene.escalator.end_unwatched({"stores"}).is_empty
    catalog.fail(None)
    assert watched(scene) == ["backups:old"]
    scene.escalator.end_unwatched({"stores"})
    assert watched(scene) == []


# --- by hand ---


def test_incidents_are_found_by_the_beginning_of_their_id():
    scene = Scene()
    scene.sees(failed(), level())
    one, other = scene.catalog.open_incidents()
    common = len([1 for a, b in zip(one.id, other.id, strict=True) if a == b])
    if common == 0:
        assert scene.escalator.acknowledge(one.id[0], "anna").id == one.id
    assert scene.escalator.acknowledge(one.id, "anna").state is State.ACKNOWLEDGED
    with pytest.raises(NotFoundError, match="no incident 'zzz0'; guardian incidents list"):
        scene.escalator.acknowledge("zzz0", "anna")
    with pytest.raises(NotFoundError):
        scene.escalator.resolve("", "anna")


def test_an_id_that_fits_several_is_refused(monkeypatch):
    ids = iter(["abcd2222", "abce2222"])
    monkeypatch.setattr("guardian.escalate.engine._new_id", lambda: next(ids))
    scene = Scene()
    scene.sees(failed(), level())
    with pytest.raises(UsageError, match=r"abc fits several incidents: .*; write more of it"):
        scene.escalator.acknowledge("abc", "anna")


def test_no_id_is_no_silence():
    scene = Scene()
    made = scene.escalator.silence(HOUR, "disks", "anna")
    with pytest.raises(NotFoundError, match="no silence ''; guardian silence list"):
        scene.escalator.end_silence("")
    assert scene.catalog.silences(START) == [made]


def test_what_is_resolved_cannot_be_taken():
    scene = Scene()
    scene.sees(failed())
    one = scene.resolve()
    for act in (scene.escalator.acknowledge, scene.escalator.resolve):
        with pytest.raises(UsageError, match=f"incident {one.id} is resolved"):
            act(one.id, "bob")


def test_a_note_stands_in_the_timeline_also_of_what_is_resolved():
    scene = Scene()
    scene.sees(failed())
    one = scene.resolve()
    scene.escalator.note(one.id[:5], "it was the cleaner", "bob")
    last = scene.timeline(one)[-1]
    assert (last.kind, last.text, last.by) == ("note", "it was the cleaner", "bob")


# --- other processes ---


def test_a_faster_process_is_no_harm():
    clock = FakeClock(START)
    catalog = HalfCatalog(clock)
    scene = Scene(catalog=catalog, clock=clock)
    catalog.faster = 5
    scene.sees(failed())
    assert scene.told() == ["02:00 alert on-call: pager, chat"]
    assert len(scene.catalog.incidents()) == 1


def test_without_end_it_is_an_error():
    clock = FakeClock(START)
    catalog = HalfCatalog(clock)
    scene = Scene(catalog=catalog, clock=clock)
    catalog.faster = 1000
    with pytest.raises(StaleIncidentError):
        scene.sees(failed())
    catalog.faster = 0
    scene.sees(failed())
    assert len(scene.told()) == 1


def test_two_daemons_tell_once():
    clock = FakeClock(START)
    catalog = MemoryCatalog(clock)
    one, other = (Scene(catalog=catalog, clock=clock) for _ in range(2))
    one.sees(level())
    other.sees(level())
    for _ in range(70):
        clock.advance(MINUTE)
        one.tick()
        other.tick()
    told = sorted(one.told() + other.told())
    assert told == [
        "02:00 alert on-call: pager, chat",
        "02:30 escalation lead: lead-mail, chat",
        "03:00 escalation cto: cto-mail",
    ]


def test_many_threads_make_one_incident():
    scene = Scene()
    ready = threading.Barrier(8)

    def look() -> None:
        ready.wait()
        for _ in range(5):
            scene.escalator.observe(Observation("sensor", START, (failed(),)))
            scene.escalator.tick()

    threads = [threading.Thread(target=look) for _ in range(8)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert len(scene.catalog.incidents()) == 1
    assert len(scene.catalog.envelopes(scene.only().id)) == 2


# --- after a crash ---


def test_nothing_is_lost_with_the_process():
    scene = Scene()
    scene.sees(level())
    scene.wait(10 * MINUTE)
    after = Scene(catalog=scene.catalog, clock=scene.clock)
    after.wait(20 * MINUTE)
    assert after.told() == ["02:30 escalation lead: lead-mail, chat"]


def test_a_failure_between_two_rounds_is_told_by_the_next_one():
    clock = FakeClock(START)
    catalog = HalfCatalog(clock)
    catalog.full = True
    doomed = Scene(catalog=catalog, clock=clock)
    doomed.sees(level(severity=P2))
    assert catalog.incidents() == []
    catalog.full = False
    after = Scene(catalog=catalog, clock=clock)  # the first one's memory is gone
    after.sees(level(severity=P2))
    assert after.told() == ["02:00 alert on-call: pager, chat"]


# --- after a start ---


def test_just_after_a_start_levels_alarm_nobody():
    scene = Scene(rules(startup_settle=30 * SECOND))
    scene.sees(level())
    scene.wait(29 * SECOND)
    assert scene.only().state is State.PENDING
    assert scene.told() == []
    scene.wait(SECOND)
    assert scene.told() == ["02:00 alert on-call: pager, chat"]


def test_what_has_happened_alarms_at_once():
    scene = Scene(rules(startup_settle=30 * SECOND))
    scene.sees(failed(), scope="backups")
    scene.sees(down(), scope="outage")
    assert len(scene.told()) == 1  # both to on-call, at 02:00
    assert len(scene.envelopes()) == 4


def test_nobody_climbs_on_before_it_is_known_whether_it_still_holds():
    before = Scene()
    before.sees(failed())
    before.clock.advance(29 * MINUTE + 50 * SECOND)
    after = Scene(rules(startup_settle=30 * SECOND), catalog=before.catalog, clock=before.clock)
    after.wait(20 * SECOND)  # half past is over
    assert after.told() == []
    after.sees(failed())
    after.tick()
    assert after.told() == ["02:30 escalation lead: lead-mail, chat"]


def test_an_end_is_told_also_just_after_a_start():
    before = Scene()
    before.sees(failed())
    after = Scene(rules(startup_settle=HOUR), catalog=before.catalog, clock=before.clock)
    after.sees()
    assert after.told() == ["02:00 resolved on-call: pager, chat"]


# --- the catalog is away ---


def away(full: bool = False, **changes):
    clock = FakeClock(START)
    post = Post()
    catalog = HalfCatalog(clock)
    scene = Scene(rules(**changes), catalog=catalog, clock=clock, courier=post)
    return scene, catalog, post


@pytest.mark.parametrize("how", ["unreadable", "full"])
def test_the_urgent_leaves_at_once_and_the_rest_is_written_later(how):
    scene, catalog, post = away()
    scene.sees(level("probe.a:a", P2))
    scene.delivers = False
    _break(catalog, how)
    scene.sees(level("probe.a:a", P2), level("probe.b:b", P1), level("probe.c:c", P2))
    assert [(one.channel, one.message.incident_kind) for one in post.given] == [
        ("pager", "probe.b"),
        ("chat", "probe.b"),
    ]
    scene.wait(30 * MINUTE)
    assert [one.channel for one in post.given[2:]] == ["lead-mail", "chat"]
    assert scene.escalator.trouble is not None
    _mend(catalog)
    assert {one.kind for one in catalog.open_incidents()} == {"probe.a"}
    scene.tick()
    assert scene.escalator.trouble is None
    kept = {one.kind: one for one in catalog.open_incidents()}
    assert set(kept) == {"probe.a", "probe.b", "probe.c"}
    assert kept["probe.b"].rungs_told == ("P1/0m/on-call", "P1/30m/lead")
    assert kept["probe.b"].version == 1
    assert [one.kind for one in catalog.timeline(kept["probe.b"].id)] == [
        "opened", "fired", "told", "told",
    ]  # fmt: skip
    assert catalog.envelopes(kept["probe.b"].id) == []  # those are the courier's to write
    assert [one.channel for one in catalog.envelopes(kept["probe.c"].id)] == ["pager", "chat"]


@pytest.mark.parametrize("how", ["unreadable", "full"])
def test_what_ends_while_the_catalog_is_away_is_told_and_written(how):
    scene, catalog, post = away()
    scene.sees(failed())
    one = scene.only()
    _break(catalog, how)
    scene.sees()
    assert [each.message.kind for each in post.given] == [MessageKind.RESOLVED] * 2
    scene.wait(MINUTE)
    assert len(post.given) == 2
    _mend(catalog)
    scene.tick()
    assert catalog.open_incidents() == []
    assert catalog.timeline(one.id)[-2].kind == "resolved"


def test_who_was_told_before_it_got_worse_hears_of_the_end_also_from_memory():
    scene, catalog, post = away()
    scene.sees(level(severity=P1))
    scene.wait(HOUR)
    scene.sees(level(severity=P0))
    one = scene.only()
    catalog.fail(AWAY)
    scene.escalator.resolve(one.id, "anna")
    ends = {one.channel for one in post.given if one.message.kind is MessageKind.RESOLVED}
    assert ends == {"pager", "chat", "lead-mail", "cto-mail"}


def test_what_begins_and_ends_while_the_catalog_is_away_is_written_whole():
    scene, catalog, post = away()
    _break(catalog, "unreadable")
    scene.sees(failed())
    scene.sees()
    assert [each.message.kind for each in post.given] == [
        MessageKind.ALERT, MessageKind.ALERT, MessageKind.RESOLVED, MessageKind.RESOLVED,
    ]  # fmt: skip
    scene.sees(failed(occurrence="again"))
    assert post.given[-1].message.why == "it is back, 0s after it was resolved"
    _mend(catalog)
    scene.tick()
    assert catalog.open_incidents()[0].occurrences == 2


@pytest.mark.parametrize("how", ["unreadable", "full"])
def test_a_person_can_take_an_incident_while_the_catalog_is_away(how):
    scene, catalog, post = away()
    scene.sees(level())
    one = scene.only()
    _break(catalog, how)
    assert scene.escalator.acknowledge(one.id[:6], "anna").state is State.ACKNOWLEDGED
    scene.wait(2 * HOUR)
    assert {each.message.kind for each in post.given} == {MessageKind.ACKNOWLEDGED}
    _mend(catalog)
    scene.tick()
    assert scene.only().acknowledged_by == "anna"


def test_without_a_courier_all_waits_for_the_catalog():
    clock = FakeClock(START)
    catalog = HalfCatalog(clock)
    scene = Scene(catalog=catalog, clock=clock)
    scene.delivers = False
    catalog.fail(AWAY)
    scene.sees(level())
    scene.wait(30 * MINUTE)
    catalog.fail(None)
    scene.tick()
    assert [one.channel for one in catalog.envelopes(scene.only().id)] == [
        "pager", "chat", "lead-mail", "chat",
    ]  # fmt: skip


@pytest.mark.parametrize("how", ["unreadable", "full"])
@pytest.mark.parametrize("word", ["acknowledge", "resolve"])
def test_a_command_does_not_take_what_it_cannot_write_down(word, how):
    clock = FakeClock(START)
    catalog = HalfCatalog(clock)
    scene = Scene(catalog=catalog, clock=clock)
    scene.sees(level())
    one = scene.only()
    _break(catalog, how)
    with pytest.raises(CatalogError):
        getattr(scene.escalator, word)(one.id, "anna")
    _mend(catalog)
    assert scene.only().state is State.FIRING


def test_another_process_went_on_with_it_meanwhile():
    scene, catalog, _ = away()
    scene.sees(level())
    other = Scene(catalog=catalog, clock=scene.clock)
    _break(catalog, "unreadable")
    scene.wait(30 * MINUTE)
    _mend(catalog)
    other.acknowledge("anna")
    scene.tick()
    assert scene.only().acknowledged_by == "anna"
    assert "told" in [one.kind for one in scene.timeline()][3:]
    assert scene.escalator.trouble is None


def test_what_another_process_opened_meanwhile_is_the_one_that_goes_on():
    """People were told of an id that is nowhere: for them it ends, so that no page stays open."""
    scene, catalog, post = away()
    other = Scene(catalog=catalog, clock=scene.clock)
    _break(catalog, "unreadable")
    scene.sees(level())
    lost = post.given[0].message.incident
    assert lost is not None
    _mend(catalog)
    other.sees(level())
    scene.tick()
    assert scene.only().id != lost
    ends = catalog.envelopes(lost)
    assert [(one.channel, one.message.kind, one.message.why) for one in ends] == [
        ("pager", MessageKind.RESOLVED, "it goes on under another id"),
        ("chat", MessageKind.RESOLVED, "it goes on under another id"),
    ]


def _break(catalog: HalfCatalog, how: str) -> None:
    if how == "full":
        catalog.full = True
    else:
        catalog.fail(AWAY)


def _mend(catalog: HalfCatalog) -> None:
    catalog.full = False
    catalog.fail(None)


# --- clocks ---


def test_a_clock_that_is_set_back_holds_nobody_up():
    scene = Scene()
    scene.sees(level())
    scene.wait(20 * MINUTE)
    scene.clock.jump_to(START - 3 * HOUR)
    scene.wait(9 * MINUTE)
    assert len(scene.told()) == 1
    scene.wait(2 * MINUTE)
    assert scene.told() == ["23:10 escalation lead: lead-mail, chat"]


def test_a_clock_that_is_set_back_a_little_holds_nobody_up():
    """Not behind anything that is written: only the other clock tells."""
    scene = Scene()
    scene.sees(level())
    scene.wait(20 * MINUTE)
    scene.clock.jump_to(START + 10 * MINUTE)
    scene.wait(11 * MINUTE)
    assert scene.told() == [
        "02:00 alert on-call: pager, chat",
        "02:20 escalation lead: lead-mail, chat",
    ]


def test_a_clock_that_is_set_back_keeps_no_acknowledgement_alive():
    scene = Scene()
    scene.sees(level())
    scene.acknowledge()
    scene.wait(3 * HOUR)
    scene.told()
    scene.clock.jump_to(START - 24 * HOUR)
    scene.wait(HOUR + 15 * SECOND)
    assert scene.only().state is State.FIRING
    assert [line.split()[1] for line in scene.told()] == ["reminder"]


def test_a_clock_that_is_set_back_keeps_nothing_recovering():
    scene = Scene()
    scene.sees(level())
    scene.sees()
    scene.wait(MINUTE)
    scene.clock.jump_to(START - 24 * HOUR)
    scene.wait(MINUTE + 15 * SECOND)
    assert scene.catalog.open_incidents() == []


def test_a_clock_that_was_set_back_while_guardian_was_not_running():
    before = Scene()
    before.sees(level())
    before.wait(20 * MINUTE)
    before.acknowledge()
    clock = FakeClock(START - 5 * HOUR)
    catalog = before.catalog
    after = Scene(catalog=catalog, clock=clock)
    after.sees(level())
    after.wait(4 * HOUR)
    assert after.only().state is State.FIRING
    after.wait(10 * MINUTE)
    assert "01:10 escalation lead: lead-mail, chat" in after.told()


def test_a_clock_that_is_set_forward_is_time_that_passed():
    """As after a sleep of the machine: rather too early than too late."""
    scene = Scene()
    scene.sees(level())
    scene.clock.jump_to(START + 5 * HOUR)
    scene.tick()
    assert len(scene.told()) == 3


# --- the digest ---

WEEK = timedelta(days=7)
MONDAY_9 = datetime(2026, 11, 30, 9, 0, tzinfo=UTC)


def digesting(**changes):
    values = {"digest": Digest(people=("lead",)), "startup_settle": timedelta(0), **changes}
    return rules(**values)


def to_monday(scene: Scene) -> list[Envelope]:
    scene.clock.jump_to(MONDAY_9)
    return list(scene.tick().envelopes)


def test_what_waited_is_told_on_monday_morning():
    scene = Scene(digesting(), at=MONDAY_9 - 5 * 24 * HOUR)
    scene.sees(level("vital.indexes:main", P3, title="Two indexes are invalid"))
    scene.wait(2 * MINUTE)
    assert scene.envelopes() == []
    scene.delivers = False
    sent = to_monday(scene)
    assert [(one.channel, one.rung) for one in sent] == [("lead-mail", "lead"), ("chat", "lead")]
    message = sent[0].message
    assert message.kind is MessageKind.DIGEST
    assert message.items == ("P3 open for 5d: Two indexes are invalid",)
    assert scene.catalog.outstanding() == 2
    assert scene.tick().is_empty
    scene.clock.advance(WEEK - SECOND)
    assert scene.tick().is_empty
    scene.clock.advance(SECOND)
    assert len(scene.tick().envelopes) == 2


def test_nothing_to_tell_is_not_told():
    scene = Scene(digesting(), at=MONDAY_9 - HOUR)
    assert to_monday(scene) == []
    assert [one.kind for one in scene.catalog.events()] == [DIGEST_SENT]


def test_a_restart_neither_repeats_nor_forgets_a_digest():
    scene = Scene(digesting(), at=MONDAY_9 - HOUR)
    scene.sees(level("probe.x:x", P3))
    assert len(to_monday(scene)) == 2
    scene.clock.advance(HOUR)
    again = Scene(digesting(), catalog=scene.catalog, clock=scene.clock)
    assert again.tick().is_empty
    scene.clock.advance(WEEK)  # guardian was not running at nine
    later = Scene(digesting(), catalog=scene.catalog, clock=scene.clock)
    assert len(later.tick().envelopes) == 2


def test_the_first_start_ever_tells_no_digest_of_the_past():
    scene = Scene(digesting(), at=MONDAY_9 + HOUR)
    scene.sees(level("probe.x:x", P3))
    assert scene.tick().is_empty


def test_the_digests_hour_is_that_of_its_timezone():
    its = digesting(digest=Digest(timezone="Europe/Berlin", people=("lead",)))
    scene = Scene(its, at=MONDAY_9 - 2 * HOUR)
    scene.sees(level("probe.x:x", P3))
    scene.clock.advance(59 * MINUTE)
    assert scene.tick().is_empty
    scene.clock.advance(MINUTE)
    assert len(scene.tick().envelopes) == 2


def test_the_digest_waits_for_the_catalog():
    clock = FakeClock(MONDAY_9 - HOUR)
    catalog = HalfCatalog(clock)
    scene = Scene(digesting(), catalog=catalog, clock=clock)
    scene.sees(level("probe.x:x", P3))
    catalog.fail(AWAY)
    assert to_monday(scene) == []
    catalog.fail(None)
    assert len(scene.tick().envelopes) == 2


def test_the_digest_knows_how_databases_are_protected():
    asked = []

    def protections(since: datetime) -> Sequence[Protection]:
        asked.append(since)
        return [Protection("main/mina", 6, 1, 6, START, None)]

    clock = FakeClock(MONDAY_9 - HOUR)
    catalog = MemoryCatalog(clock)
    engine = Escalator(catalog, clock, digesting(), protections=protections)
    clock.advance(HOUR)
    (message, _) = (one.message for one in engine.tick().envelopes)
    assert message.items == ("main/mina: 1 failed backups", "main/mina: no proven backup")
    assert asked == [MONDAY_9 - HOUR]


def test_a_digest_that_cannot_tell_of_backups_tells_the_rest():
    def broken(_since: datetime) -> Sequence[Protection]:
        raise PermissionDeniedError("the server main does not let us in")

    scene = Scene(digesting(), at=MONDAY_9 - HOUR, protections=broken)
    scene.sees(level("probe.x:x", P3))
    assert len(to_monday(scene)) == 2


@pytest.mark.parametrize("wanted", [None, Digest(people=()), Digest(people=("gone",))])
def test_no_digest(wanted):
    scene = Scene(digesting(digest=wanted), at=MONDAY_9 - HOUR)
    scene.sees(level("probe.x:x", P3))
    assert to_monday(scene) == []


# --- other rules from now on ---


def test_other_rules_hold_from_the_next_round_on():
    scene = Scene()
    scene.sees(level(severity=P2))
    scene.told()
    harder = rules(severities=(("probe.*", P1),), people={**PEOPLE, "lead": ("phone",)})
    scene.escalator.reconfigure(harder)
    assert scene.escalator.rules is harder
    scene.sees(level(severity=P2))
    assert scene.told() == ["02:00 update on-call: pager, chat"]
    scene.wait(30 * MINUTE)
    assert scene.told() == ["02:30 escalation lead: phone"]


def test_a_wrong_clock_in_the_past_puts_no_digest_off_for_ever():
    """The digest was told by a clock that was a year ahead."""
    clock = FakeClock(MONDAY_9 + 52 * WEEK - HOUR)
    catalog = MemoryCatalog(clock)
    ahead = Scene(digesting(), catalog=catalog, clock=clock)
    clock.advance(HOUR)
    ahead.tick()
    clock.jump_to(MONDAY_9 - HOUR)
    ahead.tick()
    ahead.sees(level("probe.x:x", P3))
    assert len(to_monday(ahead)) == 2
    clock.advance(MINUTE)
    assert ahead.tick().is_empty


def test_a_clock_that_is_set_back_a_little_repeats_no_digest():
    scene = Scene(digesting(), at=MONDAY_9 - HOUR)
    scene.sees(level("probe.x:x", P3))
    assert len(to_monday(scene)) == 2
    scene.clock.jump_to(MONDAY_9 - MINUTE)
    scene.tick()
    assert to_monday(scene) == []
    again = Scene(digesting(), catalog=scene.catalog, clock=scene.clock)
    assert to_monday(again) == []


def test_who_has_only_cron_gets_a_digest_by_the_first_command_after_its_time():
    """Each command is a process of its own that begins and ends at another hour."""
    clock = FakeClock(MONDAY_9 - 30 * HOUR)
    catalog = MemoryCatalog(clock)
    told = []
    for _ in range(4):
        scene = Scene(digesting(), catalog=catalog, clock=clock)
        scene.sees(level("probe.x:x", P3))
        told.append(len(scene.tick().envelopes))
        clock.advance(24 * HOUR)
    assert told == [0, 0, 2, 0]


# --- the self-test ---


def trying_out(channels: tuple[str, ...] = ("pager", "chat", "lead-mail", "cto-mail", "spare")):
    return rules(self_test=SelfTest("0 9 * * mon", "Europe/Berlin", channels))


MONDAY_8 = MONDAY_9 - HOUR
"""Nine o'clock in Berlin."""


def test_a_test_goes_through_every_channel_once_and_to_nobody_instead():
    scene = Scene(trying_out(), at=MONDAY_8 - HOUR)
    assert scene.tick().is_empty
    scene.clock.advance(HOUR)
    sent = scene.tick().envelopes
    assert [(one.channel, one.rung) for one in sent] == [
        ("pager", "on-call"),
        ("chat", "on-call"),
        ("lead-mail", "lead"),
        ("cto-mail", "cto"),
        ("spare", "spare"),
    ]
    assert {one.others for one in sent} == {()}
    (message,) = {one.message for one in sent}
    assert (message.kind, message.incident) == (MessageKind.TEST, None)
    assert "scheduled self-test" in message.title
    assert "nothing is wrong" in message.title
    assert [(one.kind, one.message) for one in scene.catalog.events()] == [
        (SELF_TEST_SENT, "5 messages")
    ]
    assert scene.tick().is_empty


def test_a_restart_neither_repeats_nor_forgets_a_self_test():
    scene = Scene(trying_out(), at=MONDAY_8 - HOUR)
    scene.tick()
    scene.clock.advance(HOUR)
    again = Scene(trying_out(), catalog=scene.catalog, clock=scene.clock)
    assert len(again.tick().envelopes) == 5
    third = Scene(trying_out(), catalog=scene.catalog, clock=scene.clock)
    assert third.tick().is_empty
    third.clock.advance(3 * WEEK + HOUR)  # nobody ran: several missed ones are one
    assert len(Scene(trying_out(), catalog=scene.catalog, clock=scene.clock).tick().envelopes) == 5
    assert third.tick().is_empty


def test_a_channel_at_which_the_last_test_still_waits_gets_no_second_one():
    scene = Scene(trying_out(("pager", "chat")), at=MONDAY_8 - HOUR)
    scene.delivers = False
    scene.tick()
    scene.clock.advance(HOUR)
    scene.tick()
    (first, _) = scene.catalog.waiting(scene.clock.now())
    scene.catalog.settle(Settlement((replace(first, standing=Standing.DELIVERED),)))
    scene.clock.advance(WEEK)
    assert [one.channel for one in scene.tick().envelopes] == [first.channel]


def test_without_channels_or_a_schedule_there_is_no_self_test():
    for its in (trying_out(()), rules()):
        scene = Scene(its, at=MONDAY_8 - HOUR)
        scene.tick()
        scene.clock.advance(2 * WEEK)
        assert scene.tick().is_empty


def test_a_schedule_that_is_changed_by_a_reload_counts_from_what_was_told():
    scene = Scene(trying_out(), at=MONDAY_8 - HOUR)
    scene.tick()
    scene.clock.advance(HOUR)
    assert len(scene.tick().envelopes) == 5
    daily = SelfTest("0 9 * * *", "Europe/Berlin", ("pager",))
    scene.escalator.reconfigure(rules(self_test=daily))
    assert scene.tick().is_empty
    scene.clock.advance(24 * HOUR)
    assert len(scene.tick().envelopes) == 1


def test_two_that_see_it_due_at_once_tell_it_once():
    """Two daemons after a lapse: both have read that it is due before either has written."""
    clock = FakeClock(MONDAY_8 - HOUR)
    both_have_read = threading.Barrier(2)

    class Slow(MemoryCatalog):
        racing = False

        def tell(self, occasion: Occasion) -> bool:
            if self.racing:
                both_have_read.wait(10)
            return super().tell(occasion)

    catalog = Slow(clock)
    scenes = [Scene(trying_out(), catalog=catalog, clock=clock) for _ in range(2)]
    for scene in scenes:
        scene.delivers = False
        scene.tick()
    clock.advance(HOUR)
    catalog.racing = True
    threads = [threading.Thread(target=scene.tick) for scene in scenes]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert sorted(len(scene.envelopes()) for scene in scenes) == [0, 5]
    assert catalog.outstanding() == 5
    assert len(catalog.events(kind=SELF_TEST_SENT)) == 1


def test_what_is_told_next_is_known_beforehand():
    both = rules(
        digest=Digest(people=("lead",)), self_test=SelfTest("every 7d", channels=("pager", "chat"))
    )
    clock = FakeClock(MONDAY_9 - HOUR)
    catalog = MemoryCatalog(clock)
    times = SetTimes(catalog, clock.now())
    found = [(one.at, one.what) for one in times.planned(clock.now(), both)]
    assert found == [
        (MONDAY_9, "digest to lead"),
        (datetime(2026, 12, 3, tzinfo=UTC), "self-test of pager, chat"),
    ]
    times.tell(clock.now(), both)
    clock.advance(2 * WEEK)  # nobody was there to tell it: it is told as soon as anybody is
    assert {one.at for one in times.planned(clock.now(), both)} == {clock.now()}
