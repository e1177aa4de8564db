"""The store's windows by our own clock: never before they begin, never after they end, and how much to ask for."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.limits.windows import Demand, Reading, numbers_due

DAY_S = 86_400.0


@given(
    store_s=st.floats(1.7e9, 1.9e9),
    behind_s=st.floats(0, 1.0),
    took_s=st.floats(0, 1.0),
    window_s=st.floats(0.1, DAY_S),
    fast=st.floats(-5e-5, 5e-5),
)
def test_what_is_admitted_is_admitted_in_its_window(
    store_s: float, behind_s: float, took_s: float, window_s: float, fast: float
):
    """The store looked at its clock at any moment of the question; from there on, it runs a little differently."""
    asked = 5000.0
    looked = asked + min(behind_s, took_s)
    reading = Reading(store_s=store_s, asked=asked, answered=asked + took_s)
    number = int(store_s / window_s)
    begins, ends = reading.edges(number, window_s)
    begin_there, end_there = (store_s + (edge - looked) * (1 + fast) for edge in (begins, ends))
    assert begin_there >= number * window_s - 1e-4 - abs(fast) * window_s
    if ends > begins:
        assert end_there <= (number + 1) * window_s


def test_an_answer_that_took_as_long_as_the_window_opens_none():
    begins, ends = Reading(store_s=1000.0, asked=5.0, answered=8.0).edges(500, 2.0)
    assert ends < begins


@pytest.mark.parametrize(
    ("store_s", "window_s", "numbers"),
    [
        (1000.0, 10.0, [100]),
        (1009.79, 10.0, [100]),
        (1009.81, 10.0, [100, 101]),
        (1000.04, 0.1, [10000]),
        (1000.06, 0.1, [10000, 10001]),
    ],
)
def test_the_next_window_is_due_shortly_before_it_begins(store_s: float, window_s: float, numbers: list[int]):
    assert numbers_due(store_s, window_s) == numbers


def test_who_was_idle_keeps_one_at_hand():
    assert Demand(0, 0.0).asks(0, 0) == 1
    assert Demand(0, 0.0).asks(1, 0) == 0


def test_a_steady_rate_is_asked_for_until_the_next_round():
    demand = Demand(0, 0.0)
    demand.observe(100, 1.0)
    assert demand.asks(0, 0) == 121
    assert demand.asks(60, 0) == 61
    assert demand.asks(61, 0) == 0


def test_those_who_wait_are_counted():
    assert Demand(0, 0.0).asks(0, 40) == 81


def test_a_burst_is_remembered_for_a_while_and_then_forgotten():
    demand = Demand(0, 0.0)
    demand.observe(100, 1.0)
    demand.observe(100, 1.1)
    assert demand.asks(0, 0) == 85
    for tenth in range(12, 40):
        demand.observe(100, tenth / 10)
    assert demand.asks(0, 0) == 2


def test_a_moment_says_nothing_of_a_rate():
    demand = Demand(0, 0.0)
    demand.observe(50, 0.001)
    assert demand.asks(0, 0) == 1
