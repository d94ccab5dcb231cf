"""Incident report, handoff and digest: golden files that a person can read, and hostile words."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardian.escalate import markdown
from guardian.escalate.digest import Protection, make_digest
from guardian.escalate.handoff import Planned, handoff_markdown, make_handoff
from guardian.escalate.model import (
    ChannelHealth,
    Condition,
    Entry,
    EntryKind,
    Fact,
    Incident,
    IncidentId,
    Severity,
    Silence,
    State,
)
from guardian.escalate.report import incident_report, report_name
from guardian.model import DatabaseRef, Event

GOLDEN = Path(__file__).parent / "golden"
START = datetime(2026, 11, 23, 2, 5, tzinfo=UTC)
"""A Monday."""
MINUTE = timedelta(minutes=1)
FAILED = Condition(
    key="backup.failed:main/mina",
    kind="backup.failed",
    severity=Severity.P1,
    title="Backup of main/mina failed twice in a row: a disk is full",
    server="main",
    database="mina",
    since=START - timedelta(days=1, minutes=5),
    occurrence="20261123T020000Z-7f3a9c",
    count=2,
    impact="Were main/mina lost now, everything after 2026-11-21 02:00 UTC would be lost.",
    evidence=(Fact("error", "/var/backups: no space left on device"), Fact("cause", "disk_full")),
    checks=(
        Fact("disk", "/var/backups is 100% full, 12 MiB are free"),
        Fact("last tries", "2026-11-23 02:00 failed\n2026-11-22 02:00 failed\n```"),
    ),
    mend=("make room where it says so", "guardian backup now main/mina"),
)


def incident(condition: Condition = FAILED, **more) -> Incident:
    made = Incident(
        id=IncidentId("k3f9w2ap"),
        key=condition.key,
        kind=condition.kind,
        scope="backups:main",
        severity=condition.severity,
        state=State.RESOLVED,
        condition=condition,
        opened_at=START,
        updated_at=START + 80 * MINUTE,
        fired_at=START,
        cleared_at=START + 80 * MINUTE,
        resolved_at=START + 80 * MINUTE,
        occurrences=2,
        escalated_to="lead",
        people_told=("on-call", "lead"),
    )
    return replace(made, **more)


def entry(minutes: float, kind: EntryKind, text: str, by: str | None = None) -> Entry:
    return Entry(IncidentId("k3f9w2ap"), START + minutes * MINUTE, kind, text, by)


TIMELINE = [
    entry(0, EntryKind.OPENED, FAILED.title),
    entry(0, EntryKind.FIRED, f"P1: {FAILED.title}"),
    entry(0, EntryKind.TOLD, "told on-call through pager and incidents"),
    entry(0.2, EntryKind.DELIVERED, "pager: 202 accepted"),
    entry(0.5, EntryKind.UNDELIVERED, "incidents: 500; handed over to lead-mail"),
    entry(30, EntryKind.TOLD, "told lead through lead-mail: nobody acknowledged for 30m"),
    entry(34, EntryKind.ACKNOWLEDGED, "ada has it until 06:39 UTC", "ada"),
    entry(50, EntryKind.NOTE, "moved /var/backups to the new disk", "ada"),
    entry(80, EntryKind.RESOLVED, "it is gone"),
]


def assert_golden(name: str, found: str) -> None:
    """After a wanted change write the file anew, and read it as who gets it."""
    assert found == (GOLDEN / name).read_text(encoding="utf-8")


# --- the incident report ---


def test_the_report_is_the_golden_one() -> None:
    assert_golden("report.md", incident_report(incident(), TIMELINE, START + 90 * MINUTE))


def test_the_report_has_the_runbooks_sections_in_its_order() -> None:
    report = incident_report(incident(), TIMELINE, START + 90 * MINUTE)
    assert re.findall(r"^## (.*)", report, re.MULTILINE)[:7] == [
        "Summary",
        "Timeline",
        "Impact",
        "Root Cause",
        "Resolution",
        "Lessons Learned",
        "Action Items",
    ]
    assert report.startswith("# Incident Report: ")
    summary = report.split("## Timeline")[0]
    for name in ("Date", "Duration", "Severity", "Impact", "Root Cause"):
        assert f"- **{name}**: " in summary


def test_an_incident_that_is_not_over_says_so() -> None:
    on = incident(
        replace(FAILED, since=None, severity=Severity.P2),
        state=State.FIRING,
        cleared_at=None,
        resolved_at=None,
        occurrences=1,
    )
    report = incident_report(on, TIMELINE[:2], START + 90 * MINUTE)
    assert "**Duration**: 1h 30m so far, not over (since 2026-11-23 02:05)" in report
    assert "It is not over yet." in report
    assert "It began" not in report
    assert "Postmortem" not in report  # of P0 and P1 only


def test_an_incident_without_a_record_has_blanks() -> None:
    bare = incident(
        Condition("probe.web", "probe.web", Severity.P1, "web is down"), cleared_at=None
    )
    report = incident_report(bare, [], START)
    assert "## Timeline\n**[to fill in: the timeline; guardian has no record of it]**" in report
    assert "**Impact**: **[to fill in: what it meant for people]**" in report
    assert "What guardian saw" not in report


def test_the_postmortem_is_within_three_business_days() -> None:
    friday = START + timedelta(days=4)
    ended = incident(cleared_at=friday, resolved_at=friday)
    assert "by 2026-12-02: " in incident_report(ended, TIMELINE, friday)


@pytest.mark.parametrize(
    ("key", "name"),
    [
        ("backup.failed:main/mina", "2026-11-23-backup-failed-main-mina.md"),
        ("probe.Web Shop", "2026-11-23-probe-web-shop.md"),
        ("disk.low:/var/../../etc/passwd", "2026-11-23-disk-low-var-etc-passwd.md"),
        ("x:" + "ä" * 99, "2026-11-23-x.md"),
        ("x:" + "a" * 99, "2026-11-23-x-" + "a" * 58 + ".md"),
        ("///", "2026-11-23-incident.md"),
    ],
)
def test_the_name_of_the_file(key: str, name: str) -> None:
    assert report_name(incident(replace(FAILED, key=key))) == name


def test_hostile_words_are_only_words() -> None:
    evil = "# x\n## Timeline <script>alert(1)</script> [click](http://evil) `rm` *b* |\x1b[2J"
    hostile = incident(
        replace(FAILED, title=evil, impact=evil, evidence=(Fact(evil, evil),), mend=(evil,))
    )
    report = incident_report(hostile, [entry(0, EntryKind.NOTE, evil, evil)], START + 90 * MINUTE)
    assert "\x1b" not in report
    assert "\n## Timeline \\<" not in report
    assert report.count("\n## Timeline") == 1
    report = re.sub(r"```text.*?```", "", report, flags=re.DOTALL)  # words in a fence are words
    assert not re.search(r"(?<!\\)<script", report)
    assert not re.search(r"(?<!\\)\[click", report)


# --- handoff ---


def handoff(**more):
    on = incident(state=State.ACKNOWLEDGED, acknowledged_by="ada", resolved_at=None,
                  cleared_at=None, acknowledged_until=START + 90 * MINUTE,
                  flaps=(START, START + MINUTE, START + 2 * MINUTE))  # fmt: skip
    worse = replace(
        incident(), id=IncidentId("p0p0p0p0"), severity=Severity.P0, state=State.FIRING,
        resolved_at=None, condition=replace(FAILED, title="Server main is down", since=None),
    )  # fmt: skip
    over = replace(incident(), id=IncidentId("overover"))
    now = START + 85 * MINUTE
    given = {
        "incidents": [on, worse, over],
        "events": [
            Event(START + MINUTE, "session_reported", "pid 7 idles", server="main"),
            Event(START, "backup.succeeded", "x", DatabaseRef("main", "other")),
            Event(START, "backup.succeeded", "y", DatabaseRef("main", "more")),
            Event(START, "verify.proven", "y", DatabaseRef("main", "more")),
            Event(START - timedelta(days=2), "catalog.rebuilt", "long ago"),
        ],
        "silences": [
            Silence("s1", START, START + 120 * MINUTE, "moving house", "bob", {"server": "dev"}),
            Silence("s2", START + 200 * MINUTE, START + 300 * MINUTE, "upgrade", "bob"),
            Silence("s0", START - 20 * MINUTE, START - 10 * MINUTE, "past", "bob"),
        ],
        "channels": [
            ChannelHealth("pager", None, 0, START),
            ChannelHealth("incidents", START, 3, None, "500 from hooks.example"),
        ],
        "outstanding": 2,
        "planned": [
            Planned(START + timedelta(days=1), "backup of main/mina"),
            Planned(START + timedelta(hours=7), "digest"),
        ],
        "more_to_watch": ["main/new has never been proven"],
        **more,
    }
    return make_handoff(now, now - timedelta(days=1), **given)


def test_the_handoff_is_the_golden_one() -> None:
    assert_golden("handoff.md", handoff_markdown(handoff()))


def test_the_worst_comes_first_and_what_is_over_is_no_active_incident() -> None:
    found = handoff()
    assert [one.id for one in found.active] == ["p0p0p0p0", "k3f9w2ap"]
    assert [one.id for one in found.ended] == ["overover"]
    assert [one.id for one in found.silences] == ["s1", "s2"]
    assert [one.what for one in found.planned] == ["digest", "backup of main/mina"]


def test_a_quiet_night() -> None:
    found = make_handoff(START, START - timedelta(days=1), incidents=[])
    assert handoff_markdown(found).count("\nnone\n") == 5


def test_many_changes_are_counted() -> None:
    events = [Event(START, "x", f"change {n}") for n in range(50)]
    text = handoff_markdown(handoff(events=events))
    assert "change 29" in text
    assert "change 30" not in text
    assert "and 20 more" in text


# --- digest ---


def test_the_digest_is_the_golden_one() -> None:
    waited = replace(
        incident(), id=IncidentId("p3p3p3p3"), severity=Severity.P3, kind="sessions.victims",
        condition=replace(FAILED, title="Policy 'idle' matches sessions on main", since=START),
        occurrences=40,
    )  # fmt: skip
    on = replace(incident(), state=State.FIRING, resolved_at=None, cleared_at=None)
    over = replace(incident(), id=IncidentId("overover"))
    digest = make_digest(
        START - timedelta(days=7),
        START + 90 * MINUTE,
        [waited, on, over],
        [
            Protection("main/mina", 5, 2, 4, START - timedelta(days=2), START - timedelta(days=2)),
            Protection("main/new", 0, 0, 0, None, None),
        ],
    )
    assert_golden("digest.md", digest.markdown)
    assert digest.title == "guardian, 2026-11-16 to 2026-11-23: 1 open, 1 to look at, 1 over"
    assert digest.items == (
        "P1 open for 1d 1h: Backup of main/mina failed twice in a row: a disk is full",
        "P3 lasted 1h 20m: Policy 'idle' matches sessions on main",
        "main/mina: 2 failed backups",
        "main/new: no proven backup",
    )


def test_a_calm_week_has_no_items() -> None:
    calm = make_digest(START, START, [], [Protection("main/mina", 7, 0, 7, START, START)])
    assert calm.is_empty
    over = make_digest(START, START, [incident()])
    assert over.is_empty


# --- markdown ---


@given(st.text())
def test_text_is_one_printable_line_without_markup(said: str) -> None:
    made = markdown.text(said)
    assert made.isprintable()
    unescaped = re.sub(r"\\.", "", made)
    assert not set("`*<>[]|") & set(unescaped)


def test_words_with_underscores_stay_readable() -> None:
    assert markdown.text("pg_dump of _x_") == "pg_dump of \\_x\\_"


@given(st.text(alphabet="`~a\n\x1b"))
def test_no_value_leaves_its_fence(value: str) -> None:
    lines = markdown.facts([Fact("x", value + "\n.")])
    fence = lines[2].strip().removesuffix("text")
    assert sum(line.strip().startswith(fence) for line in lines) == 2
