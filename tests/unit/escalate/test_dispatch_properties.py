"""Whatever fails, in whatever order: every message is heard, in order, and none is lost."""

from __future__ import annotations

from collections import defaultdict
from datetime import timedelta

from hypothesis import given, settings
from hypothesis import strategies as st
from support.dispatching import BEHIND_PAGER, Office
from support.incidents import envelope, incident_id

from guardian.errors import DeliveryError
from guardian.escalate.model import MessageKind, Receipt, Standing

CHANNELS = ("pager", "chat", "mail", "phone")
KINDS = (
    MessageKind.ALERT,
    MessageKind.REMINDER,
    MessageKind.ESCALATION,
    MessageKind.RESOLVED,
    MessageKind.UPDATE,
)

answers = st.one_of(
    st.just(Receipt("taken", memo="thread")),
    st.just(DeliveryError("503")),
    st.integers(1, 400).map(lambda s: DeliveryError("429", retry_after=float(s))),
    st.just(DeliveryError("410", permanent=True)),
    st.just(RuntimeError("a defect")),
)
actions = st.one_of(
    st.tuples(st.just("tell"), st.integers(0, 4)),
    st.tuples(st.just("tell many"), st.integers(10, 16)),
    st.tuples(st.just("pass"), st.integers(1, 400)),
    st.tuples(st.just("answer"), st.sampled_from(CHANNELS), st.lists(answers, max_size=4)),
    st.tuples(st.just("always"), st.sampled_from(CHANNELS), answers),
    st.tuples(st.just("break catalog")),
    st.tuples(st.just("mend catalog")),
    st.tuples(st.just("restart")),
)


class Story:
    """An office to which things happen, and what was said to whom."""

    def __init__(self) -> None:
        self.office = Office()
        self.numbers: defaultdict[int, int] = defaultdict(int)
        self.said: list[tuple[str, int]] = []
        self.is_broken = False

    def tell(self, of: int, kind: MessageKind) -> None:
        self.numbers[of] += 1
        number = self.numbers[of]
        now = self.office.clock.now()
        made = envelope(number, of, kind=kind, at=now, others=BEHIND_PAGER)
        self.said.append((made.message.dedup_key, number))
        if self.is_broken:
            self.office.dispatcher.send_unrecorded([made])
        else:
            self.office.post(made)

    def happen(self, action: tuple) -> None:
        office = self.office
        match action:
            case ("tell", of):
                self.tell(of, KINDS[self.numbers[of] % len(KINDS)])
            case ("tell many", count):
                for of in range(count):
                    self.tell(of, MessageKind.ALERT)
            case ("pass", seconds):
                office.clock.advance(seconds)
            case ("answer", channel, some):
                office.channels[channel].answers.extend(some)
            case ("always", channel, answer):
                office.channels[channel].otherwise = answer
            case ("break catalog",):
                office.break_catalog()
                self.is_broken = True
            case ("mend catalog",):
                office.mend_catalog()
                office.clock.advance(6)  # it is asked again, and what comes now is seen
                self.is_broken = False
            case ("restart",) if not self.is_broken:
                office.clock.advance(6)  # the catalog is asked again
                office.run()
                office.start()
        office.run()

    def end_well(self) -> None:
        self.happen(("mend catalog",))
        for channel in self.office.channels.values():
            channel.answers.clear()
            channel.otherwise = Receipt()
        for _ in range(200):
            if self.office.catalog.outstanding() == 0 and not self.unwritten():
                return
            self.office.pass_time(timedelta(seconds=60), step=20)

    def unwritten(self) -> int:
        return self.office.run().unwritten

    def rows(self):
        numbers = {of for of in range(20) if self.numbers[of]}
        return [one for of in numbers for one in self.office.catalog.envelopes(incident_id(of))]


@settings(max_examples=100, deadline=None)
@given(st.lists(actions, max_size=30))
def test_whatever_fails_nothing_is_lost_and_order_is_kept(happenings):
    story = Story()
    for action in happenings:
        story.happen(action)
    story.end_well()
    office = story.office
    assert office.catalog.outstanding() == 0
    assert office.dispatcher.run_once().unwritten == 0

    storms = {one.dedup_key for each in office.channels.values() for one in each.sent if one.items}
    heard: defaultdict[tuple[str, int], list] = defaultdict(list)
    rows = defaultdict(list)
    for row in story.rows():
        key = (row.message.dedup_key, row.message.number)
        rows[key].append(row)
        told = row.standing is Standing.GROUPED and row.group in storms
        if told or row.standing is Standing.DELIVERED:
            heard[key].append(row)
    for key in story.said:
        if not heard[key]:  # then everybody who could have it has refused it for good
            (lost,) = [one for one in rows[key] if one.standing is Standing.UNDELIVERABLE]
            assert set(lost.tried) <= set(lost.refused)
            assert lost.refused

    for channel in office.channels.values():
        first_heard: dict[str, int] = {}
        for one in channel.sent:
            if one.incident is None:
                continue
            highest = first_heard.get(one.dedup_key, 0)
            assert one.number > highest, (channel.name, one.dedup_key, one.number, highest)
            first_heard[one.dedup_key] = one.number
