"""What every catalog does for escalation, in memory, in SQLite and in PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import MISSING, fields, replace
from datetime import UTC, timedelta, timezone
from pathlib import Path

import pytest
from support.catalogs import CatalogSite, make_ready_site
from support.incidents import (
    HOSTILE,
    KEPT,
    MINUTE,
    START,
    condition,
    envelope,
    full_envelope,
    full_incident,
    incident,
    incident_id,
    message,
)

from guardian.adapters.catalog.catalog import SqlCatalog
from guardian.errors import CatalogError, NotFoundError, StaleIncidentError
from guardian.escalate.model import (
    PUT_OFF_AT_MOST,
    Change,
    ChannelHealth,
    Entry,
    EntryKind,
    Envelope,
    MessageKind,
    Occasion,
    Settlement,
    Severity,
    Silence,
    Standing,
    State,
    Watcher,
)
from guardian.testing import MemoryCatalog

HOUR = timedelta(hours=1)
texts = pytest.mark.parametrize("site", ["sqlite", "postgres"], indirect=True)
"""For what keeps texts; in memory there are none to be damaged."""
Anyone = SqlCatalog | MemoryCatalog


@pytest.fixture(params=["memory", "sqlite", "postgres"])
def site(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[CatalogSite]:
    def database():
        return request.getfixturevalue("fresh_database")(request.getfixturevalue("pg15"))

    made = make_ready_site(request.param, tmp_path, database)
    yield made
    made.close()


def opened(site: CatalogSite) -> Anyone:
    catalog = site.open()
    assert isinstance(catalog, Anyone)
    return catalog


@pytest.fixture
def catalog(site: CatalogSite) -> Anyone:
    return opened(site)


def entry(text: str = "it fired", kind: EntryKind = EntryKind.FIRED, of: int = 1) -> Entry:
    return Entry(incident_id(of), START, kind, text)


def ids(found) -> list[str]:
    return [one.id for one in found]


def numbers(found) -> list[int]:
    return [one.message.number for one in found]


def post(catalog: Anyone, *envelopes: Envelope) -> None:
    catalog.apply(Change(envelopes=envelopes))


def settle(catalog: Anyone, *envelopes: Envelope) -> None:
    catalog.settle(Settlement(envelopes))


def sent(one: Envelope, standing: Standing = Standing.DELIVERED, **changes) -> Envelope:
    at = START if standing is Standing.DELIVERED else None
    return replace(one, standing=standing, delivered_at=at, **changes)


# --- incidents ---


def differs_everywhere(record) -> bool:
    return all(
        getattr(record, one.name) not in {one.default, None}
        for one in fields(record)
        if one.name not in {"id", "version"} and one.default is not MISSING
    )


def test_records_of_this_suite_have_something_in_every_field():
    sample = full_envelope()
    everything = [full_incident(), full_incident().condition, sample, sample.message]
    assert all(differs_everywhere(one) for one in everything)


def test_an_incident_comes_back_as_it_was(site):
    catalog = opened(site)
    catalog.apply(Change(incidents=(full_incident(),)))
    (found,) = opened(site).open_incidents()
    assert found == replace(full_incident(), version=1)
    assert found.opened_at.tzinfo is UTC
    assert found.condition.since is not None
    assert found.condition.since.tzinfo is UTC


def test_times_come_back_in_utc_and_naive_ones_are_refused(catalog):
    east = START.astimezone(timezone(timedelta(hours=5)))
    catalog.apply(Change(incidents=(incident(fired_at=east),)))
    (found,) = catalog.open_incidents()
    assert (found.fired_at, found.fired_at.tzinfo) == (START, UTC)
    naive = START.replace(tzinfo=None)
    with pytest.raises(ValueError, match="timezone"):
        catalog.apply(Change(incidents=(incident(2, "a:b", condition=condition(since=naive)),)))
    with pytest.raises(ValueError, match="timezone"):
        catalog.apply(Change(incidents=(incident(2, "a:b", updated_at=naive),)))
    assert ids(catalog.incidents()) == [incident_id(1)]


def test_hostile_text_is_kept_as_far_as_can_be(site):
    catalog = opened(site)
    of = incident(key=f"probe.{HOSTILE}:x", condition=condition(title=HOSTILE, mend=(HOSTILE,)))
    line = Entry(of.id, START, EntryKind.NOTE, HOSTILE, HOSTILE)
    told = envelope(1, rung=HOSTILE, error=HOSTILE, others=(HOSTILE,))
    told = replace(told, message=replace(told.message, title=HOSTILE, items=(HOSTILE,)))
    catalog.apply(Change(incidents=(of,), entries=(line,), envelopes=(told,)))
    found = catalog.latest_incident(f"probe.{HOSTILE}:x")
    assert found is not None
    assert (found.title, found.condition.mend) == (KEPT, (KEPT,))
    assert [(one.text, one.by) for one in catalog.timeline(of.id)] == [(KEPT, KEPT)]
    (back,) = catalog.waiting(START)
    assert (back.rung, back.error, back.others) == (KEPT, KEPT, (KEPT,))
    assert (back.message.title, back.message.items) == (KEPT, (KEPT,))
    catalog.save_channel_health(ChannelHealth("pager", START, 1, None, HOSTILE))
    assert [one.last_error for one in catalog.channel_health()] == [KEPT]


def test_a_change_moves_an_incident_on(catalog):
    catalog.apply(Change(incidents=(incident(),)))
    (first,) = catalog.open_incidents()
    catalog.apply(Change(incidents=(replace(first, state=State.ACKNOWLEDGED),)))
    (second,) = catalog.open_incidents()
    assert (second.version, second.state) == (first.version + 1, State.ACKNOWLEDGED)


def test_who_read_an_older_version_hears_so(site):
    one, other = opened(site), opened(site)
    one.apply(Change(incidents=(incident(),)))
    (read,) = other.open_incidents()
    one.apply(Change(incidents=(replace(read, occurrences=2),)))
    with pytest.raises(StaleIncidentError, match=str(read.id)) as caught:
        other.apply(Change(incidents=(replace(read, occurrences=9),)))
    assert caught.value.transient
    assert [found.occurrences for found in other.open_incidents()] == [2]


def test_an_incident_that_is_gone_is_stale(catalog):
    with pytest.raises(StaleIncidentError):
        catalog.apply(Change(incidents=(incident(version=3),)))
    catalog.apply(Change(incidents=(incident(),)))
    with pytest.raises(StaleIncidentError):
        catalog.apply(Change(incidents=(incident(key="another:key"),)))


def test_of_one_key_only_one_is_open(catalog):
    catalog.apply(Change(incidents=(incident(1), incident(2, "server.down:main"))))
    with pytest.raises(StaleIncidentError):
        catalog.apply(Change(incidents=(incident(3),)))
    catalog.apply(Change(incidents=(incident(4, state=State.RESOLVED),)))
    (old,) = catalog.find_incidents(incident_id(1))
    resolved = replace(old, state=State.RESOLVED, resolved_at=START)
    # In one step, whatever the order: what is resolved frees its key.
    catalog.apply(Change(incidents=(incident(3), resolved)))
    assert ids(catalog.open_incidents()) == [incident_id(2), incident_id(3)]
    with pytest.raises(StaleIncidentError):  # to open it again would make two
        catalog.apply(Change(incidents=(replace(resolved, version=2, state=State.FIRING),)))


def test_of_many_that_open_one_key_at_once_one_wins(site):
    catalogs = [opened(site) for _ in range(6)]

    def try_it(number: int) -> bool:
        try:
            catalogs[number].apply(
                Change(incidents=(incident(number),), envelopes=(envelope(number, number),))
            )
        except StaleIncidentError:
            return False
        return True

    with ThreadPoolExecutor(6) as pool:
        won = list(pool.map(try_it, range(6)))
    assert sum(won) == 1
    assert ids(catalogs[0].open_incidents()) == [incident_id(won.index(True))]
    assert numbers(catalogs[0].waiting(START)) == [won.index(True)]


def test_a_step_is_written_whole_or_not_at_all(catalog):
    catalog.apply(Change(incidents=(incident(1),)))
    with pytest.raises(StaleIncidentError):
        catalog.apply(
            Change(
                incidents=(incident(2, "server.down:main"), incident(3)),
                entries=(entry(),),
                envelopes=(envelope(),),
            )
        )
    assert ids(catalog.incidents()) == [incident_id(1)]
    assert list(catalog.timeline(incident_id(1))) == []
    assert catalog.outstanding() == 0


def test_incidents_are_listed_and_found(catalog):
    for number in range(4):
        at = START + number // 2 * MINUTE
        state = State.RESOLVED if number == 1 else State.FIRING
        catalog.apply(Change(incidents=(incident(number, f"a:{number}", state, at),)))
    every = [incident_id(number) for number in (3, 2, 1, 0)]
    assert ids(catalog.incidents()) == every
    assert ids(catalog.incidents(limit=2)) == every[:2]
    assert ids(catalog.incidents(only_open=True)) == [every[0], every[1], every[3]]
    assert ids(catalog.incidents(since=START + MINUTE)) == every[:2]
    assert ids(catalog.open_incidents()) == [every[3], every[1], every[0]]
    assert ids(catalog.find_incidents("inc0000")) == every
    assert ids(catalog.find_incidents("inc00002")) == [incident_id(2)]
    assert ids(catalog.find_incidents("INC")) == []
    assert ids(catalog.find_incidents("%")) == []


def test_the_latest_of_a_key_may_be_resolved(catalog):
    assert catalog.latest_incident("backup.failed:main/mina") is None
    catalog.apply(Change(incidents=(incident(1, state=State.RESOLVED),)))
    catalog.apply(Change(incidents=(incident(2, state=State.RESOLVED, at=START + MINUTE),)))
    catalog.apply(Change(incidents=(incident(3, "server.down:main", at=START + 2 * MINUTE),)))
    found = catalog.latest_incident("backup.failed:main/mina")
    assert found is not None
    assert found.id == incident_id(2)


def test_a_timeline_keeps_the_order_in_which_it_was_written(catalog):
    lines = [entry("1"), replace(entry("2", EntryKind.ACKNOWLEDGED), at=START - HOUR, by="Robin")]
    catalog.apply(Change(incidents=(incident(),), entries=(lines[0], entry("other", of=2))))
    catalog.apply(Change(entries=(lines[1],)))
    assert list(catalog.timeline(incident_id(1))) == lines


# --- the outbox ---


def test_an_envelope_comes_back_as_it_was(site):
    catalog = opened(site)
    post(catalog, full_envelope())
    (found,) = opened(site).envelopes(incident_id(1))
    assert found.id
    assert replace(found, id=0) == full_envelope()


def test_what_is_due_comes(catalog):
    post(
        catalog,
        envelope(1, 1),
        envelope(2, 2, next_at=START + MINUTE),
        envelope(3, None),
        envelope(4, 4, standing=Standing.GROUPED),
    )
    assert numbers(catalog.waiting(START - MINUTE)) == []
    assert numbers(catalog.waiting(START)) == [1, 3]
    assert numbers(catalog.waiting(START + MINUTE)) == [1, 2, 3]
    assert numbers(catalog.waiting(START + MINUTE, limit=2)) == [1, 2]
    assert catalog.outstanding() == 3


def test_what_a_clock_that_was_ahead_has_put_off_is_due(catalog):
    post(catalog, envelope(1, 1, next_at=START + PUT_OFF_AT_MOST), envelope(2, 2))
    post(catalog, envelope(3, 3, next_at=START + timedelta(days=2)))
    assert numbers(catalog.waiting(START)) == [2, 3]


def test_the_worst_comes_first_and_no_channel_crowds_out_another(catalog):
    p0 = replace(envelope(5, 5), message=message(5, 5, severity=Severity.P0))
    p3 = replace(envelope(6, 6, "mail"), message=message(6, 6, severity=Severity.P3))
    post(catalog, p3, *(envelope(at, at) for at in range(4)), p0)
    assert numbers(catalog.waiting(START)) == [5, 0, 1, 2, 3, 6]
    assert numbers(catalog.waiting(START, limit=2)) == [5, 0, 6]


def test_of_one_incident_and_channel_only_the_first_is_due(catalog):
    post(catalog, envelope(1), envelope(2, channel="mail"), envelope(3), envelope(4, 2))
    first, mail, other = catalog.waiting(START)
    assert numbers([first, mail, other]) == [1, 2, 4]
    later = replace(first, attempts=1, next_at=START + MINUTE, error="503")
    settle(catalog, later)
    assert numbers(catalog.waiting(START)) == [2, 4]
    assert [(one.attempts, one.error) for one in catalog.waiting(START + MINUTE)][:1] == [
        (1, "503")
    ]
    settle(catalog, sent(later))
    assert numbers(catalog.waiting(START)) == [2, 3, 4]


def test_the_message_s_number_goes_before_the_time_of_its_coming(catalog):
    post(catalog, envelope(7), envelope(2), envelope(9, channel="mail"))
    assert numbers(catalog.waiting(START)) == [2, 9]


def test_what_is_needless_later_is_superseded_and_the_rest_is_not(catalog):
    kinds = [MessageKind.ALERT, MessageKind.ESCALATION, MessageKind.REMINDER, MessageKind.UPDATE]
    post(catalog, *(envelope(at, 1, f"c{at}", kind) for at, kind in enumerate(kinds)))
    post(catalog, envelope(8, 2, kind=MessageKind.REMINDER))
    post(catalog, sent(envelope(9, 1, kind=MessageKind.REMINDER)))
    after = (envelope(10, 1, "c10", MessageKind.RESOLVED), envelope(11, 1, "c11", kinds[1]))
    catalog.apply(Change(superseded=(incident_id(1),), envelopes=after))
    assert numbers(catalog.waiting(START)) == [0, 3, 8, 10, 11]
    standings = {one.message.number: one.standing for one in catalog.envelopes(incident_id(1))}
    assert standings[1] is standings[2] is Standing.SUPERSEDED
    assert standings[9] is Standing.DELIVERED


def test_settling_writes_all_that_came_of_a_try(catalog):
    post(catalog, envelope(1, others=("mail", "rung:lead")), envelope(2, 2))
    first, second = catalog.waiting(START)
    over = envelope(3, channel="mail", others=("rung:lead",), tried=("pager",))
    failed = sent(first, Standing.HANDED_OVER, attempts=1, error="410 gone", tried=("pager",))
    grouped = sent(second, Standing.GROUPED, group="storm/1")
    line = entry("handed over to mail", EntryKind.UNDELIVERED)
    (new,) = catalog.settle(Settlement((grouped, failed), (line,), follow_ups=(over,)))
    assert catalog.waiting(START) == [new]
    assert numbers(catalog.waiting(START)) == [3]
    assert [replace(one, id=0) for one in catalog.waiting(START)] == [over]
    assert catalog.envelopes(incident_id(1))[0] == failed
    assert catalog.envelopes(incident_id(2))[0] == grouped
    assert list(catalog.timeline(incident_id(1))) == [line]


def test_a_row_that_waits_no_more_stays_unless_it_was_delivered(catalog):
    post(catalog, envelope(1, kind=MessageKind.REMINDER), envelope(2, 2, kind=MessageKind.REMINDER))
    first, second = catalog.waiting(START)
    catalog.apply(Change(superseded=(incident_id(1), incident_id(2))))
    settle(catalog, replace(first, attempts=1, next_at=START + MINUTE), sent(second))
    assert catalog.outstanding() == 0
    assert [one.standing for one in catalog.envelopes(incident_id(1))] == [Standing.SUPERSEDED]
    assert [one.standing for one in catalog.envelopes(incident_id(2))] == [Standing.DELIVERED]
    settle(catalog, sent(second, Standing.UNDELIVERABLE))
    assert [one.standing for one in catalog.envelopes(incident_id(2))] == [Standing.DELIVERED]


def test_what_was_sent_past_the_outbox_is_written_later(catalog):
    past, over = sent(envelope(1)), envelope(2)
    added = catalog.settle(Settlement((past,), (entry(),), follow_ups=(over,)))
    assert [replace(one, id=0) for one in added] == [past, over]
    assert list(catalog.envelopes(incident_id(1))) == added
    assert numbers(catalog.waiting(START)) == [2]
    assert list(catalog.timeline(incident_id(1))) == [entry()]


def test_a_settlement_is_written_whole_or_not_at_all(catalog):
    post(catalog, envelope(1))
    (first,) = catalog.waiting(START)
    naive = envelope(2, next_at=START.replace(tzinfo=None))
    with pytest.raises(ValueError, match="timezone"):
        catalog.settle(Settlement((sent(first),), (entry(),), follow_ups=(naive,)))
    assert catalog.waiting(START) == [first]
    assert list(catalog.timeline(incident_id(1))) == []


def test_memos_are_one_a_dedup_key_and_channel(catalog):
    assert catalog.memo("a", "pager") is None
    catalog.settle(Settlement(memos=(("a", "pager", "1"), ("a", "mail", "2"), ("b", "pager", "3"))))
    assert [catalog.memo("a", "pager"), catalog.memo("a", "mail")] == ["1", "2"]
    catalog.settle(Settlement(memos=(("a", "pager", HOSTILE), (HOSTILE, HOSTILE, "4"))))
    assert [catalog.memo("a", "pager"), catalog.memo("b", "pager")] == [KEPT, "3"]
    assert catalog.memo(HOSTILE, HOSTILE) == "4"


def test_a_storm_is_finished_when_all_of_its_incidents_are_resolved(catalog):
    storm = replace(
        envelope(0, None, kind=MessageKind.STORM), message=message(0, None, MessageKind.STORM)
    )
    key = storm.message.dedup_key
    catalog.apply(Change(incidents=tuple(incident(at, f"a:{at}") for at in (1, 2))))
    members = [sent(envelope(at, at), Standing.GROUPED, group=key) for at in (1, 2)]
    unknown = sent(envelope(3, 3), Standing.GROUPED, group="storm of another")
    catalog.settle(Settlement((*members, unknown), follow_ups=(storm,)))
    for one in catalog.incidents():
        assert list(catalog.finished_storms()) == []
        over = replace(one, state=State.RESOLVED, resolved_at=START)
        catalog.apply(Change(incidents=(over,)))
    assert list(catalog.finished_storms()) == []  # nobody has heard of it
    (waits,) = catalog.waiting(START)
    settle(catalog, sent(waits))
    assert [one.id for one in catalog.finished_storms()] == [waits.id]
    lost = replace(waits, id=0, message=replace(waits.message, dedup_key="storm of another"))
    post(catalog, sent(lost))  # its incident is not written yet
    assert [one.id for one in catalog.finished_storms()] == [waits.id]
    end = message(1, None, MessageKind.RESOLVED, dedup_key=key)
    post(catalog, replace(waits, id=0, message=end))
    assert list(catalog.finished_storms()) == []


def test_what_no_channel_took_is_listed_the_newest_first(catalog):
    lost = [envelope(at, at, standing=Standing.UNDELIVERABLE) for at in range(3)]
    post(catalog, *lost, envelope(9))
    assert numbers(catalog.undelivered()) == [2, 1, 0]
    assert numbers(catalog.undelivered(limit=1)) == [2]


# --- channels and silences ---


def test_the_health_of_channels(catalog):
    assert list(catalog.channel_health()) == []
    catalog.save_channel_health(ChannelHealth("pager", START, 3, START - HOUR, "503"))
    catalog.save_channel_health(ChannelHealth("mail"))
    well = ChannelHealth("pager", None, 0, START, None)
    catalog.save_channel_health(well)
    assert list(catalog.channel_health()) == [ChannelHealth("mail"), well]


def silence(name: str = "s1", start: timedelta = -HOUR, end: timedelta = HOUR) -> Silence:
    match = {"kind": "vital.*", "server": "main"}
    return Silence(name, START + start, START + end, "moving house", "Robin", match)


def test_silences_come_back_the_earliest_end_first(catalog):
    kept = [silence("long", end=2 * HOUR), silence("short"), silence("later", HOUR, 3 * HOUR)]
    everywhere = replace(silence("past", end=-MINUTE), match={})
    for one in [*kept, everywhere]:
        catalog.add_silence(one)
    assert list(catalog.silences()) == [everywhere, kept[1], kept[0], kept[2]]
    assert list(catalog.silences(START)) == [kept[1], kept[0], kept[2]]
    assert list(catalog.silences(START + HOUR)) == [kept[0], kept[2]]
    with pytest.raises(CatalogError, match="short"):
        catalog.add_silence(silence("short"))


def test_a_silence_is_ended_once(catalog):
    catalog.add_silence(silence())
    catalog.end_silence("s1", START)
    assert list(catalog.silences(START)) == []
    assert [one.ends_at for one in catalog.silences()] == [START]
    for name in ("s1", "s2"):
        with pytest.raises(NotFoundError, match=name):
            catalog.end_silence(name, START)


# --- pruning, faults ---


def test_old_incidents_go_with_all_that_is_theirs(catalog):
    old = incident(1, state=State.RESOLVED)
    young = incident(2, "a:young", State.RESOLVED, resolved_at=START + 2 * HOUR)
    waiting = incident(3, "a:waiting", State.RESOLVED)
    still_open = incident(4, "a:open")
    everything = (old, young, waiting, still_open)
    catalog.apply(
        Change(
            incidents=everything,
            entries=tuple(entry(of=at) for at in (1, 2, 3, 4)),
            envelopes=(
                *(envelope(at, at) for at in (1, 2, 3, 4)),
                envelope(5, None, standing=Standing.UNDELIVERABLE),
                envelope(6, None),
            ),
        )
    )
    memos = {at: message(at, at).dedup_key for at in (1, 2, 4)}
    for one in catalog.waiting(START):
        if one.message.number in memos:
            settle(catalog, sent(one))
            catalog.settle(Settlement(memos=((one.message.dedup_key, "pager", "memo"),)))
    catalog.add_silence(silence("past", end=-MINUTE))
    catalog.add_silence(silence("now", end=3 * HOUR))

    assert catalog.prune_incidents(HOUR, START + 2 * HOUR) == 1
    assert sorted(ids(catalog.incidents())) == [incident_id(at) for at in (2, 3, 4)]
    assert [len(catalog.timeline(incident_id(at))) for at in (1, 2, 3, 4)] == [0, 1, 1, 1]
    assert [len(catalog.envelopes(incident_id(at))) for at in (1, 2, 3, 4)] == [0, 1, 1, 1]
    assert numbers(catalog.waiting(START)) == [3, 6]
    assert numbers(catalog.undelivered()) == []
    assert [catalog.memo(memos[at], "pager") for at in memos] == [None, "memo", "memo"]
    assert [one.id for one in catalog.silences()] == ["now"]
    assert catalog.prune_incidents(HOUR, START + 2 * HOUR) == 0


@texts
def test_an_incident_that_cannot_be_read_any_more_is_still_told(site):
    catalog = opened(site)
    catalog.apply(Change(incidents=(full_incident(),), envelopes=(envelope(5),)))
    site.execute("UPDATE guardian_incidents SET body = '{', state = 'exploded'")
    site.execute("UPDATE guardian_outbox SET body = '[]', kind = 'song', severity = 'P9'")
    (found,) = catalog.open_incidents()
    assert (found.key, found.title, found.version) == (
        full_incident().key,
        full_incident().title,
        1,
    )
    assert found.state is State.FIRING
    (told,) = catalog.waiting(START)
    assert (told.message.title, told.message.kind) == ("message 5 of 1", MessageKind.ALERT)
    assert (told.message.severity, told.message.incident) == (Severity.P1, incident_id(1))
    catalog.apply(Change(incidents=(replace(found, state=State.RESOLVED, resolved_at=START),)))
    assert list(catalog.open_incidents()) == []


@texts
def test_a_text_of_a_newer_guardian_is_read_as_far_as_it_is_known(site):
    catalog = opened(site)
    catalog.apply(Change(incidents=(full_incident(),)))
    site.execute("""UPDATE guardian_incidents SET body = '{"mood": "bad", ' || substr(body, 2)""")
    assert list(catalog.open_incidents()) == [replace(full_incident(), version=1)]


def test_a_catalog_that_is_away_says_so(site):
    catalog = opened(site)
    if isinstance(catalog, MemoryCatalog):
        catalog.fail(CatalogError("away"))
    else:
        site.execute("DROP TABLE guardian_outbox")
    with pytest.raises(CatalogError):
        post(catalog, envelope())
    with pytest.raises(CatalogError):
        catalog.waiting(START)


# --- what is told at set times ---


def told(at=START, last=None, text="2 messages", envelopes=(), name="digest_sent") -> Occasion:
    return Occasion(name, at, last, text, envelopes)


def test_an_occasion_is_remembered_with_what_was_told(site):
    catalog = opened(site)
    assert catalog.last_told("digest_sent") is None
    assert catalog.tell(told(envelopes=(envelope(1), envelope(2, of=None))))
    other = opened(site)
    at = other.last_told("digest_sent")
    assert (at, at and at.tzinfo) == (START, UTC)
    assert other.last_told("self_test_sent") is None
    assert other.outstanding() == 2
    assert [(one.at, one.kind, one.message) for one in other.events()] == [
        (START, "digest_sent", "2 messages")
    ]


def test_an_occasion_is_told_only_by_who_knows_when_it_was_told_last(catalog):
    later = START + HOUR + timedelta(microseconds=1)
    assert not catalog.tell(told(last=START, envelopes=(envelope(1),)))
    assert catalog.last_told("digest_sent") is None
    assert catalog.tell(told())
    assert not catalog.tell(told(at=later, envelopes=(envelope(1),)))
    assert not catalog.tell(told(at=later, last=later, envelopes=(envelope(1),)))
    assert catalog.last_told("digest_sent") == START
    assert catalog.tell(told(at=later, last=START, envelopes=(envelope(1),)))
    assert catalog.tell(told(name="self_test_sent"))
    assert catalog.last_told("digest_sent") == later
    assert catalog.outstanding() == 1
    assert len(catalog.events(kind="digest_sent")) == 2


def test_an_occasion_may_go_back_with_the_clock_and_say_nothing(catalog):
    assert catalog.tell(told(text=""))
    assert catalog.tell(told(at=START - HOUR, last=START, text=""))
    assert catalog.last_told("digest_sent") == START - HOUR
    assert list(catalog.events()) == []


def test_of_many_who_tell_an_occasion_at_once_one_does(site):
    catalogs = [opened(site) for _ in range(6)]
    for last, at in ((None, START), (START, START + HOUR)):
        with ThreadPoolExecutor(len(catalogs)) as pool:
            done = list(
                pool.map(
                    lambda one, at=at, last=last: one.tell(
                        told(at=at, last=last, envelopes=(envelope(1),))
                    ),
                    catalogs,
                )
            )
        assert sorted(done) == [False] * 5 + [True]
    assert opened(site).outstanding() == 2
    assert len(opened(site).events()) == 2


# --- who observes what ---


def test_a_watcher_is_kept_with_its_scopes(site):
    catalog = opened(site)
    assert list(catalog.watchers()) == []
    daemon = Watcher("daemon", START, ("backups:main", HOSTILE))
    catalog.save_watcher(Watcher("commands on b", START, ()))
    catalog.save_watcher(daemon)
    catalog.save_watcher(replace(daemon, seen_at=START + HOUR))
    assert list(opened(site).watchers()) == [
        Watcher("commands on b", START, ()),
        Watcher("daemon", START + HOUR, ("backups:main", KEPT)),
    ]


@texts
def test_a_watcher_that_cannot_be_read_observes_nothing(site):
    opened(site).save_watcher(Watcher("daemon", START, ("stores",)))
    site.execute("UPDATE guardian_watchers SET scopes = 'not JSON'")
    assert list(opened(site).watchers()) == [Watcher("daemon", START)]
