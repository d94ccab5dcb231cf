"""Locks, victims and limits, from one look at a server."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from guardian.escalate.conditions.sessions import Round, watch_conditions
from guardian.escalate.model import Condition, Severity
from guardian.watch.audit import KillMode, KillRecord
from guardian.watch.model import Action, Mode, Outcome, PreparedTransaction, Session
from guardian.watch.model import Observation as Look
from guardian.watch.policy import Hold, Verdict

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
SKEW = timedelta(hours=1)
"""The server's clock is an hour ahead of ours."""
SERVER_NOW = NOW + SKEW
BORN = SERVER_NOW - timedelta(hours=3)


def session(pid: int, *, waits: float | None = None, state: str = "active", **more: object):
    started = None if waits is None else SERVER_NOW - timedelta(seconds=waits)
    made = Session(
        pid,
        BORN,
        user="web",
        database="mina",
        application="shop",
        client="10.0.0.7",
        state=state,
        query="UPDATE users SET name = 'Ada'",
        query_start=SERVER_NOW - timedelta(minutes=10),
        state_change=SERVER_NOW - timedelta(minutes=10),
        wait_started_at=started,
        wait_event_type="Lock" if waits is not None else None,
    )
    return replace(made, **more)  # type: ignore[arg-type]


def look(*sessions: Session, blockers: dict[int, tuple[int, ...]] | None = None, **more) -> Look:
    return Look("main", SERVER_NOW, sessions, blockers or {}, **more)


def round_(seen: Look, **more) -> Round:
    return Round(seen, NOW, **{"mode": Mode.OBSERVE, **more})


def found(watched: Round) -> dict[str, Condition]:
    return {one.key: one for one in watch_conditions(watched)}


def verdict(pid: int, *, action: Action = Action.TERMINATE, hold: Hold | None = None) -> Verdict:
    return Verdict(session(pid, state="idle"), "forgotten", action, "idle for 10m", hold)


def queue(seconds: float) -> Look:
    """7 holds up 8, which holds up 9."""
    return look(
        session(7, state="idle in transaction"),
        session(8, waits=seconds),
        session(9, waits=seconds / 2),
        blockers={8: (7,), 9: (8,)},
    )


# --- locks ---


@pytest.mark.parametrize(
    ("seconds", "severity"), [(59, None), (60, Severity.P2), (299, Severity.P2), (300, Severity.P1)]
)
def test_a_wait_is_told_from_the_bound_of_the_vital(seconds: float, severity) -> None:
    told = [one.severity for one in watch_conditions(round_(queue(seconds)))]
    assert told == ([] if severity is None else [severity])


def test_who_blocks_whom() -> None:
    one = found(round_(queue(90)))["locks.blocked:main"]
    assert one.title == "Sessions on main wait for a lock held by web@mina (pid 7)"
    assert one.since == NOW - timedelta(seconds=90)
    assert one.occurrence == f"7 {BORN.isoformat()}"
    assert "2 sessions wait behind it, the longest for 1m 30s" in one.impact
    (tree,) = one.checks
    assert tree.value.splitlines() == [
        "web@mina (pid 7) idle in transaction",
        "  web@mina (pid 8) active, waits 1m 30s",
        "    web@mina (pid 9) active, waits 45s",
    ]
    assert one.mend == ("guardian locks main", "guardian kill 7 --server main")


def test_the_title_stays_while_the_queue_grows() -> None:
    first = found(round_(queue(90)))["locks.blocked:main"]
    crowd = [session(pid, waits=10) for pid in range(20, 70)]
    more = replace(
        queue(95),
        sessions=(*queue(95).sessions, *crowd),
        blockers={8: (7,), 9: (8,), **{one.pid: (7,) for one in crowd}},
    )
    then = found(round_(more))["locks.blocked:main"]
    assert (then.title, then.occurrence) == (first.title, first.occurrence)
    assert len(then.checks[0].value.splitlines()) == 12
    assert then.checks[0].value.endswith("more; guardian locks main")


def test_bounds_that_are_switched_off() -> None:
    assert found(round_(queue(9000), lock_wait=None)) == {}
    assert found(round_(queue(9000), lock_wait=(None, None))) == {}
    critical_only = (None, timedelta(minutes=5))
    assert found(round_(queue(299), lock_wait=critical_only)) == {}
    only = found(round_(queue(300), lock_wait=critical_only))["locks.blocked:main"]
    assert only.severity is Severity.P1


