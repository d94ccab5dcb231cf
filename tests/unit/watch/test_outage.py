from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardian.watch.outage import (
    Availability,
    Change,
    ChangeKind,
    Outage,
    OutageRules,
    ProbeCause,
    ProbeResult,
    observe,
)

START = datetime(2026, 11, 23, 2, 0, tzinfo=UTC)
STEP = timedelta(seconds=5)
RULES = OutageRules(failures=3, successes=2)
LETTERS = {"r": ProbeCause.REFUSED, "s": ProbeCause.STARTING_UP, "t": ProbeCause.TIMEOUT}


def at(step: int) -> datetime:
    return START + step * STEP


def run(story: str, rules: OutageRules = RULES) -> tuple[list[Outage], list[Change | None]]:
    """Probe after probe: ``+`` succeeds, a letter fails for its cause, ``~`` is a quiet hour."""
    outage, now = Outage(), START
    states, changes = [], []
    for index, letter in enumerate(story):
        if letter == "~":
            now += timedelta(hours=1)
            continue
        cause = LETTERS.get(letter)
        outage, change = observe(outage, ProbeResult(now, index / 1000, cause, letter), rules)
        states.append(outage)
        changes.append(change)
        now += STEP
    return states, changes


def words(story: str, rules: OutageRules = RULES) -> str:
    """Each step's state: u, s or d."""
    return "".join(state.availability[0] for state in run(story, rules)[0])


@pytest.mark.parametrize(
    ("story", "states"),
    [
        ("+++", "uuu"),
        ("r", "s"),
        ("rrr", "ssd"),
        ("+rr+r", "ussss"),
        ("+rr++", "usssu"),
        ("+r+rr+rr", "usssssss"),
        ("+rrr+r++", "ussddddu"),
        ("rst", "ssd"),
    ],
)
def test_it_needs_failures_in_a_row_and_successes_in_a_row(story: str, states: str) -> None:
    assert words(story) == states


def test_nothing_is_claimed_before_the_first_probe() -> None:
    assert Outage().availability is Availability.UNKNOWN
    assert Outage().latency_seconds is None
    assert Outage().latency_percentile(95) is None


def test_it_is_down_since_the_first_failed_probe() -> None:
    states, changes = run("+r+rrr+r++")
    down = changes[5]
    assert down == Change(ChangeKind.WENT_DOWN, at(5), at(3), ProbeCause.REFUSED, "r")
    assert states[5].down_since == at(3)
    assert states[5].down_for(at(15)) == 12 * STEP
    assert states[7].down_since == at(3), "a success in between does not begin a new outage"
    assert changes[9] == Change(ChangeKind.CAME_UP, at(9), at(3), ProbeCause.REFUSED, "r")
    assert states[9].down_since is None
    assert states[9].down_for(at(99)) == timedelta(0)


def test_each_change_is_told_once() -> None:
    kinds = [change and change.kind.value for change in run("++rrrrsssrr++")[1]]
    assert kinds == [
        *("cleared", None, "suspected", None, "went_down", None),
        *("cause_changed", None, None, "cause_changed", None, None, "came_up"),
    ]


def test_a_changed_cause_says_since_when_it_is_down() -> None:
    change = run("rrrs")[1][3]
    assert change == Change(ChangeKind.CAUSE_CHANGED, at(3), at(0), ProbeCause.STARTING_UP, "s")


def test_one_failure_suffices_where_the_rules_say_so() -> None:
    assert words("+r+", OutageRules(failures=1, successes=1)) == "udu"


def test_flapping_needs_ever_more_successes() -> None:
    assert words("rrr++" + "rrr++++" + "rrr++++++++") == "ssddu" + "ssddddu" + "ssddddddddu"
    assert words("rrr++" * 3) == "ssddu" + "ssddd" + "ddddd"


def test_damping_has_a_limit_and_never_less_than_asked_for() -> None:
    rules = OutageRules(failures=1, successes=2, most_successes=4)
    story = "r++" + "r++++" * 5
    assert words(story, rules) == "ddu" + "ddddu" * 5
    steep = OutageRules(failures=1, successes=9, most_successes=4)
    assert words("r" + "+" * 9, steep) == "d" * 9 + "u"


def test_a_quiet_hour_ends_the_damping() -> None:
    assert words("rrr++~rrr++") == "ssddu" * 2


def test_latencies_are_those_of_successes_and_bounded() -> None:
    states, _ = run("+" * 10 + "r" + "+")
    assert states[-1].latency_seconds == pytest.approx(0.011)
    assert len(states[-1].latencies) == 11
    assert states[9].latency_percentile(50) == pytest.approx(0.004)
    assert states[9].latency_percentile(0) == pytest.approx(0.0)
    assert states[9].latency_percentile(95) == pytest.approx(0.009)
    assert states[9].latency_percentile(200) == pytest.approx(0.009)
    many, _ = run("+" * 1000)
    assert len(many[-1].latencies) == 720
    assert many[-1].latencies[-1] == pytest.approx(0.999)


def test_a_clock_that_jumps_back_gives_no_negative_outage() -> None:
    states, _ = run("rrr")
    assert states[-1].down_for(START - timedelta(days=1)) == timedelta(0)


@pytest.mark.parametrize("bad", [{"failures": 0}, {"successes": 0}])
def test_impossible_rules_are_refused(bad: dict) -> None:
    with pytest.raises(ValueError, match="count from one"):
        OutageRules(**bad)


def test_which_causes_mean_that_somebody_answers() -> None:
    assert ProbeCause.TOO_MANY_CONNECTIONS.answers
    assert not ProbeCause.REFUSED.answers
    assert not ProbeCause.UNKNOWN.answers


@given(
    story=st.text("+++rst~", max_size=80),
    failures=st.integers(1, 5),
    successes=st.integers(1, 5),
)
def test_the_invariants(story: str, failures: int, successes: int) -> None:
    rules = OutageRules(failures=failures, successes=successes)
    states, changes = run(story, rules)
    letters = story.replace("~", "")
    before = Availability.UNKNOWN
    for index, (state, change) in enumerate(zip(states, changes, strict=True)):
        tail = letters[: index + 1]
        now = state.availability
        if now is Availability.DOWN and before is not Availability.DOWN:
            assert "+" not in tail[-failures:]
            assert len(tail) >= failures
        if before is Availability.DOWN and now is not Availability.DOWN:
            assert now is Availability.UP
            assert tail[-successes:] == "+" * successes
        if len(tail) >= failures and "+" not in tail[-failures:]:
            assert now is Availability.DOWN, "going down is never damped"
        assert (state.down_since is not None) == (now is Availability.DOWN)
        assert now is not Availability.UNKNOWN
        assert not (now is Availability.UP and tail[-1] != "+")
        if now is not before:
            assert change is not None
        elif change is not None:
            assert change.kind is ChangeKind.CAUSE_CHANGED
        if state.down_since is not None and state.last_failure is not None:
            assert state.down_since <= state.last_failure.at
        before = now
