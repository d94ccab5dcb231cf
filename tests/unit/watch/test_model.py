from __future__ import annotations

from datetime import timedelta

import pytest
from support.sessions import NOW, ago, session, waiter


def test_a_running_query_is_as_old_as_itself_and_other_states_as_their_last_change():
    running = session(1, "active", query_start=ago(40), state_change=ago(7))
    idle = session(1, "idle", query_start=ago(40), state_change=ago(7))
    assert running.state_seconds(NOW) == running.query_seconds(NOW) == 40
    assert idle.state_seconds(NOW) == 7
    assert idle.query_seconds(NOW) is None


def test_a_fastpath_call_is_as_old_as_its_state():
    """The server sets no query_start for it: that still is the one of the query before."""
    call = session(1, "fastpath function call", query_start=ago(3600), state_change=ago(9))
    assert call.state_seconds(NOW) == call.query_seconds(NOW) == 9
    assert call.spell == call.state_change


def test_ages_are_never_negative():
    """Rows are read a moment after the clock: a query may have begun between."""
    assert session(1, "active", -0.5).state_seconds(NOW) == 0


def test_what_is_not_known_has_no_age():
    blank = session(1, "disabled", state_change=None, xact_start=None)
    assert blank.state_seconds(NOW) is None
    assert blank.transaction_seconds(NOW) is None
    assert blank.wait_seconds(NOW) is None


def test_a_wait_is_counted_from_its_own_start():
    assert waiter(1, 3, query_start=ago(600)).wait_seconds(NOW) == 3


@pytest.mark.parametrize("other", [{"pid": 2}, {"backend_start": NOW}])
def test_a_session_is_its_pid_and_its_start(other):
    one = session(1, "idle")
    again = session(1, "active", 5)
    another = session(**{"pid": 1, "backend_start": one.backend_start, **other})
    assert one.key == again.key
    assert one.key != another.key


def test_transactions_have_their_own_age():
    late = session(1, "active", 2, xact_start=NOW - timedelta(minutes=3))
    assert late.transaction_seconds(NOW) == 180