def test_a_prepared_transaction_and_a_deadlock_have_words() -> None:
    gid = PreparedTransaction("gid'1", BORN, "web", "mina")
    prepared = look(session(8, waits=90), blockers={8: (0,)}, prepared=(gid,))
    one = found(round_(prepared))["locks.blocked:main"]
    assert "prepared transaction gid'1" in one.title
    assert any("ROLLBACK PREPARED" in line for line in one.mend)
    circle = look(session(8, waits=90), session(9, waits=80), blockers={8: (9,), 9: (8,)})
    assert "one another" in found(round_(circle))["locks.blocked:main"].title


# --- victims ---


def test_observe_mode_tells_in_the_digest_who_would_have_been_hit() -> None:
    verdicts = [verdict(7), verdict(8, hold=Hold.DONE)]
    one = found(round_(look(), verdicts=verdicts))["sessions.victims:main/forgotten"]
    assert one.severity is Severity.P3
    assert one.title == "Policy 'forgotten' matches sessions on main"
    assert one.impact == "2 sessions do what the policy is for. Mode observe: nobody is ended."
    assert one.since == NOW - timedelta(minutes=10)
    assert one.evidence[0].name == "web@mina (pid 7)"


def test_enforce_mode_tells_of_those_only_that_it_cannot_end() -> None:
    fine = [verdict(7), verdict(8, hold=Hold.GRACE), verdict(9, hold=Hold.COOL_DOWN)]
    assert found(round_(look(), mode=Mode.ENFORCE, verdicts=fine)) == {}
    refused = [*fine, verdict(10, hold=Hold.REFUSED)]
    one = found(round_(look(), mode=Mode.ENFORCE, verdicts=refused))[
        "sessions.victims:main/forgotten"
    ]
    assert one.severity is Severity.P2
    assert one.title == "Policy 'forgotten' cannot end sessions on main"
    assert [each.name for each in one.evidence] == ["web@mina (pid 10)"]


@pytest.mark.parametrize("mode", list(Mode))
def test_a_report_is_told_as_long_as_it_holds(mode: Mode) -> None:
    verdicts = [verdict(7, action=Action.REPORT, hold=Hold.REPORTED)]
    (one,) = watch_conditions(round_(look(), mode=mode, verdicts=verdicts))
    assert one.severity is Severity.P2
    assert "nobody is ended" not in one.impact


def test_policies_are_conditions_of_their_own() -> None:
    other = replace(verdict(8), policy="runaway")
    assert set(found(round_(look(), verdicts=[verdict(7), other]))) == {
        "sessions.victims:main/forgotten",
        "sessions.victims:main/runaway",
    }


# --- the limit ---


def test_the_hours_limit() -> None:
    held = [verdict(7, hold=Hold.PER_HOUR), verdict(8, hold=Hold.PER_HOUR)]
    one = found(round_(look(), mode=Mode.ENFORCE, verdicts=held))["kill.limit:main"]
    assert one.severity is Severity.P1
    assert one.title == "The hour's limit of kills on main stopped guardian"
    assert one.impact.startswith("2 more would be due.")
    would = found(round_(look(), verdicts=held))["kill.limit:main"]
    assert would.severity is Severity.P3


def test_what_was_done_about_it_is_told() -> None:
    kill = KillRecord(
        NOW,
        "main",
        "lock roots",
        7,
        BORN,
        "web",
        "mina",
        "shop",
        None,
        Action.TERMINATE,
        KillMode.ENFORCE,
        Outcome.REFUSED,
        "no",
    )
    one = found(round_(queue(90), kills=[kill, replace(kill, outcome=Outcome.CHANGED)]))
    assert one["locks.blocked:main"].tried == (
        "pid 7 could not be ended: refused (policy lock roots)",
    )


def test_query_texts_can_be_left_out() -> None:
    assert "Ada" in repr(watch_conditions(round_(queue(90))))
    assert "Ada" not in repr(watch_conditions(round_(queue(90), query_text=False)))
    verdicts = [verdict(7)]
    assert "Ada" not in repr(watch_conditions(round_(look(), verdicts=verdicts, query_text=False)))
