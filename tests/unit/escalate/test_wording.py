"""A message in words: clean, in order, and always within a limit."""

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.messages import AT, HOSTILE, alert, bare, endless, every_kind, later, storm

from guardian.escalate.model import Fact, MessageKind, Severity
from guardian.escalate.wording import (
    ROOMY,
    Link,
    Tightness,
    clean,
    colour,
    cut,
    emblem,
    fitting,
    headline,
    in_one_line,
    parts,
    utf8_length,
    utf16_length,
)

TEXT = st.text(st.characters(), max_size=60)  # surrogates and controls, too
SIZES = st.sampled_from([len, utf8_length, utf16_length])


def test_headlines_say_why_somebody_hears_of_it() -> None:
    assert [headline(message)[: headline(message).index("]") + 1] for message in every_kind()] == [
        *("[P1]", "[P1 update]", "[P1 escalated]", "[P1 reminder]", "[P1 acknowledged]"),
        *("[P1 resolved]", "[P0 storm]", "[digest]", "[test]"),
    ]
    assert headline(alert()) == "[P1] Backup of main/mina failed: disk full"


def test_an_emblem_and_a_colour_tell_severity_until_it_is_over() -> None:
    alerts = [alert(severity=severity) for severity in Severity]
    assert [emblem(message) for message in alerts] == ["🔴", "🟠", "🟡", "🔵"]
    assert len({colour(message) for message in alerts}) == 4
    resolved = later(MessageKind.RESOLVED, severity=Severity.P0)
    assert emblem(resolved) == "✅"
    assert colour(resolved) not in {colour(message) for message in alerts}


def test_the_parts_stand_in_the_order_in_which_they_are_needed() -> None:
    said = parts(alert())
    assert [part.heading for part in said] == [
        *("", "What it means", "Evidence", "Checked", "Tried already", "What to do", "Links"),
    ]
    assert said[0].lines == (
        Fact("Where", "main/mina"),
        Fact("Since", "2026-11-23 02:00:03 UTC (12m)"),
        Fact("Happened", "2 times"),
        Fact("Why you hear of it", "first to be told"),
        Fact("Told", "on-call"),
        Fact("Incident", "k3f9w2ap"),
    )
    assert said[-1].lines == (Link("dashboard", alert().links[0][1]),)


def test_what_is_over_says_until_when_and_how_long_it_was() -> None:
    head = parts(later(MessageKind.RESOLVED))[0].lines
    assert Fact("Since", "2026-11-23 02:00:03 UTC (42m)") in head
    assert Fact("Until", "2026-11-23 02:42:03 UTC") in head


def test_what_is_not_known_is_not_mentioned() -> None:
    assert parts(bare(MessageKind.TEST)) == ()
    assert parts(bare(MessageKind.ALERT, server="main"))[0].lines == (Fact("Where", "main"),)


def test_a_storm_leaves_nobody_out() -> None:
    listed = parts(storm(100))[0].lines
    assert len(listed) == 100
    assert listed[99] == "P1 main/db99: backup failed: disk full"


def test_what_is_left_out_is_counted() -> None:
    tight = Tightness(10, 2, 3, 10)
    many = alert(
        items=("abcdefghijklmnop",) * 5,
        evidence=tuple(Fact(str(index), "x") for index in range(4)),
        mend=("one", "two", "three"),
    )
    said = {part.heading: part.lines for part in parts(many, tight)[1:]}
    assert parts(many, tight)[0].lines == ("abcdefghi…",) * 3 + ("… and 2 more",)
    assert said["Evidence"] == (Fact("0", "x"), Fact("1", "x"), "… and 2 more")
    assert said["What to do"] == ("one", "two", "… and 1 more")


def test_of_a_log_the_end_is_kept() -> None:
    log = "\n".join(f"line {number}" for number in range(9))
    (fact,) = parts(bare(MessageKind.ALERT, checks=(Fact("log", log),)), Tightness(30, 2, 0, 0))[
        0
    ].lines
    assert fact == Fact("log", "…\nline 7\nline 8")


@pytest.mark.parametrize("url", ["javascript:alert(1)", "data:text/html,x", "", "https:" + "x"])
def test_only_web_addresses_are_links(url) -> None:
    assert parts(bare(MessageKind.ALERT, links=(("x", url),))) == ()


def test_an_address_is_whole_or_not_there() -> None:
    long = "https://h.example/" + "x" * 2000
    assert parts(bare(MessageKind.ALERT, links=(("x", long),))) == ()


def test_nothing_unseen_is_left() -> None:
    cleaned = clean(HOSTILE)
    assert "\x1b" not in cleaned
    assert "\x00" not in cleaned
    assert not set(cleaned) & set("\u202e\u202c\u2066\u2069\ud800\r")
    assert "gnp" in cleaned
    assert "\n" in cleaned
    assert clean("a\tb\x0bc\u2028d\r\ne\rf") == "a b\nc\nd\ne\nf"
    joined = "👨\u200d👩\u200d👧 \u0645\u06cc\u200c\u062e\u0648"  # a family; Persian
    assert clean(joined) == joined
    assert in_one_line(" a \n\n b\u2029c ") == "a b c"


@given(TEXT)
def test_cleaning_twice_changes_nothing_and_utf8_can_say_it(text) -> None:
    cleaned = clean(text)
    assert clean(cleaned) == cleaned
    cleaned.encode()
    assert all(character == "\n" or character >= " " for character in cleaned)


@given(TEXT.map(clean), st.integers(0, 70), SIZES)
def test_what_is_cut_fits_and_is_a_beginning(text, limit, size) -> None:
    shorter = cut(text, limit, size)
    assert size(shorter) <= max(limit, 0)
    if size(text) <= limit:
        assert shorter == text
    elif shorter:
        assert shorter.endswith("…")
        assert text.startswith(shorter[:-1])


def test_no_character_is_cut_in_two() -> None:
    assert cut("abcde\u0301fgh", 6) == "abcd…"
    assert cut("🙂🙂🙂", 5, utf16_length) == "🙂🙂…"
    assert cut("ab👨\u200d👩", 4) == "ab…"
    assert cut("\u0301" * 50, 5) == "…"
    assert cut("abc", 0) == ""


def test_as_much_is_said_as_fits() -> None:
    made: list[Tightness] = []

    def make(tightness: Tightness) -> Tightness:
        made.append(tightness)
        return tightness

    assert fitting(make, lambda _: True) == ROOMY
    assert fitting(make, lambda tightness: tightness.lines < 20).lines == 12
    last = fitting(make, lambda _: False)
    assert parts(endless(), last) == ()
    assert [part.heading for part in parts(endless(), made[-2])] == ["", ""]
    characters = [tightness.characters for tightness in made[-9:]]
    assert characters == sorted(characters, reverse=True)


def test_a_clock_that_went_backwards_breaks_nothing() -> None:
    said = parts(alert(since=AT + timedelta(minutes=5)))
    assert Fact("Since", "2026-11-23 02:17:03 UTC (-5m)") in said[0].lines
