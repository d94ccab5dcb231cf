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


def session(pid: int, *, waits: float | None = None, state: str | None = "active", **more: object):
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


def test_of_several_roots_the_one_that_is_waited_for_longest_names_it() -> None:
    several = look(
        session(7, state="idle in transaction"),
        session(8, waits=70),
        session(9, waits=65),
        session(17, state="idle in transaction"),
        session(18, waits=100),
        session(27),
        session(28, waits=5),
        blockers={8: (7,), 9: (7,), 18: (17,), 28: (27,)},
    )
    one = found(round_(several))["locks.blocked:main"]
    assert "pid 17" in one.title
    assert one.since == NOW - timedelta(seconds=100)
    assert one.impact.startswith("3 sessions wait behind it, the longest for 1m 40s")
    assert [each.name for each in one.evidence] == [
        "web@mina (pid 7)",
        "web@mina (pid 17)",
        "more that hold up others",
    ]
    assert one.evidence[-1].value == "1"
    assert "pid 28" not in one.checks[0].value
    alone = look(session(7), session(8, waits=70), blockers={8: (7,)})
    assert found(round_(alone))["locks.blocked:main"].impact.startswith("1 session waits behind")


def test_a_tree_is_drawn_as_deep_and_as_long_as_people_read() -> None:
    chain = look(
        session(1),
        *[session(pid, waits=90) for pid in range(2, 9)],
        blockers={pid: (pid - 1,) for pid in range(2, 9)},
    )
    lines = found(round_(chain))["locks.blocked:main"].checks[0].value.splitlines()
    assert len(lines) == 5
    assert lines[-1].startswith("        web@mina (pid 5)")
    eleven = look(
        session(1),
        *[session(pid, waits=90) for pid in range(2, 13)],
        blockers=dict.fromkeys(range(2, 13), (1,)),
    )
    lines = found(round_(eleven))["locks.blocked:main"].checks[0].value.splitlines()
    assert len(lines) == 12
    assert not lines[-1].startswith("…")


def test_a_session_that_shows_little_is_told_as_far_as_it_goes() -> None:
    hidden = Session(7, None, state=None, visible=False)
    seen = look(hidden, session(8, waits=90), blockers={8: (7,)})
    one = found(round_(seen))["locks.blocked:main"]
    assert one.title == "Sessions on main wait for a lock held by ?@? (pid 7)"
    assert one.evidence[0].value == "holds up 1, for 1m 30s; unknown state"
    assert one.occurrence == "7"
    known = found(round_(queue(90)))["locks.blocked:main"]
    assert known.evidence[0].value.startswith(
        "holds up 2, for 1m 30s; idle in transaction for 10m, application shop, from 10.0.0.7"
    )


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


def test_what_to_do_depends_on_whether_it_may_be_ended() -> None:
    refused = [verdict(10, hold=Hold.REFUSED)]
    (enforced,) = watch_conditions(round_(look(), mode=Mode.ENFORCE, verdicts=refused))
    assert "names the GRANT" in enforced.mend[-1]
    reported = [verdict(7, action=Action.REPORT)]
    (told,) = watch_conditions(round_(look(), mode=Mode.ENFORCE, verdicts=reported))
    assert told.mend[-1] == "guardian kill PID --server main"
    assert told.title == "Policy 'forgotten' matches sessions on main"
    (observed,) = watch_conditions(round_(look(), verdicts=refused))
    assert observed.title == "Policy 'forgotten' matches sessions on main"
    assert observed.mend[-1] == "guardian kill PID --server main"


def test_it_holds_since_the_first_of_them_began() -> None:
    later = replace(verdict(8), session=session(8, state_change=SERVER_NOW, state="idle"))
    (one,) = watch_conditions(round_(look(), verdicts=[later, verdict(7)]))
    assert one.since == NOW - timedelta(minutes=10)
    unknown = replace(verdict(8), session=session(8, state=None, state_change=None))
    (one,) = watch_conditions(round_(look(), verdicts=[unknown]))
    assert one.since is None


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
    assert one.impact == (
        "2 more would be due. Sessions that policies want gone stay until the hour is over."
    )
    would = found(round_(look(), verdicts=held))["kill.limit:main"]
    assert would.severity is Severity.P3
    assert would.impact.endswith("stay, as always in mode observe.")


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


def test_of_what_was_done_a_policy_tells_its_own() -> None:
    kill = KillRecord(
        NOW, "main", "other", 7, BORN, "web", "mina", "shop", None, Action.TERMINATE,
        KillMode.ENFORCE, Outcome.SIGNALLED, "x",
    )  # fmt: skip
    refused = [verdict(10, hold=Hold.REFUSED)]
    own = replace(kill, pid=8, policy="forgotten")
    (one,) = watch_conditions(
        round_(look(), mode=Mode.ENFORCE, verdicts=refused, kills=[kill, own])
    )
    assert one.tried == ("pid 8 was ended (policy forgotten)",)


def test_query_texts_can_be_left_out() -> None:
    assert "Ada" in repr(watch_conditions(round_(queue(90))))
    assert "Ada" not in repr(watch_conditions(round_(queue(90), query_text=False)))
    verdicts = [verdict(7)]
    assert "Ada" not in repr(watch_conditions(round_(look(), verdicts=verdicts, query_text=False)))
