from __future__ import annotations

import json

import pytest
from support.benchmarks import ABSENT, FLOOR, OURS, results

from bench.results import Contest, Results, Spread


def test_the_middle_of_an_odd_and_of_an_even_number_of_rounds():
    assert Spread.of((2.0, 1.0, 9.0)) == Spread(2.0, 1.0, 9.0)
    assert Spread.of((3.0, 4.0)) == Spread(3.5, 3.0, 4.0)
    assert Spread.of(()) is None


def test_ways_are_held_against_the_median_of_the_first():
    contest = Contest("backup", (FLOOR, OURS, ABSENT))
    assert contest.times_of_first(FLOOR) == 1.0
    assert contest.times_of_first(OURS) == 1.75
    assert contest.times_of_first(ABSENT) is None


def test_nothing_is_held_against_a_first_that_failed():
    assert Contest("backup", (ABSENT, OURS)).times_of_first(OURS) is None


def test_json_comes_back_as_it_was():
    found = results(watch={"guardian": {"elapsed_ms": 1.0}})
    assert Results.from_json(found.to_json()) == found


@pytest.mark.parametrize(
    "damage", [{"format": 2}, {"sizes": [{"contests": [{}]}]}, {"sizes": [{}]}, {"surprise": 1}]
)
def test_what_is_no_file_of_results_is_refused(damage):
    text = json.dumps({**json.loads(results().to_json()), **damage})
    with pytest.raises(ValueError, match=r"format|not a file of results"):
        Results.from_json(text)


def test_a_file_that_is_no_json_is_refused():
    with pytest.raises(ValueError, match="Expecting value"):
        Results.from_json("no")
