"""Query expressions: what they find, what they refuse, and that no text makes one hang."""

from __future__ import annotations

import random
import re
import threading
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.sessions import observation, session

from guardian.watch.expressions import QUERY_CHARACTERS, Expression
from guardian.watch.memory import Memory
from guardian.watch.model import Action, Mode
from guardian.watch.policy import evaluate
from guardian.watch.rules import Limits, Match, Policy

LETTERS = "a" * (QUERY_CHARACTERS - 1) + "!"
NOISE = "".join(random.Random(2).choices("ab", k=QUERY_CHARACTERS))  # no automaton settles on it

# Python's re takes longer than the universe is old for each of these on LETTERS.
CATASTROPHES = [
    "(a+)+$",
    "^(a+)+$",
    "^(a|a)*$",
    "(a|aa)+$",
    "(a*)*b",
    "(.*)*;x",
    r"^(\w+\s?)*$",
    "(?i)((A+)+)+z",
    "(a?){40}a{40}$",
    ".*.*.*.*.*.*.*.*.*=b",
]


def cpu(work):
    """Processor time of this thread: it does not count who else keeps the machine busy."""
    before = time.thread_time()
    work()
    return time.thread_time() - before


@pytest.mark.parametrize("pattern", CATASTROPHES)
def test_no_text_makes_one_hang(pattern):
    expression = Expression(pattern)
    assert cpu(lambda: expression.is_in(LETTERS)) < 1
    assert not expression.is_in(LETTERS)


@pytest.mark.parametrize(
    "pattern", ["[ab]*a[ab]{500}c", "a.{0,400}z", "(a.{0,40}){1,10}z", "((a{0,100}){0,10}){0,1}b"]
)
def test_the_largest_ones_end_soon_on_the_longest_texts(pattern):
    assert cpu(lambda: Expression(pattern).is_in(NOISE)) < 2


def test_a_round_over_five_hundred_such_sessions_is_judged_at_once():
    sessions = [session(pid, "active", 600, query=LETTERS) for pid in range(1, 501)]
    policy = Policy("p", Match(query="(a+)+$"), (Action.TERMINATE,), Match(query=r"(\w+)*;"))
    look = observation(*sessions)
    found = []
    seconds = cpu(lambda: found.append(evaluate(look, [policy], Memory(), Limits(), Mode.ENFORCE)))
    assert seconds < 5
    assert found[0].verdicts == ()


def test_searching_holds_up_no_other_thread():
    # It gives up the interpreter's lock, so not even a long one stops another server's watch.
    expression = Expression("[ab]*a[ab]{900}c")
    searches = 10

    def search():
        for _ in range(searches):
            expression.is_in(NOISE)

    thread = threading.Thread(target=search)
    thread.start()
    moves = 0
    while thread.is_alive():
        time.sleep(0.001)
        moves += 1
    assert moves > 5 * searches  # with the lock held, about one a search


@pytest.mark.parametrize(
    ("pattern", "text", "found"),
    [
        ("from big", "select * from big where x", True),
        ("from big", "SELECT * FROM big", False),
        ("(?i)from BIG", "select * from big", True),
        ("^select", " select 1", False),
        ("(?m)^from", "select 1\nfrom t", True),
        ("a.b", "a\nb", False),
        ("(?s)a.b", "a\nb", True),
        (r"t\z", "from t", True),
        ("t$", "from t\n", False),
        (r"\bpg_sleep\b", "select pg_sleep(9)", True),
        (r"\bsleep\b", "select pg_sleep(9)", False),
        ("é", "select 'é'", True),
        (r"\x{e9}", "select 'é'", True),
        ("(?i)É", "select 'é'", True),
        (".{3}z", "éèéz", True),
        ("", "", True),
        ("(?P<what>drop)|(?<other>alter)", "alter table", True),
        ("a\x00b", "xa\x00b", True),
    ],
)
def test_what_is_found(pattern, text, found):
    assert Expression(pattern).is_in(text) is found


def test_only_the_beginning_of_a_long_text_is_searched():
    assert Expression("z").is_in("é" * (QUERY_CHARACTERS - 1) + "z")
    assert not Expression("z").is_in("é" * QUERY_CHARACTERS + "z")


def test_a_recorded_text_may_hold_what_no_encoding_knows():
    assert Expression("b").is_in("a\ud800b")


@given(st.text(st.characters(codec=None), max_size=50))
def test_any_text_can_be_searched(text):
    assert Expression("").is_in(text)


@pytest.mark.parametrize(
    ("pattern", "words"),
    [
        ("(", "missing )"),
        ("[", "missing ]"),
        ("*", "no argument for repetition"),
        ("(?=x)", "look-around is not offered"),
        ("a(?!b)", "goes into `except`"),
        ("(?<=a)b", "look-around is not offered"),
        ("(?<!a)b", "look-around is not offered"),
        (r"(a)\1", "back-references are not offered"),
        (r"(?P<n>a)\k<n>", "back-references are not offered"),
        ("(?P<n>a)(?P=n)", "back-references are not offered"),
        ("a++", "possessive repetition is not offered"),
        ("(?>a+)", "atomic groups are not offered"),
        ("(?x) a b", "verbose expressions are not offered"),
        (r"a\Z", r"write \z for the end"),
        (r"\u00e9", "write the letter itself"),
        ("a{1001}", "goes to 1000"),
        (r"\pL{100}", "too large as a regular expression"),
        ("((((((a{9}){9}){9}){9}){9}){9}){9}", "goes to 1000"),
        ("a\ud800", "what is no text"),
    ],
)
def test_what_is_refused_and_why(pattern, words):
    with pytest.raises(ValueError, match=re.escape(words)) as refused:
        Expression(pattern)
    assert "\n" not in str(refused.value)
    assert repr(pattern) in str(refused.value)


@given(st.text(max_size=30))
def test_any_pattern_is_taken_or_refused_in_words(pattern):
    refusal = None
    try:
        Expression(pattern).is_in("select 1")
    except ValueError as error:
        refusal = str(error)
    assert refusal is None or refusal.startswith(repr(pattern))


def test_a_refusal_writes_nothing_to_stderr(capfd):
    with pytest.raises(ValueError, match="missing"):
        Expression("(")
    assert capfd.readouterr() == ("", "")
